"""The Redis layer of the server: any number of Redis servers, in the format that the workers speak (wire_channels,
wire_classic). Messages to us wait in one box per process; a blocking pop empties it.

Sends are one script call each, pipelined. A send whose answer was lost is not repeated: it may have been done.
"""
import secrets
from dataclasses import replace
from glob import escape
from math import inf

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed
from twisted.logger import Logger

from interfaces.contract import ChannelFull, Deliver, Doubt, Gap, LayerDown, MessageTooLarge
from interfaces.layers.redis_lost import recover
from interfaces.layers.redis_settings import RedisSettings
from interfaces.layers.redis_storage import Storage
from interfaces.layers.wire_local import MAX_FRAME, MAX_MESSAGE
from interfaces.layers.wire_redis import Call

NAME_BYTES = 16                 # messages.md, reply_channel: 128 bits, 22 characters
COMPLAIN = 60.0                 # seconds between two lines about the same trouble
BODIES = {"http.request.body[.?]": 8}       # messages.md, Sizes: parts of a body that may be out at a time
log = Logger(namespace="interfaces.layers")


class RedisLayer:
    """interfaces.layers.contract.ChannelLayer. `capacities`: prefix of channel names -> capacity, before the settings' own
    patterns; `max_message`: bytes. ValueError: a secret or certificate that can't be read."""
    tells_taken = tells_lost = False

    def __init__(self, reactor, settings: RedisSettings, max_message: int = MAX_MESSAGE, capacities: dict | None = None):
        from interfaces.layers.redis_box import Address     # all three import the reactor
        from interfaces.layers.redis_places import places
        from interfaces.layers.redis_shard import Shard
        if max_message > MAX_FRAME // 2:
            raise ValueError(f"a message can't be larger than {MAX_FRAME // 2} bytes: with its names it must be readable")
        self.reactor, self.max_message, self.address_class = reactor, max_message, Address
        patterns = BODIES if capacities is None else {escape(prefix): count for prefix, count in capacities.items()}
        own = {f"{pattern}*": count for pattern, count in patterns.items()}
        # Ours first, since the first match counts: a wide `http.request*` must not let whole bodies into Redis.
        options = {**settings.options, "channel_capacity": {**own, **settings.options.get("channel_capacity", {})}}
        settings = replace(settings.login(), options=options)
        self.wire = settings.wire()
        self.reader_mark = self.wire.reader_mark
        self.counts = dict.fromkeys(("sent", "delivered", "dropped", "expired", "full", "failed", "unreadable"), 0)
        self.complained: dict[str, float] = {}
        self.addresses = []
        mark = f"interface.mark.{secrets.token_urlsafe(NAME_BYTES)}"
        self.shards = [Shard(reactor, place, self.wire, mark, self.lost, self.doubt) for place in places(reactor, settings)]
        self.storage = Storage(self, self.shards[0])
        for shard in self.shards:
            shard.start()

    def open(self, prefix: str, deliver: Deliver, reader=None) -> Deferred:
        """It is there at once; the servers are connected to meanwhile."""
        address = self.address_class(self, f"{prefix}.{secrets.token_urlsafe(NAME_BYTES)}", deliver, reader)
        self.addresses.append(address)
        for reader in address.readers:
            reader.client.start()
        return succeed(address)

    def send(self, channel: str, message: dict) -> Deferred:
        """Raises ChannelFull (LayerDown), MessageTooLarge; TypeError, ValueError for what no message or no name can be."""
        shard = self.shards[self.wire.shard(channel)]
        now = shard.clock.now()
        if message.get("deadline"):         # in this process's time; workers compare it with the server's
            message = {**message, "deadline": message["deadline"] + now - self.reactor.seconds()}
        call = self.wire.send(channel, self.packed(message), now)
        try:
            answer = shard.run(call)
        except LayerDown:
            self.counts["failed"] += 1
            raise
        return answer.addCallbacks(self.sent, self.unsent, callbackArgs=(channel,), errbackArgs=(shard,))

    def sent(self, result, channel: str) -> None:
        match result:
            case [_, 0]:
                self.counts["sent"] += 1
            case [_, 1]:
                self.counts["full"] += 1
                raise ChannelFull(f"{channel} is full")
            case _:
                raise LayerDown("Redis answers what makes no sense")

    def unsent(self, failure, shard):
        self.counts["failed"] += 1
        if failure.check(LayerDown):
            shard.reload(failure.value)
            self.complain("a message was not sent: {error}", error=failure.value)
        return failure

    def packed(self, message: dict) -> bytes:
        body = self.wire.pack(message)
        if len(body) > self.max_message:
            raise MessageTooLarge(f"{len(body)} bytes; the layer carries {self.max_message}")
        return body

    # Groups

    def group_add(self, group: str, channel: str) -> Deferred:
        for address in self.addresses:
            if channel.startswith(address.box):
                address.joined.setdefault(channel[len(address.box):], set()).add(group)
        return self.quietly(self.shard_of(group), self.wire.group_add(group, channel))

    def group_discard(self, group: str, channel: str) -> Deferred:
        return self.quietly(self.shard_of(group), self.wire.group_discard(group, channel))

    def group_send(self, group: str, message: dict, but: str = "") -> Deferred:
        """Two round trips. Full channels are skipped and counted."""
        call, body = self.wire.members(group), self.packed(message)
        shard = self.shard_of(group)
        return ensureDeferred(self.spread(shard, call, body, but)).addErrback(self.unsent, shard)

    async def spread(self, shard, members: Call, body: bytes, but: str) -> None:
        found = await shard.run(members)
        if found.__class__ is not list or not all(name.__class__ is bytes for name in found):
            raise LayerDown("Redis answers what makes no sense")
        names = [name for name in self.wire.named(found) if name != but]
        calls = self.wire.group_send(names, body, shard.clock.now())
        results = await DeferredList([self.quietly(self.shards[index], call) for index, call in calls])
        self.counts["full"] += sum(self.wire.sent(result).skipped for _, result in results if result)
        self.counts["sent"] += 1
        if results and not any(result for _, result in results):
            raise LayerDown("no server took the message of a group")

    def shard_of(self, group: str):
        return self.shards[self.wire.group_shard(group)]

    def quietly(self, shard, command: Call | tuple) -> Deferred:
        """What fails is counted and logged, and gives None."""
        def failed(failure):
            self.counts["failed"] += 1
            shard.reload(failure.value)
            self.complain("a command failed: {error}", error=failure.value)

        try:
            answer = shard.run(command) if isinstance(command, Call) else shard.execute(*command)
        except LayerDown as error:
            self.counts["failed"] += 1
            self.complain("a command failed: {error}", error=error)
            return succeed(None)
        return answer.addErrback(failed)

    # The rest

    def delete(self, channel: str, last: dict | None = None) -> Deferred:
        """What can't be deleted now expires."""
        self.wire.check_channel(channel)
        index = self.wire.shard(channel)
        shards = [self.shards[index]] if self.wire.single_reader(channel) else self.shards
        done = [self.quietly(shard, self.wire.delete(channel)) for shard in shards]
        if last is not None:
            shard = self.shards[index]
            done.append(self.quietly(shard, self.wire.send(channel, self.packed(last), shard.clock.now())))
        return DeferredList(done).addCallback(lambda results: None)

    def recover(self, owner: str) -> Deferred:
        return ensureDeferred(recover(self, owner))

    def oldest(self, channel: str) -> Deferred:
        return ensureDeferred(self.look_at_oldest(self.wire.key(channel)))

    async def look_at_oldest(self, key) -> float:
        found = inf
        for shard in self.shards:
            answer = await self.quietly(shard, ("ZRANGE", key, 0, 0, "WITHSCORES"))
            if answer.__class__ is not list:
                return -inf
            if answer:
                found = min(found, float(answer[1]) - shard.clock.now() + self.reactor.seconds())
        return found

    def listening(self, channel: str) -> bool:
        """Redis doesn't know who reads."""
        return True

    def deserted(self, channel: str) -> float:
        return 0.0

    def close(self) -> Deferred:
        """What was not delivered is dropped."""
        for shard in self.shards:
            shard.closed = True
        closing = [reader.close() for address in self.addresses for reader in address.readers]
        closing += [ensureDeferred(shard.close()) for shard in self.shards]
        self.addresses.clear()
        return DeferredList(closing, consumeErrors=True).addCallback(lambda results: None)

    def statistics(self) -> dict:
        """Counts since the start; servers {name: "" or why it is down}."""
        return {**self.counts, "servers": {str(shard.place): shard.reason for shard in self.shards}}

    def lost(self, everything: bool) -> None:
        """Messages to us, or all that was stored on a server."""
        for address in self.addresses:
            address.deliver("", Gap(everything))

    def watch(self, owner: str, reader) -> None:
        self.shards[self.wire.shard(owner)].readers.watch(owner.partition("!")[0], reader)

    def doubt(self, process: str) -> None:
        for address in self.addresses:
            address.deliver("", Doubt(process))

    def complain(self, text: str, **more) -> None:
        """A line a minute of each kind: trouble must not fill the disk."""
        now = self.reactor.seconds()
        if now - self.complained.get(text, -COMPLAIN) >= COMPLAIN:
            self.complained[text] = now
            log.warn("Redis: " + text, **more)

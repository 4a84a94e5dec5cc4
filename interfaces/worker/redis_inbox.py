"""What arrives from Redis: taken only as much as can begin, sorted, put back where it can't begin after all."""
import logging
from collections import deque
from collections.abc import Callable

from interfaces.layers.wire_values import BadValue
from interfaces.worker.inbox import Inbox
from interfaces.worker.redis_boxes import RedisBody, RedisHosting, RedisListening

logger = logging.getLogger("interfaces.worker")
OWN = 1000                   # messages for channels of this process in one call, a guess; the script bounds the bytes


class RedisInbox(Inbox):
    outdated = False             # workers of a newer release run: what is new is for them (redis_release.py)

    def start_afresh(self, process: str) -> None:
        self.own, self.reads_own, self.home = f"{process}!", False, None
        super().start_afresh(process)

    def new_listening(self, channel: str) -> RedisListening:
        return RedisListening(channel, self)

    def new_hosting(self, channel: str, slots: int) -> RedisHosting:
        return RedisHosting(channel, self, slots)

    def open_body(self, channel: str, hear: Callable, held: Callable) -> RedisBody:
        body = self.listenings[channel] = RedisBody(channel, self, hear, held)
        self.poke()
        return body

    def reader(self, channel: str):
        found = super().reader(channel)
        if "!" in channel and not self.reads_own:
            self.reads_own = True
            self.poke()
        return found

    def settled(self, home) -> None:
        """`home` is where messages are read from now on."""
        self.home = home
        for listening in tuple(self.listenings.values()):
            listening.taking, listening.holding = 0, False
            listening.settle()

    # What the shards ask and tell

    def wanted(self, shard, lingering: bool = False) -> list[tuple[str, int]]:
        """(channel, how many messages). Channels of this process are never more than one key. `lingering`: for a pop that
        goes out anyhow."""
        if shard.home is not self.home:
            return []
        found = []
        if self.reads_own and shard.format.index(self.own) == shard.number:
            found.append((self.own, OWN))
        for channel, listening in self.listenings.items():
            if self.outdated and channel in self.hostings:
                continue
            if isinstance(listening, RedisBody) and shard.format.index(channel) != shard.number:
                continue                                 # wire_redis.single_reader: all its parts are at one server
            if (count := listening.wanted(lingering)) > 0 and shard.reading.clean(channel):
                found.append((channel, count))
        return found

    def reserve(self, shard, takes: list[tuple[str, int]], by: int) -> None:
        for channel, count in takes if shard.home is self.home else ():
            listening = self.listenings.get(channel)
            if listening is not None:
                listening.taking = max(0, listening.taking + by * count)
                if listening.idle:
                    self.forget(channel)

    def arrived(self, shard, found: list[tuple[str, bytes]], expires: float | None = None) -> None:
        now = shard.clock.now()
        if shard.home is not self.home:
            for channel, value in found:
                shard.give_back(channel, [value], now)
            return
        if expires is not None and expires <= now:
            return self.lose(len(found))
        score = now if expires is None else expires - shard.format.expiry
        for channel, value in found:
            if channel == self.own:
                self.deliver(value, now)
                continue
            listening = self.listenings.get(channel)
            if listening is None:                        # its reader was cancelled while the pop was out
                listening = self.listenings[channel] = self.new_listening(channel)
            if isinstance(listening, RedisBody):
                listening.arrived(value)
            else:
                listening.unstarted.append((value, score, shard.number))

    def settle(self, shard) -> None:
        for channel, listening in tuple(self.listenings.items()) if shard.home is self.home else ():
            listening.settle()
            if listening.idle:
                self.forget(channel)

    def deliver(self, value: bytes, now: float) -> None:
        try:
            message, names = self.layer.format.decode(value, self.own, now)
        except BadValue as error:
            return self.refuse(error)
        if message.get("type") == "interface.ping":      # messages.md, Worker loss
            reading = self.home.shards[self.layer.format.index(self.own)].reading
            pong = {"type": "interface.pong", "id": message.get("id"), "reader": reading.pop_id}
            if isinstance(message.get("reply_channel"), str):
                self.layer.answer(message["reply_channel"], pong)
            return
        if len(names) > 1:                               # each gets a copy of its own, made without the thousand names
            form = self.layer.format
            body = form.pack(message)
            for name in names[1:]:
                self.put(name, form.codec.unpack(body))
        self.put(names[0], message)

    def decode(self, channel: str, parcel: tuple[bytes, float, int]) -> dict | None:
        try:
            message = self.layer.format.decode(parcel[0], channel, self.layer.now())[0]
        except BadValue as error:
            return self.refuse(error)
        reply_channel = message.get("reply_channel")
        if reply_channel.__class__ is str:
            self.layer.trust(reply_channel)
        return message

    # Back

    def encode(self, message: dict) -> tuple[bytes, float, int]:
        """A message that a reader was given and has not seen, as if it had come just now: nobody knows its score any more."""
        form, now = self.layer.format, self.layer.now()
        return form.value(form.pack(message), None, now), now, 0

    def put_back(self, listening: RedisListening, home=None) -> None:
        """What was taken and can't begin here is the oldest of its channel again."""
        home = home or self.home
        if home is None or not home.shards:
            return                                       # it stays until there is a home, which looks again
        parcels, listening.unstarted = listening.unstarted, deque()
        by_shard: dict[int, list] = {}
        for value, score, number in parcels:
            by_shard.setdefault(number, []).append((value, score))
        for number, pairs in by_shard.items():
            home.shards[number].give_back(listening.channel, [value for value, _ in pairs], min(score for _, score in pairs))

    def abandon(self, channel: str, tasks: list) -> None:
        """It may not have begun yet, since the loop was told in this same turn to begin it."""
        if tasks or self.home is None:
            return self.abandoned(channel, tasks)
        self.home.loop.call_soon(self.abandoned, channel, tasks)

    def abandoned(self, channel: str, tasks: list) -> None:
        super().abandon(channel, tasks)
        listening = self.listenings.get(channel)
        if listening is not None and listening.idle:
            self.forget(channel)

    def withdraw(self, channel: str) -> None:
        """Nobody wants it any more: a pop that is out would take one."""
        for shard in self.home.shards if self.home is not None else ():
            if channel in shard.reading.popping:
                shard.reading.unblock()

    @property
    def returning(self) -> bool:
        if self.home is None:
            return False
        leaving = {channel for channel, listening in self.listenings.items() if listening.leaving}
        if any(leaving & shard.reading.popping or shard.reading.fetching for shard in self.home.shards):
            for channel in leaving:
                self.withdraw(channel)
            return True
        return any(shard.backs for shard in self.home.shards)

    def lose(self, count: int) -> None:
        if count:
            self.dropped += count
            logger.warning("%d messages are lost: they had expired, or there was no Redis to give them back to", count)

    # The loop

    def poke(self) -> None:
        if self.home is not None:
            self.home.poke()

    def wake(self) -> None:
        if self.home is not None:
            self.home.wake()

    def on_loop(self, call: Callable, *args) -> None:
        if self.home is not None:
            self.home.call(call, *args)

    def clock(self) -> float:
        return self.home.loop.time() if self.home is not None else 0.0

    def later(self, when: float, call: Callable[[], None]) -> bool:
        return self.home is not None and bool(self.home.loop.call_at(when, call))

    def lost(self) -> None:
        """The layer is closed, or its home moves: requests that run go on. What has not begun, or still arrives at the old
        home, goes back."""
        home, self.home = self.home, None
        if home is not None:
            home.call(self.left, home)

    def left(self, home) -> None:
        for listening in tuple(self.listenings.values()):
            if isinstance(listening, RedisListening) and listening.unstarted:
                self.put_back(listening, home)

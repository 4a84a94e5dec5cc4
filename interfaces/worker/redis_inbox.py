"""What arrives from Redis: taken only as much as can begin, sorted, put back where it can't begin after all."""
from collections.abc import Callable

from interfaces.layers.wire_values import BadValue
from interfaces.worker.inbox import Inbox
from interfaces.worker.redis_boxes import RedisBody, RedisHosting, RedisListening

OWN = 1000                   # messages for channels of this process in one call, a guess; the script bounds the bytes

class RedisInbox(Inbox):
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
        for listening in self.listenings.values():
            listening.taking = 0

    # What the shards ask and tell

    def wanted(self, shard) -> list[tuple[str, int]]:
        """(channel, how many messages). Channels of this process first: they are never more than one key."""
        if shard.home is not self.home:
            return []
        found = []
        if self.reads_own and shard.format.index(self.own) == shard.number:
            found.append((self.own, OWN))
        for channel, listening in self.listenings.items():
            if (count := listening.wanted()) > 0 and shard.clean(channel):
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
            self.dropped += len(found)
            return
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
                listening.unstarted.append((value, score, shard))

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
            pong = {"type": "interface.pong", "id": message.get("id")}
            if isinstance(message.get("reply_channel"), str):
                self.layer.answer(message["reply_channel"], pong)
            return
        for name in names[1:]:
            self.put(name, self.layer.format.decode(value, self.own, now)[0])    # each a copy of its own
        self.put(names[0], message)

    def decode(self, channel: str, parcel: tuple[bytes, float, object]) -> dict | None:
        try:
            message = self.layer.format.decode(parcel[0], channel, self.layer.now())[0]
        except BadValue as error:
            return self.refuse(error)
        reply_channel = message.get("reply_channel")
        if reply_channel.__class__ is str:
            self.layer.trust(reply_channel)
        return message

    # Back

    def put_back(self, listening: RedisListening) -> None:
        """What was taken and can't begin here is the oldest of its channel again."""
        by_shard: dict[object, list] = {}
        while listening.unstarted:
            value, score, shard = listening.unstarted.popleft()
            by_shard.setdefault(shard, []).append((value, score))
        for shard, parcels in by_shard.items():
            shard.give_back(listening.channel, [value for value, _ in parcels], min(score for _, score in parcels))

    def withdraw(self, channel: str) -> None:
        """Nobody wants it any more: a pop that is out would take one."""
        for shard in self.home.shards if self.home is not None else ():
            if channel in shard.popping:
                shard.unblock()

    @property
    def returning(self) -> bool:
        if self.home is None:
            return False
        leaving = {channel for channel, listening in self.listenings.items() if listening.leaving}
        if any(leaving & shard.popping and shard.pop_id or shard.fetching for shard in self.home.shards):
            for channel in leaving:
                self.withdraw(channel)
            return True
        return any(shard.backs for shard in self.home.shards)

    # The loop

    def poke(self) -> None:
        if self.home is not None:
            self.home.poke()

    def wake(self) -> None:
        if self.home is not None:
            self.home.wake()

    def on_loop(self, call: Callable, *args) -> None:
        if self.home is not None:
            try:
                self.home.loop.call_soon_threadsafe(call, *args)
            except RuntimeError:
                pass

    def lost(self) -> None:
        """The layer is closed, or its home moves: requests that run go on. What still arrives at the old home goes back."""
        self.home = None

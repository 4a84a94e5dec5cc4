"""What the hub of a `local:` layer says to a worker."""
import msgpack

from interfaces.layers import wire_local as wire
from interfaces.worker.boxes import Listening
from interfaces.worker.hosting import Hosting
from interfaces.worker.inbox import Inbox


class HubInbox(Inbox):
    """`connection` and `loop` are the home's, None while there is none."""

    def start_afresh(self, process: str) -> None:
        self.connection = self.loop = None
        self.touched: set[Listening] = set()
        super().start_afresh(process)

    def new_listening(self, channel: str) -> Listening:
        return Listening(channel, self)

    def new_hosting(self, channel: str, slots: int) -> Hosting:
        return Hosting(channel, self, slots, self.owner)

    # What the hub says

    def frame(self, kind: int, name: str, payload: bytes) -> None:
        if kind == wire.MESSAGE and "!" not in name:
            listening = self.listenings.get(name)
            if listening is not None:
                listening.pushed(payload, self.loop.time())
                self.touched.add(listening)
        elif kind == wire.MESSAGE:
            self.deliver(name, payload)
        elif kind == wire.MESSAGES:
            self.deliver_many(payload)
        elif kind == wire.WITHDRAWN and name in self.listenings:
            self.listenings[name].withdrawn()
            if self.listenings[name].idle:
                self.forget(name)

    def settle(self) -> None:
        """All frames of one read were sorted: now begin what can begin."""
        if self.touched:
            touched, self.touched = self.touched, set()
            for listening in touched:
                listening.settle()

    def deliver_many(self, payload: bytes) -> None:
        """One group message for several channels. Each gets a copy of its own, as from a queue of its own."""
        unpacker = msgpack.Unpacker(max_buffer_size=wire.MAX_FRAME)
        unpacker.feed(payload)
        try:
            channels = unpacker.unpack()
            message = payload[unpacker.tell():]
        except (ValueError, msgpack.UnpackException) as error:
            return self.refuse(error)
        for channel in channels:
            self.deliver(channel, message)

    def deliver(self, channel: str, payload: bytes) -> None:
        message = self.decode(payload)
        if message is not None and self.layer.mine(channel):
            self.put(channel, message)

    def decode(self, payload: bytes) -> dict | None:
        """The message, or None (and a log line) when it is none: a strange sender must not stop a channel's readers."""
        try:
            message = wire.unpack(payload)
        except (ValueError, msgpack.UnpackException) as error:
            return self.refuse(error)
        if type(message) is not dict:
            return self.refuse(f"a {type(message).__name__}")
        return message

    # The connection comes and goes

    def connected(self, home) -> None:
        self.connection, self.loop = home.connection, home.loop
        for listening in self.listenings.values():
            listening.replay()
        self.connection.extra = self.extra

    def extra(self) -> bytes:
        return b"".join([hosting.extra() for hosting in self.hostings.values()])

    def lost(self) -> None:
        self.connection = None
        for channel, listening in tuple(self.listenings.items()):
            listening.lost()
            if listening.idle:
                self.forget(channel)
        for call in self.on_lost:
            call()

"""What arrives at a worker: sorted into boxes, listenings and hostings. Belongs to the home loop."""
import asyncio
import logging
import secrets
import time
from collections.abc import Callable

import msgpack

from interfaces.layers import wire_local as wire
from interfaces.worker import runworker
from interfaces.worker.boxes import Box, Listening
from interfaces.worker.hosting import Hosting

logger = logging.getLogger("interfaces.worker")
BOX_CAPACITY = 10_000        # messages.md, Sizes: the capacity of a process-local channel
BOXES = 10_000               # a guess: boxes without a reader; beyond it the expired go, then the oldest


class Inbox:
    """`connection` and `loop` are the home's, None while there is none."""

    def __init__(self, layer):
        self.layer = layer
        self.hostings: dict[str, Hosting] = {}
        self.owned: Callable[[dict], None] | None = None            # called with what arrives for `owner`
        self.on_lost: list[Callable[[], None]] = []                 # called when the server went away

    def start_afresh(self, process: str) -> None:
        self.process, self.owner = process, f"{process}!{secrets.token_urlsafe(16)}"
        self.connection = self.loop = None
        self.boxes: dict[str, Box] = {}
        self.hostings = {name: Hosting(name, self, old.slots, self.owner) for name, old in self.hostings.items()}
        self.listenings: dict[str, Listening] = dict(self.hostings)
        self.touched: set[Listening] = set()
        self.dropped = 0

    def host(self, channel: str, slots: int) -> Hosting:
        """`channel` is run by an application of ours, `slots` messages at once. Before the first receive."""
        self.hostings[channel] = self.listenings[channel] = Hosting(channel, self, slots, self.owner)
        return self.hostings[channel]

    # Readers

    def reader(self, channel: str) -> Box | Listening:
        if "!" not in channel:
            listening = self.listenings.get(channel)
            if listening is None:
                listening = self.listenings[channel] = Listening(channel, self)
            return listening
        if not self.layer.mine(channel):
            raise ValueError(f"{channel} is a channel of another process: only that one can receive from it")
        box = self.boxes.get(channel)
        return self.make_box(channel) if box is None else box

    def make_box(self, channel: str) -> Box:
        if len(self.boxes) >= BOXES:
            self.sweep()
        capacity = self.layer.get_capacity(channel) or BOX_CAPACITY
        box = self.boxes[channel] = Box(capacity, time.monotonic())
        return box

    def sweep(self) -> None:
        """Boxes that nobody reads must not pile up: their consumers are gone."""
        oldest = time.monotonic() - self.layer.expiry
        unread = [channel for channel, box in self.boxes.items() if not box.waiters]
        expired = [channel for channel in unread if self.boxes[channel].since < oldest]
        for channel in expired or unread[:len(unread) // 2 + 1]:
            self.dropped += len(self.boxes.pop(channel).ready)

    async def take(self, channel: str) -> dict:
        reader = self.reader(channel)
        if isinstance(reader, Listening):
            runworker.meet(self.layer, reader)
        else:
            reader.since = time.monotonic()
        try:
            return await reader.take()
        finally:
            if reader.idle:
                self.forget(channel)

    def forget(self, channel: str) -> None:
        if "!" in channel:
            self.boxes.pop(channel, None)
        elif channel not in self.hostings:
            self.listenings.pop(channel, None)

    def abandon(self, channel: str, tasks: list[asyncio.Task]) -> None:
        """A receive from another loop was cancelled there."""
        for task in tasks:
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                self.reader(channel).put_back(task.result())

    def drop_waiters(self) -> None:
        for reader in (*self.boxes.values(), *self.listenings.values()):
            reader.waiters.clear()

    def flush(self) -> None:
        for box in self.boxes.values():
            box.ready.clear()

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
        if message is None or not self.layer.mine(channel):
            return
        if channel == self.owner:
            if self.owned is not None:
                self.owned(message)
            return
        box = self.boxes.get(channel)
        if box is None:
            box = self.make_box(channel)
        if not box.put(message):
            self.dropped += 1

    def decode(self, payload: bytes) -> dict | None:
        """The message, or None (and a log line) when it is none: a strange sender must not stop a channel's readers."""
        try:
            message = wire.unpack(payload)
        except (ValueError, msgpack.UnpackException) as error:
            return self.refuse(error)
        if type(message) is not dict:
            return self.refuse(f"a {type(message).__name__}")
        return message

    def refuse(self, error) -> None:
        self.dropped += 1
        logger.warning("dropped a message that can't be read: %s", error)

    # The connection comes and goes

    @property
    def running(self) -> int:
        """How many messages of hosted channels have begun and not ended."""
        return sum(hosting.running for hosting in self.hostings.values() if hosting.begin is not None)

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

"""What arrives at a worker: sorted into boxes, listenings and hostings. Belongs to the home loop."""
import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from interfaces.worker import runworker
from interfaces.worker.boxes import Box

logger = logging.getLogger("interfaces.worker")
BOX_CAPACITY = 10_000        # messages.md, Sizes: the capacity of a process-local channel
BOXES = 10_000               # a guess: boxes without a reader; beyond it the expired go, then the oldest


class Inbox:
    """A subclass says what listens (`new_listening`, `new_hosting`) and gives it what arrives."""
    returning = False            # what was taken and not begun is on its way back

    def __init__(self, layer):
        self.layer = layer
        self.hostings: dict[str, object] = {}
        self.owned: Callable[[dict], None] | None = None            # called with what arrives for `owner`
        self.on_lost: list[Callable[[], None]] = []                 # called when the server went away
        self.residents: list = []                                   # what a worker that leaves gives back first

    def start_afresh(self, process: str) -> None:
        self.process, self.owner = process, f"{process}!{secrets.token_urlsafe(16)}"
        self.boxes: dict[str, Box] = {}
        self.hosted: dict[str, object] = {}              # sessions of hosted applications, by their own channel
        self.hostings = {name: self.new_hosting(name, old.slots) for name, old in self.hostings.items()}
        self.listenings: dict[str, object] = dict(self.hostings)
        self.dropped = 0

    def host(self, channel: str, slots: int):
        """`channel` is run by an application of ours, `slots` messages at once. Before the first receive."""
        self.hostings[channel] = self.listenings[channel] = self.new_hosting(channel, slots)
        return self.hostings[channel]

    # Readers

    def reader(self, channel: str):
        if "!" not in channel:
            listening = self.listenings.get(channel)
            if listening is None:
                listening = self.listenings[channel] = self.new_listening(channel)
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
        if isinstance(reader, Box):
            reader.since = time.monotonic()
            if channel in self.hosted:
                self.hosted[channel].reads = True
        else:
            runworker.meet(self.layer, reader)
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

    async def free(self, channel: str) -> None:
        """A message that `receive` gave may begin: it was taken because it could."""

    # What arrives

    def put(self, channel: str, message: dict) -> None:
        """A message for a channel of this process."""
        if channel == self.owner:
            if self.owned is not None:
                self.owned(message)
            return
        if channel in self.hosted and str(message.get("type")).startswith("interface."):
            if message["type"] == "interface.send":      # a stock consumer would end on a type that it has no method for
                self.hosted[channel].push(message)
            return
        box = self.boxes.get(channel)
        if box is None:
            box = self.make_box(channel)
        if not box.put(message):
            self.dropped += 1

    def refuse(self, error) -> None:
        self.dropped += 1
        logger.warning("dropped a message that can't be read: %s", error)

    @property
    def running(self) -> int:
        """How many messages of hosted channels have begun and not ended."""
        return sum(hosting.running for hosting in self.hostings.values() if hosting.begin is not None)

"""A stock channels_redis layer under `over_channels`: HTTP, one worker, one Redis."""
import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from channels.exceptions import ChannelFull
from django.core.exceptions import ImproperlyConfigured

from interfaces.worker import runworker
from interfaces.worker.leaving import GRACE

logger = logging.getLogger("interfaces.worker")
STOCK = "channels_redis.core", "RedisChannelLayer"
PATIENCE = 5.0               # seconds that an answer waits for room or for Redis; messages.md, Asking: retry for 5 s
RETRY = 0.05                 # seconds between tries, a guess


def is_stock(layer) -> bool:
    return any((kind.__module__, kind.__name__) == STOCK for kind in type(layer).__mro__)


class StockHost:
    """`layer` as over_channels uses it. It is its own inbox. No request is adopted: its buffers drop the oldest message of
    all that wait for a process, so nothing but bodies is sent to this one (messages.md, Ownership)."""
    adopts, reads_bodies = False, True
    returning = False
    residents = ()

    def __init__(self, layer):
        if len(layer.hosts) > 1:
            raise ImproperlyConfigured("over_channels on channels_redis knows one host: with several, parts of a body overtake "
                                       "each other. interfaces.worker.layers.RedisChannelLayer has no such limit")
        self.layer, self.grace, self.owned = layer, GRACE, None
        self.inbox, self.hostings = self, {}
        self.on_lost: list[Callable[[], None]] = []
        self.listenings: dict[str, object] = {}          # nothing that could be withdrawn from
        self.loop: asyncio.AbstractEventLoop | None = None
        self.leaving, self.home = None, self
        self.written: dict[str, int] = {}                # bytes of body by reply channel, of answers that go on
        self.outbox: deque[tuple[str, dict]] = deque()
        self.sender: asyncio.Task | None = None
        logger.warning("the channel layer is channels_redis: with more than one worker it runs requests twice "
                       "(channels_redis#163). interfaces.worker.layers.RedisChannelLayer does not")

    def host(self, channel: str, slots: int) -> "StockHosting":
        self.hostings[channel] = StockHosting(self, channel, slots)
        return self.hostings[channel]

    async def free(self, channel: str) -> None:
        if channel in self.hostings:
            await self.hostings[channel].free()

    def now(self) -> float:
        return time.time()                               # stock workers' clocks are all there is

    def open_body(self, channel: str, hear: Callable, held: Callable) -> "StockBody":
        return StockBody(self, channel, hear, held)

    def reply(self, channel: str, message: dict) -> None:
        self.outbox.append((channel, message))
        self.wake(self.send)

    def wake(self, call: Callable) -> None:
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass                                         # the worker has ended

    def send(self) -> None:
        if self.sender is None and self.outbox:
            self.sender = self.loop.create_task(self.sending())

    async def sending(self) -> None:
        """One at a time: the scores of two sends that overlap say nothing of their order."""
        try:
            while self.outbox:
                await self.sent(*self.outbox.popleft())
        finally:
            self.sender = None

    def confirm(self, channel: str, message: dict) -> None:
        """The server confirms nothing to who has not adopted. That Redis has taken it keeps this process's memory small;
        what its client does not read is the server's to bound (messages.md, Credit: plain workers)."""
        if not message.get("more_content"):
            return self.written.pop(channel, None)
        self.written[channel] = self.written.get(channel, 0) + len(message.get("content") or b"")
        self.owned({"type": "interface.credit", "reply_channel": channel, "sent": self.written[channel]})

    async def flushed(self) -> None:
        if self.sender is not None:
            await asyncio.wait([self.sender], timeout=PATIENCE)

    @property
    def running(self) -> int:
        return sum(hosting.running for hosting in self.hostings.values())

    async def sent(self, channel: str, message: dict) -> None:
        end = self.loop.time() + PATIENCE
        while True:
            try:
                await self.layer.send(channel, message)
                return self.confirm(channel, message)
            except ChannelFull as error:
                reason = error
            except Exception as error:                   # redis-py's own, which are no OSErrors
                return logger.warning("an answer was lost: %s", error)
            if self.loop.time() > end:
                return logger.warning("an answer was lost: %s", reason or "its channel is full")
            await asyncio.sleep(RETRY)


class StockHosting:
    """Messages come through the runworker's queue, which is given a bound, and begin when there is a free slot."""

    def __init__(self, host: StockHost, channel: str, slots: int):
        self.host, self.channel, self.slots = host, channel, slots
        self.begun = 0
        self.changed = asyncio.Event()
        self.done: deque[None] = deque()

    def activate(self, begin: Callable[[dict], None]) -> None:
        self.host.loop = asyncio.get_running_loop()
        runworker.adopt(self.host, self.channel)

    async def free(self) -> None:
        """Wait for a slot, and take it."""
        while self.running >= self.slots or self.host.leaving is not None and self.host.leaving.task is not None:
            self.changed.clear()
            await self.changed.wait()
        self.begun += 1

    @property
    def running(self) -> int:
        while self.done:
            self.done.popleft()
            self.begun -= 1
        return self.begun

    def finish(self) -> None:
        self.done.append(None)
        self.host.wake(self.changed.set)


class StockBody:
    """Reads one request's body by `receive`, a part when the application has looked at the one before."""

    def __init__(self, host: StockHost, channel: str, hear: Callable, held: Callable):
        self.host, self.hear, self.held = host, hear, held
        self.changed = asyncio.Event()
        self.task = host.loop.create_task(self.read(channel))

    async def read(self, channel: str) -> None:
        more = True
        while more:
            while self.held() > 1:
                self.changed.clear()
                await self.changed.wait()
            try:
                part = await self.host.layer.receive(channel)
            except Exception as error:
                logger.warning("a request's body was lost: %s", error)
                part = {"type": "http.request.body", "closed": True}
            more = bool(part.get("more_content")) and not part.get("closed")
            self.hear(part)

    def wake(self) -> None:
        self.host.wake(self.changed.set)

    def close(self) -> None:
        self.host.wake(self.task.cancel)

"""Where messages wait inside a worker: a Box per own channel, a Listening per shared channel that is received from.
Both belong to the home loop.
"""
import asyncio
from collections import deque
from collections.abc import Callable

from interfaces.layers.wire_local import CREDIT, LISTEN, STARTED, WITHDRAW, frame

WINDOW = 64                  # messages.md, Credit: the default window
FEW = 8                      # a guess: messages that a plain consumer's own queue may hold, begun and not yet looked at
SLOW = 0.25                  # seconds, a guess: what waited here as long had better been sent to another worker


class Waiters:
    """Readers that wait, first come first served. What a cancelled one was given already goes back in front.

    Lists: an empty deque takes 600 bytes, and an idle consumer has one of these. To take the first of 10,000 costs 2 us."""
    __slots__ = ("ready", "waiters")

    def __init__(self):
        self.ready: list[dict] = []
        self.waiters: list[asyncio.Future] = []

    def hand_out(self) -> None:
        while self.ready and self.waiters:
            waiter = self.waiters.pop(0)
            if not waiter.done():
                waiter.set_result(self.ready.pop(0))

    async def wait(self) -> dict:
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        self.waits()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.put_back(waiter.result())
            elif waiter in self.waiters:
                self.waiters.remove(waiter)
            self.gave_up()
            raise

    def put_back(self, message: dict) -> None:
        self.ready.insert(0, message)
        self.hand_out()

    @property
    def at_rest(self) -> bool:
        """What was handed out has been taken: its reader is back. One that was given a message is not awake yet."""
        return not self.ready and any(not waiter.done() for waiter in self.waiters)

    def waits(self) -> None:
        """A reader began to wait."""

    def gave_up(self) -> None:
        """A waiting reader was cancelled."""


class Box(Waiters):
    """An own channel: keeps the oldest `capacity` messages; what comes beyond is dropped, and `put` says False."""
    __slots__ = ("capacity", "since")

    def __init__(self, capacity: int, now: float):
        super().__init__()
        self.capacity, self.since = capacity, now

    async def take(self) -> dict:
        if self.ready and not self.waiters:
            return self.ready.pop(0)
        return await self.wait()

    def put(self, message: dict) -> bool:
        if len(self.ready) >= self.capacity:
            return False
        self.ready.append(message)
        if self.waiters:
            self.hand_out()
        return True

    @property
    def idle(self) -> bool:
        return not self.ready and not self.waiters


class Listening(Waiters):
    """A shared channel read by `receive`. `link` has `connection` (None while down)."""
    owner = ""

    def __init__(self, channel: str, link):
        super().__init__()
        self.channel, self.link = channel, link
        self.unstarted: deque[tuple[bytes, float]] = deque()
        self.credit = 0                                  # granted to the hub, not yet used by it
        self.withdrawing = 0                             # WITHDRAWs not yet answered: what still comes is not ours
        self.window = FEW
        self.queued: Callable[[], int] | None = None     # how much the stock runworker holds, where that reads here
        self.leaving = self.starting = False

    async def take(self) -> dict:
        if self.unstarted and not self.ready and not self.waiters:
            self.start(1)
        if self.ready and not self.waiters:
            return self.ready.pop(0)
        return await self.wait()

    def waits(self) -> None:
        self.start(len(self.waiters))
        self.grant()

    def gave_up(self) -> None:
        if not self.waiters and (self.credit or self.unstarted):
            self.withdraw()

    def pushed(self, payload: bytes, now: float) -> None:
        if not self.withdrawing:
            self.credit -= 1
            self.unstarted.append((payload, now))

    def settle(self) -> None:
        """All that came with one read is here."""
        if self.waiters:
            self.start(len(self.waiters))

    def start(self, wanted: int) -> None:
        """Tell the hub what begins, then let it begin. Where the hub may not have heard it nothing begins: the message
        goes to another worker then, and must not run twice."""
        if not self.unstarted or self.starting or wanted < 1:
            return
        now = self.link.loop.time()
        if self.queued is not None:
            wanted = max(wanted, FEW - self.queued())
            if now - self.unstarted[0][1] > SLOW:
                self.window = FEW
        count = min(wanted, len(self.unstarted))
        begun = [self.unstarted.popleft()[0] for _ in range(count)]
        connection = self.link.connection
        connection.write(frame(STARTED, self.channel, CREDIT.pack(count) + self.owner.encode()))
        self.starting = True
        connection.when_flushed(lambda flushed: self.begin_ready(begun if flushed else []))
        self.grant()

    def begin_ready(self, begun: list[bytes]) -> None:
        self.starting = False
        self.ready.extend(filter(None, map(self.link.decode, begun)))
        self.hand_out()
        if self.waiters:
            self.start(len(self.waiters))

    def grant(self) -> None:
        if self.leaving or self.link.connection is None:
            return
        held = self.credit + len(self.unstarted)
        if self.queued is None:
            more = len(self.waiters) - held
        else:
            if not held and self.waiters:                # the reader is quicker than its window
                self.window = min(2 * self.window, WINDOW)
            more = self.window - held if held <= self.window // 2 else 0
        if more > 0:
            self.credit += more
            self.link.connection.write(frame(LISTEN, self.channel, CREDIT.pack(more)))

    def withdraw(self) -> None:
        self.unstarted.clear()
        self.credit = 0
        if self.link.connection is not None:
            self.withdrawing += 1
            self.link.connection.write(frame(WITHDRAW, self.channel))

    @property
    def at_rest(self) -> bool:
        return super().at_rest and not self.starting

    def withdrawn(self) -> None:
        self.withdrawing = max(0, self.withdrawing - 1)

    def lost(self) -> None:
        """The hub is gone: it gives what was not started to others, or went down with it."""
        self.unstarted.clear()
        self.credit = self.withdrawing = 0

    def replay(self) -> None:
        """A new connection stands."""
        self.grant()

    @property
    def idle(self) -> bool:
        return not (self.ready or self.waiters or self.unstarted or self.credit or self.withdrawing or self.starting)

"""Who reads messages from Redis: each says how many it wants (`wanted`), and begins what has come (`settle`)."""
from collections import deque
from collections.abc import Callable

from interfaces.worker.boxes import FEW, Waiters

# Seconds, a guess: a quick reader is back within a millisecond. Until then its channel stays in the pop, and what comes is
# kept for it: to leave the pop and to join it again would cost three commands a message.
LINGER = 0.02
PARTS = 8                    # messages.md, Sizes: parts of a body that are out at a time


class RedisListening(Waiters):
    """A shared channel read by `receive`."""

    def __init__(self, channel: str, inbox):
        super().__init__()
        self.channel, self.inbox = channel, inbox
        self.unstarted: deque[tuple[bytes, float, int]] = deque()        # value, highest score, number of its server
        self.taking = 0                                  # asked for in calls that are out
        self.queued: Callable[[], int] | None = None     # how much the stock runworker holds, where that reads here
        self.leaving = self.holding = False
        self.until = 0.0                                 # until when its last reader is waited for

    @property
    def waiting(self) -> int:
        """Readers that wait, but for the cancelled that don't know it yet."""
        return sum(not waiter.done() for waiter in self.waiters)

    @property
    def lingers(self) -> bool:
        return not self.leaving and self.inbox.clock() < self.until

    def wanted(self, lingering: bool = False) -> int:
        """How many more it can begin. With `lingering` also for a reader that was here a moment ago."""
        if self.leaving:
            return 0
        held = self.taking + len(self.unstarted)
        if self.queued is None:
            return (self.waiting or int(lingering and self.lingers)) - held
        room = FEW - self.queued() - len(self.ready) - held
        if self.waiters:
            # At least what is waited for: nobody tells when a full queue has room again, but its next reader comes then.
            return max(room, self.waiting - len(self.ready) - held)
        return room if room >= FEW // 2 else 0

    async def take(self) -> dict:
        if self.unstarted and not self.ready and not self.waiters:
            self.start(1)
        if self.ready and not self.waiters:
            self.inbox.poke()
            return self.ready.pop(0)
        return await self.wait()

    def waits(self) -> None:
        self.settle()
        self.inbox.poke()

    def put_back(self, message: dict) -> None:
        """It was given to a reader that was cancelled: the next one may be in another process."""
        super().put_back(message)
        if self.queued is None and self.ready:
            self.unstarted.extendleft(map(self.inbox.encode, reversed(self.ready)))
            self.ready.clear()
            self.settle()

    def gave_up(self) -> None:
        if not self.waiting and self.queued is None:
            self.until = 0.0
            self.inbox.withdraw(self.channel)
            self.settle()

    def settle(self) -> None:
        """What came is here."""
        self.start(self.waiting)
        if not self.unstarted or not self.leaving and self.queued is not None:
            return
        if not self.lingers:
            self.inbox.put_back(self)
        elif not self.holding:
            self.holding = self.inbox.later(self.until, self.held)

    def held(self) -> None:
        self.holding = False
        self.settle()

    def start(self, count: int) -> None:
        while count > 0 and self.unstarted and not self.leaving:
            message = self.inbox.decode(self.channel, self.unstarted.popleft())
            if message is not None:
                self.until = self.inbox.clock() + LINGER
                self.ready.append(message)
                count -= 1
        self.hand_out()

    def withdraw(self) -> None:
        """Nothing more begins here."""
        self.leaving = True
        self.inbox.withdraw(self.channel)
        self.settle()

    def lost(self) -> None:
        """The layer is closed, or its home moves."""

    @property
    def idle(self) -> bool:
        return self.queued is None and not (self.ready or self.waiters or self.unstarted or self.taking or self.lingers)


class RedisHosting(RedisListening):
    """A shared channel that an application of ours runs, `slots` messages at once. The first goes the stock way, through
    `receive`; from `activate` on, messages go to `begin` as they come."""

    def __init__(self, channel: str, inbox, slots: int):
        super().__init__(channel, inbox)
        self.slots = slots
        self.begin: Callable[[dict], None] | None = None
        self.begun = self.finished = 0
        self.done: deque[None] = deque()

    @property
    def running(self) -> int:
        while self.done:
            self.done.popleft()
            self.finished += 1
        return self.begun - self.finished

    put_back = Waiters.put_back                          # it has begun: the next message of this application

    def wanted(self, lingering: bool = False) -> int:
        if self.leaving:
            return 0
        held = self.taking + len(self.unstarted)
        return (self.waiting if self.begin is None else self.slots - self.running) - held

    def activate(self, begin: Callable[[dict], None]) -> None:
        if self.begin is None:
            self.inbox.reads_own = True
            self.begin = begin
            while self.ready:
                begin(self.ready.pop(0))
            self.settle()
            self.inbox.poke()

    def finish(self) -> None:
        """A message that was begun is over. From any thread."""
        self.done.append(None)
        self.inbox.wake()

    def settle(self) -> None:
        self.start(self.waiting if self.begin is None else self.slots - self.running)
        if self.unstarted and (self.leaving or self.begin is None and not self.waiting):
            self.inbox.put_back(self)

    def start(self, count: int) -> None:
        while count > 0 and self.unstarted and not self.leaving:
            message = self.inbox.decode(self.channel, self.unstarted.popleft())
            if message is None:
                continue
            count -= 1
            self.begun += 1
            if self.begin is None:
                self.ready.append(message)
            else:
                self.begin(message)
        self.hand_out()

    def gave_up(self) -> None:
        if not self.waiting and self.begin is None:
            self.inbox.withdraw(self.channel)
            self.settle()


class RedisBody:
    """The further parts of one request's body, on a channel that only this request reads. `held()` says how many its
    application has not yet looked at."""
    leaving, queued, ready = False, None, ()

    def __init__(self, channel: str, inbox, hear: Callable[[dict], None], held: Callable[[], int]):
        self.channel, self.inbox, self.hear, self.held = channel, inbox, hear, held
        self.taking, self.ended = 0, False
        self.wake = inbox.wake                           # the application has looked at a part

    def wanted(self, lingering: bool = False) -> int:
        return 0 if self.ended else PARTS - self.held() - self.taking

    def arrived(self, value: bytes) -> None:
        message = self.inbox.decode(self.channel, (value, 0.0, 0))
        if message is not None:
            self.ended = self.ended or not message.get("more_content") or bool(message.get("closed"))
            self.hear(message)
        if self.ended:
            self.inbox.listenings.pop(self.channel, None)

    def settle(self) -> None:
        """Parts need no more than to have come."""

    def close(self) -> None:
        """The request is over. From any thread."""
        self.ended = True
        self.inbox.on_loop(self.inbox.listenings.pop, self.channel, None)

    def withdraw(self) -> None:
        """A worker that leaves still reads the bodies of what runs."""

    lost = withdraw
    idle = False

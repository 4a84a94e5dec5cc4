"""Who reads messages from Redis: each says how many it wants (`wanted`), and begins what has come (`settle`)."""
from collections import deque
from collections.abc import Callable

from interfaces.worker.boxes import FEW, Waiters

PARTS = 8                    # messages.md, Sizes: parts of a body that are out at a time


class RedisListening(Waiters):
    """A shared channel read by `receive`."""

    def __init__(self, channel: str, inbox):
        super().__init__()
        self.channel, self.inbox = channel, inbox
        self.unstarted: deque[tuple[bytes, float, object]] = deque()     # value, highest score, shard
        self.taking = 0                                  # asked for in calls that are out
        self.queued: Callable[[], int] | None = None     # how much the stock runworker holds, where that reads here
        self.leaving = False

    def wanted(self) -> int:
        if self.leaving:
            return 0
        held = self.taking + len(self.unstarted)
        if self.queued is None:
            return len(self.waiters) - held
        room = FEW - self.queued() - len(self.ready) - held
        if self.waiters:
            # At least what is waited for: nobody tells when a full queue has room again, but its next reader comes then.
            return max(room, len(self.waiters) - len(self.ready) - held)
        return room if room >= FEW // 2 else 0

    async def take(self) -> dict:
        if self.unstarted and not self.ready and not self.waiters:
            self.start(1)
        if self.ready and not self.waiters:
            self.inbox.poke()
            return self.ready.popleft()
        return await self.wait()

    def waits(self) -> None:
        self.settle()
        self.inbox.poke()

    def gave_up(self) -> None:
        if not self.waiters and self.queued is None:
            self.inbox.withdraw(self.channel)

    def settle(self) -> None:
        """What came is here."""
        self.start(len(self.waiters))
        if self.unstarted and (self.leaving or not self.waiters and self.queued is None):
            self.inbox.put_back(self)

    def start(self, count: int) -> None:
        while count > 0 and self.unstarted and not self.leaving:
            message = self.inbox.decode(self.channel, self.unstarted.popleft())
            if message is not None:
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
        return self.queued is None and not (self.ready or self.waiters or self.unstarted or self.taking)


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

    def wanted(self) -> int:
        if self.leaving:
            return 0
        held = self.taking + len(self.unstarted)
        return (len(self.waiters) if self.begin is None else self.slots - self.running) - held

    def activate(self, begin: Callable[[dict], None]) -> None:
        if self.begin is None:
            self.inbox.reads_own = True
            self.begin = begin
            while self.ready:
                begin(self.ready.popleft())
            self.settle()
            self.inbox.poke()

    def finish(self) -> None:
        """A message that was begun is over. From any thread."""
        self.done.append(None)
        self.inbox.wake()

    def settle(self) -> None:
        self.start(len(self.waiters) if self.begin is None else self.slots - self.running)
        if self.unstarted and (self.leaving or self.begin is None and not self.waiters):
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
        if not self.waiters and self.begin is None:
            self.inbox.withdraw(self.channel)


class RedisBody:
    """The further parts of one request's body, on a channel that only this request reads. `held()` says how many its
    application has not yet looked at."""
    leaving, queued, ready = False, None, ()

    def __init__(self, channel: str, inbox, hear: Callable[[dict], None], held: Callable[[], int]):
        self.channel, self.inbox, self.hear, self.held = channel, inbox, hear, held
        self.taking, self.ended = 0, False
        self.wake = inbox.wake                           # the application has looked at a part

    def wanted(self) -> int:
        return 0 if self.ended else PARTS - self.held() - self.taking

    def arrived(self, value: bytes) -> None:
        message = self.inbox.decode(self.channel, (value, 0.0, None))
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

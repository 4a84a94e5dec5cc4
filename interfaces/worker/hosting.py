"""A shared channel whose messages an application of ours runs. Belongs to the home loop, but for `finish` and `extra`."""
from collections import deque
from collections.abc import Callable

from interfaces.layers.wire_local import CREDIT, LISTEN, frame
from interfaces.worker.boxes import Listening


class Hosting(Listening):
    """A shared channel that an application of ours runs: `slots` at once, each message owned by `owner`.

    The first message goes the stock way, through `receive` and the runworker's queue, since that is what makes the
    runworker call the application. From then on (`activate`) messages go to `begin` straight from the socket: three
    task switches fewer per message, and nothing is lost when the runworker's instance ends."""

    def __init__(self, channel: str, link, slots: int, owner: str):
        super().__init__(channel, link)
        self.slots, self.owner = slots, owner
        self.begin: Callable[[dict], None] | None = None
        self.begun = self.finished = 0                   # changed on the loop; under flush's lock
        self.used = self.granted = 0                     # the same
        self.done: deque[None] = deque()

    @property
    def running(self) -> int:
        return self.begun - self.finished - len(self.done)

    def activate(self, begin: Callable[[dict], None]) -> None:
        if self.begin is None:
            self.begin = begin
            ready, self.ready = self.ready, []
            for message in ready:
                begin(message)
            self.settle()
            self.replay()

    def finish(self) -> None:
        """A message that was begun is over. From any thread; the slot is granted again with the next flush."""
        self.done.append(None)
        connection = self.link.connection
        if connection is not None and not connection.scheduled:
            connection.schedule()

    def extra(self) -> bytes:
        """Under flush's lock: the credit for what has finished."""
        more = 0
        while self.done:
            self.done.popleft()
            more += 1
        self.finished += more
        if not more or self.leaving or self.begin is None:
            return b""
        self.granted += more
        return frame(LISTEN, self.channel, CREDIT.pack(more))

    def pushed(self, payload: bytes, now: float) -> None:
        if not self.withdrawing:
            self.used += 1
            self.unstarted.append((payload, now))

    def settle(self) -> None:
        if self.begin is None:
            super().settle()
        elif self.unstarted and not self.starting:
            self.start(len(self.unstarted))

    def begin_ready(self, begun: list[bytes]) -> None:
        self.starting = False
        for message in map(self.link.decode, begun):
            self.begun += 1
            if message is None:
                self.finish()
            elif self.begin is None:
                self.ready.append(message)
            else:
                self.begin(message)
        self.hand_out()
        self.settle()

    def waits(self) -> None:
        if self.begin is None:
            super().waits()

    def gave_up(self) -> None:
        if self.begin is None and not self.waiters and (self.granted > self.used or self.unstarted):
            self.withdraw()

    def grant(self) -> None:
        if self.leaving or self.begin is not None or self.link.connection is None:
            return
        if self.waiters and self.granted == self.used and not self.unstarted:
            self.granted += 1
            self.link.connection.write(frame(LISTEN, self.channel, CREDIT.pack(1)))

    def replay(self) -> None:
        connection = self.link.connection
        if self.begin is None:
            return self.grant()
        if connection is None or self.leaving:
            return
        with connection.lock:                            # against `extra` in another thread's flush
            self.finished += len(self.done)
            self.done.clear()
            more = self.slots - (self.begun - self.finished) - (self.granted - self.used) - len(self.unstarted)
            self.granted += max(more, 0)
        if more > 0:
            connection.write(frame(LISTEN, self.channel, CREDIT.pack(more)))

    def withdraw(self) -> None:
        super().withdraw()
        self.used = self.granted

    def lost(self) -> None:
        super().lost()
        self.used = self.granted

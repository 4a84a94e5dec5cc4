"""Wills that are published later: when their delay is over, unless their client is back by then (3.1.3.2.2)."""
from collections.abc import Callable
from heapq import heapify, heappop, heappush

FEW = 64                    # entries of a heap that are never looked through, a guess


class Wills:
    """Of one broker. A will is `session.will` while it waits, and `session.due` is when it is published."""

    def __init__(self, broker):
        self.broker = broker
        self.heap = []          # (when, count, session, message); of those that came back or have ended too
        self.cancel = None      # of the timer for the next one

    def delay(self, session, will, when: float) -> None:
        session.will, session.due = will, when
        push(self.heap, (when, self.broker.number(), session, will), len(self.broker.store.sessions), waits)
        self.arm()

    def arm(self) -> None:
        if self.cancel is not None:
            self.cancel()
            self.cancel = None
        while self.heap and not waits(self.heap[0]):
            heappop(self.heap)
        if self.heap:
            self.cancel = self.broker.desk.later(max(self.heap[0][0] - self.broker.now(), 0.0), self.publish)

    def publish(self) -> None:
        """All that are due."""
        self.cancel, now = None, self.broker.now()
        while self.heap and self.heap[0][0] <= now:
            entry = heappop(self.heap)
            if waits(entry):
                _, _, session, will = entry
                session.will = None
                self.broker.store.keep(session)
                self.broker.relay(will)
        self.arm()


def waits(entry: tuple) -> bool:
    _, _, session, will = entry
    return session.will is will


def push(heap: list, entry: tuple, sessions: int, stands: Callable[[tuple], bool]) -> None:
    """Entries of those who came back in time stay until theirs has come; a device that comes and goes must not pile up:
    there are never more than twice as many as `sessions`."""
    heappush(heap, entry)
    if len(heap) > FEW and len(heap) > 2 * sessions:
        heap[:] = [each for each in heap if stands(each)]
        heapify(heap)

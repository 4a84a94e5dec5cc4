"""How a story is driven: a coroutine by hand, to the next thing that it waits for (the essay above bridge.py)."""
from interfaces.contract import Elapsed, HalfClosed, Handled, ProtocolError, Stopping

EVENT, REPLY, DRAIN, PAUSE = 1, 2, 4, 8         # what a story waits for
ELAPSED, HALF_CLOSED, STOPPING, HANDLED = Elapsed(), HalfClosed(), Stopping(), Handled()


class Wait:
    """What a story yields: it waits for what its link says."""

    def __await__(self):
        return (yield self)


WAIT = Wait()


class Driven:
    """What is behind a link's waits. `connection` gives events and time; `box` holds what the application said."""
    __slots__ = ("connection", "stream", "story", "running", "waiting", "deadline", "box", "boxed", "events", "signals",
                 "ended")

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.story = self.ended = self.deadline = None
        self.running, self.waiting = False, 0
        self.box, self.boxed = None, 0          # replies that wait for the story, and their size
        self.events = self.signals = None       # a stream's events; HalfClosed and Stopping

    def over(self):
        """The story has ended."""
        raise NotImplementedError

    def abort(self, reason):
        raise NotImplementedError

    # waiting

    async def next(self, timeout=None):
        return self.take(EVENT | REPLY) or await self.wait(EVENT | REPLY, timeout)

    async def event(self, timeout=None):
        return self.take(EVENT) or await self.wait(EVENT, timeout)

    async def reply(self, timeout=None):
        return self.take(REPLY) or await self.wait(REPLY, timeout)

    def take(self, wants: int):
        """What is here already and wanted, or None."""
        if wants & REPLY and self.box:
            item, size = self.box.popleft()
            self.boxed -= size
            return item
        if wants & EVENT:
            event = self.next_event()
            if event is not None:
                return event
        if self.signals and wants & (EVENT | REPLY):
            return self.signals.pop(0)
        return self.ended

    def next_event(self):
        if self.events:
            return self.events.popleft()
        return None if self.connection.streams else self.connection.pull()

    async def wait(self, wants: int, timeout):
        self.waiting = wants
        if timeout is not None:
            self.deadline = self.connection.arm(timeout)
        return await WAIT

    # the story

    def start(self, story):
        self.story = story
        self.step(None)

    def wake(self):
        """Something may have come that the story waits for."""
        if self.running or not self.waiting:
            return
        try:
            item = self.take(self.waiting)
        except ProtocolError as error:
            self.step(None, error)
        else:
            if item is not None:
                self.step(item)

    def step(self, value, error=None):
        self.running, self.waiting, self.deadline = True, 0, None
        try:
            yielded = self.story.send(value) if error is None else self.story.throw(error)
        except StopIteration:
            self.running = False
            self.over()
        except Exception:
            self.running = False
            self.connection.log.failure("the story of {peer} failed", peer=self.connection.peer)
            self.abort("a fault of the server's own")
            self.over()
        else:
            self.running = False
            if yielded is not WAIT:             # a layer's Deferred: the round trip of a send
                yielded.addCallbacks(self.step, lambda failure: self.step(None, failure.value))

    def signal(self, item):
        self.signals = (self.signals or []) + [item]
        self.wake()

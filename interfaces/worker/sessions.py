"""The long-lived connections of one worker: begun by the messages of one shared channel, given back when the worker leaves."""
import asyncio
import logging
from collections import deque

from interfaces.worker.adoption import ADOPT
from interfaces.worker.early import Early
from interfaces.worker.lanes import Lanes
from interfaces.worker.session import BEGUN, CLOSED, OPEN, OVER, Session, current

logger = logging.getLogger("interfaces.worker")
HALF = 32                    # messages.md, Credit: the server is told at the latest after half a window
HALF_BYTES = 128 * 1024      # the same of the window's 256 KiB
TICK = 0.05                  # messages.md, Credit: two of them make 100 ms
CLOSE_TIME = 10.0            # Daphne's application_close_timeout, for an application that was told that it is over


class Sessions:
    """`kind(sessions, message)` makes a Session; `scope_of(message)` its scope. `all`: those that run, by reply channel."""

    def __init__(self, over, application, kind: type[Session], scope_of):
        self.application, self.kind, self.scope_of, self.layer = application, kind, scope_of, over.layer
        self.settings = over.settings
        self.all: dict[str, Session] = {}
        self.hosting = self.loop = self.lanes = None
        self.opened = self.kept = 0                      # accepted; of them, those that keep a slot (`decided`)
        self.late = self.missed = 0                      # messages that came after their deadline; that never came
        self.leaving = self.over = False
        self.dues: dict[Session, int | None] = {}        # who has handled more than the server knows: what it knew at a tick
        self.ticking: asyncio.TimerHandle | None = None
        self.ending: deque[tuple[float, Session]] = deque()
        self.watching: asyncio.TimerHandle | None = None
        self.early = Early()
        self.keeping: dict[Session, asyncio.Task] = {}   # of those that are asked for their state
        self.forgotten: set[str] = set()                 # own channels of those that have ended, still in groups
        self.sweeping: asyncio.Task | None = None

    @property
    def claim(self) -> dict:
        """Keys of the first reply (messages.md, Ownership)."""
        keys = {"receive_channel": self.layer.inbox.owner}
        return keys if self.settings.release is None else keys | {"release": self.settings.release}

    def activate(self, hosting) -> None:
        """On the loop, by the runworker's instance for the channel."""
        self.hosting, self.loop = hosting, asyncio.get_running_loop()
        self.lanes, self.leaving, self.over = Lanes(self.settings.threads), False, False
        if self not in self.layer.inbox.residents:
            self.layer.inbox.residents.append(self)
        hosting.activate(self.begin)

    def close(self) -> None:
        """The runworker's instance ends."""
        self.over = True
        self.lanes.close()

    # Beginning

    def begin(self, message: dict) -> None:
        deadline = message.get("deadline")
        if deadline is not None and self.layer.now() > deadline:
            self.late += 1
            return self.hosting.finish()
        try:
            session = self.kind(self, message)
            scope = self.scope_of(message)
        except Exception:
            logger.exception("a connection could not be begun")
            return self.hosting.finish()
        former = self.all.get(session.reply_channel)
        if former is not None:                           # announced again, and taken by the worker that had it
            former.gone()
        self.all[session.reply_channel] = session
        self.start(session, scope)
        if self.layer.adopts:                            # else the layer says who has it
            if message.get("resumed"):
                session.claim()                          # at once: until then the server can't tell it from one that is lost
            else:
                self.loop.call_later(ADOPT, session.claim)
        for early in self.early.taken(session.reply_channel):
            session.hear(early)

    def start(self, session: Session, scope: dict) -> None:
        session.lane = self.lanes.choose()
        context = session.lane.enter()
        context.run(current.set, session)
        session.task = self.loop.create_task(self.application(scope, session.receive, session.send), context=context)
        session.task.add_done_callback(session.ended, context=context)

    def decided(self, session: Session) -> None:
        """A connection takes a slot until it is accepted or refused. Of those accepted the last few keep it, so that there
        are never more than `connections`."""
        session.has_slot, session.accepted = False, session.stage == OPEN
        if session.accepted:
            self.opened += 1
            if self.opened - self.kept > self.settings.connections - self.hosting.slots:
                self.kept += 1
                return
        self.hosting.finish()

    def end(self, session: Session) -> None:
        """Its application has ended."""
        if self.all.get(session.reply_channel) is session:
            del self.all[session.reply_channel]
        session.lane.held -= 1
        self.opened -= session.accepted
        if session.has_slot:
            self.hosting.finish()
        elif session.accepted and self.kept:
            self.kept -= 1
            self.hosting.finish()
        if session.channel is not None:
            self.layer.inbox.hosted.pop(session.channel, None)
            if not self.forgotten:
                self.loop.call_later(TICK, self.sweep)
            self.forgotten.add(session.channel)
        session.task = session.resumable = None

    # What the server says

    def hear(self, message: dict) -> None:
        session = self.all.get(message.get("reply_channel"))
        if session is not None:
            session.hear(message)
        elif self.may_be_early(message):
            self.early.keep(message)

    def may_be_early(self, message: dict) -> bool:
        """It may be for one that is still to begin (early.py)."""
        kind = message.get("type")
        if kind.__class__ is not str or message.get("reply_channel").__class__ is not str:
            return False
        activated = self.hosting is not None and self.hosting.begin is not None
        return kind == self.kind.disconnect or not activated and kind.startswith(f"{self.kind.disconnect.split('.')[0]}.")

    def miss(self, session: Session, count: int) -> None:
        self.missed += count
        logger.warning("%d messages for %s are lost", count, session.path)

    def server_lost(self) -> None:
        """The interface server is gone, and with it the sockets of its clients."""
        for session in tuple(self.all.values()):
            self.lose(session)

    def lose(self, session: Session) -> None:
        if not session.left:
            session.queue.append(dict(self.kind.lost))
            session.leave()
            session.hand_out()

    # Credit

    def due(self, session: Session) -> None:
        """It has handled more: the server is told with its next reply, or at the latest after 100 ms or half a window."""
        if session.stage == OVER:
            return
        if session.handled - session.told >= HALF or session.weight >= HALF_BYTES:
            return session.reply({"type": "interface.credit"})
        self.dues.setdefault(session)
        if self.ticking is None:
            self.ticking = self.loop.call_later(TICK, self.tick)

    def tick(self) -> None:
        dues, self.dues, self.ticking = self.dues, {}, None
        for session, told in dues.items():
            if session.told == session.handled or session.stage == OVER:
                continue
            if told == session.told:                     # nothing has gone out since the last tick
                session.reply({"type": "interface.credit"})
            else:
                self.dues[session] = session.told
        if self.dues:
            self.ticking = self.loop.call_later(TICK, self.tick)

    # What ends

    def watch(self) -> None:
        if self.watching is None:
            self.watching = self.loop.call_later(CLOSE_TIME, self.look)

    def look(self) -> None:
        self.watching, now = None, self.loop.time()
        while self.ending and self.ending[0][0] + CLOSE_TIME <= now:
            _, session = self.ending.popleft()
            if session.task is None:
                continue
            if session.stage == CLOSED and not session.left:
                self.lose(session)                       # the server's word is lost
            elif session.stage == OVER and session.since + CLOSE_TIME <= now:
                logger.warning("the application of %s did not end within %g s, and is cancelled", session.path, CLOSE_TIME)
                session.task.cancel()
            self.ending.append((now, session))
        if self.ending:
            self.watching = self.loop.call_at(self.ending[0][0] + CLOSE_TIME, self.look)

    def sweep(self) -> None:
        """Channels of consumers that have ended must not pile up in groups (messages.md, Worker loss and hand-over)."""
        if self.sweeping is not None:
            return
        forgotten, self.forgotten = self.forgotten, set()
        boxes = self.layer.inbox.boxes
        for channel in forgotten:
            if channel in boxes and not boxes[channel].waiters:
                del boxes[channel]
        stale = [(group, channel) for group, channel in self.layer.groups if channel in forgotten]
        if stale:
            self.sweeping = self.loop.create_task(self.discard(stale))

    async def discard(self, stale: list[tuple[str, str]]) -> None:
        found = await asyncio.gather(*[self.layer.group_discard(*each) for each in stale], return_exceptions=True)
        for error in {str(each) for each in found if isinstance(each, Exception)}:
            logger.warning("a channel stays in a group: %s", error)
        self.sweeping = None
        if self.forgotten:
            self.sweep()

    # Leaving

    def leave(self, last: bool) -> bool:
        """Give back what is at rest, with `last` all that is left. True when nothing is. Called until then."""
        self.leaving = True
        for session in tuple(self.all.values()):
            if last:
                self.give_up(session)
            elif session.at_rest and session not in self.keeping:
                self.give_back(session)
        if not self.layer.adopts:                        # the hub sees this process go
            return not self.all
        if self.forgotten:
            self.sweep()
        return not (self.all or self.forgotten or self.sweeping)

    def give_up(self, session: Session) -> None:
        if session.left or session.stage not in (BEGUN, OPEN):
            return session.gone()
        session.handled = session.given                  # it may have run: it does not run twice
        session.give_back({})

    def give_back(self, session: Session) -> None:
        if session.resumable is None:
            return session.give_back({})
        context = session.lane.context.copy()
        self.keeping[session] = self.loop.create_task(self.give_back_with_state(session), context=context)

    async def give_back_with_state(self, session: Session) -> None:
        try:
            state = await session.resumable.last_state()
            if session.at_rest:                          # else it has got a message meanwhile, and is asked again
                session.give_back(state)
        finally:
            del self.keeping[session]

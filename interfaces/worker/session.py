"""One long-lived connection that an application of this worker has: its events in order, and credit both ways.

    begun ----------------> open (accepted) -> closed (by the application) -> over
        \\-> (answering) ----------------------> closed (refused) ----------/
    over: the application was told that it has ended, or the connection is not ours any more

Nothing here knows the protocol; `websocket.py` does. All of it runs on the loop of the runworker."""
import asyncio
import logging
from contextvars import ContextVar

from interfaces.worker.exchange import Window

logger = logging.getLogger("interfaces.worker")
current: ContextVar["Session"] = ContextVar("session")       # of the tasks of a hosted application
BEGUN, ANSWERING, OPEN, CLOSED, OVER = range(5)
# Seconds, a guess, for which what an application says to a peer that has left goes nowhere. ASGI 2.4 wants an OSError, but
# raised in a stock consumer it would end it before it hears of the disconnect that waits for it.
LAST_WORDS = 10.0


class Session:
    """`receive`, and `send` of a subclass, are what the application calls."""
    __slots__ = ("sessions", "reply_channel", "path", "epoch", "lane", "task", "stage", "was_open", "queue", "waiter", "out",
                 "senders", "order", "given", "handled", "told", "weight", "claimed", "has_slot", "accepted", "left",
                 "leaving", "since", "channel", "reads", "resumable")
    disconnect = ""                                      # the type of the last message
    lost: dict = {}                                      # the last message where the server can't say it any more

    def __init__(self, sessions, message: dict):
        self.sessions, self.reply_channel, self.path = sessions, message["reply_channel"], message.get("path", "")
        self.epoch, order = message.get("epoch") or 0, message.get("order") or 0
        self.task: asyncio.Task | None = None
        self.lane = self.resumable = None
        self.stage, self.has_slot, self.accepted, self.claimed = BEGUN, True, False, False
        self.was_open = bool(message.get("resumed")) and message.get("deadline") is None
        self.queue: list[dict] = [{"type": message["type"], "order": order}]
        self.waiter: asyncio.Future | None = None        # the application waits in receive
        self.out: Window | None = None                   # made with the first send: most connections are idle
        self.senders: list[asyncio.Future] | None = None         # it waits in send
        self.order = order                               # of the last message that came
        self.given = self.handled = self.told = order - 1        # given to the application, handled by it, said to the server
        self.weight = 0                                  # bytes handled since the server was told
        self.left = self.leaving = False                 # the peer has left; the connection is being given back
        self.since = 0.0                                 # since when nobody hears the application
        self.channel: str | None = None                  # of its own, the first one; and whether it reads from it
        self.reads = False

    # What the server says

    def hear(self, message: dict) -> None:
        kind = message.get("type")
        if kind == "interface.credit":
            if self.out is not None:
                self.out.confirm(message.get("sent"))
                self.wake_senders()
        elif kind == "interface.gone":
            if not self.left:                            # else it is over because it was told so, and hears of that
                self.gone()
        elif not self.left and self.in_order(message.get("order")):
            self.queue.append(message)
            if kind == self.disconnect:
                self.leave()
            self.hand_out()

    def leave(self) -> None:
        """Its last message has come."""
        self.left = True
        self.silence()

    def in_order(self, order) -> bool:
        """A hole is what was lost with another worker, or on its way (at most once); what came already is not given again."""
        if order.__class__ is not int:
            return True
        if order <= self.order:
            return False
        if order > self.order + 1:
            self.sessions.miss(self, order - self.order - 1)
        self.order = order
        return True

    def hand_out(self) -> None:
        if self.waiter is not None and not self.waiter.done() and self.queue and not self.holds:
            self.waiter.set_result(self.queue.pop(0))

    @property
    def holds(self) -> bool:
        """The worker leaves, and this connection with it: what is not begun is for the next owner. One that ends, ends
        here."""
        return self.sessions.leaving and not self.left and self.stage == OPEN

    def gone(self) -> None:
        """The connection is over or another's: nothing is said any more, and the application hears of it by being ended."""
        self.stage = OVER
        self.silence()
        if self.task is not None:
            self.task.cancel()

    def silence(self) -> None:
        """From now on nobody hears the application."""
        if not self.since:
            self.since = self.sessions.loop.time()
            self.sessions.ending.append((self.since, self))
            self.sessions.watch()
        self.wake_senders()

    def wake_senders(self) -> None:
        senders, self.senders = self.senders, None
        for sender in senders or ():
            if not sender.done():
                sender.set_result(None)

    # What is said to the server

    def reply(self, message: dict) -> None:
        """With all that can go with it. Raises what the layer raises for a message that it can't carry."""
        if not self.claimed:
            message = self.sessions.claim | {"epoch": self.epoch} | message
        handled = self.handled
        if self.told != handled:
            message["handled"] = handled
        self.sessions.layer.reply(self.reply_channel, message)
        self.claimed, self.told = True, handled
        if "handled" in message:
            self.weight = 0

    def claim(self) -> None:
        if not self.claimed and self.stage != OVER:
            self.reply({"type": "interface.credit"})

    def keep(self, state: dict) -> None:
        """For the next owner, should this worker be lost. `state`: {"state": any value}, or {}."""
        if state and not self.since:
            try:
                self.reply({"type": "interface.state"} | state)
            except (TypeError, ValueError, OverflowError) as error:
                self.log("has a state that its layer can't carry", error)

    async def room(self, size: int) -> bool:
        """Wait until `size` bytes may be sent, which the caller adds to `out`. False when nobody hears them."""
        out = self.out
        if out is None:
            out = self.out = Window()
        while out.full(size) and not self.since:
            sender = self.sessions.loop.create_future()
            if self.senders is None:
                self.senders = []
            self.senders.append(sender)
            await sender
        if self.since:
            self.speak_to_nobody()
            return False
        return True

    def speak_to_nobody(self) -> None:
        """Raises OSError once the application must know (ASGI 2.4, Disconnected client - send exception)."""
        if self.stage == OVER or self.sessions.loop.time() > self.since + LAST_WORDS:
            raise ConnectionResetError("the connection is closed")

    def verdict(self, stage: int) -> None:
        self.stage = stage
        if self.has_slot:
            self.sessions.decided(self)

    def push(self, message: dict) -> None:
        """A message in no protocol's words, for a channel of the application's own (messages.md, Groups)."""

    # What the application calls

    async def receive(self) -> dict:
        if self.handled != self.given:
            self.handled = self.given
            self.sessions.due(self)
        if self.waiter is not None and not self.waiter.done():
            raise RuntimeError("receive() is called while an earlier receive() waits")
        if self.queue and not self.holds:
            return self.give(self.queue.pop(0))
        waiter = self.waiter = self.sessions.loop.create_future()
        try:
            return self.give(await waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.queue.insert(0, waiter.result())
            raise
        finally:
            if self.waiter is waiter:
                self.waiter = None

    def give(self, message: dict) -> dict:
        self.given = message.get("order", self.given)
        event = self.event(message)
        if message["type"] == self.disconnect:
            self.stage, self.since = OVER, self.sessions.loop.time()
        return event

    def event(self, message: dict) -> dict:
        """The ASGI event; adds its size to `weight`."""
        raise NotImplementedError

    def fail(self) -> None:
        """Say that the application has failed."""
        raise NotImplementedError

    # The end

    def ended(self, task: asyncio.Task) -> None:
        """The application has returned, raised or been cancelled."""
        error = None if task.cancelled() else task.exception()
        if self.since or self.stage == OVER or self.leaving:
            if error is not None and not isinstance(error, OSError):
                self.log("failed after its connection had ended", error)
        elif not (task.cancelled() and self.sessions.over):
            self.log("failed" if error else "returned without an end of its connection", error)
            self.fail()
        self.stage = OVER
        self.sessions.end(self)

    def log(self, what: str, error: BaseException | None) -> None:
        logger.error("the application of %s %s", self.path, what, exc_info=error and (type(error), error, error.__traceback__))

    @property
    def at_rest(self) -> bool:
        """Its application waits: for the peer, and, if it does that at all, for messages on its own channel."""
        if self.stage != OPEN or self.left or self.waiter is None or self.waiter.done():
            return False
        box = self.sessions.layer.inbox.boxes.get(self.channel)
        return not self.reads or box is not None and bool(box.waiters)

    def give_back(self, state: dict) -> None:
        """To the server, for another worker (messages.md, Worker loss and hand-over). `state`: {} or {"state": any value}."""
        self.leaving = self.claimed = True
        self.told = None                                 # said even if it was said before
        message = {"type": "interface.credit", "receive_channel": None, "epoch": self.epoch}
        try:
            self.reply(message | state)
        except (TypeError, ValueError, OverflowError) as error:
            self.log("has a state that its layer can't carry", error)
            self.reply(message)
        self.gone()

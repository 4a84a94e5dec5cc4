"""Are the owners of connections still there? Asked where the layer does not tell of lost processes (messages.md, Worker
loss): all of them every ten seconds, and one of whom the layer has doubts at once and each second."""
from twisted.internet.defer import ensureDeferred

from interfaces.contract import Lost

EVERY = 10.0                    # seconds; messages.md
MISSES = 3                      # likewise
PRESS = 1.0                     # seconds between two pings to a doubtful process; decision 20
PRESSED = 5                     # such pings: a worker that lives has a new connection after 2 s (worker/home.py)
PATIENCE = PRESS * PRESSED
KNOWN = 10_000                  # worker processes that one may forget, a guess


class Pings:
    def __init__(self, exchange, clock, every: float):
        self.exchange, self.clock, self.every = exchange, clock, every
        self.known = {}         # worker process -> its owner channel, and when it was asked
        self.missed = {}        # worker process -> pings that it has not answered
        self.pressed = {}       # doubtful worker process -> its next ping
        self.heard = set()      # owners that have said since the last pings what they have handled: a sign of life as good
        self.timer = self.settling = None
        self.gapped = 0.0       # when messages were lost

    def owns(self, process: str, owner: str):
        """It owns one connection more."""
        if self.timer is None:
            self.timer = self.clock.callLater(self.every, self.round)
        _, asked = self.known.get(process, (owner, -self.every))
        if self.exchange.layer.watch is not None and asked + self.every <= self.clock.seconds():
            self.ask(process, owner)            # at once: the answer says what the layer may watch

    def ask(self, process: str, owner: str):
        if len(self.known) >= KNOWN:            # those that were never heard of again
            self.known.clear()
        self.known[process] = owner, self.clock.seconds()
        self.exchange.tell(owner, {"type": "interface.ping", "id": process, "reply_channel": self.exchange.own_channel})

    def answered(self, pong: dict):
        process = pong.get("id")
        if process.__class__ is not str:
            return
        self.missed.pop(process, None)
        self.press_no_more(process)
        if process in self.known and self.exchange.layer.watch is not None:
            self.exchange.layer.watch(self.known[process][0], pong.get("reader"))

    def round(self):
        self.timer, heard, self.heard = None, self.heard, set()
        for process in list(self.exchange.owned):
            owner = self.exchange.owner(process)
            missed = self.missed[process] = 0 if owner in heard else self.missed.get(process, -1) + 1
            if missed >= MISSES:
                self.lost(process)
            else:
                self.ask(process, owner)
        if self.exchange.owned:
            self.timer = self.clock.callLater(self.every, self.round)
        else:
            self.missed.clear()

    def doubt(self, process: str):
        """What it read by is gone: it was killed, or connects anew."""
        if process not in self.pressed:
            self.press(process, 0)

    def press(self, process: str, asked: int):
        self.pressed.pop(process, None)
        if process not in self.known:
            return
        if asked == PRESSED:
            return self.lost(process)
        self.ask(process, self.known[process][0])
        self.pressed[process] = self.clock.callLater(PRESS, self.press, process, asked + 1)

    def press_no_more(self, process: str):
        timer = self.pressed.pop(process, None)
        if timer is not None:
            timer.cancel()

    def lost(self, process: str):
        self.missed.pop(process, None)
        self.known.pop(process, None)
        self.press_no_more(process)
        self.exchange.lost(Lost(process))
        if self.exchange.layer.watch is not None:
            ensureDeferred(self.exchange.find_orphans(Lost(process), self.clock.seconds() - PATIENCE))

    def gap(self):
        """Messages may be lost. Of one that was, or whose answer was, nobody would ever hear."""
        if self.known and self.exchange.layer.watch is not None:
            self.gapped = self.clock.seconds()
            if self.settling is None:
                self.settling = self.clock.callLater(PATIENCE, self.settle)

    def settle(self):
        before, self.settling = self.clock.seconds() - PATIENCE, None
        if self.gapped > before:
            self.settling = self.clock.callLater(self.gapped - before, self.settle)
        ensureDeferred(self.exchange.find_orphans(Lost(), before))

    def close(self):
        for process in list(self.pressed):
            self.press_no_more(process)
        for timer in (self.timer, self.settling):
            if timer is not None:
                timer.cancel()
        self.timer = self.settling = None

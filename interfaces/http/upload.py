"""A request's body on its way to the worker: the first part goes with the request, the others to whoever took it."""
from interfaces.contract import ChannelFull, Closed, Elapsed, HalfClosed, ProtocolError
from interfaces.http.messages import HttpBody
from interfaces.http.protocol import Data, End

PART = 64 * 1024            # messages.md, Sizes
PARTS = 8                   # messages.md, Sizes: parts of a body that may be out
MIN_RATE = 500              # bytes/s below which a body is too slow; Apache's RequestReadTimeout MinRate
RETRY = 0.05                # seconds until a full body channel is tried again: a guess


class Upload:
    """`pending`: not all of the body has been passed on. `wants`: the peer may send more now."""
    __slots__ = ("link", "grace", "held", "ended", "passed", "sink", "channel", "received", "waited", "stalled", "retry_at")

    def __init__(self, link, grace: float):
        self.link, self.grace = link, grace     # seconds that the peer may keep us waiting, beside MIN_RATE
        self.held, self.ended, self.passed = b"", False, False
        self.sink = self.channel = self.retry_at = None
        self.received, self.waited, self.stalled = 0, 0.0, 0.0

    pending = property(lambda self: not self.passed)
    wants = property(lambda self: self.sink is not None and not self.ended and not self.held)

    @property
    def patience(self) -> float:
        """Seconds that the peer still has: never more than the grace at once, and MIN_RATE over all. What we make it wait
        is not counted against it."""
        return self.grace - max(self.stalled, self.waited - self.received / MIN_RATE)

    async def first_part(self):
        """Reads at most one part. Gives the Closed or HalfClosed that came between; raises ProtocolError 408."""
        link, pieces, size = self.link, [], 0
        while not self.ended and size < PART:
            began = link.now()
            item = await link.event(self.patience)
            self.count(item, link.now() - began)
            match item:
                case Data(data):
                    pieces.append(data)
                    size += len(data)
                case End():
                    self.ended = True
                case Elapsed():
                    raise ProtocolError("the body took too long", 408)
                case Closed() | HalfClosed():
                    return item
        self.held = b"".join(pieces)
        return None

    def begin(self) -> tuple[bytes, bool]:
        """(first part, whether more follows)."""
        if self.ended and len(self.held) <= PART:
            self.passed = True
            return self.held, False
        self.link.curious = True
        part, self.held = self.held[:PART], self.held[PART:]
        self.passed = self.ended and not self.held
        if not self.passed:
            self.channel = f"http.request.body{self.link.reader_mark}" + self.link.reply_channel.rpartition("!")[2]
            self.link.window = PARTS
            if not self.link.tells_taken:
                self.sink = self.channel        # nobody will say who took it: the body waits where all kinds of worker look
        return part, not self.passed

    def taken(self, owner: str | None):
        if self.pending and self.sink is None:
            self.sink = owner or self.channel

    def count(self, item, seconds: float):
        """What came after the peer was waited for so long."""
        self.waited += seconds
        if item.__class__ is Data:
            self.received += len(item.data)
            self.stalled = 0.0
        else:
            self.stalled += seconds

    def take(self, item):
        if item.__class__ is Data:
            self.held += item.data
        else:
            self.ended = True

    async def forward(self):
        """Pass on what is held, as far as there is room for it."""
        self.retry_at = None
        while self.sink is not None and self.pending and (self.held or self.ended):
            owned = self.sink is not self.channel
            if owned and not self.link.room:
                return
            part, rest = self.held[:PART], self.held[PART:]
            more = bool(rest) or not self.ended
            try:
                await self.link.send(HttpBody(part, more), channel=None if owned else self.sink)
            except ChannelFull:
                self.retry_at = self.link.now() + RETRY
                return
            self.held, self.passed = rest, not more

    async def give_up(self):
        """The rest won't come, or nobody needs it: a plain worker that waits for it must learn so."""
        if self.channel is not None:
            owned = self.sink not in (None, self.channel)
            await self.link.drop(self.channel, HttpBody(b"", False, True) if self.pending and not owned else None)

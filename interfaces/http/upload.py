"""A request's body on its way to the worker: the first part goes with the request, the others to whoever took it.

A classic worker runs one message at a time and waits for a body where it stands: one slow client would hold it. So there
the request goes out when all of its body is here, as Daphne has it."""
from tempfile import SpooledTemporaryFile

from interfaces.contract import ChannelFull, Closed, Elapsed, HalfClosed, ProtocolError, Unconfirmed
from interfaces.http.messages import HttpBody
from interfaces.http.protocol import Data, End

PART = 64 * 1024            # messages.md, Sizes
PARTS = 8                   # messages.md, Sizes: parts of a body that may be out
MIN_RATE = 500              # bytes/s below which a body is too slow; Apache's RequestReadTimeout MinRate
IN_MEMORY = 1024 * 1024     # bytes of a classic worker's body, then disk: messages.md, Credit, for boxes
RETRY = 0.05                # seconds until a full body channel is tried again: a guess


CLASSIC = "?"               # the reader_mark of layers for workers of Channels 1


class Upload:
    """`pending`: not all of the body has been passed on. `wants`: the peer may send more now."""
    __slots__ = ("link", "grace", "held", "ended", "passed", "sink", "channel", "received", "waited", "stalled", "retry_at",
                 "sent", "spool", "spooled")

    def __init__(self, link, grace: float):
        self.link, self.grace = link, grace     # seconds that the peer may keep us waiting, beside MIN_RATE
        self.held, self.ended, self.passed = b"", False, False
        self.sink = self.channel = self.retry_at = None
        self.received, self.waited, self.stalled = 0, 0.0, 0.0
        self.spool, self.spooled = None, 0      # a file, and the bytes of it that are still to be read
        self.sent = 0                           # parts, beside that which went with the request

    pending = property(lambda self: not self.passed)
    wants = property(lambda self: self.sink is not None and not self.ended and not self.held)

    @property
    def patience(self) -> float:
        """Seconds that the peer still has: never more than the grace at once, and MIN_RATE over all. What we make it wait
        is not counted against it."""
        return self.grace - max(self.stalled, self.waited - self.received / MIN_RATE)

    async def first_part(self):
        """Reads at most one part, or all for a classic worker. Gives the Closed or HalfClosed that came between; raises
        ProtocolError 408."""
        link, pieces, size, whole = self.link, [], 0, self.link.reader_mark == CLASSIC
        while not self.ended and (whole or size < PART):
            began = link.now()
            item = await link.event(self.patience)
            self.count(item, link.now() - began)
            match item:
                case Data(data) if size < PART:
                    pieces.append(data)
                    size += len(data)
                case Data(data):
                    self.put_away(data)
                case End():
                    self.ended = True
                case Elapsed():
                    raise ProtocolError("the body took too long", 408)
                case Closed() | HalfClosed():
                    return item
        self.held = b"".join(pieces)
        if self.spool is not None:
            self.spool.seek(0)
        return None

    def put_away(self, data: bytes):
        if self.spool is None:
            self.spool = SpooledTemporaryFile(max_size=IN_MEMORY)
        self.spool.write(data)
        self.spooled += len(data)

    def part(self) -> tuple[bytes, bytes, bool]:
        """(the next part, what is held behind it, whether more follows)."""
        if self.spooled and len(self.held) < PART:
            data = self.spool.read(PART)
            self.spooled -= len(data)
            self.held += data
        part, rest = self.held[:PART], self.held[PART:]
        return part, rest, bool(rest) or self.spooled > 0 or not self.ended

    def begin(self) -> tuple[bytes, bool]:
        """(first part, whether more follows)."""
        part, self.held, more = self.part()
        self.passed = not more
        if self.passed:
            return part, False
        self.link.curious = True
        self.channel = f"http.request.body{self.link.reader_mark}" + self.link.reply_channel.rpartition("!")[2]
        self.link.window = PARTS
        if not self.link.tells_taken:
            self.sink = self.channel        # nobody will say who took it: the body waits where all kinds of worker look
        return part, True

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
        """Pass on what is held, as far as there is room for it. Raises Unconfirmed."""
        self.retry_at = None
        while self.sink is not None and self.pending and (self.held or self.ended):
            owned = self.sink is not self.channel
            if owned and not self.link.room:
                return
            part, rest, more = self.part()
            try:
                await self.link.send(HttpBody(part, more, False, self.sent + 1), channel=None if owned else self.sink)
            except Unconfirmed:
                raise
            except ChannelFull:
                self.retry_at = self.link.now() + RETRY
                return
            self.held, self.passed, self.sent = rest, not more, self.sent + 1

    async def give_up(self):
        """The rest won't come, or nobody needs it: a plain worker that waits for it must learn so."""
        if self.spool is not None:
            self.spool.close()
            self.spooled = 0
        if self.channel is not None:
            owned = self.sink not in (None, self.channel)
            await self.link.drop(self.channel, HttpBody(b"", False, True) if self.pending and not owned else None)

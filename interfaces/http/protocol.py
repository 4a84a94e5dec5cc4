"""HTTP/1.0 and HTTP/1.1 on one connection (RFC 9112): the Wire and its events. Pure: no clock, no socket.

Events of the peer, from `next_event()`, in this order for each request:
    HeadBegun      only when a `receive` left a head incomplete, once a request: from now on it may be late (408)
    Request        the head; see heads.py
    Data           a piece of the body, 1 byte to 64 KiB, all that is held. Chunks are undone, trailers dropped
    End            the request is complete; also where it has no body
Nothing is read ahead of a pull, so what is unread stays bytes (`held`), and several requests received together come one
after the other. A request may be pulled before the one in front of it is answered; answers are still encoded in the
order of the requests. After a request with `keep_alive` false nothing more comes (RFC 9112 9.6). `next_event()` raises
ProtocolError(reason, status to answer) after every event that stood in front of the fault, and then always again.
A request with `upgrade` goes on as HTTP, unless `unread()` is called: then this wire is done.

Events to the peer, for `encode()`:
    Continue       100, where it is still of use, otherwise no bytes. Processing: 102 in the same way
    Answer         a response from its start. `more_body` false: all of it
    Piece          more of its body
    Refusal        a whole text/plain response that ends the connection: to a request not answered yet, or to none
`encode` raises ValueError, naming the fault, for what an application must not say: a status outside 200..599, a field
name that is no token, CR, LF or NUL in a value, a Content-Length that is no number or is repeated, more body than
declared, an answer to nothing. Nothing is written then: after a bad Answer another Answer or Refusal may be given,
after a bad Piece the connection can only be ended.
Framing is decided here. A Content-Length given is kept; else a body given at once gets one; else it is chunked, or
ended by close for HTTP/1.0. HEAD, 204, 205 and 304 have no body, whatever is given. Hop-by-hop fields are dropped, but
`Connection: close` closes. After the last piece `keep_alive` tells whether the connection goes on, and `complete`
whether the response was whole: where it is false (less body than declared) only an abort tells the peer the truth.
An answer given before the request's End needs `close=True`, unless the rest of the request is still pulled.
"""
import re
from dataclasses import dataclass

from interfaces.contract import ProtocolError
from interfaces.http.answers import Answer, Continue, Exchange, Piece, Processing, Refusal, Writer, imf_fixdate
from interfaces.http.heads import STRAY, STRAY_REASON, TOKEN, Limits, Request, read_head

__all__ = ["Answer", "Continue", "Data", "End", "HeadBegun", "HttpWire", "Limits", "Piece", "Processing", "Refusal",
           "Request", "imf_fixdate"]

PIECE = 64 * 1024                          # messages.md, Sizes: the parts a body is cut into
MAX_EXTENSIONS = 16 * 1024                 # bytes of chunk extensions in one body: Node's and hyper's (CVE-2024-22019)
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'      # RFC 9110 5.6.4
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*+)")
TRAILER = re.compile(TOKEN + rb":[\t -~\x80-\xff]*+")
UNTRAILED = (b"content-length:", b"transfer-encoding:")              # RFC 9110 6.5.1; llhttp refuses them too
LONG_LINE = "a request line that is too long"
DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class HeadBegun:
    """A part of a head is there."""


@dataclass(frozen=True, slots=True)
class Data:
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The request is complete."""


(BETWEEN, COUNTED, CHUNKED, TRAILERS, ENDING, DEAF) = range(6)       # what the next byte belongs to


class HttpWire(Writer):
    """`limits` has the attributes of `Limits`; `server` is the Server field, none where it is empty."""
    streams = False
    __slots__ = ("limits", "buffer", "state", "failure", "scanned", "announced", "skipped", "left", "owes_line_end",
                 "body", "overhead", "trailers", "reading")

    def __init__(self, limits=DEFAULTS, server: bytes = b"channels-interfaces"):
        super().__init__(server)
        self.limits = limits
        self.buffer = bytearray()
        self.state, self.failure = BETWEEN, None
        self.scanned = 0                                # bytes of an incomplete head already looked at
        self.announced = self.skipped = False           # HeadBegun was given; an empty line was passed over
        self.left, self.owes_line_end = 0, False        # bytes to come of a counted body or of this chunk
        self.body = self.overhead = self.trailers = 0   # of a chunked body so far: bytes, bytes dropped, trailer fields
        self.reading: Exchange | None = None            # the one whose body is being read

    @property
    def idle(self) -> bool:
        """Nothing of a next request has come."""
        return self.state == BETWEEN and not self.buffer

    @property
    def held(self) -> int:
        """Bytes received and not yet given out as events."""
        return len(self.buffer)

    def receive(self, data: bytes) -> bytes:
        if self.failure is None:
            self.buffer += data
        return b""

    def unread(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        self.state = DEAF
        return data

    def next_event(self) -> HeadBegun | Request | Data | End | None:
        if self.failure is not None:
            raise ProtocolError(*self.failure)
        try:
            return READERS[self.state](self)
        except ProtocolError as error:
            self.fail(error)
            raise

    def fail(self, error: ProtocolError):
        self.failure, self.state = (error.reason, error.code), DEAF
        self.buffer.clear()

    def head(self):
        buffer, max_head = self.buffer, self.limits.max_head
        if not buffer:
            return None
        if buffer[0] == 13 and self.leading_line():
            return None
        end = buffer.find(b"\r\n\r\n", max(self.scanned - 3, 0), max_head)
        if end < 0:
            return self.incomplete_head()
        request = read_head(bytes(buffer[:end + 4]), self.limits)
        del buffer[:end + 4]
        self.scanned, self.announced, self.skipped = 0, False, False
        self.reading = Exchange(request)
        self.pending.append(self.reading)
        if request.length is None:
            self.state, self.left, self.owes_line_end = CHUNKED, 0, False
            self.body = self.overhead = self.trailers = 0
        else:
            self.state, self.left = COUNTED if request.length else ENDING, request.length
        return request

    def leading_line(self) -> bool:
        """Pass over one empty line (RFC 9112 2.2). True: nothing is left to look at."""
        buffer = self.buffer
        if len(buffer) == 1:
            return True
        if self.skipped or buffer[1] != 10:
            raise ProtocolError("a request line that begins with CR", 400)
        self.skipped = True
        del buffer[:2]
        return not buffer or buffer[0] == 13 and self.leading_line()

    def incomplete_head(self):
        buffer, max_head = self.buffer, self.limits.max_head
        if STRAY.search(buffer, max(self.scanned - 1, 0), max_head):     # its end may never come: don't wait for it
            raise ProtocolError(STRAY_REASON, 400)
        if len(buffer) >= max_head:
            in_line = buffer.find(b"\r\n", 0, max_head) < 0
            raise ProtocolError(*((LONG_LINE, 414) if in_line else ("a head that is too large", 431)))
        self.scanned = len(buffer)
        if self.announced:
            return None
        self.announced = True
        return HeadBegun()

    def counted(self):
        size = min(self.left, len(self.buffer), PIECE)
        if not size:
            return None
        self.left -= size
        if not self.left:
            self.state = ENDING
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return Data(data)

    def end(self):
        self.reading.read = True
        self.state = BETWEEN if self.reading.request.keep_alive else DEAF
        self.reading = None
        return End()

    def deaf(self):
        self.buffer.clear()

    def chunks(self):
        """RFC 9112 7.1. Joins what is there; a fault behind good data is raised at the next pull."""
        pieces, size = [], 0
        try:
            while size < PIECE and self.state == CHUNKED:
                if not self.left:
                    if not self.chunk_line():
                        break
                    continue
                take = min(self.left, len(self.buffer), PIECE - size)
                if not take:
                    break
                pieces.append(bytes(self.buffer[:take]))
                del self.buffer[:take]
                self.left -= take
                self.owes_line_end = not self.left
                size += take
        except ProtocolError as error:
            if not size:
                raise
            self.fail(error)
        if size:
            return Data(b"".join(pieces))
        return self.trailer_section() if self.state == TRAILERS else None

    def chunk_line(self) -> bool:
        """Read the line end of the last chunk and the next chunk's size. False: they are not all there."""
        if self.owes_line_end:
            if self.line(2, "chunk data of another length than its size") is None:
                return False
            self.owes_line_end = False
        line = self.line(MAX_EXTENSIONS + 18 - self.overhead, "chunk extensions that are too large")
        if line is None:
            return False
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ProtocolError("a malformed chunk size", 400)
        self.overhead += len(match[2])
        self.left = int(match[1], 16)
        self.body += self.left
        if self.body > self.limits.max_body:
            raise ProtocolError("a body that is too large", 413)
        if not self.left:
            self.state, self.overhead = TRAILERS, 0
        return True

    def line(self, most: int, excess: str, code: int = 400) -> bytes | None:
        """The next line without its CRLF, or None. `most`: bytes that it may have, CRLF counted."""
        buffer = self.buffer
        end = buffer.find(b"\n", 0, most)
        if end < 0:
            if len(buffer) >= most:
                raise ProtocolError(excess, code)
            return None
        if end == 0 or buffer[end - 1] != 13:              # RFC 9112 7.1 has CRLF only; others read a bare LF otherwise
            raise ProtocolError("a bare LF in the framing of chunks", 400)
        line = bytes(buffer[:end - 1])
        del buffer[:end + 1]
        return line

    def trailer_section(self):
        """RFC 9112 7.1.2: read, limited, dropped. A trailer must never become a header field (RFC 9110 6.5.1)."""
        while True:
            line = self.line(self.limits.max_head - self.overhead, "a trailer section that is too large", 431)
            if line is None:
                return None
            if not line:
                return self.end()
            self.overhead += len(line) + 2
            self.trailers += 1
            if self.trailers > self.limits.max_fields:
                raise ProtocolError("too many trailer fields", 431)
            if TRAILER.fullmatch(line) is None or line.lower().startswith(UNTRAILED):
                raise ProtocolError("a malformed trailer field", 400)


READERS = (HttpWire.head, HttpWire.counted, HttpWire.chunks, HttpWire.trailer_section, HttpWire.end, HttpWire.deaf)

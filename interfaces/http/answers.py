"""Responses: their framing, what of the application's words goes into them. Pure. The contract is in protocol.py."""
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from interfaces.http.heads import TOKEN, Request

NAME = re.compile(TOKEN)
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",    # RFC 9110 7.6.1
                        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"))      # PEP 3333
DATED = frozenset((b"date", b"server"))    # added where the application gives none
OURS = HOP_BY_HOP | DATED | {b"content-length"}
PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(200, 600)}
BODILESS = frozenset((204, 205, 304))      # RFC 9110 15.3.5, 15.3.6, 15.4.5
MAX_DIGITS = 19                            # of a Content-Length: all below 2**64, where clients stop counting

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Continue:
    """100 (Continue): go on and send the body."""


@dataclass(frozen=True, slots=True)
class Processing:
    """102 (Processing), RFC 2518 10.1: the answer will take long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response from its start. `date` is what `imf_fixdate` gives; `close` ends the connection after it."""
    status: int
    headers: Headers = ()
    body: bytes = b""
    more_body: bool = False
    date: bytes = b""
    close: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """More of a response's body."""
    body: bytes = b""
    more_body: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole text/plain response that ends the connection."""
    status: int
    text: str
    date: bytes = b""
    headers: Headers = ()


@dataclass(slots=True)
class Exchange:
    """A request that isn't wholly answered, and how far its answer is."""
    request: Request
    read: bool = False                     # its End was given out
    invited: bool = False                  # 100 (Continue) was sent
    begun: bool = False
    persistent: bool = False
    chunked: bool = False
    bodiless: bool = False
    left: int | None = None                # bytes of a declared length still to come

    def body(self, data: bytes) -> bytes:
        """A piece of the body as it goes over the wire. Nothing stays nothing: an empty chunk would be the last one."""
        if not data or self.bodiless:
            return b""
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self.left is not None:
            if len(data) > self.left:
                raise ValueError("more body than Content-Length declares")
            self.left -= len(data)
        return data


class Writer:
    """The half of a connection that answers: one exchange after the other, in the order of the requests."""
    __slots__ = ("server", "pending", "keep_alive", "complete")

    def __init__(self, server: bytes):
        self.server = server
        self.pending: list[Exchange] = []  # mostly none or one; an empty deque would take 760 bytes
        self.keep_alive = self.complete = True

    def encode(self, event: Answer | Piece | Continue | Processing | Refusal) -> bytes:
        return WRITERS[type(event)](self, event)

    def answer(self, event: Answer) -> bytes:
        if not self.pending or self.pending[0].begun:
            raise ValueError("an answer where none is owed")
        exchange, status = self.pending[0], event.status
        if status not in STATUS_LINES:
            raise ValueError(f"status {status!r} is not within 200..599")
        parts = [STATUS_LINES[status]]
        own = checked(event.headers, parts)
        exchange.bodiless = status in BODILESS or exchange.request.method == "HEAD"
        exchange.left = length = declared(exchange, event, own)
        exchange.chunked = length is None and not exchange.bodiless and exchange.request.version == "1.1"
        body = exchange.body(event.body)
        exchange.persistent = persistent(exchange, event, own)
        if status == 426 and b"upgrade" in own:         # RFC 9110 15.5.22: the one answer that must carry it
            parts.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % own[b"upgrade"])
        parts.append(self.own_fields(exchange, length, event.date, own))
        parts.append(body)
        exchange.begun, self.complete, self.keep_alive = True, False, exchange.persistent
        if not event.more_body:
            parts.append(self.finish(exchange))
        return b"".join(parts)

    def own_fields(self, exchange: Exchange, length: int | None, date: bytes, own: dict) -> bytes:
        """What the server adds, and the end of the head."""
        framing = b"" if length is None else b"Content-Length: %d\r\n" % length
        if exchange.chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        if not exchange.persistent:
            framing += b"Connection: close\r\n"
        elif exchange.request.version == "1.0":
            framing += b"Connection: keep-alive\r\n"
        if b"server" not in own and self.server:
            framing += b"Server: %b\r\n" % self.server
        if b"date" not in own and date:
            framing += b"Date: %b\r\n" % date
        return framing + b"\r\n"

    def piece(self, event: Piece) -> bytes:
        if not self.pending or not self.pending[0].begun:
            raise ValueError("a piece of a body without its answer")
        exchange = self.pending[0]
        data = exchange.body(event.body)
        return data if event.more_body else data + self.finish(exchange)

    def finish(self, exchange: Exchange) -> bytes:
        del self.pending[0]
        self.complete = exchange.bodiless or not exchange.left
        self.keep_alive = exchange.persistent and self.complete
        return b"0\r\n\r\n" if exchange.chunked else b""

    def interim(self, event: Continue | Processing) -> bytes:
        """Nothing where a 1xx may not go (RFC 9110 15.2: not to HTTP/1.0) or comes too late."""
        if not self.pending or self.pending[0].begun or self.pending[0].request.version == "1.0":
            return b""
        if event.__class__ is Processing:
            return b"HTTP/1.1 102 Processing\r\n\r\n"
        if self.pending[0].read:
            return b""
        self.pending[0].invited = True
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def refusal(self, event: Refusal) -> bytes:
        if self.pending and self.pending[0].begun:
            raise ValueError("a refusal in the middle of an answer")
        body = event.text.encode("utf-8", "replace") + b"\n"
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), *event.headers]
        if not self.pending:               # nothing that could be parsed was asked; it is answered all the same
            self.pending.append(Exchange(UNKNOWN))
        data = self.answer(Answer(event.status, headers, body, False, event.date, True))
        self.pending.clear()
        return data


WRITERS = {Answer: Writer.answer, Piece: Writer.piece, Continue: Writer.interim, Processing: Writer.interim,
           Refusal: Writer.refusal}
UNKNOWN = Request("GET", b"", "", b"", b"", "1.1", [], 0, False, False, None, b"")


def checked(headers: Headers, parts: list[bytes]) -> dict[bytes, bytes]:
    """Append the lines of the fields that go out as they are; give those that concern the server by lower-case name."""
    own = {}
    for name, value in headers:
        value = value.strip(b" \t")
        if b"\n" in value or b"\r" in value or b"\0" in value:       # response splitting, CWE-113
            raise ValueError(f"CR, LF or NUL in the value of {name!r}")
        lower = field_name(name)
        if lower in OURS:
            if lower == b"content-length" and (lower in own or not value.isdigit() or len(value) > MAX_DIGITS):
                raise ValueError("content-length is repeated or not a number")
            own[lower] = own[lower] + b"," + value if lower in own else value
            if lower not in DATED:
                continue
        parts.append(b"%b: %b\r\n" % (name, value))
    return own


@lru_cache(1024)                           # applications use few names; bounds, as they could use many and long ones
def field_name(name: bytes) -> bytes:
    if len(name) > 1024 or NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a field name")
    return name.lower()


def declared(exchange: Exchange, event: Answer, own: dict) -> int | None:
    """The Content-Length of this answer, or None where it has none."""
    if event.status == 204:                # RFC 9110 8.6
        return None
    if event.status == 205:                # RFC 9110 15.3.6
        return 0
    if b"content-length" in own:
        return int(own[b"content-length"])
    if event.more_body or exchange.bodiless and (event.status == 304 or not event.body):
        return None                        # RFC 9110 8.6: to HEAD and in 304 what a GET would have had; no guess
    return len(event.body)


def persistent(exchange: Exchange, event: Answer, own: dict) -> bool:
    request = exchange.request
    if event.close or not request.keep_alive:
        return False
    if b"connection" in own and b"close" in connection_options(own[b"connection"]):
        return False
    if request.expect and not (exchange.invited or exchange.read):   # RFC 9110 10.1.1: the peer may send the body, or
        return False                                                 # may not, so what its next bytes are can't be told
    return exchange.chunked or exchange.bodiless or exchange.left is not None


def connection_options(value: bytes) -> list[bytes]:
    return [option.strip(b" \t") for option in value.lower().split(b",")]


@lru_cache(4)
def imf_fixdate(second: int) -> bytes:
    """The value of Date, RFC 9110 5.6.7. `second`: whole seconds since the epoch."""
    return formatdate(second, usegmt=True).encode("ascii")

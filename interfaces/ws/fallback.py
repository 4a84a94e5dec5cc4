"""A WebSocket that requests of HTTP carry (docs/fallback.md): the wire of contract.CarriedWire. Pure.

One grammar both ways: a text is a string, the rest objects, {"binary": base64} and {"close": [code, reason]}. What a page
says is a list of [number, entry]; numbers begin at 1 and count without a gap, so that what it says again after a lost
answer is known. The events are those of protocol.py. A Close is answered by nobody: to ours the wire's own Close is the
answer, so that a story need not wait for one; to the page's the 204 of its POST is.
"""
import binascii
import json
from base64 import b64decode, b64encode
from collections import deque

from interfaces.contract import Answered, ProtocolError
from interfaces.ws.frames import CODES, MAX_CONTROL, NO_STATUS
from interfaces.ws.handshake import FRAMING, SUBPROTOCOL, Accept, Handshake, Reject, checked
from interfaces.ws.protocol import Close, Message, Ping, Pong

ENTRIES = 64                    # of one body: messages.md, Credit, what an owner may have out
PROTOCOLS = 100                 # offered; as many as HTTP has fields for: a guess
ENVELOPE = 4096                 # bytes of brackets and numbers around ENTRIES entries
TOO_LARGE = 1009                # RFC 6455 7.4.1
JSON = (b"content-type", b"application/json")
compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class FallbackWire:
    """`options` has the attributes of `Limits`."""
    streams = owes = False
    __slots__ = ("options", "opening", "offered", "events", "heard", "lives", "failure", "over", "answered", "closed")

    def __init__(self, options):
        self.options, self.opening, self.offered = options, b"", None
        self.events = deque()
        self.heard = 0                          # the highest number that was taken
        self.failure = None
        self.lives = self.over = self.answered = self.closed = False

    @property
    def most(self) -> int:
        """Base64 takes 4/3; a text of quotes alone twice its size. A text of control characters may not go through."""
        return 2 * self.options.max_message + ENVELOPE

    def handshake(self, upgrade) -> Handshake:
        """Raises ProtocolError with the status for a Reject: 400."""
        asked = parsed(self.opening) if self.opening else {}
        self.opening = b""
        offered = asked.get("protocols", []) if asked.__class__ is dict else None
        if offered.__class__ is not list or len(offered) > PROTOCOLS or not all(
                name.__class__ is str and SUBPROTOCOL.fullmatch(name) for name in offered) or (
                len(set(offered)) < len(offered)):
            raise ProtocolError("protocols that are no list of tokens, or repeated", 400)     # RFC 6455 4.1 (10)
        self.offered = tuple(offered)
        return Handshake(self.offered)

    def receive(self, data: bytes) -> bytes:
        if self.offered is None:
            self.opening += data
        elif not data:
            self.lives = True
        elif not (self.over or self.closed or self.failure):
            self.take(parsed(data))
            self.lives = True
        return b""

    def take(self, entries):
        """All of them or none."""
        if entries.__class__ is not list or len(entries) > ENTRIES:
            raise ProtocolError(f"not a list of at most {ENTRIES} entries", 400)
        found, before = [], None
        for entry in entries:
            if entry.__class__ is not list or len(entry) != 2 or entry[0].__class__ is not int:
                raise ProtocolError("an entry that is not [number, entry]", 400)
            if before is not None and entry[0] != before + 1:
                raise ProtocolError("entries that are not in order", 400)
            before = entry[0]
            found.append((before, self.event(entry[1])))
        if found and found[0][0] > self.heard + 1:
            raise ProtocolError(f"entry {self.heard + 1} is missing", 409)
        for number, event in found:
            if number > self.heard and not self.over:
                self.heard = number
                self.events.append(event)
                self.over = event.__class__ is Close

    def event(self, value) -> Message | Close:
        match value:
            case str():
                return Message(self.sized(value, octets(value)))
            case {"binary": str(text), **rest} if not rest:
                try:
                    data = b64decode(text, validate=True)
                except (ValueError, binascii.Error):
                    raise ProtocolError("an entry that is not base64", 400) from None
                return Message(self.sized(data, data))
            case {"close": [int(code), str(reason)], **rest} if not rest and (
                    code == NO_STATUS and not reason or code in CODES) and len(octets(reason)) <= MAX_CONTROL - 2:
                return Close(int(code), reason)
        raise ProtocolError("an entry that is no text, binary or close", 400)

    def sized(self, data, encoded: bytes):
        if len(encoded) > self.options.max_message:
            self.oversize()
            raise ProtocolError("a message that is too large", 413)
        return data

    def oversize(self):
        self.failure = "a message that is too large", TOO_LARGE

    def next_event(self) -> Message | Pong | Close | None:
        if self.events:
            return self.events.popleft()
        if self.failure is not None:
            raise ProtocolError(*self.failure)
        if self.lives:
            self.lives = False
            return Pong()
        return None

    def unread(self) -> bytes:
        return b""

    # to the page

    def encode(self, event: Accept | Reject | Message | Ping | Close) -> Answered | bytes | None:
        """Raises ValueError, naming the fault, for what an application must not say; nothing has changed then."""
        if event.__class__ in (Accept, Reject):
            if self.answered:
                raise ValueError("the handshake is answered already")
            answer = (self.accepted if event.__class__ is Accept else rejected)(event)
            self.answered = True
            return answer
        if self.closed or self.over:
            return None
        if event.__class__ is Ping:
            return b""
        if event.__class__ is Close:
            return self.close(event)
        data = event.data
        if data.__class__ is str:
            return compact(data).encode()
        if data.__class__ is not bytes:
            raise ValueError("a message is str or bytes")
        return b'{"binary":"%b"}' % b64encode(data)

    def accepted(self, event: Accept) -> Answered:
        if event.subprotocol is not None and event.subprotocol not in (self.offered or ()):
            raise ValueError(f"subprotocol {event.subprotocol!r} was not offered")
        headers = []
        for name, lower, value in checked(event.headers):
            if lower in FRAMING:
                raise ValueError(f"{name!r} is the server's own")
            if lower != b"content-type":
                headers.append((name, value))
        return Answered(200, [*headers, JSON], compact({"protocol": event.subprotocol or ""}).encode(), True)

    def close(self, event: Close) -> bytes:
        code, reason = event.code, event.reason
        if code not in CODES and (code != NO_STATUS or reason):
            raise ValueError(f"close code {code!r} can't be sent")
        reason = reason.encode()[:MAX_CONTROL - 2].decode(errors="ignore")
        self.closed = True
        self.events.append(Close(code, reason))
        return compact({"close": [code, reason]}).encode()


def rejected(event: Reject) -> Answered:
    status = event.status
    if status.__class__ is not int or not 200 <= status <= 599:
        raise ValueError(f"status {status!r} is not within 200..599")
    headers = [(name, value) for name, lower, value in checked(event.headers) if lower not in FRAMING]
    return Answered(status, headers, event.body)


def parsed(data: bytes):
    """JSON is UTF-8 (RFC 8259 8.1); json.loads would guess among five encodings."""
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ProtocolError("a body that is not JSON", 400) from None


def octets(text: str) -> bytes:
    """JSON can write half a character ("\\ud800"), UTF-8 can't (RFC 8259 8.2)."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ProtocolError("a text that is not Unicode", 400) from None

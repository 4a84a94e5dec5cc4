"""The opening handshake, RFC 6455 4.2: what the request asks for, and the two answers to it. Pure."""
import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1
from http import HTTPStatus

from interfaces.contract import ProtocolError
from interfaces.ws.compression import TOKEN, Agreement, agree

NAME = re.compile(TOKEN.encode())
SUBPROTOCOL = re.compile(TOKEN)
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # RFC 6455 4.2.1: 16 bytes in base64
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"                       # RFC 6455 1.3
ONCE = (b"sec-websocket-key", b"sec-websocket-version")              # RFC 6455 11.3
FRAMING = frozenset((b"connection", b"upgrade", b"content-length", b"transfer-encoding",
                     b"keep-alive", b"proxy-connection", b"te", b"trailer"))     # RFC 9110 7.6.1
BODILESS = frozenset((204, 205, 304))      # RFC 9110 15.3.5, 15.3.6, 15.4.5
PHRASES = {status.value: status.phrase for status in HTTPStatus}

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Handshake:
    """What the client asks for. `subprotocols`: as it prefers them."""
    subprotocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """101. `subprotocol`: one of those offered, or None. `headers`: more fields; none that the handshake itself has."""
    subprotocol: str | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A whole answer of HTTP/1.1, after which the connection is to be closed. Fields that frame it are dropped."""
    status: int
    headers: Headers = ()
    body: bytes = b""


class Asked:
    """A request whose handshake is in order, until it is answered."""
    __slots__ = ("key", "subprotocols", "agreement")

    def __init__(self, key: bytes, subprotocols: tuple[str, ...], agreement: Agreement | None):
        self.key, self.subprotocols, self.agreement = key, subprotocols, agreement


def read(upgrade, options) -> Asked:
    """`upgrade`: contract.Upgrade. Raises ProtocolError with the status to refuse with: 400 or 426."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in upgrade.headers:
        if name in FRAMING or name.startswith(b"sec-websocket-"):
            fields.setdefault(name, []).append(value.strip(b" \t"))
    if upgrade.http_version != "1.1":
        raise ProtocolError("WebSocket needs HTTP/1.1", 400)         # RFC 6455 4.2.1 (1)
    if b"websocket" not in elements(fields, b"upgrade") or b"upgrade" not in elements(fields, b"connection"):
        raise ProtocolError("not an upgrade to websocket", 400)
    if fields.get(b"sec-websocket-version") != [b"13"]:
        raise ProtocolError("a version other than 13", 426)          # RFC 6455 4.2.2 (4), 4.4
    key = fields.get(b"sec-websocket-key", ())
    if len(key) != 1 or KEY.fullmatch(key[0]) is None:
        raise ProtocolError("Sec-WebSocket-Key is not one of 16 bytes", 400)
    offers = b", ".join(fields.get(b"sec-websocket-extensions", ())).decode("latin-1")
    agreement = agree(offers, options.compression_window)            # also where it isn't wanted: malformed is refused
    return Asked(key[0], subprotocols(fields), agreement if options.compression else None)


def elements(fields: dict, name: bytes) -> list[bytes]:
    return [element.strip(b" \t") for element in b",".join(fields.get(name, ())).lower().split(b",")]


def subprotocols(fields: dict) -> tuple[str, ...]:
    given = fields.get(b"sec-websocket-protocol")
    if given is None:
        return ()
    found = [name for name in (part.strip(" \t") for part in b",".join(given).decode("latin-1").split(",")) if name]
    if not found or len(set(found)) < len(found) or not all(SUBPROTOCOL.fullmatch(name) for name in found):
        raise ProtocolError("subprotocols that are repeated, or no tokens", 400)     # RFC 6455 4.1 (10)
    return tuple(found)


def accepted(asked: Asked, event: Accept) -> bytes:
    """The bytes of 101. ValueError names what an application must not say."""
    digest = b64encode(sha1(asked.key + GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
             b"Sec-WebSocket-Accept: %b\r\n" % digest]
    if event.subprotocol is not None:
        if event.subprotocol not in asked.subprotocols:              # RFC 6455 4.2.2: the client must fail it
            raise ValueError(f"subprotocol {event.subprotocol!r} was not offered")
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % event.subprotocol.encode())
    if asked.agreement is not None:
        lines.append(b"Sec-WebSocket-Extensions: %b\r\n" % asked.agreement.answer.encode())
    for name, lower, value in checked(event.headers):
        if lower in FRAMING:
            raise ValueError(f"{name!r} is the server's own")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) + b"\r\n"


def rejected(event: Reject) -> bytes:
    """The bytes of a refusal. ValueError names what an application must not say."""
    status, body = event.status, event.body
    if status.__class__ is not int or not 200 <= status <= 599:
        raise ValueError(f"status {status!r} is not within 200..599")
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, PHRASES.get(status, "").encode())]
    lines += [b"%b: %b\r\n" % (name, value) for name, lower, value in checked(event.headers) if lower not in FRAMING]
    if status in BODILESS:
        body = b""
    if status not in (204, 304):           # RFC 9110 8.6
        lines.append(b"Content-Length: %d\r\n" % len(body))
    if status == 426:                      # RFC 9110 15.5.22 and 7.8; RFC 6455 4.4
        lines.append(b"Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
    else:
        lines.append(b"Connection: close\r\n")
    return b"".join(lines) + b"\r\n" + body


def checked(headers: Headers):
    """(name, name in lower case, value) of each; response splitting (CWE-113) and words of the handshake are refused."""
    for name, value in headers:
        value = value.strip(b" \t")
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise ValueError(f"CR, LF or NUL in the value of {name!r}")
        if NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not a field name")
        lower = name.lower()
        if lower.startswith(b"sec-websocket-"):
            raise ValueError(f"{name!r} is the server's own")
        yield name, lower, value

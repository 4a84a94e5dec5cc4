"""The head of a request: request line and header fields, checked before anything of it goes on. Pure.

`read_head(head, limits)` takes one whole head (up to and with the empty line; RFC 9112 2.1) and gives a `Request`, or
raises ProtocolError with the status to answer. httptools parses the fields and is the second opinion on framing; what
it lets through or can't tell (versions, Host, targets, sizes, transfer codings) is decided here. It is given one head
and never a body, so it can't have an opinion of its own on where a message ends.
"""
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from interfaces.contract import ProtocolError

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"                             # RFC 9110 5.6.2
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")      # RFC 9112 3: single spaces
ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)")      # RFC 9112 3.2.2
HOST = re.compile(rb"(?:\[(?:[0-9A-Fa-f:.]+|[Vv][0-9A-Fa-f]+\.[\w\-.~!$&'()*+,;=:]+)\]"       # RFC 3986 3.2.2
                  rb"|(?:[\w\-.~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?")
STRAY = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"))
STRAY_REASON = "a bare CR or LF, or a NUL, in the head"              # RFC 9112 2.2, RFC 9110 5.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take. Each is what the issue asks for; 8000 octets of request line is RFC 9112 3's least."""
    max_head: int = 64 * 1024              # bytes of request line and header fields, line ends counted
    max_fields: int = 100
    max_target: int = 16 * 1024            # bytes
    max_body: int = 512 * 1024 * 1024      # bytes, without the framing of chunks


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. `path` is percent-decoded UTF-8; `raw_path` and `query_string` are as received."""
    method: str
    target: bytes
    path: str
    raw_path: bytes
    query_string: bytes
    version: str                           # "1.0" or "1.1"
    headers: list[tuple[bytes, bytes]]     # lower-case names; order and duplicates kept; none with `_`
    length: int | None                     # of the body, in bytes; 0: none; None: chunked
    keep_alive: bool                       # the client allows another request on this connection
    expect: bool                           # the client waits for 100 (Continue) before it sends the body
    upgrade: bytes | None                  # the Upgrade field, where Connection names it (RFC 9110 7.8)
    host: bytes                            # host[:port]; empty where HTTP/1.0 gave none


class Fields:
    """What httptools reports to. Names in lower case."""
    __slots__ = ("found", "complete")

    def __init__(self):
        self.found, self.complete = [], False

    def on_header(self, name: bytes, value: bytes):
        self.found.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self):
        self.complete = True


def read_head(head: bytes, limits) -> Request:
    """The request of one complete head. Raises ProtocolError: 400, 413, 414, 417, 431, 501, 505."""
    method, target, version = request_line(head, limits)
    authority, raw_path, query = split_target(method, target)
    headers, framing = [], {}
    for field in header_fields(head, limits):
        name, value = field
        if name in FRAMING:
            framing.setdefault(name, []).append(value)
        if b"_" not in name:               # X_User and X-User are one key in a WSGI environ (CVE-2015-0219)
            headers.append(field)
    host = effective_host(framing.get(b"host", ()), version, authority)
    if authority is not None:              # RFC 9112 3.2.2: the target's host, whatever Host says
        headers = [(b"host", host), *(field for field in headers if field[0] != b"host")]
    length = body_length(framing, version, limits)
    keep_alive, upgrade = connection_options(framing, version)
    expect = expects_continue(framing, version) and length != 0
    return Request(method, target, decoded(raw_path), raw_path, query, version, headers, length, keep_alive, expect,
                   upgrade, host)


def request_line(head: bytes, limits) -> tuple[str, bytes, str]:
    if not head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") or b"\0" in head:
        raise ProtocolError(STRAY_REASON, 400)
    line = REQUEST_LINE.match(head)
    if line is None:                       # without a version: HTTP/0.9, which llhttp reads on with (its issue 877)
        raise ProtocolError("a malformed request line", 400)
    method, target, version = line.groups()
    if version != b"1.1" and version != b"1.0":
        raise ProtocolError("a version other than 1.0 and 1.1", 505)
    if len(target) > limits.max_target:
        raise ProtocolError("a request target that is too long", 414)
    return method.decode("ascii"), target, version.decode("ascii")


def header_fields(head: bytes, limits) -> list[tuple[bytes, bytes]]:
    if head.count(b"\r\n") - 2 > limits.max_fields:
        raise ProtocolError("too many header fields", 431)
    fields = Fields()
    try:
        HttpRequestParser(fields).feed_data(head)
    except HttpParserUpgrade:              # all of the head is read; what comes behind it isn't llhttp's business here
        pass
    except HttpParserInvalidMethodError as error:
        raise ProtocolError("a method that is not known", 501) from error
    except HttpParserError as error:       # its texts are llhttp's own constants; nothing of the peer's is in them
        raise ProtocolError(f"a malformed head: {error}", 413 if "overflow" in str(error) else 400) from error
    if not fields.complete:
        raise ProtocolError("a malformed head", 400)
    return fields.found


def split_target(method: str, target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """(authority of an absolute-form target or None, raw path, query). RFC 9112 3.2."""
    if method == "CONNECT":                # authority-form, a tunnel: an origin server has none to offer
        raise ProtocolError("CONNECT is not served", 501)
    if b"#" in target:
        raise ProtocolError("a fragment in the request target", 400)
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return None, path, query
    if target == b"*" and method == "OPTIONS":
        return None, target, b""
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute[1]:
        raise ProtocolError("a request target of no known form", 400)
    path, _, query = absolute[2].partition(b"?")
    return absolute[1], path or (b"*" if method == "OPTIONS" and not query else b"/"), query     # RFC 9112 3.2.4


def decoded(raw_path: bytes) -> str:
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    if BROKEN_ESCAPE.search(raw_path):
        raise ProtocolError("a broken percent-escape in the path", 400)
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("a path that is not UTF-8", 400) from error
    if "\0" in path:                       # it ends a file name early in whatever is written in C behind us
        raise ProtocolError("a NUL in the path", 400)
    return path


def effective_host(given: list[bytes], version: str, authority: bytes | None) -> bytes:
    if len(given) != 1 and (given or version == "1.1"):              # RFC 9112 3.2
        raise ProtocolError("Host is missing" if not given else "Host is repeated", 400)
    for host in (*given, authority or b""):
        if HOST.fullmatch(host) is None:
            raise ProtocolError("a Host that is not host[:port]", 400)
    return authority if authority is not None else given[0] if given else b""


def body_length(framing: dict, version: str, limits) -> int | None:
    """RFC 9112 6.3, with everything refused that two readers could take in two ways."""
    lengths, codings = framing.get(b"content-length"), framing.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:            # RFC 9112 6.1 and 11.2
            raise ProtocolError("both Content-Length and Transfer-Encoding", 400)
        if version == "1.0":               # RFC 9112 6.1: treat the framing as faulty
            raise ProtocolError("Transfer-Encoding in HTTP/1.0", 400)
        if len(codings) > 1 or codings[0].lower() != b"chunked":     # RFC 9112 6.1: a coding that isn't understood
            raise ProtocolError("a transfer coding other than chunked", 501)
        return None
    if lengths is None:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():                 # of bytes: ASCII digits only, at least one
        raise ProtocolError("Content-Length is repeated or not a number", 400)
    digits = lengths[0].lstrip(b"0") or b"0"
    if len(digits) > 20 or int(digits) > limits.max_body:            # 2**64 has 20 digits; int() raises at 4301
        raise ProtocolError("a body that is too large", 413)
    return int(digits)


def connection_options(framing: dict, version: str) -> tuple[bool, bytes | None]:
    """(keep_alive, upgrade). RFC 9112 9.3 and RFC 9110 7.6.1, 7.8."""
    given = framing.get(b"connection")
    if given is None:
        return version == "1.1", None
    options = {option.strip(b" \t") for option in b",".join(given).lower().split(b",")}
    if version == "1.0":                   # RFC 9110 7.8: Upgrade in a 1.0 request is ignored
        return b"keep-alive" in options and b"close" not in options, None
    upgrade = framing.get(b"upgrade") if b"upgrade" in options else None
    return b"close" not in options, b", ".join(upgrade) if upgrade else None


def expects_continue(framing: dict, version: str) -> bool:
    given = framing.get(b"expect")
    if given is None or version == "1.0":  # RFC 9110 10.1.1: ignored in 1.0
        return False
    if len(given) > 1 or given[0].lower() != b"100-continue":
        raise ProtocolError("an expectation other than 100-continue", 417)
    return True

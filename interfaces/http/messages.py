"""The formats of HTTP (messages.md, section 2). Only data."""
from interfaces.schema import Address, Headers, Spelling, key, message


@message("http.request", question=True)
class HttpRequest:
    """A request, with the first part of its body."""
    http_version: str = key("`1.0`, `1.1` or `2`")
    method: str = key("upper case")
    scheme: str = key("`http` or `https`")
    path: str = key("percent-decoded UTF-8")
    raw_path: bytes = key("as received, without the query")
    query_string: bytes = key("not decoded")
    root_path: str = key("from `--root-path`, never from a header")
    headers: Headers = key("names lower-cased, order and duplicates kept, names with `_` dropped")
    client: Address | None = key("the client, or None on a Unix socket", None)
    server: Address | None = key("what the client reached, or None on a Unix socket", None)
    tls: dict | None = key("`{version, cipher, sni, peer_subject, peer_fingerprint_sha256}`, or None", None)
    body: bytes = key("the first part, up to 64 KiB", b"")
    more_body: bool = key("further parts follow", False)
    body_channel: str | None = key("where a plain worker finds the further parts", None)


@message("http.request.body")
class HttpBody:
    """A further part of a request's body, on its `body_channel`, or on the channel of the connection's owner."""
    content: bytes = key("up to 64 KiB")
    more_content: bool = key("further parts follow", False)
    closed: bool = key("the client left in the middle: there will be no more", False)
    part: int | None = key("1 for the first message of this kind, +1 for each further one; a gap means loss", None)


@message("http.disconnect")
class HttpDisconnect:
    """The client left before its answer was complete: a long-poll's early end."""
    path: str = key("as in the request")


@message("http.response")
class HttpResponse:
    """An answer, or a piece of one."""
    status: int | None = key("200 to 599, in the first piece", None)
    headers: Headers = key("only in the first piece", [])
    body: bytes = key("any length", b"")
    more_body: bool = key("another piece follows", False)


@message("http.response.abort")
class HttpAbort:
    """The application failed in the middle of its answer: the connection is cut, so that nobody takes half of it for all."""


SENDS = (HttpRequest, HttpBody, HttpDisconnect)
REPLIES = (
    Spelling("http.response.start", HttpResponse, {"status": "status", "headers": "headers"}, required=("status",),
             fixed={"more_body": True}, help="The status and headers of an answer (ASGI 3)."),
    Spelling("http.response.body", HttpResponse, {"body": "body", "more_body": "more_body"},
             help="A piece of the answer's body (ASGI 3)."),
    Spelling("http.response", HttpResponse, {"status": "status", "headers": "headers", "body": "content",
                                             "more_body": "more_content"},
             complete=("status", "content"), classic=True,
             help="An answer or a piece of it in one message (ASGI 1): `status` and `headers` only in the first."),
    Spelling("http.response.abort", HttpAbort),
)

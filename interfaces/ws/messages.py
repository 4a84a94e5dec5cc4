"""The formats of WebSocket (messages.md, section 3). Only data."""
from dataclasses import dataclass

from interfaces.schema import Address, Closing, Headers, Octets, Spelling, key, message


@message("websocket.connect", question=True)
class WebSocketConnect:
    """A client asks for a WebSocket. Nothing is answered before the verdict."""
    http_version: str = key("`1.1` or `2`")
    scheme: str = key("`ws` or `wss`")
    path: str = key("percent-decoded UTF-8")
    raw_path: bytes = key("as received, without the query")
    query_string: bytes = key("not decoded")
    root_path: str = key("from `--root-path`, never from a header")
    headers: Headers = key("names lower-cased, order and duplicates kept, names with `_` dropped")
    client: Address | None = key("the client, or None on a Unix socket", None)
    server: Address | None = key("what the client reached, or None on a Unix socket", None)
    tls: dict | None = key("`{version, cipher, sni, peer_subject, peer_fingerprint_sha256}`, or None", None)
    subprotocols: list[str] = key("what the client offers, best first", [])


@message("websocket.receive")
class WebSocketReceive:
    """A message of the client, whole. One of `text` and `bytes` is None."""
    path: str = key("as in the connect message")
    text: str | None = key("of a text message", None)
    bytes: Octets | None = key("of a binary message", None)


@message("websocket.disconnect")
class WebSocketDisconnect:
    """The connection is over, however it ended. The last message."""
    path: str = key("as in the connect message")
    code: int = key("RFC 6455 7.4; 1005: none was given; 1006: the connection was lost")
    reason: str = key("what the side that closed said", "")


@dataclass(frozen=True)
class WebSocketReply:
    """What the application says to the client. Its parts are done in this order: accept, text or bytes, close."""
    accept: bool | None = key("True: the handshake is accepted; False: refused with 403. Text or bytes accept it too", None)
    text: str | None = key("a text message", None)
    bytes: Octets | None = key("a binary message", None)
    close: Closing | None = key("True, or the close code; in the handshake it is refused with 403", None)
    subprotocol: str | None = key("one of those that the client offers", None)
    headers: Headers = key("of the answer to the handshake", [])
    code: int = key("RFC 6455 7.4", 1000)
    reason: str = key("up to 123 bytes of UTF-8; what is longer is cut", "")


@dataclass(frozen=True)
class Denial:
    """A refusal of the handshake with a status and a body of one's own."""
    status: int = key("200 to 599")
    headers: Headers = key("", [])


@dataclass(frozen=True)
class DenialBody:
    """The body of a refusal, or a piece of it."""
    body: bytes = key("any length", b"")
    more_body: bool = key("another piece follows", False)


SENDS = (WebSocketConnect, WebSocketReceive, WebSocketDisconnect)
REPLIES = (
    Spelling("websocket.accept", WebSocketReply, {"subprotocol": "subprotocol", "headers": "headers"}, fixed={"accept": True},
             help="The handshake is accepted (ASGI 3). On an open connection it changes nothing."),
    Spelling("websocket.send", WebSocketReply, {"accept": "accept", "text": "text", "bytes": "bytes", "close": "close"},
             classic=True, help="A message to the client (ASGI 3), and what else a reply may ask for at once (ASGI 1)."),
    Spelling("websocket.close", WebSocketReply, {"code": "code", "reason": "reason"}, fixed={"close": True},
             help="Close the connection; in the handshake: refuse it with 403 (ASGI 3)."),
    Spelling("websocket.http.response.start", Denial, {"status": "status", "headers": "headers"}, required=("status",)),
    Spelling("websocket.http.response.body", DenialBody, {"body": "body", "more_body": "more_body"}),
)

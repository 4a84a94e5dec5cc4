"""A WebSocket client in memory, and its frames by hand: what a peer may say can be said wrongly."""
import base64
import struct

from interfaces.http.plugin import http
from interfaces.testing import Peer
from interfaces.ws.plugin import WsOptions, ws

KEY = base64.b64encode(bytes(range(16)))
MASK = b"\x01\x02\x03\x04"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10        # RFC 6455 11.8


def asking(path=b"/chat", extra=b"", **fields) -> bytes:
    """An opening handshake; a field that is None is left out."""
    wanted = {"Host": b"example.test", "Upgrade": b"websocket", "Connection": b"Upgrade", "Sec-WebSocket-Key": KEY,
              "Sec-WebSocket-Version": b"13"} | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in wanted.items() if value is not None)
    return b"GET " + path + b" HTTP/1.1\r\n" + lines + extra + b"\r\n"


def frame(opcode: int, payload: bytes = b"", fin=True, mask=MASK, rsv=0) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else (
        b"\xfe" + struct.pack("!H", size) if size < 65536 else b"\xff" + struct.pack("!Q", size))
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + mask + masked


def read(data: bytes) -> list[tuple[int, bytes]]:
    """The server's frames: (opcode, payload)."""
    found = []
    while data:
        size, at = data[1], 2
        if size == 126:
            size, at = struct.unpack("!H", data[2:4])[0], 4
        elif size == 127:
            size, at = struct.unpack("!Q", data[2:10])[0], 10
        assert size < 126 or at > 2
        found.append((data[0] & 15, data[at:at + size]))
        data = data[at + size:]
    return found


class Client(Peer):
    """`client.asks()`; `client.says_text("x")`; `client.hears()` gives frames once the handshake is over."""

    def __init__(self, options=None, adopts=True, **more):
        super().__init__(http, adopts=adopts, siblings=[ws], **more)
        self.factory.siblings["ws"].options = options or WsOptions()

    def asks(self, *args, **fields):
        self.says(asking(*args, **fields))
        return self

    def answer(self) -> tuple[bytes, bytes]:
        """(head, body) of the answer to the handshake."""
        head, _, body = self.heard().partition(b"\r\n\r\n")
        return head, body

    def opens(self, **accept):
        """The handshake, accepted."""
        self.asks()
        self.connect = self.app.got("websocket.connect")
        self.app.replies(type_="websocket.accept", **accept)
        assert self.answer()[0].startswith(b"HTTP/1.1 101 ")
        return self

    def says_text(self, text: str):
        self.says(frame(TEXT, text.encode()))

    def closes(self, code=1000, reason=""):
        self.says(frame(CLOSE, struct.pack("!H", code) + reason.encode()))

    def hears(self) -> list[tuple[int, bytes]]:
        return read(self.heard())


def closing(code: int, reason: str = "") -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code) + reason.encode()

"""What the house knows of WebSocket: the Interface value and its options."""
from dataclasses import dataclass

from interfaces.contract import Interface, option
from interfaces.ws.fallback import FallbackWire
from interfaces.ws.messages import REPLIES, SENDS
from interfaces.ws.protocol import NATIVE, WebSocketWire
from interfaces.ws.session import session


def origins(text: str) -> tuple[bytes, ...]:
    """Raises ValueError."""
    found = tuple(part.strip().lower().encode() for part in text.split(",") if part.strip())
    for part in found:
        if b"://" not in part and part not in (b"*", b"null"):
            raise ValueError("an origin is scheme://host or scheme://host:port (RFC 6454), null, or * for any")
    return found


@dataclass(frozen=True)
class WsOptions:
    handshake_timeout: float = option(10.0, "seconds a worker has to accept or refuse a handshake (503)")
    ping_interval: float = option(20.0, "seconds of silence after which a client is sent a ping; 0: never")     # Daphne's
    ping_timeout: float = option(30.0, "seconds in which it must then say something")                           # Daphne's
    write_timeout: float = option(60.0, "seconds in which a client must read something of what it was sent")  # as HTTP
    max_age: float = option(86_400.0, "seconds that a connection may last: no longer than its groups do")
    max_message: int = option(1024 * 1024, "bytes of a message, inflated (1009)")
    max_frames: int = option(1000, "frames of a message (1009)")
    compression: bool = option(False, "agree to permessage-deflate (RFC 7692)")
    compression_window: int = option(12, "bits of its window, 9 to 15")
    allowed_origins: tuple = option((), "origins whose pages may connect, comma-separated; * or nothing: any", origins)

    def __post_init__(self):
        flat = tuple(part for item in self.allowed_origins for part in (item if isinstance(item, tuple) else (item,)))
        object.__setattr__(self, "allowed_origins", flat)
        if not 9 <= self.compression_window <= 15:          # zlib has no raw window of 8 bits
            raise ValueError("a compression window has 9 to 15 bits")

    def allows(self, origin: bytes | None) -> bool:
        """A client that is no browser sends no Origin, and could send any."""
        allowed = self.allowed_origins
        return not allowed or b"*" in allowed or origin is None or origin.lower() in allowed


ws = Interface(
    name="ws", summary="WebSocket (RFC 6455), by an upgrade of HTTP.", wire=WebSocketWire, session=session,
    sends=SENDS, replies=REPLIES, options=WsOptions, role="upgrade", token=b"websocket", carried=FallbackWire,
    warning="" if NATIVE else "this autobahn has no NVX: large WebSocket frames take it 0.25 us a byte")

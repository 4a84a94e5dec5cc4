"""Another protocol's bytes in the binary messages of a WebSocket whose handshake is over. Pure.

A message is no unit of that protocol: what it sends at once may come in several, and one may hold more than one thing."""
from interfaces.contract import HalfClosed, ProtocolError
from interfaces.ws.frames import Limits
from interfaces.ws.protocol import Close, Message, Ping, Pong, WebSocketWire, prepared

NORMAL, PROTOCOL, UNACCEPTABLE = 1000, 1002, 1003                    # RFC 6455 7.4.1
ENDED = HalfClosed()


class TunnelWire:
    """The wire of `inner` inside WebSocket, which its story need not know of. `within`: what Interface.within gives.
    A Close of the peer is HalfClosed to it; a fault of WebSocket is a ProtocolError with `within.fault`, and the Close has
    WebSocket's own code. `peer`: the client's address, as the handshake had it."""
    streams = False
    __slots__ = ("inner", "outer", "fault", "code", "broken", "peer")

    def __init__(self, inner, within, options, peer=None):
        self.inner, self.fault, self.code, self.broken, self.peer = inner, within.fault, NORMAL, None, peer
        self.outer = WebSocketWire(Limits(max(options.max_message, within.most), options.max_frames, False))
        self.outer.open(None)

    def receive(self, data: bytes) -> bytes:
        return self.outer.receive(data)

    def unread(self) -> bytes:
        self.outer.unread()
        return self.inner.unread()

    def next_event(self):
        """An event of the inner wire, HalfClosed once, or None. Raises ProtocolError."""
        if self.broken is not None:
            raise ProtocolError(self.broken, self.fault)
        while (event := self.within()) is None:
            match self.frame():
                case None:
                    return None
                case Message(data) if data.__class__ is bytes:
                    self.inner.receive(data)
                case Message():                         # [MQTT-6.0.0-1], and no other protocol's bytes are text
                    self.fail("a text message", UNACCEPTABLE)
                case Close():
                    return ENDED
                case Ping() | Pong():
                    pass                                # the pong is owed by the outer wire itself
        return event

    def within(self):
        try:
            return self.inner.next_event()
        except ProtocolError:
            self.code = PROTOCOL
            raise

    def frame(self):
        try:
            return self.outer.next_event()
        except ProtocolError as error:
            self.fail(error.reason, error.code)

    def fail(self, reason: str, code: int):
        self.broken, self.code = reason, code
        raise ProtocolError(reason, self.fault)

    def encode(self, event) -> bytes:
        data = self.inner.encode(event)
        return b"" if not data or self.outer.frames.closed else prepared(Message(data))

    def farewell(self) -> bytes:
        """What goes before the end of the connection."""
        return self.outer.encode(Close(self.code))

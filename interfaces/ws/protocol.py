"""WebSocket on one connection (RFC 6455), from the request that asks for it on: the Wire and its events. Pure.

`handshake(upgrade)` comes first; nothing is parsed before Accept is encoded. Events of the peer, from `next_event()`:
    Message        text (str) or bytes, whole, inflated; at most `max_message` bytes
    Ping, Pong     the peer lives. The pong to a Ping is owed by the wire itself
    Close          the last one. `code` is 1005 where the peer gave none. The echo is owed by the wire itself
or ProtocolError(reason, code to close with), after everything that stood in front of the fault, and then always again.
What the wire owes is returned by `receive`. It reads ahead of the story to find pings, but not far: where the story is
behind by AHEAD bytes, the rest is read when it pulls, and then `owes` may be true: until the next `receive` or `encode`.

Events to the peer, for `encode()`:
    Accept, Reject the answer to the request, one of them, once; handshake.py. Reject also where `handshake` raised
    Handover       as Accept, but what follows is for another wire, from `unread` on (tunnel.py)
    Message, Ping, Close    no bytes where a Close is out already (RFC 6455 5.5.1), the echo too: a story need not know
    Owed           nothing but what is owed
`encode` raises ValueError, naming the fault, for what an application must not say; nothing has changed then.
"""
import struct
from dataclasses import dataclass

from interfaces.contract import ProtocolError
from interfaces.ws.compression import WORTH, deflate
from interfaces.ws.frames import (
    BINARY, CLOSE, CODES, DEFAULTS, MAX_CONTROL, NATIVE, NO_STATUS, PING, RSV1, TEXT, Close, Frames, Limits, Message, Ping,
    Pong, framed,
)
from interfaces.ws.handshake import Accept, Asked, Handshake, Reject, accepted, read, rejected

__all__ = ["Accept", "Close", "Handover", "Handshake", "Limits", "Message", "NATIVE", "Owed", "Ping", "Pong", "Reject",
           "WebSocketWire", "prepared"]

AHEAD = 256 * 1024                         # bytes of events that wait for the story: the window of messages.md, Credit
EARLY = 128 * 1024                         # bytes before the 101, when a client must send none (RFC 6455 4.1): all that
                                           # the bridge reads ahead
POLICY = 1008                              # RFC 6455 7.4.1
STEP = 16 * 1024                           # bytes autobahn is given at once; for each frame it copies what is left. Guess


@dataclass(frozen=True, slots=True)
class Owed:
    """What the wire owes since the last pull."""


@dataclass(frozen=True, slots=True)
class Handover:
    """101 with this subprotocol, which was offered, and without compression."""
    subprotocol: str


class WebSocketWire:
    """`options` has the attributes of `Limits`."""
    streams = False
    __slots__ = ("options", "asked", "answered", "frames", "window", "pending", "more", "failure", "deaf")

    def __init__(self, options=DEFAULTS):
        self.options = options
        self.asked: Asked | None = None
        self.answered = False
        self.frames: Frames | None = None
        self.window = 0                                 # bits of what we compress; 0: nothing
        self.pending: bytes | bytearray = b""           # received, not given to autobahn yet
        self.more = False                               # autobahn can go on without more bytes
        self.failure, self.deaf = None, False

    def handshake(self, upgrade) -> Handshake:
        """`upgrade`: contract.Upgrade. Raises ProtocolError with the status for a Reject: 400 or 426."""
        asked = read(upgrade, self.options)
        self.asked = asked
        return Handshake(asked.subprotocols)

    @property
    def owes(self) -> bool:
        return self.frames is not None and bool(self.frames.owed)

    def receive(self, data: bytes) -> bytes:
        if self.deaf:
            return self.owing()
        if self.pending:
            if self.pending.__class__ is bytes:
                self.pending = bytearray(self.pending)
            self.pending += data
        else:
            self.pending = data
        if self.frames is None:
            if len(self.pending) > EARLY:
                self.fail(ProtocolError("data before the handshake is answered", 400))
            return b""
        self.parse(AHEAD)
        return self.owing()

    def unread(self) -> bytes:
        data = bytes(self.pending) if self.frames is None else self.frames.data + self.pending
        self.forget()
        return data

    def next_event(self) -> Message | Ping | Pong | Close | None:
        frames = self.frames
        if frames is not None:
            if not frames.events:
                self.parse(1)
            if frames.events:
                event = frames.events.pop(0)
                if not frames.events:
                    frames.waits = 0
                return event
        if self.failure is not None:
            raise ProtocolError(*self.failure)
        return None

    def parse(self, enough: int):
        """Until events of `enough` bytes wait, or nothing is left to parse."""
        frames = self.frames
        try:
            while frames.waits < enough and not self.deaf:
                if not self.more:
                    if not self.pending:
                        return
                    frames.data += self.piece()
                self.more = frames.processData()
                if frames.ended:                        # RFC 6455 5.5.1: what follows a Close is nothing
                    self.forget()
        except ProtocolError as error:
            self.fail(error)

    def piece(self) -> bytes:
        """What autobahn is given next: the rest of the frame that it is in, or STEP bytes."""
        frames, pending, size = self.frames, self.pending, STEP
        if frames.current_frame is not None:
            size = max(size, frames.current_frame.length - frames.current_frame_masker.pointer())
        if len(pending) <= size:
            self.pending = b""
            return bytes(pending)
        if pending.__class__ is bytes:                  # a bytearray forgets its beginning without moving the rest
            self.pending = pending = bytearray(pending)
        piece = bytes(pending[:size])
        del pending[:size]
        return piece

    def fail(self, error: ProtocolError):
        self.failure = error.reason, error.code
        self.forget()

    def forget(self):
        self.deaf, self.more, self.pending = True, False, b""
        if self.frames is not None:
            self.frames.data = self.frames.held = b""

    def owing(self) -> bytes:
        if not self.owes:
            return b""
        data, self.frames.owed = self.frames.owed, b""
        return data

    # to the peer

    def encode(self, event: Accept | Reject | Message | Ping | Close | Owed) -> bytes:
        if self.frames is not None:
            return SAID[event.__class__](self, event)
        if self.answered:
            raise ValueError("the handshake is answered already")
        if event.__class__ is Reject:
            data, self.answered = rejected(event), True
            self.forget()
            return data
        if event.__class__ is not Accept and event.__class__ is not Handover:
            raise ValueError("a frame before the handshake is answered")
        if self.asked is None:
            raise ValueError("there is no handshake to accept")
        return self.accept(event) if event.__class__ is Accept else self.hand_over(event)

    def hand_over(self, event: Handover) -> bytes:
        self.asked.agreement = None
        data = accepted(self.asked, Accept(event.subprotocol))
        self.asked, self.answered = None, True
        return data

    def accept(self, event: Accept) -> bytes:
        asked, agreement = self.asked, self.asked.agreement
        data = accepted(asked, event)
        self.asked, self.answered = None, True
        if self.failure is not None:                    # there was no Close to send when it was found
            self.failure = self.failure[0], POLICY
        self.open(agreement)
        return data + self.owing()

    def open(self, agreement):
        """The handshake is over. `agreement`: compression.Agreement, or None."""
        self.answered = True
        self.frames = Frames(self.options, None if agreement is None else agreement.client)
        self.window = 0 if agreement is None else agreement.server
        self.parse(AHEAD)                               # what a hasty client has sent before

    def again(self, event):
        raise ValueError("the handshake is answered already")

    def message(self, event: Message) -> bytes:
        return self.written(prepared(event, self.window))

    def ping(self, event: Ping) -> bytes:
        if event.payload.__class__ is not bytes or len(event.payload) > MAX_CONTROL:
            raise ValueError("a ping carries at most 125 bytes")
        return self.written(framed(PING, event.payload))

    def close(self, event: Close) -> bytes:
        payload = closing(event)
        data = self.written(framed(CLOSE, payload))
        self.frames.closed = True
        return data

    def written(self, data: bytes) -> bytes:
        if self.frames.closed:                          # RFC 6455 5.5.1: nothing more after a Close
            data = b""
        return self.owing() + data if self.frames.owed else data         # a frame for many is not copied

    def owed(self, event: Owed) -> bytes:
        return self.owing()


SAID = {Accept: WebSocketWire.again, Handover: WebSocketWire.again, Reject: WebSocketWire.again, Message: WebSocketWire.message,
        Ping: WebSocketWire.ping, Close: WebSocketWire.close, Owed: WebSocketWire.owed}


def closing(event: Close) -> bytes:
    """The payload of a Close."""
    reason = event.reason.encode()
    if event.code == NO_STATUS and not reason:
        return b""
    if event.code not in CODES:
        raise ValueError(f"close code {event.code!r} can't be sent")
    if len(reason) > MAX_CONTROL - 2:
        reason = reason[:MAX_CONTROL - 2].decode(errors="ignore").encode()
    return struct.pack("!H", event.code) + reason


last: tuple[str | bytes | None, int, bytes] = (None, 0, b"")         # what `prepared` made last: data, window, frame


def prepared(message: Message, window: int = 0) -> bytes:
    """The frame of a message; `window`: bits of its compression, 0 for none. Made once where many get the same object in
    turn: a group of thousands costs one framing. Raises ValueError for what is neither str nor bytes, or a lone surrogate."""
    global last
    data = message.data
    if last[0] is data and last[1] == window:           # str and bytes never change, so the same object is the same frame
        return last[2]
    if data.__class__ is str:
        opcode, payload = TEXT, data.encode()
    elif data.__class__ is bytes:
        opcode, payload = BINARY, data
    else:
        raise ValueError("a message is str or bytes")
    frame = framed(opcode, payload)
    if window and len(payload) >= WORTH:
        shrunk = framed(opcode, deflate(payload, window), RSV1)
        frame = min(frame, shrunk, key=len)
    last = data, window, frame
    return frame

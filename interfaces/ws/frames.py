"""Frames and messages of RFC 6455, read by autobahn without I/O, and written. Pure. The contract is in protocol.py.

autobahn reads the frames: header, unmasking, the rules of RFC 6455 5.2 to 5.5. `Frames` is its protocol in the open
state, with neither transport, timers nor log. Messages, limits, compression and closing are ours, because its own keep 23
bytes for each byte of a message that comes in small pieces, and pass on a message cut short where one byte too many
inflates.
"""
import struct
from codecs import getincrementaldecoder
from dataclasses import dataclass

from autobahn.websocket import USES_NVX
from autobahn.websocket.protocol import WebSocketServerProtocol

from interfaces.contract import ProtocolError
from interfaces.ws.compression import Inflater, too_large

NATIVE = USES_NVX                          # False: frames are unmasked byte by byte in Python, 16 ms for 64 KiB
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10                     # RFC 6455 11.8
FIN, RSV1 = 0x80, 0x40                     # RSV1: the message is compressed, RFC 7692 6
NO_STATUS = 1005                           # RFC 6455 7.4.1: never on the wire
CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))     # RFC 6455 7.4, IANA's registry
MAX_CONTROL = 125                          # bytes; RFC 6455 5.5
EVENT = 100                                # bytes that an event takes beside its payload; measured: 102 for a text of 4


@dataclass(frozen=True, slots=True)
class Message:
    """To the peer and from it. `data`: str is a text frame, bytes is a binary one."""
    data: str | bytes


@dataclass(frozen=True, slots=True)
class Ping:
    payload: bytes = b""                   # at most 125 bytes


@dataclass(frozen=True, slots=True)
class Pong:
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """`code` 1005: none was given, or is to be. To the peer `reason` is cut to 123 bytes, between two characters."""
    code: int = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What WebSocketWire needs of its options."""
    max_message: int = 1024 * 1024         # bytes, inflated; the project's requirement
    max_frames: int = 1024                 # fragments of one message: a guess, 1 MiB in pieces of 1 KiB
    compression: bool = True
    compression_window: int = 12           # bits, 9..15; measured: 15 saves 1 % of JSON and takes 128 KiB more


DEFAULTS = Limits()


class Server:
    """All that autobahn asks of the factory."""
    isServer = True


class Compressed:
    """All that autobahn asks of an extension: RSV1 is allowed then, where RFC 7692 6 allows it."""
    EXTENSION_NAME = "permessage-deflate"


class Frames(WebSocketServerProtocol):
    """autobahn's reader of frames, and what comes of them. What is the same for most connections stands in the class, so
    that an idle one takes 0.4 KiB (measured; 3.5 with all that autobahn's `_connectionMade` sets up)."""
    factory, requireMaskedClientFrames, applyMask = Server(), True, True
    data, current_frame, inside_message = b"", None, False
    _perMessageCompress = None             # its own name for the extension
    limits, window = DEFAULTS, None        # window: bits of what the peer compresses; None: it does not
    events, waits, owed, closed, ended = (), 0, b"", False, False      # closed: a Close went out; ended: one came in
    held, control, text, fragments, size, inflater, utf8 = b"", b"", False, 0, 0, None, None

    def __init__(self, limits, window: int | None):
        if limits is not DEFAULTS:
            self.limits = limits
        if window is not None:
            self.window, self._perMessageCompress = window, Compressed

    def _protocol_violation(self, reason: str):
        raise ProtocolError(reason, 1002)  # its texts are its own, with at most a number of the peer's in them

    def onFrameBegin(self):
        frame = self.current_frame
        if frame.opcode > 7:
            self.control = b""
            return
        if not self.inside_message:
            self.inside_message, self.text, self.fragments, self.size = True, frame.opcode == TEXT, 0, 0
            if frame.rsv:
                self.inflater = Inflater(self.window, self.limits.max_message)
        self.fragments += 1
        if self.fragments > self.limits.max_frames:
            raise ProtocolError("a message of too many fragments", 1009)
        if self.inflater is not None:
            self.inflater.fragment(frame.length)
            return
        self.size += frame.length
        if self.size > self.limits.max_message:
            raise too_large()

    def onFrameData(self, payload: bytes):
        frame = self.current_frame
        if frame.opcode > 7:
            self.control += payload
            return
        whole = frame.fin and len(payload) == frame.length and self.utf8 is None
        too_much = False
        if self.inflater is not None:
            payload, too_much = self.inflater.feed(payload)
        self.hold(payload, whole and not too_much)
        if too_much:
            raise too_large()

    def hold(self, piece: bytes, whole: bool):
        """Keep a piece of a message. `whole`: its text need not be checked, it will be decoded at once."""
        if self.text and not whole:
            self.utf8 = self.utf8 or getincrementaldecoder("utf-8")()
            decoded(self.utf8.decode, piece)                         # RFC 6455 8.1; at the first byte that is wrong
        if not self.held:
            self.held = piece
        else:
            if self.held.__class__ is bytes:
                self.held = bytearray(self.held)
            self.held += piece

    def onFrameEnd(self):
        frame, self.current_frame = self.current_frame, None
        if frame.opcode > 7:
            CONTROL[frame.opcode](self, self.control)
        elif frame.fin:
            if self.inflater is not None:
                self.inflater.finish()
            data = self.held
            if self.text:
                data = decoded(data.decode)
            self.give(Message(data if data.__class__ is not bytearray else bytes(data)), len(self.held))
            self.inside_message, self.held, self.inflater, self.utf8 = False, b"", None, None

    def ping(self, payload: bytes):
        self.give(Ping(payload), len(payload))
        if not self.closed:
            self.owed += framed(PONG, payload)

    def pong(self, payload: bytes):
        self.give(Pong(payload), len(payload))

    def close(self, payload: bytes):
        code, reason = NO_STATUS, ""
        if payload:
            code, = struct.unpack_from("!H", payload)
            if code not in CODES:
                raise ProtocolError("a close code that is not allowed", 1002)
            reason = decoded(payload[2:].decode)
        self.give(Close(code, reason), len(payload))
        if not self.closed:
            self.owed += framed(CLOSE, payload[:2])                  # RFC 6455 5.5.1: typically the same code
        self.closed = self.ended = True

    def give(self, event, size: int):
        self.waits += size + EVENT
        if self.events:
            self.events.append(event)
        else:
            self.events = [event]


CONTROL = {PING: Frames.ping, PONG: Frames.pong, CLOSE: Frames.close}


def decoded(decode, *data) -> str:
    try:
        return decode(*data)
    except UnicodeDecodeError:
        raise ProtocolError("text that is not UTF-8", 1007) from None


def framed(opcode: int, payload: bytes, rsv: int = 0) -> bytes:
    """One frame of a server: final, unmasked (RFC 6455 5.1)."""
    size = len(payload)
    if size <= MAX_CONTROL:
        return bytes((FIN | rsv | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", FIN | rsv | opcode, 126, size) + payload
    return struct.pack("!BBQ", FIN | rsv | opcode, 127, size) + payload

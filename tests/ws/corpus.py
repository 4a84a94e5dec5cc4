"""Real frames, good and bad, and what must come of them under LIMITS. Each has its RFC section, its case in the Autobahn
test suite, or its bug.

`events` are those that are given; `code` is the one to close with, where there is a fault behind them. `owed`: what goes
out by itself, in hex. `zipped`: permessage-deflate was agreed on.
"""
import struct
import zlib
from dataclasses import dataclass

from interfaces.ws.protocol import Close, Limits, Message, Ping, Pong

LIMITS = Limits(max_message=4096, max_frames=16)
TEXT, BINARY, MORE, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
RSV1, RSV2, RSV3 = 4, 2, 1
WORD = "Hello-µ@ßöäüàá-UTF-8!!"            # the suite's own


@dataclass(frozen=True)
class Case:
    name: str
    source: str
    said: bytes
    events: tuple = ()
    code: int | None = None
    owed: str = ""
    zipped: bool = False


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x37\xfa\x21\x3d") -> bytes:
    """A frame as a client sends it. `mask` None: unmasked."""
    size, masked = len(payload), 0 if mask is None else 0x80
    if size < 126:
        length = bytes((masked | size,))
    else:
        length = struct.pack("!BH", masked | 126, size) if size < 65536 else struct.pack("!BQ", masked | 127, size)
    if mask is not None:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((fin << 7 | rsv << 4 | opcode,)) + length + (mask or b"") + payload


def text(said: str | bytes, **settings) -> bytes:
    return frame(TEXT, said.encode() if isinstance(said, str) else said, **settings)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def fragments(opcode: int, *pieces: bytes, rsv: int = 0, between: bytes = b"") -> bytes:
    last = len(pieces) - 1
    return between.join(frame(MORE if at else opcode, piece, fin=at == last, rsv=0 if at else rsv)
                        for at, piece in enumerate(pieces))


def deflated(data: bytes, bits: int = 15, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def closed(data: bytes) -> bytes:
    """DEFLATE with a final block, which Z_SYNC_FLUSH never makes."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush(zlib.Z_FINISH)


def zipped(payload: bytes, opcode: int = TEXT, **settings) -> bytes:
    return frame(opcode, payload, rsv=RSV1, **settings)


def good(name: str, source: str, said: bytes, *events, owed: str = "", zipped: bool = False) -> Case:
    return Case(name, source, said, events, None, owed, zipped)


HELLO = Message("Hello")
GOOD = [
    good("a text", "RFC 6455 5.7", bytes.fromhex("818537fa213d7f9f4d5158"), HELLO),
    good("a text in two fragments", "RFC 6455 5.7", fragments(TEXT, b"Hel", b"lo"), HELLO),
    good("a ping", "RFC 6455 5.7", bytes.fromhex("898537fa213d7f9f4d5158"), Ping(b"Hello"), owed="8a0548656c6c6f"),
    good("256 bytes", "RFC 6455 5.7", frame(BINARY, bytes(256)), Message(bytes(256))),
    good("an empty text", "suite 1.1.1", text(""), Message("")),
    good("an empty binary", "suite 1.2.1", frame(BINARY), Message(b"")),
    good("125 bytes", "suite 1.1.2", text("*" * 125), Message("*" * 125)),
    good("126 bytes", "suite 1.1.3", text("*" * 126), Message("*" * 126)),
    good("128 bytes of binary", "suite 1.2.5", frame(BINARY, b"\xfe" * 128), Message(b"\xfe" * 128)),
    good("a mask of zeros", "RFC 6455 5.3", text("Hello", mask=bytes(4)), HELLO),
    good("the largest message", "Limits.max_message", frame(BINARY, bytes(4096)), Message(bytes(4096))),
    good("the largest, in fragments", "Limits.max_message", fragments(BINARY, bytes(4000), bytes(96)), Message(bytes(4096))),
    good("the most fragments", "Limits.max_frames", fragments(TEXT, *[b"x"] * 16), Message("x" * 16)),
    good("an empty ping", "suite 2.1", frame(PING), Ping(), owed="8a00"),
    good("a ping of 125 bytes", "suite 2.4", frame(PING, b"\xfe" * 125), Ping(b"\xfe" * 125), owed="8a7d" + "fe" * 125),
    good("an unasked pong", "suite 2.7", frame(PONG, b"x"), Pong(b"x")),
    good("ten pings", "suite 2.10", b"".join(frame(PING, b"%d" % at) for at in range(10)),
         *(Ping(b"%d" % at) for at in range(10)), owed="".join(f"8a013{at}" for at in range(10))),
    good("a ping between fragments", "suite 5.6", fragments(TEXT, b"Hel", b"lo", between=frame(PING, b"p")),
         Ping(b"p"), HELLO, owed="8a0170"),
    good("a pong between fragments", "RFC 6455 5.4", fragments(TEXT, b"Hel", b"lo", between=frame(PONG, b"p")),
         Pong(b"p"), HELLO),
    good("pings between ten fragments", "suite 5.19", fragments(TEXT, *[b"x"] * 10, between=frame(PING)),
         *[Ping()] * 9, Message("x" * 10), owed="8a00" * 9),
    good("empty fragments", "suite 6.1.2", fragments(TEXT, b"", b"", b""), Message("")),
    good("empty fragments around one", "suite 6.1.3", fragments(TEXT, b"", b"middle", b""), Message("middle")),
    good("UTF-8", "suite 6.2.1", text(WORD), Message(WORD)),
    good("UTF-8, a fragment for each byte", "suite 6.2.3", fragments(TEXT, *(bytes((b,)) for b in "κόσμε".encode())),
         Message("κόσμε")),
    good("the last code point", "suite 6.7.4", text(b"\xf4\x8f\xbf\xbf"), Message("\U0010ffff")),
    good("non-characters", "suite 6.22", text(b"\xef\xbf\xbe\xef\xbf\xbf"), Message("\ufffe\uffff")),
    good("NUL", "RFC 3629", text("\0"), Message("\0")),
    good("no UTF-8 in a binary message", "RFC 6455 5.6", fragments(BINARY, b"\xff", b"\xc0"), Message(b"\xff\xc0")),
]
ZIPPED = [
    good("Hello", "RFC 7692 7.2.3.1", zipped(bytes.fromhex("f248cdc9c90700")), HELLO, zipped=True),
    good("Hello in two fragments", "RFC 7692 7.2.3.1", zipped(bytes.fromhex("f248cd"), fin=False)
         + frame(MORE, bytes.fromhex("c9c90700")), HELLO, zipped=True),
    good("a block without compression", "RFC 7692 7.2.3.3", zipped(bytes.fromhex("000500faff48656c6c6f00")), HELLO,
         zipped=True),
    good("a final block", "RFC 7692 7.2.3.4", zipped(bytes.fromhex("f348cdc9c9070000")), HELLO, zipped=True),
    good("a final block without its byte", "Java's Deflater", zipped(closed(b"Hello")), HELLO, zipped=True),
    good("two blocks", "RFC 7692 7.2.3.5", zipped(bytes.fromhex("f24805000000ffffcac9c90700")), HELLO, zipped=True),
    good("an empty message", "RFC 7692 7.2.3.6", zipped(b"\0"), Message(""), zipped=True),
    good("a message that isn't compressed", "RFC 7692 6", text("Hello"), HELLO, zipped=True),
    good("a compressed binary", "suite 12.2", zipped(deflated(bytes(1000)), BINARY), Message(bytes(1000)), zipped=True),
    good("an uncompressed control frame inside", "RFC 7692 6.1", fragments(
        TEXT, deflated(b"Hello")[:3], deflated(b"Hello")[3:], rsv=RSV1, between=frame(PING)), Ping(), HELLO, owed="8a00",
        zipped=True),
    good("the largest, inflated", "Limits.max_message", zipped(deflated(b"x" * 4096)), Message("x" * 4096), zipped=True),
    good("the largest, stored", "Limits.max_message", zipped(deflated(b"x" * 4096, level=0)), Message("x" * 4096), zipped=True),
    good("UTF-8, compressed, a byte for each fragment", "suite 13", fragments(
        TEXT, *(bytes((b,)) for b in deflated("κό".encode())), rsv=RSV1), Message("κό"), zipped=True),
]
CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
LAST = [                                   # nothing that follows is read (RFC 6455 5.5.1)
    good("an empty close", "suite 7.3.1", frame(CLOSE), Close(1005), owed="8800"),
    good("a close and more", "suite 7.1.3", close(1000) + text("x") + frame(PING) + close(1001), Close(1000), owed="880203e8"),
    good("a close and junk", "RFC 6455 5.5.1", close(1000) + b"\xff\xff", Close(1000), owed="880203e8"),
    good("a close with a reason", "suite 7.3.4", close(1000, WORD.encode()), Close(1000, WORD), owed="880203e8"),
    good("a close with 123 bytes", "suite 7.3.5", close(1000, b"*" * 123), Close(1000, "*" * 123), owed="880203e8"),
    good("a close inside a message", "suite 7.1.4", text("x", fin=False) + close(1000), Close(1000), owed="880203e8"),
    *(good(f"close code {code}", "suite 7.7", close(code), Close(code), owed=f"8802{code:04x}") for code in CODES),
]


def bad(name: str, source: str, said: bytes, code: int = 1002, *events, zipped: bool = False, owed: str = "") -> Case:
    return Case(name, source, said, events, code, owed, zipped)


FRAMES = [
    *(bad(f"opcode {opcode}", "suite 4.1, 4.2", frame(opcode, b"x")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(bad(f"reserved bits {rsv}", "suite 3", text("x", rsv=rsv)) for rsv in range(1, 8)),
    *(bad(f"reserved bits {rsv}, with compression", "RFC 7692 6",
           text("x", rsv=rsv), zipped=True) for rsv in (1, 2, 3, 5, 6, 7)),
    *(bad(f"reserved bits in {opcode}", "suite 3.5 to 3.7", frame(opcode, b"", rsv=RSV3)) for opcode in (CLOSE, PING, PONG)),
    *(bad(f"a fragmented {opcode}", "suite 5.1, 5.2",
           frame(opcode, b"", fin=False) + frame(MORE)) for opcode in (CLOSE, PING, PONG)),
    *(bad(f"{opcode} of 126 bytes", "suite 2.5, 7.3.6",
           frame(opcode, b"\x03\xe8" + b"x" * 124)) for opcode in (CLOSE, PING, PONG)),
    *(bad(f"unmasked {opcode}", "RFC 6455 5.1", frame(opcode, b"", mask=None)) for opcode in (TEXT, BINARY, CLOSE, PING, PONG)),
    bad("an unmasked text", "RFC 6455 5.1", text("Hello", mask=None)),
    bad("a continuation of nothing", "suite 5.9", frame(MORE, b"x")),
    bad("a continuation of nothing, to be continued", "suite 5.12", frame(MORE, b"x", fin=False)),
    bad("a continuation after the end", "suite 5.15", fragments(TEXT, b"a", b"b") + frame(MORE, b"c"), 1002, Message("ab")),
    bad("a text inside a text", "suite 5.18", text("a", fin=False) + text("b")),
    bad("a binary inside a text", "RFC 6455 5.4", text("a", fin=False) + frame(BINARY, b"b")),
    bad("16 bits for 125", "RFC 6455 5.2", b"\x81\xfe\0\x7d" + bytes(4 + 125)),
    bad("64 bits for 126", "RFC 6455 5.2", b"\x81\xff" + struct.pack("!Q", 126) + bytes(4 + 126)),
    bad("64 bits for 65535", "RFC 6455 5.2", b"\x81\xff" + struct.pack("!Q", 65535) + bytes(4)),
    bad("64 bits for 0", "RFC 6455 5.2", b"\x81\xff" + bytes(8 + 4)),
    bad("a length of 2**63", "RFC 6455 5.2", b"\x81\xff" + struct.pack("!Q", 1 << 63) + bytes(4)),
    bad("a length of 2**64 - 1", "CVE-2020-11724's kind", b"\x81\xff" + b"\xff" * 8 + bytes(4)),
    bad("a length of 2**63 - 1", "RFC 6455 10.4", b"\x81\xff" + struct.pack("!Q", (1 << 63) - 1) + bytes(4), 1009),
    bad("one byte too many", "Limits.max_message", frame(BINARY, bytes(4097)), 1009),
    bad("one byte too many, in fragments", "Limits.max_message", fragments(BINARY, bytes(4096), b"x"), 1009),
    bad("fragments without end", "Limits.max_frames", fragments(TEXT, *[b""] * 17), 1009),
    bad("a fault behind good ones", "RFC 6455 7.1.7",
         text("a") + frame(PING) + frame(3) + text("b"), 1002, Message("a"), Ping(),
        owed="8a00"),
]
CLOSES = [
    *(bad(f"close code {code}", "suite 7.9", close(code)) for code in
      (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)),
    bad("a close of one byte", "suite 7.3.2", frame(CLOSE, b"\x03")),
    bad("a close with a reason that is not UTF-8", "suite 7.5.1", close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), 1007),
    bad("a close with half a character", "RFC 6455 5.5.1", close(1000, b"\xce"), 1007),
]
NO_UTF8 = {                                # suite 6.3 to 6.21, RFC 3629
    "a surrogate": b"\xce\xba\xed\xa0\x80edited", "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "past the last code point": b"\xf4\x90\x80\x80", "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "an overlong slash": b"\xc0\xaf", "an overlong slash of three": b"\xe0\x80\xaf",
    "an overlong slash of four": b"\xf0\x80\x80\xaf",
    "an overlong NUL": b"\xc0\x80", "0xfe": b"\xfe", "0xff": b"\xff", "a continuation byte": b"\x80",
    "half a character": b"\xce",
    "three of four bytes": b"\xf0\x9f\x98", "a lone start": b"\xe2 ", "an end of another": "é".encode() + b"\xa9",
}
TEXTS = [case for name, data in NO_UTF8.items() for case in (
    bad(name, "suite 6", text(data), 1007),
    bad(f"{name}, behind a text", "suite 6", text("ok") + text(b"ab" + data), 1007, Message("ok")),
    bad(f"{name}, compressed", "RFC 7692 6", zipped(deflated(data)), 1007, zipped=True),
    *(bad(f"{name}, split at {at}", "suite 6.4", fragments(TEXT, data[:at], data[at:]), 1007) for at in range(len(data) + 1)),
)]
DEFLATED = [
    bad("no DEFLATE", "RFC 7692 6.2", zipped(b"\xff" * 8), 1007, zipped=True),
    bad("a reserved block", "RFC 1951 3.2.3", zipped(b"\x07"), 1007, zipped=True),
    bad("a distance before the start", "RFC 1951 3.2.3",
         zipped(b"\x02\x02\0"), 1007, zipped=True),
    bad("a stream cut inside a block", "RFC 7692 7.2.2", zipped(deflated(b"Hello, Hello, Hello!")[:-3]), 1007, zipped=True),
    bad("a stored block cut short", "RFC 1951 3.2.4", zipped(bytes.fromhex("000900f6ff48656c6c6f")), 1007, zipped=True),
    bad("no bytes at all", "RFC 7692 7.2.3.6", zipped(b"\x01"), 1007, zipped=True),
    bad("more behind the last block", "RFC 7692 7.2.3.4", zipped(closed(b"Hello") + b"\0\0"), 1007, zipped=True),
    bad("another stream behind the last block", "RFC 7692 7.2.3.4", zipped(closed(b"Hello") * 2), 1007, zipped=True),
    bad("a compressed ping", "RFC 7692 6.1", frame(PING, deflated(b"x"), rsv=RSV1), zipped=True),
    bad("RSV1 in a continuation", "RFC 7692 6.1", zipped(b"\xf2\x48", fin=False) + frame(MORE, b"\xcd", rsv=RSV1), zipped=True),
    bad("RSV1 where it is not agreed on", "RFC 6455 5.2", zipped(deflated(b"Hello"))),
    bad("one byte too many, inflated", "autobahn 26.10.2 gives 4096", zipped(deflated(b"x" * 4097)), 1009, zipped=True),
    bad("200 bytes too many, inflated", "Limits.max_message", zipped(deflated(b"x" * 4296)), 1009, zipped=True),
    bad("a bomb", "CVE-2016-1544's kind, GHSA-hxp9-w8x3-p566", zipped(deflated(bytes(1 << 20))), 1009, zipped=True),
    bad("a bomb in fragments", "Limits.max_message", fragments(TEXT, *(
        deflated(bytes(1 << 16))[at:at + 20] for at in range(0, 80, 20)), rsv=RSV1), 1009, zipped=True),
    bad("empty blocks for ever", "Limits.max_message", zipped(b"\0\0\0\xff\xff" * 1200, BINARY), 1009, zipped=True),
    bad("bad UTF-8 in front of a bomb", "RFC 6455 8.1", zipped(deflated(b"\xff" + bytes(1 << 16))), 1007, zipped=True),
]
BAD = FRAMES + CLOSES + TEXTS + DEFLATED


# For tests/test_laws.py

OPENING = (b"GET /chat?x=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n")


def storm_corpus() -> list[bytes]:
    """Mostly what is right, so that connections last."""
    return [case.said for case in (*GOOD, *GOOD, *GOOD, *LAST, *BAD)] + [frame(TEXT, b"x" * 5000) * 5, frame(PING, b"p") * 50]

"""The wire of WebSocket: what comes of bytes, however they are cut, and what is said to whom."""
import random
import subprocess
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from interfaces.contract import ProtocolError, Upgrade
from interfaces.ws.compression import agree, deflate
from interfaces.ws.protocol import (
    Accept, Close, Limits, Message, Owed, Ping, Pong, Reject, WebSocketWire, prepared,
)
from tests.ws.corpus import (
    BAD, BINARY, CLOSE, GOOD, LAST, LIMITS, MORE, PING, TEXT, ZIPPED, Case, deflated, fragments, frame, text, zipped,
)

EVERY = GOOD + ZIPPED + LAST + BAD
FIELDS = {b"host": b"a", b"connection": b"keep-alive, Upgrade", b"upgrade": b"websocket", b"sec-websocket-version": b"13",
          b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ=="}          # RFC 6455 1.3
OFFER = b"permessage-deflate; client_max_window_bits"                # Chrome's and Firefox's


def asking(more=(), version="1.1", **fields) -> Upgrade:
    """A request for a WebSocket; `fields` in other words, None: without."""
    said = FIELDS | {name.replace("_", "-").encode(): value for name, value in fields.items()}
    headers = [(name, value) for name, value in said.items() if value is not None]
    return Upgrade("websocket", version, "http", "/", b"/", b"", "", headers + list(more), None, None)


def opened(limits=LIMITS, offer: bytes | None = None) -> WebSocketWire:
    wire = WebSocketWire(limits)
    wire.handshake(asking(sec_websocket_extensions=offer))
    assert wire.encode(Accept()).startswith(b"HTTP/1.1 101 ")
    return wire


def events(wire: WebSocketWire) -> list:
    found = []
    try:
        while (event := wire.next_event()) is not None:
            found.append(event)
    except ProtocolError as error:
        found.append(error)
    return found


def read(pieces, zipped: bool, wire=None) -> tuple:
    """(events, code, bytes owed), however the bytes were cut."""
    wire = wire or opened(offer=OFFER if zipped else None)
    found, owed = [], b""
    for piece in pieces:
        owed += wire.receive(piece)
        found += events(wire)
    owed += wire.encode(Owed())
    faults = {(error.reason, error.code) for error in found if isinstance(error, ProtocolError)}
    assert len(faults) < 2
    return tuple(e for e in found if not isinstance(e, ProtocolError)), faults.pop()[1] if faults else None, owed.hex()


def outcome(case: Case) -> tuple:
    return case.events, case.code, case.owed


def cut(said: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    at = [0, *sorted(chance.randrange(len(said) + 1) for _ in range(chance.randrange(1, 6))), len(said)]
    return [said[begin:end] for begin, end in zip(at, at[1:], strict=False)]


# the corpus: real bytes, however they are cut and whatever stands in front

@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_whole(case):
    assert read([case.said], case.zipped) == outcome(case)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_byte_by_byte(case):
    assert read((bytes((byte,)) for byte in case.said), case.zipped) == outcome(case)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_cut_anywhere(case):
    places = range(len(case.said)) if len(case.said) < 100 else (1, 2, 3, 5, 9, 60, len(case.said) - 1)
    for place in places:
        assert read([case.said[:place], case.said[place:]], case.zipped) == outcome(case), place
    for seed in range(10):
        assert read(cut(case.said, seed), case.zipped) == outcome(case), seed


@pytest.mark.parametrize("seed", range(30))
def test_joined_to_neighbours(seed):
    chance = random.Random(seed)
    cases = [*chance.sample(GOOD + ZIPPED, 12), chance.choice([case for case in LAST + BAD if case.zipped or not case.code])]
    said = b"".join(case.said for case in cases)
    expected = sum((case.events for case in cases), ()), cases[-1].code, "".join(case.owed for case in cases)
    assert read([said], True) == read(cut(said, seed), True) == read((bytes((b,)) for b in said), True) == expected


@pytest.mark.parametrize("seed", range(300))
def test_mutations_never_surprise(seed):
    """Whatever the bytes: only ProtocolError, only codes that can be sent, and cutting changes nothing."""
    chance = random.Random(seed)
    said = bytearray(b"".join(case.said for case in chance.choices(GOOD + ZIPPED, k=3)) + chance.choice(EVERY).said)
    for _ in range(chance.randrange(1, 4)):
        said[chance.randrange(min(len(said), 60))] = chance.randrange(256)
    found, code, owed = read([bytes(said)], True)
    assert read(cut(bytes(said), seed), True) == read((bytes((b,)) for b in said), True) == (found, code, owed)
    assert code in (None, 1002, 1007, 1009)


def test_a_fault_is_for_ever():
    wire = opened()
    for _ in range(3):
        assert wire.receive(frame(3) + frame(PING)) == b""
        error, = events(wire)
        assert (error.reason, error.code) == ("data frame using reserved opcode 3", 1002)
    assert wire.encode(Close(1002, "x")) == b"\x88\x03\x03\xeax"


@pytest.mark.parametrize("said", [b"\x81\xfe\x10\x01", b"\x82\xff" + (1 << 40).to_bytes(8, "big")], ids=["4097", "2**40"])
def test_too_large_is_said_at_the_header(said):
    wire = opened()
    wire.receive(said + bytes(4))
    assert events(wire)[0].code == 1009


def test_text_fails_at_its_first_bad_byte():                         # suite 6.4.2
    wire = opened()
    said = fragments(TEXT, "κόσμε".encode() + b"\xf4\x90", b"\x80\x80")
    at = said.index(frame(MORE, b"\x80\x80")) - 1
    wire.receive(said[:at])
    assert events(wire) == []
    wire.receive(said[at:at + 1])
    assert events(wire)[0].code == 1007


# pings, pongs and closing

def test_a_ping_is_answered_before_anybody_asks():
    wire = opened()
    assert wire.receive(text("a") + frame(PING, b"x") + text("b")) == b"\x8a\x01x"
    assert not wire.owes and events(wire) == [Message("a"), Ping(b"x"), Message("b")]


def test_what_the_application_says_waits_behind_what_is_owed():
    """A story far behind: what came is not parsed until it pulls, so no flood becomes objects."""
    wire = opened(Limits(max_message=1 << 20))
    flood = frame(BINARY, bytes(1 << 17), mask=bytes(4)) * 3
    assert wire.receive(flood + frame(PING, b"x") + frame(CLOSE)) == b""
    assert [len(wire.next_event().data) for _ in range(3)] == [1 << 17] * 3
    assert wire.next_event() == Ping(b"x") and wire.owes
    assert wire.encode(Message("y")) == b"\x8a\x01x\x81\x01y"
    assert wire.next_event() == Close(1005) and wire.owes
    assert wire.encode(Owed()) == b"\x88\x00" and not wire.owes


def test_what_was_owed_before_a_fault_is_paid():
    wire = opened(Limits(max_message=1 << 20))
    wire.receive(frame(BINARY, bytes(1 << 18), mask=bytes(4)) + frame(PING, b"x") + frame(3))
    assert [getattr(event, "code", None) for event in events(wire)] == [None, None, 1002]
    assert wire.receive(frame(PING)) == b"\x8a\x01x" and not wire.owes


def test_a_flood_of_small_messages_waits_as_bytes():
    wire = opened()
    tracemalloc.start()
    wire.receive(frame(BINARY, b"xy") * 60_000)                      # 480 KB; as objects 6.7 MB
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1_200_000
    assert events(wire) == [Message(b"xy")] * 60_000


def test_our_close_is_answered_once():
    wire = opened()
    assert wire.encode(Close(1000)) == b"\x88\x02\x03\xe8"
    assert wire.receive(text("late") + frame(PING) + frame(CLOSE, b"\x03\xe8")) == b""
    assert events(wire) == [Message("late"), Ping(), Close(1000)]


@pytest.mark.parametrize("close", ["ours", "theirs"])
def test_nothing_is_said_after_a_close(close):
    wire = opened()
    if close == "ours":
        wire.encode(Close(1001))
    else:
        assert wire.receive(frame(CLOSE)) == b"\x88\x00"
    assert [wire.encode(event) for event in (Message("x"), Ping(), Close(1000), Owed())] == [b""] * 4


@pytest.mark.parametrize("event, said", [
    (Close(), b"\x88\x02\x03\xe8"), (Close(1005), b"\x88\x00"), (Close(4999, "é"), b"\x88\x04\x13\x87\xc3\xa9"),
    (Close(1011, "x" * 200), b"\x88\x7d\x03\xf3" + b"x" * 123),
    (Close(1000, "é" * 62), b"\x88\x7c\x03\xe8" + "é".encode() * 61),
    (Close(1000, "😀" * 31), b"\x88\x7a\x03\xe8" + "😀".encode() * 30),
    (Ping(b"x" * 125), b"\x89\x7d" + b"x" * 125), (Message(""), b"\x81\x00"), (Message(b"\xff"), b"\x82\x01\xff"),
    (Message("é" * 63), b"\x81\x7e\x00\x7e" + "é".encode() * 63), (Message(bytes(65535)), b"\x82\x7e\xff\xff" + bytes(65535)),
    (Message(bytes(65536)), b"\x82\x7f" + (65536).to_bytes(8, "big") + bytes(65536)),
], ids=lambda value: repr(value)[:24])
def test_what_the_peer_reads(event, said):
    assert opened().encode(event) == said


@pytest.mark.parametrize("event", [
    Close(1006), Close(1015), Close(1004), Close(999), Close(1016), Close(2999), Close(5000), Close(70000), Close(None),
    Close(1005, "why"), Close(1000, "\ud800"), Ping(b"x" * 126), Ping("x"), Message("\ud800"), Message(None),
    Message(bytearray(b"x")), Accept(), Reject(400)], ids=repr)
def test_what_an_application_must_not_say(event):
    wire = opened()
    with pytest.raises(ValueError):
        wire.encode(event)
    assert wire.encode(Message("x")) == b"\x81\x01x"


# the handshake

def test_the_rfc_s_own_handshake():                                  # RFC 6455 1.3
    wire = WebSocketWire()
    assert wire.handshake(asking(sec_websocket_protocol=b"chat, superchat")).subprotocols == ("chat", "superchat")
    assert wire.encode(Accept("chat", [(b"Set-Cookie", b"a=b"), (b"set-cookie", b"c=d")])) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
        b"Set-Cookie: a=b\r\nset-cookie: c=d\r\n\r\n")


@pytest.mark.parametrize("asked", [
    asking(upgrade=b"WebSocket"), asking(connection=b"UPGRADE"), asking(upgrade=b"h2c, websocket"),
    asking(connection=b"keep-alive", more=[(b"connection", b"upgrade")]), asking(sec_websocket_extensions=b"x-unknown; a=b"),
    asking(sec_websocket_extensions=b""), asking(sec_websocket_extensions=b',, foo; a="b" ,'),
    asking(sec_websocket_key=b" dGhlIHNhbXBsZSBub25jZQ== ")], ids=range(8))
def test_requests_that_are_in_order(asked):
    wire = WebSocketWire()
    assert wire.handshake(asked).subprotocols == ()
    assert b"Extensions" not in wire.encode(Accept())


@pytest.mark.parametrize("asked", [
    asking(version="1.0"), asking(upgrade=None), asking(upgrade=b"websockets"), asking(connection=None),
    asking(connection=b"keep-alive"), asking(sec_websocket_key=None), asking(sec_websocket_key=b""),
    asking(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZQ"), asking(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZQ===="),
    asking(sec_websocket_key=b"AAAA"), asking(sec_websocket_key=b"dGhlIHNhbXBsZS-ub25jZQ=="),
    asking(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZQ==\n"),
    asking([(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]), asking(sec_websocket_protocol=b"chat, chat"),
    asking([(b"sec-websocket-protocol", b"chat")], sec_websocket_protocol=b"chat"), asking(sec_websocket_protocol=b"ch at"),
    asking(sec_websocket_protocol=b""), asking(sec_websocket_protocol=b","), asking(sec_websocket_protocol="é".encode()),
    asking(sec_websocket_extensions=b"foo bar"), asking(sec_websocket_extensions=b";a"),
    asking(sec_websocket_extensions=b"permessage-deflate; =1"), asking(sec_websocket_extensions=b'x; a=""'),
    asking(sec_websocket_extensions=b'x; a="b c"'), asking(sec_websocket_extensions=b'x; a="b'),
    asking(sec_websocket_extensions=b"x; a=b; "),
], ids=range(26))
def test_requests_that_are_refused(asked):
    with pytest.raises(ProtocolError) as refusal:
        WebSocketWire().handshake(asked)
    assert refusal.value.code == 400


@pytest.mark.parametrize("version", [None, b"8", b"12", b"14", b"013", b"13, 13", b"", b"thirteen"])
def test_another_version_is_told_which(version):                     # RFC 6455 4.4
    wire = WebSocketWire()
    with pytest.raises(ProtocolError) as refusal:
        wire.handshake(asking(sec_websocket_version=version))
    assert refusal.value.code == 426
    assert wire.encode(Reject(426, [(b"date", b"now")], b"no\n")) == (
        b"HTTP/1.1 426 Upgrade Required\r\ndate: now\r\nContent-Length: 3\r\nConnection: close, Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\nno\n")


def test_two_versions_are_another_version():
    with pytest.raises(ProtocolError) as refusal:
        WebSocketWire().handshake(asking([(b"sec-websocket-version", b"13")]))
    assert refusal.value.code == 426


@pytest.mark.parametrize("hostile", [b"x;" * 32_000 + b"=", b'x; a="' + b"b" * 60_000, b"x" * 60_000 + b" y",
                                     b"x" + b" " * 60_000 + b"y",
                                     b"x; a" * 15_000 + b" =", b"x" + b"; a=b" * 12_000 + b"; ("], ids=range(6))
def test_a_hostile_list_of_extensions_is_read_once(hostile):
    """What a backtracking reader would take hours for; the limit of the run would end it."""
    with pytest.raises(ProtocolError):
        agree(hostile.decode(), 12)


@pytest.mark.parametrize("event", [
    Accept("other"), Accept(""), Accept("chat\r\nX: y"), Accept(None, [(b"x", b"a\r\nSet-Cookie: b")]),
    Accept(None, [(b"x", b"a\0")]),
    Accept(None, [(b"x", b"a\nb")]), Accept(None, [(b"x", b"a\rb")]),
    Accept(None, [(b"x y", b"a")]), Accept(None, [(b"", b"a")]),
    Accept(None, [(b"x:\r\ny", b"a")]),
    Accept(None, [(b"Sec-WebSocket-Protocol", b"chat")]), Accept(None, [(b"sec-websocket-accept", b"x")]),
    Accept(None, [(b"Connection", b"close")]), Accept(None, [(b"upgrade", b"h2c")]), Accept(None, [(b"Content-Length", b"5")]),
    Accept(None, [(b"transfer-encoding", b"chunked")]), Reject(101), Reject(100), Reject(199), Reject(600), Reject(None),
    Reject(True), Reject(403, [(b"x", b"a\r\n\r\n<html>")]), Reject(403, [(b"sec-websocket-accept", b"x")]),
    Message("x"), Close(), Ping(),
], ids=repr)
def test_no_handshake_is_split_or_forged(event):
    wire = WebSocketWire()
    wire.handshake(asking(sec_websocket_protocol=b"chat"))
    with pytest.raises(ValueError):
        wire.encode(event)
    assert wire.encode(Accept("chat")).startswith(b"HTTP/1.1 101 ")      # nothing has changed


def test_a_refusal_is_whole_and_ends_it():
    wire = WebSocketWire()
    wire.handshake(asking())
    theirs = [(b"Content-Type", b"text/plain"), (b"content-length", b"99"), (b"Connection", b"keep-alive"),
              (b"Transfer-Encoding", b"chunked")]
    assert wire.encode(Reject(403, theirs, b"go away")) == (
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\n\r\ngo away")
    assert wire.receive(text("x")) == b"" and events(wire) == []
    for event in (Reject(403), Accept(), Message("x")):
        with pytest.raises(ValueError):
            wire.encode(event)


@pytest.mark.parametrize("status, said", [
    (204, b"204 No Content\r\n"), (205, b"205 Reset Content\r\nContent-Length: 0\r\n"), (304, b"304 Not Modified\r\n")])
def test_a_refusal_that_has_no_body(status, said):
    refusal = Reject(status, (), b"body")
    assert WebSocketWire().encode(refusal) == b"HTTP/1.1 " + said + b"Connection: close\r\n\r\n"


def test_nothing_is_accepted_unasked():
    with pytest.raises(ValueError):
        WebSocketWire().encode(Accept())


def test_a_hasty_client_is_heard_after_the_answer():
    wire = WebSocketWire()
    wire.handshake(asking())
    assert wire.receive(text("early") + frame(PING, b"x")) == b""
    assert wire.next_event() is None
    assert wire.encode(Accept()).endswith(b"\r\n\r\n\x8a\x01x")
    assert events(wire) == [Message("early"), Ping(b"x")]


def test_a_very_hasty_client_is_not():
    wire = WebSocketWire()
    wire.handshake(asking())
    for _ in range(1000):
        wire.receive(bytes(1024))
    assert [error.code for error in events(wire)] == [400]
    assert wire.encode(Accept()).startswith(b"HTTP/1.1 101 ")
    assert [error.code for error in events(wire)] == [1008]


def test_what_is_unread_is_handed_over():
    wire = WebSocketWire()
    wire.receive(b"abc")
    assert (wire.unread(), wire.unread()) == (b"abc", b"")
    wire = opened()
    wire.receive(text("x") + b"\x81")
    assert events(wire) == [Message("x")] and wire.unread() == b"\x81"
    assert wire.receive(text("y")) == b"" and events(wire) == []


# permessage-deflate

BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("offer, answer", [
    ("permessage-deflate", BOTH), ("PerMessage-Deflate", BOTH), ("x, permessage-deflate", BOTH),
    (OFFER.decode(), BOTH + "; client_max_window_bits=12"),
    ("permessage-deflate; client_max_window_bits=15", BOTH + "; client_max_window_bits=12"),
    ("permessage-deflate; client_max_window_bits=8", BOTH + "; client_max_window_bits=8"),
    ('permessage-deflate; client_max_window_bits="10"', BOTH + "; client_max_window_bits=10"),
    ("permessage-deflate; server_max_window_bits=10", BOTH + "; server_max_window_bits=10"),
    ("permessage-deflate; server_max_window_bits=15", BOTH + "; server_max_window_bits=12"),
    ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", BOTH),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", BOTH),          # RFC 7692 5: the next best
    ("permessage-deflate; server_max_window_bits=8", None),          # zlib has no raw stream of 8 bits
    ("permessage-deflate; unknown", None), ("permessage-deflate; server_no_context_takeover=1", None),
    ("permessage-deflate; server_max_window_bits", None), ("permessage-deflate; server_max_window_bits=7", None),
    ("permessage-deflate; server_max_window_bits=16", None), ("permessage-deflate; client_max_window_bits=010", None),
    ("permessage-deflate; client_max_window_bits=12; client_max_window_bits=12", None), ("permessage-bzip2", None), ("", None),
])
def test_offers(offer, answer):                                      # RFC 7692 5, 7
    agreement = agree(offer, 12)
    assert (agreement and agreement.answer) == answer


def test_compression_can_be_off():
    wire = WebSocketWire(Limits(compression=False))
    wire.handshake(asking(sec_websocket_extensions=OFFER))
    assert b"Extensions" not in wire.encode(Accept())
    with pytest.raises(ProtocolError):                               # malformed stays malformed, RFC 6455 9.1
        WebSocketWire(Limits(compression=False)).handshake(asking(sec_websocket_extensions=b"a b"))


def test_what_is_worth_it_is_compressed():
    wire, long = opened(offer=OFFER), "Hello " * 100
    said = wire.encode(Message(long))
    assert said[0] == 0xC1 and len(said) < 40
    assert zlib.decompressobj(-12).decompress(said[2:] + b"\0\0\xff\xff").decode() == long
    assert wire.encode(Message("Hello")) == b"\x81\x05Hello"
    assert wire.encode(Message("x" * 127)) == b"\x81\x7e\x00\x7f" + b"x" * 127
    assert len(wire.encode(Message("x" * 128))) < 20
    noise = random.Random(1).randbytes(500)
    assert wire.encode(Message(noise)) == b"\x82\x7e\x01\xf4" + noise


def test_a_bomb_never_grows():
    wire = opened(Limits(max_message=1 << 20), OFFER)
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    said = zipped(b"".join(stream.compress(bytes(1 << 20)) for _ in range(64)) + stream.flush(zlib.Z_SYNC_FLUSH))
    tracemalloc.start()
    wire.receive(said)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert events(wire)[0].code == 1009 and peak < 4 << 20           # 64 MiB would come of it


def test_many_small_bombs_wait_for_the_story():
    wire = opened(Limits(max_message=1 << 20), OFFER)
    said = zipped(deflated(bytes(1 << 20)), BINARY) * 50             # 50 KB
    tracemalloc.start()
    wire.receive(said)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    count = 0
    while (event := wire.next_event()) is not None:
        count += event == Message(bytes(1 << 20))
    assert count == 50


def test_a_message_in_small_pieces_takes_its_own_size():             # autobahn's own reader: 23 times that
    wire, said = opened(Limits(max_message=1 << 20)), frame(BINARY, bytes(1 << 18), mask=bytes(4))
    pieces = [said[at:at + 2] for at in range(0, len(said), 2)]
    tracemalloc.start()
    for piece in pieces[:-1]:
        wire.receive(piece)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    wire.receive(pieces[-1])
    assert events(wire) == [Message(bytes(1 << 18))] and held < 2 * (1 << 18)


def test_an_idle_socket_is_small():
    def used():
        wire = opened(offer=OFFER)
        wire.receive(zipped(deflated(b"x" * 500)))
        assert wire.next_event() == Message("x" * 500)
        assert len(wire.encode(Message("y" * 500))) < 50
        return wire
    used()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    wires = [used() for _ in range(200)]
    each = (tracemalloc.get_traced_memory()[0] - before) / len(wires)
    tracemalloc.stop()
    assert each < 1024                                               # measured: 592


def test_one_framing_serves_a_group():
    message = Message("x" * 1000)
    once = prepared(message, 12)
    assert prepared(Message(message.data), 12) is once               # the same text, whoever says it
    assert prepared(message, 0) != once
    assert prepared(message, 12) == once
    first, second = opened(offer=OFFER), opened(offer=OFFER)
    assert first.encode(message) is second.encode(message)


def test_equal_texts_and_bytes_are_not_mistaken():
    said = [prepared(Message(data)) for data in ("a", b"a", "a", "b")]
    assert said == [b"\x81\x01a", b"\x82\x01a", b"\x81\x01a", b"\x81\x01b"]


@given(bits=some.integers(9, 15), data=some.binary(max_size=2000).map(lambda piece: piece * 3))
@settings(max_examples=100, deadline=None)
def test_what_we_compress_any_window_of_that_size_reads(bits, data):
    assert zlib.decompressobj(-bits).decompress(deflate(data, bits) + b"\0\0\xff\xff") == data


# other people's WebSockets, in memory

def upgrade(said: bytes) -> Upgrade:
    _, *lines = said.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields = [line.partition(b":")[::2] for line in lines]
    return Upgrade("websocket", "1.1", "http", "/", b"/", b"", "",
                   [(name.strip().lower(), value.strip()) for name, value in fields], None, None)


class AutobahnPeer:
    """autobahn's client on a transport of its own."""

    def __init__(self, offers: bool):
        from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
        from autobahn.websocket.compress import (
            PerMessageDeflateOffer, PerMessageDeflateResponse, PerMessageDeflateResponseAccept,
        )
        from twisted.internet.testing import StringTransport
        self.heard, self.over = [], None
        factory = WebSocketClientFactory("ws://a:80/")
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, serverConnectionDropTimeout=0)
        if offers:
            factory.setProtocolOptions(
                perMessageCompressionOffers=[PerMessageDeflateOffer()],
                perMessageCompressionAccept=lambda response: PerMessageDeflateResponseAccept(response)
                if isinstance(response, PerMessageDeflateResponse) else None)
        self.protocol = protocol = WebSocketClientProtocol()
        protocol.factory = factory
        protocol.onMessage = lambda data, binary: self.heard.append(data if binary else data.decode())
        protocol.onClose = lambda clean, code, reason: setattr(self, "over", (code, reason))
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)

    def says(self) -> bytes:
        said = self.transport.value()
        self.transport.clear()
        return said

    def hears(self, data: bytes):
        self.protocol.dataReceived(data)

    def send(self, data: str | bytes):
        self.protocol.sendMessage(data.encode() if isinstance(data, str) else data, isinstance(data, bytes))

    def close(self):
        self.protocol.sendClose(3000, "bye")


class WebsocketsPeer:
    """The client of `websockets`, which is sans I/O."""

    def __init__(self, offers: bool):
        from websockets.client import ClientProtocol
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
        from websockets.uri import parse_uri
        extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)] if offers else None
        self.protocol = ClientProtocol(parse_uri("ws://a/"), extensions=extensions)
        self.protocol.send_request(self.protocol.connect())
        self.heard = []

    def says(self) -> bytes:
        return b"".join(self.protocol.data_to_send())

    def hears(self, data: bytes):
        from websockets.frames import Frame, Opcode
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self.heard.append(bytes(event.data) if event.opcode is Opcode.BINARY else bytes(event.data).decode())
        assert self.protocol.handshake_exc is None and self.protocol.parser_exc is None

    def send(self, data: str | bytes):
        if isinstance(data, str):
            self.protocol.send_text(data.encode())
        else:
            self.protocol.send_binary(data)

    def close(self):
        self.protocol.send_close(3000, "bye")

    @property
    def over(self):
        return self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason


CONVERSATIONS = given(
    offers=some.booleans(), seed=some.integers(0, 99), said=some.lists(
        some.text(max_size=50) | some.binary(max_size=50)
        | some.sampled_from(["Hello " * 50, "é" * 40_000, bytes(126), bytes(70_000)]), max_size=4))


@CONVERSATIONS
@settings(max_examples=40, deadline=None)
def test_autobahn_understands_us_and_we_it(offers, seed, said):
    converse(AutobahnPeer(offers), said, seed)


@CONVERSATIONS
@settings(max_examples=40, deadline=None)
def test_websockets_understands_us_and_we_it(offers, seed, said):
    converse(WebsocketsPeer(offers), said, seed)


def converse(peer, said: list, seed: int):
    wire = WebSocketWire()
    wire.handshake(upgrade(peer.says()))
    peer.hears(wire.encode(Accept()))
    heard = []
    for data in said:
        peer.send(data)
        for piece in cut(peer.says(), seed):
            peer.hears(wire.receive(piece))
            heard += [event.data for event in events(wire)]
        peer.hears(wire.encode(Message(data)))
    peer.hears(wire.encode(Ping(b"alive")))
    wire.receive(peer.says())
    assert events(wire) == [Pong(b"alive")]
    assert heard == peer.heard == said
    peer.close()
    peer.hears(wire.receive(peer.says()))
    assert events(wire) == [Close(3000, "bye")]


@pytest.mark.parametrize("kind", [AutobahnPeer, WebsocketsPeer])
def test_others_understand_our_close(kind):
    peer, wire = kind(False), WebSocketWire()
    wire.handshake(upgrade(peer.says()))
    peer.hears(wire.encode(Accept()) + wire.encode(Close(4001, "enough")))
    wire.receive(peer.says())
    assert [event.code for event in events(wire)] in ([4001], [1000])
    if kind is AutobahnPeer:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure
        peer.protocol.connectionLost(Failure(ConnectionDone()))
    assert peer.over == (4001, "enough")


# the house

def test_importing_it_chooses_no_reactor_and_no_loop():
    """autobahn.twisted would, and twistd could then choose none."""
    code = ("import sys, interfaces.ws.protocol as it; it.WebSocketWire();"
            "print([name for name in ('asyncio', 'twisted.internet.reactor', 'txaio.tx', 'txaio.aio') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

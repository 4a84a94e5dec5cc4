"""The wire of HTTP/1: what comes of bytes, however they are cut."""
import random

import h11
import httptools
import pytest

from interfaces.contract import ProtocolError
from interfaces.http.protocol import Data, End, HeadBegun, HttpWire, Limits, Request
from tests.http.corpus import AFTER, BAD, BEHIND, GOOD, HOST, LAST, chunked, head, post
from tests.http.dialogue import events, outcome, read

EVERY = GOOD + LAST + BAD + BEHIND
SHORT = [case for case in EVERY if len(case.said) < 300]
TAKEN = [case for case in GOOD if len(case.said) < 300]
CODES = {400, 413, 414, 417, 431, 501, 505}


def cut(said: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    at = [0, *sorted(chance.randrange(len(said) + 1) for _ in range(chance.randrange(1, 6))), len(said)]
    return [said[begin:end] for begin, end in zip(at, at[1:], strict=False)]


# the corpus: real bytes, however they are cut and whatever stands in front

@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_whole(case):
    assert outcome(read([case.said])) == outcome(case)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_byte_by_byte(case):
    assert outcome(read(bytes([byte]) for byte in case.said)) == outcome(case)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_cut_anywhere(case):
    places = range(len(case.said)) if len(case.said) < 300 else (1, 20, 4000, len(case.said) - 3, len(case.said) - 1)
    for place in places:
        assert outcome(read([case.said[:place], case.said[place:]])) == outcome(case), place
    for seed in range(10):
        assert outcome(read(cut(case.said, seed))) == outcome(case), seed


@pytest.mark.parametrize("seed", range(20))
def test_joined_to_neighbours(seed):
    chance = random.Random(seed)
    first, last = chance.sample(GOOD, 12), chance.choice(LAST + BAD + BEHIND)
    said = b"".join(case.said for case in (*first, last))
    expected = sum((case.requests for case in (*first, last)), ()), last.cut, last.code
    assert outcome(read([said])) == outcome(read(cut(said, seed))) == expected


@pytest.mark.parametrize("case", BAD + BEHIND, ids=lambda case: case.name)
def test_behind_a_good_request_the_good_one_comes_first(case):
    requests, unfinished, code = outcome(read([AFTER + case.said]))
    assert (requests[0], requests[1:], unfinished, code) == (("GET", "/next", b""), *outcome(case))


def test_a_fault_is_for_ever():
    wire = HttpWire()
    fault = events(wire, head(b""))[-1]
    assert (fault.reason, fault.code) == ("Host is missing", 400)
    for _ in range(3):
        again = events(wire, AFTER)
        assert [(error.reason, error.code) for error in again] == [("Host is missing", 400)]
        assert wire.held == 0 and not wire.idle


@pytest.mark.parametrize("case", BAD + BEHIND, ids=lambda case: case.name)
def test_the_reason_is_the_same_however_it_comes(case):
    first, *others = ([e.reason for piece in pieces for e in events(wire, piece) if isinstance(e, ProtocolError)][0]
                      for wire, pieces in ((HttpWire(), [case.said]), (HttpWire(), cut(case.said, 1)),
                                           (HttpWire(), [case.said[:-1], case.said[-1:]])))
    assert others == [first, first]


def test_mutations_never_surprise():
    """Whatever the bytes: only ProtocolError, cutting changes nothing, and what is taken llhttp takes the same way."""
    taken = 0
    for seed in range(1500):
        said = mutated(seed)
        result = outcome(read([said]))
        assert result == outcome(read(cut(said, seed))), said
        assert result[2] is None or result[2] in CODES
        if b"pgrade" not in said:          # at an upgrade llhttp stops
            bodies = [request[2] for request in result[0]]
            assert llhttp(said)[:len(bodies)] == bodies, said
            taken += len(bodies)
    assert taken > 200                     # the mutations must leave enough that can be compared


def mutated(seed: int) -> bytes:
    chance = random.Random(seed)
    said = bytearray(b"".join(case.said for case in (*chance.choices(TAKEN, k=2), chance.choice(SHORT))))
    for _ in range(chance.randrange(1, 3)):
        place = chance.randrange(len(said))
        match chance.randrange(4):
            case 0:
                said[place] = chance.choice(b"\r\n\0\t :;,0159afZ*/%\x80\xff")
            case 1:
                del said[place:place + chance.randrange(1, 5)]
            case 2:
                said[place:place] = chance.choice((b"\r\n", b"\n", b" ", b"0", b";", b"Content-Length: 1\r\n", b"%41"))
            case 3:
                said[place:place] = said[place - 8 if place > 8 else 0:place]
    return bytes(said)


def llhttp(said: bytes) -> list[bytes]:
    """The bodies that httptools finds in front of a fault, where it frames the stream by itself."""
    class Bodies:
        def __init__(self):
            self.found = []

        def on_message_begin(self):
            self.found.append(b"")

        def on_body(self, data):
            self.found[-1] += data

    bodies = Bodies()
    try:
        httptools.HttpRequestParser(bodies).feed_data(said)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return bodies.found


@pytest.mark.parametrize("case", [case for case in GOOD if len(case.said) < 1000], ids=lambda case: case.name)
def test_h11_reads_the_same(case):
    server, method, body = h11.Connection(h11.SERVER), "", b""
    server.receive_data(case.said.removeprefix(b"\r\n"))
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Request):
            method = event.method.decode()
        else:
            body += event.data
    assert (method, body) == (case.requests[0][0], case.requests[0][2])


# in which pieces it comes

def test_a_head_that_is_begun_is_told_once():
    wire = HttpWire()
    assert events(wire, b"GET / HTTP/1.1\r\n") == [HeadBegun()]
    assert events(wire, b"Host: a\r\n") == []
    assert [type(event) for event in events(wire, b"\r\nG")] == [Request, End, HeadBegun]
    assert [type(event) for event in events(wire, b"ET / HTTP/1.1\r\nHost: a\r\n\r\n")] == [Request, End]


def test_an_empty_line_begins_no_head():
    wire = HttpWire()
    assert events(wire, b"\r") == events(wire, b"\n") == []
    assert wire.idle


def test_idle_and_held():
    wire = HttpWire()
    assert wire.idle and wire.held == 0
    wire.receive(post(b"Content-Length: 5\r\n", b"hel"))
    assert not wire.idle and wire.held == len(post(b"Content-Length: 5\r\n", b"hel"))
    assert isinstance(wire.next_event(), Request) and wire.held == 3 and not wire.idle
    assert wire.next_event() == Data(b"hel") and wire.held == 0 and not wire.idle
    assert events(wire, b"lo") == [Data(b"lo"), End()] and wire.idle
    assert events(wire, b"G") == [HeadBegun()] and not wire.idle


def test_nothing_is_read_ahead_of_a_pull():
    wire = HttpWire()
    wire.receive(head() + b"junk\r\n\r\n")
    assert isinstance(wire.next_event(), Request) and wire.next_event() == End() and wire.held == 8


def test_small_pieces_are_joined_and_large_ones_cut():
    body = bytes(200_000)
    sizes = [len(event.data) for event in events(HttpWire(), post(b"Content-Length: 200000\r\n", body))[1:-1]]
    assert sizes == [65536, 65536, 65536, 3392]
    said = chunked(b"1\r\nx\r\n" * 70_000 + b"0\r\n\r\n")
    assert [len(event.data) for event in events(HttpWire(), said)[1:-1]] == [65536, 4464]
    sizes = [len(event.data) for event in events(HttpWire(), chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (200_000, body)))[1:-1]]
    assert sizes == [65536, 65536, 65536, 3392]


def test_after_the_last_request_nothing_is_kept():
    wire = HttpWire()
    assert len(events(wire, head(HOST + b"Connection: close\r\n") + AFTER)) == 2
    assert events(wire, AFTER) == [] and wire.held == 0 and not wire.idle


@pytest.mark.parametrize("fields", [b"Connection: upgrade\r\n", b"Connection: close, upgrade\r\n"])
def test_an_upgrade_takes_the_unread_bytes(fields):
    wire = HttpWire()
    wire.receive(head(HOST + b"Upgrade: websocket\r\n" + fields) + b"\x81\x80")
    assert wire.next_event().upgrade == b"websocket" and wire.next_event() == End()
    assert wire.unread() == b"\x81\x80" and wire.held == 0 and not wire.idle
    assert wire.unread() == b"" and events(wire) == []


def test_limits_are_the_owner_s():
    limits = Limits(max_head=100, max_fields=3, max_target=10, max_body=4)
    said = {413: post(b"Content-Length: 5\r\n"), 414: head(line=b"GET /1234567890 HTTP/1.1"),
            431: head(HOST + b"X: y\r\n" * 3)}
    for code, bad in said.items():
        assert read([bad], HttpWire(limits)).code == code
    assert read([head(HOST + b"X: %b\r\n" % (b"x" * 80))], HttpWire(limits)).code == 431
    assert outcome(read([chunked(b"4\r\nhell\r\n1\r\no\r\n")], HttpWire(limits)))[1:] == (("POST", "/", b"hell"), 413)
    assert outcome(read([post(b"Content-Length: 4\r\n", b"hell")], HttpWire(limits)))[0] == (("POST", "/", b"hell"),)


def test_limits_of_chunks_are_each_body_s_own():
    extended = chunked(b"5;%b\r\nhello\r\n0\r\n" % (b"a" * 10_000) + b"X: y\r\n" * 60 + b"\r\n")
    assert len(read([extended * 3]).requests) == 3


def test_the_size_of_a_trailer_section():
    full = (b"X: " + b"y" * 32762 + b"\r\n") * 2
    assert len(full + b"\r\n") == 65536
    assert read([chunked(b"5;%b\r\nhello\r\n0\r\n" % (b"a" * 10_000) + full + b"\r\n")]).code is None
    assert read([chunked(b"0\r\n" + full.replace(b"X", b"XX", 1) + b"\r\n")]).code == 431

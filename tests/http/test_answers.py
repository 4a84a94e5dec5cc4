"""What is said to the peer."""
import random

import h11
import pytest

from interfaces.http.protocol import Answer, Continue, HttpWire, Piece, Processing, Refusal, imf_fixdate
from tests.http.corpus import HOST, head, post
from tests.http.dialogue import asked, events

DATE = imf_fixdate(784111777)
ENDS = b"Server: s\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"


def test_a_whole_answer():
    wire = asked()
    said = wire.encode(Answer(200, [(b"content-type", b" text/plain\t")], b"hello", date=DATE))
    assert said == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n" + ENDS + b"hello"
    assert wire.keep_alive and wire.complete


def test_an_answer_without_a_body():
    assert asked().encode(Answer(404, date=DATE)) == b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n" + ENDS


def test_an_unknown_status_has_no_phrase():
    assert asked().encode(Answer(599, date=DATE)).startswith(b"HTTP/1.1 599 \r\n")


def test_the_application_s_date_and_server_stay():
    said = asked().encode(Answer(200, [(b"date", b"D"), (b"Server", b"S")], date=DATE))
    assert said == b"HTTP/1.1 200 OK\r\ndate: D\r\nServer: S\r\nContent-Length: 0\r\n\r\n"


def test_no_server_field_where_none_is_wanted():
    wire = HttpWire(server=b"")
    events(wire, head())
    assert b"erver" not in wire.encode(Answer(200, date=DATE))


def test_chunks():
    wire = asked()
    begun = wire.encode(Answer(200, [], b"hello", True, DATE))
    assert begun == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + ENDS + b"5\r\nhello\r\n"
    assert not wire.complete
    assert wire.encode(Piece(b"", True)) == b""                  # an empty chunk would be the last one
    assert wire.encode(Piece(b"0123456789abcdef", True)) == b"10\r\n0123456789abcdef\r\n"
    assert not wire.complete
    assert wire.encode(Piece(b"!")) == b"1\r\n!\r\n0\r\n\r\n"
    assert wire.complete and wire.keep_alive


def test_a_declared_length():
    wire = asked()
    begun = wire.encode(Answer(200, [(b"Content-Length", b"10")], b"hello", True, DATE))
    assert begun == b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + ENDS + b"hello"
    with pytest.raises(ValueError, match="more body than Content-Length"):
        wire.encode(Piece(b"world!"))
    assert wire.encode(Piece(b"world")) == b"world" and wire.complete and wire.keep_alive


def test_less_than_declared_is_not_complete():
    wire = asked()
    wire.encode(Answer(200, [(b"content-length", b"10")], b"hello", True))
    assert wire.encode(Piece(b"you")) == b"you"
    assert not wire.complete and not wire.keep_alive


def test_http_1_0_is_closed():
    wire = asked(b"GET / HTTP/1.0\r\n\r\n")
    assert wire.encode(Answer(200, [], b"hi", date=DATE)) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n" + ENDS + b"hi")
    assert wire.complete and not wire.keep_alive


def test_http_1_0_keep_alive():
    said = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    wire = asked(said + said)
    assert wire.encode(Answer(200, [], b"hi", date=DATE)) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n" + ENDS + b"hi")
    assert wire.keep_alive
    begun = wire.encode(Answer(200, [], b"hi", True, DATE))      # of unknown length: its end is the connection's
    assert begun == b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + ENDS + b"hi"
    assert wire.encode(Piece(b"!")) == b"!" and wire.complete and not wire.keep_alive


@pytest.mark.parametrize(("status", "fields"), [
    (204, b""), (205, b"Content-Length: 0\r\n"), (304, b"Content-Length: 5\r\n")])
@pytest.mark.parametrize("more_body", [False, True])
def test_statuses_without_a_body(status, fields, more_body):
    wire = asked()
    said = wire.encode(Answer(status, [(b"content-length", b"5")], b"hello", more_body, DATE))
    assert said.partition(b"\r\n")[2] == fields + ENDS
    assert not more_body or wire.encode(Piece(b"more than five")) == b""
    assert wire.complete and wire.keep_alive


@pytest.mark.parametrize(("headers", "body", "more_body", "fields"), [
    ([], b"hello", False, b"Content-Length: 5\r\n"),
    ([(b"content-length", b"7")], b"", False, b"Content-Length: 7\r\n"),
    ([(b"content-length", b"7")], b"hello, all", False, b"Content-Length: 7\r\n"),
    ([], b"", False, b""),
    ([], b"hel", True, b""),
])
def test_head(headers, body, more_body, fields):
    wire = asked(head(line=b"HEAD / HTTP/1.1"))
    assert wire.encode(Answer(200, headers, body, more_body, DATE)) == b"HTTP/1.1 200 OK\r\n" + fields + ENDS
    assert not more_body or wire.encode(Piece(b"lo")) == b""
    assert wire.complete and wire.keep_alive


@pytest.mark.parametrize("name", [b"Connection", b"keep-alive", b"Proxy-Authenticate", b"proxy-authorization",
                                  b"Proxy-Connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade"])
def test_hop_by_hop_fields_are_dropped(name):
    wire = asked()
    said = wire.encode(Answer(200, [(name, b"chunked")], date=DATE))
    assert said == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + ENDS
    assert wire.keep_alive


@pytest.mark.parametrize("answer", [
    Answer(200, [(b"connection", b"x, Close")], date=DATE), Answer(200, date=DATE, close=True)])
def test_an_answer_may_close(answer):
    wire = asked()
    assert wire.encode(answer) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n" + ENDS
    assert not wire.keep_alive and wire.complete


@pytest.mark.parametrize(("answer", "fault"), [
    (Answer(99), "99"), (Answer(101), "101"), (Answer(600), "600"), (Answer(200, [(b"a b", b"")]), "a b"),
    (Answer(200, [(b"", b"")]), "b''"), (Answer(200, [("ä".encode(), b"")]), "name"),
    (Answer(200, [(b"a\r\nb", b"")]), "name"), (Answer(200, [(b"a:", b"")]), "a:"),
    (Answer(200, [(b"a" * 1025, b"")]), "aaa"),
    (Answer(200, [(b"x-y", b"a\r\nb: c")]), "x-y"), (Answer(200, [(b"x-y", b"a\n")]), "x-y"),
    (Answer(200, [(b"x-y", b"\ra")]), "x-y"), (Answer(200, [(b"x-y", b"a\0b")]), "x-y"),
    (Answer(200, [(b"connection", b"close\r\n")]), "connection"),
    (Answer(200, [(b"content-length", b"+5")]), "content-length"),
    (Answer(200, [(b"content-length", b"")]), "content-length"),
    (Answer(200, [(b"content-length", b"9" * 20)]), "content-length"),
    (Answer(200, [(b"content-length", b"5"), (b"Content-Length", b"5")], b"hello"), "content-length"),
    (Answer(200, [(b"content-length", b"4")], b"hello"), "more body"),
])
def test_what_an_application_must_not_say(answer, fault):
    wire = asked()
    with pytest.raises(ValueError, match=fault):
        wire.encode(answer)
    assert wire.encode(Answer(500, date=DATE)).startswith(b"HTTP/1.1 500 ")      # nothing was said, so this can be


def test_answers_to_nothing():
    wire = HttpWire()
    for event in (Answer(200), Piece(b"x")):
        with pytest.raises(ValueError):
            wire.encode(event)
    wire = asked()
    with pytest.raises(ValueError):
        wire.encode(Piece(b"x"))
    wire.encode(Answer(200, more_body=True))
    for event in (Answer(200), Refusal(500, "no")):
        with pytest.raises(ValueError):
            wire.encode(event)


def test_answers_come_in_the_order_of_the_requests():
    wire = asked(head(line=b"HEAD / HTTP/1.1") + head() + b"GET / HTTP/1.0\r\n\r\n")
    assert wire.encode(Answer(200, [], b"one", date=DATE)).endswith(ENDS)
    assert wire.encode(Answer(200, [], b"two", True, DATE)).endswith(b"3\r\ntwo\r\n")
    assert wire.encode(Piece()) == b"0\r\n\r\n" and wire.keep_alive
    assert wire.encode(Answer(200, [], b"three", True, DATE)).endswith(ENDS + b"three") and not wire.keep_alive


def test_continue():
    wire = HttpWire()
    events(wire, post(b"Expect: 100-continue\r\nContent-Length: 5\r\n"))
    assert wire.encode(Continue()) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.encode(Processing()) == b"HTTP/1.1 102 Processing\r\n\r\n"
    events(wire, b"hello")
    assert wire.encode(Continue()) == b""                        # too late to be of use
    wire.encode(Answer(200, more_body=True))
    assert wire.keep_alive and wire.encode(Continue()) == wire.encode(Processing()) == b""


def test_an_answer_behind_continue_but_in_front_of_the_body_keeps_the_connection():
    wire = HttpWire()
    events(wire, post(b"Expect: 100-continue\r\nContent-Length: 5\r\n"))
    wire.encode(Continue())
    assert b"Connection" not in wire.encode(Answer(403)) and wire.keep_alive


def test_an_answer_before_continue_closes():
    """The client may send the body or may not; what it sends next would be taken for the one or the other."""
    wire = HttpWire()
    events(wire, post(b"Expect: 100-continue\r\nContent-Length: 5\r\n"))
    assert b"Connection: close\r\n" in wire.encode(Answer(403)) and not wire.keep_alive
    wire = asked(post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"))
    assert b"Connection" not in wire.encode(Answer(403)) and wire.keep_alive


def test_no_interim_answer_to_http_1_0_nor_to_nothing():
    for wire in (asked(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), HttpWire()):
        assert wire.encode(Continue()) == wire.encode(Processing()) == b""


def test_a_refusal():
    expected = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
                b"Content-Length: 4\r\nConnection: close\r\n" + ENDS + b"b\xc3\xa4\n")
    for wire in (asked(), asked(b"junk\r\n\r\n")):
        assert wire.encode(Refusal(503, "bä", DATE, ((b"retry-after", b"5"),))) == expected
        assert not wire.keep_alive and wire.complete
    assert asked(head(line=b"HEAD / HTTP/1.1")).encode(Refusal(503, "bä", DATE)).endswith(ENDS)


def test_behind_a_refusal_nothing_is_answered():
    wire = asked(head() + head())
    wire.encode(Refusal(408, "late"))
    with pytest.raises(ValueError):
        wire.encode(Answer(200))


def test_imf_fixdate():
    assert imf_fixdate(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"    # RFC 9110 5.6.7's own example


@pytest.mark.parametrize("seed", range(100))
def test_h11_reads_every_answer(seed):
    """Whatever an application says, a client finds the end of each answer and its body."""
    chance = random.Random(seed)
    wire, client = HttpWire(), h11.Connection(h11.CLIENT)
    for _ in range(5):
        method, version = chance.choice(("GET", "HEAD", "POST")), chance.choice((b"1.1", b"1.1", b"1.0"))
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        events(wire, head(HOST + b"Connection: keep-alive\r\n", method.encode() + b" / HTTP/" + version))
        pieces = [chance.randbytes(chance.randrange(0, 9)) for _ in range(chance.randrange(1, 4))]
        status = chance.choice((200, 200, 204, 205, 304, 404))
        body = b"".join(pieces)
        headers = [(b"content-length", b"%d" % len(body))] if chance.random() < 0.3 else []
        said = wire.encode(Answer(status, headers, pieces[0], len(pieces) > 1, DATE, chance.random() < 0.1))
        for number, piece in enumerate(pieces[1:], 2):
            said += wire.encode(Piece(piece, number < len(pieces)))
        assert wire.complete
        client.receive_data(said)
        if not wire.keep_alive:
            client.receive_data(b"")
        assert heard(client) == (status, b"" if method == "HEAD" or status in (204, 205, 304) else body)
        if not wire.keep_alive:
            return
        client.start_next_cycle()


def heard(client: h11.Connection) -> tuple[int, bytes]:
    status, body = client.next_event().status_code, b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return status, body

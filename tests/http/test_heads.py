"""What a Request tells, and which heads are none (those are in the corpus)."""
import pytest

from interfaces.contract import ProtocolError
from interfaces.http.heads import Limits, body_length, header_fields
from interfaces.http.protocol import HttpWire, Request
from tests.http.corpus import HOST, head
from tests.http.dialogue import events, only


def test_a_request():
    said = b"GET /%C3%A4%2Fb?c=%20 HTTP/1.1\r\nHost: a:80\r\nCookie: x\r\ncookie: y\r\nX_Y: z\r\n\r\n"
    assert only(said) == Request(
        "GET", b"/%C3%A4%2Fb?c=%20", "/ä/b", b"/%C3%A4%2Fb", b"c=%20", "1.1",
        [(b"host", b"a:80"), (b"cookie", b"x"), (b"cookie", b"y")], 0, True, False, None, b"a:80")


@pytest.mark.parametrize(("line", "path", "raw_path", "query", "host"), [
    (b"GET http://b:8000/x%20?y HTTP/1.1", "/x ", b"/x%20", b"y", b"b:8000"),
    (b"GET http://b?y HTTP/1.1", "/", b"/", b"y", b"b"),
    (b"OPTIONS * HTTP/1.1", "*", b"*", b"", b"a"),
    (b"GET /?a?b HTTP/1.1", "/", b"/", b"a?b", b"a"),
    (b"GET /? HTTP/1.0", "/", b"/", b"", b"a"),
])
def test_targets(line, path, raw_path, query, host):
    request = only(line + b"\r\nAccept: */*\r\nHost: a\r\n\r\n")
    assert (request.path, request.raw_path, request.query_string, request.host) == (path, raw_path, query, host)
    assert dict(request.headers) == {b"host": host, b"accept": b"*/*"}      # RFC 9112 3.2.2


def test_absolute_form_gives_http_1_0_a_host():
    assert only(head(b"", b"GET http://b/ HTTP/1.0")).headers == [(b"host", b"b")]
    assert only(head(b"", b"GET / HTTP/1.0")).host == b""


@pytest.mark.parametrize(("line", "fields", "keep_alive"), [
    (b"GET / HTTP/1.1", b"", True),
    (b"GET / HTTP/1.1", b"Connection: keep-alive\r\n", True),
    (b"GET / HTTP/1.1", b"Connection: x,CLOSE\r\n", False),
    (b"GET / HTTP/1.1", b"Connection: x\r\nConnection: close\r\n", False),
    (b"GET / HTTP/1.1", b"Connection: enclosed\r\n", True),
    (b"GET / HTTP/1.0", b"", False),
    (b"GET / HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
    (b"GET / HTTP/1.0", b"Connection: keep-alive, close\r\n", False),
])
def test_keep_alive(line, fields, keep_alive):
    assert only(head(HOST + fields, line)).keep_alive is keep_alive


@pytest.mark.parametrize(("line", "fields", "upgrade"), [
    (b"GET / HTTP/1.1", b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n", b"WebSocket"),
    (b"GET / HTTP/1.1", b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", b"h2c, websocket"),
    (b"GET / HTTP/1.1", b"Upgrade: websocket\r\n", None),
    (b"GET / HTTP/1.1", b"Connection: upgrade\r\n", None),
    (b"GET / HTTP/1.0", b"Connection: upgrade\r\nUpgrade: websocket\r\n", None),
])
def test_upgrade(line, fields, upgrade):
    assert only(head(HOST + fields, line)).upgrade == upgrade


@pytest.mark.parametrize(("line", "fields", "expect"), [
    (b"POST / HTTP/1.1", b"Content-Length: 1\r\nExpect: 100-continue\r\n", True),
    (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n", True),
    (b"POST / HTTP/1.1", b"Content-Length: 0\r\nExpect: 100-continue\r\n", False),
    (b"POST / HTTP/1.0", b"Content-Length: 1\r\nExpect: tea\r\n", False),
])
def test_expect(line, fields, expect):
    assert events(HttpWire(), head(HOST + fields, line))[0].expect is expect


# the second opinion: what llhttp refuses today is refused here too, should it ever let it through

@pytest.mark.parametrize("framing", [
    {b"content-length": [b"5"], b"transfer-encoding": [b"chunked"]}, {b"content-length": [b"5", b"5"]},
    {b"content-length": [b"5, 5"]}, {b"content-length": [b"+5"]}, {b"content-length": [b""]},
])
def test_framing_that_two_readers_take_in_two_ways(framing):
    with pytest.raises(ProtocolError) as refused:
        body_length(framing, "1.1", Limits())
    assert refused.value.code == 400


@pytest.mark.parametrize("codings", [[b"chunked", b"chunked"], [b"identity"], [b"xchunked"], [b"chunked, gzip"], [b""]])
def test_codings_that_are_not_understood(codings):
    with pytest.raises(ProtocolError) as refused:
        body_length({b"transfer-encoding": codings}, "1.1", Limits())
    assert refused.value.code == 501


def test_a_head_that_does_not_end():
    with pytest.raises(ProtocolError, match="a malformed head"):
        header_fields(b"GET / HTTP/1.1\r\nHost: a\r\n", Limits())

"""A WebSocket carried by requests, as dialogues between a page, the server and an application, on a clock."""
import json
import random

import pytest

from interfaces.contract import Gap
from interfaces.laws import traces
from interfaces.testing import App
from interfaces.ws.plugin import WsOptions, ws
from tests.ws.client import Client, asking
from tests.ws.page import Page


@pytest.fixture
def page():
    page = Page()
    yield page
    ends(page)


def ends(page):
    page.leaves_all()
    page.waits(200)
    page.waits(200)
    assert not traces(page) and not page.log.faults, page.log.faults
    assert not any(answer.transport.late for answer in page.answers)
    assert not page.factory.siblings["ws"].carriers.live and not page.factory.siblings["ws"].admission.count
    assert not page.factory.siblings["ws"].log.faults


@pytest.fixture(autouse=True)
def one_log(monkeypatch):
    """The carried connections' faults are seen too."""
    begin = Page.__init__

    def __init__(self, *args, **more):
        begin(self, *args, **more)
        self.factory.siblings["ws"].log = self.log
    monkeypatch.setattr(Page, "__init__", __init__)


def told(page, code, reason=""):
    """The application is told once, and last."""
    message = page.app.got("websocket.disconnect")
    assert (message["code"], message["reason"], message["path"]) == (code, reason, "/chat")
    assert page.app.nothing()


# Opening

def test_the_opening_request_is_told_whole_and_its_parameter_taken_out(page):
    answer = page.asks_for_session(b'{"protocols":["chat","superchat"]}', "x=1&ws-session=new&y=%20", Cookie=b"sessionid=s")
    got = page.app.got("websocket.connect")
    assert answer.heard() == b"", "nothing is answered before the verdict"
    assert (got["path"], got["query_string"], got["scheme"]) == ("/chat", b"x=1&y=%20", "ws")
    assert got["subprotocols"] == ["chat", "superchat"] and got["order"] == 0
    headers = {bytes(name): bytes(value) for name, value in got["headers"]}
    assert headers == {b"host": b"example.test", b"origin": b"https://example.test", b"cookie": b"sessionid=s"}
    assert got["client"] == ["192.0.2.7", 4711] and got["deadline"] == page.clock.seconds() + 10
    page.app.replies(type_="websocket.accept", subprotocol="superchat", headers=[[b"set-cookie", b"a=b"]])
    assert answer.status == 200 and json.loads(answer.body) == {"protocol": "superchat"}
    assert answer.fields[b"set-cookie"] == b"a=b" and answer.fields[b"cache-control"] == b"no-store"
    assert len(answer.fields[b"ws-session"]) == 22 and answer.whole and not answer.transport.closing


def test_two_sessions_have_two_names(page):
    first = page.opens().session
    assert page.opens().session != first


@pytest.mark.parametrize("replies, status, body", [
    ([{"type_": "websocket.close"}], 403, b"refused\n"), ([{"accept": False}], 403, b"refused\n"),
    ([{"type_": "websocket.http.response.start", "status": 401, "headers": [[b"www-authenticate", b"Basic"]]},
      {"type_": "websocket.http.response.body", "body": b"who are you?"}], 401, b"who are you?"),
    ([{"type_": "websocket.http.response.start", "status": 200, "headers": [[b"ws-session", b"forged"]]},
      {"type_": "websocket.http.response.body", "body": b"no"}], 200, b"no"),
    ([{"type_": "websocket.accept", "subprotocol": "never offered"}], 500, b"the application failed\n"),
    ([{"type_": "websocket.accept", "headers": [[b"x", b"a\r\nb"]]}], 500, b"the application failed\n"),
    ([{"type_": "websocket.accept", "headers": [[b"x" * 2000, b"a"]]}], 500, b"the application failed\n"),
])
def test_the_refusal_is_the_answer(page, replies, status, body):
    answer = page.asks_for_session()
    page.app.got()
    for reply in replies:
        page.app.replies(**reply)
    assert (answer.status, answer.body) == (status, body) and b"ws-session" not in answer.fields
    assert status != 401 or answer.fields[b"www-authenticate"] == b"Basic"
    told(page, 1006)
    assert not page.factory.siblings["ws"].carriers.live


def test_no_verdict_in_time_is_503(page):
    answer = page.asks_for_session()
    page.app.got()
    page.waits(10.1)
    assert answer.status == 503 and b"retry-after" in answer.fields
    told(page, 1006)


def test_a_page_that_leaves_before_the_verdict_is_told(page):
    answer = page.asks_for_session()
    page.app.got()
    answer.leaves()
    told(page, 1006)


def test_a_page_that_never_learns_its_session_ends_it(page):
    page.opens()
    page.opened.leaves()
    page.waits(29.9)
    assert page.app.nothing()
    page.waits(0.2)
    told(page, 1006)
    assert page.polls().status == 410


@pytest.mark.parametrize("body", [b"x", b"[]", b"1", b'{"protocols":"chat"}', b'{"protocols":["a b"]}',
                                  b'{"protocols":["a","a"]}', b'{"protocols":[1]}', b"[" * 10_000, b"\xff",
                                  "\ufeff{}".encode(), '{"protocols":[]}'.encode("utf-16")])
def test_a_bad_opening_reaches_no_worker(page, body):
    assert page.asks_for_session(body).status == 400 and page.app.nothing()


def test_an_opening_that_is_too_large(page):
    assert page.asks_for_session(b" " * 20_000).status == 413 and page.app.nothing()


def test_foreign_pages_do_not_get_in(page):
    assert page.asks_for_session(Content_Type=None).status == 415, "a form needs no preflight"
    assert page.asks_for_session(Content_Type=b"text/plain").status == 415
    preflight = page.requests("OPTIONS", "ws-session=new", Access_Control_Request_Method=b"POST")
    assert preflight.status == 405 and b"access-control-allow-origin" not in preflight.fields
    assert page.requests("GET", "ws-session=new").status == 404, "a foreign page's GET has no Origin to be looked at"
    assert page.app.nothing()


@pytest.mark.parametrize("origin, status", [(b"https://a.example", None), (b"https://b.example", 403)])
def test_allowed_origins_hold_here_too(origin, status):
    page = Page(WsOptions(allowed_origins=(b"https://a.example",)))
    assert page.asks_for_session(Origin=origin).status == status
    assert page.app.nothing() == bool(status)
    ends(page)


def test_there_is_room_for_as_many_as_of_websockets(page):
    page.factory.siblings["ws"].admission.most = 1
    page.opens()
    refused = page.asks_for_session()
    assert refused.status == 503 and b"retry-after" in refused.fields and page.app.nothing()
    page.posts({"close": [1000, ""]})
    told(page, 1000)
    page.opens()


def test_a_server_that_is_going_down_opens_none(page):
    page.connects()
    page.connection.stop()
    page.connects()
    page.connection.stopping = True
    page.says(b"POST /chat?ws-session=new HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n")
    assert page.heard().startswith(b"HTTP/1.1 503 ") and page.app.nothing()


def test_other_requests_are_the_applications(page):
    page.requests("GET", "x-session=new&ws-sessions=1")
    assert page.app.got("http.request")["query_string"] == b"x-session=new&ws-sessions=1"
    page.app.replies(status=200, content=b"")


def test_a_listener_of_its_own_carries_too(page):
    page.factory.purpose = "ws"
    page.opens()
    page.app.replies(text="hi")
    assert page.polls().entries == [[1, "hi"]]


def test_a_socket_still_comes_first():
    client = Client()
    client.says(asking(b"/chat?a=1"))
    assert client.app.got("websocket.connect")["query_string"] == b"a=1"
    client.leaves()
    client.waits(20)


# Hearing

def test_a_poll_is_answered_at_once_where_something_is_there(page):
    page.opens()
    page.app.replies(text="one")
    page.app.replies(type_="websocket.send", bytes=b"\0two")
    answer = page.polls()
    assert answer.entries == [[1, "one"], [2, {"binary": "AHR3bw=="}]] and answer.whole
    assert answer.fields[b"content-type"] == b"application/json" and answer.fields[b"cache-control"] == b"no-store"
    assert not answer.transport.closing, "the connection goes on"


def test_a_poll_waits_for_something_and_not_for_ever():
    page = Page(WsOptions(ping_interval=300.0))
    page.opens()
    first = page.polls()
    page.waits(10)
    assert first.heard() == b""
    page.app.replies(text="hellö \"\u2028\n")
    assert first.entries == [[1, "hellö \"\u2028\n"]]
    second = page.polls(ack=1)
    page.waits(24.9)
    assert second.heard() == b""
    page.waits(0.2)
    assert second.entries == []
    ends(page)


def test_a_lost_answer_loses_nothing(page):
    page.opens()
    page.app.replies(text="one")
    page.polls().leaves()
    page.app.replies(text="two")
    assert page.polls(ack=0).entries == [[1, "one"], [2, "two"]]
    assert page.polls(ack=1).entries == [[2, "two"]]
    waiting = page.polls(ack=2)
    assert waiting.heard() == b"", "what is acknowledged is never sent again"
    page.app.replies(text="three")
    assert waiting.entries == [[3, "three"]]


def test_what_was_never_given_can_not_be_acknowledged(page):
    page.opens()
    page.app.replies(text="one")
    assert page.polls(ack=99).entries == [[1, "one"]]


@pytest.mark.parametrize("ack", ["-1", "x", "1" * 19, "%31"])
def test_an_acknowledgement_that_is_no_number(page, ack):
    page.opens()
    assert page.polls(ack=ack).status == 400
    page.app.replies(text="on")
    assert page.polls(ack=0).entries == [[1, "on"]]


def test_an_event_stream(page):
    page.opens()
    page.app.replies(text="one\ntwo")
    stream = page.streams()
    assert stream.fields[b"content-type"] == b"text/event-stream" and stream.fields[b"x-accel-buffering"] == b"no"
    assert stream.events() == [("comment",), (1, "one\ntwo")]
    page.app.replies(bytes=b"b")
    page.app.replies(text="three")
    assert stream.events() == [(2, {"binary": "Yg=="}), (3, "three")]
    assert b"id: 3\ndata: \"three\"\n\n" in stream.body and not stream.whole
    page.waits(15.1)
    assert stream.events() == [("comment",)]


def test_a_stream_that_breaks_goes_on_after_what_was_seen(page):
    page.opens()
    for text in ("one", "two", "three"):
        page.app.replies(text=text)
    page.streams().leaves()
    again = page.streams(Last_Event_ID=b"1")
    assert again.events()[1:] == [(2, "two"), (3, "three")], "as a browser's own EventSource asks"
    again.leaves()
    assert page.polls(ack=2).entries == [[3, "three"]], "and from one way of hearing to the other"


def test_the_second_listener_takes_over(page):
    page.opens()
    poll = page.polls()
    stream = page.streams()
    assert poll.entries == [] and not stream.whole
    other = page.streams()
    assert stream.whole and not other.whole
    page.app.replies(text="hi")
    assert stream.events() == [("comment",)] and other.events()[1:] == [(1, "hi")]
    last = page.polls(ack=1)
    assert other.whole and last.heard() == b""
    assert not poll.transport.closing and not stream.transport.closing


def test_a_page_comes_back_in_time_or_not_at_all(page):
    page.opens()
    page.polls().leaves()
    page.waits(29)
    page.polls(ack=0).leaves()
    page.waits(29)
    page.app.replies(text="still")
    assert page.polls(ack=0).entries == [[1, "still"]]
    page.waits(30.1)
    told(page, 1006)
    assert any("the page has not come back" in line for line in page.log.lines)
    gone = page.polls(ack=1)
    assert gone.status == 410 and gone.body == b"[]"


def test_a_listener_that_says_nothing_is_asked_and_then_given_up(page):
    page.opens()
    stream = page.streams()
    page.waits(15)
    page.waits(5.1)
    assert stream.events() == [("comment",), ("comment",), ("ping",)]
    assert page.posts().status == 204
    page.waits(20.1)
    assert ("ping",) in stream.events()
    page.waits(30.1)
    told(page, 1006)
    assert stream.whole and any("no answer to a ping" in line for line in page.log.lines)


def test_pings_that_come_fast_are_all_asked():
    page = Page(WsOptions(ping_interval=3.0))
    stream = page.opens().streams()
    for _ in range(3):
        page.waits(3.1)
        assert ("ping",) in stream.events()
        page.posts()
    ends(page)


def test_a_poll_is_answered_when_it_is_time_to_show_that_the_page_lives(page):
    page.opens()
    for _ in range(5):
        poll = page.polls()
        assert poll.heard() == b""
        page.waits(20.1)
        assert poll.entries == []
    assert page.app.nothing()


def test_a_listener_that_shuts_its_sending_side_still_gets_its_answer(page):
    page.opens()
    poll = page.polls()
    page.shuts()
    page.app.replies(text="hi")
    assert poll.entries == [[1, "hi"]] and poll.transport.closing


# Saying

def test_what_the_page_says_comes_in_order_and_once(page):
    page.opens()
    answer = page.posts("one", {"binary": "AHR3bw=="})
    assert answer.status == 204 and answer.body == b"" and not answer.transport.closing
    page.posts("three")
    for order, text, data in ((1, "one", None), (2, None, b"\0two"), (3, "three", None)):
        got = page.app.got("websocket.receive")
        assert (got["order"], got["text"], got["bytes"], got["path"]) == (order, text, data, "/chat")
    assert page.posts_body(b'[[2, {"binary": "AHR3bw=="}], [3, "three"], [4, "four"]]').status == 204
    assert page.app.got()["text"] == "four" and page.app.nothing()
    assert page.posts_body(b'[[4, "four"]]').status == 204 and page.app.nothing(), "the answer was lost, so it came again"


def test_a_post_that_overtakes_another_is_not_taken(page):
    page.opens()
    assert page.posts_body(b'[[2, "two"]]').status == 409 and page.app.nothing()
    assert page.posts_body(b'[[1, "one"], [2, "two"]]').status == 204
    assert [page.app.got()["text"] for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize("body", [
    b"x", b"{}", b'"x"', b"[1]", b'[["1","x"]]', b'[[true,"x"]]', b'[[1,"x",2]]', b'[[1,"x"],[3,"y"]]', b'[[1,"x"],[1,"y"]]',
    b"[[1,null]]", b"[[1,5]]", b'[[1,{"binary":"?"}]]', b'[[1,{"binary":"YQ"}]]', b'[[1,{"binary":5}]]',
    b'[[1,{"binary":"YQ==","x":1}]]', b'[[1,{"binary":"\xc3\xa9"}]]', b'[[1,{"close":[1006,""]}]]', b'[[1,{"close":[1000]}]]',
    b'[[1,{"close":[1000,"' + b"x" * 124 + b'"]}]]', b'[[1,{"close":["1000",""]}]]', b'[[1,{"close":[1005,"x"]}]]',
    b'[[1,{"close":[true,""]}]]', b'[[1,"\\ud800"]]', b'[[1,{"close":[1000,"\\udfff"]}]]', b"[" * 100_000,
    b'[[1,"x"],[2,', b"\xef\xbb\xbf[]", b'[[1,"\xff"]]', b"[[1e400,1]]", b"[[NaN,1]]", b"[[" + b"1" * 5000 + b",1]]",
    json.dumps([[n + 1, ""] for n in range(65)]).encode(),
])
def test_what_is_malformed_is_400_and_the_session_goes_on(page, body):
    page.opens()
    bad = page.posts_body(body)
    assert bad.status == 400 and bad.body and not bad.transport.closing
    assert page.app.nothing(), "nothing of it is taken"
    page.posts("on")
    assert page.app.got()["text"] == "on"


@pytest.mark.parametrize("value", ["x" * 101, "é" * 51, {"binary": "YWFh" * 34}])
def test_a_message_that_is_too_large_ends_the_session(value):
    page = Page(WsOptions(max_message=100))
    page.opens()
    poll = page.polls()
    assert page.posts("fine", value).status == 413
    assert poll.entries == [[1, {"close": [1009, "a message that is too large"]}]]
    told(page, 1009, "a message that is too large")
    ends(page)


@pytest.mark.parametrize("fields", [{"Content_Length": b"4297"}, {"Content_Length": None, "Transfer_Encoding": b"chunked"}])
def test_a_body_that_is_too_large_ends_the_session(fields):
    page = Page(WsOptions(max_message=100))
    page.opens()
    body = b"[" + b" " * 4300
    refused = page.requests("POST", page.query(), body=None, Content_Type=b"application/json", **fields)
    refused.says(body if "Transfer_Encoding" not in fields else b"%x\r\n%b\r\n" % (len(body), body))
    assert refused.status == 413 and refused.transport.write_closed
    assert page.polls().entries == [[1, {"close": [1009, "a message that is too large"]}]]
    told(page, 1009, "a message that is too large")
    ends(page)


def test_the_largest_message_goes_through():
    page = Page(WsOptions(max_message=1000))
    page.opens()
    assert page.posts('"' * 1000).status == 204 and page.posts({"binary": "YWFh" * 333}).status == 204
    assert page.app.got()["text"] == '"' * 1000 and page.app.got()["bytes"] == b"aaa" * 333
    ends(page)


def test_a_body_that_is_slow_is_408_and_may_come_again(page):
    page.opens()
    slow = page.requests("POST", page.query(), Content_Type=b"application/json", Content_Length=b"12")
    slow.says(b'[[1,')
    page.polls()
    page.waits(20.1)
    assert slow.status == 408
    assert page.posts("x").status == 204 and page.app.got()["text"] == "x"


def test_the_second_post_takes_over_from_one_that_hangs(page):
    page.opens()
    hangs = page.requests("POST", page.query(), Content_Type=b"application/json", Content_Length=b"12")
    hangs.says(b'[[1,"')
    assert page.posts("one").status == 204 and page.app.got()["text"] == "one"
    assert hangs.status == 409
    hangs.says(b'one"]]')
    assert page.app.nothing()


def test_a_post_whose_sender_left_says_nothing(page):
    page.opens()
    left = page.requests("POST", page.query(), Content_Type=b"application/json", Content_Length=b"12")
    left.says(b'[[1,"one"]')
    left.leaves()
    page.posts("two")
    assert page.app.got()["text"] == "two"


# Whose session it is

@pytest.mark.parametrize("fields", [{"Host": b"other.test"}, {"Authorization": b"Basic eA=="}, {"path": "/other"},
                                    {"Origin": b"https://evil.test"}, {"Origin": b"null"}])
def test_the_name_of_another_clients_session_opens_nothing(page, fields):
    page.opens()
    page.app.replies(text="secret")
    assert page.requests("GET", page.query(), **{"Origin": None, **fields}).status == 404
    assert page.requests("POST", page.query(), b'[[1,"x"]]', **fields).status == 404 and page.app.nothing()
    assert page.polls().entries == [[1, "secret"]], "and disturbs nobody"


def test_a_post_without_its_origin(page):
    page.opens()
    assert page.requests("POST", page.query(), b'[[1,"x"]]', Origin=None).status == 404 and page.app.nothing()


@pytest.mark.parametrize("session", ["", "nonsense", "%00", "new", "A" * 22, "\x7f"])
def test_names_that_are_nobodys(page, session):
    page.opens()
    if session != "\x7f":
        assert page.requests("GET", "ws-session=" + session).status == 404
    assert session == "new" or page.requests("POST", "ws-session=" + session.strip("\x7f"), b"[]").status == 404


@pytest.mark.parametrize("method", ["DELETE", "PUT", "HEAD", "OPTIONS", "PATCH"])
def test_other_methods_are_405(page, method):
    page.opens()
    refused = page.requests(method, page.query())
    assert refused.status == 405 and refused.fields[b"allow"] == b"GET, POST" and page.app.nothing()


def test_a_get_has_no_body(page):
    page.opens()
    assert page.requests("GET", page.query(), b"[]").status == 400


def test_the_name_of_a_session_is_in_no_log(page):
    page.opens()
    page.posts("x")
    page.polls().leaves()
    page.requests("GET", page.query(), path='/"')
    lines = page.access + page.log.lines
    assert not any(page.session in line for line in lines)
    assert '192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "POST /chat?ws-session=... HTTP/1.1" 204 -' in page.access
    assert any('"POST /chat?ws-session=new HTTP/1.1" 200 15' in line for line in page.access)
    assert any('"GET /chat?ws-session=... HTTP/1.1" 499 -' in line for line in page.access)
    assert not any(" 101 " in line for line in page.access), "no handshake was answered so"
    page.app.got()


# The end

def test_the_page_closes(page):
    page.opens()
    poll = page.polls()
    assert page.posts("last", {"close": [4321, "enough"]}, "after").status == 204
    assert page.app.got("websocket.receive")["text"] == "last"
    told(page, 4321, "enough")
    assert poll.status == 410 and page.polls().status == 410 and page.posts("x").status == 410
    assert not page.factory.siblings["ws"].connections


def test_a_page_that_closes_has_nothing_to_acknowledge(page):
    page.opens()
    page.app.replies(text="unheard")
    page.posts({"close": [1000, ""]})
    told(page, 1000)
    assert not page.factory.siblings["ws"].connections


def test_a_close_without_a_code(page):
    page.opens()
    page.posts({"close": [1005, ""]})
    told(page, 1005)


@pytest.mark.parametrize("streams", [True, False])
def test_the_application_closes_and_the_page_is_told_last(page, streams):
    page.opens()
    answer = page.streams() if streams else None
    page.app.replies(text="bye", close=4000)
    told(page, 4000)
    if streams:
        assert answer.events()[1:] == [(1, "bye"), (2, {"close": [4000, ""]})] and answer.whole
    else:
        page.polls().leaves()
        assert page.polls(ack=0).entries == [[1, "bye"], [2, {"close": [4000, ""]}]], "a lost answer loses no goodbye"
    assert page.posts("crossed").status == 204 and page.app.nothing()
    assert page.posts(ack=2).status == 204
    gone = page.polls(ack=2)
    assert gone.status == 410 and gone.body == b"[]"


def test_a_goodbye_that_nobody_fetches_is_kept_a_while_and_then_told_with_410(page):
    page.opens()
    page.app.replies(text="bye", close=4000)
    told(page, 4000)
    page.waits(31)
    gone = page.polls(ack=0)
    assert gone.status == 410 and gone.body == b'[{"close":[4000,""]}]'


def test_a_close_code_that_must_not_be_sent_becomes_1011(page):
    page.opens()
    page.app.replies(type_="websocket.close", code=1006)
    assert page.polls().entries == [[1, {"close": [1011, "the application failed"]}]]
    told(page, 1011, "the application failed")


def test_a_long_reason_is_cut_between_two_characters(page):
    page.opens()
    page.app.replies(type_="websocket.close", code=4000, reason="é" * 100)
    assert page.polls().entries == [[1, {"close": [4000, "é" * 61]}]]
    told(page, 4000, "é" * 100)


def test_a_server_that_goes_down_tells_the_page_and_waits_for_no_acknowledgement(page):
    page.opens()
    stream = page.streams()
    gone = page.factory.siblings["ws"].drain()
    page.settle()
    assert stream.events()[1:] == [(1, {"close": [1001, "the server is going down"]})] and stream.whole
    told(page, 1001, "the server is going down")
    page.settle()
    assert gone.called


def test_connections_last_no_longer_than_their_groups():
    page = Page(WsOptions(max_age=50.0))
    page.opens()
    for _ in range(3):
        poll = page.polls()
        page.waits(19)
        poll.leaves()
    assert page.polls().entries == [[1, {"close": [1001, "connections last no longer"]}]]
    told(page, 1001, "connections last no longer")
    ends(page)


def test_only_so_many_ended_sessions_are_remembered(page, monkeypatch):
    monkeypatch.setattr("interfaces.carrier.TOMBS", 2)
    sessions = []
    for _ in range(3):
        page.number = 0
        sessions.append(page.opens().session)
        page.posts({"close": [1000, ""]})
        told(page, 1000)
    found = [page.requests("GET", f"ws-session={session}").status for session in sessions]
    assert found == [404, 410, 410]


# Bounds

def test_a_page_that_acknowledges_nothing_is_waited_for_and_then_ended():
    page = Page(WsOptions(write_timeout=40.0))
    page.opens()
    for number in range(10):
        page.app.replies(type_="websocket.send", text=str(number) * 20_000)
    stream = page.streams()
    assert [number for number, text in stream.events()[1:]] == [1, 2, 3, 4], "64 KiB are unacknowledged"
    page.posts(ack=2)
    assert [number for number, text in stream.events()] == [5, 6]
    page.posts(ack=6)
    assert [number for number, text in stream.events()] == [7, 8, 9, 10]
    page.waits(39)
    page.posts()
    page.waits(2)
    assert any("slow: the client does not read" in line for line in page.log.lines) and stream.whole
    assert page.app.got("interface.credit")["sent"] == 140_000
    told(page, 1006)
    ends(page)


def test_what_waits_behind_that_is_bounded_too(page):
    page.exchange.max_buffer = 500
    page.opens()
    for _ in range(10):
        page.app.replies(type_="websocket.send", text="x" * 70_000)
    assert any(line.endswith("slow: the peer does not read what the application sends") for line in page.log.lines)
    told(page, 1006)


def test_a_worker_that_is_behind_holds_the_posts_back(page):
    page.opens()
    window = page.exchange.credit
    said = 0
    while page.posts("x" * 30_000).status == 204:
        said += 1
        assert said < window
    waiting = page.answers[-1]
    assert said == 11, "256 KiB for the owner, and 64 KiB read ahead"
    assert waiting.heard() == b"" and page.carrier.connection.unpulled <= 64 * 1024 + 30_100
    got = [page.app.got("websocket.receive") for _ in range(9)]
    page.app.replies(type_="interface.credit", handled=got[-1]["order"])
    assert waiting.status == 204, "the worker is on, and so is the page"
    while not page.app.nothing():
        got.append(page.app.got())
    assert [message["order"] for message in got] == list(range(1, said + 2))


def test_a_worker_that_stays_behind_is_503_and_nothing_is_taken(page):
    page.opens()
    while page.posts("x" * 30_000).status == 204:
        page.polls()
    refused = page.answers[-1]
    for _ in range(3):
        page.polls(ack=0)
        page.waits(8.4)
    assert refused.status == 503 and refused.fields[b"retry-after"] == b"5"
    got = page.app.got()
    while not page.app.nothing():
        got = page.app.got()
    page.app.replies(type_="interface.credit", handled=got["order"])
    page.number -= 1
    assert page.posts("x" * 30_000).status == 204


# Workers come and go

def test_a_worker_gives_the_session_back_and_another_goes_on(page):
    page.opens()
    page.posts("one", "two")
    assert page.app.got()["text"] == "one"
    stream = page.streams()
    page.app.replies(type_="interface.state", state=b"seen one")
    page.app.replies(type_="interface.credit", handled=1, receive_channel=None, epoch=0)
    assert page.posts("three").status == 204
    assert page.app.got()["text"] == "two", "what the first had in hand"
    again = page.app.got("websocket.connect")
    assert again["resumed"] and again["epoch"] == 1 and again["state"] == b"seen one"
    page.app.replies(type_="websocket.accept", receive_channel=page.app.owner, epoch=1)
    assert [page.app.got()["text"] for _ in range(2)] == ["two", "three"]
    page.app.replies(text="still here")
    assert stream.events()[1:] == [(1, "still here")], "the page notices nothing"


def test_a_worker_is_killed_and_the_page_notices_nothing(page):
    page.opens()
    poll = page.polls()
    page.app.dies()
    page.app = App(page.layer, [sent.__message__.channel for sent in ws.sends], adopts=True)
    assert page.posts("meanwhile").status == 204
    assert page.app.got("websocket.connect")["resumed"]
    page.app.replies(type_="websocket.accept", receive_channel=page.app.owner, epoch=1)
    assert page.app.got()["text"] == "meanwhile" and poll.heard() == b""
    page.app.replies(text="here")
    assert poll.entries == [[1, "here"]]


def test_nobody_takes_over(page):
    page.opens()
    page.app.replies(type_="interface.credit", handled=0, receive_channel=None, epoch=0)
    for _ in range(4):
        poll = page.polls(ack=0)
        page.waits(15.5)
    assert poll.entries == [[1, {"close": [1012, "the application is restarting"]}]]
    page.app.got("websocket.connect")


def test_everything_was_lost(page):
    page.opens()
    page.exchange.deliver("", Gap(True))
    page.settle()
    assert page.app.got("websocket.connect")["resumed"]
    page.app.replies(type_="websocket.accept", receive_channel=page.app.owner, epoch=1)
    page.app.replies(text="on")
    assert page.polls().entries == [[1, "on"]]


# Whatever happens

class Storm:
    """A page whose requests are cut at random, and which does as docs/fallback.md says."""

    def __init__(self, seed):
        self.dice, self.page = random.Random(seed), Page().opens()
        self.heard, self.queue, self.told = [], [], []
        self.said = self.replied = 0

    def run(self):
        for _ in range(40):
            self.dice.choice((self.listens, self.says, self.replies))()
            self.works()
        while self.queue:
            self.posts(lost=0)
        while len(self.heard) < self.replied:
            self.takes(self.page.polls(ack=len(self.heard)).entries)
        self.works()
        assert self.heard == [f"down {n + 1}" for n in range(self.replied)]
        assert self.told == [f"up {n + 1}" for n in range(self.said)]
        ends(self.page)

    def listens(self):
        streams = self.dice.random() < 0.5
        answer = (self.page.streams if streams else self.page.polls)(ack=len(self.heard))
        self.page.waits(self.dice.choice((0, 0, 1.0)))
        if self.dice.random() < 0.4:
            answer.leaves()
        elif streams:
            self.takes(event for event in answer.events() if len(event) == 2)
        elif answer.whole:
            self.takes(answer.entries)

    def takes(self, entries):
        for number, value in entries:
            assert number == len(self.heard) + 1, "what was acknowledged came again, or something is missing"
            self.heard.append(value)

    def says(self):
        if self.dice.random() < 0.7:
            self.said += 1
            self.queue.append([self.said, f"up {self.said}"])
        self.posts(lost=0.5)

    def posts(self, lost):
        answer = self.page.posts_body(json.dumps(self.queue[:64]).encode(), ack=len(self.heard))
        if self.dice.random() >= lost:
            assert answer.status == 204
            del self.queue[:64]

    def replies(self):
        self.replied += 1
        self.page.app.replies(type_="websocket.send", text=f"down {self.replied}")

    def works(self):
        while not self.page.app.nothing():
            message = self.page.app.got()
            if message["type"] == "websocket.receive":
                self.told.append(message["text"])


def test_storms_leave_nothing_lose_nothing_and_double_nothing():
    for seed in range(150):
        Storm(seed).run()

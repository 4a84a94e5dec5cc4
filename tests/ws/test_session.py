"""WebSocket as dialogues between a client, the server and an application, on a clock."""
import struct

import pytest

from interfaces.contract import Gap, Unconfirmed
from interfaces.laws import traces
from interfaces.layers.memory import MemoryLayer
from interfaces.ws.plugin import WsOptions
from tests.ws.client import BINARY, CLOSE, PING, PONG, TEXT, Client, asking, closing, frame, read


@pytest.fixture
def client():
    client = Client()
    yield client
    ends(client)


def ends(client):
    client.leaves()
    client.waits(200)
    assert not traces(client) and not client.log.faults and not client.transport.late


def told(client, code, reason=""):
    """The application is told once, and last."""
    message = client.app.got("websocket.disconnect")
    assert (message["code"], message["reason"], message["path"]) == (code, reason, "/chat")
    assert client.app.nothing()


# The handshake

def test_a_handshake_is_told_whole_and_not_answered_before_the_verdict(client):
    client.asks(b"/ch%C3%A4t?x=%20", extra=b"X-One: 1\r\n", Sec_WebSocket_Protocol=b"chat, superchat", Origin=b"http://a")
    got = client.app.got("websocket.connect")
    assert client.heard() == b"" and not client.ended
    assert (got["path"], got["raw_path"], got["query_string"]) == ("/chät", b"/ch%C3%A4t", b"x=%20")
    assert got["scheme"] == "ws" and got["http_version"] == "1.1" and got["subprotocols"] == ["chat", "superchat"]
    assert [b"x-one", b"1"] in [list(pair) for pair in got["headers"]] and got["order"] == 0 and got["tls"] is None
    assert got["client"] == ["192.0.2.7", 4711] and got["deadline"] == client.clock.seconds() + 10
    client.app.replies(type_="websocket.accept", subprotocol="superchat", headers=[[b"x-worker", b"w"]])
    head, rest = client.answer()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and rest == b""
    assert b"Sec-WebSocket-Protocol: superchat" in head and b"x-worker: w" in head
    assert client.access == ['192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /ch%C3%A4t?x=%20 HTTP/1.1" 101 -']


@pytest.mark.parametrize("reply, heard", [
    ({"accept": True}, []), ({"text": "hi"}, [(TEXT, b"hi")]), ({"bytes": b"hi"}, [(BINARY, b"hi")]),
    ({"accept": True, "text": ""}, [(TEXT, b"")]), ({"text": "bye", "close": 4000}, [(TEXT, b"bye"), closing(4000)]),
    ({"accept": True, "close": True}, [closing(1000)]), ({"type_": "websocket.send", "text": "hi"}, [(TEXT, b"hi")]),
    ({"type_": "interface.send", "text": "hi"}, None),
])
def test_classic_verdicts_that_accept(client, reply, heard):
    client.asks()
    client.app.got()
    client.app.replies(**reply)
    if heard is None:
        assert client.heard() == b"", "a group message is no verdict"
        return
    head, frames = client.answer()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert read(frames) == heard


@pytest.mark.parametrize("reply", [{"accept": False}, {"close": True}, {"close": 4001}, {"type_": "websocket.close"},
                                   {"accept": False, "text": "no"}])
def test_verdicts_that_refuse(client, reply):
    client.asks()
    client.app.got()
    client.app.replies(**reply)
    head, body = client.answer()
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n") and b"Connection: close" in head and client.ended
    told(client, 1006)


def test_what_is_no_verdict_yet_is_waited_behind(client):
    client.asks()
    client.app.got()
    client.app.replies(type_="websocket.send", accept=None, close=False)
    assert client.heard() == b""
    client.app.replies(accept=True)
    assert client.answer()[0].startswith(b"HTTP/1.1 101 ")


def test_a_refusal_with_a_status_headers_and_a_body(client):
    client.asks()
    client.app.got()
    client.app.replies(type_="websocket.http.response.start", status=401, headers=[[b"www-authenticate", b"Basic"]])
    client.app.replies(type_="websocket.http.response.body", body=b"who ", more_body=True)
    assert client.heard() == b""
    client.app.replies(type_="websocket.http.response.body", body=b"are you?")
    head, body = client.answer()
    assert head.startswith(b"HTTP/1.1 401 ") and b"www-authenticate: Basic" in head and body == b"who are you?"
    assert b"Content-Length: 12" in head and client.ended and client.access[-1].endswith(" 401 -")
    told(client, 1006)


@pytest.mark.parametrize("verdict", [{"type_": "websocket.accept", "subprotocol": "never offered"},
                                     {"type_": "websocket.accept", "headers": [[b"x", b"a\r\nb"]]},
                                     {"type_": "websocket.accept", "subprotocol": 5},
                                     {"type_": "websocket.http.response.start", "status": 99}])
def test_a_verdict_that_can_not_be_given_is_500(client, verdict):
    client.asks()
    client.app.got()
    client.app.replies(**verdict)
    client.app.replies(type_="websocket.http.response.body")
    assert client.answer()[0].startswith(b"HTTP/1.1 500 ") and client.ended
    told(client, 1006)


def test_no_verdict_in_time_is_503(client):
    client.asks()
    client.app.got()
    client.waits(9.9)
    assert client.heard() == b""
    client.waits(0.2)
    head, _ = client.answer()
    assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5" in head.lower() and client.ended
    told(client, 1006)
    client.app.replies(type_="websocket.accept")
    assert client.heard() == b"" and client.exchange.late == 1


def test_a_storm_of_connects_with_no_worker_is_refused_and_holds_nothing():
    client = Client(app=False)
    for _ in range(200):
        client.asks()
        client.connects()
    client.asks()
    client.waits(2.1)
    assert client.heard().startswith(b"HTTP/1.1 503 ")
    client.waits(6)
    assert not client.exchange.links and not client.factory.connections


def test_a_full_channel_is_503_at_once():
    client = Client(capacity=1, app=False)
    first = client.transport
    client.asks()
    client.connects()
    client.asks()
    assert client.heard().startswith(b"HTTP/1.1 503 ") and client.ended and not first.closing
    client.waits(100)


def test_a_client_that_leaves_before_the_verdict_is_told(client):
    client.asks()
    client.app.got()
    client.leaves()
    told(client, 1006)


@pytest.mark.parametrize("fields, status", [
    ({"Sec_WebSocket_Version": b"12"}, b"426"), ({"Sec_WebSocket_Key": None}, b"400"),
    ({"Sec_WebSocket_Key": b"short"}, b"400"), ({"Sec_WebSocket_Version": None}, b"426"),
    ({"Content_Length": b"5"}, b"400"), ({"Transfer_Encoding": b"chunked"}, b"400"),
])
def test_bad_handshakes_reach_no_worker(client, fields, status):
    client.asks(**fields)
    head, _ = client.answer()
    assert head.split(b" ")[1] == status and client.ended and client.app.nothing()
    assert status != b"426" or b"sec-websocket-version: 13" in head.lower() and b"upgrade: websocket" in head.lower()


def test_another_method_or_an_unknown_protocol(client):
    client.says(asking().replace(b"GET", b"POST"))
    assert client.answer()[0].startswith(b"HTTP/1.1 400 ")
    client.connects()
    client.asks(Upgrade=b"h2c")
    assert client.app.got("http.request")["path"] == "/chat", "RFC 9110 7.8: one may go on as before"
    client.app.replies(status=200, content=b"")


@pytest.mark.parametrize("origin, allowed", [(b"https://a.example", True), (b"HTTPS://A.EXAMPLE", True), (None, True),
                                             (b"https://b.example", False), (b"null", False), (b"http://a.example", False)])
def test_foreign_origins_are_refused(origin, allowed):
    client = Client(WsOptions(allowed_origins=(b"https://a.example",)))
    client.asks(Origin=origin)
    if allowed:
        assert client.app.got("websocket.connect")
    else:
        assert client.answer()[0].startswith(b"HTTP/1.1 403 ") and client.app.nothing()
    ends(client)


def test_there_is_room_for_so_many():
    client = Client()
    client.factory.siblings["ws"].admission.most = 1
    first = client.opens().transport
    client.connects()
    client.asks()
    assert client.heard().startswith(b"HTTP/1.1 503 ") and client.ended
    client.transport = first
    client.connection = first.protocol
    client.leaves()
    client.connects()
    client.asks()
    assert client.app.got("websocket.disconnect") and client.app.got("websocket.connect")
    ends(client)


# The open connection

def test_messages_go_both_ways_in_order(client):
    client.opens()
    client.says_text("hellö")
    client.says(frame(BINARY, b"\0\1") + frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b"))
    for order, text, data in ((1, "hellö", None), (2, None, b"\0\1"), (3, "ab", None)):
        got = client.app.got("websocket.receive")
        assert (got["order"], got["text"], got["bytes"], got["path"]) == (order, text, data, "/chat")
    assert client.hears() == [(PONG, b"p")]
    client.app.replies(type_="websocket.send", text="one")
    client.app.replies(type_="websocket.send", bytes=b"two")
    client.app.replies(text="three", close=True)
    assert client.hears() == [(TEXT, b"one"), (BINARY, b"two"), (TEXT, b"three"), closing(1000)]
    client.closes(1000)
    told(client, 1000)


def test_the_clients_close_is_answered_and_told(client):
    client.opens()
    client.closes(4321, "enough")
    assert client.hears() == [closing(4321)]
    told(client, 4321, "enough")
    assert client.ended


def test_a_close_without_a_code_is_1005(client):
    client.opens()
    client.says(frame(CLOSE))
    told(client, 1005)


def test_the_applications_close_waits_for_the_client(client):
    client.opens()
    client.app.replies(type_="websocket.close", code=4000, reason="go")
    assert client.hears() == [closing(4000, "go")] and not client.ended
    client.says_text("crossed")
    assert client.app.nothing(), "what comes after the close is for nobody"
    client.closes(4000)
    told(client, 4000, "go")
    assert client.ended


def test_a_client_that_does_not_answer_the_close_is_left_after_a_while(client):
    client.opens()
    client.app.replies(type_="websocket.close")
    client.waits(5.1)
    told(client, 1000)
    assert client.ended


@pytest.mark.parametrize("code", [1004, 1006, 999, 5000, 1015])
def test_a_close_code_that_must_not_be_sent_becomes_1011(client, code):
    client.opens()
    client.app.replies(type_="websocket.close", code=code)
    assert client.hears() == [closing(1011, "the application failed")] and client.log.lines
    client.closes(1011)
    told(client, 1011, "the application failed")


def test_a_lost_connection_is_1006(client):
    client.opens()
    client.says_text("x")
    client.leaves()
    client.app.got("websocket.receive")
    told(client, 1006)


def test_a_peer_that_breaks_the_protocol_is_told_so(client):
    client.opens()
    client.says(frame(TEXT, b"good") + frame(3, b"") + frame(TEXT, b"never"))
    [(opcode, payload)] = client.hears()
    assert opcode == CLOSE and payload[:2] == struct.pack("!H", 1002)
    assert client.app.got("websocket.receive")["text"] == "good"
    told(client, 1002, payload[2:].decode())
    assert client.ended


def test_an_accept_on_an_open_connection_changes_nothing(client):
    client.opens()
    client.app.replies(type_="websocket.accept")
    client.app.replies(accept=True, text="hi")
    assert client.hears() == [(TEXT, b"hi")]


def test_what_can_not_be_read_is_dropped_and_the_client_does_not_pay(client):
    client.opens()
    client.app.replies(type_="websocket.send", text=b"bytes where text should be")
    client.app.replies(type_="no.such.type", text="x")
    client.app.replies(type_="websocket.send", text="still here")
    assert client.hears() == [(TEXT, b"still here")] and client.exchange.unreadable == 1


def test_a_group_message_of_several_protocols(client):
    client.opens()
    client.layer.group_add("room", client.connect["reply_channel"])
    client.layer.group_send("room", {"type": "interface.send", "text": "all", "topic": "t", "target": "#room"})
    client.settle()
    client.layer.group_send("room", {"text": "mixed", "close": True})
    client.settle()
    assert client.hears() == [(TEXT, b"all"), (TEXT, b"mixed"), closing(1000)]
    client.closes()


# Time and limits

def test_silence_is_pinged_and_then_ended(client):
    client.opens()
    client.waits(19.9)
    assert client.heard() == b""
    client.waits(0.2)
    assert client.hears() == [(PING, b"")]
    client.waits(20)
    client.says(frame(PONG))
    client.waits(19.9)
    assert client.heard() == b""
    client.waits(0.2)
    assert client.hears() == [(PING, b"")]
    client.waits(30.1)
    assert client.ended and any("ping" in line for line in client.log.lines)
    told(client, 1006)


def test_our_own_words_are_no_sign_of_life(client):
    client.opens()
    for _ in range(4):
        client.waits(5)
        client.app.replies(text="tick")
    client.waits(0.1)
    assert (PING, b"") in client.hears()


def test_a_connection_is_no_older_than_its_groups():
    client = Client(WsOptions(max_age=100.0, ping_interval=0.0))
    client.opens()
    client.waits(99)
    assert client.heard() == b""
    client.waits(1.1)
    assert client.hears() == [closing(1001, "connections last no longer")]
    client.closes(1001)
    told(client, 1001, "connections last no longer")
    ends(client)


def test_a_client_that_does_not_read_is_ended_with_a_name(client):
    client.opens()
    client.stops_reading()
    for _ in range(20):
        client.app.replies(text="x" * 60_000)
        client.waits(0.1)
    client.waits(61)
    assert client.ended and any("slow" in line for line in client.log.lines)
    while not client.app.nothing():
        last = client.app.got()
    assert last["type"] == "websocket.disconnect" and last["code"] == 1006


def test_an_owner_that_is_behind_stops_the_reading_and_loses_nothing(client):
    client.opens()
    for number in range(200):
        client.says_text(str(number))
    client.waits(60)            # not read, so no silence
    heard = []
    while not client.app.nothing():
        while not client.app.nothing():
            heard.append(client.app.got("websocket.receive"))
        client.app.replies(type_="interface.credit", handled=heard[-1]["order"])
    assert [message["text"] for message in heard] == [str(number) for number in range(200)] and not client.ended


def test_the_owner_is_told_how_much_was_written(client):
    client.opens()
    for _ in range(5):
        client.app.replies(bytes=b"x" * 64 * 1024)
        client.heard()
    credits = []
    while not client.app.nothing():
        credits.append(client.app.got("interface.credit")["sent"])
    assert credits == [128 * 1024, 256 * 1024]
    for _ in range(40):
        client.app.replies(text="\u00e9")
    assert client.app.got("interface.credit")["sent"] == 320 * 1024 + 2 * 31, "bytes, with the fifth message before"


def test_plain_workers_that_are_behind_end_it_with_1013():
    client = Client(adopts=False, capacity=2)
    client.opens()
    for _ in range(5):
        client.says_text("x")
    client.waits(5.1)
    assert client.hears() == [closing(1013, "the application is behind")]
    client.closes(1013)
    ends(client)


def test_a_stopping_server_says_goodbye(client):
    client.opens()
    client.connection.stop()
    client.settle()
    assert client.hears() == [closing(1001, "the server is going down")]
    client.closes(1001)
    told(client, 1001, "the server is going down")


def test_nobody_takes_it_over_is_1012(client):
    client.opens()
    client.app.dies()
    for _ in range(62):
        client.waits(1)
        client.says(frame(PONG))
    assert closing(1012, "the application is restarting") in client.hears()


def test_a_classic_worker_sheds_what_redis_forgot():
    class Classic(MemoryLayer):
        reader_mark = "?"
    client = Client(adopts=False, layer=Classic)
    client.opens()
    client.exchange.deliver("", Gap(True))
    client.settle()
    assert client.hears() == [closing(1012, "the application is restarting")]
    client.closes(1012)
    ends(client)


def test_a_connect_that_may_have_been_sent_is_503():
    class Doubtful(MemoryLayer):
        def send(self, channel, message):
            super().send(channel, message)
            raise Unconfirmed("no answer")
    client = Client(layer=Doubtful)
    client.asks()
    assert client.heard().startswith(b"HTTP/1.1 503 ") and client.ended
    client.leaves()
    client.waits(100)

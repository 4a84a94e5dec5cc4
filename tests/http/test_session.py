"""HTTP as dialogues between a client, the server and an application, on a clock."""
import pytest

from twisted.internet.defer import Deferred

from interfaces.contract import ChannelFull, Gap, Unconfirmed
from interfaces.http.plugin import HttpOptions, http
from interfaces.http.turn import COMMENT
from interfaces.http.upload import PART, PARTS
from interfaces.layers.memory import MemoryLayer
from interfaces.testing import Peer

GET = b"GET /there?x=1 HTTP/1.1\r\nHost: example.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Classic(MemoryLayer):
    """As a layer in the format of Channels 1, whose mark is no character of today's names."""
    reader_mark = "?"

    def send(self, channel, message):
        return super().send(channel.replace("?", "."), message)

    def delete(self, channel, last=None):
        return super().delete(channel.replace("?", "."), last)


def post(size, body=b""):
    return b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body


def body_of(heard: bytes) -> bytes:
    return heard.partition(b"\r\n\r\n")[2]


def test_a_request_is_told_whole():
    peer = Peer(http)
    peer.says(b"GET /caf%C3%A9?q=%20 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nX_Sly: 3\r\n\r\n")
    got = peer.app.got("http.request")
    assert got["method"] == "GET" and got["http_version"] == "1.1" and got["scheme"] == "http"
    assert (got["path"], got["raw_path"], got["query_string"]) == ("/café", b"/caf%C3%A9", b"q=%20")
    assert got["headers"] == [[b"host", b"a"], [b"x-one", b"1"], [b"x-one", b"2"]]
    assert got["client"] == ["192.0.2.7", 4711] and got["server"] == ["192.0.2.1", 80] and got["tls"] is None
    assert got["body"] == b"" and got["more_body"] is False and got["order"] == 0
    assert got["deadline"] == peer.clock.seconds() + 120.0
    prefix, _, name = got["reply_channel"].partition("!")
    assert len(name) == 22 and len(got["reply_channel"]) < 100 and prefix == peer.exchange.address.prefix


def test_the_classic_answer_and_the_next_request_on_the_same_connection():
    peer = Peer(http)
    peer.says(GET)
    first = peer.app.got()
    peer.app.replies(status=200, headers=[[b"x-a", b"1"]], content=b"hello")
    heard = peer.heard()
    assert heard.startswith(OK) and b"x-a: 1\r\n" in heard and b"Content-Length: 5\r\n" in heard and body_of(heard) == b"hello"
    peer.says(GET)
    second = peer.app.got()
    assert second["reply_channel"] != first["reply_channel"]
    peer.app.replies(to=first["reply_channel"], status=200, content=b"late")
    assert peer.heard() == b"" and peer.exchange.late == 1
    peer.app.replies(status=404, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 404 Not Found\r\n") and not peer.ended


def test_the_typed_answer_in_pieces():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="http.response.start", status=200, headers=[[b"content-length", b"10"]])
    peer.app.replies(type_="http.response.body", body=b"hello", more_body=True)
    assert body_of(peer.heard()) == b"hello"
    peer.app.replies(type_="http.response.body", body=b"world")
    assert peer.heard() == b"world" and not peer.ended


def test_a_stream_of_unknown_length_is_chunked_and_for_http_1_0_ends_with_the_connection():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, content=b"one", more_content=True)
    assert body_of(peer.heard()) == b"3\r\none\r\n"
    peer.app.replies(content=b"two")
    assert peer.heard() == b"3\r\ntwo\r\n0\r\n\r\n" and not peer.ended
    old = Peer(http)
    old.says(b"GET / HTTP/1.0\r\n\r\n")
    old.app.got()
    old.app.replies(status=200, content=b"one", more_content=True)
    old.app.replies(content=b"two")
    assert body_of(old.heard()) == b"onetwo" and old.ended


def test_pipelined_requests_are_answered_in_order():
    peer = Peer(http)
    peer.says(GET + GET.replace(b"there", b"after"))
    assert peer.app.got()["path"] == "/there" and peer.app.nothing()
    peer.app.replies(status=200, content=b"1")
    assert peer.app.got()["path"] == "/after"
    peer.app.replies(status=200, content=b"2")
    assert [part[:1] for part in peer.heard().split(b"\r\n\r\n")[1:]] == [b"1", b"2"]


def test_head_has_no_body_whatever_the_application_says():
    peer = Peer(http)
    peer.says(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    peer.app.got()
    peer.app.replies(status=200, content=b"hello")
    heard = peer.heard()
    assert b"Content-Length: 5" in heard and body_of(heard) == b"" and not peer.ended


def test_a_small_body_comes_with_the_request_however_it_is_cut():
    peer = Peer(http)
    for byte in post(5, b"hello"):
        assert peer.app.nothing()
        peer.says(bytes([byte]))
    got = peer.app.got()
    assert got["body"] == b"hello" and not got["more_body"] and got["body_channel"] is None


def test_100_continue_is_said_before_the_body_is_read():
    peer = Peer(http)
    peer.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert peer.heard() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.says(b"ok")
    assert peer.app.got()["body"] == b"ok"


def test_a_plain_worker_finds_the_rest_of_a_body_on_its_own_channel_at_most_eight_parts_at_once():
    peer = Peer(http)
    size = 20 * PART
    peer.says(post(size, b"x" * size))
    got = peer.app.got()
    assert len(got["body"]) == PART and got["more_body"]
    body, parts = got["body"], []
    peer.waits(1)
    assert peer.layer.statistics()["waiting"][got["body_channel"]] == PARTS
    assert peer.connection.unpulled and not peer.connection.reading, "the rest must wait in the client's socket"
    peer.app.reads(got["body_channel"])
    while not parts or parts[-1]["more_content"]:
        peer.waits(0.1)
        while not peer.app.nothing():
            parts.append(peer.app.got("http.request.body"))
    assert all(len(part["content"]) <= PART and part["closed"] is False for part in parts)
    assert [part["part"] for part in parts] == list(range(1, len(parts) + 1)) and "order" not in parts[0]
    assert len(body + b"".join(part["content"] for part in parts)) == size
    peer.app.replies(to=got["reply_channel"], status=201, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 201 Created") and not peer.ended
    assert not peer.layer.listening(got["body_channel"])


def test_a_classic_worker_gets_a_request_when_all_of_its_body_is_here():
    """It runs one at a time and waits for a body where it stands: a slow client must not hold it."""
    peer = Peer(http, layer=Classic)
    body = bytes(range(256)) * (25 * PART // 256) + b"end"
    peer.says(post(len(body), body[:-1]))
    assert peer.app.nothing()
    peer.says(body[-1:])
    got = peer.app.got("http.request")
    assert got["body"] == body[:PART] and got["more_body"] and got["body_channel"].startswith("http.request.body?")
    peer.app.reads(got["body_channel"].replace("?", "."))
    parts = [got["body"]]
    while len(b"".join(parts)) < len(body):
        peer.waits(0.1)
        while not peer.app.nothing():
            parts.append(peer.app.got("http.request.body")["content"])
    assert b"".join(parts) == body
    peer.app.replies(to=got["reply_channel"], status=200, content=b"")
    assert peer.heard().startswith(OK) and not peer.ended


def test_a_classic_worker_never_hears_of_a_body_that_stays_incomplete():
    left, slow = Peer(http, layer=Classic), Peer(http, layer=Classic)
    for peer in (left, slow):
        peer.says(post(3 * PART, b"x" * 2 * PART))
    left.leaves()
    slow.waits(400)
    assert left.app.nothing() and slow.app.nothing() and slow.heard().startswith(b"HTTP/1.1 408 ")


def test_an_owner_gets_the_rest_of_a_body_under_its_window():
    peer = Peer(http, adopts=True)
    size = 30 * PART
    peer.says(post(size, b"x" * size))
    first = peer.app.got("http.request")
    received, handled = len(first["body"]), 0
    while received < size:
        peer.settle()
        fresh = []
        while not peer.app.nothing():
            fresh.append(peer.app.got("http.request.body"))
        assert fresh and len(fresh) <= PARTS
        assert [part["order"] for part in fresh] == list(range(handled + 1, handled + 1 + len(fresh)))
        assert all(part["reply_channel"] == first["reply_channel"] for part in fresh)
        received += sum(len(part["content"]) for part in fresh)
        handled = fresh[-1]["order"]
        peer.app.replies(type_="interface.credit", handled=handled)
    assert received == size and fresh[-1]["more_content"] is False
    peer.app.replies(status=200, content=b"")
    assert peer.heard().startswith(OK) and not peer.ended


def test_a_worker_that_is_quicker_than_its_layers_confirmation_is_believed():
    class Late(MemoryLayer):
        """As Redis on a slow line: a message is read before the server knows that it was sent."""
        def send(self, channel, message):
            super().send(channel, message)
            confirmed = Deferred()
            self.clock.callLater(0.1, confirmed.callback, None)
            return confirmed
    peer = Peer(http, adopts=True, layer=Late)
    size = 30 * PART
    peer.says(post(size, b"x" * size))
    received = len(peer.app.got("http.request")["body"])
    while received < size:
        while peer.app.nothing():
            peer.waits(0.05)
        part = peer.app.got("http.request.body")
        received += len(part["content"])
        peer.layer.tell(peer.exchange.address, part["reply_channel"].partition("!")[2],
                        {"type": "interface.credit", "handled": part["order"]})


def test_an_answer_before_the_end_of_the_body_ends_the_connection_without_a_reset():
    peer = Peer(http)
    peer.says(post(10 * PART, b"x" * PART * 2))
    peer.app.got()
    peer.app.replies(status=403, content=b"no")
    assert b"Connection: close" in peer.heard()
    assert peer.transport.write_closed and not peer.transport.gone, "a lingering close, RFC 9112 9.6"
    peer.waits(6)
    assert peer.transport.gone


def test_an_owner_is_told_how_much_of_its_answer_is_written():
    peer = Peer(http, adopts=True)
    peer.says(GET)
    reply_channel = peer.app.got()["reply_channel"]
    peer.app.replies(type_="http.response.start", status=200, headers=[])
    for _ in range(5):
        peer.app.replies(type_="http.response.body", body=b"x" * PART, more_body=True)
    confirmed = []
    while not peer.app.nothing():
        credit = peer.app.got("interface.credit")
        assert credit["reply_channel"] == reply_channel and "order" not in credit
        confirmed.append(credit["sent"])
    assert confirmed == [2 * PART, 4 * PART]


def test_a_reader_that_does_not_read_stops_the_confirmations_and_is_ended_as_slow():
    peer = Peer(http, adopts=True)
    peer.stops_reading()
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="http.response.start", status=200, headers=[])
    for _ in range(4):
        peer.app.replies(type_="http.response.body", body=b"x" * PART, more_body=True)
    assert peer.app.nothing(), "nothing is confirmed that is not written"
    peer.waits(61)
    assert peer.ended and any("slow" in line for line in peer.log.lines)
    assert peer.app.got("http.disconnect")["order"] == 1


def test_a_plain_worker_that_floods_a_slow_reader_is_bounded():
    peer = Peer(http)
    peer.exchange.max_buffer = 10 * PART
    peer.stops_reading()
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, content=b"", more_content=True)
    for _ in range(14):
        peer.app.replies(content=b"x" * PART, more_content=True)
    assert peer.ended and any("slow" in line for line in peer.log.lines)


# Long-polls and event streams

def test_a_long_poll_is_answered_late_and_from_another_process():
    peer = Peer(http, options=HttpOptions(timeout=4 * 3600.0))
    peer.says(GET)
    reply_channel = peer.app.got()["reply_channel"]
    peer.waits(3 * 3600)
    peer.app.dies()
    peer.layer.send(reply_channel, {"status": 200, "content": b"at last"})
    peer.settle()
    assert body_of(peer.heard()) == b"at last" and not peer.ended


def test_a_group_answers_every_held_request_at_once():
    peer = Peer(http)
    others = []
    for _ in range(10):
        peer.says(GET)
        peer.layer.group_add("room", peer.app.got()["reply_channel"])
        others.append((peer.transport, peer.connection))
        peer.connects()
    peer.layer.group_send("room", {"status": 200, "content": b"all"})
    peer.settle()
    assert all(body_of(transport.read()) == b"all" for transport, _ in others)
    assert not peer.layer.groups.members, "an answered request leaves its groups"


def test_the_neutral_form_answers_a_held_request_and_feeds_an_event_stream():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="interface.send", text="hé")
    heard = peer.heard()
    assert b"text/plain" in heard and body_of(heard) == "hé".encode()
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, headers=[[b"Content-Type", b"text/event-stream"]], content=b"", more_content=True)
    peer.heard()
    peer.app.replies(type_="interface.send", text="a\nb")
    assert b"data: a\ndata: b\n\n" in peer.heard()


def test_a_silent_event_stream_gets_comments_and_no_time_out():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, headers=[[b"content-type", b"text/event-stream"]], content=b"", more_content=True)
    peer.heard()
    for _ in range(20):
        peer.waits(COMMENT)
        assert peer.heard() == b"3\r\n:\n\n\r\n"
    assert not peer.ended


def test_http_disconnect_comes_only_when_the_client_leaves_before_its_answer_is_complete():
    peer = Peer(http)
    peer.app.reads("http.disconnect")
    peer.says(GET)
    request = peer.app.got()
    peer.leaves()
    gone = peer.app.got("http.disconnect")
    assert (gone["reply_channel"], gone["path"], gone["order"]) == (request["reply_channel"], "/there", 1)
    peer.connects()
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, content=b"")
    peer.leaves()
    assert peer.app.nothing()


def test_an_owner_is_told_of_a_client_that_left_on_its_own_channel():
    peer = Peer(http, adopts=True)
    peer.says(GET)
    peer.app.got()
    peer.leaves()
    assert peer.app.got("http.disconnect")["order"] == 1


# Half-close

def test_a_client_that_shuts_its_sending_side_gets_its_answer():
    peer = Peer(http)
    peer.says(GET)
    peer.shuts()
    peer.app.got()
    peer.app.replies(status=200, content=b"hello")
    assert body_of(peer.heard()) == b"hello" and peer.ended


def test_after_a_second_a_half_closed_client_is_probed_once():
    peer = Peer(http)
    peer.says(GET)
    peer.shuts()
    peer.app.got()
    peer.waits(1.1)
    assert peer.heard() == b"HTTP/1.1 102 Processing\r\n\r\n"
    peer.waits(10)
    assert peer.heard() == b""
    peer.app.replies(status=200, content=b"hello")
    assert body_of(peer.heard()) == b"hello"


def test_a_client_that_shuts_in_the_middle_of_its_request_gets_nothing():
    peer = Peer(http)
    peer.says(post(5, b"he"))
    peer.shuts()
    assert peer.heard() == b"" and peer.ended and peer.app.nothing()


# Time

def test_a_head_that_trickles_is_408():
    peer = Peer(http)
    peer.says(b"GET / HT")
    peer.waits(19)
    peer.says(b"TP")
    assert not peer.ended
    peer.waits(1.1)
    assert peer.heard().startswith(b"HTTP/1.1 408 ") and peer.ended and peer.app.nothing()


def test_a_body_that_trickles_is_408_however_steadily():
    peer = Peer(http)
    peer.says(post(1000))
    for _ in range(25):
        peer.waits(1)
        peer.says(b"x")
    assert peer.heard().startswith(b"HTTP/1.1 408 ") and peer.ended and peer.app.nothing()


def test_the_rest_of_a_body_that_stops_is_408_and_the_worker_learns_it():
    peer = Peer(http, adopts=True)
    peer.says(post(3 * PART, b"x" * 2 * PART))
    peer.app.got("http.request")
    while not peer.app.nothing():
        peer.app.got("http.request.body")
    peer.waits(21)
    assert peer.heard().startswith(b"HTTP/1.1 408 ") and peer.ended
    assert peer.app.got("http.disconnect")


def test_an_idle_connection_is_closed_without_a_word():
    peer = Peer(http)
    peer.waits(76)
    assert peer.heard() == b"" and peer.ended


def test_no_answer_in_time_is_504_and_the_owner_is_told():
    peer = Peer(http, adopts=True)
    peer.says(GET)
    peer.app.got()
    peer.waits(121)
    assert peer.heard().startswith(b"HTTP/1.1 504 ") and peer.app.got("http.disconnect")


# Bad days

def test_without_a_worker_requests_wait_and_are_answered_when_one_comes():
    peer = Peer(http, app=False)
    peer.says(GET)
    peer.waits(60)
    from interfaces.testing import App
    peer.app = App(peer.layer, ["http.request"])
    peer.app.got("http.request")
    peer.app.replies(status=200, content=b"sorry for the wait")
    assert body_of(peer.heard()) == b"sorry for the wait"


def test_over_the_capacity_of_the_channel_it_is_503_with_retry_after():
    peer = Peer(http, app=False, capacity=1)
    peer.says(GET)
    peer.connects()
    peer.says(GET)
    heard = peer.heard()
    assert heard.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5\r\n" in heard.lower() and peer.ended


@pytest.mark.parametrize(("adopts", "status"), [(True, b"502"), (False, b"504")])
def test_a_killed_worker_is_502_if_it_owned_the_request_and_otherwise_waits_for_its_deadline(adopts, status):
    peer = Peer(http, adopts=adopts)
    peer.says(GET)
    peer.app.got()
    peer.app.dies()
    peer.waits(121)
    assert peer.heard().split(b" ")[1] == status


def test_a_worker_killed_in_the_middle_of_its_answer_cuts_the_connection():
    peer = Peer(http, adopts=True)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="http.response.start", status=200, headers=[])
    peer.app.dies()
    assert peer.ended and not peer.heard().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("reply", [
    {"status": "200"}, {"status": 99, "content": b""}, {"status": 200, "headers": [[b"a", b"b\r\nc: d"]]},
    {"status": 200, "headers": [[b"a b", b"c"]]}, {"status": 200, "headers": "x"}, {"content": b"no status"},
    {"type": "http.response.abort"}, {"type": 3},
    {"status": 200, "headers": [[b"content-length", b"1"]], "content": b"22"},
])
def test_a_reply_that_can_not_be_given_is_500_and_a_log_line(reply):
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(**reply)
    assert peer.heard().startswith(b"HTTP/1.1 500 ") and peer.ended and peer.log.lines and not peer.log.faults


def test_a_group_message_for_other_protocols_leaves_a_held_request_alone():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="chat.message", text="hi", close=True)
    assert peer.heard() == b"" and len(peer.log.lines) == 1
    peer.app.replies(status=200, content=b"")
    assert peer.heard().startswith(OK)


def test_many_small_pieces_are_confirmed_too():
    peer = Peer(http, adopts=True)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(type_="http.response.start", status=200, headers=[])
    for _ in range(70):
        peer.app.replies(type_="http.response.body", body=b"x", more_body=True)
    assert [message["sent"] for _, message in peer.app.waiting] == [31, 63]


def test_a_large_answer_goes_out_as_the_client_takes_it_however_slowly():
    peer = Peer(http)
    peer.stops_reading()
    peer.says(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    peer.app.got()
    peer.app.replies(status=200, content=b"x" * 20 * PART)
    heard = b""
    for _ in range(21):
        peer.waits(50)
        heard += peer.heard()
    assert len(body_of(heard)) == 20 * PART and peer.transport.gone


def test_an_answer_shorter_than_it_said_is_cut():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, headers=[[b"content-length", b"5"]], content=b"abc")
    assert peer.ended and any("shorter" in line for line in peer.log.lines)


@pytest.mark.parametrize(("said", "status"), [
    (b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"GET /\r\n\r\n", b"400"), (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", b"505"),
    (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", b"400"), (b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n", b"431"), (post(513 * 1024 * 1024), b"413"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
])
def test_bad_requests_are_refused_logged_once_and_never_reach_a_worker(said, status):
    peer = Peer(http)
    peer.says(said)
    heard = peer.heard()
    assert heard.split(b" ")[1] == status and b"Connection: close" in heard and peer.ended
    assert peer.app.nothing() and len(peer.log.lines) == 1


def test_a_stopping_server_finishes_what_was_begun_and_closes():
    peer, idle = Peer(http), Peer(http)
    peer.says(GET)
    peer.app.got()
    for one in (peer, idle):
        one.connection.stop()
        one.settle()
    assert idle.ended and not peer.ended
    peer.app.replies(status=200, content=b"bye")
    heard = peer.heard()
    assert b"Connection: close" in heard and body_of(heard) == b"bye" and peer.ended


def test_a_server_that_begins_to_stop_while_a_body_comes_still_answers_and_closes():
    peer = Peer(http)
    peer.says(post(5, b"he"))
    peer.connection.stop()
    peer.settle()
    peer.says(b"llo")
    peer.app.got()
    peer.app.replies(status=200, content=b"bye")
    assert b"Connection: close" in peer.heard() and peer.ended


# Gaps: what the layer may have lost

def gap(peer, everything=False):
    peer.exchange.deliver("", Gap(everything))
    peer.settle()


class Doubtful(MemoryLayer):
    """Says of the messages on `doubted` channels that it can't tell whether they were sent; they were."""
    doubted = ()

    def send(self, channel, message):
        sent = super().send(channel, message)
        if channel.startswith(self.doubted):
            raise Unconfirmed("no answer")
        return sent


def test_an_answer_that_may_have_a_hole_is_cut_off():
    peer = Peer(http)
    peer.says(GET)
    peer.app.got()
    peer.app.replies(status=200, content=b"a", more_content=True)
    gap(peer)
    assert peer.ended and not peer.heard().endswith(b"0\r\n\r\n"), "half of it must not look whole"


def test_an_event_stream_and_a_held_request_go_on_after_a_gap():
    stream, held = Peer(http), Peer(http)
    for peer in (stream, held):
        peer.says(GET)
        peer.app.got()
    stream.app.replies(status=200, headers=[[b"content-type", b"text/event-stream"]], content=b"", more_content=True)
    stream.heard()
    for everything in (False, True):
        gap(stream, everything)
        gap(held, everything)
    stream.app.replies(type_="interface.send", text="x")
    assert b"data: x" in stream.heard() and not stream.ended
    held.app.replies(status=200, content=b"at last")
    assert body_of(held.heard()) == b"at last" and not held.ended


def test_an_upload_that_may_have_a_hole_is_503_and_its_reader_learns_that_it_ends():
    peer = Peer(http)
    peer.says(post(4 * PART, b"x" * 2 * PART))
    got = peer.app.got()
    gap(peer)
    heard = peer.heard()
    assert heard.startswith(b"HTTP/1.1 503 ") and b"retry-after" in heard.lower() and peer.ended
    peer.app.reads(got["body_channel"])
    assert peer.app.got()["closed"] is True


def test_without_a_gap_to_everything_a_classic_worker_keeps_what_it_holds_and_after_one_it_is_shed():
    peer = Peer(http, layer=Classic)
    peer.says(GET)
    peer.app.got()
    gap(peer)
    assert peer.heard() == b"" and not peer.ended
    gap(peer, True)
    assert peer.heard().startswith(b"HTTP/1.1 503 ") and peer.ended


def test_a_request_that_may_have_been_sent_is_503_once_and_its_worker_is_told_that_it_is_over():
    peer = Peer(http, layer=Doubtful)
    peer.layer.doubted = ("http.request",)
    peer.says(post(2 * PART, b"x" * PART))
    assert peer.heard().startswith(b"HTTP/1.1 503 ") and peer.ended
    peer.layer.doubted = ()
    got = peer.app.got()
    peer.app.reads(got["body_channel"])
    assert peer.app.got()["closed"] is True and peer.app.nothing()


def test_a_part_that_may_have_been_sent_is_not_sent_again():
    peer = Peer(http, layer=Doubtful)
    peer.layer.doubted = ("http.request.body",)
    peer.says(post(3 * PART, b"x" * 2 * PART))
    got = peer.app.got()
    peer.app.reads(got["body_channel"])
    assert peer.heard().startswith(b"HTTP/1.1 503 ") and peer.ended
    parts = []
    while not peer.app.nothing():
        parts.append(peer.app.got())
    assert len(parts) <= 2 and parts[-1]["closed"] is True


# Proxies and the access log

def test_forwarding_headers_are_believed_only_from_trusted_proxies():
    said = GET[:-2] + b"X-Forwarded-For: 203.0.113.9, 198.51.100.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\r\n"
    stranger = Peer(http)
    stranger.says(said)
    got = stranger.app.got()
    assert got["client"] == ["192.0.2.7", 4711] and got["scheme"] == "http" and got["root_path"] == ""
    from interfaces.http.origin import networks
    trusting = Peer(http, options=HttpOptions(trusted_proxies=networks("192.0.2.0/24,198.51.100.0/24"), root_path="/app"))
    trusting.says(said)
    got = trusting.app.got()
    assert got["client"] == ["203.0.113.9", 0] and got["scheme"] == "https" and got["server"] == ["192.0.2.1", 443]
    assert got["root_path"] == "/app"


def test_the_access_log_is_in_common_format():
    peer = Peer(http)
    peer.says(GET.replace(b"x=1", b'x="'))
    peer.app.got()
    peer.app.replies(status=200, content=b"hello")
    assert peer.access == ['192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /there?x=%22 HTTP/1.1" 200 5']


def test_a_full_body_channel_does_not_make_the_server_deaf():
    peer = Peer(http)
    peer.says(post(30 * PART, b"x" * 30 * PART))
    peer.app.got()
    peer.waits(1)
    with pytest.raises(ChannelFull):
        peer.layer.send("http.request.body." + peer.app.current.partition("!")[2], {"type": "http.request.body"})
    peer.app.replies(status=413, content=b"enough")
    assert b"413" in peer.heard() and peer.ended

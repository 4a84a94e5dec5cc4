"""Who owns a connection, on layers that tell it and on layers that do not (Redis)."""
import pytest

from interfaces.contract import Lost, Taken
from interfaces.exchange import MISSES, PING
from interfaces.http.plugin import http
from interfaces.http.upload import PART
from interfaces.layers.memory import MemoryLayer
from interfaces.testing import Peer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Mute(MemoryLayer):
    """A layer as Redis is one: it does not know who took a message, nor who died."""
    tells_taken = tells_lost = False

    def tell(self, address, connection, item, soon=False):
        if item.__class__ not in (Taken, Lost):
            super().tell(address, connection, item, soon)


def asked(**more) -> Peer:
    peer = Peer(http, layer=Mute, **more)
    peer.says(GET)
    peer.app.got()
    return peer


def claims(peer, owner="specific.test!owner", **more):
    peer.app.replies(type_="interface.credit", handled=0, receive_channel=owner, **more)


def test_a_reply_with_a_receive_channel_adopts():
    peer = asked()
    claims(peer)
    peer.leaves()
    assert peer.app.got("http.disconnect")["order"] == 1 and not peer.exchange.owned


@pytest.mark.parametrize("wrong", [{"epoch": 1}, {"epoch": "0"}, {"epoch": None}, {"owner": 7}])
def test_a_claim_that_does_not_know_the_newest_epoch_is_fenced(wrong):
    peer = asked()
    claims(peer, **wrong)
    assert not peer.exchange.owned and peer.exchange.fenced == 1
    peer.app.replies(status=200, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 200")


def test_none_gives_back():
    peer = asked()
    claims(peer)
    claims(peer, None)
    assert not peer.exchange.owned
    for _ in range(MISSES + 1):
        peer.waits(PING)
    assert peer.app.nothing() and not peer.ended, "nobody is pinged, nobody is lost"


def test_an_owner_that_answers_pings_keeps_its_requests():
    peer = asked()
    claims(peer)
    for _ in range(MISSES + 2):
        peer.waits(PING)
        ping = peer.app.got("interface.ping")
        peer.layer.send(ping["reply_channel"], {"type": "interface.pong", "id": ping["id"]})
        peer.settle()
    peer.app.replies(to=next(iter(peer.app.heard))["reply_channel"], status=200, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 200")
    peer.waits(2 * PING)
    assert peer.app.nothing() and peer.exchange.timer is None, "nobody is pinged who owns nothing"


def test_an_owner_that_does_not_answer_is_lost_after_three_pings():
    peer = asked()
    claims(peer)
    for _ in range(MISSES):
        peer.waits(PING)
    assert not peer.ended
    peer.waits(PING)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")


def test_an_owner_that_says_what_it_has_handled_lives_and_has_only_much_to_do_before_it_comes_to_the_ping():
    peer = asked()
    peer.app.replies(type_="interface.credit", receive_channel="specific.test!owner")
    for _ in range(MISSES):
        peer.waits(PING)
    peer.layer.send(next(iter(peer.app.heard))["reply_channel"], {"type": "interface.credit", "handled": 0})
    for _ in range(MISSES):
        peer.waits(PING)
    assert not peer.ended
    peer.waits(PING)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")


def test_a_claim_for_a_connection_that_is_gone_is_answered_with_gone():
    peer = asked()
    gone = peer.app.current
    peer.leaves()
    peer.app.got("http.disconnect")
    peer.layer.send(gone, {"type": "interface.credit", "receive_channel": "specific.test!owner", "epoch": 0})
    peer.settle()
    assert peer.app.got("interface.gone")["reply_channel"] == gone


def test_where_nobody_tells_who_took_it_a_body_waits_on_its_own_channel():
    peer = Peer(http, layer=Mute)
    peer.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (3 * PART) + b"x" * 3 * PART)
    got = peer.app.got()
    assert peer.layer.statistics()["waiting"][got["body_channel"]] > 1
    claims(peer)
    peer.app.reads(got["body_channel"])
    peer.settle()
    parts = []
    while not parts or parts[-1]["more_content"]:
        parts.append(peer.app.got("http.request.body"))
    assert len(got["body"]) + sum(len(part["content"]) for part in parts) == 3 * PART


def test_before_the_layer_is_open_requests_are_refused():
    peer = Peer(http)
    peer.exchange.address = None
    peer.says(GET)
    assert peer.heard().startswith(b"HTTP/1.1 503 ") and not peer.log.faults

"""Who owns a connection, on layers that tell it and on layers that do not (Redis)."""
from math import inf

import pytest
from twisted.internet.defer import ensureDeferred, succeed

from interfaces.contract import Doubt, Gap, Lost, Taken
from interfaces.http.plugin import http
from interfaces.http.upload import PART
from interfaces.layers.memory import MemoryLayer
from interfaces.pings import EVERY, MISSES, PRESS, PRESSED
from interfaces.testing import Peer

OWNER = "specific.test!owner"
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


def claims(peer, owner=OWNER, **more):
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
        peer.waits(EVERY)
    assert peer.app.nothing() and not peer.ended, "nobody is pinged, nobody is lost"


def test_an_owner_that_answers_pings_keeps_its_requests():
    peer = asked()
    claims(peer)
    for _ in range(MISSES + 2):
        peer.waits(EVERY)
        ping = peer.app.got("interface.ping")
        peer.layer.send(ping["reply_channel"], {"type": "interface.pong", "id": ping["id"]})
        peer.settle()
    peer.app.replies(to=next(iter(peer.app.heard))["reply_channel"], status=200, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 200")
    peer.waits(2 * EVERY)
    assert peer.app.nothing() and peer.exchange.pings.timer is None, "nobody is pinged who owns nothing"


def test_an_owner_that_does_not_answer_is_lost_after_three_pings():
    peer = asked()
    claims(peer)
    for _ in range(MISSES):
        peer.waits(EVERY)
    assert not peer.ended
    peer.waits(EVERY)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")


def test_an_owner_that_says_what_it_has_handled_lives_and_has_only_much_to_do_before_it_comes_to_the_ping():
    peer = asked()
    peer.app.replies(type_="interface.credit", receive_channel=OWNER)
    for _ in range(MISSES):
        peer.waits(EVERY)
    peer.layer.send(next(iter(peer.app.heard))["reply_channel"], {"type": "interface.credit", "handled": 0})
    for _ in range(MISSES):
        peer.waits(EVERY)
    assert not peer.ended
    peer.waits(EVERY)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")


class Watching(Mute):
    """It knows by which connection each owner reads."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.watched, self.waits = [], inf

    def watch(self, owner, reader):
        self.watched.append((owner, reader))

    async def oldest(self, channel):
        return self.waits


def watched() -> Peer:
    peer = Peer(http, layer=Watching)
    peer.says(GET)
    request = peer.app.got()["reply_channel"]
    claims(peer)
    pongs(peer, peer.app.got("interface.ping"), 7)
    peer.app.current = request
    return peer


def pongs(peer, ping, reader):
    peer.layer.send(ping["reply_channel"], {"type": "interface.pong", "id": ping["id"], "reader": reader})
    peer.settle()


def doubts(peer, process="specific.test"):
    peer.exchange.deliver("", Doubt(process))
    peer.settle()


def test_an_owner_is_asked_at_once_by_what_it_reads_where_the_layer_can_watch_that():
    peer = watched()
    assert peer.layer.watched == [(OWNER, 7)]
    peer.app.replies(status=200, content=b"")
    peer.says(GET)
    assert peer.app.got("http.request")
    claims(peer)
    assert peer.app.nothing(), "once is enough"


def test_an_owner_whose_reader_is_gone_and_who_does_not_answer_is_lost_after_some_seconds():
    peer = watched()
    doubts(peer)
    for _ in range(PRESSED):
        assert not peer.ended and peer.app.got("interface.ping")["id"] == "specific.test"
        doubts(peer)
        peer.waits(PRESS)
    assert peer.heard().startswith(b"HTTP/1.1 502 ") and not peer.exchange.owned and not peer.exchange.pings.pressed


def test_an_owner_that_has_a_new_reader_stays():
    peer = watched()
    doubts(peer)
    peer.waits(PRESS)
    assert peer.app.got("interface.ping")
    pongs(peer, peer.app.got("interface.ping"), 8)
    for _ in range(PRESSED):
        peer.waits(PRESS)
    assert not peer.ended and peer.layer.watched[1:] == [(OWNER, 8)]


def test_of_one_that_nobody_knows_a_doubt_is_nothing():
    peer = watched()
    doubts(peer, "specific.stranger")
    for _ in range(PRESSED):
        peer.waits(PRESS)
    assert peer.app.nothing() and not peer.ended


def taken() -> Peer:
    """By a worker that is known and was killed before it claimed what it took."""
    peer = watched()
    peer.app.replies(status=200, content=b"")
    assert peer.heard().startswith(b"HTTP/1.1 200 ")
    peer.says(GET)
    assert peer.app.got("http.request")
    return peer


def loses(peer):
    doubts(peer)
    for _ in range(PRESSED):
        assert peer.app.got("interface.ping") and peer.heard() == b""
        peer.waits(PRESS)


def test_what_a_lost_worker_took_and_had_not_claimed_is_lost_with_it():
    peer = taken()
    peer.waits(0.1)
    loses(peer)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("oldest", ["it", "older", "nobody knows"])
def test_what_still_waits_for_a_worker_is_not_lost(oldest):
    peer = taken()
    peer.layer.waits = {"it": peer.clock.seconds(), "older": 0.0, "nobody knows": -inf}[oldest]
    peer.waits(0.1)
    loses(peer)
    assert peer.heard() == b"" and not peer.ended


def test_what_was_lost_with_a_connection_to_the_layer_is_not_waited_for():
    peer = taken()
    peer.waits(0.1)
    peer.exchange.deliver("", Gap())
    peer.waits(3)
    peer.exchange.deliver("", Gap())
    assert peer.heard() == b"" and peer.exchange.pings.settling is not None
    peer.waits(2)
    assert peer.heard().startswith(b"HTTP/1.1 502 ")
    peer.waits(3)
    assert peer.exchange.pings.settling is None


def test_what_a_plain_consumer_holds_outlives_a_lost_connection():
    """Nobody has ever claimed anything here."""
    peer = Peer(http, layer=Watching)
    peer.says(GET)
    peer.app.got()
    peer.waits(0.1)
    peer.exchange.deliver("", Gap())
    peer.waits(60)
    assert peer.heard() == b"" and not peer.ended


def test_of_each_channel_it_is_asked_what_waits_there():
    class Asks:
        orphan = False

        def __init__(self, channel, since):
            self.channel, self.unclaimed = channel, since

        def orphaned(self, lost):
            self.orphan = True

    exchange = Peer(http, layer=Watching).exchange
    exchange.layer.oldest = lambda channel: succeed({"full": 3.0, "unknown": -inf, "empty": inf}[channel])
    exchange.claiming = {"full", "unknown", "empty"}
    asking = [Asks(channel, since) for channel in ("unknown", "full", "empty", "plain") for since in (2.0, 4.0, 6.0)]
    exchange.links = dict(enumerate(asking))
    ensureDeferred(exchange.find_orphans(Lost("specific.test"), 5.0))
    assert [(link.channel, link.unclaimed) for link in asking if link.orphan] == [("full", 2.0), ("empty", 2.0), ("empty", 4.0)]


def test_what_is_younger_than_the_doubt_is_another_workers():
    peer = taken()
    loses(peer)
    assert peer.heard() == b"" and not peer.ended


def test_what_another_one_claims_in_time_is_that_ones():
    peer = taken()
    request = peer.app.current
    peer.waits(0.1)
    doubts(peer)
    peer.app.replies(to=request, type_="interface.credit", handled=0, receive_channel="specific.other!owner")
    for _ in range(PRESSED):
        peer.waits(PRESS)
    assert peer.heard() == b"" and not peer.ended


def test_a_server_that_closes_asks_nobody_any_more():
    peer = watched()
    doubts(peer)
    peer.app.got("interface.ping")
    peer.exchange.close()
    peer.waits(PRESS)
    assert peer.app.nothing()


def test_a_claim_for_a_connection_that_is_gone_is_answered_with_gone():
    peer = asked()
    gone = peer.app.current
    peer.leaves()
    peer.app.got("http.disconnect")
    peer.layer.send(gone, {"type": "interface.credit", "receive_channel": OWNER, "epoch": 0})
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

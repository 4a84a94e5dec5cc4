"""The frame's part of carried connections, with a protocol that is not WebSocket: lines."""
from collections import deque

import pytest
from twisted.internet.error import ConnectionLost

from interfaces.bridge import READ_AHEAD
from interfaces.carrier import ABSENT, HIGH_WATER
from interfaces.contract import Answered, Closed, Ended, Interface, ProtocolError, Ready
from interfaces.http.plugin import http
from interfaces.testing import Peer


class Lines:
    """A carried wire whose entries are its events."""
    streams, most, over = False, 100, False

    def __init__(self, options):
        self.said, self.fault = deque(), False

    def receive(self, data):
        if data == b"bad":
            raise ProtocolError("bad", 400)
        self.said.append(data)
        return b""

    def next_event(self):
        if self.fault:
            raise ProtocolError("too much", 0)
        return self.said.popleft() if self.said else None

    def oversize(self):
        self.fault = True

    def unread(self):
        return b""

    def encode(self, event):
        return event


class Request:
    """A link that waits for its carrier, without a connection."""

    def __init__(self, peer):
        self.connection, self.tls, self.box, self.told = peer.connection, None, None, 0

    def deliver(self, item):
        assert item == Ready()
        self.told += 1


async def lines(link, options, shared):
    """Accepts, says back what it hears, and keeps it."""
    heard = shared
    heard.append(await link.event())
    link.write(Answered(200, [], b"", True))
    try:
        while True:
            item = await link.event()
            heard.append(item)
            if item.__class__ is Closed:
                return
            if item == b"end":
                link.write(b"goodbye")
                return link.close()
            if item == b"sleep":
                await link.reply()
            elif item and item.__class__ is bytes:
                link.write(item)
                await link.drain()
    except ProtocolError as error:
        heard.append(error.reason)
        link.close(error.reason)


@pytest.fixture
def peer():
    carried = Interface("lines", "", wire=Lines, session=lines, role="upgrade", token=b"lines", carried=Lines,
                        shared=lambda options: [])
    peer = Peer(http, siblings=[carried])
    peer.factory.siblings["lines"].log = peer.log
    yield peer
    for carrier in list(peer.factory.siblings["lines"].carriers.live.values()):
        for request in list(carrier.requests):
            carrier.leaves(request)
    peer.waits(100)
    peer.waits(100)
    peer.leaves()
    factory = peer.factory.siblings["lines"]
    assert not factory.carriers.live and not factory.connections and not factory.admission.count and not peer.log.faults
    assert not peer.clock.getDelayedCalls()


def opens(peer):
    factory, request = peer.factory.siblings["lines"], Request(peer)
    carrier = factory.carriers.open(request, "opening", b"body")
    assert carrier.answered == Answered(200, [], b"", True)
    carrier.leaves(request)
    return carrier, factory.shared


def listens(peer, carrier):
    request = Request(peer)
    carrier.listens(request)
    peer.settle()
    return request


def test_only_interfaces_with_a_carried_wire_can_be_carried(peer):
    assert peer.factory.carriages == {b"lines-session": "lines"}


def test_a_story_begins_with_its_event_and_then_the_body(peer):
    carrier, heard = opens(peer)
    assert heard == ["opening", b"body"] and carrier.after(0) == [(1, b"body")]
    assert carrier.connection.peer == ["192.0.2.7", 4711] and len(carrier.session) == 22


def test_what_is_said_together_is_told_once(peer):
    carrier, heard = opens(peer)
    request = listens(peer, carrier)
    before = request.told
    carrier.take(b"one")
    carrier.take(b"two")
    assert request.told == before
    peer.settle()
    assert request.told == before + 1 and carrier.after(1) == [(2, b"one"), (3, b"two")]


def test_a_request_that_has_not_looked_yet_is_not_told_again(peer):
    carrier, heard = opens(peer)
    request = listens(peer, carrier)
    before, request.box = request.told, deque(["something"])
    carrier.take(b"one")
    peer.settle()
    assert request.told == before


def test_an_entry_stays_until_it_is_acknowledged(peer):
    carrier, heard = opens(peer)
    carrier.take(b"two")
    assert carrier.after(0) == carrier.after(0) == [(1, b"body"), (2, b"two")]
    carrier.acknowledge(1)
    carrier.acknowledge(0)
    assert carrier.after(0) == [(2, b"two")]
    carrier.take(b"three")
    carrier.acknowledge(3)
    assert [data for _, data in carrier.entries] == [b"three"], "it was never given"


def test_what_is_unacknowledged_is_bounded_as_a_full_socket_is(peer):
    carrier, heard = opens(peer)
    for _ in range(6):
        carrier.take(b"x" * 20_000)
    assert HIGH_WATER < carrier.size < HIGH_WATER + 21_000 and len(heard) == 2 + 4, "the story waits in `drain`"
    carrier.after(0)
    carrier.acknowledge(3)
    assert len(heard) == 2 + 6


def test_a_story_that_does_not_ask_stops_the_reading(peer):
    carrier, heard = opens(peer)
    carrier.take(b"sleep")
    while carrier.reading:
        carrier.take(b"x" * 10_000)
    assert READ_AHEAD < carrier.connection.unpulled <= READ_AHEAD + 10_000


def test_of_a_bad_body_nothing_is_taken_and_it_goes_on(peer):
    carrier, heard = opens(peer)
    with pytest.raises(ProtocolError):
        carrier.take(b"bad")
    assert heard[2:] == [b""], "but it lives"
    carrier.take(b"good")
    assert heard[3:] == [b"good"] and carrier.connection.unpulled == 0


def test_the_newest_listener_has_the_session(peer):
    carrier, heard = opens(peer)
    first, second = listens(peer, carrier), listens(peer, carrier)
    assert carrier.listener is second and first.told == 2, "so that it looks, and ends"
    carrier.leaves(first)
    peer.waits(ABSENT + 1)
    assert not carrier.gone, "one still listens"
    carrier.leaves(second)
    peer.waits(ABSENT - 0.1)
    assert not carrier.gone
    peer.waits(0.2)
    assert carrier.gone and heard[-1].__class__ is Closed


def test_an_oversize_body_ends_it_by_the_story(peer):
    carrier, heard = opens(peer)
    carrier.oversize()
    assert heard[-1] == "too much"


def test_the_end_waits_for_the_acknowledgement(peer):
    carrier, heard = opens(peer)
    carriers = carrier.carriers
    carrier.take(b"end")
    peer.settle()
    assert carrier.closing and not carrier.gone and not carrier.told
    assert [data for _, data in carrier.after(0)] == [b"body", b"goodbye"] and carrier.told
    carrier.acknowledge(2)
    peer.settle()
    assert carrier.gone and carriers.find(carrier.session) == Ended(b"")


def test_nobody_acknowledges_the_end(peer):
    carrier, heard = opens(peer)
    carrier.take(b"end")
    peer.waits(31)
    assert carrier.gone and carrier.carriers.find(carrier.session) == Ended(b"goodbye")


def test_a_server_that_stops_waits_for_no_acknowledgement(peer):
    carrier, heard = opens(peer)
    carrier.connection.stop()
    carrier.take(b"end")
    peer.settle()
    assert not carrier.gone
    carrier.after(0)
    peer.settle()
    assert carrier.gone


def test_a_page_that_vanishes(peer):
    carrier, heard = opens(peer)
    request = listens(peer, carrier)
    carrier.vanish()
    carrier.lost(ConnectionLost())
    peer.settle()
    assert carrier.gone and heard[-1].__class__ is Closed and request.told == 2
    carrier.leaves(request)


def test_there_is_room_for_so_many(peer):
    factory = peer.factory.siblings["lines"]
    factory.admission.most = 1
    opens(peer)
    assert factory.carriers.open(Request(peer), "opening", b"") is None

"""Who is in a group of a layer in memory, on a clock: channels that go, changes that are told, bounds."""
import msgpack
import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from interfaces.contract import ChannelFull
from interfaces.layers import presence as store
from interfaces.layers import wire_local as wire
from interfaces.layers.local import LocalLayer
from interfaces.layers.local import Worker as HubWorker
from interfaces.layers.memory import MemoryLayer
from interfaces.layers.presence import Said
from interfaces.layers.shared import BadName
from interfaces.layers.wire_local import GRACE, MANY, PAGE, PAGE_BYTES

NOTIFY = Said(notify=True)


class Worker:
    """A reader that keeps what it is sent."""
    paused, rank = False, 0

    def __init__(self, layer, name):
        self.layer, self.process, self.heard = layer, f"specific.{name}", []
        layer.attach(self)

    def push(self, channel, payload):
        self.heard.append(wire.unpack(payload))
        return True

    def push_many(self, channels, payload):
        self.heard.append(wire.unpack(payload))
        return 0

    def withdrawn(self, channel):
        raise AssertionError("nothing was listened to")

    def joins(self, member, channel="1", group="room", said=NOTIFY):
        return self.layer.presence.join(self.process, group, (member, f"{self.process}!{channel}"), said)

    def leaves(self, member, channel="1", group="room"):
        return self.layer.presence.leave(group, member, f"{self.process}!{channel}")

    def dies(self):
        self.layer.detach(self)


class Room:
    """A layer, and somebody in the group who hears what is told."""

    def __init__(self):
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.layer = MemoryLayer(self.clock)
        self.ear = self.worker("ear")
        self.layer.join("room", "specific.ear!x")

    def worker(self, name):
        return Worker(self.layer, name)

    def told(self, after=0.0):
        """(member, joined, count) of each change."""
        self.clock.advance(after)
        heard, self.ear.heard = self.ear.heard, []
        assert all(message.pop("type") == "presence.changed" and message.pop("group") == "room" for message in heard)
        return [(message["member"], message["joined"], message["count"]) for message in heard]

    def members(self, group="room"):
        count, following, rows = self.layer.presence.page(group, 0, PAGE)
        assert (count, following) == (len(rows), 0)
        return {member: channels for member, info, channels in rows}

    def is_empty(self):
        presence = self.layer.presence
        return not (presence.groups or presence.held or presence.entries or presence.leaving or presence.joined
                    or self.clock.getDelayedCalls())


@pytest.fixture
def room():
    return Room()


def test_two_tabs_are_one_member(room):
    a = room.worker("a")
    assert (a.joins("ann", "1"), a.joins("ann", "2"), a.joins("bob", "3")) == (True, False, True)
    assert room.members() == {"ann": 2, "bob": 1}
    assert (a.leaves("ann", "1"), room.members()) == (False, {"ann": 1, "bob": 1})
    assert (a.leaves("ann", "2"), room.members()) == (True, {"bob": 1})
    assert not a.leaves("ann", "2"), "it had left"
    assert a.leaves("bob", "3")
    room.told(GRACE)
    assert room.is_empty()


def test_who_joins_again_is_there_once(room):
    a = room.worker("a")
    assert (a.joins("ann"), a.joins("ann", said=Said(b"\x01"))) == (True, False)
    assert room.layer.presence.page("room", 0, PAGE) == (1, 0, [("ann", b"\x01", 1)])
    a.leaves("ann")
    assert room.members() == {} and room.layer.presence.entries == 0


def test_a_killed_worker_takes_its_members_along_at_once(room):
    a, b = room.worker("a"), room.worker("b")
    a.joins("ann")
    a.joins("ann", "2")
    b.joins("ann")
    a.joins("bob")
    a.joins("cat", group="other")
    a.dies()
    assert (room.members(), room.members("other")) == ({"ann": 1}, {})


def test_a_member_of_a_reply_channel_goes_with_its_connection(room):
    room.layer.open("reply", lambda connection, item: None)
    [address] = room.layer.addresses.values()
    room.layer.send("websocket.connect", {"reply_channel": f"{address.prefix}!c"})
    a, b = room.worker("a"), room.worker("b")
    entry = "ann", f"{address.prefix}!c"
    assert room.layer.presence.join(a.process, "room", entry, NOTIFY)
    a.dies()
    assert room.members() == {"ann": 1}, "the connection outlives the plain worker that answered it"
    assert not room.layer.presence.join(b.process, "room", entry, NOTIFY)
    address.forget("c")
    assert room.members() == {}
    assert not room.layer.presence.join(b.process, "room", entry, NOTIFY), "that connection is over"
    assert room.members() == {}


def test_a_channel_of_a_process_that_is_gone_joins_nothing(room):
    a = room.worker("a")
    for channel in ("specific.gone!x", "reply.gone!c"):
        assert not room.layer.presence.join(a.process, "room", ("ann", channel), NOTIFY)
    room.told()
    assert room.is_empty()


def test_a_shared_channel_goes_with_the_worker_that_joined_it_last(room):
    a, b = room.worker("a"), room.worker("b")
    for worker in (a, b):
        room.layer.presence.join(worker.process, "room", ("robot", "robots"), NOTIFY)
    a.dies()
    assert room.members() == {"robot": 1}
    b.dies()
    assert room.members() == {}


def test_changes_are_told(room):
    a = room.worker("a")
    a.joins("ann")
    a.joins("ann", "2")
    a.joins("bob")
    assert room.told() == [("ann", True, 2), ("bob", True, 2)]
    a.leaves("ann", "1")
    assert room.told(2 * GRACE) == []
    a.leaves("ann", "2")
    assert room.told(GRACE - 0.1) == []
    assert room.told(0.1) == [("ann", False, 1)]


def test_who_asked_for_no_news_makes_none(room):
    a = room.worker("a")
    a.joins("ann", said=Said())
    a.leaves("ann")
    assert room.told(2 * GRACE) == []


def test_who_comes_back_in_time_has_not_left(room):
    a, b = room.worker("a"), room.worker("b")
    a.joins("ann")
    assert room.told() == [("ann", True, 1)]
    a.dies()
    room.clock.advance(GRACE - 1)
    assert b.joins("ann"), "in the list it was gone"
    assert room.told(2 * GRACE) == []
    b.leaves("ann")
    assert room.told(GRACE - 0.1) == [], "each leave has its own time"
    assert room.told(0.1) == [("ann", False, 0)]
    b.joins("ann")
    assert room.told() == [("ann", True, 1)]


def test_a_connection_that_is_handed_over_tells_nothing(room):
    a, b = room.worker("a"), room.worker("b")
    a.joins("ann")
    assert room.told() == [("ann", True, 1)]
    assert not b.joins("ann", "other")
    a.dies()
    assert (room.told(2 * GRACE), room.members()) == ([], {"ann": 1})


def test_who_comes_and_goes_in_one_turn_was_never_there(room):
    a = room.worker("a")
    a.joins("ann")
    a.leaves("ann")
    assert room.told(2 * GRACE) == [] and room.is_empty()


def test_a_join_is_told_while_a_leave_waits(room):
    a = room.worker("a")
    a.joins("ann")
    room.told()
    a.leaves("ann")
    a.joins("bob")
    assert room.told() == [("bob", True, 1)]
    assert room.told(GRACE) == [("ann", False, 1)]


@pytest.mark.parametrize("number", [MANY, MANY + 1])
def test_a_crowd_is_told_as_one(room, number):
    a = room.worker("a")
    for n in range(number):
        a.joins(f"m{n}")
    names = [f"m{n}" for n in range(number)] if number <= MANY else [None]
    assert room.told() == [(name, True, number) for name in names]
    a.dies()
    assert sorted(room.told(GRACE), key=str) == sorted([(name, False, 0) for name in names], key=str)


def test_the_list_comes_in_pages(room):
    a = room.worker("a")
    for n in range(7):
        a.joins(f"m{n}", said=Said())
    page = room.layer.presence.page
    count, following, rows = page("room", 0, 3)
    assert (count, [row[0] for row in rows]) == (7, ["m0", "m1", "m2"])
    a.leaves("m1")                          # what is behind is not skipped, what was given does not come again
    count, following, rows = page("room", following, 3)
    assert (count, [row[0] for row in rows]) == (6, ["m3", "m4", "m5"])
    assert [row[0] for row in page("room", following, 3)[2]] == ["m6"]
    assert page("room", following, 3)[1] == 0
    assert page("room", 0, 0)[0] == 6 and page("nobody", 0, 9) == (0, 0, [])


def test_a_page_is_bounded(room):
    a = room.worker("a")
    for n in range(PAGE + 1):
        a.joins(f"m{n}", said=Said())
    assert len(room.layer.presence.page("room", 0, 10**9)[2]) == PAGE
    for n in range(PAGE):
        a.joins(f"{n:04}".ljust(1024, "x"), group="long", said=Said(bytes(1024)))
    count, following, rows = room.layer.presence.page("long", 0, PAGE)
    assert count == PAGE and following and len(rows) == PAGE_BYTES // 2048


def test_names_and_infos_are_bounded(room):
    a = room.worker("a")
    for member, said in (("", NOTIFY), ("é" * 513, NOTIFY), ("ann", Said(bytes(1025)))):
        with pytest.raises(ValueError):
            a.joins(member, said=said)
    for group, channel in (("no room", "specific.a!1"), ("x" * 100, "specific.a!1"), ("room", "no channel"), ("room", "")):
        with pytest.raises(BadName):
            room.layer.presence.join(a.process, group, ("ann", channel), NOTIFY)
    assert a.joins("é" * 512, said=Said(bytes(1024)))


def test_there_is_an_end_of_what_is_held(room, monkeypatch):
    monkeypatch.setattr(store, "ENTRIES", 2)
    a = room.worker("a")
    a.joins("ann", "1")
    a.joins("ann", "2")
    for member in ("ann", "bob"):
        with pytest.raises(ChannelFull):
            a.joins(member, "3", group="room")
    assert not a.joins("ann", "2"), "what is held may be said again"
    a.leaves("ann", "1")
    assert a.joins("bob", "3") and room.members() == {"ann": 1, "bob": 1}


def test_flush_and_close_leave_nothing(room):
    a = room.worker("a")
    a.joins("ann")
    room.layer.clear()
    assert room.is_empty()
    a.joins("ann")
    room.told()
    a.leaves("ann")
    room.layer.close()
    assert room.is_empty()


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\1", b"\0\0\0\1\xc1", b"\0\0\0\1" + msgpack.packb(["ann", 1, b"", True]),
                                     b"\0\0\0\1" + msgpack.packb(["ann", "specific.a!1", b"", 1]),
                                     b"\0\0\0\1" + msgpack.packb(["x" * 1025, "specific.a!1", b"", True])])
def test_a_worker_that_says_nonsense_is_cut_off(payload):
    for kind in (wire.PRESENT, wire.ABSENT, wire.MEMBERS):
        worker, transport = HubWorker(LocalLayer(Clock(), None)), StringTransport()
        worker.makeConnection(transport)
        hello = wire.pack({"version": wire.VERSION, "process": "specific.a", "pid": 1})
        worker.dataReceived(wire.frame(wire.HELLO, "", hello))
        assert not worker.failed
        worker.dataReceived(wire.frame(kind, "room", payload))
        assert worker.failed and not worker.layer.presence.groups

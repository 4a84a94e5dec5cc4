"""Long-lived connections go from worker to worker: given back in order, lost in a crash, never claimed, left meanwhile."""
from dataclasses import dataclass
from math import inf

import pytest
from twisted.internet.defer import Deferred

from interfaces.contract import Abandoned, ChannelFull, Closed, Doubt, Gap, Interface, Lost, NoVerdict, Taken
from interfaces.laws import traces
from interfaces.layers.memory import MemoryLayer
from interfaces.pings import PRESS, PRESSED
from interfaces.schema import Spelling, key, message
from interfaces.tenure import RENEW, WINDOW_BYTES
from interfaces.testing import App, Peer
from tests.test_bridge import LineWire, Said


@message("long.connect", question=True)
class Connect:
    """Somebody is here."""
    name: str = key("who")


@message("long.line")
class Line:
    """Somebody says something."""
    text: str = key("a line")


@message("long.disconnect")
class Disconnect:
    """Somebody has left."""
    reason: str = key("why", "")


@dataclass(frozen=True)
class Accept:
    welcome: str = "welcome"


@dataclass(frozen=True)
class Text:
    text: str = ""


async def session(link, options, shared):
    try:
        verdict = await link.open(Connect("me"), 10.0)
    except (NoVerdict, ChannelFull) as error:
        link.write(Said(f"no: {type(error).__name__}"))
        return
    link.write(Said(verdict.welcome))
    while True:
        item = await (link.next() if link.room else link.reply())
        match item:
            case Closed(reason):
                return await link.tell(Disconnect(reason))
            case Said(text):
                await link.send(Line(text))
            case Text(text):
                link.write(Said(text))
            case Abandoned():
                link.write(Said("abandoned"))
                link.close("abandoned")
            case Gap():
                link.write(Said("shed"))
                link.close("shed")


toy = Interface("long", "A toy that stays.", lambda options: LineWire(), session, (Connect, Line, Disconnect),
                (Spelling("long.accept", Accept, {"welcome": "welcome"}), Spelling("long.text", Text, {"text": "text"})))


class Quiet(MemoryLayer):
    """As on Redis: who took a message and who died is told by nobody."""
    tells_taken = tells_lost = False

    def tell(self, address, connection, item, soon=False):
        if not isinstance(item, Lost | Taken):
            super().tell(address, connection, item, soon)


class Worker:
    """An over_channels worker by hand."""

    def __init__(self, peer, name):
        self.peer, self.layer = peer, peer.layer
        self.app = App.__new__(App)
        self.app.process = f"specific.{name}"
        self.app.__init__(peer.layer, ["long.connect"], adopts=True)
        peer.settle()

    def gets(self, kind):
        return self.app.got(kind)

    def replies(self, to, **message):
        self.app.replies(to, **message)

    def claims(self, announced, **message):
        """With a claim, where the layer does not tell who took it."""
        claim = {} if self.layer.tells_taken else {"receive_channel": self.app.owner, "epoch": announced.get("epoch", 0)}
        self.replies(announced["reply_channel"], **claim, **message)

    def accepts(self):
        announced = self.gets("long.connect")
        self.claims(announced, type_="long.accept")
        return announced

    def gives_back(self, announced, handled, **more):
        self.replies(announced["reply_channel"], type_="interface.credit", handled=handled, receive_channel=None,
                     epoch=announced.get("epoch", 0), **more)

    def leaves(self):
        self.layer.withdraw(self.app, "long.connect")
        self.peer.settle()


@pytest.fixture(params=[MemoryLayer, Quiet], ids=["tells", "quiet"])
def peer(request):
    peer = Peer(toy, app=False, layer=request.param)
    yield peer
    peer.leaves()
    peer.waits(200)
    assert not traces(peer) and not peer.log.faults


def test_an_owner_gets_all_of_it_in_order(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    assert first["order"] == 0 and "resumed" not in first and first["name"] == "me"
    peer.says(b"a\nb\n")
    assert [(one.gets("long.line")["order"], m) for m in ("a", "b")] == [(1, "a"), (2, "b")]
    one.replies(first["reply_channel"], type_="long.text", text="hello")
    assert peer.heard() == b"welcome\nhello\n"
    peer.leaves()
    assert one.gets("long.disconnect")["order"] == 3 and one.app.nothing()


def test_what_was_given_back_unhandled_goes_to_the_next_owner_afresh_in_the_old_sequence(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    peer.says(b"a\nb\nc\n")
    for _ in "abc":
        one.gets("long.line")
    one.leaves()
    one.gives_back(first, 1, state={"seen": 1})
    peer.says(b"d\n")
    two = Worker(peer, "two")
    again = two.gets("long.connect")
    assert again["resumed"] is True and again["epoch"] == 1 and again["state"] == {"seen": 1} and again["name"] == "me"
    assert again["order"] == 4 and again["reply_channel"] == first["reply_channel"]
    two.claims(again, type_="long.accept")
    heard = [two.gets("long.line") for _ in "bcd"]
    assert [(line["order"], line["text"]) for line in heard] == [(5, "b"), (6, "c"), (7, "d")]
    assert two.app.nothing() and one.app.nothing()
    assert peer.heard() == b"welcome\n", "the peer has noticed nothing, and an accept on an open connection changes nothing"


def test_of_what_a_killed_worker_was_sent_nothing_runs_twice(peer):
    one = Worker(peer, "one")
    one.accepts()
    peer.says(b"a\nb\n")
    one.app.dies()
    if not peer.layer.tells_lost:
        for _ in range(41):
            peer.waits(1)      # messages.md: a ping every 10 s, three misses
    peer.says(b"c\n")
    two = Worker(peer, "two")
    two.accepts()
    assert two.gets("long.line")["text"] == "c" and two.app.nothing()


def test_what_a_killed_worker_never_took_is_said_to_the_next_one():
    class Recovering(Quiet):
        def recover(self, owner):
            waiting.append(Deferred())
            return waiting[-1]
    waiting = []
    peer = Peer(toy, app=False, layer=Recovering)
    one = Worker(peer, "one")
    first = one.accepts()
    peer.says(b"a\nb\n")
    assert [one.gets("long.line")["order"] for _ in "ab"] == [1, 2]
    one.app.dies()
    for _ in range(4):
        peer.waits(10)
    peer.says(b"c\n")
    two = Worker(peer, "two")
    assert two.app.nothing(), "it is not announced before that is known"
    waiting.pop().callback({first["reply_channel"]: {2}})
    peer.settle()
    two.accepts()
    assert [two.gets("long.line")["text"] for _ in "bc"] == ["b", "c"] and two.app.nothing()


def test_an_announcement_that_was_taken_by_a_lost_worker_is_made_again_with_its_loss():
    class Watching(Quiet):
        watch = staticmethod(lambda owner, reader: None)

        async def oldest(self, channel):
            return inf
    peer = Peer(toy, app=False, layer=Watching)
    one = Worker(peer, "one")
    first = one.accepts()
    assert one.gets("interface.ping")
    one.leaves()
    one.gives_back(first, 0)
    two = Worker(peer, "two")
    assert two.gets("long.connect")["epoch"] == 1 and two.app.nothing()
    two.leaves()
    three = Worker(peer, "three")
    peer.waits(0.1)
    peer.exchange.deliver("", Doubt("specific.one"))
    for _ in range(PRESSED):
        assert three.app.nothing()
        peer.waits(PRESS)
    assert three.accepts()["epoch"] == 2 and three.gets("interface.ping")
    peer.leaves()
    three.gets("long.disconnect")
    peer.waits(200)
    assert not traces(peer) and not peer.log.faults


def test_a_claim_of_an_older_announcement_comes_too_late(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    one.leaves()
    one.gives_back(first, 0)
    two = Worker(peer, "two")
    two.accepts()
    one.replies(first["reply_channel"], type_="long.text", text="I am back", receive_channel=one.app.owner, epoch=0)
    assert peer.exchange.fenced == 1
    peer.says(b"a\n")
    assert two.gets("long.line")["text"] == "a" and peer.heard() == b"welcome\n"
    one.replies(first["reply_channel"], type_="long.text", text="without a claim")
    assert peer.heard() == b"without a claim\n"


def test_who_leaves_in_the_change_over_is_told_to_the_next_owner(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    one.leaves()
    one.gives_back(first, 0)
    peer.says(b"last words\n")
    peer.leaves()
    two = Worker(peer, "two")
    two.accepts()
    assert two.gets("long.line")["text"] == "last words"
    assert two.gets("long.disconnect")["reply_channel"] == first["reply_channel"] and two.app.nothing()
    assert not peer.exchange.links


def test_nobody_takes_it_over(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    one.leaves()
    one.gives_back(first, 0)
    peer.waits(59)
    assert not peer.ended
    peer.waits(2)
    assert peer.heard() == b"welcome\nabandoned\n" and peer.ended


def test_an_announcement_that_was_lost_is_made_again():
    peer = Peer(toy, app=False, layer=Quiet)
    one = Worker(peer, "one")
    first = one.accepts()
    one.leaves()
    one.gives_back(first, 0)
    two = Worker(peer, "two")
    assert two.gets("long.connect")["epoch"] == 1     # and dies of it
    peer.waits(RENEW + 2)
    again = two.gets("long.connect")
    assert again["epoch"] == 2
    two.claims(again, type_="long.accept")
    peer.waits(100)
    assert not [m for m in two.app.waiting if m[1]["type"] == "long.connect"]


def test_the_window_closes_and_opens(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    peer.says(b"x\n" * 200)
    while not one.app.nothing():
        last = one.gets("long.line")
    assert last["order"] == 63, "64 messages, the first one among them"
    one.replies(first["reply_channel"], type_="interface.credit", handled=32)
    while not one.app.nothing():
        last = one.gets("long.line")
    assert last["order"] == 32 + 64


def test_few_large_messages_close_the_window_too(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    peer.says((b"x" * 50_000 + b"\n") * 20)
    seen = 0
    while not one.app.nothing():
        last, seen = one.gets("long.line"), seen + 1
    assert seen == WINDOW_BYTES // 50_200 + 1
    one.replies(first["reply_channel"], type_="interface.credit", handled=last["order"])
    assert not one.app.nothing()


def test_a_state_that_no_layer_carries_is_not_kept(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    one.replies(first["reply_channel"], type_="interface.state", state="small")
    one.replies(first["reply_channel"], type_="interface.state", state="x" * 100_000)
    one.leaves()
    one.gives_back(first, 0)
    assert Worker(peer, "two").gets("long.connect")["state"] == "small"


def test_plain_workers_own_nothing_and_may_come_and_go(peer):
    plain = App(peer.layer, ["long.connect", "long.line", "long.disconnect"])
    peer.settle()
    plain.got("long.connect")
    plain.replies(type_="long.accept")
    plain.dies()
    peer.says(b"a\n")
    again = App(peer.layer, ["long.connect", "long.line", "long.disconnect"])
    peer.settle()
    assert again.got("long.line")["text"] == "a"
    peer.leaves()
    assert again.got("long.disconnect")["order"] == 2 and again.nothing()


def test_after_all_was_lost_every_connection_is_announced_and_the_old_owner_learns_of_the_new(peer):
    one = Worker(peer, "one")
    first = one.accepts()
    one.leaves()
    peer.exchange.deliver("", Gap(True))
    two = Worker(peer, "two")
    again = two.accepts()
    assert again["resumed"] is True and again["epoch"] == 1
    gone = one.gets("interface.gone")
    assert gone["reply_channel"] == first["reply_channel"]
    peer.says(b"a\n")
    assert two.gets("long.line")["text"] == "a" and one.app.nothing()


def test_after_all_was_lost_a_plain_worker_hears_of_it_and_nothing_waits_for_a_claim(peer):
    plain = App(peer.layer, ["long.connect", "long.line", "long.disconnect"])
    peer.settle()
    plain.got("long.connect")
    plain.replies(type_="long.accept")
    peer.exchange.deliver("", Gap(True))
    peer.settle()
    assert plain.got("long.connect")["resumed"] is True
    peer.waits(120)
    peer.says(b"a\n")
    assert plain.got("long.line")["text"] == "a" and not peer.ended


def test_many_announcements_wait_for_a_full_channel():
    peers = Peer(toy, app=False, capacity=3)
    one = Worker(peers, "one")
    firsts = [one.accepts()]
    for _ in range(10):
        peers.connects()
        firsts.append(one.accepts())
    one.leaves()
    one.app.dies()
    two = Worker(peers, "two")
    taken = set()
    for _ in range(20):
        peers.waits(0.1)
        while not two.app.nothing():
            taken.add(two.accepts()["reply_channel"])
    assert taken == {first["reply_channel"] for first in firsts}


def test_a_worker_lost_in_the_middle_of_the_question(peer):
    one = Worker(peer, "one")
    first = one.gets("long.connect")
    one.claims(first, type_="interface.credit", handled=-1)
    one.app.dies()
    if not peer.layer.tells_lost:
        peer.waits(5)
        peer.says(b"")
        peer.waits(6)
        assert peer.heard() == b"no: NoVerdict\n"
        return
    two = Worker(peer, "two")
    again = two.accepts()
    assert again["epoch"] == 1 and again["deadline"] == first["deadline"] and peer.heard() == b"welcome\n"

"""The bridge under interfaces made for it: one multiplexes, one upgrades, one asks; and under layers that take time."""
from dataclasses import dataclass

import pytest
from twisted.internet.defer import Deferred

from interfaces.bridge import READ_AHEAD
from interfaces.contract import ChannelFull, Closed, Elapsed, HalfClosed, Interface, NoVerdict, ProtocolError
from interfaces.laws import traces
from interfaces.schema import Spelling, key, message
from interfaces.testing import Peer


@message("toy.line", question=True)
class Line:
    """A line."""
    text: str = key("without its end")


@dataclass(frozen=True)
class Said:
    text: str = ""
    stream: str = ""


class LineWire:
    """Lines, `stream:text` where it multiplexes."""
    def __init__(self, streams=False):
        self.streams, self.buffer = streams, b""

    def receive(self, data):
        self.buffer += data
        return b"pong\n" if data == b"ping\n" else b""

    def next_event(self):
        line, found, rest = self.buffer.partition(b"\n")
        if not found:
            return None
        self.buffer = rest
        if line == b"bad":
            raise ProtocolError("a bad line", 7)
        stream, mark, text = line.decode().partition(":")
        return Said(text, stream) if mark and self.streams else Said(line.decode())

    def encode(self, event, stream=None):
        return f"{stream}:{event.text}\n".encode() if self.streams else f"{event.text}\n".encode()

    def unread(self):
        data, self.buffer = self.buffer, b""
        return data


def toy(session, name="toy", streams=False, role="listen"):
    return Interface(name, "A toy.", lambda options: LineWire(streams), session, (Line,),
                     (Spelling("toy.said", Said, {"text": "text"}, classic=True),), role=role)


async def echo(link, options, shared):
    while not isinstance(item := await link.event(), Closed):
        link.write(Said(item.text.upper()))


def test_a_story_hears_lines_and_answers_them():
    peer = Peer(toy(echo))
    peer.says(b"one\ntw")
    peer.says(b"o\n")
    assert peer.heard() == b"ONE\nTWO\n"
    peer.leaves()
    assert not traces(peer)


def test_what_the_wire_owes_goes_out_at_once_even_if_the_story_is_busy():
    async def busy(link, options, shared):
        await link.reply()
    peer = Peer(toy(busy))
    peer.says(b"ping\n")
    assert peer.heard() == b"pong\n"


def test_each_stream_of_a_multiplexed_wire_has_a_story_of_its_own():
    async def story(link, options, shared):
        await link.send(Line((await link.event()).text))
        match await link.reply(5.0):
            case Said(text=text):
                link.write(Said(text))
            case Elapsed():
                link.write(Said("late"))
    peer = Peer(toy(story, streams=True))
    peer.says(b"a:1\nb:2\n")
    first = peer.app.got()
    second = peer.app.got()
    assert first["text"] == "1" and second["text"] == "2" and first["reply_channel"] != second["reply_channel"]
    peer.app.replies(to=second["reply_channel"], text="two")
    assert peer.heard() == b"b:two\n" and not peer.ended
    peer.waits(2)
    peer.says(b"c:3\n")
    peer.waits(3.1)
    assert peer.heard() == b"a:late\n", "the timer serves the earliest deadline of all streams"
    peer.waits(2)
    assert peer.heard() == b"c:late\n" and not peer.ended
    peer.leaves()
    peer.app.got()
    assert not traces(peer)


def test_become_hands_over_the_event_and_the_unread_bytes():
    async def door(link, options, shared):
        link.become("inner", await link.event())
    async def inner(link, options, shared):
        while not isinstance(item := await link.event(), Closed):
            link.write(Said(f"inner {item.text}"))
    peer = Peer(toy(door), siblings=[toy(inner, "inner", role="upgrade")])
    peer.says(b"hello\nmore\n")
    peer.says(b"later\n")
    assert peer.heard() == b"inner hello\ninner more\ninner later\n"
    peer.leaves()
    assert not traces(peer)


def test_a_busy_story_stops_the_reading_and_takes_it_up_again():
    async def slow(link, options, shared):
        while not isinstance(await link.event(), Closed):
            await link.reply()
    peer = Peer(toy(slow))
    peer.says(b"x\n" * READ_AHEAD)
    assert not peer.connection.reading and peer.connection.unpulled <= 2 * READ_AHEAD
    peer.layer.send(peer.connection.links[None].reply_channel, {"text": ""})
    peer.settle()
    assert not peer.connection.reading, "there is still much to pull"


def test_a_protocol_error_is_raised_where_the_story_waits():
    async def story(link, options, shared):
        try:
            await link.event()
        except ProtocolError as error:
            link.write(Said(f"{error.code} {error.reason}"))
    peer = Peer(toy(story))
    peer.says(b"bad\n")
    assert peer.heard() == b"7 a bad line\n" and peer.ended


def test_a_story_that_fails_is_logged_and_takes_only_its_own_connection_with_it():
    async def story(link, options, shared):
        await link.event()
        raise KeyError("oops")
    peer = Peer(toy(story))
    peer.says(b"x\n")
    assert peer.ended and len(peer.log.faults) == 1 and "oops" in peer.log.faults[0] and not traces(peer)


def test_half_closed_comes_once_after_what_was_said():
    heard = []
    async def story(link, options, shared):
        while not isinstance(item := await link.event(), Closed):
            heard.append(item)
    peer = Peer(toy(story))
    peer.says(b"one\n")
    peer.shuts()
    peer.waits(5)
    peer.leaves()
    assert heard == [Said("one"), HalfClosed()] and not traces(peer)


async def asking(link, options, shared):
    item = await link.event()
    try:
        verdict = await link.ask(Line(item.text), 10.0)
        link.write(verdict)
    except NoVerdict:
        link.write(Said("no verdict"))
    except ChannelFull:
        link.write(Said("full"))


def test_a_question_gets_its_verdict():
    peer = Peer(toy(asking), adopts=True)
    peer.says(b"may I\n")
    got = peer.app.got()
    assert got["text"] == "may I" and got["deadline"] == peer.clock.seconds() + 10.0
    peer.app.replies(text="yes")
    assert peer.heard() == b"yes\n"


@pytest.mark.parametrize("happens", [lambda peer: peer.waits(10.1), lambda peer: peer.app.dies(),
                                     lambda peer: peer.app.replies(text=1)])
def test_a_question_without_a_verdict_fails_closed(happens):
    peer = Peer(toy(asking), adopts=True)
    peer.says(b"may I\n")
    peer.app.got()
    happens(peer)
    assert peer.heard() == b"no verdict\n"


def test_a_question_that_nobody_listens_to_is_refused_at_once():
    peer = Peer(toy(asking), app=False)
    peer.says(b"may I\n")
    peer.waits(1.9)
    assert peer.heard() == b"", "a worker may be about to start"
    peer.waits(0.2)
    assert peer.heard() == b"no verdict\n"
    peer.connects()
    peer.says(b"may I\n")
    assert peer.heard() == b"no verdict\n" and peer.layer.statistics()["waiting"] == {"toy.line": 1}


class SlowLayer:
    """A layer whose sends take a round trip, or fail after one."""
    def __init__(self, layer):
        self.layer, self.sent = layer, []

    def __getattr__(self, name):
        return getattr(self.layer, name)

    def send(self, channel, message):
        self.sent.append((Deferred(), channel, message))
        return self.sent[-1][0]


def test_a_story_waits_for_the_round_trip_of_a_send_and_hears_then_what_came_meanwhile():
    peer = Peer(toy(asking))
    peer.exchange.layer = slow = SlowLayer(peer.layer)
    peer.says(b"may I\n")
    done, channel, sent = slow.sent.pop()
    peer.layer.send(sent["reply_channel"], {"text": "early"})
    peer.settle()
    assert peer.heard() == b""
    done.callback(None)
    assert peer.heard() == b"early\n"


def test_a_send_that_fails_after_its_round_trip_raises_in_the_story():
    peer = Peer(toy(asking))
    peer.exchange.layer = slow = SlowLayer(peer.layer)
    peer.says(b"may I\n")
    slow.sent.pop()[0].errback(ChannelFull())
    assert peer.heard() == b"full\n"


def test_a_connection_that_ends_during_a_round_trip_leaves_nothing_behind():
    peer = Peer(toy(asking))
    peer.exchange.layer = slow = SlowLayer(peer.layer)
    peer.says(b"may I\n")
    peer.leaves()
    slow.sent.pop()[0].callback(None)
    peer.waits(11)
    assert not traces(peer) and not peer.log.faults


def test_patience_tries_a_full_channel_again_until_it_ends():
    async def story(link, options, shared):
        item = await link.event()
        try:
            await link.send(Line(item.text), patience=2.0)
            link.write(Said("sent"))
        except ChannelFull:
            link.write(Said("full"))
        await link.event()
    peer = Peer(toy(story), app=False, capacity=1)
    peer.layer.send("toy.line", {"text": "before"})
    peer.says(b"x\n")
    peer.waits(1.0)
    assert peer.heard() == b""
    peer.layer.delete("toy.line")
    peer.waits(0.3)
    assert peer.heard() == b"sent\n"
    peer.connects()
    peer.says(b"y\n")
    for _ in range(30):
        peer.waits(0.1)
    assert peer.heard() == b"full\n"


def test_one_timer_is_armed_once_for_many_waits():
    async def story(link, options, shared):
        while not isinstance(await link.event(60.0), Closed):
            pass
    peer = Peer(toy(story))
    timer = peer.connection.timer
    for _ in range(100):
        peer.says(b"x\n")
        peer.waits(0.1)
    assert peer.connection.timer is timer and len(peer.clock.getDelayedCalls()) == 1


def test_a_peer_that_does_not_take_the_end_is_cut():
    async def story(link, options, shared):
        link.write(Said("x" * 200_000))
        link.close("enough")
    peer = Peer(toy(story))
    peer.transport.peer_reads = False
    peer.connects()
    assert peer.transport.closing
    peer.waits(31)
    assert peer.transport.gone and not traces(peer)


def test_a_timer_of_an_earlier_wait_does_not_cut_the_end_short():
    async def story(link, options, shared):
        await link.event(3.0)
        link.write(Said("x" * 200_000))
        link.close("enough")
    peer = Peer(toy(story))
    peer.stops_reading()
    peer.waits(2)
    peer.says(b"go\n")
    peer.waits(2)
    assert not peer.transport.gone
    assert peer.heard().endswith(b"x\n") and peer.transport.gone and not traces(peer)

"""The example interface, from its client's and its application's side."""
import re
from pathlib import Path

import pytest
from finger import FingerWire, Options, Query, Reply, finger

from interfaces import laws
from interfaces.contract import ProtocolError
from interfaces.testing import Peer

# What clients send. RFC 1288 2.3: the grammar; 3.2.1: forwarding; 3.3: what may reach a terminal
GOOD = (
    (b"\r\n", Query("", False)),
    (b"ann\r\n", Query("ann", False)),
    (b"ann\n", Query("ann", False)),
    (b"ann b\r\n", Query("ann b", False)),
    (b"/W\r\n", Query("", True)),
    (b"/W ann\r\n", Query("ann", True)),
    (b"/w  ann \r\n", Query("ann", True)),
    (b"/Want\r\n", Query("/Want", False)),
    (b"x" * 511 + b"\r\n", Query("x" * 511, False)),
)
BAD = (
    b"ann@host\r\n", b"@\r\n", b"/W ann@a@b\r\n", b"GET http://a:b@c/ HTTP/1.1\r\nHost: c\r\n\r\n",
    b"\x1b[2J\r\n", b"a\0b\r\n", "ünï\r\n".encode(), b"\xff\r\n", b"a\x7f\r\n",
    b"x" * 513, b"x" * 70_000 + b"\r\n",
)
CORPUS = (*(data for data, _ in GOOD), *BAD)


@pytest.mark.parametrize(("data", "query"), GOOD)
def test_a_line_is_a_query(data, query):
    wire = FingerWire(Options())
    wire.receive(data)
    assert wire.next_event() == query
    assert wire.next_event() is None and wire.unread() == b""


@pytest.mark.parametrize("data", BAD)
def test_a_bad_line_is_refused_and_stays_refused(data):
    wire = FingerWire(Options())
    wire.receive(data)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            wire.next_event()


def test_what_follows_the_line_is_kept():
    wire = FingerWire(Options())
    wire.receive(b"ann\r\nbob")
    assert wire.next_event().user == "ann" and wire.unread() == b"bob" and wire.unread() == b""


@pytest.mark.parametrize(("text", "heard"), [
    ("one\ntwo\r\n\nfour", b"one\r\ntwo\r\n\r\nfour\r\n"),
    ("a\rb", b"a\r\nb\r\n"),
    ("a\tb", b"a\tb\r\n"),
    ("", b""),
    ("Zoë", "Zoë\r\n".encode()),
    ("\x1b]0;gone\x07 \x9b2J\0", b"]0;gone 2J\r\n"),
    ("a\ud800b", b"ab\r\n"),
    ("\u202etxt", b"txt\r\n"),
])
def test_only_text_reaches_the_terminal(text, heard):
    assert FingerWire(Options()).encode(Reply(text)) == heard


def test_somebody_asks_and_the_application_answers():
    peer = Peer(finger)
    peer.says(b"/W ann\r\n")
    message = peer.app.got("finger.query")
    assert (message["user"], message["verbose"], message["client"]) == ("ann", True, ["192.0.2.7", 4711])
    peer.app.replies(type_="finger.answer", text="Ann\nis here")
    assert peer.heard() == b"Ann\r\nis here\r\n" and peer.ended


def test_a_reply_without_type_and_the_neutral_form_are_answers_too():
    for reply in ({"text": "hello"}, {"type_": "interface.send", "text": "hello", "topic": "ignored"}):
        peer = Peer(finger)
        peer.says(b"\r\n")
        peer.app.got("finger.query")
        peer.app.replies(**reply)
        assert peer.heard() == b"hello\r\n" and peer.ended


def test_who_shuts_after_asking_still_gets_the_answer():
    peer = Peer(finger)
    peer.says(b"ann\r\n")
    peer.shuts()
    peer.app.got("finger.query")
    peer.app.replies(text="here")
    assert peer.heard() == b"here\r\n"


def test_forwarding_is_denied_and_no_worker_hears_of_it():
    peer = Peer(finger)
    peer.says(b"ann@host\r\n")
    assert peer.heard() == b"Finger forwarding service denied.\r\n" and peer.ended
    assert peer.app.nothing()


def test_no_verdict_is_said_so():
    peer = Peer(finger)
    peer.says(b"ann\r\n")
    peer.waits(9.9)
    assert peer.heard() == b"" and not peer.ended
    peer.waits(0.2)
    assert peer.heard() == b"Nobody can say now. Please ask again.\r\n" and peer.ended


def test_a_full_channel_is_said_so():
    peer = Peer(finger, app=False, capacity=1)
    peer.says(b"ann\r\n")
    peer.connects()
    peer.says(b"bob\r\n")
    assert peer.heard() == b"Nobody can say now. Please ask again.\r\n" and peer.ended


def test_who_says_nothing_is_not_waited_for():
    peer = Peer(finger)
    peer.says(b"an")
    peer.waits(30.1)
    assert peer.heard() == b"" and peer.ended and "silent" in peer.log.lines[-1]


def test_who_leaves_or_shuts_before_asking_leaves_nothing_behind():
    for goes in (Peer.leaves, Peer.shuts):
        peer = Peer(finger)
        peer.says(b"an")
        goes(peer)
        peer.waits(0)
        assert peer.app.nothing() and peer.ended and not laws.traces(peer)


def test_the_laws_hold_in_every_storm():
    laws.check(finger, CORPUS, range(1000))


@pytest.mark.parametrize("data", CORPUS)
def test_how_the_bytes_are_cut_changes_nothing(data):
    laws.chunking(finger, data[:2000], lambda message: {"text": "answer"}, seed=1)


def test_what_the_documentation_shows_is_this_file():
    root = Path(__file__).resolve().parent.parent
    source = (root / "examples" / "finger" / "finger.py").read_text()
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "write-a-protocol.md").read_text(), re.DOTALL)
    others = [block for block in blocks if block not in source]
    assert len(blocks) == 9 and [block.split("\n")[0] for block in others] == [
        "class FingerWire:",                                # the wire without its bodies
        "from channels.consumer import AsyncConsumer",      # the worker
        "from interfaces.testing import Peer",              # the tests
        "from interfaces import laws",
    ]

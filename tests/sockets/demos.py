"""`make demo`, and those who visit it."""
import contextlib
import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.sockets.processes import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
SOON = 20.0         # seconds for what takes one at most on an idle machine


class Demo:
    """The demo, in a temporary folder of its own; with `keys` in a terminal."""

    def __init__(self, folder: Path, port: int, *arguments: str, keys=False, **environment):
        self.port, self.folder = port, folder
        self.terminal, stdin = pty.openpty() if keys else (None, subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [sys.executable, "examples/demo.py", "--port", str(port), *arguments], cwd=ROOT, text=True, stdin=stdin,
            env=os.environ | {"TMPDIR": str(folder)} | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if keys:
            os.close(stdin)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self) -> str:
        """The next line that it prints."""
        line = self.process.stdout.readline()
        assert line, self.ends()
        return line

    def is_ready(self) -> str:
        """What it says then. `mqtt` is the port that it has for devices."""
        said = "".join(self.says() for _ in range(3 if self.terminal is None else 4))
        self.mqtt = int(re.search(r"MQTT is at +127\.0\.0\.1:(\d+) ", said)[1])
        return said

    def press(self, key: str):
        os.write(self.terminal, key.encode())

    def children(self) -> dict:
        """The processes it started: what they run -> their id."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
        names = ("twistd", "runworker", "redis-server", "device.py")
        return {name: int(pid) for pid, line in lines.items() for name in names if name in line}

    def ends(self, timeout=30):
        out, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, errors

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.ends()[::2] == (0, "")
        if self.terminal is not None:
            os.close(self.terminal)


@contextlib.contextmanager
def demos():
    """`start(port=None, layer="local", keys=False, mqtt=None, device=True, **environment)`; all are ended, and have left
    nothing behind. `mqtt`: a port; 0 for what the demo chooses."""
    folder = Path(tempfile.mkdtemp())      # not tmp_path: that of a Unix socket has 107 bytes at most

    def start(port=None, layer="local", mqtt=None, device=True, **more):
        options = [] if mqtt == 0 else ["--mqtt-port", str(mqtt or free_port())]
        options += [] if device else ["--no-device"]
        demo = Demo(folder, port or free_port(), "--layer", layer, *options, **more)
        started.callback(demo.close)
        return demo
    with contextlib.ExitStack() as started:
        yield start
    folder.rmdir()      # fails when something is left in it


class Visitor:
    """Somebody with a WebSocket. One that `repeats` does what room.js does: when the worker changes it says again what it has
    not heard yet, since a worker that was killed may have lost it. A line that is known is passed over."""

    def __init__(self, demo: Demo, name: str = "", **headers):
        self.stack = contextlib.ExitStack()
        self.socket = self.stack.enter_context(connect(
            f"{demo.url}/room".replace("http", "ws"), origin=headers.pop("origin", demo.url), additional_headers=headers))
        self.name, self.workers, self.lines, self.unheard, self.present, self.number = name, [], {}, {}, set(), 0
        self.called, self.repeats, self.devices = None, False, {}
        if name:
            self.tells({"name": name})

    def tells(self, message: dict):
        self.socket.send(json.dumps(message))

    def says(self, text: str):
        self.number += 1
        key = f"{self.name}-{self.number}"
        self.unheard[key] = {"text": text, "key": key}
        self.tells(self.unheard[key])

    def hears(self, seconds: float = SOON) -> dict | None:
        """The next message. ConnectionClosed where the socket did not stay."""
        try:
            said = json.loads(self.socket.recv(seconds))
        except TimeoutError:
            return None
        if "worker" in said:
            self.called = said["name"]
            self.workers.append(said["worker"])
            for message in self.unheard.values() if self.repeats else ():
                self.tells(message)
        for line in said.get("lines", ()):
            self.unheard.pop(line["key"], None)
            self.lines[line["id"]] = line["name"], line["text"]
        self.devices |= {device["name"]: device for device in said.get("devices", ())}
        self.present = (set(said.get("present", self.present)) | {said.get("joined")}) - {said.get("left"), None}
        return said

    def hears_until(self, condition):
        while not condition():
            assert self.hears() is not None, f"nothing more: {self.workers} {self.present} {self.unheard} {self.lines}"

    def hears_what_has(self, key: str) -> dict:
        """The next message with this key."""
        while key not in (said := self.hears() or {key: None}):
            pass
        assert said != {key: None}, f"{key} never came"
        return said

    def finds(self) -> set[str]:
        """Who is there now."""
        self.tells({"who": True})
        return set(self.hears_what_has("present")["present"])

    @property
    def texts(self) -> list[str]:
        return [text for _, (_, text) in sorted(self.lines.items())]

    def leaves(self):
        self.stack.close()

    def is_closed(self) -> tuple[int, str]:
        """By the other side: with what."""
        try:
            while self.hears() is not None:
                pass
        except ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason
        raise AssertionError("the connection stays")


class Page:
    """Somebody whose proxy kills WebSockets (docs/fallback.md). `asks` sends a request, `hears` waits for its answer."""

    def __init__(self, demo: Demo):
        self.demo, self.session, self.number, self.seen = demo, "new", 0, 0

    def asks(self, path: str, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.demo.port, timeout=SOON)
        if body is not None:
            headers |= {"Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        return connection

    def hears(self, connection):
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body

    @property
    def path(self) -> str:
        return f"/room?ws-session={self.session}"

    def opens(self):
        answer, _ = self.hears(self.asks(self.path, {}, Origin=self.demo.url))
        assert answer.status == 200
        self.session = answer.getheader("ws-session")

    def tells(self, message: dict):
        self.number += 1
        answer, _ = self.hears(self.asks(self.path, [[self.number, json.dumps(message)]], Origin=self.demo.url))
        assert answer.status == 204

    def polls(self):
        return self.asks(f"{self.path}&ack={self.seen}")

    def polled(self, connection) -> list[dict]:
        answer, body = self.hears(connection)
        assert answer.status == 200
        entries = json.loads(body)
        self.seen = entries[-1][0] if entries else self.seen
        return [json.loads(entry) for _, entry in entries]

    def polls_until(self, found) -> list[dict]:
        """All that it hears until `found(message)`."""
        heard: list[dict] = []
        while not any(map(found, heard)):
            heard += self.polled(self.polls())
        return heard

    def streams(self):
        """Its messages, one after the other."""
        answer = self.asks(self.path, Accept="text/event-stream").getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream"
        for line in answer:
            if line.startswith(b"data: ") and line != b"data: 0\n":      # not that of a ping
                yield json.loads(json.loads(line.removeprefix(b"data: ")))

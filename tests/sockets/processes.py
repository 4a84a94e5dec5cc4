"""Processes with their logs, and a house of them: a real twistd, real stock runworkers, real clients, on loopback."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from redis_server import free_port

SITE = Path(__file__).parent / "site"
TWISTD = Path(sys.executable).parent / "twistd"
SOCKETS = ("websocket.connect", "http.request")


def until(condition, what: str, seconds: float = 15.0):
    """Wait for something that another process does. The value of the condition, or a failure that says what never came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)        # another process's time can't be injected
    raise AssertionError(f"{what}: did not happen in {seconds} s")


class Program:
    """A process with its log."""

    def __init__(self, name, arguments, log: Path, **options):
        self.name, self.log = name, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **options)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, pattern: str, seconds: float = 15.0):
        """Wait for a line in its log."""
        def look():
            assert re.search(pattern, self.text) or self.process.poll() is None, f"{self.name} ended:\n{self.text[-3000:]}"
            return re.search(pattern, self.text)
        return until(look, f"{self.name} says {pattern!r}, but only:\n{self.text[-2000:]}", seconds)

    def ends(self, number=signal.SIGTERM, seconds: float = 15.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def memory(self, peak=False) -> int:
        """Resident bytes, now or at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", status)[1]) * 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class House:
    """One hub, and whatever is started on it."""

    def __init__(self, folder: Path):
        self.folder, self.port, self.programs = folder, free_port(), []
        self.trace = folder / "trace"
        self.environment = dict(
            os.environ, CHANNELS_INTERFACES_SOCKET=str(folder / "hub.sock"), SITE_DB=str(folder / "site.sqlite3"),
            SITE_TRACE=str(self.trace), PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self, name, arguments, **more):
        log = self.folder / f"{name}-{len(self.programs)}.log"
        program = Program(name, [str(argument) for argument in arguments], log, env={**self.environment, **more},
                          cwd=SITE)
        self.programs.append(program)
        return program

    def twistd(self, *arguments, listen=True, **more):
        """The real twistd in the foreground, listening when this returns."""
        http = ["--http", f"tcp:{self.port}:interface=127.0.0.1"] if listen else []
        server = self.start("twistd", [TWISTD, "-n", "--pidfile=", "channels-interfaces", *http, *arguments], **more)
        server.says("Starting factory|starting on|reactor class", 20)
        until(lambda: not listen or self.open(), "the port is open")
        return server

    def broker(self, *arguments, endpoint="tcp:{}", **more):
        """The real twistd, for devices too: on `self.mqtt`."""
        self.mqtt = free_port()
        server = self.twistd("--mqtt", f"{endpoint.format(self.mqtt)}:interface=127.0.0.1", *arguments, **more)
        until(lambda: self.open(self.mqtt), "the port for devices is open")
        return server

    def open(self, port=None) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port or self.port)) == 0

    def worker(self, application="wsgi", channels=("http.request",), server=None, **more):
        """A stock runworker; with `server` given, known to its hub when this returns."""
        worker = self.start("worker", [sys.executable, "manage.py", "runworker", *channels], SITE_APP=application, **more)
        if server is not None:
            server.says(rf"\(pid {worker.process.pid}\) is here", 20)
        return worker

    def sockets(self, server, application="sockets", **more):
        """A worker for WebSockets too."""
        return self.worker(application, SOCKETS if application == "sockets" else SOCKETS[:1], server=server, **more)

    def devices(self, server):
        """A worker for MQTT."""
        return self.worker("devices", ("mqtt.connect",), server=server)

    @property
    def noted(self) -> list[str]:
        """Lines that consumers have written."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def manage(self, *arguments) -> str:
        done = subprocess.run([sys.executable, "manage.py", *arguments], cwd=SITE, env=self.environment, timeout=60,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, path, *arguments, seconds=20, url=None) -> str:
        """What curl prints: the body, or with -i the head too. It must succeed."""
        done = subprocess.run(["curl", "-sS", "--max-time", str(seconds), *arguments, (url or self.url) + path],
                              capture_output=True, timeout=seconds + 5)
        assert done.returncode == 0, f"curl: {done.stderr.decode()}"
        return done.stdout.decode()

    def status(self, path, *arguments, seconds=20) -> int:
        return int(self.curl(path, "-o", os.devnull, "-w", "%{http_code}", *arguments, seconds=seconds))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def close(self):
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait(10)

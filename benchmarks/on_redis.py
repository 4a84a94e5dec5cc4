"""Servers and workers on a Redis of their own: ours, the stock ones of both eras, and what Redis is asked meanwhile.

The environment of the workers of 2017 is that of the tests (tests/workers/environments.py), made once and cached."""
import re
import secrets
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from processes import ROOT, Failed, House

sys.path.append(str(ROOT / "tests" / "workers"))        # as processes.py does with the examples

from environments import CLASSIC, Unavailable
from redis_server import NoRedis, RedisServer, find

LAYERS = {"ours": "interfaces.worker.layers.RedisChannelLayer", "stock": "channels_redis.core.RedisChannelLayer"}
Told = list[tuple[str, str, bytes]]         # (client, command, the line) as MONITOR tells them
CAPACITY = 20_000       # of every channel, on both sides: above whatever these loads leave waiting, so nothing is refused
READER = "channels-interfaces"      # how the server's own reader is named in CLIENT LIST (layers/redis_shard.py)
CLASSICS = ("django", "channels", "asgi_redis", "daphne")
PATIENCE = 20.0         # seconds for Redis to tell what it was asked, a guess


def missing() -> str:
    """A sentence, where there is no redis-server."""
    try:
        find()
    except NoRedis as error:
        return str(error)
    return ""


def prepare() -> bool:
    """Make the environment of the classic workers. False, and a sentence, where that can't be done."""
    try:
        if not (CLASSIC.folder / "ready").exists():
            print("installing the workers of 2017 (once) ...", file=sys.stderr, flush=True)
        CLASSIC.python()
    except Unavailable as error:
        print(f"the classic rows are left out: {error}", file=sys.stderr)
        return False
    return True


def redis(house: House) -> RedisServer:
    """A new one, empty; it ends with the house. Its CPU and memory count as `redis`."""
    try:
        server = house.lasting.enter_context(RedisServer())
    except NoRedis as error:
        raise Failed(str(error)) from None
    house.programs.append(("redis", server.process, server.folder / "log"))
    house.environment |= {"SITE_REDIS": server.url, "SITE_CAPACITY": str(CAPACITY)}
    return server


def interfaces(house: House, worker: str, count: int, *options, layer: str = "ours") -> RedisServer:
    """Our server, and `count` stock runworkers of Channels 4 on this layer (of LAYERS)."""
    server = redis(house)
    serve(house, server, "channels_redis", *options)
    for _ in range(count):
        house.worker(worker, SITE_LAYER=LAYERS[layer])
    ready(house, server, count)
    return server


def classic(house: House, count: int):
    """Our server, and `count` stock runworkers of Channels 1.1."""
    server = redis(house)
    serve(house, server, "asgi_redis")
    workers(house, server, count)


def daphne(house: House, count: int):
    """Daphne 1.4 in our server's place. It asks Redis every 50 ms: asgi_redis blocks only if txredisapi is installed, which
    neither of them requires."""
    server = redis(house)
    program = Path(CLASSIC.python()).with_name("daphne")
    house.start("server", [program, "-v", "0", "-b", "127.0.0.1", "-p", house.port, "asgi_classic:channel_layer"],
                PYTHONPATH="")
    house.until(house.listening, "Daphne listens")
    workers(house, server, count)


def serve(house: House, server: RedisServer, form: str, *options):
    house.serve("--layer", f"{server.url}?format={form}&capacity={CAPACITY}", *options)
    house.until(lambda: any(f" name={READER} " in line for line in clients(server)), "the server reads from Redis")


def workers(house: House, server: RedisServer, count: int):
    """Nothing of ours is in their path."""
    for _ in range(count):
        house.start("worker", [CLASSIC.python(), "manage.py", "runworker", "-v", "0"], PYTHONPATH="",
                    DJANGO_SETTINGS_MODULE="settings_classic")
    ready(house, server, count)


def ready(house: House, server: RedisServer, count: int):
    """Each waits in a blocking pop; so does our server, whose reader has a name."""
    house.until(lambda: sum(" flags=b " in line and " name= " in line for line in clients(server)) == count,
                f"{count} workers wait for requests")


def clients(server: RedisServer) -> list[str]:
    return server("CLIENT", "LIST").decode().splitlines()


def versions(with_classic: bool) -> list[str]:
    """`name version` of what only these rows have."""
    said = subprocess.run([find(), "--version"], capture_output=True, text=True, check=True).stdout
    found = [f"redis-server {re.search(r'v=([0-9.]+)', said)[1]}"]
    found += [f"{name} {version(name)}" for name in ("channels_redis", "redis", "hiredis")]
    if with_classic:
        pinned = dict(name.split("==") for name in CLASSIC.requirements if "==" in name)
        found.append("of 2017: " + " ".join(f"{name} {pinned[name]}" for name in CLASSICS))
    return found


class Monitor:
    """All commands that Redis is given from now on (MONITOR). What scripts do inside Redis is left out: nobody waits for
    it. A context manager."""

    def __init__(self, server: RedisServer):
        self.server, self.sock = server, socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(server.socket)
        self.sock.sendall(b"MONITOR\r\n")
        self.lines = self.sock.makefile("rb")
        if self.lines.readline() != b"+OK\r\n":
            raise Failed("Redis doesn't tell its commands")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.sock.close()

    def told(self) -> Told:
        """Each so far, in the order they were carried out."""
        end = secrets.token_hex(8).encode()
        self.server("ECHO", end)
        found = []
        for line in self.lines:
            if end in line:
                return found
            if said := re.match(rb'\+[\d.]+ \[\d+ (\S+)\] "(\w+)"', line):      # of a script: [0 lua]
                client, command = (part.decode() for part in said.groups())
                if client != "lua":
                    found.append((client, command.upper(), line))
        raise Failed("Redis stopped telling its commands")


def place(told: Told, channel: bytes) -> int:
    """Of the one message to this channel."""
    found = [index for index, (_, _, line) in enumerate(told) if b'"asgi%b"' % channel in line]
    if len(found) != 1:
        raise Failed(f"Redis saw {len(found)} messages to {channel.decode()}, not one")
    return found[0]


def between(told: Told, first: bytes, last: bytes) -> list[str]:
    """The commands that the client which sent to the channel `first` gave after that and before it sent to `last`."""
    begin, end = place(told, first), place(told, last)
    if told[begin][0] != told[end][0]:
        raise Failed("the marks came from two connections, so what lies between them is not all of it")
    return [command for client, command, _ in told[begin + 1:end] if client == told[begin][0]]


def from_server(server: RedisServer, told: Told, first: bytes) -> list[str]:
    """The commands of our server's reader after the message to the channel `first`."""
    readers = {re.search(r" addr=(\S+)", line)[1] for line in clients(server) if f" name={READER} " in line}
    return [command for client, command, _ in told[place(told, first) + 1:] if client in readers]

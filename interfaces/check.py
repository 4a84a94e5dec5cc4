"""`twistd channels-interfaces --check`: says in words what is wrong with the layers, a line for each finding.

It runs in the reactor that twistd would run, before twistd becomes a daemon. check_redis.py has what only Redis needs.
"""
import os
import secrets
import socket
import statistics
import time
from typing import NamedTuple

from twisted.internet import defer, task

from interfaces.contract import ChannelFull
from interfaces.layers import wire_local as wire
from interfaces.layers.configured import Configured
from interfaces.layers.redis_settings import RedisSettings

TRIPS = 20                  # of which the median is told
PATIENCE = 5.0              # seconds for one answer: a guess
LIMIT = 30.0                # seconds for a layer in all: a guess
SAMPLE = {"type": "interface.check", "text": "\u00e9", "bytes": b"\x00\xff", "list": [1, None, True, 1.5]}


class Finding(NamedTuple):
    wrong: bool
    text: str


def ok(text: str) -> Finding:
    return Finding(False, text)


def wrong(text: str) -> Finding:
    return Finding(True, text)


def trips(seconds: list[float]) -> str:
    return f"a message goes there and back in {statistics.median(seconds) * 1000:.2f} ms (median of {len(seconds)})"


def start_one(channel: str) -> str:
    return f"start one: python manage.py runworker {channel}"


def main(options) -> int:
    """`run` on a reactor of its own. The exit status."""
    status = []

    async def check(reactor):
        status.append(await run(options, reactor))

    try:
        task.react(lambda reactor: defer.ensureDeferred(check(reactor)))
    except SystemExit as end:
        return status[0] if status else end.code


async def run(options, reactor) -> int:
    """Check every layer and print. The exit status: 0 when all is well, 1 when something is wrong."""
    found: list[bool] = []
    limit = LIMIT * len(options.layers)

    def tell(name: str, finding: Finding):
        print((f"{name}: " if name else "") + ("wrong: " if finding.wrong else "ok: ") + finding.text, flush=True)
        found.append(finding.wrong)

    async def check():
        for name in options.layers:
            async for finding in check_layer(options, name, reactor):
                tell(name, finding)

    try:
        await defer.ensureDeferred(check()).addTimeout(limit, reactor)
    except defer.TimeoutError:
        tell("", wrong(f"the check did not end in {limit:.0f} s"))
    return int(any(found) or not found)


async def check_layer(options, name: str, reactor):
    """Gives the findings about one layer, as they come."""
    layer, channels = options.layers[name], questions(options, name)
    settings = layer.native if isinstance(layer, Configured) else layer
    if isinstance(settings, str):
        settings = url_of(settings)
    if isinstance(settings, Finding):
        yield settings
    elif isinstance(settings, RedisSettings):
        from interfaces.check_redis import RedisCheck
        check = RedisCheck(reactor, settings, layer if isinstance(layer, Configured) else None, channels)
        check.formats = [other.wire() for other in map(redis_of, options.layers.values()) if other is not None]
        async for finding in check.findings():
            yield finding
    elif settings is None:
        async for finding in check_foreign(layer, reactor):
            yield finding
    elif settings == "memory:":
        yield (ok("memory: is in the server's own process, where --app runs the application") if options.common["app"]
               else wrong("memory: is in the server's own process: no worker can reach it; use local:, or --app"))
    else:
        for finding in check_local(settings.removeprefix("local:"), channels):
            yield finding
    if not channels:
        yield ok("no interface listens here (--http ...), so it was not checked whether workers do")


def questions(options, layer: str) -> list[str]:
    """The channels that somebody must read, if what listens for this layer is to be answered."""
    names = {name for name, _, chosen in options.listen if chosen == layer}
    return sorted({sent.__message__.channel for name in names for sent in options.interfaces[name].sends
                   if sent.__message__.question})


def redis_of(layer) -> RedisSettings | None:
    settings = layer.native if isinstance(layer, Configured) else url_of(layer)
    return settings if isinstance(settings, RedisSettings) else None


def url_of(url: str) -> str | RedisSettings | Finding:
    """What a layer's URL names."""
    scheme, mark, path = url.partition(":")
    if url == "memory:" or scheme == "local" and mark and path[:1] in ("", "/"):
        return url
    from interfaces.layers import redis_url
    try:
        return redis_url.parse(url).login()
    except ValueError as error:
        return wrong(f"--layer {scheme}: {error}")


# local:, as a worker

class Visitor:
    """A worker that only looks around. Raises OSError, wire.FrameError."""

    def __init__(self, path: str):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.frames, self.heard, self.process = wire.Frames(), [], f"check.{secrets.token_urlsafe(16)}"
        try:
            self.sock.connect(path)
            self.say(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": self.process, "pid": os.getpid()}))
            self.welcome = wire.unpack(self.hear(wire.WELCOME))
        except BaseException:
            self.sock.close()
            raise

    def say(self, kind: int, name: str = "", payload: bytes = b"") -> None:
        self.sock.sendall(wire.frame(kind, name, payload))

    def hear(self, wanted: int) -> bytes:
        """The payload of the next frame of this kind."""
        while True:
            for at, (kind, _, payload) in enumerate(self.heard):
                if kind == wanted:
                    del self.heard[:at + 1]
                    return payload
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("it closes the connection")
            self.heard = self.frames.feed(data)

    def trip(self, channel: str, number: int) -> float:
        """Seconds from a message's sending to its arrival."""
        asked = time.monotonic()
        self.say(wire.SEND, channel, wire.SEND_HEAD.pack(0, 0, 0) + wire.pack(SAMPLE | {"number": number}))
        arrived = wire.unpack(self.hear(wire.MESSAGE))
        taken = time.monotonic() - asked
        if arrived != SAMPLE | {"number": number}:
            raise wire.FrameError("a message is not what was sent")
        self.say(wire.STARTED, channel, wire.CREDIT.pack(1))
        return taken


def check_local(path: str, channels: list[str]):
    default = not path and not os.environ.get("CHANNELS_INTERFACES_SOCKET")
    path = path or wire.default_path()
    try:
        reason = wire.distrust(path) if default else None
        if reason:
            yield wrong(f"the workers' socket can't be trusted: {reason}")
            return
        visitor = Visitor(path)
    except (FileNotFoundError, NotADirectoryError):
        yield wrong(f"no interface server runs: there is no socket {path}")
    except ConnectionRefusedError:
        yield wrong(f"no interface server runs: one that was killed left the socket {path}")
    except PermissionError:
        yield wrong(f"this user may not open {path}: see --local-mode and --local-group")
    except (OSError, ValueError, wire.FrameError) as error:
        yield wrong(f"what listens on {path} does not answer as an interface server: {error}")
    else:
        try:
            yield from look_around(visitor, path, channels)
        except (OSError, ValueError, wire.FrameError, wire.struct.error) as error:
            yield wrong(f"the interface server at {path} fails: {error}")
        finally:
            visitor.sock.close()


def look_around(visitor: Visitor, path: str, channels: list[str]):
    if "refused" in visitor.welcome:
        yield wrong(f"the interface server at {path} refuses workers: {visitor.welcome['refused']}")
        return
    channel = f"interface.check.{secrets.token_urlsafe(16)}"
    visitor.say(wire.LISTEN, channel, wire.CREDIT.pack(TRIPS))
    yield ok(f"the interface server at {path} answers: " + trips([visitor.trip(channel, n) for n in range(TRIPS)]))
    visitor.say(wire.WITHDRAW, channel)
    visitor.say(wire.STATISTICS)
    figures = wire.unpack(visitor.hear(wire.FIGURES))
    for channel in channels:
        readers = sum(channel in desks for process, desks in figures["readers"].items() if process != visitor.process)
        waiting = figures["waiting"].get(channel, 0)
        waits = f"; {waiting} messages wait" if waiting else ""
        if readers:
            yield ok(f"{readers} {'worker listens' if readers == 1 else 'workers listen'} on {channel}{waits}")
        else:
            yield wrong(f"no worker listens on {channel}{waits}; {start_one(channel)}")


# any other layer, through the server's own side of it

async def check_foreign(configured: Configured, reactor):
    from interfaces.layers.foreign import ForeignLayer, load
    try:
        layer = ForeignLayer(load(configured))
    except ValueError as error:
        yield wrong(str(error))
        return
    try:
        yield await foreign_trips(layer, reactor)
        if configured.backend == "channels.layers.InMemoryChannelLayer":
            yield wrong("InMemoryChannelLayer is in each process by itself: no worker gets what the server sends")
        if "groups" not in getattr(layer.backend, "extensions", ()):
            yield wrong(f"{layer.name} has no groups: nobody can answer held requests together")
        yield ok(f"nobody can ask {layer.name} whether a worker listens")
    except (ChannelFull, ValueError, OSError, defer.TimeoutError) as error:
        yield wrong(f"{configured.backend}: {str(error) or 'it does not answer'}")
    finally:
        await layer.close()


async def foreign_trips(layer, reactor) -> Finding:
    arrived: list[defer.Deferred] = []
    address = await layer.open("interface", lambda connection, message: arrived[-1].callback(message))
    channel, seconds = f"{address.prefix}!{secrets.token_urlsafe(16)}", []
    for number in range(TRIPS):
        arrived.append(defer.Deferred().addTimeout(PATIENCE, reactor))
        asked, sent = time.monotonic(), SAMPLE | {"reply_channel": channel, "number": number}
        await layer.send(channel, sent)
        message = await arrived[-1]
        seconds.append(time.monotonic() - asked)
        if message != sent:
            return wrong(f"{layer.name} does not carry what messages hold, bytes among it: {sent} came back as {message}")
    return ok(f"{layer.name} answers: {trips(seconds)}")

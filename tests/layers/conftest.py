"""The layers under test: each with workers of its kind, on a clock."""
import contextlib

import pytest
from redis_server import NoRedis, RedisServer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from interfaces.contract import ChannelFull, MessageTooLarge
from interfaces.layers import wire_local as wire
from interfaces.layers.local import LocalLayer
from interfaces.layers.local import Worker as HubWorker
from interfaces.layers.memory import MemoryLayer
from tests.layers.real_redis import Client

START = 1_700_000_000.0


class MemoryWorker:
    """A Reader that keeps what it is given."""
    paused, rank = False, 0

    def __init__(self, layer, process):
        self.layer, self.process, self.boxes = layer, process, {}

    def push(self, channel, payload):
        self.boxes.setdefault(channel, []).append(wire.unpack(payload))
        return True

    def push_many(self, channels, payload):
        for channel in channels:
            self.push(channel, payload)
        return 0

    def withdrawn(self, channel):
        self.boxes.setdefault("withdrawn", []).append(channel)

    def got(self, channel):
        return self.boxes.pop(channel, [])

    async def listen(self, channel, n):
        self.layer.credit(self, channel, n)

    async def withdraw(self, channel):
        self.layer.withdraw(self, channel)

    async def started(self, channel, n, owner=""):
        self.layer.started(self, channel, n, owner)

    async def send(self, channel, message, capacity=0, expiry=0.0):
        self.layer.put(channel, wire.pack(message), capacity, expiry)

    async def group_add(self, group, channel, expiry=0):
        self.layer.join(group, channel, expiry)

    async def group_discard(self, group, channel):
        self.layer.groups.discard(group, channel)

    async def group_send(self, group, message):
        self.layer.spread(group, wire.pack(message))

    async def flush(self):
        self.layer.clear()

    async def die(self):
        self.layer.detach(self)


class MemoryHarness:
    credit = expiries = True

    def __init__(self):
        self.clock = Clock()
        self.clock.advance(START)

    async def make(self, **limits):
        self.layer = MemoryLayer(self.clock, **limits)
        return self.layer

    async def worker(self, name):
        worker = MemoryWorker(self.layer, f"specific.{name}")
        self.layer.attach(worker)
        return worker

    async def advance(self, seconds):
        self.clock.advance(seconds)

    async def settle(self):
        self.clock.advance(0)

    def now(self):
        return self.clock.seconds()


class Pipe(StringTransport):
    """A StringTransport that ends at once when it is aborted."""

    def abortConnection(self):
        super().abortConnection()
        self.protocol.connectionLost(None)


ERRORS = {wire.FULL: ChannelFull, wire.TOO_LARGE: MessageTooLarge, wire.BAD_NAME: ValueError}


class FrameWorker(MemoryWorker):
    """Speaks frames with the hub over a transport in memory."""

    def __init__(self, layer, process):
        super().__init__(layer, process)
        self.protocol, self.transport, self.frames, self.results = HubWorker(layer), Pipe(), wire.Frames(), {}
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self.number = 0
        self.say(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": process, "pid": 1}))
        self.read()

    def say(self, kind, name, payload=b""):
        self.protocol.dataReceived(wire.frame(kind, name, payload))

    def ask(self, kind, name, payload):
        self.say(kind, name, payload)
        self.read()
        error = ERRORS.get(self.results.pop(self.number))
        if error is not None:
            raise error(name)

    def read(self):
        data = self.transport.value()
        self.transport.clear()
        for kind, name, payload in self.frames.feed(data):
            if kind == wire.MESSAGE:
                self.push(name, payload)
            elif kind == wire.MESSAGES:
                unpacker = wire.msgpack.Unpacker()
                unpacker.feed(payload)
                channels = unpacker.unpack()
                self.push_many(channels, payload[unpacker.tell():])
            elif kind == wire.WITHDRAWN:
                self.withdrawn(name)
            elif kind == wire.RESULT:
                number, code = wire.RESULT_HEAD.unpack(payload)
                self.results[number] = code
            else:
                assert kind == wire.WELCOME
                self.welcome = wire.unpack(payload)

    def got(self, channel):
        self.read()
        return super().got(channel)

    def head(self, capacity=0, expiry=0.0):
        self.number += 1
        return wire.SEND_HEAD.pack(self.number, capacity, int(expiry * 1000))

    async def listen(self, channel, n):
        self.say(wire.LISTEN, channel, wire.CREDIT.pack(n))

    async def withdraw(self, channel):
        self.say(wire.WITHDRAW, channel)

    async def started(self, channel, n, owner=""):
        self.say(wire.STARTED, channel, wire.CREDIT.pack(n) + owner.encode())

    async def send(self, channel, message, capacity=0, expiry=0.0):
        self.ask(wire.SEND, channel, self.head(capacity, expiry) + wire.pack(message))

    async def group_add(self, group, channel, expiry=0):
        self.number += 1
        self.ask(wire.GROUP_ADD, group, wire.GROUP_HEAD.pack(self.number, expiry) + channel.encode())

    async def group_discard(self, group, channel):
        self.number += 1
        self.ask(wire.GROUP_DISCARD, group, wire.GROUP_HEAD.pack(self.number, 0) + channel.encode())

    async def group_send(self, group, message):
        self.ask(wire.GROUP_SEND, group, self.head() + wire.pack(message))

    async def flush(self):
        self.number += 1
        self.ask(wire.FLUSH, "", wire.GROUP_HEAD.pack(self.number, 0))

    async def die(self):
        self.protocol.connectionLost(None)


class LocalHarness(MemoryHarness):
    async def make(self, **limits):
        self.layer = LocalLayer(self.clock, None, **limits)
        return self.layer

    async def worker(self, name):
        return FrameWorker(self.layer, f"specific.{name}")


HARNESSES = {"memory": MemoryHarness, "local": LocalHarness}


@pytest.fixture(params=HARNESSES)
def harness(request):
    return HARNESSES[request.param]()


@pytest.fixture
def frames():
    """A hub without a socket whose workers speak frames."""
    return LocalHarness()


@pytest.fixture(scope="module")
def server():
    """One redis-server for a file of tests: whoever uses it empties it first."""
    try:
        with RedisServer() as server:
            yield server
    except NoRedis as error:
        pytest.skip(str(error))


@pytest.fixture
def connect(server):
    """`connect()` gives another client of the emptied server."""
    server("FLUSHALL")
    with contextlib.ExitStack() as clients:
        yield lambda: clients.enter_context(contextlib.closing(Client(server.socket)))


@pytest.fixture
def redis(connect):
    return connect()

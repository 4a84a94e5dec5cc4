"""Redis layers under test, on the real reactor and a real redis-server; and a fake one that answers what a test wants."""
import contextlib
import gc
from dataclasses import replace

import hiredis
from twisted.internet import defer, protocol, reactor
from twisted.logger import formatEvent, globalLogPublisher

from interfaces.contract import ChannelFull, MessageTooLarge
from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse
from tests.layers.real_redis import Client

SECONDS = 20        # after which a test gives up: a slow machine, not a slow layer


async def turns(count=1):
    for _ in range(count):
        turn = defer.Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn


async def until(condition, what: str):
    """The reactor runs until the condition holds."""
    end = reactor.seconds() + SECONDS
    while not condition():
        assert reactor.seconds() < end, f"waited in vain: {what}"
        pause = defer.Deferred()
        reactor.callLater(0.005, pause.callback, None)
        await pause


async def failure_of(sending) -> Exception | None:
    """What `sending()` raises, at the call or from its awaitable."""
    try:
        await sending()
    except Exception as error:
        return error
    return None


@contextlib.contextmanager
def lines():
    """What our layers log meanwhile. Nobody may log a failure: neither a traceback nor a Deferred that nobody heard."""
    found, failures = [], []

    def observe(event):
        if "log_failure" in event:
            failures.append(formatEvent(event) + event["log_failure"].getTraceback())
        elif event.get("log_namespace", "").startswith("interfaces"):
            found.append(formatEvent(event))
    globalLogPublisher.addObserver(observe)
    try:
        yield found
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observe)
    assert failures == []


class RedisWorker:
    """A worker process that speaks the format to Redis itself, one command at a time."""

    def __init__(self, harness, process):
        self.harness, self.process, self.redis, self.credit = harness, process, harness.redis, {}
        self.wire = replace(harness.layer.wire)

    def got(self, channel):
        room = self.credit.get(channel, 1000)
        batch = self.wire.taken(self.redis.run(self.wire.take([channel], [room])), [channel])
        found = []
        for _, value in batch.found:
            message, names = self.wire.decode(value, self.wire.non_local(channel), batch.time)
            if message.get("deadline", float("inf")) > self.harness.now():
                found += [(name, message) for name in names]
        self.credit[channel] = room - len(found)
        mine = [message for name, message in found if name == channel]
        self.kept = getattr(self, "kept", []) + [pair for pair in found if pair[0] != channel]
        mine += [message for name, message in self.kept if name == channel]
        self.kept = [pair for pair in self.kept if pair[0] != channel]
        return mine

    async def listen(self, channel, n):
        self.credit[channel] = self.credit.get(channel, 0) + n

    async def started(self, channel, n, owner=""): ...

    async def send(self, channel, message, capacity=0, expiry=0.0):
        wire = replace(self.wire, channel_capacity={channel: capacity}) if capacity else self.wire
        if wire.sent(self.redis.run(wire.send(channel, self.packed(message), self.redis.now()))).skipped:
            raise ChannelFull(channel)

    def packed(self, message):
        body = self.wire.pack(message)
        if len(body) > self.harness.layer.max_message:
            raise MessageTooLarge
        return body

    async def group_add(self, group, channel, expiry=0):
        self.redis.run(self.wire.group_add(group, channel))

    async def group_discard(self, group, channel):
        self.redis(*self.wire.group_discard(group, channel))

    async def group_send(self, group, message):
        names = self.wire.named(self.redis.run(self.wire.members(group)))
        for _, call in self.wire.group_send(names, self.packed(message), self.redis.now()):
            self.redis.run(call)

    async def flush(self):
        for key in self.wire.ours(self.redis("KEYS", "*")):
            self.redis("UNLINK", key)


class RedisHarness:
    """The clock of a real server can't be set: `advance` makes all that it holds older."""
    credit = expiries = False

    def __init__(self, server, form, more=""):
        self.server, self.url, self.older = server, f"{server.url}?format={form}{more}", 0.0
        self.redis = Client(server.socket)
        self.redis("FLUSHALL")

    async def make(self, capacity=None, expiry=None, group_expiry=None, **limits):
        options = {"capacity": capacity, "expiry": expiry, "group_expiry": group_expiry}
        settings = parse(self.url)
        settings = replace(settings, options={**settings.options, **{k: v for k, v in options.items() if v is not None}})
        self.layer = RedisLayer(reactor, settings, **limits)
        return self.layer

    async def worker(self, name):
        return RedisWorker(self, f"specific.{name}")

    async def advance(self, seconds):
        await self.settle()
        self.older += seconds
        for key in self.redis("KEYS", "*"):
            if self.redis("TYPE", key) == b"zset":
                pairs = self.redis("ZRANGE", key, 0, -1, "WITHSCORES")
                for member, score in zip(pairs[::2], pairs[1::2], strict=True):
                    self.redis("ZADD", key, repr(float(score) - seconds), member)
            left = self.redis("PTTL", key)
            if left >= 0:
                self.redis("PEXPIRE", key, max(0, left - int(seconds * 1000)))

    async def settle(self):
        """Twice, as an answer of the server may still be between the two."""
        for _ in range(2):
            while not all([await shard.execute("PING") for shard in self.layer.shards]) or not self.quiet():
                await turns()
            await turns(2)

    def quiet(self):
        for address in self.layer.addresses:
            if self.redis("EXISTS", self.layer.wire.key(address.box)):
                return False
            if not all(reader.waiting for reader in address.readers):
                return False
        return True

    def now(self):
        return self.redis.now() + self.older

    async def close(self):
        if hasattr(self, "layer"):
            await self.layer.close()
        self.redis.close()
        assert ours_waiting() == []


def ours_waiting():
    """Timers that a layer left."""
    return [call for call in reactor.getDelayedCalls() if "redis" in getattr(call.func, "__module__", "")]


class Fake(protocol.Protocol):
    """`answer(command)` gives bytes, or None: no answer, and so none to what follows."""
    stuck = False

    def __init__(self, answer):
        self.answer, self.parser = answer, hiredis.Reader()

    def dataReceived(self, data):
        self.parser.feed(data)
        while (command := self.parser.gets()) is not False:
            reply = self.answer(command)
            self.stuck = self.stuck or reply is None
            if not self.stuck:
                self.transport.write(reply)


HEALTHY = {b"SCRIPT": b"+OK\r\n", b"TIME": b"*2\r\n$10\r\n1795238785\r\n$1\r\n0\r\n", b"INFO": b"$0\r\n\r\n",
           b"ZADD": b":0\r\n", b"EXPIRE": b":1\r\n", b"UNLINK": b":1\r\n", b"AUTH": b"+OK\r\n", b"CLIENT": b"+OK\r\n",
           b"EVALSHA": b"*2\r\n:1795238785000000\r\n:0\r\n"}


@contextlib.asynccontextmanager
async def fake(**replies):
    """A server that is well, but for these: `fake(EVALSHA=b"-OOM\\r\\n")`. Gives its port and the dict of its answers."""
    answers = {**HEALTHY, **{name.encode(): reply for name, reply in replies.items()}}
    commands = []

    def answer(command):
        commands.append(command)
        reply = answers.get(command[0], answers.get(b"ALL"))
        return reply(command) if callable(reply) else reply
    factory = protocol.Factory()
    factory.buildProtocol = lambda address: Fake(answer)
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield port.getHost().port, answers, commands
    finally:
        await port.stopListening()

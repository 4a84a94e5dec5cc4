"""The box of what several servers share, on a real redis-server: nothing that was taken from it is lost with its process."""
import pytest_twisted
from twisted.internet.defer import Deferred, succeed

from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse
from twisted.internet import reactor
from tests.layers.real_redis import Client
from tests.layers.redis_layers import lines, until


class Box:
    """Of a server of its own; what it heard is settled when the test says so."""

    def __init__(self, url):
        self.layer, self.heard, self.waiting = RedisLayer(reactor, parse(url)), [], []
        self.address = self.layer.storage.open(self.hears, self.settled)
        self.channel = f"{self.address.prefix}!desk"

    def hears(self, name, item):
        if name:
            self.heard.append((name, item["n"]))

    def settled(self):
        if self.waiting is None:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def settles(self):
        waiting, self.waiting = self.waiting, None
        for each in waiting:
            each.callback(None)

    async def says(self, *numbers):
        for number in numbers:
            await self.layer.send(self.channel, {"n": number})

    @property
    def numbers(self):
        return [number for _, number in self.heard]


@pytest_twisted.ensureDeferred
async def test_what_is_taken_is_kept_aside_until_it_is_settled(start_redis):
    server = start_redis()
    box = Box(server.url)
    aside = box.layer.wire.aside(box.channel)
    await box.says(*range(20))
    await until(lambda: len(box.heard) == 20, "all is heard")
    assert box.numbers == list(range(20))
    assert server("ZCARD", aside) >= 19, "but for what a blocking pop may have brought"
    box.settles()
    await until(lambda: server("ZCARD", aside) == 0, "nothing is kept of it")
    await box.says(20)
    await until(lambda: len(box.heard) == 21, "it goes on")
    await box.layer.close()


@pytest_twisted.ensureDeferred
async def test_an_heir_finds_what_the_dead_had_taken_and_what_it_had_not(start_redis):
    server = start_redis()
    dead, heir = Box(server.url), Box(server.url)
    await dead.layer.group_add("mqtt", dead.channel)
    await dead.says(0)
    await until(lambda: dead.heard, "it is awake: what comes now is taken safely")
    await dead.says(*range(1, 10))
    await until(lambda: len(dead.heard) == 10, "all is heard")
    await dead.layer.close()
    await heir.says(99)
    for number in range(10, 13):
        await heir.layer.send(dead.channel, {"n": number})
    await heir.layer.send(f"{dead.address.prefix}!other", {"n": 98})
    found = [message["n"] for message in await heir.layer.storage.inherit(dead.channel)]
    assert found[-11:] == list(range(2, 13))
    assert found[:-11] in ([1], [0, 1], [0], []), "what a blocking pop brings is not kept"
    assert await heir.layer.storage.inherit(dead.channel) == []
    assert server("ZCARD", "asgi:group:mqtt") == 0
    await heir.layer.close()


@pytest_twisted.ensureDeferred
async def test_what_broke_with_the_connection_is_heard_when_it_is_back(start_redis):
    server = start_redis()
    with lines():
        box = Box(server.url)
        await box.says(0)
        await until(lambda: box.heard, "it is awake")
        aside = box.layer.wire.aside(box.channel)
        await box.says(1)
        await until(lambda: len(box.heard) == 2, "it has heard that")
        lost = box.layer.wire.value(box.layer.wire.pack({"n": 2}), box.channel, 0.0)
        server("ZADD", aside, box.layer.storage.now(), lost)        # as if it had been taken, and the answer never came
        server("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: len(box.heard) == 3, "it is found")
        assert box.numbers == [0, 1, 2], "and what was heard is not heard again"
        box.settles()
        await until(lambda: server("ZCARD", aside) == 0, "nothing is kept of it")
        await box.layer.close()


@pytest_twisted.ensureDeferred
async def test_in_the_other_format_a_box_is_a_box(start_redis):
    box = Box(f"{start_redis().url}?format=asgi_redis")
    await box.says(*range(5))
    await until(lambda: len(box.heard) == 5, "all is heard")
    assert box.numbers == list(range(5))
    await box.layer.close()


@pytest_twisted.ensureDeferred
async def test_a_redis_that_is_full_is_read_all_the_same(start_redis):
    server = start_redis()
    box = Box(server.url)
    await box.says(*range(5))
    await until(lambda: len(box.heard) == 5, "all is heard")
    await until(lambda: box.address.readers[0].waiting, "it is at rest")
    wire, now = box.layer.wire, box.layer.storage.now()
    client = Client(server.socket)
    client.many([("MULTI",), *[
        ("ZADD", wire.key(box.channel), now + number / 1000, wire.value(wire.pack({"n": number}), box.channel, 0.0))
        for number in range(5, 8)], ("CONFIG", "SET", "maxmemory", 1), ("EXEC",)])
    client.close()
    await until(lambda: box.numbers == list(range(8)), "all is heard")
    await box.layer.close()

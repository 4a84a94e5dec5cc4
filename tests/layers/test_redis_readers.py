"""A worker that is killed closes its connection to Redis, and the layer says so."""
from math import inf

import pytest
import pytest_twisted

from interfaces.contract import Doubt
from interfaces.layers import redis_readers
from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse
from tests.layers.real_redis import Client
from tests.layers.redis_layers import fake, lines, ours_waiting, reactor, until


@pytest.fixture
def watching(monkeypatch):
    """`watching(url)`: a layer, and the processes that it has doubts about."""
    monkeypatch.setattr(redis_readers, "LOOK", 0.05)
    made = []

    async def make(url):
        layer, doubtful = RedisLayer(reactor, parse(url)), []
        made.append(layer)
        await layer.open("interface", lambda name, item: doubtful.append(item.process) if type(item) is Doubt else None)
        await until(lambda: layer.shards[0].client.connection is not None, "connected")
        return layer, doubtful

    yield make
    for layer in made:
        pytest_twisted.blockon(layer.close())
    assert ours_waiting() == []


@pytest_twisted.ensureDeferred
async def test_a_reader_that_is_gone_is_doubtful_once(watching, redis_server):
    layer, doubtful = await watching(redis_server.url)
    one, two = Client(redis_server.socket), Client(redis_server.socket)
    layer.watch("specific.one!owner", one("CLIENT", "ID"))
    layer.watch("specific.two!owner", two("CLIENT", "ID"))
    await looked_twice(redis_server)
    assert doubtful == []
    one.close()
    await until(lambda: doubtful, "noticed")
    await looked_twice(redis_server)
    assert doubtful == ["specific.one"]
    two.close()
    await until(lambda: len(doubtful) == 2, "noticed")
    await until(lambda: layer.shards[0].readers.looking is None, "there is nobody to look at")


async def looked_twice(server):
    """From now on."""
    def looks():
        found = [line for line in server("INFO", "commandstats").splitlines() if line.startswith(b"cmdstat_client|list")]
        return int(found[0].split(b"calls=")[1].split(b",")[0]) if found else 0
    before = looks()
    await until(lambda: looks() >= before + 2, "it looks")


@pytest_twisted.ensureDeferred
async def test_a_redis_that_was_restarted_raises_no_doubts(watching, redis_server):
    """The new one has given the numbers to others, or to nobody; the workers are as alive as before."""
    layer, doubtful = await watching(redis_server.url)
    shard, client = layer.shards[0], Client(redis_server.socket)
    layer.watch("specific.one!owner", client("CLIENT", "ID"))
    redis_server.pause()
    shard.readers.looking.reset(0)                       # its answer never comes
    await until(lambda: shard.readers.looking is None, "it looks")
    redis_server.restart()
    await until(lambda: shard.client.connection is not None and not shard.readers.numbers, "it has forgotten")
    assert doubtful == []
    client.close()


@pytest_twisted.ensureDeferred
async def test_where_nobody_may_see_who_reads_the_pings_are_left(watching, start_redis):
    server = start_redis()
    server("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-client|list")
    with lines() as log:
        layer, doubtful = await watching(server.url.replace("//", "//app:secret@"))
        client = Client(server.socket)
        layer.watch("specific.one!owner", client("CLIENT", "ID"))
        await until(lambda: any("only pings tell" in line for line in log), "said")
        client.close()
        layer.watch("specific.one!owner", 7)
    assert doubtful == [] and layer.shards[0].readers.looking is None


@pytest_twisted.ensureDeferred
async def test_since_when_the_oldest_message_waits(watching, start_redis):
    one, two = start_redis(), start_redis()
    layer, _ = await watching(f"{one.url.removesuffix('/0')},{two.url.removeprefix('redis://')}")
    await until(lambda: all(shard.client.connection for shard in layer.shards), "connected")
    assert await layer.oldest("jobs") == inf
    began = reactor.seconds()
    for number in range(4):                              # two to each
        await layer.send("jobs", {"n": number})
    assert began - 0.02 < await layer.oldest("jobs") < reactor.seconds() + 0.02
    one("DEL", "asgijobs")
    assert began - 0.02 < await layer.oldest("jobs") < reactor.seconds() + 0.02
    two.kill()
    await until(lambda: layer.shards[1].client.connection is None, "noticed")
    assert await layer.oldest("jobs") == -inf


@pytest.mark.parametrize("number", [None, "7", 0, -1, 2.5, True])
@pytest_twisted.ensureDeferred
async def test_what_is_no_number_of_a_connection_is_not_watched(watching, number):
    async with fake() as (port, _, commands):
        layer, doubtful = await watching(f"redis://127.0.0.1:{port}")
        layer.watch("specific.one!owner", number)
        assert layer.shards[0].readers.looking is None

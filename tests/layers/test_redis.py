"""The Redis layer on a real redis-server: what every layer promises, in both formats, and what is Redis's own."""
import subprocess
import sys

import pytest
import pytest_twisted
from redis_server import RedisServer
from twisted.internet import reactor

from interfaces.contract import ChannelFull, Gap
from interfaces.layers.conformance import CREDIT, EXPIRIES, Server, checks, numbers, opened
from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse
from tests.layers.redis_layers import RedisHarness, failure_of, until

CHECKS = checks(RedisHarness)


@pytest_twisted.async_yield_fixture(params=["channels_redis", "asgi_redis"])
async def harness(request, server):
    harness = RedisHarness(server, request.param)
    yield harness
    await harness.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest_twisted.ensureDeferred
async def test_layer(harness, check):
    await check(harness)


def test_only_what_speaks_of_credit_and_of_own_expiries_is_left_out():
    assert not set(CHECKS) & set(CREDIT + EXPIRIES) and len(CHECKS) > 20


@pytest_twisted.ensureDeferred
async def test_a_message_is_kept_for_the_layers_expiry(harness):
    layer, server = await opened(harness, expiry=60)
    await layer.send("http.request", {"n": 1})
    await harness.advance(59)
    await layer.send("http.request", {"n": 2})
    await harness.advance(2)
    worker = await harness.worker("a")
    assert numbers(worker.got("http.request")) == [2]


@pytest_twisted.ensureDeferred
async def test_a_deadline_is_told_in_the_servers_time(harness):
    layer, server = await opened(harness)
    await harness.settle()
    layer.shards[0].clock.offset += 3600        # as if the server's clock were an hour ahead
    await layer.send("http.request", {"n": 1, "deadline": reactor.seconds() + 5})
    worker = await harness.worker("a")
    harness.older = 3600
    assert numbers(worker.got("http.request")) == [1]
    await layer.send("http.request", {"n": 2, "deadline": reactor.seconds() + 5})
    harness.older = 3606
    assert worker.got("http.request") == []


@pytest_twisted.ensureDeferred
async def test_a_group_send_is_two_round_trips_however_many_it_reaches(harness):
    layer, server = await opened(harness)
    await harness.settle()
    for n in range(1200):
        layer.group_add("group", server.name(f"c{n}"))
    await harness.settle()
    before = harness.redis("INFO", "commandstats")
    await layer.group_send("group", {"n": 1})
    await until(lambda: len(server.items) == 1200, "all heard it")

    def calls(stats):
        return sum(int(line.split(b"calls=")[1].split(b",")[0]) for line in stats.splitlines()
                   if line.startswith((b"cmdstat_evalsha:", b"cmdstat_eval:")))
    puts = 1 if layer.wire.kind == "zset" else 3         # pipelined, 500 channels each
    takes = 1 if layer.wire.kind == "zset" else 5
    assert calls(harness.redis("INFO", "commandstats")) - calls(before) <= 1 + puts + takes
    assert [connection for connection, _ in server.heard()] == [f"c{n}" for n in range(1200)]


@pytest_twisted.ensureDeferred
async def test_what_a_lost_worker_never_took_is_taken_back_and_its_names_leave_all_groups(server):
    harness = RedisHarness(server, "channels_redis")
    layer, ours = await opened(harness)
    await harness.settle()
    owner, prefix = "specific.lost!owner", layer.wire.prefix
    for order in range(1, 6):
        await layer.send(owner, {"type": "websocket.receive", "reply_channel": ours.name("c1"), "order": order})
    await layer.send(owner, {"type": "websocket.receive", "reply_channel": "interface.of.another!c9", "order": 7})
    await layer.send(owner, {"type": "interface.ping", "reply_channel": ours.name("c2"), "id": "specific.lost"})
    server("ZADD", f"{prefix}specific.lost!", 0, "no message")
    taken = server("ZRANGE", f"{prefix}specific.lost!", 1, 2)       # two it took
    server("ZREM", f"{prefix}specific.lost!", *taken)
    for group in ("a", "b"):
        for name in ("specific.lost!1", "specific.lost!2", "specific.lost2!1", "other!1"):
            await layer.group_add(group, name)
    assert await layer.recover(owner) == {ours.name("c1"): {3, 4, 5}}
    assert server("ZCARD", f"{prefix}specific.lost!") == 3, "what is not ours is still there"
    await until(lambda: all(server("ZRANGE", f"{prefix}:group:{group}", 0, -1) == [b"specific.lost2!1", b"other!1"]
                            for group in "ab"), "nobody finds the lost one")
    assert await layer.recover(owner) == {}
    await harness.close()


@pytest_twisted.ensureDeferred
async def test_nobody_knows_who_reads_a_shared_channel(harness):
    layer, server = await opened(harness)
    assert layer.listening("http.request") is True and layer.deserted("http.request") == 0.0
    assert layer.tells_taken is False and layer.tells_lost is False


@pytest_twisted.ensureDeferred
async def test_garbage_in_our_box_is_dropped_and_counted(harness):
    layer, server = await opened(harness)
    await harness.settle()
    key = layer.wire.key(server.address.box)
    for n, garbage in enumerate([b"", b"x", b"\xc1" * 20, b"0" * 12 + b"\x93\x01\x02\x03", b"0" * 12 + b"\x81\xa1n\x01"]):
        if layer.wire.kind == "zset":
            harness.redis("ZADD", key, harness.redis.now(), garbage)
        else:
            harness.redis("SET", f"asgi:{n}", garbage)
            harness.redis("RPUSH", key, f"asgi:{n}")
    worker = await harness.worker("a")
    await worker.send(server.name("c"), {"n": 1})
    await harness.settle()
    assert server.heard() == [("c", {"n": 1})]
    assert layer.statistics()["unreadable"] == 5


@pytest_twisted.ensureDeferred
async def test_another_type_in_the_place_of_our_box_is_removed(harness, monkeypatch):
    monkeypatch.setattr("interfaces.layers.redis_box.PAUSE", 0.01)
    layer, server = await opened(harness)
    await harness.settle()
    worker, [reader] = await harness.worker("a"), server.address.readers
    harness.redis("SET", layer.wire.key(server.address.box), "nonsense")
    reader.client.drop("a test")        # a pop that waits doesn't see it
    await until(lambda: reader.waiting and not harness.redis("EXISTS", layer.wire.key(server.address.box)), "removed")
    await worker.send(server.name("c"), {"n": 1})
    await harness.settle()
    assert server.heard() == [("", Gap()), ("c", {"n": 1})]


@pytest_twisted.ensureDeferred
async def test_another_type_in_a_channels_place_is_its_senders_channelfull(harness):
    layer, server = await opened(harness)
    harness.redis("SET", layer.wire.key("http.request"), "nonsense")
    assert isinstance(await failure_of(lambda: layer.send("http.request", {"n": 1})), ChannelFull)
    await layer.send("mqtt.receive", {"n": 1})


@pytest_twisted.ensureDeferred
async def test_a_wide_pattern_does_not_let_whole_bodies_in(server):
    harness = RedisHarness(server, "asgi_redis", "&channel_capacity=http.request*:5000")
    layer, there = await opened(harness)
    for channel in ("http.request.body.x", "http.request.body?x"):
        for n in range(8):
            await layer.send(channel, {"n": n})
        assert isinstance(await failure_of(lambda channel=channel: layer.send(channel, {"n": 8})), ChannelFull)
    await harness.close()


@pytest_twisted.ensureDeferred
async def test_two_servers_share_the_channels_and_replies_are_found_on_both(server):
    with RedisServer() as other:
        for one in (server, other):
            one("FLUSHALL")
        layer = RedisLayer(reactor, parse(f"redis://127.0.0.1:{server.port},127.0.0.1:{other.port}/0"))
        there = Server(layer)
        there.address = await layer.open("interface", there.deliver)
        for n in range(10):
            await layer.send("http.request", {"n": n})
        assert [one("ZCARD", "asgihttp.request") for one in (server, other)] == [5, 5]
        for n in range(10):
            await layer.send(there.name(f"c{n}"), {"n": n})
            await layer.group_add(f"group{n}", there.name(f"c{n}"))
        for n in range(10):
            await layer.group_send(f"group{n}", {"n": 10 + n})
        key = layer.wire.key(there.address.box)
        value = layer.wire.value(layer.wire.pack({"n": 99}), there.name("c"), 0.0)
        for one in (server, other):         # a stock sender looks at the full name, and may come to either
            one("ZADD", key, float(one("TIME")[0]), value)
        await until(lambda: len(there.items) >= 22, "all came")
        assert sorted(message["n"] for _, message in there.heard()) == [*range(20), 99, 99]
        await layer.delete("http.request")
        assert [one("EXISTS", "asgihttp.request") for one in (server, other)] == [0, 0]
        await layer.close()


@pytest_twisted.ensureDeferred
async def test_an_encrypted_layer_reads_its_own_and_nobody_elses(server, monkeypatch):
    monkeypatch.setenv("LAYER_KEY", "k1")
    harness = RedisHarness(server, "channels_redis", "&key_env=LAYER_KEY")
    layer, there = await opened(harness)
    await layer.send(there.name("c"), {"n": 1})
    harness.redis("ZADD", layer.wire.key(there.address.box), harness.redis.now(), b"0" * 12 + b"\x81\xa1n\x01")
    await harness.settle()
    assert there.heard() == [("c", {"n": 1})] and layer.statistics()["unreadable"] == 1
    await layer.send("http.request", {"secret": "word"})
    assert b"word" not in harness.redis("ZRANGE", "asgihttp.request", 0, -1)[0]
    await harness.close()


@pytest_twisted.ensureDeferred
async def test_closing_leaves_no_key_no_timer_and_no_connection(harness):
    layer, server = await opened(harness)
    await harness.settle()
    await layer.close()
    assert harness.redis("KEYS", "*") == []
    assert len(harness.redis("CLIENT", "LIST").splitlines()) == 1      # this one
    assert isinstance(await failure_of(lambda: layer.send("http.request", {})), ChannelFull)


WITHOUT = """
import sys
sys.modules["hiredis"] = None
from twisted.internet import defer, reactor
from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse

async def main():
    layer, heard, all_there = RedisLayer(reactor, parse(sys.argv[1])), [], defer.Deferred()

    def deliver(connection, message):
        heard.append((connection, message))
        if len(heard) == 102:
            all_there.callback(None)
    address = await layer.open("interface", deliver)
    await layer.group_add("group", f"{address.prefix}!c")
    await defer.gatherResults([layer.send(f"{address.prefix}!c", {"n": n, "body": b"\\r\\n$1" * n}) for n in range(101)])
    await layer.group_send("group", {"n": 101, "body": b"\\r\\n$1" * 101})
    await all_there
    assert heard == [("c", {"n": n, "body": b"\\r\\n$1" * n}) for n in range(102)], heard
    try:
        await layer.send("http.request", {})
        await layer.send("http.request", {})
    except Exception as error:
        print(type(error).__name__)
    await layer.close()

def end(result):
    print(result)
    reactor.stop()

reactor.callWhenRunning(lambda: defer.ensureDeferred(main()).addBoth(end))
reactor.run()
"""


@pytest.mark.parametrize("form", ["channels_redis", "asgi_redis"])
def test_without_hiredis_it_is_only_slower(server, form):
    server("FLUSHALL")
    run = subprocess.run([sys.executable, "-c", WITHOUT, f"{server.url}?format={form}&capacity=1"], timeout=60,
                         capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("ChannelFull\nNone\n", "")

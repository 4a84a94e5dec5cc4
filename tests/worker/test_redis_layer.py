"""RedisChannelLayer against a real redis-server: the API of Channels, order, capacity, groups, threads, bad days."""
import asyncio
import contextlib
import socket
import subprocess
import threading
import time

import msgpack
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer as StockLayer
from redis_server import find, free_port

from interfaces.worker import redis_answers
from interfaces.worker.layers import MessageTooLarge, RedisChannelLayer
from tests.worker.hub import dialogue


class Layers:
    """Layers of one dialogue, closed at its end."""

    def __init__(self, url):
        self.url, self.made = url, []

    def __call__(self, make=RedisChannelLayer, **config):
        self.made.append(make(**{"hosts": [self.url]} | config))
        return self.made[-1]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        for layer in self.made:
            await (layer.close() if isinstance(layer, RedisChannelLayer) else layer.close_pools())


async def receiving(server, layer, channel):
    """A receive that stands in the server's blocking pop."""
    task = asyncio.ensure_future(layer.receive(channel))
    await until(lambda: layer.home and any(channel in shard.reading.popping for shard in layer.home.shards) and blocked(server))
    return task


def blocked(server) -> int:
    return int(dict(line.split(":") for line in server("INFO", "clients").decode().split() if ":" in line)["blocked_clients"])


async def until(true):
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


@dialogue
async def test_messages_come_in_order(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        for n in range(100):
            await layer.send("jobs", {"type": "job", "n": n, "bytes": b"\xff", "none": None})
        assert [await other.receive("jobs") for _ in range(100)] == [
            {"type": "job", "n": n, "bytes": b"\xff", "none": None} for n in range(100)]


@dialogue
async def test_a_receive_that_waits_gets_it_at_once(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        await other.send("jobs", {"n": 1})
        assert await waiting == {"n": 1}


@dialogue
async def test_several_shared_channels_and_own_ones_stand_in_one_pop(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        own = [await layer.new_channel() for _ in range(3)]
        tasks = [asyncio.ensure_future(layer.receive(name)) for name in (*own, "a", "b")]
        await until(lambda: layer.home and layer.home.shards and len(layer.home.shards[0].reading.popping) == 3
                    and blocked(redis_server))
        assert blocked(redis_server) == 1
        for name in ("b", own[2], "a", own[0], own[1]):
            await other.send(name, {"for": name})
        assert [message["for"] for message in await asyncio.gather(*tasks)] == [*own, "a", "b"]


@dialogue
async def test_a_channel_holds_its_capacity(redis_server):
    async with Layers(redis_server.url) as layers:
        layer = layers(capacity=3, channel_capacity={"tiny.*": 1})
        for _ in range(3):
            await layer.send("jobs", {"type": "x"})
        with pytest.raises(ChannelFull):
            await layer.send("jobs", {"type": "x"})
        await layer.send("tiny.one", {"type": "x"})
        with pytest.raises(ChannelFull):
            await layer.send("tiny.one", {"type": "x"})
        await layer.receive("jobs")
        await layer.send("jobs", {"type": "x"})


@dialogue
async def test_what_has_expired_is_not_received(redis_server):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        for score, n in ((1.0, 1), (2.0, 2)):
            redis_server("ZADD", "asgijobs", score, bytes(12) + msgpack.packb({"n": n}))
        waiting = asyncio.ensure_future(layer.receive("jobs"))
        await until(lambda: redis_server("ZCARD", "asgijobs") == 0)
        await layer.send("jobs", {"n": 3})
        assert await waiting == {"n": 3}


@dialogue
async def test_groups(redis_server):
    async with Layers(redis_server.url) as layers:
        one, other = layers(), layers()
        names = [await one.new_channel(), await one.new_channel("room"), await other.new_channel()]
        for name in names:
            await one.group_add("room", name)            # a channel of any process
        await other.group_send("room", {"list": []})
        messages = [await one.receive(names[0]), await one.receive(names[1]), await other.receive(names[2])]
        messages[0]["list"].append("mine")
        assert messages[1:] == [{"list": []}] * 2, "each has a copy of its own"
        await one.group_discard("room", names[0])
        await other.group_send("room", {"n": 2})
        assert (await one.receive(names[1]), await other.receive(names[2])) == ({"n": 2}, {"n": 2})
        await one.send(names[0], {"n": 3})
        assert await one.receive(names[0]) == {"n": 3}, "it has left the group"


@dialogue
async def test_flush_leaves_other_keys_alone(redis_server):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        redis_server("SET", "mine", 1)
        await layer.send("jobs", {"n": 1})
        await layer.group_add("room", await layer.new_channel())
        await layer.flush()
        assert redis_server("KEYS", "*") == [b"mine"]
        await layer.send("jobs", {"n": 2})
        assert await layer.receive("jobs") == {"n": 2}


@pytest.mark.parametrize("call", [lambda layer: layer.send("no space", {}), lambda layer: layer.receive("é"),
                                  lambda layer: layer.send("x" * 100, {}), lambda layer: layer.group_add("a!b", "c"),
                                  lambda layer: layer.send("x", [1])])
def test_names_and_messages_are_checked(call):
    with pytest.raises(TypeError):
        asyncio.run(call(RedisChannelLayer()))


def test_too_large_is_said_before_anything_is_sent():
    with pytest.raises(MessageTooLarge, match="2097152"):
        asyncio.run(RedisChannelLayer(hosts=[("127.0.0.1", 1)]).send("x", {"content": bytes(2 * 1024 * 1024)}))


@dialogue
async def test_a_cancelled_receive_takes_nothing(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        waiting.cancel()
        await until(lambda: blocked(redis_server) == 0)
        await other.send("jobs", {"n": 1})
        assert await other.receive("jobs") == {"n": 1}


@dialogue
async def test_what_came_for_a_cancelled_receive_goes_back_in_front(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        redis_server.pause()
        sending = asyncio.ensure_future(other.send("jobs", {"n": 1}))
        await until(lambda: other.home is not None and other.home.shards)
        waiting.cancel()
        redis_server.resume()
        await sending
        await other.send("jobs", {"n": 2})
        assert [await other.receive("jobs"), await other.receive("jobs")] == [{"n": 1}, {"n": 2}]


# With stock channels_redis on the same keys

@pytest.mark.parametrize("config", [{}, {"symmetric_encryption_keys": ["k1", "k2"]}, {"prefix": "other"},
                                    {"random_prefix_length": 4}, {"serializer_format": "json"}])
@dialogue
async def test_it_mixes_with_channels_redis(redis_server, config):
    async with Layers(redis_server.url) as layers:
        ours, stock = layers(**config), layers(StockLayer, **config)
        own, theirs = await ours.new_channel(), await stock.new_channel()
        message = {"type": "x", "text": "é", "n": [1, None, True]}
        for send, receive, channel in ((stock, ours, "jobs"), (ours, stock, "jobs"), (stock, ours, own), (ours, stock, theirs)):
            await send.send(channel, message)
            assert await receive.receive(channel) == message
        await ours.group_add("room", own)
        await stock.group_add("room", theirs)
        for layer in (ours, stock):
            await layer.group_send("room", message)
            assert [await ours.receive(own), await stock.receive(theirs)] == [message, message]


# Threads and loops

def test_from_any_thread_and_loop(redis_server):
    layer = RedisChannelLayer(hosts=[redis_server.url])
    got = []

    async def reads():
        own = await layer.new_channel()
        ready.set()
        await layer.group_add("room", own)
        joined.set()
        got.extend([await layer.receive(own), await layer.receive("jobs")])

    ready, joined = threading.Event(), threading.Event()
    async_to_sync(layer.send)("jobs", {"n": 0})          # a spare home, which then gives way to the reader's loop
    reader = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(reads(), 10)))
    reader.start()
    assert joined.wait(10)
    threads = [threading.Thread(target=async_to_sync(layer.group_send), args=("room", {"n": 1}))]
    for thread in threads:
        thread.start()
    reader.join(10)
    assert got == [{"n": 1}, {"n": 0}]
    async_to_sync(layer.send)("jobs", {"n": 2})
    assert async_to_sync(layer.receive)("jobs") == {"n": 2}
    async_to_sync(layer.close)()


def test_each_loop_in_its_turn(redis_server):
    """As async_to_sync does it in a view: a loop that ends leaves no pop behind that takes a message for nobody."""
    layer = RedisChannelLayer(hosts=[redis_server.url])
    for n in range(10):
        async_to_sync(layer.send)("jobs", {"n": n})
        assert async_to_sync(layer.receive)("jobs") == {"n": n}
    assert blocked(redis_server) == 0
    async_to_sync(layer.close)()


# Bad days

@dialogue
async def test_a_connection_cut_during_a_pop(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        await other.send("x", {})
        waiting = await receiving(redis_server, layer, "jobs")
        for _ in range(3):
            assert redis_server("CLIENT", "KILL", "TYPE", "normal") >= 1
            await until(lambda: blocked(redis_server))
        await other.send("jobs", {"n": 1})
        assert await waiting == {"n": 1}


@dialogue
async def test_a_server_that_is_restarted_empty(redis_server, caplog):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        own = await layer.new_channel()
        await layer.group_add("room", own)
        waiting = await receiving(redis_server, layer, "jobs")
        redis_server.restart()
        await other.send("jobs", {"n": 1})
        assert await waiting == {"n": 1}
        await until(lambda: layer.home.shards[0].commands is not None)
        await other.group_send("room", {"n": 2})
        assert await layer.receive(own) == {"n": 2}, "it has joined again"
    down = [record for record in caplog.records if "no connection to Redis" in record.message]
    assert len(down) <= 2, "one line per layer and change of state"


@dialogue
async def test_scripts_that_are_flushed(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        redis_server("SCRIPT", "FLUSH")
        for n in range(5):
            await other.send("jobs", {"n": n})
        redis_server("SCRIPT", "FLUSH")
        assert [await waiting, *[await layer.receive("jobs") for _ in range(4)]] == [{"n": n} for n in range(5)]


@dialogue
async def test_without_a_server_sends_fail_and_receives_wait(monkeypatch, start_redis):
    monkeypatch.setattr("interfaces.worker.redis_layer.PATIENCE", 0.05)
    server = start_redis()
    server.kill()
    async with Layers(server.url) as layers:
        layer = layers()
        waiting = asyncio.ensure_future(layer.receive("jobs"))
        with pytest.raises(ConnectionError, match="no Redis"):
            await layer.send("jobs", {})
        server.restart()
        server("ZADD", "asgijobs", "9e9", bytes(12) + msgpack.packb({"n": 1}))
        assert await waiting == {"n": 1}


@pytest.mark.parametrize("garbage", [b"", b"short", bytes(12) + b"\xc1", bytes(12) + msgpack.packb([1]),
                                     bytes(12) + msgpack.packb({1: 2}), bytes(12) + b"\x81" * 400])
@dialogue
async def test_garbage_in_a_channel_is_passed_over(redis_server, garbage):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        own = await layer.new_channel()
        for key in ("asgijobs", f"asgi{layer.process}!"):
            redis_server("ZADD", key, time.time() - 1, garbage)
        await layer.send("jobs", {"n": 1})
        await layer.send(own, {"n": 2})
        reading = asyncio.ensure_future(layer.receive("jobs"))
        assert await layer.receive(own) == {"n": 2}
        await until(lambda: reading.done() or redis_server("ZCARD", "asgijobs") == 0)
        assert await reading == {"n": 1} and layer.inbox.dropped == 2


@dialogue
async def test_a_key_of_another_type_stops_only_its_channel(redis_server, monkeypatch):
    monkeypatch.setattr("interfaces.worker.redis_reading.FOREIGN", 0.05)
    async with Layers(redis_server.url) as layers:
        layer = layers()
        redis_server("SET", "asgibad", "x")
        bad = asyncio.ensure_future(layer.receive("bad"))
        good = asyncio.ensure_future(layer.receive("good"))
        await layer.send("good", {"n": 1})
        assert await good == {"n": 1}
        redis_server("DEL", "asgibad")
        await layer.send("bad", {"n": 2})
        assert await bad == {"n": 2}


@dialogue
async def test_a_server_without_memory_is_a_full_channel(redis_server):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        redis_server("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(ChannelFull, match="memory"):
            await layer.send("jobs", {})
        redis_server("CONFIG", "SET", "maxmemory", "0")
        await layer.send("jobs", {"n": 1})
        assert await layer.receive("jobs") == {"n": 1}


@dialogue
async def test_a_server_that_became_a_replica_is_left(redis_server, start_redis):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        waiting = await receiving(redis_server, layer, "jobs")
        master = start_redis()
        redis_server("REPLICAOF", "127.0.0.1", master.port)
        sending = asyncio.ensure_future(layer.send("jobs", {"n": 1}))
        await until(lambda: layer.home.shards[0].commands is None)
        redis_server("REPLICAOF", "NO", "ONE")
        await sending                                    # it had not been run, and is sent again
        assert await waiting == {"n": 1}


@dialogue
async def test_shared_channels_are_read_from_all_hosts(redis_server, start_redis):
    hosts = [redis_server.url, start_redis().url]
    async with Layers(redis_server.url) as layers:
        layer, other = layers(hosts=hosts), layers(hosts=hosts)
        for n in range(10):
            await other.send("jobs", {"n": n})
        assert sorted([(await layer.receive("jobs"))["n"] for _ in range(10)]) == list(range(10))
        names = [await layer.new_channel() for _ in range(6)]
        for name in names:
            await layer.group_add(f"group{name[-1]}".replace("-", "").replace("_", ""), name)
            await other.send(name, {"for": name})
        assert [(await layer.receive(name))["for"] for name in names] == names


@dialogue
async def test_a_password_and_a_socket(start_redis):
    server = start_redis("--requirepass", "p@ss")
    async with Layers(None) as layers:
        for hosts in ([f"redis://:p%40ss@127.0.0.1:{server.port}/1"], [{"address": f"unix://{server.socket}?db=1",
                      "password": "p@ss"}], [{"host": "127.0.0.1", "port": server.port, "password": "p@ss", "db": 1}]):
            layer = layers(hosts=hosts)
            await layer.send("jobs", {"n": 1})
            assert await layer.receive("jobs") == {"n": 1}


@pytest.mark.slow
@dialogue
async def test_the_master_that_a_sentinel_knows(start_redis, tmp_path):
    old, new = start_redis(), start_redis()
    new("REPLICAOF", "127.0.0.1", old.port)
    await until(lambda: b"master_link_status:up" in new("INFO", "replication"))
    port, config = free_port(), tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {old.port} 1\n")
    sentinel = subprocess.Popen([find(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        async with Layers(None) as layers:
            layer = layers(hosts=[{"sentinels": [("127.0.0.1", port)], "master_name": "main"}])
            await layer.send("jobs", {"n": 1})
            assert await layer.receive("jobs") == {"n": 1}
            waiting = asyncio.ensure_future(layer.receive("jobs"))
            with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as replies:
                async with asyncio.timeout(20):
                    while True:                          # it must first have found the replica
                        sock.sendall(b"SENTINEL FAILOVER main\r\n")
                        if replies.readline() == b"+OK\r\n":
                            break
                        await asyncio.sleep(0.1)
            def promoted():
                with contextlib.suppress(OSError):       # the Sentinel cuts its clients' connections, maybe this one
                    return b"role:master" in new("INFO", "replication")

            async with asyncio.timeout(20):
                await until(promoted)
                old.kill()
                while not waiting.done():
                    with contextlib.suppress(ConnectionError):
                        await layer.send("jobs", {"n": 2})
                    await asyncio.wait([waiting], timeout=0.1)
            assert waiting.result() == {"n": 2}
    finally:
        sentinel.kill()
        sentinel.wait()


@dialogue
async def test_answers_wait_for_a_server_that_holds_all_it_may_and_keep_their_order(redis_server, monkeypatch):
    monkeypatch.setattr(redis_answers, "CALL", 4)
    async with Layers(redis_server.url) as layers:
        layer = layers(channel_capacity={"interface.*": 10})
        await layer.send("interface.a!warm", {})        # it has a connection
        redis_server("DEL", "asgiinterface.a!")
        for number in range(25):
            layer.reply(f"interface.a!{number % 3}", {"n": number})
        layer.reply("interface.b!1", {"n": 0})          # one that is full holds up no other
        await until(lambda: redis_server("ZCARD", "asgiinterface.b!") == 1)
        heard = []
        while len(heard) < 25:
            await until(lambda: redis_server("ZCARD", "asgiinterface.a!") == min(10, 25 - len(heard)))
            for value in redis_server("ZPOPMIN", "asgiinterface.a!", 7)[::2]:
                heard.append(layer.format.decode(value, "interface.a!", layer.now())[0]["n"])
        assert heard == list(range(25))
        assert layer.inbox.dropped == 0


@dialogue
async def test_answers_that_find_no_room_for_too_long_are_lost_and_that_is_said(redis_server, monkeypatch, caplog):
    monkeypatch.setattr(redis_answers, "PATIENCE", 0.1)
    async with Layers(redis_server.url) as layers:
        layer = layers(channel_capacity={"interface.*": 1})
        await layer.send("interface.a!1", {"n": 0})
        for number in range(1, 6):
            layer.reply("interface.a!1", {"n": number})
        await until(lambda: layer.inbox.dropped == 5)
        assert [record.args[2] for record in caplog.records if "was not sent" in record.msg] == [1, 2, 4]
        assert not layer.home.answers

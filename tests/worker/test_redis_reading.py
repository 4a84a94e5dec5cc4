"""What a RedisChannelLayer costs, keeps and survives while it waits: a real redis-server, its statistics, ACLs, a firewall."""
import asyncio
import contextlib
import os
import signal
import time

import msgpack
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull

from interfaces.layers.wire_local import MAX_FRAME
from interfaces.worker import redis_reading, redis_shard
from interfaces.worker.layers import RedisChannelLayer
from interfaces.worker.redis_hosts import Host, Sentinels, read_hosts
from tests.worker.hub import dialogue
from tests.worker.test_redis_layer import Layers, blocked, receiving, until


def calls(server) -> dict[str, int]:
    """How often each command was called."""
    found = {}
    for line in server("INFO", "commandstats").decode().split():
        if line.startswith("cmdstat_"):
            name, _, counts = line.removeprefix("cmdstat_").partition(":calls=")
            found[name] = int(counts.partition(",")[0])
    return found


class Firewall:
    """Before a Redis. `drop()`: from now on what it carries is lost without a word; new connections are carried again."""

    def __init__(self, port):
        self.redis, self.dropped, self.carrying = port, set(), set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for task in tuple(self.carrying):
            task.cancel()
        if self.carrying:
            await asyncio.wait(self.carrying)

    def drop(self):
        self.dropped |= self.carrying

    async def carry(self, reader, writer):
        self.carrying.add(me := asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self.redis)

        async def pipe(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if me not in self.dropped:
                        sink.write(data)

        try:
            await asyncio.wait([asyncio.ensure_future(pipe(reader, back)), asyncio.ensure_future(pipe(there, writer))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.carrying.discard(me)
            back.close()
            writer.close()


# What it costs

@dialogue
async def test_a_message_now_and_then_costs_a_send_and_a_pop(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        own = asyncio.ensure_future(layer.receive(await layer.new_channel()))
        reading = await receiving(redis_server, layer, "jobs")
        redis_server("CONFIG", "RESETSTAT")
        for n in range(20):
            await other.send("jobs", {"n": n})
            assert await reading == {"n": n}
            reading = await receiving(redis_server, layer, "jobs")
        found = calls(redis_server)
        assert found.get("client|unblock", 0) == 0, "the channel stays in the pop while its reader is away"
        assert found["bzpopmin"] <= 21 and found["evalsha"] <= 2 * 20
        own.cancel()
        reading.cancel()


@dialogue
async def test_a_pop_is_told_once_to_come_back(redis_server):
    async with Layers(redis_server.url) as layers:
        layer = layers()
        one = await receiving(redis_server, layer, "a")
        redis_server("CONFIG", "RESETSTAT")
        two = await receiving(redis_server, layer, "b")
        found = calls(redis_server)
        assert (found["client|unblock"], found["bzpopmin"], found["evalsha"]) == (1, 1, 1)
        one.cancel()
        two.cancel()


@dialogue
async def test_no_channel_starves_beside_a_full_one(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other, order = layers(), layers(), []
        for channel in ("a", "b"):
            for n in range(50):
                await other.send(channel, {"n": n})

        async def reads(channel):
            for n in range(50):
                assert await layer.receive(channel) == {"n": n}
                order.append(channel)

        await asyncio.gather(reads("a"), reads("b"))
        assert set(order[:40]) == {"a", "b"}


# Who may not unblock

@dialogue
async def test_a_user_who_may_not_unblock(redis_server, monkeypatch, caplog):
    monkeypatch.setattr(redis_reading, "WAIT", 1)
    redis_server("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-client|unblock")
    url = redis_server.url.replace("//", "//app:secret@")
    async with Layers(url) as layers:
        layer, other = layers(), layers()
        one = await receiving(redis_server, layer, "a")
        two = asyncio.ensure_future(layer.receive("b"))
        await other.send("b", {"n": 1})
        assert await two == {"n": 1}, "it comes when the pop has ended by itself"
        one.cancel()
        await other.send("a", {"n": 2})
        assert await other.receive("a") == {"n": 2}, "what the pop still took is given back"
        three = await receiving(redis_server, layer, "c")
        four = asyncio.ensure_future(layer.receive("d"))
        await until(lambda: "d" in layer.home.shards[0].reading.popping)
        three.cancel()
        four.cancel()
    assert len([record for record in caplog.records if "lets us end no pop" in record.message]) == 1


@dialogue
async def test_what_a_user_may_not_do_ends_no_connection(redis_server):
    redis_server("ACL", "SETUSER", "app", "on", ">secret", "~asgi[a-z]*", "+@all")
    async with Layers(redis_server.url.replace("//", "//app:secret@")) as layers:
        layer = layers()
        await layer.send("jobs", {"n": 1})
        commands = layer.home.shards[0].commands
        with pytest.raises(ConnectionError, match="NOPERM"):
            await layer.group_add("room", "jobs")
        assert layer.home.shards[0].commands is commands
        assert await layer.receive("jobs") == {"n": 1}


# What others wrote

@dialogue
async def test_a_foreign_giant_ends_the_connection_that_pops_it(redis_server, caplog):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        redis_server("ZADD", "asgijobs", time.time(), b"g" * (3 * MAX_FRAME))
        await other.send("jobs", {"n": 1})
        assert await waiting == {"n": 1}
        assert f"a reply of more than {redis_reading.MOST} bytes" in caplog.text


@dialogue
async def test_a_ping_that_names_no_channel_ends_nothing(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        own = await layer.new_channel()
        waiting = await receiving(redis_server, layer, "jobs")
        reading = asyncio.ensure_future(layer.receive(own))
        for bad in ("no space", "", "x" * 200, 7):
            await other.send(layer.inbox.owner, {"type": "interface.ping", "reply_channel": bad})
        await other.send(own, {"n": 1})
        await other.send("jobs", {"n": 2})
        assert (await reading, await waiting) == ({"n": 1}, {"n": 2})


@dialogue
async def test_what_nobody_reads_yet_is_bounded(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        own = await layer.new_channel()
        key, now = f"asgi{layer.process}!", time.time()
        redis_server("ZADD", key, *[part for n in range(10_000) for part in (now, b"%12d" % n)])
        with pytest.raises(ChannelFull):
            await other.send(own, {"n": 1})
        redis_server("DEL", key)
        redis_server("ZADD", key, *[part for n in range(10_000) for part in (now - 61, b"%12d" % n)])
        await other.send(own, {"n": 2})
        assert redis_server("ZCARD", key) == 1 and 0 < redis_server("TTL", key) <= 60
        assert await layer.receive(own) == {"n": 2}


# Cancelled, closed, moved

@dialogue
async def test_what_was_given_to_a_cancelled_receive_goes_to_another_process(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        waiting = await receiving(redis_server, layer, "jobs")
        listening = layer.inbox.listenings["jobs"]
        hand_out = listening.hand_out

        def given():
            hand_out()
            if not listening.waiters:
                waiting.cancel()                         # in this turn: its reader has not run yet

        listening.hand_out = given
        await other.send("jobs", {"n": 1})
        await asyncio.wait([waiting])
        assert waiting.cancelled() and await other.receive("jobs") == {"n": 1}
        assert "jobs" not in layer.inbox.listenings


@dialogue
async def test_receives_with_a_time_out_lose_nothing(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other, got = layers(), layers(), []

        async def reads(which):
            while len(got) < 100:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.003):
                        got.append((await which.receive("jobs"))["n"])

        reading = [asyncio.ensure_future(reads(which)) for which in (layer, other)]
        for n in range(100):
            await layer.send("jobs", {"n": n})
        await asyncio.gather(*reading)
        assert sorted(got) == list(range(100))


@dialogue
async def test_a_layer_that_closes_gives_back_what_it_kept(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        layer.inbox.clock = lambda: 0.0                  # its last reader was here a moment ago, for ever
        own = asyncio.ensure_future(layer.receive(await layer.new_channel()))
        waiting = await receiving(redis_server, layer, "jobs")
        await other.send("jobs", {"n": 1})
        await waiting
        await other.send("jobs", {"n": 2})
        await until(lambda: layer.inbox.listenings["jobs"].unstarted)
        own.cancel()
        await layer.close()
        assert redis_server("ZCARD", "asgijobs") == 1 and await other.receive("jobs") == {"n": 2}


@dialogue
async def test_what_can_not_be_given_back_waits_for_a_redis(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, other = layers(), layers()
        await layer.send("x", {})
        shard = layer.home.shards[0]
        redis_server("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: shard.commands is None)
        value = layer.format.value(layer.format.pack({"n": 1}), None, 0.0)
        shard.give_back("jobs", [value], time.time())
        assert await other.receive("jobs") == {"n": 1} and layer.inbox.dropped == 0


def test_a_loop_that_is_closed_leaves_no_pop_behind(redis_server):
    layer, loop = RedisChannelLayer(hosts=[redis_server.url]), asyncio.new_event_loop()
    own = loop.run_until_complete(layer.new_channel())
    async_to_sync(layer.send)(own, {"n": 1})
    assert loop.run_until_complete(layer.receive(own)) == {"n": 1}
    waiting = loop.create_task(layer.receive("jobs"))
    loop.run_until_complete(until(lambda: blocked(redis_server) == 1))
    waiting.cancel()
    loop.run_until_complete(asyncio.wait([waiting]))
    reading = layer.home.shards[0].reading
    loop.run_until_complete(until(lambda: reading.popping == {f"{layer.process}!"} and blocked(redis_server) == 1))
    tasks = asyncio.all_tasks(loop)
    async_to_sync(layer.send)("x", {})                   # finds that the loop has ended
    asyncio.run(until(lambda: blocked(redis_server) <= 1))
    async_to_sync(layer.close)()
    asyncio.run(until(lambda: blocked(redis_server) == 0))
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


def test_a_forked_child_has_connections_of_its_own(redis_server):
    """As under gunicorn with a preloaded application that has used the layer."""
    layer = RedisChannelLayer(hosts=[redis_server.url])
    async_to_sync(layer.send)("warm", {})
    [shard] = layer.home.shards
    connection = shard.commands
    child = os.fork()
    if not child:
        try:
            async_to_sync(layer.send)(async_to_sync(layer.new_channel)().partition("!")[0], {})
            async_to_sync(layer.send)("child", {"pid": os.getpid(), "process": layer.process})
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    async_to_sync(layer.send)("parent", {"n": 1})
    assert shard.commands is connection and not connection.lost.done(), "the parent's connection was not touched"
    message = async_to_sync(layer.receive)("child")
    assert message["pid"] == child and message["process"] != layer.process
    assert async_to_sync(layer.receive)("parent") == {"n": 1}
    async_to_sync(layer.close)()


def test_a_child_keeps_no_dead_parents_pop_waiting(redis_server, monkeypatch):
    """A pop that nobody is behind would take a message for nobody."""
    monkeypatch.setattr(redis_reading, "WAIT", 60)       # it does not end by itself
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        async def waits():
            layer = RedisChannelLayer(hosts=[redis_server.url])
            await receiving(redis_server, layer, "jobs")
            if (child := os.fork()) == 0:
                os.close(read)
                signal.pause()                           # it inherits, and does nothing
            os.write(write, b"%d\n" % child)
            os._exit(0)

        try:
            asyncio.run(waits())
        finally:
            os._exit(1)
    os.close(write)
    assert os.waitpid(parent, 0)[1] == 0
    with os.fdopen(read, "rb") as pipe:
        child = int(pipe.readline())
    try:
        asyncio.run(until(lambda: blocked(redis_server) == 0))
    finally:
        os.kill(child, signal.SIGKILL)


# Idle nights

@pytest.mark.parametrize("reads", [True, False], ids=["while it waits", "while nobody asks anything"])
@dialogue
async def test_a_connection_that_a_firewall_forgot_is_replaced(redis_server, monkeypatch, reads):
    watched = 100 if reads else 0.3                      # seconds: the pop notices it by itself
    for module, name, seconds in ((redis_reading, "WAIT", 1), (redis_reading, "DEAD", 1.3), (redis_shard, "DEAD", watched),
                                  (redis_shard, "WATCH", 0.05), (redis_shard, "LEARN", 0.1)):
        monkeypatch.setattr(module, name, seconds)
    async with Firewall(redis_server.port) as firewall, Layers(firewall.url) as layers:
        layer, other = layers(), layers(hosts=[redis_server.url])
        await layer.send("x", {})
        waiting = await receiving(redis_server, layer, "jobs") if reads else None
        [shard] = layer.home.shards
        forgotten = shard.commands
        firewall.drop()
        await until(lambda: shard.commands not in (None, forgotten))
        await layer.send("jobs", {"n": 1})
        assert await (waiting if reads else other.receive("jobs")) == {"n": 1}


@dialogue
async def test_a_server_that_falls_silent_while_it_is_prepared(redis_server, monkeypatch):
    monkeypatch.setattr(redis_shard, "CONNECT_TIME", 0.2)
    prepare, tries = redis_shard.Shard.prepare, []

    async def silent_at_first(shard, commands):
        tries.append(commands)
        if len(tries) == 1:
            firewall.drop()
        await prepare(shard, commands)

    monkeypatch.setattr(redis_shard.Shard, "prepare", silent_at_first)
    async with Firewall(redis_server.port) as firewall, Layers(firewall.url) as layers:
        layer = layers()
        await layer.send("jobs", {"n": 1})
        assert len(tries) == 2 and await layer.receive("jobs") == {"n": 1}


@dialogue
async def test_who_never_waits_is_told_to(redis_server):
    async with Layers(redis_server.url) as layers:
        layer, server = layers(), layers()
        own = await server.new_channel()
        layer.trust(own)
        await layer.send(own, {})
        connection, most = layer.home.shards[0].commands, 0
        redis_server.pause()
        sending = asyncio.ensure_future(asyncio.gather(*[layer.send(own, {"b": bytes(500_000)}) for _ in range(100)],
                                                       return_exceptions=True))
        await until(lambda: not connection.room.is_set())
        for _ in range(20):
            await asyncio.sleep(0)
            most = max(most, connection.written + connection.transport.get_write_buffer_size())
        redis_server.resume()
        await sending
        assert most < 50_000_000


# CONFIG

def test_hosts_are_those_of_channels_redis():
    assert read_hosts(None) == [Host()]
    assert read_hosts([("a", 1), ["b", "2"], {"host": "c", "port": 3, "db": 4}, "redis://u:p%40@d:5/6"]) == [
        Host("a", 1), Host("b", 2), Host("c", 3, db=4), Host("d", 5, db=6, username="u", password="p@")]
    assert read_hosts([{"address": "redis://a/1", "db": 2, "password": "x"}, {"address": "redis://a/1?db=3"}]) == [
        Host("a", db=1, password="x"), Host("a", db=3)], "the address goes before the rest, its query before its path"
    [found] = read_hosts([{"master_name": "main", "sentinels": [("s", 26379)], "sentinel_kwargs": {"password": "x"},
                           "db": 1, "socket_timeout": 5}])
    assert found == Sentinels((Host("s", 26379, password="x"),), "main", Host(db=1))


@pytest.mark.parametrize("hosts", ["redis://a", [{"address": "http://a"}], [{"master_name": "main"}], [{"hots": "a"}],
                                   [{"sentinels": [("s", 1)]}]])
def test_other_hosts_are_refused(hosts):
    with pytest.raises(ValueError, match="hosts|address|option|master_name"):
        RedisChannelLayer(hosts=hosts)


@pytest.mark.parametrize("config", [{"on_disconnect": "x"}, {"prefix": b"asgi"}, {"symmetric_encryption_keys": "one"},
                                    {"serializer_format": "pickle"}, {"capcity": 5}])
def test_settings_it_has_not_are_refused_in_a_sentence(config):
    with pytest.raises((TypeError, ValueError), match="has no setting|is a str|are a list|no serializer"):
        RedisChannelLayer(**config)


def test_the_random_prefix_is_as_long_as_it_is_set():
    message = msgpack.packb({"n": 1})
    layer = RedisChannelLayer(random_prefix_length=3)
    assert layer.format.decode(b"abc" + message, "jobs", 0.0) == ({"n": 1}, ["jobs"])


@dialogue
async def test_what_waits_at_either_of_two_servers_is_read_at_once(start_redis):
    servers = [start_redis() for _ in "12"]
    layer = RedisChannelLayer(hosts=[server.url for server in servers])
    busy = asyncio.ensure_future(layer.receive("other"))
    await until(lambda: layer.home is not None and [
        shard.reading.popping for shard in layer.home.shards] == [frozenset({"other"})] * 2)
    for number, server in enumerate(servers):
        value = layer.format.value(layer.format.pack({"n": number}), None, layer.now())
        server("ZADD", layer.format.key("c"), layer.now(), value)
        async with asyncio.timeout(redis_reading.WAIT / 2):
            assert await layer.receive("c") == {"n": number}
    busy.cancel()
    await layer.close()

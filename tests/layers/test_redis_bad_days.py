"""The Redis layer when Redis is not well: down, emptied, slow, full, another's, or not to be trusted."""
import contextlib
import subprocess

import pytest
import pytest_twisted
from redis_server import find, free_port
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults

from interfaces.contract import ChannelFull, Gap, LayerDown, Unconfirmed
from interfaces.layers.conformance import Server
from interfaces.layers.redis import RedisLayer
from interfaces.layers.redis_url import parse
from tests.certificates import certify
from tests.layers.real_redis import Client
from tests.layers.redis_layers import failure_of, fake, lines, ours_waiting, turns, until


@pytest.fixture
def quick(monkeypatch):
    """What takes seconds takes tenths."""
    for name, seconds in (("redis_shard.PATIENCE", 0.3), ("redis_shard.HEARTBEAT", 0.05), ("redis_shard.SETTLE", 0.01),
                          ("redis_client.SWEEP", 0.02), ("redis_client.ANSWER", 0.2), ("redis_client.SILENCE", 0.5),
                          ("redis_client.STEADY", 0.2), ("redis_box.PAUSE", 0.1), ("redis_box.ALONE", 0.1)):
        monkeypatch.setattr(f"interfaces.layers.{name}", seconds)


@pytest_twisted.async_yield_fixture
async def layers(quick):
    """`layers(url)`: a layer, its server's side (conformance.Server), and what is logged meanwhile."""
    made = []
    with lines() as log:
        async def make(url):
            layer = RedisLayer(reactor, parse(url))
            layer.losses, made[len(made):] = [], [layer]
            layer.gaps, server = 0, Server(layer)

            def deliver(connection, item):
                if not isinstance(item, Gap):
                    server.deliver(connection, item)
                elif item.everything:
                    layer.losses.append(reactor.seconds())
                else:
                    layer.gaps += 1
            server.address = await layer.open("interface", deliver)
            return layer, server, log
        yield make
        for layer in made:
            await layer.close()
    assert ours_waiting() == []


def is_up(layer):
    return lambda: all(shard.client.connection for shard in layer.shards) and all(
        reader.waiting for address in layer.addresses for reader in address.readers)


def hears(server, n):
    return lambda: len(server.items) >= n


# Down and back

@pytest_twisted.ensureDeferred
async def test_a_cut_reader_may_have_lost_a_message_and_says_so(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    assert layer.gaps == 0
    redis_server("CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: layer.gaps, "told of the gap")
    await until(is_up(layer), "connected again")
    await layer.send(server.name("c"), {"n": 1})
    await until(hears(server, 1), "goes on")
    assert layer.gaps == 1 and layer.losses == []


@pytest_twisted.ensureDeferred
async def test_a_send_that_was_not_answered_is_not_called_unsent(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    redis_server.pause()
    asked = layer.send("http.request", {"n": 1})
    assert isinstance(await failure_of(lambda: asked), Unconfirmed)
    redis_server.resume()


@pytest.mark.parametrize("form", ["channels_redis", "asgi_redis"])
@pytest_twisted.ensureDeferred
async def test_killed_and_restarted_empty_under_traffic(layers, redis_server, form):
    layer, server, log = await layers(f"{redis_server.url}?format={form}")
    sent, refused = [], []

    async def say(n):
        try:
            await layer.send(server.name("c"), {"n": n})
        except ChannelFull:
            refused.append(n)
        else:
            sent.append(n)
    await until(is_up(layer), "connected")
    for n in range(600):
        if n == 200:
            redis_server.kill()
        if n == 400:
            assert redis_server.start()
        await say(n)
    await until(is_up(layer), "connected again")
    await say(600)
    await until(lambda: server.items and server.items[-1][1]["n"] == 600, "the last one")
    heard = [message["n"] for _, message in server.heard()]
    assert heard == sorted(set(heard)), "twice, or out of order"
    assert sorted(sent + refused) == list(range(601))
    assert set(sent) - set(heard) <= set(range(195, 202)), "only what was on its way was lost"
    await until(lambda: layer.losses, "told of the loss")
    await turns(50)
    assert len(layer.losses) == 1
    changes = [line for line in log if "trying again" in line or "connected (" in line]
    assert len(changes) <= 5, changes


@pytest_twisted.ensureDeferred
async def test_a_send_waits_a_moment_for_a_server_that_comes_back_and_then_no_more(layers, redis_server):
    redis_server.kill()
    layer, server, log = await layers(redis_server.url)
    early = layer.send(server.name("c"), {"n": 1})
    assert redis_server.start()
    await early
    await until(hears(server, 1), "what waited")
    redis_server.kill()
    await until(lambda: not layer.shards[0].client.connection, "noticed")
    late, start = layer.send("http.request", {"n": 2}), reactor.seconds()
    assert isinstance(await failure_of(lambda: late), LayerDown)
    assert 0.1 < reactor.seconds() - start < 5
    with pytest.raises(LayerDown, match="Connection was refused|[Ll]ost|closed"):
        layer.send("http.request", {"n": 3})
    await layer.group_add("group", server.name("c"))            # what needs no verdict raises nothing
    await layer.delete("http.request.body.x")


@pytest_twisted.ensureDeferred
async def test_a_flush_is_noticed_and_nothing_else_is(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    await layer.group_add("group", server.name("c"))
    for _ in range(5):
        await layer.shards[0].check(layer.shards[0].client.connection)
    assert layer.losses == []
    redis_server("FLUSHALL")
    await until(lambda: layer.losses, "told")
    await layer.send(server.name("c"), {"n": 1})
    await until(hears(server, 1), "goes on")
    assert [line for line in log if "gone" in line] == [
        f"Redis 127.0.0.1:{redis_server.port} db 0: what was stored there is gone, or some of it"]
    assert len(layer.losses) == 1


@pytest_twisted.ensureDeferred
async def test_a_stock_layers_flush_is_noticed_too(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    for key in redis_server("KEYS", "asgi*"):
        redis_server("DEL", key)
    await until(lambda: layer.losses, "told")


@pytest_twisted.ensureDeferred
async def test_one_that_came_back_from_a_file_may_have_lost_what_was_written_last(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await layer.send("http.request", {"n": 1})
    redis_server("SAVE")
    redis_server.restart()
    await until(lambda: layer.losses, "told")
    assert redis_server("ZCARD", "asgihttp.request") == 1 and redis_server("EXISTS", layer.shards[0].mark_key) == 1


@pytest_twisted.ensureDeferred
async def test_one_that_loses_all_the_time_is_told_of_once_in_a_while(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    for _ in range(5):
        redis_server("FLUSHALL")
        await layer.shards[0].check(layer.shards[0].client.connection)
    assert len(layer.losses) == 1 and len([line for line in log if "gone" in line]) == 1


@pytest_twisted.ensureDeferred
async def test_over_a_unix_socket(layers, redis_server):
    layer, server, log = await layers(f"redis+unix://{redis_server.socket}?db=2")
    await layer.send(server.name("c"), {"n": 1})
    await until(hears(server, 1), "came")
    redis_server.kill()
    assert isinstance(await failure_of(lambda: layer.send("http.request", {})), LayerDown)
    redis_server.start()
    await until(is_up(layer), "connected again")


@pytest_twisted.ensureDeferred
async def test_flushed_scripts_are_loaded_again_and_nothing_is_swapped(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    redis_server("SCRIPT", "FLUSH")
    sent = []
    for n in range(300):
        error = await failure_of(lambda n=n: layer.send(server.name("c"), {"n": n}))
        if error is None:
            sent.append(n)
    await until(hears(server, len(sent)), "all came")
    assert [message["n"] for _, message in server.heard()] == sent and len(sent) >= 298
    redis_server("SCRIPT", "FLUSH")
    many = [layer.send(server.name("c"), {"n": n}) for n in range(300)]
    done = [n for n, one in enumerate(many) if await failure_of(lambda one=one: one) is None]
    await layer.send(server.name("c"), {"n": 300})
    await until(lambda: server.items and server.items[-1][1]["n"] == 300, "the last one")
    assert [message["n"] for _, message in server.heard()] == [*done, 300]


@pytest_twisted.ensureDeferred
async def test_cut_off_in_the_middle_of_a_pop(layers, redis_server, monkeypatch):
    monkeypatch.setattr("interfaces.layers.redis_client.STEADY", 0.0)
    layer, server, log = await layers(redis_server.url)
    for n in range(30):
        await until(is_up(layer), "reading")
        if n % 3 == 0:
            redis_server("CLIENT", "KILL", "TYPE", "normal")
        if await failure_of(lambda n=n: layer.send(server.name("c"), {"n": n})) is not None:
            server.items.append(("c", {"n": n}))
        await until(hears(server, n + 1), f"message {n}")
    assert [message["n"] for _, message in server.heard()] == list(range(30))
    assert layer.losses == []


@pytest_twisted.ensureDeferred
async def test_paused_and_back(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    redis_server.pause()
    start = reactor.seconds()
    try:
        error = await failure_of(lambda: layer.send(server.name("c"), {"n": 1}))
        assert isinstance(error, LayerDown) and reactor.seconds() - start < 5
        await until(lambda: layer.shards[0].reason, "given up")
    finally:
        redis_server.resume()
    await until(is_up(layer), "connected again")
    await layer.send(server.name("c"), {"n": 2})
    await until(lambda: server.items and server.items[-1][1]["n"] == 2, "goes on")
    heard = [message["n"] for _, message in server.heard()]
    assert heard in ([1, 2], [2])           # refused with a doubt: it may have come, but once
    assert layer.losses == []


# Errors that it answers

def together(*stories):
    """All of them at once: what they do is to wait."""
    return gatherResults([ensureDeferred(story) for story in stories], consumeErrors=True)


ERRORS = [
    b"-LOADING Redis is loading the dataset in memory\r\n", b"-READONLY You can't write against a read only replica.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", b"-NOAUTH Authentication required.\r\n",
    b"-MISCONF Redis is configured to save RDB snapshots\r\n", b"-BUSY Redis is busy running a script.\r\n",
    b"-NOPERM this user has no permissions\r\n", b"-WRONGTYPE Operation against a key\r\n", b"-ERR nonsense\r\n",
    b"+OK\r\n", b"$-1\r\n", b"*0\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n", b":7\r\n"]


@pytest_twisted.ensureDeferred
async def test_whatever_it_answers_to_a_send_is_channelfull(layers):
    async def answered(error):
        async with fake(EVALSHA=error) as (port, answers, commands):
            layer, server, log = await layers(f"redis://127.0.0.1:{port}")
            for sending in (lambda: layer.send("http.request", {}), lambda: layer.group_send("group", {})):
                failure = await failure_of(sending)
                assert isinstance(failure, LayerDown) or error == b"*0\r\n" and failure is None, (error, failure)
            await layer.group_add("group", server.name("c"))
            answers[b"EVALSHA"] = b"*2\r\n:1795238785000000\r\n:0\r\n"
            await until(lambda: layer.shards[0].client.connection, f"up after {error}")
            await layer.send("http.request", {})
            await layer.close()
    await together(*map(answered, ERRORS))


@pytest.mark.parametrize("command", ["SCRIPT", "TIME", "ZADD", "BZPOPMIN", "EVAL"])
@pytest_twisted.ensureDeferred
async def test_refused_again_and_again_it_is_asked_less_and_less(layers, command):
    async def refused(error):
        answers = {"BZPOPMIN": b"*3\r\n$1\r\nk\r\n$20\r\n" + b"x" * 20 + b"\r\n$1\r\n1\r\n" if command == "EVAL" else None}
        async with fake(**{**answers, command: error}) as (port, answers, commands):
            layer, server, log = await layers(f"redis://127.0.0.1:{port}")
            await until(lambda: command.encode() in [asked[0] for asked in commands], f"asked, with {error}")
            if command == "EVAL":
                answers[b"BZPOPMIN"] = None
            start, before = reactor.seconds(), len(commands)
            await until(lambda: reactor.seconds() - start > 0.3, "a while")
            # 6 heartbeats of 4 commands, and 4 attempts of 10 commands by each of two connections; a busy loop has thousands
            assert len(commands) - before < 150, error
            said = [line for line in log if f"127.0.0.1:{port} " in line]
            assert len(said) < 8 and len(log) < 32, log
            await layer.close()
    await together(*map(refused, (b"-LOADING Redis is loading\r\n", b"-READONLY replica\r\n", b"-ERR nonsense\r\n", b":5\r\n")))


@pytest_twisted.ensureDeferred
async def test_one_that_answers_slowly_is_given_up_after_a_while(layers):
    async with fake(EVALSHA=None) as (port, answers, commands):
        layer, server, log = await layers(f"redis://127.0.0.1:{port}")
        await until(lambda: layer.shards[0].client.connection, "up")
        start = reactor.seconds()
        with pytest.raises(LayerDown, match="slowly"):
            await layer.send("http.request", {})
        assert 0.15 < reactor.seconds() - start < 5


@pytest_twisted.ensureDeferred
async def test_what_is_no_redis(layers):
    async with fake(ALL=b"HTTP/1.1 400 Bad Request\r\n\r\n", SCRIPT=b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _, commands):
        layer, server, log = await layers(f"redis://127.0.0.1:{port}")
        await until(lambda: log, "logged")
        assert log == [f"Redis 127.0.0.1:{port} db 0: what it answers is no Redis protocol; trying again"]


@pytest_twisted.ensureDeferred
async def test_a_full_server_is_channelfull_and_is_still_read(layers, redis_server):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    redis_server("CONFIG", "SET", "maxmemory", 1)
    assert "OOM" in str(await failure_of(lambda: layer.send("http.request", {"n": 1})))
    layer.shards[0].client.drop("a test")
    await until(is_up(layer), "connected to a full one")
    redis_server("CONFIG", "SET", "maxmemory", 0)
    await layer.send(server.name("c"), {"n": 2})
    await until(hears(server, 1), "read")


@pytest_twisted.ensureDeferred
async def test_a_replica_is_not_written_to(layers, redis_server, start_redis):
    layer, server, log = await layers(redis_server.url)
    await until(is_up(layer), "connected")
    other = start_redis()
    redis_server("REPLICAOF", "127.0.0.1", other.port)
    assert isinstance(await failure_of(lambda: layer.send("http.request", {})), LayerDown)
    await until(lambda: any("READONLY" in line for line in log), "logged")
    redis_server("REPLICAOF", "NO", "ONE")
    await until(is_up(layer), "connected again")
    await layer.send(server.name("c"), {"n": 1})
    await until(hears(server, 1), "goes on")


# Who is who

@pytest_twisted.ensureDeferred
async def test_passwords_users_and_databases(layers, start_redis, monkeypatch, tmp_path):
    redis = start_redis("--requirepass", "se:cret")
    port = redis.port
    client = Client(redis.socket)
    client("AUTH", "se:cret")
    client("ACL", "SETUSER", "web", "on", ">word", "~asgi*", "+@all", "-@dangerous")
    monkeypatch.setenv("REDIS_PASSWORD", "se:cret")
    for url in (f"redis://:se%3Acret@127.0.0.1:{port}/3", f"redis://127.0.0.1:{port}/3?password_env=REDIS_PASSWORD",
                f"redis://web:word@127.0.0.1:{port}/3"):
        layer, server, log = await layers(url)
        await layer.send(server.name("c"), {"n": 1})
        await until(hears(server, 1), url)
        await layer.send("http.request", {"n": 1})
    client("SELECT", 3)
    assert client("ZCARD", "asgihttp.request") == 3
    client.close()


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_said_once_without_the_password(layers, start_redis):
    async def refused(who, answer):
        redis = start_redis("--requirepass", "secret")
        layer, server, log = await layers(f"redis://{who}127.0.0.1:{redis.port}")
        assert isinstance(await failure_of(lambda: layer.send("http.request", {})), LayerDown)
        said = [line for line in log if f":{redis.port} " in line]
        assert len(said) == 2 and answer in said[0] and "wrong" not in said[0], log     # the second: a message was not sent
    await together(refused("", "NOAUTH"), refused(":wrong@", "WRONGPASS"), refused("nobody:word@", "WRONGPASS"))


@pytest.fixture
def tls(tmp_path, start_redis):
    """`tls(name)`: the port of a server with a certificate for this name, of our authority; clients need one too."""
    authority = certify(tmp_path, "authority")
    certify(tmp_path, "client", authority)

    def start(name):
        certify(tmp_path, name, authority)
        with_tls = ("--tls-cert-file", f"{tmp_path}/{name}.crt", "--tls-key-file", f"{tmp_path}/{name}.key",
                    "--tls-ca-cert-file", f"{tmp_path}/authority.crt")
        port = free_port()
        start_redis("--tls-port", str(port), *with_tls)
        return port
    return start


@pytest_twisted.ensureDeferred
async def test_tls_with_both_certificates(layers, tls, tmp_path):
    port = tls("127.0.0.1")
    layer, server, log = await layers(f"rediss://127.0.0.1:{port}?tls_ca={tmp_path}/authority.crt&tls_cert={tmp_path}"
                                      f"/client.crt&tls_key={tmp_path}/client.key")
    await layer.send(server.name("c"), {"body": b"x" * 500_000})
    await until(hears(server, 1), "over TLS")


@pytest.mark.parametrize("name, ca, why", [
    ("elsewhere.example", True, "its certificate is for another name"), ("127.0.0.1", False, "verify failed")])
@pytest_twisted.ensureDeferred
async def test_tls_refuses_a_wrong_name_and_an_unknown_authority(layers, tls, tmp_path, name, ca, why):
    port = tls(name)
    url = f"rediss://127.0.0.1:{port}?tls_cert={tmp_path}/client.crt&tls_key={tmp_path}/client.key"
    layer, server, log = await layers(url + (f"&tls_ca={tmp_path}/authority.crt" if ca else ""))
    assert isinstance(await failure_of(lambda: layer.send("http.request", {})), LayerDown)
    assert "TLS: " in log[0] and why in log[0], log


@pytest_twisted.ensureDeferred
async def test_tls_files_that_cant_be_read_are_a_sentence(tmp_path):
    (tmp_path / "empty").write_text("nothing")
    for option, why in ((f"tls_ca={tmp_path}/none", "can't read .*none: No such file"),
                        (f"tls_ca={tmp_path}/empty", "there is no certificate in"),
                        (f"tls_cert={tmp_path}/empty", "can't read the certificate or key")):
        with pytest.raises(ValueError, match=why):
            RedisLayer(reactor, parse(f"rediss://127.0.0.1:1?{option}"))


# Sentinel

@pytest.fixture
def sentinel(start_redis, tmp_path):
    """A master, a replica of it, and a Sentinel that has noticed both."""
    master = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds mymaster 300\n"
                      "sentinel failover-timeout mymaster 1000\n")
    return master, replica, config


def begin_sentinel(config):
    port = free_port()
    process = subprocess.Popen([find(), str(config), "--sentinel", "--port", str(port), "--bind", "127.0.0.1",
                                "--unixsocket", f"{config.parent}/s"], stdout=subprocess.DEVNULL)
    return process, port


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_sentinel_failover(layers, sentinel, tmp_path):
    master, replica, config = sentinel
    process, port = begin_sentinel(config)
    try:
        def sees_replica():
            with contextlib.suppress(OSError):
                client = Client(f"{tmp_path}/s")
                found = client("SENTINEL", "REPLICAS", "mymaster")
                client.close()
                return len(found) == 1 and b"slave" in found[0]
        await until(sees_replica, "the Sentinel found the replica")
        layer, server, log = await layers(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/0?master=mymaster")
        await until(is_up(layer), "connected")
        await layer.send(server.name("c"), {"n": 1})
        await until(hears(server, 1), "the master takes it")
        assert master("EXISTS", layer.shards[0].mark_key) == 1
        master.kill()
        end = reactor.seconds() + 20
        while await failure_of(lambda: layer.send(server.name("c"), {"n": 2})) is not None:
            assert reactor.seconds() < end, log
            await turns(5)
        await until(hears(server, 2), "the new master takes it")
        assert [message["n"] for _, message in server.heard()] == [1, 2]
        assert layer.shards[0].place.host.port == replica.port and layer.losses
    finally:
        process.terminate()
        process.wait()


@pytest_twisted.ensureDeferred
async def test_no_sentinel_knows_it(layers):
    async with fake(SENTINEL=b"*-1\r\n") as (port, answers, commands):
        layer, server, log = await layers(f"redis+sentinel://127.0.0.1:{port}?master=mymaster")
        await until(lambda: log, "said")
        assert log == ["Redis master mymaster: no Sentinel tells where it is (none knows it); trying again"]
        answers[b"SENTINEL"] = b"+OK\r\n"
        await until(lambda: len(log) > 1, "said")
        assert f"(127.0.0.1:{port} db 0 is no Sentinel)" in log[1]


@pytest_twisted.ensureDeferred
async def test_a_layer_that_is_closed_while_it_asks_a_sentinel_leaves_nothing(layers):
    async with fake(SENTINEL=None) as (port, answers, commands):
        await layers(f"redis+sentinel://127.0.0.1:{port}?master=mymaster")
        await until(lambda: commands, "asked")          # the fixture closes it, and looks for timers


@pytest_twisted.ensureDeferred
async def test_a_sentinel_that_names_a_replica_or_changes_its_mind(layers):
    slave, master = b"*1\r\n$5\r\nslave\r\n", b"*1\r\n$6\r\nmaster\r\n"
    async with fake(ROLE=slave) as (one, role, commands), fake(ROLE=master) as (two, *_):
        def named(port):
            return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)
        async with fake(SENTINEL=named(one)) as (port, answers, asked):
            layer, server, log = await layers(f"redis+sentinel://127.0.0.1:{port}?master=mymaster")
            await until(lambda: log, "said")
            assert log == [f"Redis master mymaster: 127.0.0.1:{one} db 0 is a slave, not the master; trying again"]
            role[b"ROLE"] = master
            await until(lambda: layer.shards[0].client.connection, "up")
            answers[b"SENTINEL"] = named(two)
            await until(lambda: layer.shards[0].client.connection and layer.shards[0].place.host.port == two, "followed")

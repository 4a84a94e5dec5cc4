"""`--check` against real servers: what it says, and its exit status. Three tests run the command, the others what it runs."""
import asyncio
import contextlib
import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from interfaces.check import check_foreign, run
from interfaces.layers import wire_local as wire
from interfaces.layers.configured import read
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat
from interfaces.options import options_class
from tests.layers.redis_layers import lines as logged

TWISTD = Path(sys.executable).parent / "twistd"
TRIP = r"a message goes there and back in \d+\.\d\d ms \(median of 20\)"
Options = options_class()


@pytest.fixture
def command(tmp_path):
    """`command(*arguments)` runs twistd and gives (exit status, lines)."""
    def command(*arguments):
        done = subprocess.run(
            [TWISTD, "channels-interfaces", "--check", "--http", "8000", *arguments], text=True,
            capture_output=True, cwd=tmp_path, timeout=60,
            env=dict(os.environ, CHANNELS_INTERFACES_SOCKET=str(tmp_path / "hub.sock"), DJANGO_SETTINGS_MODULE=""))
        assert "Traceback" not in done.stdout + done.stderr and done.stderr == "", done.stderr
        assert not (tmp_path / "twistd.pid").exists()
        lines = done.stdout.splitlines()
        assert done.returncode == any("wrong: " in line for line in lines), lines
        return done.returncode, lines
    return command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder whose modules can be imported, and whose hub.sock is the workers'; gone from this process afterwards."""
    monkeypatch.setenv("CHANNELS_INTERFACES_SOCKET", str(tmp_path / "hub.sock"))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name, module in list(sys.modules.items())
                 if str(getattr(module, "__file__", "")).startswith(f"{tmp_path}/")]:
        del sys.modules[name]


@pytest.fixture
def check(here, monkeypatch, capfd):
    """`await check(*arguments)` gives the exit status and the lines that the command would, from within this process."""
    monkeypatch.setattr("interfaces.check_redis.BETWEEN", 0.005)        # instead of 0.1 s between looks for a worker

    async def check(*arguments, http="8000"):
        options = Options()
        options.parseOptions(["--http", http or "8000", *arguments])
        if not http:
            options.listen.clear()
        with logged() as log:
            status = await run(options, reactor)
        said = capfd.readouterr()
        assert log == [] and said.err == ""
        return status, said.out.splitlines()
    return check


# local:

@pytest_twisted.ensureDeferred
async def test_no_server_runs(command, check, tmp_path):
    nothing = 1, [f"wrong: no interface server runs: there is no socket {tmp_path}/hub.sock"]
    assert command() == nothing and await check() == nothing
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "hub.sock"))
    assert await check() == (1, [f"wrong: no interface server runs: one that was killed left the socket {tmp_path}/hub.sock"])


class Impostor:
    """Listens on a path and says one thing to everybody."""

    def __init__(self, path, *said: bytes):
        self.sock, self.said = socket.socket(socket.AF_UNIX), said
        self.sock.bind(str(path))
        self.sock.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with self.sock, self.sock.accept()[0] as visitor:
            for said in self.said:
                visitor.recv(65536)
                visitor.sendall(said)
            visitor.shutdown(socket.SHUT_WR)
            while visitor.recv(65536):
                pass


@pytest.mark.parametrize(("said", "line"), [
    ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "does not answer as an interface server"), ([], "it closes the connection"),
    ([wire.frame(wire.WELCOME, "", msgpack.packb({"version": 9, "refused": "install the same"}))],
     "refuses workers: install the same"),
    ([wire.frame(wire.WELCOME, "", msgpack.packb({"version": 1})), wire.frame(wire.MESSAGE, "", msgpack.packb({"n": 1}))],
     "a message is not what was sent"),
])
@pytest_twisted.ensureDeferred
async def test_what_listens_there_is_no_server(check, tmp_path, said, line):
    Impostor(tmp_path / "hub.sock", *said)
    status, [finding] = await check()
    assert status == 1 and line in finding


@pytest_twisted.ensureDeferred
async def test_memory_is_nobodys(check):
    status, [finding] = await check("--layer", "memory:")
    assert status == 1 and "no worker can reach it" in finding
    assert await check("--app", "a:b") == (0, ["ok: memory: is in the server's own process, where --app runs the application"])


@pytest_twisted.ensureDeferred
async def test_a_url_that_means_nothing(check):
    _, [finding] = await check("--layer", "redis://x/?nonsense=1")
    assert finding.startswith("wrong: --layer redis: there is no option 'nonsense'")


# foreign

def project(folder, backend, module="settings_of_check", **config):
    (folder / f"{module}.py").write_text(f"CHANNEL_LAYERS = {{'default': {{'BACKEND': {backend!r}, 'CONFIG': {config!r}}}}}")
    importlib.invalidate_caches()
    return "--layer", f"django:{module}"


LAYERS = '''
from channels.layers import InMemoryChannelLayer

class Good(InMemoryChannelLayer): pass

class Text(InMemoryChannelLayer):
    extensions = []
    async def receive(self, channel):
        message = await super().receive(channel)
        return message | {"bytes": message["bytes"].decode("latin-1")}

class Down(InMemoryChannelLayer):
    async def send(self, channel, message):
        raise Exception("nobody is there")
'''


@pytest.mark.parametrize(("backend", "said"), [
    ("layers_of_check.Good", [f"ok: Good answers: {TRIP}", "ok: nobody can ask Good"]),
    ("channels.layers.InMemoryChannelLayer", ["ok: In", "wrong: .* in each process by itself", "ok: nobody"]),
    ("layers_of_check.Text", ["wrong: Text does not carry .*bytes among it", "wrong: Text has no groups", "ok: nobody"]),
    ("layers_of_check.Down", ["wrong: layers_of_check.Down: Down: Exception: nobody is there"]),
    ("layers_of_check.Nothing", ["wrong: settings_of_check#default: layers_of_check.Nothing can't be made"]),
])
def test_a_foreign_layer(here, capfd, backend, said):
    (here / "layers_of_check.py").write_text(LAYERS)
    _, given = project(here, backend)

    async def ask():        # on asyncio, which this process's reactor is not
        found = check_foreign(read(given.removeprefix("django:")), Clock())
        return [("wrong: " if finding.wrong else "ok: ") + finding.text async for finding in found]

    async def main():
        return await ensureDeferred(ask()).asFuture(asyncio.get_running_loop())
    with logged():
        lines = asyncio.run(main())
    assert capfd.readouterr() == ("", "")
    assert len(lines) == len(said) and all(re.match(*pair) for pair in zip(said, lines, strict=True)), lines


def test_a_foreign_layer_that_is_down_by_the_command(command, tmp_path):
    (tmp_path / "layers_of_check.py").write_text(LAYERS)
    assert command(*project(tmp_path, "layers_of_check.Down")) == (
        1, ["wrong: layers_of_check.Down: Down: Exception: nobody is there"])


# Redis

def matches(lines, *said):
    assert len(lines) == len(said) and all(re.search(*pair) for pair in zip(said, lines, strict=True)), lines


class Reader:
    """A program that waits for messages, as a worker does."""

    def __init__(self, redis, command="BZPOPMIN", db=0, name=None):
        self.sock = socket.create_connection(("127.0.0.1", redis.port), 10)
        named = f"CLIENT SETNAME {name}\r\n" if name else ""
        self.sock.sendall(f"SELECT {db}\r\n{named}{command} asgihttp.request 0\r\n".encode())
        self.sock.recv(5)       # +OK: from here on it waits


@pytest.mark.parametrize("format", ["channels_redis", "asgi_redis"])
@pytest_twisted.ensureDeferred
async def test_a_redis_that_is_well(command, check, redis_server, format):
    url = f"redis://127.0.0.1:{redis_server.port}/0?format={format}"
    reader = Reader(redis_server)
    answers = rf"^ok: 127\.0\.0\.1:\d+ db 0: Redis [\d.]+ answers: {TRIP}$"
    for status, lines in (await check("--layer", url), *([command("--layer", url)] if format == "channels_redis" else [])):
        matches(lines, answers, "ok: .*1 program waits for mess")
        assert status == 0
        assert redis_server("DBSIZE") == 0, "it leaves nothing behind"
    reader.sock.close()


@pytest_twisted.ensureDeferred
async def test_no_worker_is_there_and_servers_are_none(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    readers = [Reader(redis_server, name="channels-interfaces"), Reader(redis_server, db=1)]
    status, lines = await check("--layer", url)
    matches(lines, "answers", "nobody waits for messages, so no worker listens on http.request; start one: python manage.py")
    assert status == 1
    for reader in readers:
        reader.sock.close()
    status, lines = await check("--layer", url, http=None)
    matches(lines, "answers", "no interface listens here")
    assert status == 0


def put(redis, wire_format, channel, message):
    redis("EVAL", *wire_format.send(channel, wire_format.pack(message), time.time()).eval()[1:])


@pytest_twisted.ensureDeferred
async def test_messages_of_the_other_format_or_prefix_wait(check, redis_server):
    put(redis_server, ClassicFormat(), "http.request", {"n": 1})
    put(redis_server, ClassicFormat(prefix="mysite:"), "http.request", {"n": 1})
    put(redis_server, ChannelsFormat(prefix="mysite"), "http.request", {"n": 1})
    url = f"redis://127.0.0.1:{redis_server.port}"
    lines = (await check("--layer", url))[1]
    matches(lines, "answers", r"1 messages of asgi_redis wait in asgi:http.request, .*: format=asgi_redis$",
            r"1 messages of asgi_redis wait in mysite:http.request, .*: format=asgi_redis&prefix=mysite:$",
            r"1 messages of channels_redis wait in mysitehttp.request, .*: format=channels_redis&prefix=mysite$",
            "nobody waits")
    lines = (await check("--layer", f"{url}?format=asgi_redis"))[1]
    matches(lines, "answers", "^ok: .*: 1 messages wait on http.request", "mysite:http", "mysitehttp", "nobody waits")


@pytest_twisted.ensureDeferred
async def test_what_another_layer_of_this_server_writes_is_not_foreign(check, redis_server):
    put(redis_server, ClassicFormat(), "http.request", {"n": 1})
    url = f"redis://127.0.0.1:{redis_server.port}"
    lines = (await check("--layer", url, "--layer", f"old={url}?format=asgi_redis", "--http", "old@8001"))[1]
    matches(lines, "^ok: .* answers", "^wrong: .*nobody waits", "^old: ok: .* answers", "^old: ok: .*: 1 messages wait",
            "^old: wrong: .*nobody waits")


@pytest_twisted.ensureDeferred
async def test_messages_that_wait_too_long_or_come_from_the_future(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    redis_server("ZADD", "asgihttp.request", time.time() - 30, "x" * 20)
    assert re.search(r"1 messages wait on http.request, the oldest for 3\d\.\d s: no worker reads it",
                     (await check("--layer", url))[1][1])
    redis_server("ZADD", "asgihttp.request", time.time() + 100, "y" * 20)
    assert re.search(r"is dated \d+\.\d s ahead: the clock of who sent it is wrong", (await check("--layer", url))[1][1])
    redis_server("DEL", "asgihttp.request")
    redis_server("SET", "asgihttp.request", "1")
    assert "asgihttp.request is a string and no zset" in (await check("--layer", url))[1][1]


@pytest_twisted.ensureDeferred
async def test_a_stock_layer_doubles(check, redis_server, tmp_path):
    reader = Reader(redis_server)
    redis_server("ZADD", "asgihttp.request$inflight", 1, "x" * 20)
    _, lines = await check(*project(tmp_path, "channels_redis.core.RedisChannelLayer",
                                    hosts=[("127.0.0.1", redis_server.port)]))
    matches(lines, "wrong: the workers' capacity for the server's reply channels is 100", "wrong: .*channels_redis#163",
            "ok: .* answers",
            r"wrong: .*\$inflight is there: a stock channels_redis reads http.request",
            "ok: .*1 program waits")
    redis_server("DEL", "asgihttp.request$inflight")
    status, lines = await check(*project(tmp_path, "interfaces.worker.layers.RedisChannelLayer", "settings_of_ours",
                                         hosts=[("127.0.0.1", redis_server.port)]))
    assert status == 0, lines
    reader.sock.close()


@pytest_twisted.ensureDeferred
async def test_a_stock_capacity_may_be_raised_and_several_hosts_lose_answers(check, redis_server, tmp_path):
    lines = (await check(*project(tmp_path, "channels_redis.core.RedisChannelLayer", channel_capacity={"interface.*": 10_000},
                           hosts=[("127.0.0.1", redis_server.port), f"redis://127.0.0.1:{redis_server.port}/1"])))[1]
    matches(lines, "channels_redis#163", "loses about half of the answers", "ok", "nobody", "ok", "nobody")


@pytest_twisted.ensureDeferred
async def test_a_serializer_without_bytes_and_a_small_box(check, redis_server):
    lines = (await check("--layer", f"redis://127.0.0.1:{redis_server.port}?serializer=json&local_capacity=100"))[1]
    matches(lines, "wrong: this serializer can't carry bytes", "wrong: the capacity for the server's reply channels is 100",
            "ok: .* answers", "nobody")


@pytest_twisted.ensureDeferred
async def test_a_redis_that_drops_keys_or_is_not_writable(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    redis_server("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    assert "with maxmemory-policy allkeys-lru it drops messages" in (await check("--layer", url))[1][1]
    redis_server("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    assert "it has used all the memory it may" in (await check("--layer", url))[1][0]
    redis_server("CONFIG", "SET", "maxmemory", "0")
    redis_server("REPLICAOF", "127.0.0.1", "1")
    assert "it is a replica" in (await check("--layer", url))[1][0]


@pytest_twisted.ensureDeferred
async def test_a_redis_that_can_not_be_reached(check, start_redis):
    server = start_redis("--requirepass", "secret")
    assert "it wants a password" in (await check("--layer", f"redis://127.0.0.1:{server.port}"))[1][0]
    lines = (await check("--layer", f"redis://:wrong-one@127.0.0.1:{server.port}"))[1]
    assert "the password is wrong" in lines[0] and "wrong-one" not in lines[0]
    assert "answers" in (await check("--layer", f"redis://:secret@127.0.0.1:{server.port}"))[1][0]
    server.kill()
    assert "it can't be reached" in (await check("--layer", f"redis://127.0.0.1:{server.port}"))[1][0]


@pytest_twisted.ensureDeferred
async def test_no_tls_where_tls_was_meant(check, redis_server, monkeypatch):
    monkeypatch.setattr("interfaces.layers.redis_client.ANSWER", 0.2)       # a Redis waits for the rest of the greeting
    monkeypatch.setattr("interfaces.layers.redis_client.SWEEP", 0.02)
    assert "does it speak TLS there?" in (await check("--layer", f"rediss://127.0.0.1:{redis_server.port}"))[1][0]


@pytest_twisted.ensureDeferred
async def test_a_clock_that_is_wrong(check, tmp_path):
    """A server that only tells the time, an hour ahead, and answers the rest as Redis does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as client, contextlib.suppress(ConnectionError):
            file = client.makefile("rb")
            while line := file.readline():
                parts = [file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                client.sendall(answer(parts))
    stored = []

    def answer(parts):
        match parts[0], len(parts):
            case b"INFO", _:
                return b"$21\r\nredis_version:7.0.0\r\n\r\n"
            case b"TIME", _:
                return b"*2\r\n$10\r\n%d\r\n$1\r\n0\r\n" % (time.time() + 3600)
            case b"EVALSHA", 8:                         # put
                stored.append(parts[-1])
                return b"*2\r\n:1\r\n:0\r\n"
            case b"EVALSHA", _:                         # take
                return b"*3\r\n:1\r\n:0\r\n*1\r\n$%d\r\n%b\r\n" % (len(stored[-1]), stored.pop())
            case _:
                return b"+OK\r\n"
    threading.Thread(target=serve, daemon=True).start()
    lines = (await check("--layer", f"redis://127.0.0.1:{listener.getsockname()[1]}", http=None))[1]
    matches(lines, "answers", r"its clock is 3(600|599)\.\d s ahead of this machine's", "no interface")

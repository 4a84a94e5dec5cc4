"""`--check` against real servers: what it says, and its exit status."""
import contextlib
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

from interfaces.layers import wire_local as wire
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat

TWISTD = Path(sys.executable).parent / "twistd"
TRIP = r"a message goes there and back in \d+\.\d\d ms \(median of 20\)"


@pytest.fixture
def check(tmp_path):
    """`check(*arguments)` gives (exit status, lines)."""
    def check(*arguments, http="8000"):
        done = subprocess.run(
            [TWISTD, "channels-interfaces", "--check", *(["--http", http] if http else []), *arguments], text=True,
            capture_output=True, cwd=tmp_path, timeout=60,
            env=dict(os.environ, CHANNELS_INTERFACES_SOCKET=str(tmp_path / "hub.sock"), DJANGO_SETTINGS_MODULE=""))
        assert "Traceback" not in done.stdout + done.stderr and done.stderr == "", done.stderr
        assert not (tmp_path / "twistd.pid").exists()
        lines = done.stdout.splitlines()
        assert done.returncode == any("wrong: " in line for line in lines), lines
        return done.returncode, lines
    return check


# local:

def test_no_server_runs(check, tmp_path):
    assert check() == (1, [f"wrong: no interface server runs: there is no socket {tmp_path}/hub.sock"])
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "hub.sock"))
    assert check() == (1, [f"wrong: no interface server runs: one that was killed left the socket {tmp_path}/hub.sock"])


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
def test_what_listens_there_is_no_server(check, tmp_path, said, line):
    Impostor(tmp_path / "hub.sock", *said)
    status, [finding] = check()
    assert status == 1 and line in finding


def test_memory_is_nobodys(check):
    status, [finding] = check("--layer", "memory:")
    assert status == 1 and "no worker can reach it" in finding
    assert check("--app", "a:b") == (0, ["ok: memory: is in the server's own process, where --app runs the application"])


def test_a_url_that_means_nothing(check):
    assert check("--layer", "redis://x/?nonsense=1")[1][0].startswith("wrong: --layer redis: there is no option 'nonsense'")


# foreign

def project(folder, backend, **config):
    (folder / "settings_of_check.py").write_text(
        f"CHANNEL_LAYERS = {{'default': {{'BACKEND': {backend!r}, 'CONFIG': {config!r}}}}}")
    return "--layer", "django:settings_of_check"


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
def test_a_foreign_layer(check, tmp_path, backend, said):
    (tmp_path / "layers_of_check.py").write_text(LAYERS)
    status, lines = check(*project(tmp_path, backend))
    assert len(lines) == len(said) and all(re.match(*pair) for pair in zip(said, lines, strict=True)), lines


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
def test_a_redis_that_is_well(check, redis_server, format):
    url = f"redis://127.0.0.1:{redis_server.port}/0?format={format}"
    reader = Reader(redis_server)
    nothing = ["nothing waits on|0 messages wait"] if redis_server("DBSIZE") else []
    status, lines = check("--layer", url)
    matches(lines, rf"^ok: 127\.0\.0\.1:\d+ db 0: Redis [\d.]+ answers: {TRIP}$", *nothing, "ok: .*1 program waits for mess")
    assert status == 0
    assert redis_server("DBSIZE") == 0, "it leaves nothing behind"
    reader.sock.close()


def test_no_worker_is_there_and_servers_are_none(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    readers = [Reader(redis_server, name="channels-interfaces"), Reader(redis_server, db=1)]
    status, lines = check("--layer", url)
    matches(lines, "answers", "nobody waits for messages, so no worker listens on http.request; start one: python manage.py")
    assert status == 1
    for reader in readers:
        reader.sock.close()
    status, lines = check("--layer", url, http=None)
    matches(lines, "answers", "no interface listens here")
    assert status == 0


def put(redis, wire_format, channel, message):
    redis("EVAL", *wire_format.send(channel, wire_format.pack(message), time.time()).eval()[1:])


def test_messages_of_the_other_format_or_prefix_wait(check, redis_server):
    put(redis_server, ClassicFormat(), "http.request", {"n": 1})
    put(redis_server, ClassicFormat(prefix="mysite:"), "http.request", {"n": 1})
    put(redis_server, ChannelsFormat(prefix="mysite"), "http.request", {"n": 1})
    url = f"redis://127.0.0.1:{redis_server.port}"
    lines = check("--layer", url)[1]
    matches(lines, "answers", r"1 messages of asgi_redis wait in asgi:http.request, .*: format=asgi_redis$",
            r"1 messages of asgi_redis wait in mysite:http.request, .*: format=asgi_redis&prefix=mysite:$",
            r"1 messages of channels_redis wait in mysitehttp.request, .*: format=channels_redis&prefix=mysite$",
            "nobody waits")
    lines = check("--layer", f"{url}?format=asgi_redis")[1]
    matches(lines, "answers", "^ok: .*: 1 messages wait on http.request", "mysite:http", "mysitehttp", "nobody waits")


def test_what_another_layer_of_this_server_writes_is_not_foreign(check, redis_server):
    put(redis_server, ClassicFormat(), "http.request", {"n": 1})
    url = f"redis://127.0.0.1:{redis_server.port}"
    lines = check("--layer", url, "--layer", f"old={url}?format=asgi_redis", "--http", "old@8001")[1]
    matches(lines, "^ok: .* answers", "^wrong: .*nobody waits", "^old: ok: .* answers", "^old: ok: .*: 1 messages wait",
            "^old: wrong: .*nobody waits")


def test_messages_that_wait_too_long_or_come_from_the_future(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    redis_server("ZADD", "asgihttp.request", time.time() - 30, "x" * 20)
    assert re.search(r"1 messages wait on http.request, the oldest for 3\d\.\d s: no worker reads it",
                     check("--layer", url)[1][1])
    redis_server("ZADD", "asgihttp.request", time.time() + 100, "y" * 20)
    assert re.search(r"is dated \d+\.\d s ahead: the clock of who sent it is wrong", check("--layer", url)[1][1])
    redis_server("DEL", "asgihttp.request")
    redis_server("SET", "asgihttp.request", "1")
    assert "asgihttp.request is a string and no zset" in check("--layer", url)[1][1]


def test_a_stock_layer_doubles(check, redis_server, tmp_path):
    reader = Reader(redis_server)
    redis_server("ZADD", "asgihttp.request$inflight", 1, "x" * 20)
    lines = check(*project(tmp_path, "channels_redis.core.RedisChannelLayer", hosts=[("127.0.0.1", redis_server.port)]))[1]
    matches(lines, "wrong: the workers' capacity for the server's reply channels is 100", "wrong: .*channels_redis#163",
            "ok: .* answers",
            r"wrong: .*\$inflight is there: a stock channels_redis reads http.request",
            "ok: .*1 program waits")
    redis_server("DEL", "asgihttp.request$inflight")
    status, lines = check(*project(tmp_path, "interfaces.worker.layers.RedisChannelLayer",
                                   hosts=[("127.0.0.1", redis_server.port)]))
    assert status == 0, lines
    reader.sock.close()


def test_a_stock_capacity_may_be_raised_and_several_hosts_lose_answers(check, redis_server, tmp_path):
    lines = check(*project(tmp_path, "channels_redis.core.RedisChannelLayer", channel_capacity={"interface.*": 10_000},
                           hosts=[("127.0.0.1", redis_server.port), f"redis://127.0.0.1:{redis_server.port}/1"]))[1]
    matches(lines, "channels_redis#163", "loses about half of the answers", "ok", "nobody", "ok", "nobody")


def test_a_serializer_without_bytes_and_a_small_box(check, redis_server):
    lines = check("--layer", f"redis://127.0.0.1:{redis_server.port}?serializer=json&local_capacity=100")[1]
    matches(lines, "wrong: this serializer can't carry bytes", "wrong: the capacity for the server's reply channels is 100",
            "ok: .* answers", "nobody")


def test_a_redis_that_drops_keys_or_is_not_writable(check, redis_server):
    url = f"redis://127.0.0.1:{redis_server.port}"
    redis_server("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    assert "with maxmemory-policy allkeys-lru it drops messages" in check("--layer", url)[1][1]
    redis_server("CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
    assert "it has used all the memory it may" in check("--layer", url)[1][0]
    redis_server("CONFIG", "SET", "maxmemory", "0")
    redis_server("REPLICAOF", "127.0.0.1", "1")
    assert "it is a replica" in check("--layer", url)[1][0]


def test_a_redis_that_can_not_be_reached(check, start_redis):
    server = start_redis("--requirepass", "secret")
    assert "it wants a password" in check("--layer", f"redis://127.0.0.1:{server.port}")[1][0]
    lines = check("--layer", f"redis://:wrong-one@127.0.0.1:{server.port}")[1]
    assert "the password is wrong" in lines[0] and "wrong-one" not in lines[0]
    assert "answers" in check("--layer", f"redis://:secret@127.0.0.1:{server.port}")[1][0]
    server.kill()
    assert "it can't be reached" in check("--layer", f"redis://127.0.0.1:{server.port}")[1][0]


def test_no_tls_where_tls_was_meant(check, redis_server):
    assert "does it speak TLS there?" in check("--layer", f"rediss://127.0.0.1:{redis_server.port}")[1][0]


def test_a_clock_that_is_wrong(check, tmp_path):
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
    lines = check("--layer", f"redis://127.0.0.1:{listener.getsockname()[1]}", http=None)[1]
    matches(lines, "answers", r"its clock is 3(600|599)\.\d s ahead of this machine's", "no interface")

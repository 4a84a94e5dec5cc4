"""A redis-server of the tests' own, without persistence, on a Unix socket in a new folder; and a client in a few lines."""
import contextlib
import shutil
import socket
import subprocess
import tempfile

import pytest


class RedisError(Exception):
    """An error reply."""


class Client:
    """`redis("SET", "a", 1)`; `redis.many(commands)` in one pipeline; `redis.run(call)` of a wire_redis.Call."""

    def __init__(self, path: str):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def many(self, commands):
        for command in commands:
            parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
            self.sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return RedisError(rest.decode())
        if kind in b"$*" and rest == b"-1":
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def __call__(self, *command):
        [reply] = self.many([command])
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def run(self, call):
        self(*call.script.load)
        return self(*call.evalsha())

    def now(self) -> float:
        whole, micro = self("TIME")
        return int(whole) + int(micro) / 1e6

    def close(self):
        self.file.close()
        self.sock.close()


@contextlib.contextmanager
def redis_server():
    """Gives a function that connects."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("there is no redis-server")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, contextlib.ExitStack() as clients:
        path = f"{folder}/s"
        server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
                                   "--dir", folder], stdout=subprocess.PIPE)
        try:
            lines = []
            while b"eady to accept connections" not in (lines or [b""])[-1]:
                lines.append(server.stdout.readline())
                assert lines[-1], b"".join(lines).decode()

            def connect() -> Client:
                return clients.enter_context(contextlib.closing(Client(path)))
            yield connect
        finally:
            server.kill()
            server.stdout.close()
            server.wait()



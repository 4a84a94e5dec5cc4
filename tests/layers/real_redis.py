"""A client of a real redis-server (examples/redis_server.py) in a few lines: one connection, and pipelines."""
import socket

from redis_server import RedisError, read


class Client:
    """`redis("SET", "a", 1)`; `redis.many(commands)` in one pipeline; `redis.run(call)` of a wire_redis.Call."""

    def __init__(self, path: str):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def many(self, commands):
        """The replies, RedisError among them."""
        for command in commands:
            parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
            self.sock.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return [self.reply() for _ in commands]

    def reply(self):
        try:
            return read(self.file)
        except RedisError as error:
            return error

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

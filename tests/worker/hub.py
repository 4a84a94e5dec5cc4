"""The server's side of the frames, for dialogues with a worker: what it says is awaited, what it hears is written."""
import asyncio
import contextlib
import functools
import os
import secrets
import socket
import time

import msgpack

from interfaces.layers import wire_local as wire

PATIENCE = 10.0              # seconds until a dialogue that hangs has failed; nothing waits for it to pass
SERVER = "reply.server"


def dialogue(test):
    """An async test, in an event loop of its own, that ends even if a side never speaks."""
    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 3 * PATIENCE))
    return run


class Hub:
    """A Unix socket where workers call. `async with Hub(path) as hub: worker = await hub.worker()`."""

    def __init__(self, path, **welcome):
        self.path, self.welcome = str(path), welcome
        self.calls: asyncio.Queue[Worker] = asyncio.Queue()
        self.workers: list[Worker] = []

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.called, self.path)
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for worker in self.workers:
            worker.leaves()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    async def called(self, reader, writer):
        worker = Worker(reader, writer)
        self.workers.append(worker)
        self.calls.put_nowait(worker)

    async def worker(self) -> "Worker":
        worker = await asyncio.wait_for(self.calls.get(), PATIENCE)
        await worker.greets(**self.welcome)
        return worker


class Worker:
    """What a worker said, frame by frame."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.frames, self.heard = wire.Frames(), []
        self.hello = {}

    @classmethod
    async def behind(cls, sock: socket.socket) -> "Worker":
        worker = cls(*await asyncio.open_unix_connection(sock=sock))
        await worker.greets()
        return worker

    async def greets(self, **welcome):
        kind, _, payload = await self.says()
        assert kind == wire.HELLO
        self.hello = wire.unpack(payload)
        self.hears(wire.WELCOME, "", msgpack.packb({"version": wire.VERSION, "server": SERVER, "now": time.time(),
                                                    "max_message": wire.MAX_MESSAGE} | welcome))

    @property
    def process(self) -> str:
        return self.hello["process"]

    async def says(self) -> tuple[int, str, bytes]:
        """The worker's next frame; (0, "", b"") when it has gone."""
        while not self.heard:
            data = await asyncio.wait_for(self.reader.read(65536), PATIENCE)
            if not data:
                return 0, "", b""
            self.heard.extend(self.frames.feed(data))
        return self.heard.pop(0)

    async def says_credit(self) -> tuple[int, str, int]:
        kind, name, payload = await self.says()
        return kind, name, wire.CREDIT.unpack_from(payload)[0]

    async def asks(self, code: int = wire.OK):
        """The worker's next question, answered. Gives (kind, name, what came behind the head)."""
        kind, name, payload = await self.says()
        head = wire.SEND_HEAD if kind in (wire.SEND, wire.GROUP_SEND) else wire.GROUP_HEAD
        number = head.unpack_from(payload)[0]
        assert number, "it does not want an answer"
        self.hears(wire.RESULT, "", wire.RESULT_HEAD.pack(number, code))
        return kind, name, payload[head.size:]

    async def replies(self) -> tuple[str, dict]:
        """The next message on a reply channel, past frames of credit."""
        while True:
            kind, name, payload = await self.says()
            assert kind, "it has gone"
            if kind == wire.SEND:
                assert wire.SEND_HEAD.unpack_from(payload)[0] == 0
                return name, wire.unpack(payload[wire.SEND_HEAD.size:])

    def hears(self, kind: int, name: str = "", payload: bytes = b""):
        self.writer.write(wire.frame(kind, name, payload))

    def gets(self, channel: str, *messages: dict):
        """Messages that arrive with one read."""
        self.writer.write(b"".join(wire.frame(wire.MESSAGE, channel, msgpack.packb(m)) for m in messages))

    def leaves(self):
        self.writer.close()


def http_request(path: str = "/", **keys) -> dict:
    """An `http.request` as messages.md 2 has it."""
    return {"type": "http.request", "reply_channel": f"{SERVER}!{secrets.token_urlsafe(16)}", "order": 0,
            "deadline": time.time() + 120, "client": ["192.0.2.7", 50123], "server": ["192.0.2.1", 8000],
            "scheme": "http", "tls": None, "http_version": "1.1", "method": "GET", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [[b"host", b"example.com"]],
            "body": b"", "more_body": False, "body_channel": None} | keys

"""The server's side of WebSocket connections that a worker hosts: what comes from the worker is sorted by connection."""
import asyncio
import contextlib
import secrets
import time

from interfaces.layers import wire_local as wire
from tests.worker import hosting
from tests.worker.hub import SERVER, Worker

QUESTIONS = {wire.GROUP_ADD: wire.GROUP_HEAD, wire.GROUP_DISCARD: wire.GROUP_HEAD, wire.GROUP_SEND: wire.SEND_HEAD,
             wire.SEND: wire.SEND_HEAD}


def websocket_connect(path: str = "/chat", **keys) -> dict:
    """A `websocket.connect` as messages.md 3 has it."""
    return {"type": "websocket.connect", "reply_channel": f"{SERVER}!{secrets.token_urlsafe(16)}", "order": 0,
            "deadline": time.time() + 10, "client": ["192.0.2.7", 50123], "server": ["192.0.2.1", 8000], "scheme": "ws",
            "tls": None, "http_version": "1.1", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [[b"host", b"example.com"], [b"origin", b"http://example.com"]], "subprotocols": []} | keys


async def echo(scope, receive, send):
    assert (await receive()) == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send(event | {"type": "websocket.send"})


class Socket:
    """One connection. `hears()` gives what the worker replied, `credit` what it said of credit and ownership."""

    def __init__(self, server: "Server", message: dict):
        self.server, self.message, self.order = server, message, message["order"]
        self.reply_channel = message["reply_channel"]
        self.heard, self.handled, self.claim, self.given_back, self.state = [], None, None, None, None
        self.credits = 0                                 # messages of credit alone

    def says(self, data, **keys) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        self.tells("websocket.receive", **{kind: data} | keys)

    def leaves(self, code: int = 1001, reason: str = "") -> None:
        self.tells("websocket.disconnect", code=code, reason=reason)

    def tells(self, kind: str, **keys) -> None:
        self.order += 1
        self.server.tells({"type": kind, "reply_channel": self.reply_channel, "order": self.order, "path": "/chat"} | keys)

    def confirms(self, sent: int) -> None:
        self.server.tells({"type": "interface.credit", "reply_channel": self.reply_channel, "sent": sent})

    def gone(self) -> None:
        self.server.tells({"type": "interface.gone", "reply_channel": self.reply_channel})

    def takes(self, message: dict) -> None:
        message = dict(message)
        if "handled" in message:
            assert self.handled is None or message["handled"] >= self.handled
            self.handled = message.pop("handled")
        if "receive_channel" in message:
            owner, epoch = message.pop("receive_channel"), message.pop("epoch")
            assert epoch == self.message.get("epoch", 0)
            release = message.pop("release", None)
            if owner is None:
                assert message.pop("type") == "interface.credit"
                self.given_back = message
                return
            assert self.claim is None, "claimed twice"
            self.claim = owner, release
        if message["type"] == "interface.state":
            self.state = message["state"]
        elif message["type"] == "interface.credit":
            self.credits += 1
        else:
            self.heard.append(message)

    async def hears(self) -> dict:
        await self.server.until(lambda: self.heard)
        return self.heard.pop(0)

    async def accepted(self) -> "Socket":
        assert await self.hears() == {"type": "websocket.accept"}
        return self


class Server:
    """`application` is the worker's OverChannels, where that runs in this process."""
    channel, peer = "websocket.connect", Socket

    def __init__(self, worker: Worker, application=None):
        self.worker, self.sockets, self.application = worker, {}, application
        self.credit = self.started = 0
        self.owner, self.asked, self.gone = "", [], False

    def announces(self, message: dict) -> Socket:
        socket = self.sockets[message["reply_channel"]] = self.peer(self, message)
        self.credit -= 1
        self.worker.gets(self.channel, message)
        return socket

    async def opens(self, path: str = "/chat", **keys) -> Socket:
        """Another connection, begun by the worker."""
        await self.until(lambda: self.credit > 0)
        before = self.started
        socket = self.announces(websocket_connect(path, **keys))
        await self.until(lambda: self.started > before)
        return socket

    def tells(self, message: dict) -> None:
        self.worker.gets(self.owner, message)

    @property
    def worker_sessions(self):
        """The other side: both run in this process."""
        return self.application.sessions[self.channel]

    def session_of(self, socket: Socket):
        return self.worker_sessions.all[socket.reply_channel]

    async def until_in_worker(self, reached) -> None:
        """Something is true of one of the worker's sessions."""
        while not any(map(reached, self.worker_sessions.all.values())):
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """The worker has begun what it was sent, and all of it has ended."""
        while not self.worker_sessions.loop or self.worker_sessions.hosting.begun < self.started or self.worker_sessions.all:
            await asyncio.sleep(0)
        while not self.worker.reader.at_eof() and self.worker_sessions.layer.home.connection.pending:
            await asyncio.sleep(0)

    async def until(self, reached) -> None:
        while not reached():
            await self.frame()

    async def frame(self) -> None:
        kind, name, payload = await self.worker.says()
        if kind == 0:
            self.gone = True
            raise AssertionError("the worker has gone")
        elif kind == wire.LISTEN and name == self.channel:
            self.credit += wire.CREDIT.unpack(payload)[0]
        elif kind == wire.STARTED:
            self.started += wire.CREDIT.unpack_from(payload)[0]
            self.owner = payload[4:].decode()
        elif kind == wire.SEND and name in self.sockets:
            self.sockets[name].takes(wire.unpack(payload[wire.SEND_HEAD.size:]))
        elif kind in QUESTIONS:
            head = QUESTIONS[kind]
            self.asked.append((kind, name, payload[head.size:]))
            if number := head.unpack_from(payload)[0]:
                self.worker.hears(wire.RESULT, "", wire.RESULT_HEAD.pack(number, wire.OK))


@contextlib.asynccontextmanager
async def hosted(path, application, **options):
    """A stock worker that hosts `application` for websocket.connect, as the server sees it."""
    async with hosting.hosted(path, {"websocket": application}, channels=("websocket.connect",), **options) as worker:
        yield Server(worker, worker.stock.application)

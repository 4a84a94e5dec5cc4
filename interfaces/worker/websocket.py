"""WebSocket connections of an ASGI application: scope, events and replies (asgi.readthedocs.io, WebSocket)."""
import asyncio

from interfaces.worker.asgi import address, tls_extension
from interfaces.worker.exchange import ERROR, Window, pieces
from interfaces.worker.session import ANSWERING, BEGUN, CLOSED, OPEN, Session

ASGI = {"version": "3.0", "spec_version": "2.4"}
SCHEMES = {"http": "ws", "https": "wss"}
FAILED = 1011                # RFC 6455 7.4.1 and its registry: the server met a condition that it did not expect
LOST = 1006                  # RFC 6455 7.4.1: no close frame was received
NO_CODE = 1005               # RFC 6455 7.4.1: the close frame had no code; ASGI's default too
HTML = [[b"content-type", b"text/html; charset=utf-8"]]
names: dict[bytes, bytes] = {}       # of header fields, once for all the scopes that are held
NAMES = 500                          # a guess: a browser's handshake has 15


def scope_of(message: dict) -> dict:
    """The scope of a `websocket.connect`. A connection that another worker had has the extension `interface.resumed`."""
    scheme, tls = message.get("scheme") or "ws", message.get("tls")
    extensions: dict = {"websocket.http.response": {}}
    if tls:
        extensions["tls"] = tls_extension(tls)
    if message.get("resumed"):
        extensions["interface.resumed"] = {"state": message.get("state")}
    return {
        "type": "websocket", "asgi": ASGI, "http_version": message["http_version"], "scheme": SCHEMES.get(scheme, scheme),
        "path": message["path"], "raw_path": message.get("raw_path"), "query_string": message.get("query_string") or b"",
        "root_path": message.get("root_path") or "", "headers": [(shared(name), value) for name, value in message["headers"]],
        "client": address(message.get("client")), "server": address(message.get("server")),
        "subprotocols": message.get("subprotocols") or [], "state": {}, "extensions": extensions,
    }


def shared(name: bytes) -> bytes:
    found = names.get(name)
    if found is None:
        if len(names) >= NAMES or len(name) > 64:        # strange names that strangers send are not kept
            return name
        found = names[name] = name
    return found


class WebSocket(Session):
    __slots__ = ()
    disconnect = "websocket.disconnect"
    lost = {"type": "websocket.disconnect", "code": LOST, "reason": ""}

    def event(self, message: dict) -> dict:
        kind = message["type"]
        if kind == "websocket.receive":
            text = message.get("text")
            if text is not None:
                self.weight += len(text)
                return {"type": kind, "text": text}
            data = message.get("bytes") or b""
            self.weight += len(data)
            return {"type": kind, "bytes": data}
        if kind == "websocket.disconnect":
            return {"type": kind, "code": message.get("code") or NO_CODE, "reason": message.get("reason") or ""}
        return {"type": kind}

    async def send(self, event: dict) -> None:
        """Raises OSError when the connection has ended and the application knows it; RuntimeError for what ASGI forbids."""
        if asyncio.get_running_loop() is not (home := self.sessions.loop):       # async_to_sync in a thread of its own
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.send(event), home))
        if self.since:
            return self.speak_to_nobody()
        kind = event["type"]
        speak = SPEAK.get((kind, self.stage))
        if speak is None:
            known = any(kind == found for found, _ in SPEAK)
            raise RuntimeError(f"{kind} is not for this moment of a connection" if known else f"a WebSocket knows no {kind!r}")
        await speak(self, event)

    async def accept(self, event: dict) -> None:
        message = {"type": "websocket.accept"}
        if event.get("subprotocol"):
            message["subprotocol"] = event["subprotocol"]
        if event.get("headers"):
            message["headers"] = pairs(event["headers"])
        self.reply(message)
        self.verdict(OPEN)

    async def say(self, event: dict) -> None:
        text, data = event.get("text"), event.get("bytes")
        if text is not None:
            message, size = {"type": "websocket.send", "text": text}, size_of(text)
        elif data is not None:
            if data.__class__ is not bytes:
                data = bytes(memoryview(data))           # raises for what is no bytes
            message, size = {"type": "websocket.send", "bytes": data}, len(data)
        else:
            raise RuntimeError("websocket.send needs text or bytes")
        if self.out is None or self.out.full(size):
            if not await self.room(size):
                return
        self.reply(message)
        self.out.add(size)

    async def close(self, event: dict) -> None:
        refused = self.stage == BEGUN and not self.was_open
        message = {"type": "websocket.close"}
        for key in ("code", "reason"):
            if event.get(key) is not None:
                message[key] = event[key]
        self.reply(message)
        self.finish(refused)

    def finish(self, refused: bool = False) -> None:
        """It has said its last word. Of a refused handshake the server has nothing more to tell."""
        self.verdict(CLOSED)
        self.silence()
        if refused:
            self.sessions.lose(self)

    async def start(self, event: dict) -> None:
        """Websocket Denial Response."""
        self.reply({"type": "websocket.http.response.start", "status": event["status"],
                    "headers": pairs(event.get("headers") or ())})
        self.stage = ANSWERING

    async def answer(self, event: dict) -> None:
        more, parts = bool(event.get("more_body")), pieces(event.get("body") or b"")
        for number, part in enumerate(parts, 1):
            if not await self.room(len(part)):
                return
            self.reply({"type": "websocket.http.response.body", "body": part, "more_body": more or number < len(parts)})
            self.out.add(len(part))
        if not more:
            self.finish(refused=True)

    def fail(self) -> None:
        if self.stage == OPEN or self.was_open:
            self.reply({"type": "websocket.close", "code": FAILED})
        elif self.stage == BEGUN:
            self.reply({"type": "websocket.http.response.start", "status": 500, "headers": HTML})
            self.reply({"type": "websocket.http.response.body", "body": ERROR, "more_body": False})
        else:
            self.reply({"type": "websocket.http.response.body", "body": b"", "more_body": False})

    def push(self, message: dict) -> None:
        """Of `interface.send` the text or the bytes. Nobody can wait here: what its client does not read the server bounds."""
        text, data = message.get("text"), message.get("bytes")
        if self.stage != OPEN or self.since or text.__class__ is not str and data.__class__ is not bytes:
            return
        key, value = ("text", text) if text.__class__ is str else ("bytes", data)
        self.reply({"type": "websocket.send", key: value})
        if self.out is None:
            self.out = Window()
        self.out.add(size_of(value))                     # the server counts it too


def size_of(data: str | bytes) -> int:
    """As the server counts it: in bytes, of UTF-8. The common case costs nothing."""
    return len(data) if data.__class__ is bytes or data.isascii() else len(data.encode())


def pairs(headers) -> list[list[bytes]]:
    return [[bytes(name), bytes(value)] for name, value in headers]


SPEAK = {
    ("websocket.accept", BEGUN): WebSocket.accept,
    ("websocket.send", OPEN): WebSocket.say,
    ("websocket.close", BEGUN): WebSocket.close,
    ("websocket.close", OPEN): WebSocket.close,
    ("websocket.http.response.start", BEGUN): WebSocket.start,
    ("websocket.http.response.body", ANSWERING): WebSocket.answer,
}

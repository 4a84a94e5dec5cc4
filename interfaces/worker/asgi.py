"""Requests of an ASGI application: one task each, on the loop of the runworker."""
import asyncio

from interfaces.worker.exchange import ABORT, CONFIRM, GONE, LostPart, Window, log_failure, pieces, server_error

GONE_GRACE = 1.0             # seconds, a guess: an application that listens for http.disconnect cleans up by itself


def address(value) -> tuple | None:
    return tuple(value) if value else None


def scope_of(message: dict) -> dict:
    """The ASGI 3 HTTP scope of an `http.request` (asgi.readthedocs.io, HTTP connection scope; extensions: tls)."""
    tls = message.get("tls")
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": message["http_version"],
        "method": message["method"], "scheme": message.get("scheme") or "http", "path": message["path"],
        "raw_path": message.get("raw_path"), "query_string": message.get("query_string") or b"",
        "root_path": message.get("root_path") or "", "headers": [(name, value) for name, value in message["headers"]],
        "client": address(message.get("client")), "server": address(message.get("server")), "state": {},
        "extensions": {"tls": tls_extension(tls)} if tls else {},
    }


def tls_extension(tls: dict) -> dict:
    """The ASGI TLS extension, and beside it what messages.md knows more."""
    return {"server_cert": None, "client_cert_chain": [], "client_cert_name": tls.get("peer_subject"),
            "client_cert_error": None, "tls_version": None, "cipher_suite": None, **tls}


class AsgiRequests:
    def __init__(self, over, application):
        self.over, self.application = over, application
        self.tasks: set[asyncio.Task] = set()            # the loop itself keeps only weak references

    def request(self, message: dict) -> "AsgiRequest":
        return AsgiRequest(self.over, message)

    def begin(self, request: "AsgiRequest") -> None:
        request.task = asyncio.get_running_loop().create_task(request.run(self.application))
        self.tasks.add(request.task)
        request.task.add_done_callback(self.tasks.discard)


class AsgiRequest:
    """One request: `receive` and `send` of its application."""

    def __init__(self, over, message: dict):
        self.over, self.message = over, message
        self.reply_channel = message["reply_channel"]
        self.task: asyncio.Task | None = None
        self.parts: list[dict] = [message]
        self.body_ended = self.is_gone = self.complete = False
        self.last = self.handled = self.confirmed = 0    # orders of body messages
        self.body = None                                 # where its further parts are read, if that is a channel
        self.adopted = False                             # the server was told that the request is ours
        self.start: dict | None = None
        self.started = False                             # the head is on its way
        self.head_only = message.get("method") == "HEAD"
        self.out = Window()
        self.waiter: asyncio.Future | None = None        # the application waits in receive
        self.window: asyncio.Future | None = None        # the application waits in send

    async def run(self, application) -> None:
        try:
            await application(scope_of(self.message), self.receive, self.send)
        except asyncio.CancelledError:
            self.fail()
        except Exception as error:
            if not (self.is_gone and isinstance(error, OSError)):
                log_failure(self.message, error)
            self.fail()
        else:
            if not self.complete and not self.is_gone:
                log_failure(self.message, RuntimeError("the application returned without a complete response"))
                self.fail()
        finally:
            self.over.end(self.reply_channel)

    def fail(self) -> None:
        if not self.complete and not self.is_gone:
            self.complete = True
            self.over.layer.reply(self.reply_channel, ABORT if self.started else server_error())

    # What the server says

    def hear(self, message: dict) -> None:
        kind = message.get("type")
        if kind == "http.request.body":
            if message.get("closed"):
                return self.gone()
            self.last += 1
            if (message.get("part") or self.last) != self.last:
                return self.broken()
            self.parts.append(message)
            self.wake()
        elif kind == "interface.credit":
            self.out.confirm(message.get("sent"))
            self.wake()
        elif kind in GONE:
            self.gone()

    def broken(self) -> None:
        if not self.complete:
            log_failure(self.message, LostPart("a part of its body is lost"))
            self.fail()
        self.gone()

    def gone(self) -> None:
        """The client left: the application hears it in `receive`; one that doesn't listen is cancelled."""
        if self.is_gone:
            return
        self.is_gone = True
        listens = self.waiter is not None
        self.wake()
        if self.task is not None and not self.task.done():
            if listens:
                asyncio.get_running_loop().call_later(GONE_GRACE, self.task.cancel)
            else:
                self.task.cancel()

    def wake(self) -> None:
        for future in (self.waiter, self.window):
            if future is not None and not future.done():
                future.set_result(None)

    # What the application calls

    async def receive(self) -> dict:
        self.confirm()
        while not self.parts or self.body_ended:
            if self.is_gone or self.complete:
                return {"type": "http.disconnect"}
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        part = self.parts.pop(0)
        if part is self.message:
            body, more = part.get("body") or b"", bool(part.get("more_body"))
        else:
            body, more = part.get("content") or b"", bool(part.get("more_content"))
            self.handled = part.get("order") or self.handled + 1
        self.body_ended = not more
        return {"type": "http.request", "body": body, "more_body": more}

    def confirm(self) -> None:
        """The part that was given last is handled, now that the application asks for more."""
        due = self.handled - self.confirmed
        if due and (due >= CONFIRM or not self.parts) and not self.body_ended:
            self.confirmed = self.handled
            self.over.confirm(self, self.handled)

    async def send(self, event: dict) -> None:
        kind = event["type"]
        if self.is_gone:
            raise OSError("the client has gone")         # ASGI 2.4, "Disconnected client - send exception"
        if kind == "http.response.start":
            if self.start is not None:
                raise RuntimeError("http.response.start was sent already")
            self.start = event                           # kept until the first body, as ASGI asks
        elif kind != "http.response.body":
            raise RuntimeError(f"an HTTP response knows no {kind!r}")
        elif self.start is None:
            raise RuntimeError("http.response.body before http.response.start")
        elif self.complete:
            raise RuntimeError("http.response.body after the response was complete")
        else:
            await self.send_body(event.get("body") or b"", bool(event.get("more_body")))

    async def send_body(self, body: bytes, more: bool) -> None:
        if self.head_only and (self.started or more):
            body = b""
        parts = pieces(body)
        for part in parts[:-1]:
            await self.send_piece(part, True)
        await self.send_piece(parts[-1], more)
        if not more:
            self.wake()

    async def send_piece(self, content: bytes, more: bool) -> None:
        while self.out.full(len(content)) and not self.is_gone:
            self.window = asyncio.get_running_loop().create_future()
            try:
                await self.window
            finally:
                self.window = None
        if self.is_gone:
            raise OSError("the client has gone")
        message = {"content": content, "more_content": more}
        if not self.started:
            self.started = True
            if self.over.adoption.needed:
                message |= self.over.adoption.claim(self, more)
            message |= {"status": self.start["status"], "headers": [[n, v] for n, v in self.start.get("headers") or ()]}
        self.out.add(len(content))
        self.complete = not more
        self.over.layer.reply(self.reply_channel, message)

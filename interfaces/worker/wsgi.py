"""Requests of a WSGI application (PEP 3333): a small pool of threads of our own."""
import threading
from queue import SimpleQueue

from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections

from interfaces.worker.environ import EnvironMaker
from interfaces.worker.exchange import ABORT, CONFIRM, GONE, LostPart, Window, log_failure, pieces, server_error
from interfaces.worker.upload import Parts

THREADS = 16                 # a worker takes as many messages at once: 8 us of CPU a request less than with 10


class ClientGone(ConnectionError):
    """The client left while the application read from it or wrote to it."""


class Wsgi:
    """A WSGI application for `over_channels`; at most `threads` of its requests run at once.

    Called as an ASGI application (hosted by Daphne or Uvicorn, or behind a router) it runs in asgiref's thread."""

    def __init__(self, application, threads: int = THREADS):
        if threads < 1:
            raise ValueError("Wsgi needs at least one thread")
        self.application, self.threads = application, threads
        self.asgi = WsgiToAsgi(application)

    async def __call__(self, scope, receive, send):
        await self.asgi(scope, receive, send)


class WsgiRequests:
    """The pool. Its threads are daemons: none of them holds up the end of the process."""

    def __init__(self, over, wsgi: Wsgi):
        self.over, self.application, self.threads = over, wsgi.application, wsgi.threads
        self.queue: SimpleQueue = SimpleQueue()
        self.environ = EnvironMaker(multithread=wsgi.threads > 1)
        self.started = 0
        # Django's own handler sends the signals that close them; of another application nobody knows what it uses.
        self.around = (lambda: None) if isinstance(wsgi.application, WSGIHandler) else close_old_connections

    def request(self, message: dict) -> "WsgiRequest":
        return WsgiRequest(self.over, message)

    def begin(self, request: "WsgiRequest") -> None:
        self.queue.put(request)
        while self.started < self.threads:
            self.started += 1
            threading.Thread(target=self.work, name=f"view {self.started}", daemon=True).start()

    def work(self) -> None:
        while True:
            request = self.queue.get()
            try:
                self.around()
                request.run(self.application, self.environ)
            finally:
                self.around()
                self.over.end(request.reply_channel)
                request = None                           # an idle thread keeps no request alive


class WsgiRequest:
    """One request: input, start_response and the answer. `hear` and `gone` run on the loop, all else in the thread."""

    def __init__(self, over, message: dict):
        self.over, self.message = over, message
        self.reply_channel = message["reply_channel"]
        self.changed = threading.Condition()
        self.parts: list[dict] = []
        self.is_gone = self.complete = self.started = False
        self.last = self.handled = self.confirmed = 0    # orders of body messages
        self.body = None                                 # where its further parts are read, if that is a channel
        self.adopted = False                             # the server was told that the request is ours
        self.out = Window()                              # under `changed`
        self.status: int | None = None
        self.headers: list[list[bytes]] = []

    # What the server says, on the loop

    def hear(self, message: dict) -> None:
        kind = message.get("type")
        if kind in GONE or (kind == "http.request.body" and message.get("closed")):
            return self.gone()
        if kind == "http.request.body":
            self.last += 1
            if (message.get("part") or self.last) != self.last:
                return self.broken()
        with self.changed:
            if kind == "http.request.body":
                self.parts.append(message)
            elif kind == "interface.credit":
                self.out.confirm(message.get("sent"))
            self.changed.notify()

    def broken(self) -> None:
        if not self.complete:
            log_failure(self.message, LostPart("a part of its body is lost"))
            self.complete = True
            self.over.layer.reply(self.reply_channel, ABORT if self.started else server_error())
        self.gone()

    def gone(self) -> None:
        with self.changed:
            self.is_gone = True
            self.changed.notify()

    # The thread

    def run(self, application, environ_of) -> None:
        try:
            environ = environ_of(self.message, Parts(self.message, self.next_part))
            result = application(environ, self.start_response)
            try:
                self.answer(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except ClientGone:
            pass
        except BaseException as error:                   # SystemExit from a view must not cost a thread
            if not self.is_gone:
                log_failure(self.message, error)
        if not self.complete and not self.is_gone:
            self.over.layer.reply(self.reply_channel, ABORT if self.started else server_error())

    def next_part(self) -> tuple[bytes, bool]:
        """The next part of the body and whether more follow. Waits for it; raises ClientGone."""
        with self.changed:
            due = self.handled - self.confirmed
            if due and (due >= CONFIRM or not self.parts):
                self.confirmed = self.handled
                self.over.confirm(self, self.handled)
            while not self.parts:
                if self.is_gone:
                    raise ClientGone("the client left before its request was complete")
                self.changed.wait()
            part = self.parts.pop(0)
            self.handled = part.get("order") or self.handled + 1
        return part.get("content") or b"", bool(part.get("more_content"))

    def start_response(self, status: str, headers: list, exc_info=None):
        if exc_info is not None:
            try:
                if self.started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None                          # PEP 3333: avoid a circular reference
        elif self.status is not None:
            raise AssertionError("start_response was called already")        # PEP 3333, start_response()
        self.status = int(status.split(" ", 1)[0])
        self.headers = [[name.encode("latin-1"), value.encode("latin-1")] for name, value in headers]
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333's imperative write."""
        self.send(data, True)

    def answer(self, result) -> None:
        if getattr(result, "streaming", True) is False or isinstance(result, (list, tuple)):
            return self.send(b"".join(result), False)
        if self.message.get("method") == "HEAD":
            self.send(b"", True)                         # an endless stream's HEAD has an end
            return self.send(b"", False)
        for chunk in result:
            if chunk:                                    # PEP 3333: each block goes out before the next is asked for
                self.send(chunk, True)
        self.send(b"", False)

    def send(self, data: bytes, more: bool) -> None:
        if self.status is None:
            raise AssertionError("start_response was not called before the body")
        if self.started and self.message.get("method") == "HEAD":
            data = b""
        parts = pieces(data)
        for part in parts[:-1]:
            self.send_piece(part, True)
        self.send_piece(parts[-1], more)

    def send_piece(self, content: bytes, more: bool) -> None:
        with self.changed:
            while self.out.full(len(content)) and not self.is_gone:
                self.changed.wait()
            self.out.add(len(content))
        if self.is_gone:
            raise ClientGone("the client left before its response was complete")
        if self.started:
            message = {"content": content, "more_content": more}
        else:
            self.started = True
            message = {"status": self.status, "headers": self.headers, "content": content, "more_content": more}
            if self.over.adoption.needed:
                message |= self.over.adoption.claim(self, more)
        self.complete = not more
        self.over.layer.reply(self.reply_channel, message)

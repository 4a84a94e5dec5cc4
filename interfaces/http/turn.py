"""One request and its answer: what a worker says to it, and its bad days."""
import time
from functools import lru_cache

from interfaces.contract import (
    ChannelFull, Closed, Elapsed, Gap, HalfClosed, Lost, MessageTooLarge, ProtocolError, Stopping, Taken, Unconfirmed,
    Unreadable,
)
from interfaces.http.messages import HttpAbort, HttpDisconnect, HttpRequest, HttpResponse
from interfaces.http.origin import origin
from interfaces.http.protocol import Answer, Continue, Data, End, Piece, Processing, Refusal, imf_fixdate
from interfaces.http.upload import CLASSIC, Upload
from interfaces.schema import Neutral

CONFIRM = 128 * 1024        # bytes; messages.md, Credit
PIECES = 32                 # half of the messages that an owner may have out: messages.md, Credit
COMMENT = 15.0              # seconds of silence in an event stream; messages.md, HTTP
PROBE = 1.0                 # seconds after a half-close until we ask whether anybody still reads: a guess
RETRY_AFTER = ((b"retry-after", b"5"),)     # seconds: a guess
LOST_PART = "a part of the body may be lost"
LEFT = 499                  # nginx's status for a client that left, in the access log only


def refuse(link, status: int, reason: str, headers=()):
    """Answer what can't be served and end the connection: what follows on it can't be trusted, or isn't wanted."""
    link.write(Refusal(status, reason, imf_fixdate(int(link.now())), headers))
    link.close("" if status == 503 else f"{status}: {reason}", linger=True)     # of a full channel the exchange tells


@lru_cache(2)
def clf_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


class Turn:
    """One request and its answer. `run()` tells whether the connection goes on."""
    __slots__ = ("link", "options", "request", "client", "upload", "until", "begun", "ended", "last", "status", "sent",
                 "confirmed", "unconfirmed", "comment_at", "probe_at")

    def __init__(self, link, options, request):
        self.link, self.options, self.request, self.client = link, options, request, link.peer
        self.upload = Upload(link, options.body_timeout)
        self.begun = self.ended = self.last = False             # `last`: nothing follows on this connection
        self.status = self.sent = self.confirmed = self.unconfirmed = 0     # bytes; unconfirmed: pieces
        self.until = self.comment_at = self.probe_at = None

    async def run(self) -> bool:
        link, upload = self.link, self.upload
        if self.request.expect:
            link.write(Continue())
        try:
            if self.request.length == 0:
                upload.ended = (await link.event()).__class__ is End
            elif await upload.first_part() is not None:           # the peer left before its request was complete
                link.close()
                return False
            self.until = link.now() + self.options.timeout
            await link.send(self.message(), deadline=self.until)
        except ProtocolError as error:
            return self.refuse(error.code, error.reason)
        except Unconfirmed:
            return await self.fail(503, "the request may be lost")
        except ChannelFull:
            return self.refuse(503, "no worker is free", RETRY_AFTER)
        except MessageTooLarge:
            return self.refuse(431, "the request's head is larger than a message may be")
        try:
            while not self.ended:
                if not await self.go_on(await (link.reply(self.patience()) if upload.passed else self.both())):
                    return False
        except ProtocolError as error:                          # in the middle of a body
            return await self.fail(error.code, error.reason)
        except Unconfirmed:
            return await self.fail(503, LOST_PART)
        return await self.finish()

    def message(self) -> HttpRequest:
        link, request, options = self.link, self.request, self.options
        self.client, server, scheme = origin(link, request.headers, options.trusted_proxies)
        body, more = self.upload.begin()
        return HttpRequest(
            request.version, request.method, scheme, request.path, request.raw_path, request.query_string,
            options.root_path, request.headers, self.client, server, link.tls, body, more, self.upload.channel)

    async def both(self):
        """What comes first of the body and the answer; what has come of the body goes on as far as there is room."""
        link, upload = self.link, self.upload
        await upload.forward()
        if not upload.wants:
            return await link.reply(self.patience())
        began = link.now()
        item = await link.next(self.patience())
        upload.count(item, link.now() - began)
        return item

    def patience(self) -> float | None:
        """Seconds until something is due."""
        upload, now = self.upload, self.link.now()
        if upload.passed and self.comment_at is self.probe_at is None:
            return None if self.begun else self.until - now         # nearly always
        due = [at for at in (self.comment_at, self.probe_at, upload.retry_at) if at is not None]
        if not self.begun and not upload.wants:
            due.append(self.until)
        if upload.wants:
            due.append(now + upload.patience)
        return max(min(due) - now, 0.0) if due else None

    async def go_on(self, item) -> bool:
        match item:
            case HttpResponse():
                return await self.answer(item)
            case Taken(owner):
                self.upload.taken(owner)
            case Data() | End():
                self.upload.take(item)
                self.until = self.link.now() + self.options.timeout     # a worker's time begins when it can go on
            case Elapsed():
                return await self.elapsed()
            case Closed():
                return await self.left()
            case HalfClosed():
                return await self.half_closed()
            case Neutral():
                return await self.neutral(item)
            case Stopping():
                pass                # the answer will say that nothing follows it
            case Lost():
                return await self.fail(502, "the worker was lost")
            case Gap(everything):
                return await self.gap(everything)
            case Unreadable() | HttpAbort():
                return await self.fail(500, "the application failed")
        return True

    # the answer

    async def answer(self, response) -> bool:
        link = self.link
        try:
            data = link.encode(self.piece(response))
        except ValueError as error:
            link.log(f"an answer that can't be given: {error}")
            return await self.fail(500, "the application failed")
        if not self.begun:
            self.begin(response)
        took = await link.pour(data, self.options.write_timeout)
        self.sent += len(response.body)
        self.ended = not response.more_body
        if took is not None:
            return await (self.left() if took.__class__ is Closed else self.fail(0, "slow: the client does not read"))
        if self.comment_at is not None:
            self.comment_at = link.now() + COMMENT
        self.unconfirmed += 1
        if link.owner is not None and not self.ended and (
                self.sent - self.confirmed >= CONFIRM or self.unconfirmed >= PIECES):
            await self.confirm()
        return True

    def piece(self, response):
        """What the wire is told. Raises ValueError where this can't be said now."""
        if self.begun:
            if response.status is not None:
                raise ValueError("a second status")
            return Piece(response.body, response.more_body)
        if response.status is None:
            raise ValueError("a body before its status")
        close = self.last or self.link.stopping or self.upload.pending and not response.more_body
        return Answer(response.status, response.headers, response.body, response.more_body,
                      imf_fixdate(int(self.link.now())), close)

    def begin(self, response):
        self.begun, self.status = True, response.status
        if response.more_body and any(name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                                      for name, value in response.headers):
            self.comment_at = self.link.now() + COMMENT

    async def confirm(self):
        try:
            await self.link.confirm(self.sent)
            self.confirmed, self.unconfirmed = self.sent, 0
        except ChannelFull:
            pass            # the next piece tries again; the owner has room in its window until then

    async def neutral(self, item) -> bool:
        """interface.send: a held request is answered with the text, an event stream gets an event."""
        text = item.bytes if item.text is None else item.text.encode()
        if text is None:
            return True
        if not self.begun:
            kind = b"application/octet-stream" if item.text is None else b"text/plain; charset=utf-8"
            return await self.answer(HttpResponse(200, [[b"content-type", kind]], text))
        if self.comment_at is not None:
            event = b"".join(b"data: " + line + b"\n" for line in text.splitlines() or (b"",)) + b"\n"
            return await self.answer(HttpResponse(body=event, more_body=True))
        return True

    async def finish(self) -> bool:
        link, wire = self.link, self.link.wire
        if not wire.complete:
            link.log("an answer shorter than its Content-Length")
            link.abort("cut short by the application")
            return False
        self.access()
        await self.upload.give_up()
        if self.upload.pending:
            link.close(linger=True)
            return False
        if self.last or link.stopping or not wire.keep_alive:
            link.close()
            return False
        return True

    # bad days

    def refuse(self, status, reason, headers=()) -> bool:
        """Before any worker has the request."""
        refuse(self.link, status, reason, headers)
        self.status = status
        self.access()
        return False

    async def fail(self, status, reason) -> bool:
        """A request that a worker may have can't be answered as it should. Half an answer must not look like a whole one."""
        await self.upload.give_up()
        if self.link.owner is not None:
            await self.link.tell(HttpDisconnect(self.request.path))
        if not self.begun:
            return self.refuse(status, reason, RETRY_AFTER if status == 503 else ())
        self.access()
        self.link.abort(reason)
        return False

    async def gap(self, everything: bool) -> bool:
        """What was said to this request may be lost. A body with a hole must not look whole; an event is whole by itself.
        After all was lost ASGI 1 asks for the connection's end, so that whoever held it in a group sees it again."""
        if self.upload.pending or self.begun and self.comment_at is None:
            return await self.fail(503, LOST_PART)
        if everything and self.link.reader_mark == CLASSIC:
            return await self.fail(503, "the channel layer lost its data")
        return True

    async def elapsed(self) -> bool:
        link, now = self.link, self.link.now()
        if self.upload.wants and self.upload.patience < 0.001:      # a float's rounding
            return await self.fail(408, "the body took too long")
        if not self.begun and now >= self.until:
            return await self.fail(504, "no answer in time")
        if self.comment_at is not None and now >= self.comment_at:
            return await self.answer(HttpResponse(body=b":\n\n", more_body=True))
        if self.probe_at is not None and now >= self.probe_at:
            self.probe_at = None
            link.write(Processing())    # to a peer that is gone it brings a reset; one that still reads passes over it
        return True

    async def half_closed(self) -> bool:
        """The client has shut its sending side. It may have left; or it may wait for its answer (`nc -N`)."""
        self.last = True
        if not self.upload.ended:
            return await self.left()
        if self.comment_at is not None:
            self.comment_at = self.link.now()
        elif not self.begun:
            self.probe_at = self.link.now() + PROBE
        return True

    async def left(self) -> bool:
        await self.upload.give_up()
        await self.link.tell(HttpDisconnect(self.request.path))
        self.status = self.status or LEFT
        self.access()
        self.link.close()
        return False

    def access(self):
        self.link.access(self.line)

    def line(self) -> str:
        """The common log format."""
        request, host = self.request, self.client[0] if self.client else "-"
        target = request.target.decode("latin-1").replace('"', "%22")
        return (f'{host} - - [{clf_time(int(self.link.now()))}] "{request.method} {target} HTTP/{request.version}" '
                f'{self.status} {self.sent or "-"}')

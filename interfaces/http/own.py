"""A request that the server answers itself: its body, its answer, its line in the access log."""
from interfaces.contract import Closed, Elapsed, HalfClosed, ProtocolError
from interfaces.http.origin import origin
from interfaces.http.protocol import Answer, Continue, Data, End, imf_fixdate
from interfaces.http.turn import LEFT, clf_time, refuse
from interfaces.http.upload import Upload

NO_STORE = (b"cache-control", b"no-store")


class Own:
    """`last`: nothing follows on this connection. What ends the request tells whether its connection goes on."""
    __slots__ = ("link", "options", "request", "fields", "last")

    def __init__(self, link, options, request):
        self.link, self.options, self.request, self.last = link, options, request, False
        self.fields = first_values(request.headers)

    async def body(self, most: int, wanted=lambda: True) -> bytes | None:
        """None: the client has left. Raises ProtocolError: 413, 408, and 409 when it is not `wanted` any more."""
        link, upload, pieces, size = self.link, Upload(self.link, self.options.body_timeout), [], 0
        if self.request.length is not None and self.request.length > most:
            raise ProtocolError("a body that is too large", 413)
        if self.request.expect:
            link.write(Continue())
        while True:
            if not wanted():
                raise ProtocolError("another request came in its place", 409)
            began = link.now()
            item = await link.next(upload.patience)
            upload.count(item, link.now() - began)
            match item:
                case Data(data):
                    pieces.append(data)
                    size += len(data)
                    if size > most:
                        raise ProtocolError("a body that is too large", 413)
                case End():
                    return b"".join(pieces)
                case Elapsed() if upload.patience < 0.001:      # a float's rounding
                    raise ProtocolError("the body took too long", 408)
                case Closed() | HalfClosed():
                    return None

    async def wait(self, timeout):
        """Closed, Elapsed, or None: look again."""
        item = await self.link.reply(timeout)
        if item.__class__ is HalfClosed:
            self.last = True            # it may still want this answer
        return item if item.__class__ in (Closed, Elapsed) else None

    async def answer(self, status: int, headers=(), body=b"") -> bool:
        """Raises ValueError for what can't be said; nothing is written then."""
        link = self.link
        data = link.encode(Answer(status, [*headers, NO_STORE], body, False, self.date(), self.last or link.stopping))
        if (took := await link.pour(data, self.options.write_timeout)) is not None:
            return self.stopped(took)
        return self.end(status, len(body))

    def end(self, status: int, size: int = 0) -> bool:
        self.access(status, size)
        if self.last or self.link.stopping or not self.link.wire.keep_alive:
            self.link.close()
            return False
        return True

    def refuse(self, status: int, reason: str, headers=()) -> bool:
        """The body may still be on its way, so the connection ends."""
        refuse(self.link, status, reason, (*headers, NO_STORE))
        self.access(status)
        return False

    def stopped(self, took) -> bool:
        if took.__class__ is not Closed:
            self.link.abort("slow: the client does not read")
        return self.left()

    def left(self) -> bool:
        self.access(LEFT)
        self.link.close()
        return False

    def date(self) -> bytes:
        return imf_fixdate(int(self.link.now()))

    def access(self, status: int, size: int = 0):
        self.link.access(lambda: self.line(status, size))

    def line(self, status: int, size: int) -> str:
        """The common log format."""
        link, request = self.link, self.request
        client = origin(link, request.headers, self.options.trusted_proxies)[0]
        return (f'{client[0] if client else "-"} - - [{clf_time(int(link.now()))}] "{request.method} {self.target()} '
                f'HTTP/{request.version}" {status} {size or "-"}')

    def target(self) -> str:
        return self.request.target.decode("latin-1").replace('"', "%22")


def first_values(headers) -> dict[bytes, bytes]:
    return {name: value for name, value in reversed(headers)}

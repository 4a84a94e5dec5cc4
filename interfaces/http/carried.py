"""Requests that carry another protocol, for pages whose proxies kill it: docs/fallback.md has the wire.

    POST ?ws-session=new     opens; the answer is the verdict
    GET  ?ws-session=<id>    hears: an event stream, or a long-poll, by Accept
    POST ?ws-session=<id>    says
"""
from interfaces.contract import Closed, Elapsed, Ended, ProtocolError, Upgrade
from interfaces.http.origin import origin
from interfaces.http.own import NO_STORE, Own, first_values
from interfaces.http.protocol import Answer, Piece
from interfaces.http.turn import COMMENT, RETRY_AFTER

NEW = b"new"
HOLD = 25.0                     # seconds; below the 30 after which the most impatient proxies in common use give up
OPENING = 16 * 1024             # bytes of the body of the request that opens; a guess
DIGITS = 18                     # of a number: below 2**63, and long before int() takes its time
TEXT = (b"content-type", b"text/plain; charset=utf-8")
JSON = (b"content-type", b"application/json")
STREAM = (b"content-type", b"text/event-stream")
UNBUFFERED = (b"x-accel-buffering", b"no")          # nginx keeps an answer until it is whole otherwise
ASKING = b"event: ping\ndata: 0\n\n"                # an event without data is none to an EventSource
ITS_BODY = (b"content-length", b"content-type", b"transfer-encoding")


def asked(link, request) -> tuple[bytes, bytes] | None:
    """(parameter, session) where this request carries another protocol. An OPTIONS does too: an application that answers
    preflights would let foreign pages in."""
    if b"-session=" not in request.query_string:
        return None
    for part in request.query_string.split(b"&"):
        name, _, value = part.partition(b"=")
        if name in link.carriages:
            return name, value
    return None


class Carriage(Own):
    """One request. `run()` tells whether its connection goes on; raises ProtocolError, as the head of a request does."""
    __slots__ = ("parameter", "session")

    def __init__(self, link, options, request, found):
        super().__init__(link, options, request)
        self.parameter, self.session = found

    async def run(self) -> bool:
        if self.request.method == "GET":
            return await self.hear()
        if self.request.method != "POST":
            return self.refuse(405, "GET and POST are served here", ((b"allow", b"GET, POST"),))
        kind = self.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":         # a form of a foreign page can send anything else without a preflight
            return self.refuse(415, "a body of application/json is needed")
        return await (self.open() if self.session == NEW else self.say())

    # opens

    async def open(self) -> bool:
        link = self.link
        body = await self.body(OPENING)
        if body is None:
            return self.left()
        if link.stopping:
            return self.refuse(503, "the server is going down", RETRY_AFTER)
        carrier = link.carry(link.carriages[self.parameter], self.upgrade(), body)
        if carrier is None:
            return self.refuse(503, "there are too many connections of this kind", RETRY_AFTER)
        try:
            while carrier.answered is None and not carrier.gone:
                if await self.wait(None) is not None:
                    carrier.vanish()
                    return self.left()
        finally:
            carrier.leaves(link)
        return await self.opened(carrier)

    async def opened(self, carrier) -> bool:
        answered = carrier.answered
        if answered is None:                    # cut before there was a verdict
            return self.refuse(503, "no verdict", RETRY_AFTER)
        headers = [field for field in answered.headers if field[0].lower() != self.parameter]
        if answered.accepted:
            headers.append((self.parameter, carrier.session.encode()))
        try:
            return await self.answer(answered.status, headers, answered.body)
        except ValueError as error:
            self.link.log(f"an answer that can't be given: {error}")
            if not carrier.gone:
                carrier.vanish()
            return self.refuse(500, "the application failed")

    def upgrade(self) -> Upgrade:
        link, request = self.link, self.request
        client, server, scheme = origin(link, request.headers, self.options.trusted_proxies)
        query = b"&".join(part for part in request.query_string.split(b"&") if part.partition(b"=")[0] != self.parameter)
        token = next(token for token, name in link.upgrades.items() if name == link.carriages[self.parameter])
        headers = [field for field in request.headers if field[0] not in ITS_BODY]     # the application never sees it
        return Upgrade(token.decode(), request.version, scheme, request.path, request.raw_path, query,
                       self.options.root_path, headers, client, server)

    # hears

    async def hear(self) -> bool:
        link = self.link
        if self.request.length != 0:
            raise ProtocolError("a GET with a body", 400)
        await link.event()                      # End
        carrier = self.carrier()
        if carrier is None:
            return await self.answer(404, [TEXT], b"there is no such session\n")
        if carrier.__class__ is Ended:
            return await self.gone(carrier)
        number = max(self.number(self.parameter_named(b"ack")), self.number(self.fields.get(b"last-event-id", b"")))
        carrier.listens(link)
        try:
            carrier.acknowledge(number)
            streams = b"text/event-stream" in self.fields.get(b"accept", b"").lower()
            return await (self.stream(carrier) if streams else self.poll(carrier))
        finally:
            carrier.leaves(link)

    async def poll(self, carrier) -> bool:
        link, until = self.link, self.link.now() + HOLD
        while not (carrier.entries or carrier.asking or carrier.gone) and carrier.listener is link:
            match await self.wait(max(until - link.now(), 0.0)):
                case Elapsed():
                    break
                case Closed():
                    return self.left()
        if carrier.listener is not link:
            return await self.answer(200, [JSON], b"[]")
        if carrier.gone:
            return await self.gone(carrier.remains)
        return await self.answer(200, [JSON], listed(carrier.after(carrier.acknowledged)))

    async def stream(self, carrier) -> bool:
        """The first bytes go out at once: a page sees by them that no proxy on the way holds the stream back."""
        link, last, pings = self.link, carrier.acknowledged, carrier.pings
        head = Answer(200, [STREAM, NO_STORE, UNBUFFERED], b":\n\n", True, self.date(), link.stopping)
        data = link.encode(head)
        while True:
            if (took := await link.pour(data, self.options.write_timeout)) is not None:
                return self.stopped(took)
            entries = carrier.after(last) if carrier.listener is link else []
            if entries:
                last = entries[-1][0]
                piece = b"".join(b"id: %d\ndata: %b\n\n" % entry for entry in entries)
            elif carrier.listener is not link or carrier.gone or carrier.told:
                break
            elif carrier.pings > pings:
                pings, piece = carrier.pings, ASKING
            else:
                match await self.wait(COMMENT):
                    case Elapsed():
                        piece = b":\n\n"
                    case Closed():
                        return self.left()
                    case _:
                        piece = b""
                if self.last:                   # half-closed: it may be gone, and a page never does so
                    break
            data = link.encode(Piece(piece, True))
        link.write(Piece())
        return self.end(200)

    # says

    async def say(self) -> bool:
        link, carrier = self.link, self.carrier()
        if carrier is None:
            return self.refuse(404, "there is no such session")
        if carrier.__class__ is Ended:
            return self.refuse(410, "the session has ended")
        carrier.speaks(link)
        try:
            return await self.said(carrier)
        finally:
            carrier.leaves(link)

    async def said(self, carrier) -> bool:
        link, until = self.link, self.link.now() + HOLD
        while not carrier.reading and carrier.speaker is link and not carrier.gone:
            match await self.wait(max(until - link.now(), 0.0)):        # its body stays in the socket meanwhile
                case Elapsed():
                    return self.refuse(503, "the application is behind", RETRY_AFTER)
                case Closed():
                    return self.left()
        number = self.number(self.parameter_named(b"ack"))
        try:
            body = await self.body(carrier.most, lambda: carrier.speaker is link)
        except ProtocolError as error:
            if error.code == 413:
                carrier.oversize()
            raise
        if body is None:
            return self.left()
        if carrier.gone:
            return await self.gone(carrier.remains)
        carrier.acknowledge(number)
        try:
            carrier.take(body)
        except ProtocolError as error:
            return await self.answer(error.code, [TEXT], error.reason.encode() + b"\n")
        return await self.answer(204)

    # of all

    def carrier(self):
        """The session, if it is this client's: an id that was overheard is of little use without the rest."""
        found = self.link.carrier(self.link.carriages[self.parameter], self.session.decode("latin-1"))
        if found is None or found.__class__ is Ended:
            return found
        first, now = first_values(found.opening.headers), self.fields
        same = found.opening.raw_path == self.request.raw_path and all(
            first.get(name) == now.get(name) for name in (b"host", b"authorization"))
        own = now.get(b"origin") == first.get(b"origin")
        if not own and not (self.request.method == "GET" and b"origin" not in now):     # browsers leave it out there
            return None
        return found if same else None

    def parameter_named(self, name: bytes) -> bytes:
        parts = (part.partition(b"=") for part in self.request.query_string.split(b"&"))
        return next((value for key, _, value in parts if key == name), b"")

    def number(self, text: bytes) -> int:
        if not text:
            return 0
        if len(text) > DIGITS or not text.isdigit():
            raise ProtocolError("an acknowledgement that is no number", 400)
        return int(text)

    def target(self) -> str:
        """A log is no place for the name of a session: whoever has it has the session."""
        kept = b"new" if self.session == NEW else b"..."
        return (self.request.raw_path + b"?" + self.parameter + b"=" + kept).decode("latin-1").replace('"', "%22")

    async def gone(self, ended: Ended) -> bool:
        return await self.answer(410, [JSON], b"[%b]" % ended.last)


def listed(entries) -> bytes:
    return b"[" + b",".join(b"[%d,%b]" % entry for entry in entries) + b"]"

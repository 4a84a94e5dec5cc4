"""One WebSocket from the request for it to its close."""
from email.utils import formatdate
from functools import partial

from interfaces.contract import (
    Abandoned, ChannelFull, Closed, Elapsed, Gap, HalfClosed, MessageTooLarge, NoVerdict, ProtocolError, Stopping,
)
from interfaces.schema import Neutral
from interfaces.ws.messages import (
    Denial, DenialBody, WebSocketConnect, WebSocketDisconnect, WebSocketReceive, WebSocketReply,
)
from interfaces.ws.protocol import Accept, Close, Handover, Message, Owed, Ping, Pong, Reject
from interfaces.ws.tunnel import TunnelWire

PATIENCE = 5.0              # seconds that a message waits for a worker that is behind; messages.md, Asking and deciding
CONFIRM = 128 * 1024        # bytes; messages.md, Credit
MESSAGES = 32               # half of what an owner may have out: messages.md, Credit
DENIAL = 1024 * 1024        # bytes of a refusal's body; a guess
CLOSE_TIMEOUT = 5.0         # seconds for the client's answer to our Close; a guess
EVENTS = (Message, Ping, Pong, Close)
LOST, GOING_AWAY, RESTART, LATER = 1006, 1001, 1012, 1013       # RFC 6455 7.4.1, and the registry of close codes


async def session(link, options, shared):
    upgrade = await link.event()
    try:
        offered = link.wire.handshake(upgrade)
    except ProtocolError as error:
        return Socket(link, options, upgrade, ()).reject(error.code, error.reason)
    except AttributeError:          # not an Upgrade: the peer was gone before it was handed over
        return None
    socket = Socket(link, options, upgrade, offered.subprotocols)
    origin = next((value for name, value in upgrade.headers if name == b"origin"), None)
    if not options.allows(origin):
        return socket.reject(403, "this origin is not allowed")     # cross-site WebSocket hijacking, RFC 6455 10.2
    found = link.inside(upgrade.path, offered.subprotocols)
    return await socket.run() if found is None else socket.hand_over(*found)


class Socket:
    """`heard`: when the peer last gave a sign of life. `sent`, `unconfirmed`: bytes and messages of the present owner."""
    __slots__ = ("link", "options", "upgrade", "offered", "began", "heard", "pinged", "sent", "confirmed", "unconfirmed",
                 "epoch", "status")

    def __init__(self, link, options, upgrade, offered):
        self.link, self.options, self.upgrade, self.offered = link, options, upgrade, offered
        self.began = self.heard = link.now()
        self.pinged, self.status = False, 101
        self.sent = self.confirmed = self.unconfirmed = self.epoch = 0

    async def run(self):
        """Every way out tells the application, once it knows of the connection, that it is over."""
        code, reason = LOST, ""
        try:
            verdict = await self.handshake()
            if verdict is not None:
                self.upgrade = self.upgrade.path        # the rest has been told
                code, reason = await self.answer(verdict) or await self.stay()
        except ProtocolError as error:
            code, reason = error.code, error.reason
            self.link.write(Close(code, reason))
            self.link.close(f"{code}: {reason}", linger=True)
        except NotOpened:
            return
        path = self.upgrade if self.upgrade.__class__ is str else self.upgrade.path
        await self.link.tell(WebSocketDisconnect(path, code, reason))
        self.link.close()

    # The handshake

    async def handshake(self) -> WebSocketReply | None:
        """What accepted it; None: it is refused. Raises NotOpened where the application never heard of it."""
        link = self.link
        try:
            verdict = await link.open(self.connect(), self.options.handshake_timeout)
        except NoVerdict as why:
            self.reject(500 if str(why) == "Unreadable" else 503, "the application gave no verdict")
            if not why.heard:
                raise NotOpened from None
            return None
        except ChannelFull:
            self.reject(503, "no worker is free")
            raise NotOpened from None
        except MessageTooLarge:
            self.reject(431, "the request's head is larger than a message may be")
            raise NotOpened from None
        until = self.began + self.options.handshake_timeout
        while True:
            match verdict:
                case WebSocketReply(accept, text, data, close):
                    if accept or accept is None and (text is not None or data is not None):
                        return self.accept(verdict)
                    if accept is not None or close:
                        return self.reject(403, "refused")
                case Denial():
                    return await self.deny(verdict, until)
                case Closed() | HalfClosed():
                    return None
                case Elapsed():
                    return self.reject(503, "the application gave no verdict")
            verdict = await link.reply(max(until - link.now(), 0.0))

    def connect(self) -> WebSocketConnect:
        asked = self.upgrade
        scheme = "wss" if asked.scheme == "https" else "ws"
        return WebSocketConnect(
            asked.http_version, scheme, asked.path, asked.raw_path, asked.query_string, asked.root_path, asked.headers,
            asked.client, asked.server, self.link.tls, list(self.offered))

    def accept(self, verdict: WebSocketReply) -> WebSocketReply | None:
        try:
            self.link.write(Accept(verdict.subprotocol, verdict.headers))
        except ValueError as error:
            self.link.log(f"a handshake that can't be accepted so: {error}")
            return self.reject(500, "the application failed")
        self.access()
        return verdict

    def hand_over(self, name: str, subprotocol: str, within):
        """To the protocol that is spoken inside. It is that one's first words that are a question to a worker."""
        if not self.link.become(name, None, partial(
                TunnelWire, within=within, options=self.options, peer=self.upgrade.client)):
            return self.reject(503, "there are too many connections of this kind")
        self.link.write(Handover(subprotocol))
        return self.access()

    async def deny(self, denial: Denial, until: float):
        """The worker's own refusal."""
        body, more = b"", True
        while more:
            match await self.link.reply(max(until - self.link.now(), 0.0)):
                case DenialBody(piece, more):
                    body += piece
                    if len(body) > DENIAL:
                        return self.reject(500, "a refusal that is too long")
                case Closed() | HalfClosed():
                    return None
                case Elapsed():
                    break
        try:
            self.link.write(Reject(denial.status, [*denial.headers, *self.date()], body))
        except ValueError as error:
            self.link.log(f"a refusal that can't be given so: {error}")
            return self.reject(500, "the application failed")
        self.status = denial.status
        self.access()
        return self.link.close(linger=True)

    def reject(self, status: int, reason: str):
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *self.date()]
        if status == 503:
            headers.append((b"retry-after", b"5"))      # seconds: a guess
        self.link.write(Reject(status, headers, reason.encode() + b"\n"))
        self.status = status
        self.access()
        self.link.close("" if status in (403, 503) else f"{status}: {reason}", linger=True)

    def date(self):
        return [(b"date", formatdate(int(self.link.now()), usegmt=True).encode())]

    # The open connection

    async def stay(self) -> tuple[int, str]:
        """Until it ends: by this code, for this reason. Raises ProtocolError."""
        link = self.link
        while True:
            if link.room:
                item = await link.next(self.patience())
            else:
                item = await link.reply(self.age())
                self.alive()                        # what it says meanwhile isn't read
            ended = await (self.from_peer(item) if item.__class__ in EVENTS else self.go_on(item))
            if ended is not None:
                return ended

    def alive(self):
        self.heard, self.pinged = self.link.now(), False

    async def from_peer(self, event):
        self.alive()
        if self.link.wire.owes:                     # what the wire could not answer when it came
            self.link.write(Owed())
        match event:
            case Message(data):
                return await self.receive(data)
            case Close(code, reason):
                return code, reason
        return None

    async def go_on(self, item):
        match item:
            case WebSocketReply():
                return await self.answer(item)
            case Neutral(text, data):
                return await self.answer(WebSocketReply(None, text, data if text is None else None))
            case Elapsed():
                return await self.elapsed()
            case Closed() | HalfClosed():
                return LOST, ""
            case Stopping():
                return await self.hang_up(GOING_AWAY, "the server is going down")
            case Abandoned() | Gap():
                return await self.hang_up(RESTART, "the application is restarting")
        return None

    async def receive(self, data: str | bytes):
        text, binary = (data, None) if data.__class__ is str else (None, data)
        try:
            await self.link.send(WebSocketReceive(self.upgrade, text, binary), patience=PATIENCE)
        except MessageTooLarge:
            return await self.hang_up(1009, "the message is larger than the application takes")
        except ChannelFull:
            return await self.hang_up(LATER, "the application is behind")
        return None

    async def answer(self, reply: WebSocketReply):
        data = reply.text if reply.text is not None else reply.bytes
        if data is not None:
            ended = await self.say(data)
            if ended is not None:
                return ended
        if reply.close:
            code = reply.code if reply.close is True else reply.close
            return await self.hang_up(code, reply.reason)
        return None

    async def say(self, data: str | bytes):
        link = self.link
        link.write(Message(data))
        if (took := await link.drain(self.options.write_timeout)) is not None:
            if not isinstance(took, Closed):
                link.abort("slow: the client does not read")
            return LOST, ""
        if link.owner is not None:
            await self.confirm(len(data) if data.__class__ is bytes or data.isascii() else len(data.encode()))
        return None

    async def confirm(self, size: int):
        link = self.link
        if link.epoch != self.epoch:                    # a new owner counts from 0
            self.epoch, self.sent, self.confirmed, self.unconfirmed = link.epoch, 0, 0, 0
        self.sent += size
        self.unconfirmed += 1
        if self.sent - self.confirmed >= CONFIRM or self.unconfirmed >= MESSAGES:
            try:
                await link.confirm(self.sent)
                self.confirmed, self.unconfirmed = self.sent, 0
            except ChannelFull:
                pass            # the next message tries again; the owner has room in its window until then

    async def hang_up(self, code: int, reason: str) -> tuple[int, str]:
        """Close, and wait for the client's answer (RFC 6455 7.1.2). What it still says is not for the application."""
        link, until = self.link, self.link.now() + CLOSE_TIMEOUT
        try:
            link.write(Close(code, reason))
        except ValueError as error:
            link.log(f"a close that can't be sent so: {error}")
            code, reason = 1011, "the application failed"
            link.write(Close(code, reason))
        try:
            while not isinstance(await link.event(max(until - link.now(), 0.0)), (Close, Closed, HalfClosed, Elapsed)):
                pass
        except ProtocolError:
            pass                # it is over anyway
        return code, reason

    # Time

    def age(self) -> float:
        """Seconds until the connection is too old."""
        return max(self.began + self.options.max_age - self.link.now(), 0.0)

    def patience(self) -> float:
        """Seconds until something is due."""
        options = self.options
        if not options.ping_interval:
            return self.age()
        quiet = options.ping_interval + (options.ping_timeout if self.pinged else 0.0)
        return min(max(self.heard + quiet - self.link.now(), 0.0), self.age())

    async def elapsed(self):
        if not self.age():
            return await self.hang_up(GOING_AWAY, "connections last no longer")
        if not self.patience():
            if self.pinged:
                self.link.abort("no answer to a ping")
                return LOST, ""
            self.pinged = True
            self.link.write(Ping())
        return None

    def access(self):
        self.link.access(self.line)

    def line(self) -> str:
        """The common log format, when the handshake is over."""
        asked, now = self.upgrade, self.link.now()
        host = asked.client[0] if asked.client else "-"
        target = (asked.raw_path + (b"?" + asked.query_string if asked.query_string else b"")).decode("latin-1")
        time = formatdate(int(now), usegmt=True)
        day, month, year, clock = time.split()[1:5]
        return f'{host} - - [{day}/{month}/{year}:{clock} +0000] "GET {target} HTTP/{asked.http_version}" {self.status} -'


class NotOpened(Exception):
    """The application has not heard of the connection."""

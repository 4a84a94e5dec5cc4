"""One MQTT connection from CONNECT to its end."""
from interfaces.contract import Abandoned, ChannelFull, Closed, Elapsed, Gap, HalfClosed, Handled, ProtocolError, Stopping
from interfaces.mqtt.admission import Refused, admit
from interfaces.mqtt.asking import Asking
from interfaces.mqtt.delivery import DIRECT
from interfaces.mqtt.inbound import FAILED, PACKETS, REPLIES, Over, undecided
from interfaces.mqtt.messages import AuthReply, Close, MqttDisconnect, Send
from interfaces.mqtt.packets import Auth, Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel
from interfaces.schema import Neutral

RETRY = 0.1                 # seconds until a channel that was full is tried again; a guess
CONFIRM = 128 * 1024        # bytes; messages.md, Credit
MESSAGES = 32               # half of what an owner may have out: messages.md, Credit
NEVER = float("inf")
LOST, NOT_AUTHORIZED, SHUTTING_DOWN, KEEP_ALIVE = 0x80, 0x87, 0x8B, 0x8D               # MQTT 5, 2.4
TAKEN_OVER, TOO_SLOW, ADMINISTRATIVE = 0x8E, 0x97, 0x98


class Roused:
    """The broker has something for this story."""


ROUSED = Roused()
LAST_WORDS = (Publish, Puback, Pubrec, Pubrel, Pubcomp, Disconnect)


async def session(link, options, shared):
    client = Client(link, options, shared)
    try:
        connect = await link.event(options.connect_timeout)
        if connect.__class__ is not Connect:
            return link.close("no CONNECT came" if connect.__class__ is Elapsed else "")
        await admit(client, connect)
    except ProtocolError as error:
        return Refused(error.code, error.reason).said(client)
    except Refused as refused:
        refused.said(client)
        if refused.heard:
            await link.tell(MqttDisconnect(refused.code, False))
        return None
    del connect             # it is told; thousands of stories stand here for days
    return await client.run()


class Client(Asking):
    """`window`, `largest`: what the client takes of messages with QoS 1 and 2 at a time, and of bytes in a packet (None: any).
    `out`: how many of the former it has. `pending` is {packet id: Pending}, what the worker is asked; `stale`: PUBRECs of
    earlier connections. `held`: what waits for the worker, (message, packet or None), since `since`, while nothing more is
    read. `silence`: seconds, 0: for ever. `published`, by a take-over: whether its will was due. `short` is {topic: alias} of
    what it is sent, `shortened` at most; None: it takes none."""
    __slots__ = ("link", "options", "broker", "session", "username", "will", "relay", "publish_acl", "subscribe_acl", "method",
                 "window", "largest", "out", "stale", "aliases", "pending", "held", "since", "heard", "silence", "epoch",
                 "authenticating", "roused", "overflown", "published", "sent", "confirmed", "unconfirmed", "modern", "left",
                 "short", "shortened")

    def __init__(self, link, options, broker):
        self.link, self.options, self.broker = link, options, broker
        self.session = self.username = self.will = self.publish_acl = self.subscribe_acl = self.method = None
        self.window, self.largest, self.out, self.stale = options.max_inflight, None, 0, 0
        self.short, self.shortened = None, 0
        self.aliases = self.pending = self.held = self.authenticating = self.published = None
        self.since = self.heard = self.silence = 0.0
        self.relay = self.roused = self.overflown = self.modern = self.left = False
        self.epoch = self.sent = self.confirmed = self.unconfirmed = 0

    async def run(self):
        """Every way out tells the application that it is over."""
        link = self.link
        try:
            await self.stay()
        except ProtocolError as error:
            over = Over(error.code, error.reason)
        except Over as why:
            over = why
        except Exception:                   # a fault of ours must leave no session that seems to be connected
            if self.published is None:
                self.broker.leave(self.session, self.will, self.relay)
            raise
        published = self.published
        if published is not None:
            over.code = TAKEN_OVER
        else:
            published = self.broker.leave(self.session, None if over.clean else self.will, self.relay)
        if over.said:
            self.goodbye(over)
        link.close(f"{over.code:#04x}: {over.reason}" if over.reason else "", linger=over.said)
        await link.tell(MqttDisconnect(over.code, over.clean, published))

    def goodbye(self, over: Over):
        """In MQTT 5 alone; to others the end must be enough."""
        try:
            self.link.write(Disconnect(over.code, over.properties))
        except (ValueError, TypeError, AttributeError) as error:
            self.link.log(f"a close that can't be sent so: {error}")
            self.link.write(Disconnect(ADMINISTRATIVE))

    async def stay(self):
        """Raises Over, ProtocolError."""
        link = self.link
        self.epoch, link.again = link.epoch, self.again
        self.session.flush()
        if link.stopping:                                   # it came while a worker decided
            raise Over(SHUTTING_DOWN, "the server is going down")
        while True:
            if self.held is not None:
                item = await link.reply(self.patience())
            else:
                if not link.drained:
                    await self.drain()
                item = await link.next(self.patience())
            if self.published is not None:
                raise Over(TAKEN_OVER, "another connection with its client id")
            answer = PACKETS.get(item.__class__)
            if answer is not None:
                self.heard = link.now()
                await answer(self, item)
                continue
            answer = REPLIES.get(item.__class__)
            await (self.go_on(item) if answer is None else answer(self, item))
            if self.held is not None:
                await self.retry()

    async def go_on(self, item):
        match item:
            case Send() | Neutral():
                await self.say(item)
            case Roused():
                if self.overflown:
                    raise Over(TOO_SLOW, "slow: more waits for it than may")
                await self.drain()
            case Elapsed():
                self.elapsed()
            case Handled():
                self.renew()
            case Close(code, properties):
                over = Over(ADMINISTRATIVE if code is None else code, "the application ends it")
                over.properties = properties or None
                raise over
            case Closed() | HalfClosed():
                if self.held is not None:
                    await self.last_words()
                raise Over(LOST, "", said=False)
            case Stopping() | Abandoned() | Gap():
                raise Over(SHUTTING_DOWN, "the server or the application is going down")

    async def last_words(self):
        """It is gone, and not all that it said has been read: news, perhaps a goodbye that makes its will void. It is little:
        a socket is read only so far ahead; what it was to have an answer to, it says again. Raises Over, ProtocolError."""
        self.left = True
        await self.gives(*self.held)
        while (item := await self.link.event()).__class__ in PACKETS:
            if item.__class__ in LAST_WORDS and not getattr(item, "qos", 0):
                await PACKETS[item.__class__](self, item)

    # To the client

    async def say(self, event):
        """A worker's words to this client."""
        message = self.broker.said(event)
        if message is None:
            return
        self.session.deliver(message, DIRECT)
        if not self.link.drained:
            await self.drain()
        self.sent += len(message.payload)
        self.unconfirmed += 1
        await self.confirm()

    async def confirm(self):
        """Tell the owner that it may say more, unless much of it still waits here."""
        link, queue = self.link, self.session.queue
        if not self.unconfirmed or link.owner is None or queue is not None and len(queue) > MESSAGES:
            return
        if self.sent - self.confirmed >= CONFIRM or self.unconfirmed >= MESSAGES:
            try:
                await link.confirm(self.sent)
                self.confirmed, self.unconfirmed = self.sent, 0
            except ChannelFull:
                pass            # the next one tries again; the owner has room in its window until then

    async def drain(self):
        """Until the client has read enough, and nothing waits for it that could go. Raises Over."""
        link = self.link
        while True:
            match None if link.drained else await link.drain(self.options.write_timeout):
                case Closed():
                    raise Over(TOO_SLOW if self.overflown else LOST, "", said=False)
                case Elapsed():
                    link.abort("slow: the client does not read")
                    raise Over(TOO_SLOW, "", said=False)
            if self.published is not None:
                return
            self.session.flush()
            if link.drained:
                return

    def say_auth(self, reply: AuthReply):
        """AUTH; raises Over for what can't be said."""
        try:
            self.link.write(Auth(reply.reason_code, {**reply.properties, "authentication_method": self.method}))
        except (ValueError, TypeError, AttributeError) as error:
            self.link.log(f"mqtt.auth that can't be sent so: {error}")
            raise Over(FAILED, "the application failed") from None

    # From the broker, while another story runs

    def rouse(self):
        """There is more to be said than could be said at once."""
        if not self.roused:
            self.roused = True
            self.broker.rouse(self)

    def overflow(self):
        """And more than may wait."""
        self.overflown = True
        self.rouse()

    def taken_over(self, published: bool):
        self.published = published
        self.rouse()

    def woken(self):
        self.roused = False
        if (self.overflown or self.published is not None) and not self.link.drained:
            self.link.abort("slow: more waits for it than may" if self.overflown else "taken over, and it does not read")
        else:
            self.link.deliver(ROUSED)

    # Time

    def patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = NEVER
        if self.held is not None:
            if not self.vacant:
                due = self.since + self.options.patience
                if self.link.room and not self.crowded:
                    due = self.link.now() + RETRY
        elif self.silence:
            due = self.heard + self.silence
        if self.pending is not None:
            due = min(due, next(iter(self.pending.values())).until)
        if self.authenticating is not None:
            due = min(due, self.authenticating)
        return None if due == NEVER else max(due - self.link.now(), 0.0)

    def elapsed(self):
        """Raises Over."""
        now = self.link.now()
        if self.vacant:
            self.extend()
        if self.held is None and self.silence and now >= self.heard + self.silence:
            raise Over(KEEP_ALIVE, "nothing was heard of it")           # [MQTT-3.1.2-22]
        if self.authenticating is not None and now >= self.authenticating:
            raise Over(NOT_AUTHORIZED, "it was not authenticated in time")
        while self.pending is not None and (oldest := next(iter(self.pending.items())))[1].until <= now:
            del self.pending[oldest[0]]
            self.pending = self.pending or None
            undecided(self, oldest[1].packet)

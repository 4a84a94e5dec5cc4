"""A story's end of a connection: what it waits for, what it says. contract.Link says what each method promises; the essay
above bridge.py says how it all goes together."""
from collections import deque
from math import inf

from interfaces.contract import (
    ChannelFull, Elapsed, Gap, HalfClosed, Handled, LayerDown, Lost, MessageTooLarge, NoVerdict, Stopping, Taken, Unconfirmed,
    Unreadable,
)
from interfaces.schema import BadMessage, Credit, NotOurs
from interfaces.story import DRAIN, ELAPSED, HANDLED, PAUSE, REPLY, Driven
from interfaces.tenure import Tenure

DESERTED = 2.0                                  # seconds; messages.md, Asking and deciding
PIECE = 64 * 1024                               # bytes that a peer may take `timeout` seconds for: a guess
OURS = ("interface.credit", "interface.state")  # said to the bridge, not to the story


class Link(Driven):
    """The only thing a story sees. contract.Link says what each method promises."""
    __slots__ = ("name", "owner", "order", "handled", "window", "successor", "curious", "epoch", "tenure",
                 "again", "asked")

    def __init__(self, connection, stream=None):
        super().__init__(connection, stream)
        self.name = self.owner = self.successor = self.tenure = self.again = self.asked = None
        self.curious = False
        self.order, self.handled, self.window, self.epoch = 0, -1, connection.factory.exchange.credit, 0

    def over(self):
        """The story has ended."""
        self.story = None
        if self.tenure is None or not self.tenure.outlives():
            self.forget()
        self.connection.finished(self)

    # facts

    peer = property(lambda self: self.connection.peer)
    server = property(lambda self: self.connection.server)
    tls = property(lambda self: self.connection.tls_facts())
    wire = property(lambda self: self.connection.wire)
    tells_taken = property(lambda self: self.connection.factory.exchange.layer.tells_taken)
    reader_mark = property(lambda self: self.connection.factory.exchange.layer.reader_mark)
    stopping = property(lambda self: self.connection.stopping)
    upgrades = property(lambda self: self.connection.factory.upgrades)
    purpose = property(lambda self: self.connection.home.purpose)
    carriages = property(lambda self: self.connection.factory.carriages)
    drained = property(lambda self: self.connection.drained)

    @property
    def room(self) -> bool:
        tenure = self.tenure
        if tenure is not None and (tenure.vacant or self.owner is None):
            return not tenure.vacant
        return self.order - self.handled <= self.window and (tenure is None or tenure.room)

    @property
    def reply_channel(self) -> str:
        exchange = self.connection.factory.exchange
        if exchange.address is None:
            raise LayerDown("the layer is not open yet")
        if self.name is None:
            self.name = exchange.enter(self)
        return f"{exchange.address.prefix}!{self.name}"

    def now(self) -> float:
        return self.connection.clock.seconds()

    async def drain(self, timeout=None):
        if self.connection.drained or self.ended:
            return self.ended
        item = await self.wait(DRAIN, timeout)
        return None if item is HANDLED else item

    def encode(self, event) -> bytes:
        return self.connection.encode(event, self)

    async def pour(self, data, timeout):
        if len(data) <= PIECE:
            self.connection.put(data)
            return None if self.connection.drained else await self.drain(timeout)
        for at in range(0, len(data), PIECE):
            self.connection.put(data[at:at + PIECE])
            item = await self.drain(timeout)
            if item is not None:
                return item
        return None

    # the application

    def deliver(self, item):
        if item.__class__ is dict:
            item = self.read(item)
            if item is None:
                return
        elif item.__class__ is Taken and not self.curious:
            return                              # the owner is noted; few stories want to hear of it
        if self.story is None:
            return
        if self.waiting & REPLY and not self.running and not self.box:
            self.step(item)                     # the common case: the story waits for just this
            return
        size = len(getattr(item, "body", b"")) + 200    # a guess of what the objects take
        self.boxed += size
        if self.boxed > self.connection.factory.exchange.max_buffer:
            self.abort("slow: the peer does not read what the application sends")
            return
        if self.box is None:
            self.box = deque()
        self.box.append((item, size))
        self.wake()

    def read(self, message: dict):
        """The event that a reply is, or None where it is only the bridge's business."""
        if "handled" in message:
            self.credit(message["handled"])
        if "state" in message and self.tenure is not None:
            self.tenure.leave(message["state"])
        if message.get("type") in OURS:
            return None
        try:
            return self.connection.factory.replies.read(message)
        except NotOurs as error:        # a group message that says nothing to this protocol
            self.log(f"a message that says nothing here: {error}")
            return None
        except BadMessage as error:
            self.connection.factory.exchange.unreadable += 1
            self.log(f"a reply that can't be read: {error}")
            return Unreadable(str(error))

    def credit(self, handled):
        if handled.__class__ is not int or not self.handled < handled < self.order:
            return
        full = not self.room
        self.handled = handled
        self.connection.factory.exchange.pings.heard.add(self.owner)
        if self.tenure is not None:
            self.tenure.handled(handled)
        if full and self.room:
            self.deliver(HANDLED)

    async def send(self, message, channel=None, patience=0.0, deadline=None):
        form = message.__message__
        encoded = form.encode(message)
        encoded["reply_channel"] = self.reply_channel
        if deadline is not None:
            encoded["deadline"] = deadline
        counted = channel is None
        if counted:
            if self.tenure is not None and not self.tenure.asked and (self.owner is not None or self.tenure.vacant):
                return await self.tenure.send(encoded)
            channel = self.owner or form.channel
            encoded["order"] = self.order
            self.order += 1         # before it is sent: who reads it may answer before the layer has confirmed it
        asks = counted and self.tenure is None and self.asked is None
        layer, until, pause = self.connection.factory.exchange.layer, self.now() + patience, 0.01
        while True:
            if asks:
                self.asked = channel, self.now()
            try:
                return await layer.send(channel, encoded)
            except Unconfirmed:
                raise               # no number is given twice: who reads has the message, or sees the gap
            except ChannelFull as error:
                if self.now() + pause > until or await self.wait(PAUSE, pause) is not ELAPSED:
                    self.order -= counted
                    self.connection.factory.exchange.behind(channel, error)
                    raise
                pause = min(pause * 2, 0.2)
            except BaseException:
                self.order -= counted
                raise

    @property
    def channel(self) -> str | None:
        """The shared channel where it asked for an owner."""
        return self.asked and self.asked[0] if self.tenure is None else self.tenure.channel

    @property
    def unclaimed(self) -> float:
        """Since when it asks for an owner; inf when it has one, or needs none."""
        tenure, since = self.tenure, None
        if self.owner is None and self.ended is None:
            if tenure is None:
                since = self.asked and self.asked[1]
            elif tenure.asked or tenure.vacant:
                since = tenure.announced
        return inf if since is None else since

    def orphaned(self, lost):
        """Who took it is lost, and was not its owner yet."""
        if self.tenure is None:
            self.deliver(lost)
        else:
            self.tenure.lost()

    async def tell(self, message):
        layer = self.connection.factory.exchange.layer
        vacant = self.tenure is not None and self.tenure.vacant
        if self.owner is None and not vacant and not layer.listening(message.__message__.channel):
            return
        try:
            await self.send(message)
        except (ChannelFull, MessageTooLarge) as error:
            self.log(f"{message.__message__.name} was not sent: {error!r}")

    def heeded(self, form) -> bool:
        if self.owner is not None or self.tenure is not None and self.tenure.vacant:
            return True
        return self.connection.factory.exchange.layer.deserted(form.__message__.channel) < DESERTED

    async def confirm(self, sent):
        message = dict(Credit.__message__.encode(Credit(sent)), reply_channel=self.reply_channel)
        await self.connection.factory.exchange.layer.send(self.owner, message)

    async def drop(self, channel, last=None):
        if last is not None:
            last = dict(last.__message__.encode(last), reply_channel=self.reply_channel)
        try:
            await self.connection.factory.exchange.layer.delete(channel, last)
        except ChannelFull:
            pass        # the layer is down: what waits there expires

    async def ask(self, message, timeout):
        channel, until = message.__message__.channel, self.now() + timeout
        layer = self.connection.factory.exchange.layer
        if self.owner is None and layer.deserted(channel) >= DESERTED:
            raise NoVerdict("nobody listens", False)
        await self.send(message, deadline=until)
        self.curious, taken = True, self.owner is not None
        while True:
            item = await self.reply(until - self.now() if taken else min(until - self.now(), DESERTED))
            match item:
                case Taken():
                    taken = True
                case Elapsed():
                    if self.now() >= until or not taken and layer.deserted(channel) >= DESERTED:
                        raise NoVerdict("nobody answers", taken or not layer.tells_taken)
                case Lost() | Unreadable():
                    raise NoVerdict(item.__class__.__name__)
                case Gap(everything) if everything and not taken:
                    raise NoVerdict("the question is lost")
                case Gap() | Handled() | HalfClosed() | Stopping():
                    pass
                case _:
                    return item

    async def open(self, message, timeout):
        first = message.__message__.encode(message)
        first["reply_channel"] = self.reply_channel
        self.tenure = Tenure(self, first, self.now() + timeout)
        self.tenure.announced = self.now()
        try:
            return await self.ask(message, timeout)
        finally:
            self.tenure.asked = self.curious = False

    def renew(self):
        self.forget()
        self.box, self.boxed, self.asked = None, 0, None
        self.order, self.handled, self.curious, self.epoch = 0, -1, False, 0

    def forget(self):
        if self.name is not None:
            self.connection.factory.exchange.leave(self.name)
            self.name = self.owner = None

    # the peer

    def write(self, event) -> int:
        return self.connection.write(event, self)

    def inside(self, path, subprotocols):
        return None if self.connection.carried else self.connection.factory.inside(path, subprotocols)

    def become(self, name, event, around=None):
        if not self.connection.admit(name):
            return False
        self.successor = (name, event, around or itself)
        return True

    def carry(self, name, event, body):
        return self.connection.factory.sibling(name).carriers.open(self, event, body)

    def carrier(self, name, session):
        return self.connection.factory.sibling(name).carriers.find(session)

    def close(self, reason="", linger=False):
        if hasattr(self.wire, "farewell"):
            self.connection.put(self.wire.farewell())
        self.connection.close(reason, linger)

    def abort(self, reason):
        self.connection.abort(reason)

    def log(self, text):
        self.connection.log.info("{peer}: {text}", peer=self.connection.named(), text=text)

    def access(self, line):
        if self.connection.factory.access is not None and not self.connection.carried:     # its requests have their own lines
            self.connection.factory.access(line())


def itself(wire):
    return wire

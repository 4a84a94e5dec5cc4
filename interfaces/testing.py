"""Talk to an interface as its client and as its application, in memory and on a clock. Public: for your interfaces too.

    peer = Peer(http)
    peer.says(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert peer.app.got()["path"] == "/"
    peer.app.replies(status=200, content=b"hello")
    assert peer.heard().startswith(b"HTTP/1.1 200 OK")
    peer.leaves()

laws.py does the same at random, and checks what must hold whatever happens.
"""
from collections import deque

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from interfaces.exchange import Exchange
from interfaces.layers.memory import MemoryLayer
from interfaces.layers.wire_local import unpack
from interfaces.service import ConnectionFactory

EPOCH = 1_700_000_000.0         # any time that isn't 0, so that a missing time shows
HIGH_WATER = 64 * 1024          # as Twisted's FileDescriptor.bufferSize
ONE_READ = 64 * 1024            # likewise: what a socket gives at once


@implementer(interfaces.ITransport, interfaces.IConsumer)
class MemoryTransport:
    """A TCP connection without a network: what is written waits in `written` until the peer reads it."""

    def __init__(self, clock):
        self.clock, self.protocol, self.producer = clock, None, None
        self.written, self.unread = bytearray(), bytearray()
        self.reading = self.peer_reads = True
        self.shut = self.deaf = False       # the peer sends no more; not yet told; told
        self.paused = self.closing = self.write_closed = self.gone = False
        self.late = 0                   # bytes written after a close: nothing may be

    def write(self, data):
        if self.gone or self.closing or self.write_closed:
            self.late += len(data)
            return
        self.written += data
        if not self.peer_reads and len(self.written) > HIGH_WATER and self.producer is not None and not self.paused:
            self.paused = True
            self.producer.pauseProducing()

    def writeSequence(self, pieces):
        self.write(b"".join(pieces))

    def read(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        if self.paused and self.producer is not None and not self.gone:
            self.paused = False
            self.producer.resumeProducing()
        if self.closing:
            self.lost(ConnectionDone())
        return data

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def pauseProducing(self):
        self.reading = False

    def resumeProducing(self):
        self.reading = True
        self.clock.callLater(0, self.feed)

    def feed(self):
        while self.reading and self.unread and not self.gone:
            data = bytes(self.unread[:ONE_READ])
            del self.unread[:ONE_READ]
            self.protocol.dataReceived(data)
        if self.shut and not self.unread and not self.gone:
            self.shut = False
            self.protocol.readConnectionLost()

    def loseWriteConnection(self):
        self.write_closed = True

    def loseConnection(self):
        self.closing = True
        if self.peer_reads or not self.written:
            self.clock.callLater(0, self.lost, ConnectionDone())

    def abortConnection(self):
        self.closing = True
        self.clock.callLater(0, self.lost, ConnectionLost())

    def lost(self, reason):
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(reason))

    def getPeer(self):
        return IPv4Address("TCP", "192.0.2.7", 4711)        # RFC 5737: an address for documentation

    def getHost(self):
        return IPv4Address("TCP", "192.0.2.1", 80)


class Record:
    """A log that can be looked at. `faults` are failures of the server's own: there may be none."""

    def __init__(self):
        self.lines, self.faults = [], []

    def info(self, form, **facts):
        self.lines.append(form.format(**facts))

    warn = info

    def failure(self, form, **facts):
        self.faults.append(Failure().getTraceback())


class App:
    """The application behind a memory layer: it takes every message that the interface sends to a shared channel."""
    paused, rank = False, 0
    process = "specific.test"

    def __init__(self, layer, channels, adopts=False):
        self.layer, self.adopts = layer, adopts
        self.waiting, self.heard, self.current = deque(), [], None
        layer.attach(self)
        for channel in channels:
            layer.credit(self, channel, 1_000_000)

    def push(self, channel, payload):
        self.waiting.append((channel, unpack(payload)))
        return True

    def push_many(self, channels, payload):
        for channel in channels:
            self.push(channel, payload)
        return 0

    def withdrawn(self, channel):
        pass

    @property
    def owner(self) -> str:
        return f"{self.process}!owner" if self.adopts else ""

    def got(self, kind: str | None = None) -> dict:
        """The next message, begun to run; an AssertionError when there is none, or when it is of another type."""
        assert self.waiting, "no message came to the application"
        channel, message = self.waiting.popleft()
        if "!" not in channel:
            self.layer.started(self, channel, 1, self.owner)
        if message.get("reply_channel"):
            self.current = message["reply_channel"]
        self.heard.append(message)
        assert kind is None or message["type"] == kind, message
        return message

    def nothing(self) -> bool:
        return not self.waiting

    def reads(self, channel: str):
        """Listen to a further channel, such as a body channel."""
        self.layer.credit(self, channel, 1_000_000)

    def replies(self, to: str | None = None, **message):
        """Reply to the connection of the latest message, or to the channel `to`. Write `type_=` for the key `type`."""
        if "type_" in message:
            message["type"] = message.pop("type_")
        self.layer.send(to or self.current, message)
        self.layer.clock.advance(0)

    def dies(self):
        """kill -9."""
        self.layer.detach(self)
        self.layer.clock.advance(0)


class Peer:
    """One client of an interface, with an application behind it. `siblings`: interfaces that it may go over to. `layer`: what
    makes a layer, or the layer of another Peer: then they are two servers on one, and `app` is False for the second."""

    def __init__(self, interface, app=True, adopts=False, options=None, siblings=(), layer=MemoryLayer, **limits):
        if isinstance(layer, MemoryLayer):
            self.clock, self.layer = layer.clock, layer
        else:
            self.clock = Clock()
            self.clock.rightNow = EPOCH
            self.layer = layer(self.clock, **limits)
        self.exchange = Exchange(self.layer, self.clock)
        opened = self.exchange.open()
        try:
            opened.send(None)
        except StopIteration:
            pass
        settings = options if options is not None or interface.options is None else interface.options()
        self.access, self.log = [], Record()
        self.factory = ConnectionFactory(interface, settings, self.exchange, self.access.append)
        known = {interface.name: self.factory} | {
            other.name: ConnectionFactory(other, other.options and other.options(), self.exchange, self.access.append)
            for other in siblings}
        for factory in known.values():
            factory.siblings, factory.log = known, self.log
            factory.open()
        self.interface = interface
        self.sends = [sent.__message__.channel for each in (interface, *siblings) for sent in each.sends]
        self.app = App(self.layer, self.sends, adopts) if app else None
        self.connects()

    def connects(self):
        self.transport = MemoryTransport(self.clock)
        self.connection = self.factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)
        self.settle()

    def settle(self):
        self.clock.advance(0)

    def says(self, data: bytes):
        """The peer sends. What the server does not read now it reads later."""
        transport = self.transport
        if not transport.gone and not transport.deaf:
            transport.unread += data
            transport.feed()
        self.settle()

    def heard(self) -> bytes:
        """All that came to the peer since the last time."""
        data = self.transport.read()
        self.settle()
        return data

    def stops_reading(self):
        self.transport.peer_reads = False

    def shuts(self):
        """The peer sends no more, but still reads."""
        self.transport.shut = not self.transport.deaf
        self.transport.deaf = True
        self.transport.feed()
        self.settle()

    def leaves(self):
        self.transport.lost(ConnectionLost())
        self.settle()

    def waits(self, seconds: float):
        self.clock.advance(seconds)
        self.settle()

    @property
    def ended(self) -> bool:
        """The server has ended the connection."""
        return self.transport.gone or self.transport.closing or self.transport.write_closed

"""A connection whose bytes are carried by requests of HTTP: its transport is in memory (docs/fallback.md has the wire).

    POST -> Carrier.take -> Carried.dataReceived -> the wire, the story        what the page says
    the story -> wire.encode -> Carrier.put -> entries -> a GET that waits     what the page is told

To its story it is a connection like any other, so limits, credit, pings and hand-over are the same code. An entry stays
until the page has acknowledged it: an answer that is lost on its way costs nothing. What is unacknowledged is to the
story what a full socket is, so that a page that does not read is waited for, and then ended, in the same way.
"""
import secrets
from base64 import urlsafe_b64encode
from collections import deque

from twisted.internet import interfaces
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface import implementer

from interfaces.bridge import Connection
from interfaces.contract import Answered, Ended, ProtocolError, Ready

HIGH_WATER = 64 * 1024          # bytes; Twisted's bufferSize, as a socket has it
ENTRY = 100                     # bytes that an entry takes beside its data; a guess
ABSENT = 30.0                   # seconds without a request that listens, until the page is taken to be gone; a guess
TOMBS = 4096                    # sessions that are remembered after their end; a guess
SESSION_BYTES = 16              # 128 bits, unguessable: whoever knows the name of a session has it
READY = Ready()


class Carried(Connection):
    """A connection on a Carrier. `opening`: the event that its story begins with."""
    carried = True

    def __init__(self, factory, opening):
        super().__init__(factory)
        self.wire = self.interface.carried(factory.options)
        self.opening = opening

    def begin(self, stream, event=None):
        return super().begin(stream, self.opening)

    def write(self, event, link) -> int:
        if self.closing or self.gone:
            return 0
        said = self.encode(event, link)
        if said.__class__ is Answered:
            self.transport.answers(said)
        elif said is not None:
            self.transport.write(said)
        return 0


@implementer(interfaces.ITransport, interfaces.IConsumer)
class Carrier:
    """`listener`, `speaker`: the links of the requests that hear and say; the newest has the session. `entries`: what the
    page has not acknowledged, (number, data). `asking`: the page is to show that it lives."""

    def __init__(self, carriers, connection, under):
        self.carriers, self.connection, self.clock = carriers, connection, connection.clock
        self.host, self.peer = under.getHost(), under.getPeer()
        self.session = urlsafe_b64encode(secrets.token_bytes(SESSION_BYTES))[:22].decode()
        self.requests, self.listener, self.speaker = set(), None, None
        self.entries, self.size = deque(), 0
        self.number = self.acknowledged = self.given = self.pings = 0
        self.answered = self.producer = self.timer = self.waking = None
        self.reading, self.paused = True, False
        self.asking = self.closing = self.orderly = self.gone = False

    # for the requests

    opening = property(lambda self: self.connection.opening)
    most = property(lambda self: self.connection.wire.most)
    remains = property(lambda self: Ended(self.entries[-1][1] if self.entries and self.orderly else b""))
    told = property(lambda self: self.closing and self.given == self.number)

    def listens(self, link):
        """This request hears from now on; the one before has to end."""
        self.listener = link
        self.asking = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.requests.add(link)
        self.wake()
        self.connection.dataReceived(b"")

    def speaks(self, link):
        """This request says something next; the one before has to end."""
        self.speaker = link
        self.requests.add(link)
        self.wake()

    def leaves(self, link):
        """A request is over."""
        self.requests.discard(link)
        if self.speaker is link:
            self.speaker = None
        if self.listener is link:
            self.listener = None
            if not self.gone:
                self.timer = self.clock.callLater(ABSENT, self.absent)

    def take(self, body: bytes):
        """Raises ProtocolError: nothing of it is taken."""
        self.asking = False
        try:
            self.connection.dataReceived(body)
        except ProtocolError:
            self.connection.dataReceived(b"")       # it lives; and of some faults the story hears now
            raise

    def oversize(self):
        self.connection.wire.oversize()
        self.connection.dataReceived(b"")

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """What is to be given: the entries with a higher number."""
        found = [entry for entry in self.entries if entry[0] > number]
        if found:
            self.given = found[-1][0]
            self.finish()
        return found

    def acknowledge(self, number: int):
        """The page has all up to this one."""
        self.acknowledged = max(self.acknowledged, min(number, self.given))
        while self.entries and self.entries[0][0] <= self.acknowledged:
            self.size -= len(self.entries.popleft()[1]) + ENTRY
        if self.paused and self.size <= HIGH_WATER and self.producer is not None:
            self.paused = False
            self.producer.resumeProducing()
        self.finish()

    def vanish(self):
        """The page is gone before it knew of its session."""
        self.lost(ConnectionLost())

    # for the connection

    def answers(self, answered: Answered):
        self.answered = answered
        self.wake()

    def write(self, data: bytes):
        if data:
            self.number += 1
            self.entries.append((self.number, data))
            self.size += len(data) + ENTRY
            if self.size > HIGH_WATER and not self.paused and self.producer is not None:
                self.paused = True
                self.producer.pauseProducing()
        else:
            self.asking = True
            self.pings += 1
        self.wake()

    def writeSequence(self, pieces):
        self.write(b"".join(pieces))

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def pauseProducing(self):
        self.reading = False

    def resumeProducing(self):
        self.reading = True
        self.wake()

    def loseConnection(self):
        """When the page knows all of it."""
        self.closing = self.orderly = True
        self.wake()
        self.finish()

    loseWriteConnection = loseConnection

    def abortConnection(self):
        self.closing = True
        self.clock.callLater(0, self.lost, ConnectionLost())

    def getPeer(self):
        return self.peer

    def getHost(self):
        return self.host

    # what follows

    def finish(self):
        """A page can't acknowledge to a server that is going down: there what was given must do."""
        connection = self.connection
        if self.closing and not self.gone and (
                not self.entries or connection.wire.over or connection.stopping and self.told):
            self.clock.callLater(0, self.lost, ConnectionDone())

    def absent(self):
        self.timer = None
        if self.closing:
            self.lost(ConnectionLost())
        else:
            self.connection.abort("the page has not come back")

    def lost(self, reason):
        if self.gone:
            return
        self.gone = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.carriers.bury(self)
        self.wake()
        self.connection.connectionLost(Failure(reason))

    def wake(self):
        """In a turn of its own: no story runs inside another's, and what is said together goes out together."""
        if self.waking is None and self.requests:
            self.waking = self.clock.callLater(0, self.ready)

    def ready(self):
        self.waking = None
        for link in list(self.requests):
            if link in self.requests and not link.box:      # one is enough
                link.deliver(READY)


class Carriers:
    """The carried connections of one factory, by their sessions."""

    def __init__(self, factory):
        self.factory, self.live = factory, {}
        self.ended: dict[str, Ended] = {}

    def open(self, link, event, body: bytes) -> Carrier | None:
        """None: there is no room for another connection. `link`: of the request that opens it; it must `leaves` it."""
        factory, under = self.factory, link.connection
        if not factory.admission.admit(under.host):
            return None
        connection = Carried(factory, event)
        connection.host, connection.tls = under.host, link.tls
        factory.connections.add(connection)
        carrier = Carrier(self, connection, under.transport)
        self.live[carrier.session] = carrier
        carrier.listener = link
        carrier.requests.add(link)
        connection.wire.receive(body)
        connection.makeConnection(carrier)
        return carrier

    def find(self, session: str) -> Carrier | Ended | None:
        return self.live.get(session) or self.ended.get(session)

    def bury(self, carrier: Carrier):
        del self.live[carrier.session]
        if carrier.answered is None or not carrier.answered.accepted:
            return                              # nobody knows of it
        if len(self.ended) >= TOMBS:
            del self.ended[next(iter(self.ended))]
        self.ended[carrier.session] = carrier.remains

"""One transport <-> its links <-> the layer. All flow control and all timers are here, once, for every protocol.

How a byte gets to the application and back

    socket -> Connection.dataReceived -> wire.receive        the peer speaks
           -> Link.wake -> story.send(event)                 the story goes on where it waited ...
           -> link.send -> layer.send                        ... and tells the application
    layer  -> Exchange.deliver -> Link.deliver               the application speaks
           -> Link.wake -> story.send(reply)                 the story goes on ...
           -> link.write -> wire.encode -> transport.write   ... and tells the peer

A story is a coroutine that is driven by hand: whenever something happens that it waits for, `step` sends that thing into
it, and it runs until it waits again. There is no Deferred and no task per step (a story driven through Deferreds costs
twice as much), and no re-entrancy: what happens while a story runs waits in a box until the story asks.

Back-pressure comes for nothing. A story that is busy does not pull events; what the peer sent meanwhile is counted, and at
READ_AHEAD bytes the socket is no longer read, so that TCP tells the peer. Towards the peer the transport tells when its
buffer is full; `link.drain()` waits for it. Towards an owner `link.room` says whether its window is open. What the
application sends while the peer does not read waits in the link's box; a box over `max_buffer` ends the connection ("slow").

Time: each connection has one timer. A wait sets a deadline; the timer is moved only when it would fire too late, and when
it fires early it is armed again. A keep-alive connection that serves a thousand requests a second re-arms it twice a minute.
"""
import select
import socket
from collections import deque

from twisted.internet import interfaces, protocol
from zope.interface import implementer

from interfaces.contract import Closed, ProtocolError
from interfaces.link import Link
from interfaces.story import DRAIN, ELAPSED, HALF_CLOSED, HANDLED, STOPPING

READ_AHEAD = 64 * 1024          # a guess: one read of Twisted's
LINGER = 5.0                    # seconds; nginx's lingering_timeout
FLUSH = 30.0                    # seconds for a peer to take what was written before a close; nginx's send_timeout is 60


@implementer(interfaces.IHalfCloseableProtocol, interfaces.IPushProducer)
class Connection(protocol.Protocol):
    """One transport, its wire and its links. The one Twisted protocol of the house."""
    carried = False                     # by requests of another protocol (carrier.py)

    def __init__(self, factory):
        self.home = self.factory = factory      # `home` counts the connection, whatever it becomes
        self.admissions = [factory.admission]
        self.interface = factory.interface
        self.clock, self.log = factory.exchange.clock, factory.log
        self.wire = self.interface.wire(factory.options)
        self.streams = getattr(self.wire, "streams", False)
        self.links = {}
        self.timer = self.tls = self.cut_at = None
        self.unpulled = 0                   # bytes received since the story last wanted more
        self.reading = self.drained = True
        self.closing = self.gone = self.half_closed = self.stopping = False
        self.peer = self.server = self.probe = None

    # from Twisted

    def connectionMade(self):
        self.peer, self.server = address(self.transport.getPeer()), address(self.transport.getHost())
        if self.peer is not None and hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)      # an answer is written whole; Nagle could only delay its last segment
        self.transport.registerProducer(self, True)
        if not self.streams:
            self.begin(None)

    def dataReceived(self, data):
        if self.closing:
            return                          # a lingering close reads only to keep the peer from being reset
        owed = self.wire.receive(data)
        self.unpulled += len(data)
        if owed:
            self.transport.write(owed)
            if not self.drained:                # a flood of questions from a peer that reads no answers
                self.stop_reading()
        if self.streams:
            self.distribute()
        else:
            self.links[None].wake()
        if self.unpulled > READ_AHEAD:
            self.stop_reading()

    def stop_reading(self):
        if self.reading and not self.gone:
            self.reading = False
            self.transport.pauseProducing()

    def read_on(self):
        """If nothing speaks against it."""
        if not self.reading and self.drained and not (self.unpulled or self.gone or self.closing or self.half_closed):
            self.reading = True
            self.transport.resumeProducing()

    def readConnectionLost(self):
        if self.closing:
            self.transport.loseConnection()
            return
        self.reading, self.half_closed = False, True
        self.probe = self.clock.callLater(1.0, self.look)
        for link in list(self.links.values()):
            link.signal(HALF_CLOSED)

    def writeConnectionLost(self):
        pass                                # only after our own loseWriteConnection, in a lingering close

    def connectionLost(self, reason=protocol.connectionDone):
        self.gone = True
        for timer in (self.timer, self.probe):
            if timer is not None:
                timer.cancel()
        self.timer = self.probe = None
        self.end(self.closing or reason.getErrorMessage())
        self.home.left(self)

    def pauseProducing(self):
        self.drained = False

    def resumeProducing(self):
        self.drained = True
        self.read_on()
        for link in list(self.links.values()):
            if link.waiting & DRAIN and not link.running:
                link.step(HANDLED)

    def stopProducing(self):
        pass                                # connectionLost says it

    # the links

    def begin(self, stream, event=None):
        """`event`: what was read by another interface already."""
        link = self.links[stream] = Link(self, stream)
        if event is not None:
            link.events = deque([event])
        link.start(self.interface.session(link, self.factory.options, self.factory.shared))
        return link

    def finished(self, link):
        if self.links.get(link.stream) is not link:
            return
        del self.links[link.stream]
        if link.successor is not None and not self.gone:
            self.upgrade(*link.successor)
        elif not self.streams:
            self.close()

    def admit(self, name) -> bool:
        """Whether this connection may become one of another interface."""
        admission = self.factory.sibling(name).admission
        if admission in self.admissions:
            return True
        if not admission.admit(self.host):
            return False
        self.admissions.append(admission)
        return True

    def upgrade(self, name, event, around):
        self.factory = self.factory.sibling(name)
        self.interface = self.factory.interface
        unread, self.wire = self.wire.unread(), around(self.interface.wire(self.factory.options))
        self.peer = getattr(self.wire, "peer", self.peer)       # as the proxy says, of which HTTP knows
        self.streams = getattr(self.wire, "streams", False)
        self.begin(None, event)
        if unread and not self.closing:
            self.unpulled = 0
            self.dataReceived(unread)

    def distribute(self):
        """A multiplexed wire: every event to the link of its stream. The wire's own flow control bounds what waits there."""
        while (event := self.pulled()) is not None:
            link = self.links.get(event.stream) or self.begin(event.stream)
            if link.events is None:
                link.events = deque()
            link.events.append(event)
            link.wake()

    def pull(self):
        event = self.wire.next_event()
        if event is None:
            self.unpulled = 0
            self.read_on()
        return event

    def pulled(self):
        """As `pull`, where no story waits that could be told of a peer's fault: the wire has said it in its own words."""
        try:
            return self.pull()
        except ProtocolError as error:
            self.close(error.reason)
            return None

    # writing and ending

    def write(self, event, link) -> int:
        if self.closing or self.gone:
            return 0
        data = self.encode(event, link)
        self.transport.write(data)
        return len(data)

    def encode(self, event, link) -> bytes:
        return self.wire.encode(event, link.stream) if self.streams else self.wire.encode(event)

    def put(self, data):
        if not self.closing and not self.gone:
            self.transport.write(data)

    def close(self, reason="", linger=False):
        """End after what was written has gone out. `linger`: the peer may still be sending; a plain close would make the
        kernel reset the connection and take our last words away from it (RFC 9112 9.6)."""
        if self.closing or self.gone:
            return
        self.closing = reason or "closed"
        self.transport.unregisterProducer()
        if linger and not self.half_closed:
            if not interfaces.ISSLTransport.providedBy(self.transport):     # TLS has no half-close; there the peer, who
                self.transport.loseWriteConnection()                        # was told, closes
            if not self.reading:
                self.transport.resumeProducing()
            self.cut_at = self.arm(LINGER)
        else:
            self.transport.loseConnection()
            self.cut_at = self.arm(FLUSH)
        if reason:
            self.log.info("{peer}: {reason}", peer=self.named(), reason=reason)
        self.end(reason)

    def abort(self, reason):
        if self.gone:
            return
        self.log.info("{peer}: {reason}", peer=self.named(), reason=reason)
        self.closing, self.cut_at = reason, self.clock.seconds()
        self.transport.abortConnection()
        self.end(reason)

    def end(self, reason):
        """Tell every story that the peer is gone."""
        ended = Closed(str(reason or ""))
        for link in list(self.links.values()):
            if link.ended is None:
                link.ended = ended
                link.wake()

    def stop(self):
        self.stopping = True
        for link in list(self.links.values()):
            link.signal(STOPPING)

    # time

    def arm(self, timeout: float) -> float:
        """The one timer of the connection fires at the earliest deadline, or a little before and is armed again."""
        deadline = self.clock.seconds() + timeout
        timer = self.timer
        if timer is not None and timer.getTime() > deadline + 1e-3:     # less is the noise of sums
            timer.cancel()                          # to reset it to a sooner time Twisted would look for it among all
            timer = None
        if timer is None:
            self.timer = self.clock.callLater(max(timeout, 0.0), self.ring)
        return deadline

    def ring(self):
        self.timer = None
        now, soonest = self.clock.seconds(), None
        if self.closing:
            if now >= self.cut_at:
                self.abort("the peer does not take the end")
            else:
                self.arm(self.cut_at - now)
            return
        for link in list(self.links.values()):
            if link.deadline is None:
                continue
            if link.deadline <= now:
                link.step(ELAPSED)
            elif soonest is None or link.deadline < soonest:
                soonest = link.deadline
        if soonest is not None:
            self.arm(soonest - now)

    def look(self):
        """After a FIN nothing tells whether the peer still reads. If it does not, whatever is written is answered by a reset,
        which Twisted does not see (it no longer watches a socket whose reading side has ended): so look every second."""
        self.probe = None
        if isinstance(getattr(self.transport, "socket", None), socket.socket):
            poll = select.poll()
            poll.register(self.transport.fileno(), 0)       # POLLHUP and POLLERR are always reported
            if poll.poll(0):
                self.abort("left")
                return
        self.probe = self.clock.callLater(1.0, self.look)

    # facts

    def named(self) -> str:
        return "-" if self.peer is None else f"{self.peer[0]}:{self.peer[1]}"

    def tls_facts(self):
        if self.tls is None and interfaces.ISSLTransport.providedBy(self.transport):
            self.tls = tls_facts(self.transport)
        return self.tls


def address(found):
    return [found.host, found.port] if hasattr(found, "host") else None


def tls_facts(transport) -> dict:
    connection, certificate = transport.getHandle(), transport.getPeerCertificate()
    sni = connection.get_servername()
    return {
        "version": connection.get_protocol_version_name(), "cipher": connection.get_cipher_name(),
        "sni": None if sni is None else sni.decode("idna"),
        "peer_subject": None if certificate is None else "".join(
            f"/{name.decode()}={value.decode()}" for name, value in certificate.get_subject().get_components()),
        "peer_fingerprint_sha256": None if certificate is None else
            certificate.digest("sha256").decode().replace(":", "").lower(),
    }

"""Connections to Redis: txredisapi's protocol, with a queue of answers that costs a tenth. Importing this imports the
reactor (as txredisapi does), so a layer does it when it is made.

A `Client` keeps one connection up. Its owner prepares each new one, is told `up(connection)` and `down(reason)`, and
writes to the connection directly: every command is answered or failed once, and none is ever repeated.
"""
import random
from collections import deque

import txredisapi
from twisted.internet import defer, protocol
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.python.failure import Failure

from interfaces.contract import LayerDown, Unconfirmed

try:
    import hiredis
except ImportError:
    hiredis = None

FIRST_DELAY, LAST_DELAY = 0.05, 5.0     # seconds between attempts, doubled each time; guesses
STEADY = 5.0                            # seconds after which a connection counts as a success; a guess
ANSWER = 2.0                            # seconds that a command waits for its answer; a guess
SILENCE = 5.0                           # seconds without an answer after which the connection is given up; a guess
SWEEP = 0.5                             # seconds
CONNECT = 3.0                           # seconds for TCP, TLS and login each; a guess
# What it says for all commands on this connection until something changes. A new connection may find the new master.
HOPELESS = {"LOADING", "READONLY", "NOAUTH", "MASTERDOWN", "NOREPLICAS"}


class Refused(LayerDown):
    """Redis answered with an error. `code` is its first word."""

    def __init__(self, text: str):
        super().__init__(text)
        self.code = text.partition(" ")[0]


def pack_command(command: tuple) -> bytes:
    parts = [part if part.__class__ is bytes else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


pack = hiredis.pack_command if hiredis is not None else pack_command


def sentence(error: BaseException) -> str:
    """Why there is no connection, for a log."""
    if isinstance(error, LayerDown):
        return str(error)
    if error.__class__.__module__.startswith("OpenSSL"):
        reasons = [reason for *_, reason in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        return f"TLS: {', '.join(map(str, reasons)) or error!r}"
    if error.__class__.__name__ == "VerificationError":         # service_identity's
        return "TLS: its certificate is for another name"
    return (str(error) or error.__class__.__name__).rstrip(".")[:200]


class Connection(txredisapi.RedisProtocol):
    """Commands go out at once, and the transport sends all of a reactor turn together; the answers come in their order.
    `factory` prepares it and hears of its end."""
    patience = 0.0                      # seconds that commands may block, beyond SILENCE

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if hiredis is not None:
            self.parser = hiredis.Reader(protocolError=txredisapi.InvalidData, replyError=txredisapi.ResponseError)
            self.dataReceived = self.data_received      # else txredisapi's own parser, which ends in replyReceived too
        self.pending: deque[list] = deque()         # [Deferred or None, when it was asked]
        self.sweeping, self.heard, self.reason = None, 0.0, ""

    def connectionMade(self):
        self.reactor, self.heard = self.factory.reactor, self.factory.reactor.seconds()
        if isinstance(self.transport.getPeer(), (IPv4Address, IPv6Address)):
            self.transport.setTcpNoDelay(True)          # a pipeline is many small segments
        preparing = defer.ensureDeferred(self.factory.prepare(self))
        preparing.addCallbacks(lambda result: self.factory.prepared(self),
                               lambda failure: self.give_up(sentence(failure.value)))

    def execute_command(self, *command, **unused):
        """A Deferred of the answer. Refused; Unconfirmed: none came; LayerDown: it was not sent."""
        answer = defer.Deferred()
        if self.reason:
            answer.errback(LayerDown(self.reason))
            return answer
        self.transport.write(pack(command))
        self.pending.append([answer, self.reactor.seconds()])
        if self.sweeping is None:
            self.sweeping = self.reactor.callLater(SWEEP, self.sweep)
        return answer

    async def many(self, *commands) -> list:
        """Of all the answers at once. The first error is raised when all are there."""
        results = await defer.DeferredList([self.execute_command(*command) for command in commands], consumeErrors=True)
        for good, result in results:
            if not good:
                raise result.value
        return [result for good, result in results]

    def dataReceived(self, data, unpause=False):
        try:
            super().dataReceived(data, unpause)
        except (ValueError, AttributeError, TypeError):
            self.give_up("what it answers is no Redis protocol")

    def data_received(self, data):
        self.parser.feed(data)
        try:
            while (reply := self.parser.gets()) is not False:
                self.replyReceived(reply)
        except txredisapi.InvalidData:
            self.give_up("what it answers is no Redis protocol")

    def replyReceived(self, reply):
        if not self.pending:
            if isinstance(reply, txredisapi.RedisError):        # "-ERR max number of clients reached", before we asked
                self.give_up(str(reply))
            return
        answer = self.pending.popleft()[0]
        self.heard = self.reactor.seconds()
        if isinstance(reply, txredisapi.RedisError):
            self.refused(answer, Refused(str(reply)))
        elif answer is not None:
            answer.callback(reply)

    def refused(self, answer, error: Refused) -> None:
        if error.code in HOPELESS:
            self.give_up(str(error))
        if answer is not None:
            answer.errback(Failure(error))

    def sweep(self) -> None:
        """A command that waits for long is failed; when nothing comes at all, so is the connection."""
        self.sweeping, now = None, self.reactor.seconds()
        if not self.pending:
            return
        if now - max(self.heard, self.pending[0][1]) > SILENCE + self.patience:
            self.give_up(f"it has not answered for {SILENCE + self.patience:.0f} s")
            return
        self.sweeping = self.reactor.callLater(SWEEP, self.sweep)
        late = []
        for entry in self.pending:
            if self.patience or now - entry[1] < ANSWER:        # what a pop brings late is still a message
                break
            if entry[0] is not None:
                late.append(entry[0])
                entry[0] = None                     # its answer, if it comes, is nobody's
        for answer in late:
            answer.errback(Failure(Unconfirmed("it answers too slowly")))

    def give_up(self, reason: str) -> None:
        """Cut the connection off, for this reason."""
        self.reason = self.reason or reason
        self.sweep_no_more()
        self.transport.abortConnection()

    def sweep_no_more(self) -> None:
        if self.sweeping is not None:
            self.sweeping.cancel()
            self.sweeping = None

    def connectionLost(self, why):
        self.reason = self.reason or sentence(why.value)
        self.sweep_no_more()
        super().connectionLost(why)
        pending, self.pending = self.pending, deque()
        for answer, _ in pending:
            if answer is not None:
                answer.errback(Failure(Unconfirmed(self.reason)))
        self.factory.lost(self)


class Once(protocol.Factory):
    """For a connection that is not made again."""
    noisy = False

    def __init__(self, reactor):
        self.reactor = reactor

    def buildProtocol(self, addr):
        connection = Connection(charset=None, convertNumbers=False)     # b"0012" is no number
        connection.factory = self
        return connection

    async def prepare(self, connection): ...

    def prepared(self, connection): ...

    def lost(self, connection): ...


class Client(Once):
    """One connection to a place (redis_places), made again whenever it is lost. `patience`: for how many seconds its
    commands may block. Not txredisapi's RedisFactory: that one gives up for ever when a login fails (a server that is
    still loading refuses it too), and logs every attempt."""

    def __init__(self, reactor, place, owner, patience: float = 0.0):
        super().__init__(reactor)
        self.place, self.owner, self.patience = place, owner, patience
        self.newest: Connection | None = None           # it may not be prepared yet
        self.ready: Connection | None = None
        self.connecting = self.retrying = self.closing = None
        self.failures, self.steady_at = 0, None

    @property
    def connection(self) -> Connection | None:
        """One that was prepared, and is not just being cut off."""
        return self.ready if self.ready is not None and not self.ready.reason else None

    def start(self) -> None:
        self.retrying = None
        self.connecting = connecting = defer.ensureDeferred(self.place.connect(self))
        connecting.addCallbacks(self.reached, self.unreachable)

    def buildProtocol(self, addr):
        self.newest = connection = super().buildProtocol(addr)
        connection.patience = self.patience
        return connection

    def reached(self, connection) -> None:
        self.connecting = None

    def unreachable(self, failure) -> None:
        self.connecting = None
        if self.closing is None:
            self.owner.down(sentence(failure.value))
            self.retry()

    def prepare(self, connection):
        return self.owner.prepare(connection)

    def prepared(self, connection) -> None:
        self.steady_at, self.ready = self.reactor.seconds() + STEADY, connection
        self.owner.up(connection)

    def lost(self, connection) -> None:
        self.newest = self.ready = None
        if self.closing is not None:
            self.closing.callback(None)
        else:
            self.owner.down(connection.reason)
            self.retry()

    def retry(self) -> None:
        """Later and later; one that lets us in and throws us out slows us down too."""
        if self.retrying is not None or self.newest is not None:
            return
        if self.steady_at is not None and self.reactor.seconds() >= self.steady_at:
            self.failures = 0
        self.steady_at = None
        delay = FIRST_DELAY * 2 ** min(self.failures, 20) * random.uniform(0.7, 1.3)    # not all servers at once; a guess
        self.failures += 1
        self.retrying = self.reactor.callLater(min(LAST_DELAY, delay), self.start)

    def drop(self, reason: str) -> None:
        if self.newest is not None:
            self.newest.give_up(reason)

    def close(self) -> defer.Deferred:
        """What waits for an answer fails."""
        self.closing = defer.Deferred()
        if self.retrying is not None:
            self.retrying.cancel()
        if self.connecting is not None:
            self.connecting.cancel()
        if self.newest is None:
            self.closing.callback(None)
        self.drop("the layer is closed")
        return self.closing

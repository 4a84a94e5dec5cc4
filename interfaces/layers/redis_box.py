"""The server's box in Redis, where the messages to its connections wait: one for the process, emptied by blocking pops."""
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interfaces.contract import Deliver, LayerDown, Unconfirmed
from interfaces.layers.redis_client import Client
from interfaces.layers.wire_redis import Batch
from interfaces.layers.wire_values import BadValue

POP = 5                         # seconds that a blocking pop waits, as the stock layers' does
MOST = 500                      # messages taken in one call: some 5 ms of work; a guess
# The same where more waits. In one turn of the reactor thousands of clients may be read and the box once: what the workers
# answer must not come in more slowly than what they are asked goes out. A guess.
MOST_BEHIND = 8000
ALONE = 1.0                     # seconds in which a lost pop is expected to be back; a guess
PAUSE = 1.0                     # seconds after a pop that was refused; a guess
OVER = 10_000                   # connections that are remembered as over, twice: 2 MB
log = Logger(namespace="interfaces.layers")


class Address:
    """This process's own channels, `<prefix>!<connection>`, and the readers of their box: one on each server, as a stock
    channels_redis with several hosts puts replies where the full name's hash says, and its group messages elsewhere."""

    def __init__(self, layer, prefix: str, deliver: Deliver, reader=None):
        self.layer, self.prefix, self.deliver = layer, prefix, deliver
        self.box = f"{prefix}!"
        self.joined: dict[str, set[str]] = {}           # by this process: connection -> groups
        self.over, self.over_before = set(), set()
        self.readers = [(reader or Reader)(self, shard) for shard in layer.shards]

    def forget(self, connection: str) -> None:
        """This connection is over. The groups that workers put it into aren't known: what comes from them is dropped."""
        for group in self.joined.pop(connection, ()):
            self.layer.group_discard(group, self.box + connection)
        self.over.add(connection)
        if len(self.over) >= OVER:
            self.over, self.over_before = set(), self.over

    def is_over(self, connection: str) -> bool:
        return connection in self.over or connection in self.over_before

    def receive(self, value: bytes, now: float) -> None:
        layer = self.layer
        try:
            message, names = layer.wire.decode(value, self.box, now)
        except BadValue as error:
            layer.complain("what is no message was found in our box and dropped: {error}", error=error)
            layer.counts["unreadable"] += 1
            return
        copies = [message] + [dict(message) for _ in names[1:]]
        for name, copy in zip(names, copies, strict=True):
            connection = name[len(self.box):]
            # A claim goes through: who claims a connection that is over must learn that.
            if self.is_over(connection) and "receive_channel" not in copy:
                layer.counts["dropped"] += 1
                continue
            layer.counts["delivered"] += 1
            try:
                self.deliver(connection, copy)
            except Exception:
                # One story must not stop the others.
                log.failure("delivery to {connection} failed", connection=connection)


class Reader:
    """The blocking pop of a box at one server. It never waits for what becomes of the messages."""

    def __init__(self, address: Address, shard):
        self.address, self.shard, self.wire = address, shard, address.layer.wire
        self.waiting, self.most = False, MOST           # a pop is out; what is taken by the call behind it
        self.client = Client(shard.reactor, shard.place, self, patience=POP)
        self.pausing = self.noting = None

    def prepare(self, connection):
        return self.shard.prepare(connection, reads=True)

    def up(self, connection) -> None:
        if self.pausing is not None:
            self.pausing.cancel()
        self.wait(connection)

    def down(self, reason: str) -> None:
        self.waiting = False
        if self.noting is None and not self.shard.closed:
            self.noting = self.shard.reactor.callLater(ALONE, self.note, reason)

    def note(self, reason: str) -> None:
        """Mostly both connections fall and rise together, and the shard says it."""
        self.noting = None
        if self.client.connection is None and self.shard.client.connection is not None:
            self.address.layer.complain("replies can't be read: {reason}", reason=reason)

    def wait(self, connection) -> None:
        self.pausing, self.waiting = None, True
        pop = connection.execute_command(*self.wire.wait([self.address.box], POP))
        pop.addCallback(self.popped, connection).addErrback(self.failed, connection)

    def popped(self, reply, connection) -> None:
        self.waiting = False
        first = self.wire.waited(reply)
        if first is None:
            self.wait(connection)
            return
        # The text and not its hash: a message was popped, and NOSCRIPT (after a SCRIPT FLUSH) would lose it.
        # The next pop goes out at once behind it.
        rest = connection.execute_command(*self.wire.take([self.address.box], [self.most], first).eval())
        rest.addCallback(self.took).addErrback(self.rest_failed, connection)
        self.wait(connection)
        now = self.shard.clock.now()
        if first.value is not None and first.expires > now:
            self.address.receive(first.value, now)
        else:
            self.address.layer.counts["expired"] += first.value is not None

    def took(self, result) -> None:
        batch = self.batch(result)
        if batch.claimed is not None:
            self.address.receive(batch.claimed, batch.time)
        for _, value in batch.found:
            self.address.receive(value, batch.time)

    def batch(self, result) -> Batch:
        """It says, too, how much to take next time."""
        batch = self.wire.taken(result, [self.address.box])
        self.most = min(2 * self.most, MOST_BEHIND) if len(batch.found) >= self.most else MOST
        self.address.layer.counts["expired"] += batch.expired
        return batch

    def rest_failed(self, failure, connection) -> None:
        if failure.check(LayerDown):
            self.address.layer.complain("taking what waits was refused: {error}", error=failure.value)
        else:
            connection.give_up(f"its answers make no sense: {failure.value!r}"[:200])

    def failed(self, failure, connection) -> None:
        self.waiting = False
        if failure.check(Unconfirmed) and not self.shard.closed:
            self.address.layer.lost(False)      # it may have popped what never came here
        if not failure.check(LayerDown):
            connection.give_up(f"its answers make no sense: {failure.value!r}"[:200])
        elif not connection.reason:             # it is there, and refuses: not again at once
            self.address.layer.complain("a pop was refused: {error}", error=failure.value)
            if str(failure.value).startswith("WRONGTYPE"):      # what is in our box's place is nobody's message
                connection.execute_command("UNLINK", self.wire.key(self.address.box)).addErrback(lambda failure: None)
            self.pausing = self.shard.reactor.callLater(PAUSE, self.wait, connection)

    def close(self) -> Deferred:
        for timer in (self.pausing, self.noting):
            if timer is not None and timer.active():
                timer.cancel()
        self.pausing = self.noting = None
        return self.client.close()

"""One of the Redis servers of a layer: its command connection, what waits for it, its clock, and whether it kept our data.

A server that was emptied says nothing about it. So each layer keeps a group of its own there, its mark: whoever empties
the server, be it FLUSHALL, a layer's flush or a restart, takes the mark too. A run_id that changed says that what was
written last may be gone even where the mark is not: a restart from a file, a failover.
"""
from collections import deque

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from interfaces.contract import LayerDown
from interfaces.layers.redis_client import Client, Refused
from interfaces.layers.redis_places import Place, login
from interfaces.layers.redis_readers import Readers
from interfaces.layers.wire_redis import Call, ServerClock

PATIENCE = 2.0                  # seconds that a command waits for a connection that was lost; a guess
PARKED = 1000                   # commands that wait meanwhile; a guess
PARKED_BYTES = 16 * 1024 * 1024     # a guess
HEARTBEAT = 5.0                 # seconds; a guess
RELAPSE = 10.0                  # seconds between two losses that are told: a server that evicts all keys loses all the time
SETTLE = 0.1                    # seconds; both connections of a server fall and rise together: one line is enough
NAME = "channels-interfaces"    # CLIENT SETNAME
log = Logger(namespace="interfaces.layers")


class Shard:
    """`lost(True)` is called when the server is back, or goes on, without what was stored there; `doubt(process)` when a
    worker that is watched (`readers`) has closed its connection."""

    def __init__(self, reactor, place: Place, wire, mark: str, lost, doubt):
        self.reactor, self.place, self.wire, self.lost = reactor, place, wire, lost
        self.mark_key, self.mark = wire.group_key(mark), f"{mark}!"
        self.clock = ServerClock()
        self.run_id, self.version, self.marked, self.losing, self.tell_after = b"", "", False, False, 0.0
        self.parked: deque[tuple[Deferred, tuple]] = deque()
        self.parked_bytes = 0
        self.reason, self.told, self.patient = "not connected yet", None, True
        self.giving_up = reactor.callLater(PATIENCE, self.lose_patience)
        self.beating = self.telling = None
        self.closed = False
        self.client = Client(reactor, place, self)
        self.readers = Readers(reactor, self, doubt)

    def start(self) -> None:
        self.client.start()

    # Commands

    def execute(self, *command) -> Deferred:
        """LayerDown and Refused, at the call or from the Deferred."""
        connection = self.client.connection
        if connection is not None:
            return connection.execute_command(*command)
        size = sum(len(part) for part in command if part.__class__ is bytes)
        if not self.patient or len(self.parked) >= PARKED or self.parked_bytes + size > PARKED_BYTES:
            raise LayerDown(f"Redis {self.place}: {self.reason}")
        self.parked_bytes += size
        answer = Deferred()
        self.parked.append((answer, command))
        return answer

    def run(self, call: Call) -> Deferred:
        return self.execute(*call.evalsha())

    def reload(self, error: Exception) -> None:
        """Somebody flushed the scripts. What was refused for that isn't sent again: it would come behind later ones."""
        connection = self.client.connection
        if isinstance(error, Refused) and error.code == "NOSCRIPT" and connection is not None:
            ensureDeferred(connection.many(*[script.load for script in self.wire.scripts])).addErrback(lambda failure: None)

    # What the clients of this place call; readers have one each

    async def prepare(self, connection, reads: bool = False) -> None:
        """Log in and look around. LayerDown: it isn't one to work with. `reads`: it is a reader's."""
        host = self.place.host
        commands = [login(host)] if host.password is not None or host.username else []
        if host.db:
            commands.append(("SELECT", host.db))
        if self.place.must_be_master:
            commands.append(("ROLE",))
        answers = await connection.many(*commands)
        if self.place.must_be_master and answers[-1][0] != b"master":
            raise LayerDown(f"{host} is a {answers[-1][0].decode('ascii', 'replace')}, not the master")
        await connection.many(*[script.load for script in self.wire.scripts])
        if not reads:
            await self.look(connection)
            return
        # By it `--check` tells who reads answers from who reads questions. Not every user may.
        connection.execute_command("CLIENT", "SETNAME", NAME).addErrback(lambda failure: None)
        try:
            await connection.execute_command("ZADD", self.mark_key, "XX", 0, self.mark)     # may one write here?
        except Refused as error:
            if error.code != "OOM":
                raise

    async def look(self, connection) -> None:
        """Its time, its identity, and our mark."""
        asked = self.clock.local()
        self.clock.read(await connection.execute_command("TIME"), asked)
        try:
            info = await connection.execute_command("INFO", "server")
        except Refused:             # NOPERM: not every user may
            info = b""
        facts = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
        self.version = facts.get(b"redis_version", b"?").decode("ascii", "replace")
        run_id = facts.get(b"run_id", b"")
        if self.run_id and run_id and run_id != self.run_id:
            self.losing = True
        self.run_id = run_id or self.run_id
        try:
            added, _ = await connection.many(("ZADD", self.mark_key, repr(self.clock.now()), self.mark),
                                             ("EXPIRE", self.mark_key, self.wire.group_ttl))
        except Refused as error:
            if error.code != "OOM":     # a full one can still be read from, and that makes room
                raise
        else:
            self.losing = self.losing or (added == 1 and self.marked)
            self.marked = True

    def up(self, connection) -> None:
        self.patient = True
        if self.giving_up is not None:
            self.giving_up.cancel()
            self.giving_up = None
        self.say("")
        parked, self.parked, self.parked_bytes = self.parked, deque(), 0
        for answer, command in parked:
            if not answer.called:       # cancelled
                connection.execute_command(*command).chainDeferred(answer)
        self.beat_later()
        self.tell_loss()

    def down(self, reason: str) -> None:
        self.readers.forget()
        if self.closed:
            return
        if not self.reason and self.giving_up is None:
            self.giving_up = self.reactor.callLater(PATIENCE, self.lose_patience)
        self.say(reason)

    def lose_patience(self) -> None:
        self.giving_up, self.patient = None, False
        self.fail_parked()

    def fail_parked(self) -> None:
        parked, self.parked, self.parked_bytes = self.parked, deque(), 0
        for answer, _ in parked:
            if not answer.called:
                answer.errback(LayerDown(f"Redis {self.place}: {self.reason}"))

    # Once in a while

    def beat_later(self) -> None:
        if self.beating is None and not self.closed:
            self.beating = self.reactor.callLater(HEARTBEAT, self.beat)

    def beat(self) -> None:
        self.beating = None
        connection = self.client.connection
        if connection is not None:
            ensureDeferred(self.check(connection)).addErrback(self.check_failed, connection).addBoth(
                lambda nothing: self.beat_later())

    async def check(self, connection) -> None:
        await self.look(connection)
        self.tell_loss()
        if await self.place.moved():
            connection.give_up("the Sentinels name another master")

    def check_failed(self, failure, connection) -> None:
        if not failure.check(LayerDown):        # an answer of a shape that no Redis gives
            connection.give_up(f"its answers make no sense: {failure.value!r}"[:200])

    def tell_loss(self) -> None:
        now = self.reactor.seconds()
        if self.losing and self.client.connection is not None and now >= self.tell_after:
            self.losing, self.tell_after = False, now + RELAPSE
            log.warn("Redis {place}: what was stored there is gone, or some of it", place=self.place)
            self.lost(True)

    # The log

    def say(self, reason: str) -> None:
        """`reason`: why it is down, or "": it is up."""
        self.reason = reason
        if self.telling is None:
            self.telling = self.reactor.callLater(SETTLE, self.tell)

    def tell(self) -> None:
        self.telling = None
        if self.reason == self.told:
            return
        self.told = self.reason
        if self.reason:
            log.warn("Redis {place}: {reason}; trying again", place=self.place, reason=self.reason)
        else:
            log.info("Redis {place}: connected (version {version})", place=self.place, version=self.version)

    async def close(self) -> None:
        connection, self.closed = self.client.connection, True
        self.readers.forget()
        if connection is not None:
            try:
                await connection.execute_command("UNLINK", self.mark_key)
            except LayerDown:
                pass
        for timer in (self.giving_up, self.beating, self.telling):
            if timer is not None and timer.active():
                timer.cancel()
        self.giving_up = self.beating = self.telling = None
        self.reason, self.patient = "the layer is closed", False
        self.fail_parked()
        await self.client.close()

"""A box whose messages are kept aside until what they ask for has been done: what a killed process had taken is found by its
heir (redis_storage.py). Only in the format of channels_redis; Channels 1 has no place for it."""
from twisted.internet.defer import ensureDeferred

from interfaces.layers.redis_box import Reader

KEPT = 3600             # seconds; an heir comes within a minute, unless no server runs: a guess
AGAIN = 0.005           # seconds between two looks while messages come; 200 a second are 2 % of a core
LINGER = 1.0            # seconds without one after which a blocking pop waits for the next: a guess


class SafeReader(Reader):
    """`address.settled()` is awaited after each batch. A blocking pop can't keep anything aside, so that it waits only for the
    first message after a pause."""

    def __init__(self, address, shard):
        super().__init__(address, shard)
        self.unsettled: set[bytes] = set()
        self.last = 0.0                 # when something came

    def up(self, connection) -> None:
        if self.pausing is not None and self.pausing.active():
            self.pausing.cancel()
        aside = connection.execute_command("ZRANGE", self.wire.aside(self.address.box), 0, -1)
        aside.addCallback(self.found_aside).addErrback(self.rest_failed, connection)
        self.take(connection)

    def found_aside(self, values: list[bytes]) -> None:
        """What was taken for us, and broke with the connection."""
        self.receive([value for value in values if value not in self.unsettled], self.shard.clock.now())

    def take(self, connection) -> None:
        self.pausing = None
        taken = connection.execute_command(*self.wire.take_safely(self.address.box, self.most, KEPT).eval())
        taken.addCallback(self.took_safely, connection).addErrback(self.failed, connection)

    def took_safely(self, result, connection) -> None:
        batch = self.batch(result)
        now = self.shard.reactor.seconds()
        if batch.found:
            self.last = now
            self.take(connection)
        elif now - self.last < LINGER:
            self.pausing = self.shard.reactor.callLater(AGAIN, self.take, connection)
        else:
            self.wait(connection)
        self.receive([value for _, value in batch.found], batch.time)

    def receive(self, values: list[bytes], now: float) -> None:
        if not values:
            return
        self.unsettled.update(values)
        for value in values:
            self.address.receive(value, now)
        ensureDeferred(self.settle(values))

    async def settle(self, values: list[bytes]) -> None:
        await self.address.settled()
        await self.address.layer.quietly(self.shard, ("ZREM", self.wire.aside(self.address.box), *values))
        self.unsettled.difference_update(values)

    def popped(self, reply, connection) -> None:
        self.waiting = False
        first, now = self.wire.waited(reply), self.shard.clock.now()
        if first is not None:
            self.last = self.shard.reactor.seconds()
        self.take(connection)
        if first is not None and first.expires > now:
            self.address.receive(first.value, now)

"""The loop where a Redis layer's connections live: a shard for each server."""
import asyncio
import logging
from collections import deque

from hiredis import ReplyError

from interfaces.worker import redis_release
from interfaces.worker.home import PATIENCE, Home
from interfaces.worker.redis_connection import ConnectionLost
from interfaces.worker.redis_shard import Shard

logger = logging.getLogger("interfaces.worker")
LATE = 1000                  # answers held while there is no Redis, a guess


class RedisHome(Home):
    def __init__(self, layer, predecessor: Home | None = None, spare: bool = False):
        self.shards: list[Shard] = []
        self.outbox: deque[tuple[str, bytes]] = deque()
        self.scheduled = False
        super().__init__(layer, predecessor, spare)

    async def keep_up(self) -> None:
        layer = self.layer
        self.shards = [Shard(self, number, host, layer.format) for number, host in enumerate(layer.hosts)]
        layer.inbox.settled(self)
        self.poke()
        tasks = [shard.task for shard in self.shards]
        if layer.release is not None:
            tasks.append(self.loop.create_task(redis_release.watch(self)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drop(self, error: Exception) -> None:
        """The home is over. What its tasks could not close, because their loop has ended, is closed now."""
        for shard in self.shards:
            shard.drop(str(error))

    def welcomed(self, shard: Shard) -> None:
        layer = self.layer
        layer.say("up", "connected to Redis at %s", shard.host, about=shard.number)
        for group, channel in tuple(layer.groups):          # a Redis that was restarted has forgotten them
            if layer.format.group_shard(group) == shard.number:
                shard.commands.ask(layer.format.group_add(group, channel).evalsha(), lambda reply: None)
        now = self.loop.time()
        late, shard.late = shard.late, deque()
        for until, channel, body in late:
            if until > now:
                self.put(channel, body, shard)
        self.wake()

    # From any thread

    def wake(self) -> None:
        """What is wanted, or the outbox, has changed."""
        if not self.scheduled:
            self.scheduled = True
            self.call(self.turn)

    def call(self, call, *args) -> None:
        try:
            self.loop.call_soon_threadsafe(call, *args)
        except RuntimeError:                             # the loop is closed: whoever comes next finds a new home
            pass

    def poke(self) -> None:
        """`wake`, on the loop."""
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.turn)

    def turn(self) -> None:
        self.scheduled = False
        while self.outbox and self.shards:
            self.put(*self.outbox.popleft())
        for shard in self.shards:
            shard.reading.look()

    # On the loop

    def put(self, channel: str, body: bytes, shard: Shard | None = None) -> None:
        """Send without waiting for the result."""
        form = self.layer.format
        shard = shard or self.shards[form.shard(channel)]
        if shard.commands is None:
            if len(shard.late) >= LATE:
                shard.late.popleft()
            return shard.late.append((self.loop.time() + PATIENCE, channel, body))
        call = form.send(channel, body, shard.clock.now())
        connection = shard.commands

        def done(reply):
            if isinstance(reply, ConnectionLost):
                return
            if isinstance(reply, ReplyError):
                if str(reply).startswith("NOSCRIPT"):
                    return connection.ask(call.eval(), done)
                shard.judge(connection, reply)
                return self.layer.unsent(channel, str(reply))
            if form.sent(reply).skipped:
                self.layer.unsent(channel, "it holds all it may")

        connection.ask(call.evalsha(), done)

    async def flushed(self) -> None:
        """Redis has what was written, or is not there."""
        self.turn()
        for shard in self.shards:
            if shard.commands is not None:
                try:
                    async with asyncio.timeout(1.0):     # a guess
                        await shard.commands.execute("PING")
                except (OSError, TimeoutError):
                    pass

    def unfinished(self) -> list[asyncio.Future]:
        """What was asked, the pop too: what it brings must be given back."""
        for shard in self.shards:
            shard.reading.unblock()
        return [future for shard in self.shards for future in shard.asked]

"""The loop where a Redis layer's connections live: a shard for each server."""
import asyncio
import logging
from collections import deque

from interfaces.worker import redis_release
from interfaces.worker.home import PATIENCE, Home
from interfaces.worker.redis_answers import RETRY, Answers
from interfaces.worker.redis_shard import Shard

logger = logging.getLogger("interfaces.worker")


class RedisHome(Home):
    def __init__(self, layer, predecessor: Home | None = None, spare: bool = False):
        self.shards: list[Shard] = []
        self.outbox: deque[tuple[str, bytes]] = deque()
        self.answers: dict[str, Answers] = {}            # by the key where a server reads; only those with something to say
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
        for answers in tuple(self.answers.values()):
            answers.soon()
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
        """Send to an interface server, without waiting for the result."""
        form = self.layer.format
        key = form.key(channel)
        answers = self.answers.get(key)
        if answers is None:
            answers = self.answers[key] = Answers(self, shard or self.shards[form.shard(channel)], key)
        answers.put(channel, body)

    async def flushed(self) -> None:
        """Redis has what was said, or is not there."""
        self.turn()
        try:
            async with asyncio.timeout(PATIENCE):
                while any(answers.shard.commands is not None for answers in self.answers.values()):
                    await asyncio.sleep(RETRY)
        except TimeoutError:
            pass

    def unfinished(self) -> list[asyncio.Future]:
        """What was asked, the pop too: what it brings must be given back."""
        for shard in self.shards:
            shard.reading.unblock()
        said = [answers.out for answers in self.answers.values() if answers.out is not None]
        return said + [future for shard in self.shards for future in shard.asked]

"""What a worker waits for on one Redis server: one blocking pop (BZPOPMIN) for all of it, on a connection of its own.

While messages come quickly, what else waits there is taken by a script in the same write. Nobody pops more than can be
run: each channel says how many it wants. Where a channel begins to want while the pop is out without it, the script runs
on the connection for commands, and only when it finds too little the pop is unblocked, to go on with the channel in it. At
most once rests on the pop alone: what it gave is nowhere else, so it is handed on in the same turn of the loop as it came.

The script passes over a message that is larger than any of ours; the pop can't: Redis has no such option. So a foreign
giant is read until there is more of it than of any reply of ours, and then the connection ends, the giant with it.
"""
import asyncio
import logging
import random
from collections.abc import Callable

from hiredis import ReplyError

from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_redis import TAKE_BYTES
from interfaces.worker.redis_connection import ConnectionLost, RedisConnection

logger = logging.getLogger("interfaces.worker")
WAIT = 5                     # seconds of a blocking pop: what channels_redis uses
SHORT = 1                    # seconds of one that nobody can unblock, a guess
DEAD = 15.0                  # seconds, a guess: no reply for so long, three pops' time, is a dead connection
AGAIN = 0.005                # seconds, a guess: an UNBLOCK that overtook its pop is said again
QUICK = 0.005                # seconds, a guess: a pop that waits no longer, but for its way, says that more is coming
FOREIGN = 5.0                # seconds that a key of another type is left alone, a guess
MOST = 2 * MAX_FRAME + TAKE_BYTES                        # bytes: of a reply to the pop or the script


class Reading:
    """`inbox` says what is wanted (`wanted(shard)`, `reserve(shard, takes, by)`) and gets it (`arrived(shard, ...)`)."""

    def __init__(self, shard):
        self.shard, self.inbox, self.loop, self.format = shard, shard.inbox, shard.loop, shard.format
        self.awake = asyncio.Event()                     # somebody wants something
        self.blocking: RedisConnection | None = None
        self.popping: frozenset[str] = frozenset()       # channels of the pop that is out
        self.pops = self.unblocking = 0                  # the number of the last pop, of the last one told to come back
        self.pop_id, self.wait, self.fetching = 0, WAIT, False
        self.busy = True                                 # more may wait than one pop brings
        self.foreign: dict[str, float] = {}

    async def run(self) -> None:
        """Ends only by an exception."""
        self.fetching = False
        await self.needed()
        try:
            async with asyncio.timeout(DEAD):
                self.blocking = blocking = await self.shard.host.connect(self.loop)
                blocking.most = MOST
                self.know(await blocking.execute("CLIENT", "ID"))
            while True:
                await self.needed()
                async with asyncio.timeout(DEAD):
                    await self.pop(blocking, self.inbox.wanted(self.shard, lingering=True))
        except TimeoutError:
            raise ConnectionError(f"no answer for {DEAD:g} s") from None
        finally:
            self.end()

    async def needed(self) -> None:
        while not self.inbox.wanted(self.shard):
            self.awake.clear()
            await self.awake.wait()
            self.busy = True

    def know(self, found) -> None:
        """The pop's connection, by the number under which it can be unblocked; an error where ACLs forbid that."""
        self.pop_id, self.wait = (found, WAIT) if isinstance(found, int) else (0, SHORT)
        if isinstance(found, ReplyError):
            layer, host = self.shard.home.layer, self.shard.host
            layer.say("patient", "Redis at %s lets us end no pop (%s): what a worker begins to read may wait %d s, and so "
                      "may its end", host, found, WAIT, about=("unblock", self.shard.number))

    def end(self) -> None:
        if self.blocking is not None:
            self.blocking.end("the channel layer leaves it")
        self.blocking, self.popping = None, frozenset()

    # The pop

    async def pop(self, blocking: RedisConnection, wanted: list[tuple[str, int]]) -> None:
        """What waits, but for one message of each channel, which the pop may bring that goes out with it."""
        random.shuffle(wanted)                           # the first that has something wins: the others would starve
        names, takes = [name for name, _ in wanted], [(name, count - 1) for name, count in wanted if count > 1 and self.busy]
        asked, self.busy = self.loop.time(), False
        waiting = [self.fetch(blocking, takes, self.took)] if takes else []
        waiting.append(self.hear(blocking, self.format.wait(names, self.wait), lambda reply: self.popped(reply, asked)))
        self.pops += 1
        self.popping = frozenset(names)
        for reply in await asyncio.gather(*waiting):
            if isinstance(reply, ConnectionLost):
                raise reply
            if isinstance(reply, ReplyError):
                await self.failed(blocking, reply, names)

    def popped(self, reply, asked: float) -> None:
        self.popping = frozenset()
        first = None if isinstance(reply, Exception) else self.format.waited(reply)
        if first is not None:
            self.busy = self.loop.time() - asked < QUICK + 4 * self.shard.clock.doubt        # half a round trip
            self.inbox.arrived(self.shard, [(first.channel, first.value)], first.expires)
            self.inbox.settle(self.shard)

    def took(self, enough: bool | None) -> None:
        if enough is None:
            self.unblock()                               # `failed` may know what to do, when the pop is back

    async def failed(self, blocking: RedisConnection, error: ReplyError, names: list[str]) -> None:
        text = str(error)
        if text.startswith("NOSCRIPT"):                  # SCRIPT FLUSH
            await asyncio.gather(*[blocking.execute(*script.load) for script in self.format.scripts])
        elif text.startswith("WRONGTYPE"):               # one key of another type fails the pop for all channels
            for name in names:
                if await blocking.execute("TYPE", self.format.key(name)) not in (b"zset", b"none"):
                    if name not in self.foreign:
                        logger.warning("the key %s holds what is no channel", self.format.key(name))
                    self.foreign[name] = self.loop.time() + FOREIGN
                    self.loop.call_later(FOREIGN, self.look)
        else:
            raise ConnectionError(text)

    def clean(self, name: str) -> bool:
        """Its key is not known to be of another type."""
        return self.foreign.get(name, 0.0) <= self.loop.time()

    # The script

    def fetch(self, connection: RedisConnection, takes: list[tuple[str, int]], told: Callable) -> asyncio.Future:
        """Take what waits; `told(whether it was all that was wanted)`, None for an error."""
        asked = self.loop.time()
        self.inbox.reserve(self.shard, takes, 1)

        def heard(reply):
            self.inbox.reserve(self.shard, takes, -1)
            if isinstance(reply, Exception):
                return told(None)
            batch = self.format.taken(reply, [name for name, _ in takes])
            self.shard.clock.learn(batch.time, asked)
            if batch.found:
                self.inbox.arrived(self.shard, batch.found)
                self.inbox.settle(self.shard)
            told(len(batch.found) >= sum(count for _, count in takes))

        names, limits = zip(*takes, strict=True)
        return self.hear(connection, self.format.take(names, limits).evalsha(), heard)

    def hear(self, connection: RedisConnection, command: tuple, heard: Callable) -> asyncio.Future:
        """Done when `heard(reply)` has run, which is in the turn that the reply comes in: with a task that waits for it,
        and is cancelled, a message would be gone."""
        future = self.loop.create_future()
        self.shard.asked.add(future)
        future.add_done_callback(self.shard.asked.discard)

        def done(reply):
            try:
                heard(reply)
            except Exception:                            # an application's fault must not end the reading
                logger.exception("what Redis at %s gave could not be handed on", self.shard.host)
            if not future.done():
                future.set_result(reply)

        connection.ask(command, done)
        return future

    def look(self) -> None:
        """What is wanted has changed."""
        self.awake.set()
        commands = self.shard.commands
        if not self.popping or self.fetching or self.unblocking == self.pops or commands is None:
            return
        takes = [(name, count) for name, count in self.inbox.wanted(self.shard) if name not in self.popping]
        if not takes:
            return

        def told(enough):
            if commands is self.shard.commands:
                self.fetching = False
                if enough:
                    self.look()
                else:
                    self.unblock()
                    if len(self.shard.home.shards) > 1:  # what was wanted here alone may wait elsewhere
                        self.shard.home.poke()

        self.fetching = True
        self.fetch(commands, takes, told)

    def unblock(self) -> None:
        """The pop that is out comes back, with or without a message."""
        number, commands = self.pops, self.shard.commands
        if not self.popping or self.unblocking == number or commands is None or not self.pop_id:
            return
        self.unblocking = number

        def done(reply):
            if number != self.pops or not self.popping or commands is not self.shard.commands:
                return
            if isinstance(reply, ReplyError):
                self.know(reply)
            elif reply == 0:                             # it overtook the pop on its way to the server
                self.unblocking = 0
                self.loop.call_later(AGAIN, self.again, number)

        commands.ask(("CLIENT", "UNBLOCK", self.pop_id), done)

    def again(self, number: int) -> None:
        if number == self.pops:
            self.unblock()

"""One Redis server as a worker uses it: a connection for commands, and one that waits for messages.

All that is waited for on a server stands in one blocking pop (BZPOPMIN), and what else waits there is taken by a script
in the same write. Nobody pops more than can be run: each channel says how many it wants. Where a channel begins to want
while the pop is out without it, the script runs on the connection for commands, and only when it finds too little the
pop is unblocked, to go on with the channel in it. At most once rests on the pop alone: what it gave is nowhere else.
"""
import asyncio
import logging
import random
from collections import deque

from hiredis import ReplyError

from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_redis import Call, ServerClock
from interfaces.worker.home import FIRST, LAST
from interfaces.worker.redis_connection import ConnectionLost, RedisConnection

logger = logging.getLogger("interfaces.worker")
WAIT = 5                     # seconds of a blocking pop: what channels_redis uses
DEAD = 15.0                  # seconds, a guess: no reply for so long, three pops' time, is a dead connection
WATCH = 5.0                  # seconds between looks for that
LEARN = 30.0                 # seconds between looks at the server's clock; messages.md, Rules: at least every minute
ANSWERS = 0.1                # seconds, a guess: what was written before the server became unfit is answered by then
FOREIGN = 5.0                # seconds that a key of another type is left alone, a guess
# What says that this server is none for us now: it loads, it is a replica, it knows us no more.
UNFIT = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM", "CLUSTERDOWN", "UNBLOCKED", "WRONGPASS", "NOREPLICAS")


# KEYS: a channel. ARGV: ttl, the highest score, members, oldest first.
GIVE_BACK = """
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local count, score = #ARGV - 2, tonumber(ARGV[2])
if first and tonumber(first) - count / 1000000 < score then score = first - count / 1000000 end
for i = 1, count do redis.call('ZADD', KEYS[1], score + (i - 1) / 1000000, ARGV[i + 2]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return count
"""


class Shard:
    """`home.layer.inbox` says what is wanted (`wanted(shard)`, `reserve(takes, by)`) and gets it (`arrived(shard, ...)`)."""

    def __init__(self, home, number: int, host, form: ChannelsFormat):
        self.home, self.number, self.host, self.format, self.loop = home, number, host, form, home.loop
        self.inbox, self.clock = home.layer.inbox, ServerClock(local=home.loop.time)
        self.commands: RedisConnection | None = None
        self.up = asyncio.Event()
        self.awake = asyncio.Event()                     # somebody wants something
        self.popping: frozenset[str] = frozenset()       # channels of the pop that is out
        self.pops = self.pop_id = self.backs = 0
        self.wait, self.fetching, self.unblocking = WAIT, False, False
        self.foreign: dict[str, float] = {}
        self.asked: set[asyncio.Future] = set()
        self.late: deque[tuple[float, str, bytes]] = deque()
        self.task = self.loop.create_task(self.keep_up(), name=f"channel layer, Redis {number}")

    # Up and down

    async def keep_up(self) -> None:
        delay, layer = FIRST, self.home.layer
        while True:
            since = self.loop.time()
            try:
                await self.stay()
            except (OSError, TimeoutError) as error:
                layer.say("down", "no connection to Redis at %s: %s", self.host, error, about=self.number)
            if self.loop.time() - since > LAST:
                delay = FIRST
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(2 * delay, LAST)

    async def stay(self) -> None:
        """From the connecting until a connection is lost. Raises what it was lost by."""
        commands = await self.host.connect(self.loop)
        tasks: list[asyncio.Task] = []
        linger = 0.0
        try:
            for reply in await asyncio.gather(*[commands.execute(*script.load) for script in self.format.scripts]):
                if isinstance(reply, ReplyError):
                    raise ConnectionError(f"it refuses our scripts: {reply}")
            asked = self.loop.time()
            self.clock.read(await commands.execute("TIME"), asked)
            role = await commands.execute("ROLE")        # an error where ACLs forbid it: then the first write will tell
            if isinstance(role, list) and role[0] != b"master":
                raise ConnectionError("it is a replica")
            self.commands = commands
            self.home.welcomed(self)
            self.up.set()
            tasks = [self.loop.create_task(self.read()), self.loop.create_task(self.watch(commands))]
            await asyncio.wait([*tasks, commands.lost], return_when=asyncio.FIRST_COMPLETED)
            linger = ANSWERS
            for task in tasks:
                if task.done():
                    task.result()
            raise commands.lost.result()
        finally:
            self.commands, self.popping, self.fetching, self.unblocking = None, frozenset(), False, False
            self.up.clear()
            for task in tasks:
                task.cancel()
            if linger:
                self.loop.call_later(linger, commands.end, "the channel layer leaves it")
            else:
                commands.end("the channel layer leaves it")

    async def watch(self, commands: RedisConnection) -> None:
        """A connection that a firewall forgot says nothing at all."""
        while not commands.lost.done():
            await asyncio.sleep(WATCH)
            if commands.silence > DEAD:
                return commands.end(f"no answer for {DEAD:g} s")
            if self.clock.learnt + LEARN < self.loop.time():
                asked = self.loop.time()
                reply = await commands.execute("TIME")
                if isinstance(reply, list):
                    self.clock.read(reply, asked)

    # Messages in

    async def read(self) -> None:
        """Ends only by an exception."""
        while not self.inbox.wanted(self):
            self.awake.clear()
            await self.awake.wait()
        blocking = await self.host.connect(self.loop)
        try:
            found = await blocking.execute("CLIENT", "ID")
            # Where ACLs forbid it, no pop waits long: it could not be unblocked.
            self.pop_id, self.wait = (found, WAIT) if isinstance(found, int) else (0, 1)
            while True:
                wanted = self.inbox.wanted(self)
                if not wanted:
                    self.awake.clear()
                    await self.awake.wait()
                    continue
                async with asyncio.timeout(DEAD):
                    await self.pop(blocking, wanted)
        except TimeoutError:
            raise ConnectionError(f"no answer for {DEAD:g} s") from None
        finally:
            self.popping = frozenset()
            blocking.end("the channel layer leaves it")

    async def pop(self, blocking: RedisConnection, wanted: list[tuple[str, int]]) -> None:
        """What waits, but for one message of each channel, which the pop may bring that goes out with it."""
        names, takes = [name for name, _ in wanted], [(name, count - 1) for name, count in wanted if count > 1]
        taking, asked = None, self.loop.time()
        if takes:
            taking = blocking.execute(*self.take(takes))
            self.inbox.reserve(self, takes, 1)
        popping = blocking.execute(*self.format.wait(names, self.wait))
        self.asked.add(popping)
        popping.add_done_callback(self.asked.discard)
        self.pops += 1
        self.popping = frozenset(names)
        if taking is not None:
            try:
                result = await taking
            finally:
                self.inbox.reserve(self, takes, -1)
            if isinstance(result, ReplyError):
                await self.failed(blocking, result, names)
            else:
                self.brought(result, takes, asked)
        reply = await popping
        self.popping = frozenset()
        if isinstance(reply, ReplyError):
            await self.failed(blocking, reply, names)
        elif (first := self.format.waited(reply)) is not None:
            self.inbox.arrived(self, [(first.channel, first.value)], first.expires)
            self.inbox.settle(self)

    def take(self, takes: list[tuple[str, int]]) -> tuple:
        names, limits = zip(*takes, strict=True)
        return self.format.take(names, limits).evalsha()

    def brought(self, result: list, takes: list[tuple[str, int]], asked: float) -> int:
        """How many."""
        batch = self.format.taken(result, [name for name, _ in takes])
        self.clock.learn(batch.time, asked)
        if batch.found:
            self.inbox.arrived(self, batch.found)
            self.inbox.settle(self)
        return len(batch.found)

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
        if self.foreign and name in self.foreign:
            return self.foreign[name] <= self.loop.time()
        return True

    def look(self) -> None:
        """What is wanted has changed."""
        self.awake.set()
        if not self.popping or self.fetching or self.unblocking or self.commands is None:
            return
        takes = [(name, count) for name, count in self.inbox.wanted(self) if name not in self.popping]
        if takes:
            self.fetching = True
            self.inbox.reserve(self, takes, 1)
            asked, connection = self.loop.time(), self.commands
            connection.ask(self.take(takes), lambda result: self.fetched(connection, result, takes, asked))

    def fetched(self, connection: RedisConnection, result, takes: list[tuple[str, int]], asked: float) -> None:
        self.inbox.reserve(self, takes, -1)
        self.fetching = False if connection is self.commands else self.fetching
        if isinstance(result, (ReplyError, ConnectionLost)):
            return self.unblock()                        # the pop goes through the same, and knows what to do
        if self.brought(result, takes, asked) < sum(count for _, count in takes):
            self.unblock()
        else:
            self.look()

    def unblock(self) -> None:
        """The pop that is out comes back, with or without a message."""
        if not self.popping or self.unblocking or self.commands is None or not self.pop_id:
            return
        self.unblocking, number, connection = True, self.pops, self.commands

        def done(reply):
            if connection is not self.commands:
                return
            self.unblocking = False
            if isinstance(reply, ReplyError):
                self.pop_id, self.wait = 0, 1
            elif reply == 0 and self.popping and number == self.pops:
                self.unblock()                           # it overtook the pop on its way to the server
            else:
                self.look()

        connection.ask(("CLIENT", "UNBLOCK", self.pop_id), done)

    # Messages out

    def give_back(self, channel: str, values: list[bytes], score: float) -> None:
        """What was taken and can't begin here is the oldest of its channel again. `score`: the highest it can have had."""
        if self.commands is None:
            self.inbox.dropped += len(values)
            return
        self.backs += 1
        future = self.commands.execute("EVAL", GIVE_BACK, 1, self.format.key(channel), self.format.ttl, repr(score), *values)
        self.asked.add(future)
        future.add_done_callback(self.given_back)

    def given_back(self, future: asyncio.Future) -> None:
        self.asked.discard(future)
        self.backs -= 1

    async def connected(self, patience: float) -> RedisConnection:
        """The connection for commands. Raises ConnectionError."""
        if self.commands is None:
            try:
                async with asyncio.timeout(patience):
                    await self.up.wait()
            except TimeoutError:
                raise ConnectionError(f"no Redis at {self.host} within {patience:g} s") from None
        return self.commands

    async def execute(self, command: tuple | Call, patience: float):
        """The reply. Raises ReplyError, ConnectionError."""
        end = self.loop.time() + patience
        connection = await self.connected(patience)
        if not connection.room.is_set():
            await connection.room.wait()
        call = command if isinstance(command, Call) else None
        future = connection.execute(*(call.evalsha() if call else command))
        self.asked.add(future)
        future.add_done_callback(self.asked.discard)
        reply = await future
        if isinstance(reply, ReplyError):
            if call and str(reply).startswith("NOSCRIPT"):
                return await self.execute(call.eval(), patience)
            if self.judge(connection, reply) and self.loop.time() < end:
                return await self.execute(command, end - self.loop.time())       # it was refused, so it was not run
            raise reply
        return reply

    def judge(self, connection: RedisConnection, error: ReplyError) -> bool:
        """Whether the error says that the server is none for us now. What was asked before gets its own answer still."""
        if not str(error).startswith(UNFIT):
            return False
        if self.commands is connection:
            self.commands = None
            self.up.clear()
            self.loop.call_later(ANSWERS, connection.end, str(error))
        return True

    def drop(self, reason: str) -> None:
        """From whatever loop, when this one has ended."""
        self.task.cancel() if not self.loop.is_closed() else None

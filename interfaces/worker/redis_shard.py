"""One Redis server as a worker uses it: a connection for commands, and the Reading that waits for messages on another."""
import asyncio
import logging
import random
from collections import deque

from hiredis import ReplyError

from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_redis import Call, ServerClock
from interfaces.worker.home import FIRST, LAST
from interfaces.worker.redis_connection import RedisConnection
from interfaces.worker.redis_hosts import CONNECT_TIME
from interfaces.worker.redis_reading import DEAD, Reading

logger = logging.getLogger("interfaces.worker")
WATCH = 5.0                  # seconds between looks for a connection that is dead
LEARN = 30.0                 # seconds between looks at the server's clock; messages.md, Rules: at least every minute
ANSWERS = 0.1                # seconds, a guess: what was written before the server became unfit is answered by then
RETURNS = 1000               # messages kept to be given back while there is no Redis, a guess
# What says that this server is none for us now: it loads, it is a replica, it knows us no more.
UNFIT = ("READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN", "UNBLOCKED", "WRONGPASS", "NOREPLICAS")


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
    def __init__(self, home, number: int, host, form: ChannelsFormat):
        self.home, self.number, self.host, self.format, self.loop = home, number, host, form, home.loop
        self.inbox, self.clock = home.layer.inbox, ServerClock(local=home.loop.time)
        self.commands: RedisConnection | None = None
        self.up = asyncio.Event()
        self.backs = 0                                   # calls of GIVE_BACK that are out
        self.asked: set[asyncio.Future] = set()
        self.returns: deque[tuple[str, bytes, float]] = deque()
        self.reading = Reading(self)
        self.task = self.loop.create_task(self.keep_up(), name=f"channel layer, Redis {number}")

    # Up and down

    async def keep_up(self) -> None:
        delay, layer = FIRST, self.home.layer
        while True:
            since = self.loop.time()
            try:
                await self.stay()
            except (OSError, TimeoutError) as error:
                layer.say("down", "no connection to Redis at %s: %s", self.host, error or "no answer", about=self.number)
            except Exception:                            # a worker that ends by it would be worse
                logger.exception("the connection to Redis at %s is made anew", self.host)
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
            async with asyncio.timeout(CONNECT_TIME):
                await self.prepare(commands)
            self.commands = commands
            self.home.welcomed(self)
            returns, self.returns = self.returns, deque()
            for channel, value, score in returns:
                self.give_back(channel, [value], score)
            self.up.set()
            tasks = [self.loop.create_task(self.reading.run()), self.loop.create_task(self.watch(commands))]
            await asyncio.wait([*tasks, commands.lost], return_when=asyncio.FIRST_COMPLETED)
            linger = ANSWERS
            for task in tasks:
                if task.done():
                    task.result()
            raise commands.lost.result()
        finally:
            self.commands = None
            self.up.clear()
            for task in tasks:
                task.cancel()
            if linger:
                self.loop.call_later(linger, commands.end, "the channel layer leaves it")
            else:
                commands.end("the channel layer leaves it")

    async def prepare(self, commands: RedisConnection) -> None:
        for reply in await asyncio.gather(*[commands.execute(*script.load) for script in self.format.scripts]):
            if isinstance(reply, ReplyError):
                raise ConnectionError(f"it refuses our scripts: {reply}")
        asked = self.loop.time()
        self.read_clock(await commands.execute("TIME"), asked)
        role = await commands.execute("ROLE")            # an error where ACLs forbid it: then the first write will tell
        if isinstance(role, list) and role[0] != b"master":
            raise ConnectionError("it is a replica")

    def read_clock(self, reply, asked: float) -> None:
        if isinstance(reply, list):                      # an error where ACLs forbid it: scripts tell the time too
            self.clock.read(reply, asked)

    async def watch(self, commands: RedisConnection) -> None:
        """A connection that a firewall forgot says nothing at all: what waits for an answer on it can't be what notices."""
        while not commands.lost.done():
            await asyncio.sleep(WATCH)
            now = self.loop.time()
            if commands.silence > DEAD:
                return commands.end(f"no answer for {DEAD:g} s")
            if not commands.expected and self.clock.learnt + LEARN < now:
                commands.ask(("TIME",), lambda reply, asked=now: self.read_clock(reply, asked))

    # Messages out

    def give_back(self, channel: str, values: list[bytes], score: float) -> None:
        """What was taken and can't begin here is the oldest of its channel again. `score`: the highest it can have had."""
        if self.commands is None:
            room = RETURNS - len(self.returns)
            self.returns.extend((channel, value, score) for value in reversed(values[:room]))
            return self.inbox.lose(len(values[room:]))
        self.backs += 1
        future = self.commands.execute("EVAL", GIVE_BACK, 1, self.format.key(channel), self.format.ttl, repr(score), *values)
        self.asked.add(future)
        future.add_done_callback(lambda future: self.given_back(future, len(values)))

    def given_back(self, future: asyncio.Future, count: int) -> None:
        self.asked.discard(future)
        self.backs -= 1
        if future.cancelled() or future.exception() is not None or isinstance(future.result(), ReplyError):
            self.inbox.lose(count)                       # not again: it may have been run, and the message read

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
        """Its loop has ended, from whatever loop: a pop that is still out would take messages for nobody."""
        if self.commands is not None:
            self.commands.end(reason)
        self.reading.end()

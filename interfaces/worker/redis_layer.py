"""`RedisChannelLayer`: the channel layer of workers on many machines, in the format of channels_redis 4.3.

    CHANNEL_LAYERS = {"default": {"BACKEND": "interfaces.worker.layers.RedisChannelLayer",
                                  "CONFIG": {"hosts": ["redis://localhost:6379"]}}}

CONFIG is that of channels_redis.core.RedisChannelLayer, and so is all that stands in Redis: both may be used at once.
"""
import asyncio
import logging
import os
import time

from channels.exceptions import ChannelFull
from hiredis import ReplyError

from interfaces.layers.shared import BadName
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_local import MAX_MESSAGE
from interfaces.worker.home import PATIENCE
from interfaces.worker.homed import HomedLayer, MessageTooLarge
from interfaces.worker.redis_home import RedisHome
from interfaces.worker.redis_hosts import read_hosts
from interfaces.worker.redis_inbox import RedisInbox
from interfaces.worker.redis_presence import PresenceHome, RedisPresence

logger = logging.getLogger("interfaces.worker")
SERVERS = 1000               # interface servers whose names are kept, a guess


class RedisChannelLayer(RedisPresence, HomedLayer):
    """The channel layer API of Channels 4, over Redis 5 or newer. Each message is given to one reader, at most once.

    `send` raises ChannelFull (also when Redis is out of memory), MessageTooLarge, TypeError (an invalid name), and
    ConnectionError when there was no Redis for 5 s. `receive` never raises for Redis's sake: it waits until there is
    one again. A plain send to the reply channel of an interface server waits for no result: what it meets there is
    logged, and raised at the sends after it."""
    make_home = PresenceHome
    adopts = True                        # no layer tells the server who runs a request: the worker says so itself
    reads_bodies = True

    def __init__(self, hosts=None, prefix="asgi", expiry=60, group_expiry=86400, capacity=100, channel_capacity=None,
                 symmetric_encryption_keys=None, random_prefix_length=12, serializer_format="msgpack", **unknown):
        if unknown:
            raise TypeError(f"RedisChannelLayer has no setting {', '.join(sorted(unknown))}; those of "
                            "channels_redis.core.RedisChannelLayer are its own")
        if not isinstance(prefix, str):
            raise TypeError("prefix is a str")
        super().__init__(expiry=expiry, capacity=capacity)
        self.hosts = read_hosts(hosts)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.prefix, self.group_expiry = prefix, group_expiry
        self.format = ChannelsFormat(
            prefix=prefix, expiry=expiry, group_expiry=group_expiry, capacity=capacity,
            channel_capacity=dict(self.channel_capacity), encryption_keys=symmetric_encryption_keys or (),
            hosts=len(self.hosts), serializer=serializer_format, random_prefix_length=random_prefix_length)
        self.servers: dict[str, None] = {}
        self.begin(RedisInbox(self))

    # The channel layer API

    async def send(self, channel: str, message: dict) -> None:
        self.require_valid_channel_name(channel)
        body = self.encode(message)
        home = self.home
        if (home is not None and home.pid == os.getpid() and channel.partition("!")[0] in self.servers
                and home.loop is asyncio.get_running_loop() and home.shards):
            shard = home.shards[self.format.shard(channel)]
            if shard.commands is not None and shard.commands.room.is_set():
                return home.put(channel, body, shard)
        await self.ask(self.sent, channel, body)

    async def sent(self, home: RedisHome, channel: str, body: bytes) -> None:
        shard = await self.shard(home, self.format.shard(channel))
        asked = home.loop.time()
        sent = self.format.sent(await shard.execute(self.format.send(channel, body, shard.clock.now()), PATIENCE))
        shard.clock.learn(sent.time, asked)
        if sent.skipped:
            raise ChannelFull(f"{channel} holds all it may")

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if self.mine(channel):
            self.groups.add((group, channel))
        await self.ask(self.run, self.format.group_shard(group), self.format.group_add(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.groups.discard((group, channel))
        await self.ask(self.run, self.format.group_shard(group), self.format.group_discard(group, channel))

    async def group_send(self, group: str, message: dict) -> None:
        """A member that holds all it may is left out, as channels_redis does it."""
        self.require_valid_group_name(group)
        await self.ask(self.sent_to_group, group, self.encode(message))

    async def sent_to_group(self, home: RedisHome, group: str, body: bytes) -> None:
        form = self.format
        members = form.named(await self.run(home, form.group_shard(group), form.members(group)))
        now = self.now()
        calls = form.group_send(members, body, now) if members else []
        results = await asyncio.gather(*[self.run(home, number, call) for number, call in calls])
        if skipped := sum(form.sent(result).skipped for result in results):
            logger.info("%d of the places where group %s is to be read hold all they may", skipped, group)

    async def flush(self) -> None:
        """Forget every message and every group of the whole layer. For tests."""
        self.groups.clear()
        self.leases.held.clear()
        self.inbox.flush()
        await self.ask(self.flushed)

    async def flushed(self, home: RedisHome) -> None:
        form = self.format
        for number in range(len(self.hosts)):
            cursor = b"0"
            while True:
                cursor, keys = await self.run(home, number, form.scan(self.prefix, cursor))
                if ours := form.ours(keys):
                    await self.run(home, number, ("UNLINK", *ours))
                if cursor == b"0":
                    break

    # What the application of over_channels needs

    def reply(self, channel: str, message: dict) -> None:
        """Send an answer to a reply channel, without waiting for anything. From any thread. While there is no Redis it is
        kept for 5 s."""
        home = self.home
        if home is not None:
            home.outbox.append((channel, self.encode(message)))
            home.wake()

    def answer(self, channel: str, message: dict) -> None:
        """`reply`, to a channel whose name somebody else gave us."""
        try:
            self.format.check_channel(channel)
        except BadName as error:
            return self.inbox.refuse(error)
        self.reply(channel, message)

    def now(self) -> float:
        """The time on which deadlines are: the server's."""
        home = self.home
        return home.shards[0].clock.now() if home is not None and home.shards else time.time()

    # Small parts

    async def ask(self, call, *args):
        """`await call(home, *args)` on the home's loop."""
        home = self.settle()
        try:
            if home.loop is asyncio.get_running_loop():
                return await call(home, *args)
            return await self.ask_across(home, call(home, *args))
        except ReplyError as error:
            if str(error).startswith("OOM"):
                raise ChannelFull(f"Redis is out of memory: {error}") from None
            raise ConnectionError(f"Redis refuses: {error}") from None

    async def run(self, home: RedisHome, number: int, command):
        return await (await self.shard(home, number)).execute(command, PATIENCE)

    async def shard(self, home: RedisHome, number: int):
        while not home.shards:
            await asyncio.sleep(0)                       # the home was made in this turn of the loop
        return home.shards[number]

    def trust(self, reply_channel: str) -> None:
        """An interface server has told us this name."""
        server, mark, _ = reply_channel.partition("!")
        if mark and server not in self.servers:
            if len(self.servers) >= SERVERS:
                self.servers.clear()
            self.servers[server] = None

    def unsent(self, channel: str, reason: str) -> None:
        """An answer met this. The next ones wait for their results. Logged at the 1st, 2nd, 4th, 8th ... time."""
        self.inbox.dropped = count = self.inbox.dropped + 1
        self.servers.pop(channel.partition("!")[0], None)
        if count & (count - 1) == 0:
            logger.warning("an answer for %s was not sent: %s (%d messages so far)", channel, reason, count)

    def encode(self, message: dict) -> bytes:
        body = self.format.pack(message)
        if len(body) > MAX_MESSAGE:
            raise MessageTooLarge(f"a message of {len(body)} bytes; the layer carries {MAX_MESSAGE}")
        return body

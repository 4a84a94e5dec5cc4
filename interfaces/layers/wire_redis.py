"""What the two Redis formats (wire_channels, wire_classic) have in common: names, shards, capacities, encryption, serialized
messages, script calls, and the server's clock. Pure: no Twisted, no asyncio, no Redis client.

A format makes commands, which are tuples of str, bytes and int for any client to send, and `Call`s of a Lua script; it
reads what a Redis 5 or newer answers to them, in RESP2 or 3, with strings as bytes. Every message costs one call. A layer goes

    first = format.waited(await blocking(*format.wait(channels, 5)))         on a connection of its own, per shard
    ... deliver first.value, unless it is None or first.expires is past
    batch = format.taken(await call(format.take(channels, limits, first)), channels)
    ... message, names = format.decode(value, channel, now)                  for each (channel, value) of the batch

and `format.sent(await call(format.send(channel, format.pack(message), now)))` to send.
"""
import fnmatch
import hashlib
import itertools
import math
import re
import time
from binascii import crc32
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from interfaces.layers.shared import BadName
from interfaces.layers import wire_presence
from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_values import NAMES, BadValue, Json, Msgpack, Seal

NAME = re.compile(r"[a-zA-Z\d\-_.]{1,99}", re.ASCII)        # of a group: channels 4, BaseChannelLayer
BODY = "http.request.body."
TAKE_BYTES = 1024 * 1024                # a batch ends with the message that passes this; a guess
GROUP_NAMES = 50_000                    # in one message: 5 MB of names, 7 encrypted, and a body stay under MAX_FRAME


class Script:
    """A Lua script. Load all of `format.scripts` with `load` when a connection opens, before anything is sent: resending
    what NOSCRIPT refused could put a message behind a later one."""

    def __init__(self, text: str):
        self.text = text.strip()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        self.load = ("SCRIPT", "LOAD", self.text)


class Call(NamedTuple):
    script: Script
    keys: Sequence[str | bytes]
    args: Sequence[str | bytes | int]

    def evalsha(self) -> tuple:
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def eval(self) -> tuple:
        """For a server that lost its scripts (SCRIPT FLUSH) and answered NOSCRIPT."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.args)


class Sent(NamedTuple):
    skipped: int            # channels that were full (of a send: 0 or 1)
    time: float             # the server's, seconds since the epoch


class First(NamedTuple):
    """What a blocking pop gave. `value` is None where only its `claim` is known yet: `take` then brings it."""
    channel: str
    value: bytes | None
    expires: float
    claim: bytes = b""


class Batch(NamedTuple):
    time: float                             # the server's
    expired: int                            # messages that were dropped, those larger than MAX_FRAME too
    claimed: bytes | None                   # the value of the claim; None: it had expired, or there was no claim
    found: list[tuple[str, bytes]]          # (channel as it was asked for, value), oldest first in each channel


@dataclass(kw_only=True)
class RedisFormat:
    """The settings have the stock layers' names and meanings. `channel_capacity`: pattern -> capacity, a glob or a compiled
    regular expression; the first that matches counts. `local_capacity` is that of a process-local channel that matches
    none: a server's replies share one key (messages.md, Sizes). `hosts`: how many servers; their order is part of the
    protocol. `encryption_keys`: the first encrypts, all decrypt."""
    prefix: str
    expiry: float = 60                      # seconds; Channels' default, as the next two
    group_expiry: float = 86400
    capacity: int = 100
    channel_capacity: Mapping[str | re.Pattern, int] = field(default_factory=dict)
    local_capacity: int = 10_000            # messages.md, Sizes
    encryption_keys: Sequence[str] = field(default=(), repr=False)
    hosts: int = 1

    kind: ClassVar[str]                     # what TYPE says of a channel's key; anything else there is not ours
    scripts: ClassVar[tuple[Script, ...]]
    safe: ClassVar[bool] = False            # it has `take_safely`
    reader_mark: ClassVar[str] = "."        # in the name of a body's channel (messages.md, Sizes)
    channel_name: ClassVar[re.Pattern]

    def __post_init__(self):
        if isinstance(self.encryption_keys, (str, bytes)):
            raise ValueError("encryption keys are a list, even if there is only one")      # or each letter were a key
        if not (self.expiry > 0 and self.group_expiry > 0 and self.hosts > 0):
            raise ValueError("expiry, group_expiry and hosts must be above 0")
        self.capacities = [(pattern if hasattr(pattern, "match") else re.compile(fnmatch.translate(pattern)), capacity)
                           for pattern, capacity in dict(self.channel_capacity).items()]
        self.ttl, self.group_ttl = math.ceil(self.expiry), math.ceil(self.group_expiry)    # EXPIRE 0 would delete
        self.seal = Seal(self.encryption_keys, self.ttl + 10) if self.encryption_keys else None   # + 10: as the stock
        self.codec: type[Msgpack] | type[Json] = Msgpack
        self.turn = itertools.count()

    # Names and places

    def check_channel(self, channel: str) -> str:
        """Gives the name. Raises BadName. Stock layers also take letters outside ASCII and a newline at the end."""
        if not isinstance(channel, str) or len(channel) > 99 or not self.channel_name.fullmatch(channel):
            raise BadName(f"{str(channel)[:100]!r} is no channel's name")
        return channel

    def check_group(self, group: str) -> str:
        if not isinstance(group, str) or not NAME.fullmatch(group):
            raise BadName(f"{str(group)[:100]!r} is no group's name")
        return group

    @staticmethod
    def non_local(channel: str) -> str:
        """Up to and with the first "!": what is stored together and read by one process. Else the whole name."""
        return channel[:channel.find("!") + 1] or channel

    def key(self, channel: str) -> str:
        return self.prefix + self.non_local(channel)

    def group_key(self, group: str) -> str:
        return f"{self.prefix}:group:{self.check_group(group)}"

    def channel_of(self, key: bytes) -> str:
        return key.decode()[len(self.prefix):]

    def index(self, name: str) -> int:
        """Of the server that a name belongs to: a ring of 4096 places cut into `hosts` parts."""
        return int((crc32(name.encode()) & 0xFFF) / (4096 / self.hosts))

    def group_shard(self, group: str) -> int:
        return self.index(group)

    def boxes(self, channel: str) -> tuple[str, ...]:
        """The keys where messages for a channel are, the oldest first."""
        return (self.key(channel),)

    def shard(self, channel: str) -> int:
        """Where to send to. Shared channels are on all servers, each in its turn. Process-local ones are where their
        process reads, by their non-local name; a stock channels_redis with several hosts hashes the full name in its
        own `send` and so loses about half of what it sends to them (its group_send and asgi_redis are right)."""
        if self.hosts == 1:
            return 0
        if self.single_reader(channel):
            return self.index(self.non_local(channel))
        return next(self.turn) % self.hosts

    def single_reader(self, channel: str) -> bool:
        """All that goes there goes to one server, in order. A body's name only our workers know for that: with several
        hosts a stock channels_redis looks for each part at another one (messages.md, Sizes)."""
        return "!" in channel or channel.startswith(BODY)

    def capacity_of(self, channel: str) -> int:
        for pattern, capacity in self.capacities:
            if pattern.match(channel):
                return capacity
        return self.local_capacity if "!" in channel else self.capacity

    # Messages

    def pack(self, message: dict) -> bytes:
        """The message itself, which must not be larger than the layer carries. TypeError, ValueError, OverflowError: it
        holds what the format can't carry."""
        if not isinstance(message, dict):
            raise TypeError("a message is a dict")
        if NAMES in message:
            raise ValueError(f"a message has no key {NAMES}: it is the layer's own")
        return self.codec.pack(message)

    def value(self, body: bytes, names: str | list[str] | None, now: float) -> bytes:
        """What is stored: the packed message with the full names it goes to, encrypted. `now`: seconds, dates a token."""
        if names is not None:
            body = self.codec.opened(body) + self.codec.tag(names)
        return self.seal.encrypt(body, now) if self.seal is not None else body

    def decode(self, value: bytes, channel: str, now: float) -> tuple[dict, list[str]]:
        """A message and the channels it is for. `channel`: where it was found (a non-local name). Raises BadValue."""
        if len(value) > MAX_FRAME:
            raise BadValue(f"a message of {len(value)} bytes")
        if self.seal is not None:
            value = self.seal.decrypt(value, now)
        try:
            message = self.codec.unpack(value)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadValue(f"{error or type(error).__name__}"[:200]) from None
        if type(message) is not dict:
            raise BadValue(f"a {type(message).__name__} in place of a dict")
        names = message.pop(NAMES, None)
        if "!" not in channel:
            return message, [channel]
        # A foreign writer may name channels of others, or the same one twice.
        names = names if type(names) is list else [names]
        names = list(dict.fromkeys(name for name in names if type(name) is str and name.startswith(channel)))
        if not names:
            raise BadValue(f"a message on {channel} that names none of its channels")
        return message, names

    # Calls that both formats make alike; the rest is in each

    def sent(self, result: list) -> Sent:
        """What `send`, and each call of `group_send`, gave."""
        return Sent(int(result[1]), int(result[0]) / 1e6)

    def group_add(self, group: str, channel: str) -> Call:
        """On the group's shard. Gives the server's time in microseconds. Raises BadName, as all that name a group do."""
        return Call(GROUP_ADD, (self.group_key(group),), (self.check_channel(channel), self.group_ttl))

    def group_discard(self, group: str, channel: str) -> tuple:
        return ("ZREM", self.group_key(group), channel)

    def members(self, group: str) -> Call:
        """On the group's shard; `named` reads it."""
        return Call(MEMBERS, (self.group_key(group),), (self.group_ttl,))

    def named(self, result: list[bytes]) -> list[str]:
        """Names of the members that can be channels, in the order they joined."""
        names = (member.decode("ascii", "replace") for member in result)
        return [name for name in names if len(name) < 100 and self.channel_name.fullmatch(name)]

    def presence(self, script: Script, groups: Sequence[str], process: str, *args: str | bytes | int) -> Call:
        """A call of PRESENT and so on, on the shard of the groups; wire_presence says what it gives."""
        keys = [f"{self.prefix}:presence:{self.check_group(group)}" for group in groups]
        return Call(script, keys, (*wire_presence.TIMES, process, *args))

    @staticmethod
    def scan(prefix: str, cursor: bytes | int = 0) -> tuple:
        """For a flush: go on with the cursor it gives until that is b"0", and UNLINK what `ours` leaves of the keys found.
        Step by step: KEYS, as the stock layers do it, blocks a large server for seconds."""
        return ("SCAN", cursor, "MATCH", re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*", "COUNT", 1000)

    def ours(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that this format writes. With the default prefixes `asgi*` also finds the other format's."""
        presence = re.compile(re.escape(self.prefix).encode() + rb":presence:[\w\-.]+(:[a-z]+)?")
        return [key for key in keys if self.owned.fullmatch(key) or presence.fullmatch(key)]

    @property
    def owned(self) -> re.Pattern[bytes]:
        raise NotImplementedError


# Both: KEYS: the group's. TIME before a write is allowed since scripts are replicated by their effects, Redis 5.
GROUP_ADD = Script("""
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] + t[2] / 1000000, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return t[1] * 1000000 + t[2]
""")        # ARGV: channel, group expiry. Gives the server's time, microseconds

MEMBERS = Script("""
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
""")        # ARGV: group expiry. Gives the channels

# Not among a format's `scripts`: only workers need them, and a worker sends again what a server doesn't know.
LEASE = wire_presence.LEASE
PRESENT, ABSENT = Script(wire_presence.JOIN), Script(wire_presence.LEAVE)
LISTED, RENEWED = Script(wire_presence.LIST), Script(wire_presence.RENEW)


class ServerClock:
    """The server's time, from answers that carried it: good to half the round trip of the best answer in the last `keep`
    seconds. `local` must be monotonic, so that nobody's setting of this machine's clock moves it. Before the first answer
    it is this machine's own."""

    def __init__(self, local: Callable[[], float] = time.monotonic, epoch: Callable[[], float] = time.time,
                 keep: float = 60.0):                                       # messages.md: learnt anew every minute
        self.local, self.keep = local, keep
        self.offset, self.doubt, self.learnt = epoch() - local(), math.inf, -math.inf

    def learn(self, server: float, asked: float) -> None:
        """`server`: its time, seconds since the epoch, in an answer that is just here; `asked`: local() at the question."""
        answered = self.local()
        doubt = (answered - asked) / 2
        if doubt <= self.doubt or answered - self.learnt >= self.keep:
            self.offset, self.doubt, self.learnt = server - (asked + answered) / 2, doubt, answered

    def now(self) -> float:
        return self.local() + self.offset

    def read(self, result: list[bytes], asked: float) -> None:
        """Learn from the answer to a plain TIME."""
        self.learn(int(result[0]) + int(result[1]) / 1e6, asked)

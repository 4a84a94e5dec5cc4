"""The format of channels_redis.core (Channels 2 to 4), as channels_redis 4.3.0 writes it. Pure; wire_redis.py says how a
layer goes with it.

    <prefix><non-local name>              zset   member = 12 random bytes + message, score = time of the send
    <prefix><non-local name>$inflight     zset   a stock reader's backup, which it gives to the next one: we never write it
    <prefix>:group:<group>                zset   member = full channel name, score = time of the join

The stock reader pops and then keeps a copy in $inflight, and every reader that comes puts all copies back: with two
readers 17 of 100 messages are run twice. Who only pops, as we do, gets each once.

Scores are the server's TIME and strictly increasing in a channel, even when the clock stands or steps back: a score is
above all that wait, save those more than AHEAD in the future, which a peer with a wrong clock wrote.
"""
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_redis import (
    GROUP_ADD,
    GROUP_NAMES,
    MEMBERS,
    TAKE_BYTES,
    Batch,
    Call,
    First,
    RedisFormat,
    Script,
)
from interfaces.layers.wire_values import BadValue, Json

RANDOM = 1024       # bytes, a guess: more random_prefix_length nobody has set
AHEAD = 5           # seconds; messages.md, Rules: how far a stock peer's clock may be off

# KEYS: channels. ARGV: expiry, ttl, then for each channel its capacity and the member to add.
# Gives {server's time in microseconds, how many channels were full}. Expired messages don't count and are trimmed.
PUT = Script(f"""
local t = redis.call('TIME')
local now, full = t[1] + t[2] / 1000000, 0
for i, key in ipairs(KEYS) do
  local waiting = redis.pcall('ZCARD', key)
  if type(waiting) == 'table' then
    if #KEYS == 1 then return waiting end
    waiting = math.huge
  elseif waiting > 0 then
    waiting = waiting - redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[1])
  end
  if waiting >= tonumber(ARGV[2 * i + 1]) then
    full = full + 1
  else
    local score = now
    if waiting > 0 then
      local last = redis.call('ZREVRANGEBYSCORE', key, now + {AHEAD}, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
      if last and tonumber(last) >= now then score = last + 0.000001 end
    end
    redis.call('ZADD', key, score, ARGV[2 * i + 2])
    redis.call('EXPIRE', key, ARGV[2])
  end
end
return {{t[1] * 1000000 + t[2], full}}
""")

# KEYS: channels. ARGV: expiry, bytes after which it is enough, then for each channel how many at most.
# Gives {server's time in microseconds, how many were dropped, {members of the first channel}, ...}. Dropped is what had
# expired, or is larger than any message. What can't be popped because it is of another type is passed over.
TAKE = Script(f"""
local t = redis.call('TIME')
local left, result = tonumber(ARGV[2]), {{t[1] * 1000000 + t[2], 0}}
for i, key in ipairs(KEYS) do
  local members, trimmed = {{}}, redis.pcall('ZREMRANGEBYSCORE', key, '-inf', t[1] + t[2] / 1000000 - ARGV[1])
  if type(trimmed) == 'number' then
    result[2] = result[2] + trimmed
    local most = tonumber(ARGV[i + 2])
    while #members < most and left > 0 do
      local member = redis.call('ZPOPMIN', key)[1]
      if not member then break end
      if #member > {MAX_FRAME + RANDOM} then
        result[2] = result[2] + 1
      else
        members[#members + 1] = member
        left = left - #member
      end
    end
  end
  result[i + 2] = members
end
return result
""")

# KEYS: a channel, and where what is taken from it is kept until it is settled. ARGV: expiry, bytes after which it is enough,
# how many at most, for how long it is kept. Gives what TAKE gives. The first write takes no room, so that a full server lets
# the others follow.
TAKE_SAFELY = Script(f"""
local t = redis.call('TIME')
local left, members = tonumber(ARGV[2]), {{}}
local dropped = redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', t[1] + t[2] / 1000000 - ARGV[1])
while #members < tonumber(ARGV[3]) and left > 0 do
  local found = redis.call('ZPOPMIN', KEYS[1])
  if not found[1] then break end
  if #found[1] > {MAX_FRAME + RANDOM} then
    dropped = dropped + 1
  else
    members[#members + 1] = found[1]
    redis.call('ZADD', KEYS[2], found[2], found[1])
    left = left - #found[1]
  end
end
if #members > 0 then redis.call('EXPIRE', KEYS[2], ARGV[4]) end
return {{t[1] * 1000000 + t[2], dropped, members}}
""")


@dataclass(kw_only=True)
class ChannelsFormat(RedisFormat):
    prefix: str = "asgi"
    serializer: str = "msgpack"                 # or "json"
    random_prefix_length: int = 12              # bytes that keep two equal messages apart in the set; 0 joins them

    kind: ClassVar[str] = "zset"
    safe: ClassVar[bool] = True
    scripts: ClassVar[tuple[Script, ...]] = (PUT, TAKE, TAKE_SAFELY, GROUP_ADD, MEMBERS)
    channel_name: ClassVar[re.Pattern] = re.compile(r"[a-zA-Z\d\-_.]+(![\w\-.]*)?", re.ASCII)

    def __post_init__(self):
        super().__post_init__()
        if self.serializer not in ("msgpack", "json"):
            raise ValueError(f"there is no serializer {self.serializer!r}; there are msgpack and json")
        if self.serializer == "json":
            self.codec = Json

    def value(self, body: bytes, names: str | list[str] | None, now: float) -> bytes:
        return os.urandom(self.random_prefix_length) + super().value(body, names, now)

    def decode(self, value: bytes, channel: str, now: float) -> tuple[dict, list[str]]:
        if len(value) <= self.random_prefix_length:
            raise BadValue(f"a message of {len(value)} bytes")
        return super().decode(value[self.random_prefix_length:], channel, now)

    def send(self, channel: str, body: bytes, now: float) -> Call:
        """On `shard(channel)`; `sent` reads it. `body` is what `pack` gave. Raises BadName."""
        self.check_channel(channel)
        value = self.value(body, channel if "!" in channel else None, now)
        return Call(PUT, (self.key(channel),), (self.expiry_arg, self.ttl, self.capacity_of(channel), value))

    def send_all(self, messages: Iterable[tuple[str, bytes]], now: float) -> Call:
        """`send` of several (channel, body), all of them channels of one process. They are taken in order: `skipped` of `sent`
        is how many of the last ones found no room."""
        keys, args = [], [self.expiry_arg, self.ttl]
        for channel, body in messages:
            keys.append(self.key(channel))
            args += (self.capacity_of(channel), self.value(body, channel, now))
        return Call(PUT, keys, args)

    def group_send(self, members: Iterable[str], body: bytes, now: float) -> list[tuple[int, Call]]:
        """(shard, call) for what `named` gave: one message for each process, one call for each server."""
        places: dict[str, list[str]] = {}
        for member in members:
            places.setdefault(self.non_local(member), []).append(member)
        shards: dict[int, tuple[list, list]] = {}
        for place, names in places.items():
            keys, args = shards.setdefault(self.index(place), ([], [self.expiry_arg, self.ttl]))
            for start in range(0, len(names), GROUP_NAMES):
                keys.append(self.prefix + place)
                args += (self.capacity_of(names[start]), self.value(body, names[start:start + GROUP_NAMES], now))
        return [(shard, Call(PUT, keys, args)) for shard, (keys, args) in shards.items()]

    def wait(self, channels: Sequence[str], seconds: float) -> tuple:
        """A blocking pop: the first channel that has something wins, so change their order each time. It brings whatever
        is there, a foreign giant too: bound what is read of a reply (see worker/redis_reading.py)."""
        return ("BZPOPMIN", *map(self.key, channels), max(1, math.ceil(seconds)))       # 0 would be for ever

    def waited(self, reply: list[bytes] | None) -> First | None:
        if reply is None:
            return None
        key, value, score = reply
        return First(self.channel_of(key), value, float(score) + self.expiry)

    def take(self, channels: Sequence[str], limits: Sequence[int], first: First | None = None) -> Call:
        """What waits: at most `limits[i]` messages of `channels[i]`, oldest first; `taken` reads it. `first` is all
        there already."""
        return Call(TAKE, [self.key(channel) for channel in channels], [self.expiry_arg, TAKE_BYTES, *limits])

    def take_safely(self, channel: str, limit: int, kept: int) -> Call:
        """As `take`, but what is given stays `aside` for `kept` seconds, or until it is removed there."""
        return Call(TAKE_SAFELY, (self.key(channel), self.aside(channel)), (self.expiry_arg, TAKE_BYTES, limit, kept))

    def aside(self, channel: str) -> str:
        return f"{self.key(channel)}$inflight"         # by the name that channels_redis has for it

    def boxes(self, channel: str) -> tuple[str, ...]:
        return self.aside(channel), self.key(channel)

    def taken(self, result: list, channels: Sequence[str]) -> Batch:
        time, expired, *boxes = result
        found = [(channel, value) for channel, box in zip(channels, boxes, strict=True) for value in box]
        return Batch(int(time) / 1e6, int(expired), None, found)

    def delete(self, channel: str) -> tuple:
        """Drop what waits. A shared channel waits on every server."""
        return ("UNLINK", self.key(channel), self.aside(channel))

    @cached_property
    def expiry_arg(self) -> str:
        return repr(self.expiry)

    @cached_property
    def owned(self) -> re.Pattern[bytes]:
        return re.compile(re.escape(self.prefix).encode() + rb"(:group:[\w\-.]+|[\w\-.]+!?(\$inflight)?)")

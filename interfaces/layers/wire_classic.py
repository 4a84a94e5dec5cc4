"""The format of asgi_redis (Channels 1), as asgi_redis 1.4.3 writes it. Pure; wire_redis.py says how a layer goes with it.

    <prefix><id>                          string   one message
    <prefix><non-local name>              list     keys of messages, in at the right, out at the left
    <prefix>:group:<group>                zset     member = full channel name, score = time of the join (two colons, as the
                                                   prefix ends in one)
    <stats prefix><channel or #global#>:messages_count, :channel_full_count

A message that expired is a key in the list without a string behind it. A name with "?" in it has a single reader, which
may be any process. Not for Redis Cluster, as asgi_redis isn't: a message and its list have different slots.
"""
import math
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_redis import GROUP_ADD, MEMBERS, TAKE_BYTES, Batch, Call, First, RedisFormat, Script

STATS_PREFIX = "asgi-meta:"      # asgi_redis's
GROUP_CALL = 500        # channels in one call: Redis serves nobody else meanwhile; 6 ms, measured on 2 busy cores

# KEYS: lists. ARGV: id, ttl, stats prefix or "", length of the prefix, head, then for each list its capacity and the tail
# of its message. A message is head + tail: of a group's messages only the tails differ, unless they are encrypted.
# Gives {server's time in microseconds, how many channels were full}. Expired messages at the left end don't count.
PUT = Script("""
local id, ttl, stats, full = ARGV[1], tonumber(ARGV[2]), ARGV[3], 0
local function count(list, what)
  if stats == '' then return end
  local channel = stats .. string.sub(list, ARGV[4] + 1) .. what
  redis.call('INCR', channel)
  redis.call('EXPIRE', channel, 3600)
  redis.call('INCR', stats .. '#global#' .. what)
  redis.call('EXPIRE', stats .. '#global#' .. what, 86400)
end
for i, list in ipairs(KEYS) do
  local capacity, waiting = tonumber(ARGV[2 * i + 4]), redis.pcall('LLEN', list)
  if type(waiting) == 'table' then
    if #KEYS == 1 then return waiting end
    waiting, capacity = 0, 0
  end
  while waiting > 0 and waiting >= capacity and redis.call('EXISTS', redis.call('LINDEX', list, 0)) == 0 do
    redis.call('LPOP', list)
    waiting = waiting - 1
  end
  if waiting >= capacity then
    full = full + 1
    count(list, ':channel_full_count')
  else
    redis.call('SET', id .. i, ARGV[5] .. ARGV[2 * i + 5], 'EX', ttl)
    redis.call('RPUSH', list, id .. i)
    redis.call('EXPIRE', list, ttl + 1)
    count(list, ':messages_count')
  end
end
local t = redis.call('TIME')
return {t[1] * 1000000 + t[2], full}
""")

# KEYS: lists. ARGV: prefix, bytes after which it is enough, a message's key that was popped already or "", then for each
# list how many at most. Gives {server's time in microseconds, how many were dropped, message or nil, {messages of the
# first list}, ...}. Dropped is what had expired, or is larger than any message: its size is looked at before it is read. A
# foreign entry can't make it read or delete what has not our prefix, or is no string.
TAKE = Script(f"""
local left, t = tonumber(ARGV[2]), redis.call('TIME')
local result = {{t[1] * 1000000 + t[2], 0, false}}
local function content(key)
  local found = false
  if string.sub(key, 1, #ARGV[1]) == ARGV[1] then
    local size = redis.pcall('STRLEN', key)
    if type(size) == 'number' and size > {MAX_FRAME} then
      redis.call('UNLINK', key)
    elseif type(size) == 'number' then
      found = redis.call('GET', key)
    end
  end
  if not found then
    result[2] = result[2] + 1
    return false
  end
  redis.call('DEL', key)
  left = left - #found
  return found
end
if ARGV[3] ~= '' then result[3] = content(ARGV[3]) end
for i, list in ipairs(KEYS) do
  local messages, most = {{}}, tonumber(ARGV[i + 3])
  while #messages < most and left > 0 do
    local key = redis.pcall('LPOP', list)
    if type(key) ~= 'string' then break end
    local found = content(key)
    if found then messages[#messages + 1] = found end
  end
  result[i + 3] = messages
end
return result
""")

# KEYS: a list. ARGV: prefix. Drops it and its messages, in steps that Lua's stack and a server's patience allow.
DELETE = Script("""
while true do
  local keys = redis.call('LRANGE', KEYS[1], 0, 999)
  if #keys == 0 then return 0 end
  for _, key in ipairs(keys) do
    if string.sub(key, 1, #ARGV[1]) == ARGV[1] then redis.call('UNLINK', key) end
  end
  redis.call('LTRIM', KEYS[1], 1000, -1)
end
""")


@dataclass(kw_only=True)
class ClassicFormat(RedisFormat):
    """`stats_prefix`: STATS_PREFIX counts messages where asgi_redis's statistics look; "" spares the four commands."""
    prefix: str = "asgi:"
    stats_prefix: str = ""

    kind: ClassVar[str] = "list"
    reader_mark: ClassVar[str] = "?"
    scripts: ClassVar[tuple[Script, ...]] = (PUT, TAKE, DELETE, GROUP_ADD, MEMBERS)
    channel_name: ClassVar[re.Pattern] = re.compile(r"[a-zA-Z\d\-_.]+(\?[\w\-.]+|![\w\-.]*)?", re.ASCII)

    def single_reader(self, channel: str) -> bool:
        return "!" in channel or "?" in channel

    def capacity_of(self, channel: str) -> int:
        return super().capacity_of(self.non_local(channel))         # asgi_redis looks at the name without what follows "!"

    def put(self, lists: list[str], head: bytes, pairs: list) -> Call:
        return Call(PUT, lists, [self.prefix + uuid.uuid4().hex, self.ttl, self.stats_prefix, len(self.prefix), head, *pairs])

    def send(self, channel: str, body: bytes, now: float) -> Call:
        """On `shard(channel)`; `sent` reads it. `body` is what `pack` gave. Raises BadName."""
        self.check_channel(channel)
        value = self.value(body, channel if "!" in channel else None, now)
        return self.put([self.key(channel)], b"", [self.capacity_of(channel), value])

    def group_send(self, members: Iterable[str], body: bytes, now: float) -> list[tuple[int, Call]]:
        """(shard, call) for what `named` gave, to be sent without waiting in between. A message for each channel:
        asgi_redis knows no list of names."""
        shards: dict[int, tuple[list, list]] = {}
        head, opened, tag = (b"", None, None) if self.seal else (self.codec.opened(body),) * 2 + (self.codec.tag,)
        for member in members:
            lists, pairs = shards.setdefault(self.shard(member), ([], []))
            lists.append(self.key(member))
            # A channel that is not process-local gets its own name told too: that changes nothing, and heads stay alike.
            pairs += (self.capacity_of(member), self.value(body, member, now) if opened is None else tag(member))
        return [(shard, self.put(lists[at:at + GROUP_CALL], head, pairs[2 * at:2 * (at + GROUP_CALL)]))
                for shard, (lists, pairs) in shards.items() for at in range(0, len(lists), GROUP_CALL)]

    def wait(self, channels: Sequence[str], seconds: float) -> tuple:
        """A blocking pop: the first channel that has something wins, so change their order each time. It brings only the
        key of a message, but a foreign entry of any size: bound what is read of a reply."""
        return ("BLPOP", *map(self.key, channels), max(1, math.ceil(seconds)))       # 0 would be for ever

    def waited(self, reply: list[bytes] | None) -> First | None:
        return None if reply is None else First(self.channel_of(reply[0]), None, math.inf, reply[1])

    def take(self, channels: Sequence[str], limits: Sequence[int], first: First | None = None) -> Call:
        """What waits: the message of `first`, and at most `limits[i]` of `channels[i]`, oldest first; `taken` reads it."""
        claim = first.claim if first else b""
        return Call(TAKE, [self.key(channel) for channel in channels], [self.prefix, TAKE_BYTES, claim, *limits])

    def taken(self, result: list, channels: Sequence[str]) -> Batch:
        time, expired, claimed, *boxes = result
        found = [(channel, value) for channel, box in zip(channels, boxes, strict=True) for value in box]
        return Batch(int(time) / 1e6, int(expired), claimed, found)

    def delete(self, channel: str) -> tuple:
        """Drop what waits. A shared channel waits on every server."""
        return Call(DELETE, (self.key(channel),), (self.prefix,)).eval()

    @cached_property
    def owned(self) -> re.Pattern[bytes]:
        own = re.escape(self.prefix).encode() + rb"(:group:[\w\-.]+|[\w\-.]+(!|\?[\w\-.]*)?)"
        return re.compile(own + (rb"|" + re.escape(self.stats_prefix).encode() + rb".+" if self.stats_prefix else b""))

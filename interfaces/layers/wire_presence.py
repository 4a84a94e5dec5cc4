"""Presence in Redis: the scripts. Pure text; wire_redis.py makes calls of it.

    <prefix>:presence:<group>             zset   member = "<channel> <member>", score = when the lease ends
    <prefix>:presence:<group>:members     zset   member = member, score = its number: when it came, strictly increasing
    <prefix>:presence:<group>:about       hash   c<member> = how many channels, i<member> = notify (0 or 1) and info,
                                                 h<channel> <member> = the process that holds the lease
    <prefix>:presence:<group>:leaving     zset   member = member, score = when its leave is to be told
    <prefix>:presence:<group>:left        zset   member = "<channel> <member>" that left by another process than its holder,
                                                 score = until when that is remembered: its holder must not say it again

Times are the server's TIME in microseconds, which a double holds exactly. All keys of a group are on its shard and end
by themselves. Whoever calls sweeps: what ended is taken out, and the one who takes a leave out of `leaving` tells it.
Channels' own names have no colon, so no key is anybody else's.
"""

from interfaces.layers.wire_local import GRACE

LEASE = 60.0                # seconds, a guess: what a killed worker's members stay; each process renews three times as often
SECOND = 1_000_000          # microseconds
TIMES = (round(LEASE * SECOND), round(GRACE * SECOND), round(2 * LEASE + GRACE))

# Every script has the KEYS[i] of groups, and ARGV 1 to 4: lease and grace (microseconds), ttl of keys (s), the process.
COMMON = """
local t = redis.call('TIME')
local now, lease, grace, ttl, process = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local function drop(key, entry, at)
  local about, member = key .. ':about', string.sub(entry, string.find(entry, ' ', 1, true) + 1)
  redis.call('ZREM', key, entry)
  redis.call('HDEL', about, 'h' .. entry)
  if redis.call('HINCRBY', about, 'c' .. member, -1) > 0 then return 0 end
  local said = redis.call('HGET', about, 'i' .. member)
  redis.call('HDEL', about, 'c' .. member, 'i' .. member)
  redis.call('ZREM', key .. ':members', member)
  if said and string.sub(said, 1, 1) == '1' then redis.call('ZADD', key .. ':leaving', at, member) end
  return 1
end

local function sweep(key)
  local ended = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 5000)
  for i = 1, #ended, 2 do drop(key, ended[i], ended[i + 1] + grace) end
  local told = redis.call('ZRANGEBYSCORE', key .. ':leaving', '-inf', now, 'LIMIT', 0, 1000)
  for i = 1, #told do redis.call('ZREM', key .. ':leaving', told[i]) end
  redis.call('ZREMRANGEBYSCORE', key .. ':left', '-inf', now)
  return told
end

local function answer(key, told, ...)
  for _, kind in ipairs({'', ':members', ':about', ':leaving', ':left'}) do redis.call('EXPIRE', key .. kind, ttl) end
  local next = redis.call('ZRANGE', key .. ':leaving', 0, 0, 'WITHSCORES')[2]
  return {redis.call('ZCARD', key .. ':members'), next and math.max(0, next - now) or -1, told, ...}
end
"""
# 5,000 ends at a time: 26 ms, measured, of a server that everybody waits for. 1,000 leaves, a guess: a reply of 1 MB. The
# rest comes with the next call.

# ARGV: entry, notify and info, whether it is only said again (1) or anew (0). Gives ..., whether the member was not there
# (-1: it left by another process, and is not joined again), whether that is to be told.
JOIN = COMMON + """
local key, entry, told = KEYS[1], ARGV[5], sweep(KEYS[1])
local member = string.sub(entry, string.find(entry, ' ', 1, true) + 1)
if ARGV[7] == '1' and redis.call('ZSCORE', key .. ':left', entry) then return answer(key, told, -1, 0) end
redis.call('ZREM', key .. ':left', entry)
local first, tell = 0, 0
if redis.call('ZADD', key, now + lease, entry) == 1 and redis.call('HINCRBY', key .. ':about', 'c' .. member, 1) == 1 then
  local last = redis.call('ZREVRANGE', key .. ':members', 0, 0, 'WITHSCORES')[2]
  redis.call('ZADD', key .. ':members', math.max(now, (last or 0) + 1), member)
  first = 1
  if redis.call('ZREM', key .. ':leaving', member) == 0 and string.sub(ARGV[6], 1, 1) == '1' then tell = 1 end
end
redis.call('HSET', key .. ':about', 'h' .. entry, process, 'i' .. member, ARGV[6])
return answer(key, told, first, tell)
"""

# ARGV: entry. Gives ..., whether it was the member's last channel.
LEAVE = COMMON + """
local key, entry, told = KEYS[1], ARGV[5], sweep(KEYS[1])
if redis.call('HGET', key .. ':about', 'h' .. entry) ~= process then
  redis.call('ZADD', key .. ':left', now + 2 * lease, entry)
end
return answer(key, told, redis.call('ZSCORE', key, entry) and drop(key, entry, now + grace) or 0)
"""

# ARGV: after which number, how many, after how many bytes it is enough. Gives ..., the number of the last one or 0 where
# no more follow, then member, info and how many channels of each.
LIST = COMMON + """
local key, told = KEYS[1], sweep(KEYS[1])
local found = redis.call('ZRANGEBYSCORE', key .. ':members', '(' .. ARGV[5], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[6] + 1)
local rows, size, last = {}, 0, '0'
for i = 1, #found, 2 do
  if i > 2 * ARGV[6] or size > tonumber(ARGV[7]) then
    last = found[i - 1]
    break
  end
  local about = redis.call('HMGET', key .. ':about', 'i' .. found[i], 'c' .. found[i])
  local said = about[1] or '0\\192'
  rows[#rows + 1], rows[#rows + 2], rows[#rows + 3] = found[i], string.sub(said, 2), about[2] or '0'
  size = size + #found[i] + #said
end
return answer(key, told, last or '0', rows)
"""

# KEYS: groups. ARGV: then for each lease the place of its group in KEYS, and the entry. Gives {places of the leases that
# are not there}, {places of those that are another process's now}, then an answer for each group.
RENEW = COMMON + """
local result = {{}, {}}
for i = 5, #ARGV, 2 do
  local key, entry = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local holder = redis.call('HGET', key .. ':about', 'h' .. entry)
  if holder == process then
    redis.call('ZADD', key, 'XX', now + lease, entry)
  else
    local places = holder and result[2] or result[1]
    places[#places + 1] = (i - 5) / 2
  end
end
for _, key in ipairs(KEYS) do result[#result + 1] = answer(key, sweep(key)) end
return result
"""

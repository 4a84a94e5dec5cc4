"""What redis.Redis does in Redis, each in one step. Pure text.

    <prefix>:mqtt:session:<client id>   hash   the session (records.py)
    <prefix>:mqtt:home:<channel>        set    the client ids of the sessions that are at home with a server
    <prefix>:mqtt:homes                 zset   member = a server's channel, score = until when it is known to live
    <prefix>:mqtt:retained              hash   topic name -> message
    <prefix>:mqtt:share:<filter>:<id>   str    the server that has this message for a shared subscription

Only the home of a session writes it: PUT, DROP and RELEASE do nothing for others. Where a script goes through the keys of
many sessions it makes their names itself, so all have to be on one server."""

# KEYS: session, homes. ARGV: me, client id, prefix of home sets, now, a server that does not answer, or "".
# Gives {0, who has to give it up first} or {1, fields}.
CLAIM = """
local home = redis.call('HGET', KEYS[1], 'h')
if home and home ~= '' and home ~= ARGV[1] then
  local lease = redis.call('ZSCORE', KEYS[2], home)
  if home ~= ARGV[5] and lease and tonumber(lease) > tonumber(ARGV[4]) then return {0, home} end
  redis.call('SREM', ARGV[3] .. home, ARGV[2])
end
local ends = redis.call('HGET', KEYS[1], 't')
if ends and ends ~= '' and tonumber(ends) <= tonumber(ARGV[4]) then redis.call('DEL', KEYS[1]) end
local fields = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], 'h', ARGV[1])
redis.call('PERSIST', KEYS[1])
redis.call('SADD', ARGV[3] .. ARGV[1], ARGV[2])
return {1, fields}
"""

# KEYS: session. Gives {m, t} or nils.
PEEK = "return redis.call('HMGET', KEYS[1], 'm', 't')"

# KEYS: session. ARGV: me, client id, prefix of home sets, seconds to live or -1, whether nothing else is to be left of it,
# how many fields follow, field, value, ..., then fields to delete. Gives 0: it is another's; 1; 2: it was not there.
PUT = """
local home = redis.call('HGET', KEYS[1], 'h')
if home and home ~= ARGV[1] then return 0 end
if ARGV[5] == '1' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'h', ARGV[1])
if not home then redis.call('SADD', ARGV[3] .. ARGV[1], ARGV[2]) end
local last = 6 + 2 * ARGV[6]
for i = 7, last, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = last + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
if ARGV[4] == '-1' then redis.call('PERSIST', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return home and 1 or 2
"""

# KEYS: session. ARGV: me, client id, prefix of home sets.
DROP = """
if redis.call('HGET', KEYS[1], 'h') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('SREM', ARGV[3] .. ARGV[1], ARGV[2])
"""

RELEASE = """
if redis.call('HGET', KEYS[1], 'h') == ARGV[1] then redis.call('HSET', KEYS[1], 'h', '') end
return redis.call('SREM', ARGV[3] .. ARGV[1], ARGV[2])
"""

# KEYS: homes. ARGV: me, until when, now. Gives {whether I was known, those whose time is up}.
RENEW = """
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return {known and 1 or 0, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, 10)}
"""

# KEYS: homes. ARGV: me, for how long nobody else, milliseconds; the home's name, the lock's key.
# Of two heirs one is to give away what came for the dead.
LOCK = """
if not redis.call('ZSCORE', KEYS[1], ARGV[3]) then return 0 end
return redis.call('SET', ARGV[4], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""

# KEYS: homes. ARGV: me, the dead, prefix of home sets, prefix of sessions, now, how many, the lock's key and time.
# Gives client id, fields, client id ...; nothing when all are done, or when it lives again.
INHERIT = """
local lease, result = redis.call('ZSCORE', KEYS[1], ARGV[2]), {}
redis.call('SET', ARGV[7], ARGV[1], 'PX', ARGV[8])
if lease and tonumber(lease) > tonumber(ARGV[5]) then return result end
while #result < 2 * ARGV[6] do
  local id = redis.call('SPOP', ARGV[3] .. ARGV[2])
  if not id then break end
  local key = ARGV[4] .. id
  if redis.call('HGET', key, 'h') == ARGV[2] then
    redis.call('HSET', key, 'h', ARGV[1])
    redis.call('PERSIST', key)
    redis.call('SADD', ARGV[3] .. ARGV[1], id)
    result[#result + 1], result[#result + 2] = id, redis.call('HGETALL', key)
  end
end
return result
"""

# KEYS: homes. ARGV: the dead, the lock's key.
BURY = "redis.call('DEL', ARGV[2]) return redis.call('ZREM', KEYS[1], ARGV[1])"

# ARGV: prefix of sessions, client ids. Gives the home of each, "-" for what is not there.
HOMES = """
local result = {}
for i = 2, #ARGV do result[i - 1] = redis.call('HGET', ARGV[1] .. ARGV[i], 'h') or '-' end
return result
"""

# KEYS: a message of a shared subscription. ARGV: me, for how long that is remembered, seconds. Of all servers the first has it.
WIN = "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0"

# KEYS: retained. ARGV: topic, message or "" ...
RETAIN = """
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
"""

# KEYS: retained. ARGV: cursor.
RETAINED = "return redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)"

# KEYS: homes. ARGV: me.
RETIRE = "return redis.call('ZADD', KEYS[1], 0, ARGV[1])"

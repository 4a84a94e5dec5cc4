"""On Redis nobody sees all workers, so they tell each other which releases run: those of an older one take nothing new.

    <prefix>:interface.releases        zset   member = release, score = when its workers began to come
    <prefix>:interface.releases.alive  zset   member = release, score = when one of its workers last said so
"""
import asyncio
import logging

from hiredis import ReplyError

logger = logging.getLogger("interfaces.worker")
LOOK = 2.0                   # seconds between looks, a guess
ALIVE = 10                   # seconds, a guess: five looks
GONE = 60                    # seconds without a worker after which a release that comes back is new again (a rollback); a guess
DAY = 86_400                 # seconds: the keys end by themselves

# KEYS: both. ARGV: the release, ALIVE, GONE, DAY. Gives the newest release that has workers. TIME in microseconds orders those
# that begin within one second.
SAY = """
local t = redis.call('TIME')
local now, release = t[1] + t[2] / 1000000, ARGV[1]
local seen = redis.call('ZSCORE', KEYS[2], release)
if not seen or now - seen > tonumber(ARGV[3]) then redis.call('ZADD', KEYS[1], now, release) end
redis.call('ZADD', KEYS[2], now, release)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])) do
  redis.call('ZREM', KEYS[1], old)
  redis.call('ZREM', KEYS[2], old)
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
local newest, since = release, -1
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now - ARGV[2], '+inf')) do
  local began = tonumber(redis.call('ZSCORE', KEYS[1], other) or 0)
  if began > since then newest, since = other, began end
end
return newest
"""


async def watch(home) -> None:
    """While the home stands. What can't be asked stays as it was."""
    layer = home.layer
    key = f"{layer.prefix}:interface.releases"
    command = ("EVAL", SAY, 2, key, f"{key}.alive", layer.release, ALIVE, GONE, DAY)
    while True:
        try:
            newest = (await layer.run(home, 0, command)).decode("utf-8", "replace")
        except (OSError, ReplyError):
            pass
        else:
            heed(layer, newest)
        await asyncio.sleep(LOOK)


def heed(layer, newest: str) -> None:
    inbox, outdated = layer.inbox, newest != layer.release
    if outdated == inbox.outdated:
        return
    inbox.outdated = outdated
    if outdated:
        logger.info("release %s is newer: this worker takes nothing new", newest)
        for channel in inbox.hostings:
            inbox.withdraw(channel)
    else:
        logger.info("release %s is the newest again", layer.release)
    inbox.poke()

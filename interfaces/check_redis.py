"""The part of `--check` that asks Redis. Written for either format; what it finds of other programs it only reads."""
import re
import secrets
import time

from twisted.internet import defer, task

from interfaces.check import PATIENCE, SAMPLE, TRIPS, Finding, ok, start_one, trips, wrong
from interfaces.contract import LayerDown
from interfaces.layers.configured import STOCK, Configured
from interfaces.layers.redis_settings import RedisSettings
from interfaces.layers.wire_channels import AHEAD, ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat
from interfaces.layers.wire_values import BadValue

OLDEST = 5                  # the first Redis with BZPOPMIN
REPLIES = 1000              # answers that may wait for a server: a guess; ours hold 10,000, the stock layers' default is 100
STALE = 2.0                 # seconds after which a message that waits is not being read: link.DESERTED
LOOKS, BETWEEN = 5, 0.1     # a worker that is at work doesn't wait for messages at every moment
SCANS = 100                 # steps of 1,000 keys: a guess, a fraction of a second of a large server's time
COUNT = {"zset": "ZCARD", "list": "LLEN"}
REFUSALS = {
    "NOAUTH": "it wants a password: user:password@ in the URL, or password_env",
    "WRONGPASS": "the user name or the password is wrong", "NOPERM": "this user may not do what the layer needs",
    "READONLY": "it is a replica, and takes no writes", "MASTERDOWN": "it is a replica whose master is gone",
    "LOADING": "it is still loading its data", "OOM": "it has used all the memory it may (maxmemory)",
    "MISCONF": "it takes no writes, because it can't save to disk (stop-writes-on-bgsave-error)",
}


class RedisCheck:
    """`channels`: the shared ones that workers must read. `formats`: of all layers that are checked, because what another
    layer of the same server writes is not foreign."""

    def __init__(self, reactor, settings: RedisSettings, configured: Configured | None, channels: list[str]):
        self.reactor, self.settings, self.configured, self.channels = reactor, settings, configured, channels
        self.formats: list = []

    async def findings(self):
        from interfaces.layers.redis_places import places       # imports txredisapi, which imports the reactor
        try:
            self.format = self.settings.wire()
            found = places(self.reactor, self.settings)
        except ValueError as error:
            yield wrong(str(error))
            return
        for finding in self.about_settings():
            yield finding
        for place in found:
            try:
                async for finding in self.about(place):
                    yield finding
            except LayerDown as error:
                hint = "; does it speak TLS there?" if place.host.kind == "tls" and not getattr(error, "code", "") else ""
                yield wrong(f"{place}: {REFUSALS.get(getattr(error, 'code', ''), error)}{hint}")
            except (ValueError, BadValue, defer.TimeoutError) as error:
                yield wrong(f"{place}: {error or 'it does not answer'}")

    # what the settings say

    def about_settings(self):
        try:
            self.format.pack(SAMPLE)
        except TypeError:
            yield wrong("this serializer can't carry bytes, and bodies and header fields are bytes: use msgpack")
        capacity = self.format.capacity_of("interface.x!y")
        stock = self.configured is not None and not self.configured.backend.startswith("interfaces.")
        if stock:       # the workers count the reply channels as any other
            capacity = min(capacity, self.reply_capacity())
        if capacity < REPLIES:
            whose = "the workers' capacity" if stock else "the capacity"
            yield wrong(f"{whose} for the server's reply channels is {capacity}: when as many answers wait, further ones are "
                        'lost; set channel_capacity {"interface.*": 10000}')
        if stock and self.configured.backend == STOCK:
            yield wrong(f"{STOCK} runs messages twice where two workers read one channel (channels_redis#163): use "
                        "interfaces.worker.layers.RedisChannelLayer, which speaks the same format")
            if self.format.hosts > 1:
                yield wrong(f"{STOCK} with several hosts loses about half of the answers: it looks for their server by "
                            "another name than it reads them by; use interfaces.worker.layers.RedisChannelLayer")

    def reply_capacity(self) -> int:
        settings = self.settings.options | {"local_capacity": self.settings.options.get("capacity", 100)}
        return type(self.format)(**settings).capacity_of("interface.x!y")

    # what each server says

    async def about(self, place):
        connection = await self.connect(place)
        try:
            facts = dict(re.findall(r"^(\w+):(.*?)\r?$", (await self.ask(connection, "INFO")).decode(), re.MULTILINE))
            version = facts.get("redis_version", "?")
            if version.split(".")[0].isdigit() and int(version.split(".")[0]) < OLDEST:
                yield wrong(f"{place}: Redis {version} is too old; the layer needs {OLDEST}.0")
                return
            yield ok(f"{place}: Redis {version} answers: {trips(await self.there_and_back(connection))}")
            if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") not in (None, "noeviction"):
                yield wrong(f"{place}: with maxmemory-policy {facts['maxmemory_policy']} it drops messages when memory is "
                            "short; set noeviction")
            skew = await self.skew(connection)
            if abs(skew) > AHEAD:
                yield wrong(f"{place}: its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's: "
                            "requests expire at the wrong time")
            for channel in self.channels:
                async for finding in self.about_channel(connection, place, channel):
                    yield finding
            if self.channels:
                async for finding in self.about_workers(connection, place):
                    yield finding
        finally:
            connection.transport.abortConnection()

    async def connect(self, place):
        from interfaces.layers.redis_client import Once, sentence
        from interfaces.layers.redis_places import login
        try:
            connection = await self.soon(place.connect(Once(self.reactor)))
        except Exception as error:      # of sockets, names, TLS and Sentinels
            raise LayerDown(f"it can't be reached: {sentence(error)}") from error
        commands = [login(place.host)] if place.host.password is not None or place.host.username else []
        for command in (*commands, ("SELECT", place.host.db)):
            await self.ask(connection, *command)
        return connection

    def soon(self, doing) -> defer.Deferred:
        return defer.ensureDeferred(doing).addTimeout(PATIENCE, self.reactor)

    async def ask(self, connection, *command):
        return (await self.soon(connection.many(command)))[0]

    async def there_and_back(self, connection) -> list[float]:
        """Seconds, of each trip. BadValue."""
        format, seconds = self.format, []
        place = f"interface.check.{secrets.token_urlsafe(16)}!"
        for script in format.scripts:
            await self.ask(connection, *script.load)
        for number in range(TRIPS):
            asked, sent = time.monotonic(), SAMPLE | {"number": number}
            if getattr(format, "serializer", "") == "json":
                del sent["bytes"]
            call = format.send(f"{place}x", format.pack(sent), time.time())
            await self.ask(connection, *call.evalsha())
            result = await self.ask(connection, *format.take([place], [1]).evalsha())
            values = format.taken(result, [place]).found
            seconds.append(time.monotonic() - asked)
            if not values or format.decode(values[0][1], place, time.time())[0] != sent:
                raise BadValue("a message is gone, or is not what was sent: something else empties the layer's keys")
        return seconds

    async def skew(self, connection) -> float:
        """Seconds that the server's clock is ahead."""
        asked = time.time()
        whole, micro = await self.ask(connection, "TIME")
        return int(whole) + int(micro) / 1e6 - (asked + time.time()) / 2

    async def about_channel(self, connection, place, channel: str):
        key = self.format.key(channel).encode()
        kind = (await self.ask(connection, "TYPE", key)).decode()
        if kind not in ("none", self.format.kind):
            yield wrong(f"{place}: {key.decode()} is a {kind} and no {self.format.kind}: something else writes there")
        elif kind == "zset":
            yield await self.about_waiting(connection, place, channel, key)
        elif kind == "list":
            waiting = await self.ask(connection, "LLEN", key)
            yield ok(f"{place}: {waiting} messages wait on {channel}")
        own = {format.key(channel).encode() for format in (*self.formats, self.format)}
        for other, kind, count in await self.elsewhere(connection, channel, own):
            theirs = "channels_redis" if kind == "zset" else "asgi_redis"
            prefix = other[:-len(channel)]
            hint = f"format={theirs}" + (f"&prefix={prefix}" if prefix not in ("asgi", "asgi:") else "")
            yield wrong(f"{place}: {count} messages of {theirs} wait in {other}, which this layer does not read or write; "
                        f"if they are meant for it: {hint}")
        if isinstance(self.format, ChannelsFormat) and await self.ask(connection, "EXISTS", key + b"$inflight"):
            yield wrong(f"{place}: {key.decode()}$inflight is there: a stock channels_redis reads {channel}, or left it "
                        "behind; two of them run messages twice (channels_redis#163): use "
                        "interfaces.worker.layers.RedisChannelLayer")

    async def about_waiting(self, connection, place, channel: str, key: bytes) -> Finding:
        waiting = await self.ask(connection, "ZCARD", key)
        ends = [await self.ask(connection, command, key, 0, 0, "WITHSCORES") for command in ("ZRANGE", "ZREVRANGE")]
        if not all(ends):
            return ok(f"{place}: nothing waits on {channel}")
        now = time.time() + await self.skew(connection)
        oldest, newest = (now - float(end[1]) for end in ends)
        if newest < -AHEAD:
            return wrong(f"{place}: a message on {channel} is dated {-newest:.1f} s ahead: the clock of who sent it is wrong")
        if oldest > STALE:
            return wrong(f"{place}: {waiting} messages wait on {channel}, the oldest for {oldest:.1f} s: no worker reads it, "
                         f"or too few do; {start_one(channel)}")
        return ok(f"{place}: {waiting} messages wait on {channel}")

    async def elsewhere(self, connection, channel: str, own: set[bytes]) -> list[tuple[str, str, int]]:
        """(key, type, messages): where messages of this channel wait under other prefixes or in the other format."""
        keys = {format(prefix=prefix).key(channel).encode() for format in (ChannelsFormat, ClassicFormat)
                for prefix in {"asgi", "asgi:", self.format.prefix}}
        cursor = 0
        for _ in range(SCANS):
            cursor, found = await self.ask(connection, "SCAN", cursor, "MATCH", f"*{channel}", "COUNT", 1000)
            keys.update(found)
            if cursor in (b"0", 0):
                break
        result = []
        for key in sorted(keys - own):
            kind = (await self.ask(connection, "TYPE", key)).decode()
            count = await self.ask(connection, COUNT[kind], key) if kind in COUNT else 0
            if count:
                result.append((key.decode("utf-8", "replace"), kind, count))
        return result

    async def about_workers(self, connection, place):
        """Redis tells who waits for messages, and not on which channel."""
        from interfaces.layers.redis_shard import NAME      # of servers, who wait for answers
        for look in range(LOOKS):
            try:
                lines = (await self.ask(connection, "CLIENT", "LIST")).decode("utf-8", "replace").splitlines()
            except LayerDown:
                yield ok(f"{place}: it does not tell who waits for messages (CLIENT LIST)")
                return
            clients = [dict(word.partition("=")[::2] for word in line.split()) for line in lines]
            readers = [client for client in clients if client.get("cmd") in ("bzpopmin", "blpop")
                       and not client.get("name", "").startswith(NAME) and client.get("db") == str(place.host.db)]
            if readers:
                many = "1 program waits" if len(readers) == 1 else f"{len(readers)} programs wait"
                yield ok(f"{place}: {many} for messages; Redis does not tell on which channels")
                return
            if look < LOOKS - 1:
                await task.deferLater(self.reactor, BETWEEN)
        yield wrong(f"{place}: nobody waits for messages, so no worker listens on {', '.join(self.channels)}; "
                    f"{start_one(self.channels[0])}")

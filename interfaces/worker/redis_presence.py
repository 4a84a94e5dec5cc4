"""Presence over Redis: each channel of a member is a lease, which this process renews as long as it lives."""
import asyncio
import itertools
import logging

from hiredis import ReplyError

from interfaces.layers.wire_local import PAGE_BYTES, changed
from interfaces.layers.wire_redis import ABSENT, LEASE, LISTED, PRESENT, RENEWED
from interfaces.worker.redis_home import RedisHome

logger = logging.getLogger("interfaces.worker")
RENEWAL = LEASE / 3          # seconds: two may fail
RETRY = 1.0                  # seconds after one that failed, a guess
BATCH = 1000                 # leases in one call, and calls that are out; a guess: some milliseconds of the server's time
SLACK = 0.05                 # seconds, a guess: a leave is looked for a little after it is due
NOTHING = b"\xc0"            # msgpack: None

Entry = tuple[str, str, str]                             # group, member, channel


class RedisPresence:
    """Of a RedisChannelLayer. Names and sizes were checked by presence.py."""

    def start_afresh(self) -> None:
        self.leases = Leases(self)
        super().start_afresh()

    def settle(self, receiving: bool = False):
        home = super().settle(receiving)
        if self.leases.held and self.leases.home is not home:
            self.leases.home = home
            home.call(self.leases.keep, home)
        return home

    async def presence_join(self, group: str, entry: tuple[str, str], info: bytes, notify: bool) -> bool:
        """True: the member was not there before. ChannelFull: Redis is out of memory."""
        said = b"01"[notify:notify + 1] + self.leases.sealed(info)
        self.leases.held[group, *entry] = said
        try:
            return await self.ask(self.leases.join, (group, *entry), said)
        except BaseException:
            self.leases.held.pop((group, *entry), None)
            raise

    async def presence_leave(self, group: str, member: str, channel: str) -> bool:
        """True: it was the member's last channel."""
        self.leases.held.pop((group, member, channel), None)
        return await self.ask(self.leases.leave, (group, member, channel))

    async def presence_page(self, group: str, after: int, most: int) -> tuple[int, int, list]:
        """How many members there are in all, the `after` of the next page or 0, and [(member, info, channels)]."""
        return await self.ask(self.leases.page, group, after, most)

    def presence_end(self, group: str, member: str, channel: str) -> None:
        """`presence_leave` without waiting, from any thread."""
        self.leases.held.pop((group, member, channel), None)
        home = self.home
        if home is not None:                             # without Redis the lease ends by itself
            home.call(self.leases.begin, home, self.leases.leave, (group, member, channel))


class PresenceHome(RedisHome):
    def welcomed(self, shard) -> None:
        super().welcomed(shard)
        self.layer.leases.keep(self, 0.0)                # a Redis that was restarted has forgotten them


class Leases:
    """All on the home's loop, but `held`."""

    def __init__(self, layer):
        self.layer, self.home = layer, None
        self.held: dict[Entry, bytes] = {}               # -> notify and info
        self.beats = itertools.count(1)
        self.beat = 0                                    # the renewing that counts; others end
        self.looks: set[str] = set()                     # groups whose next leave is waited for
        self.tasks: set[asyncio.Task] = set()

    # What is asked

    async def join(self, home: RedisHome, entry: Entry, said: bytes) -> bool:
        group, member, _ = entry
        count, first, tell = await self.joined(home, entry, said, again=0)
        if tell:
            await self.tell(home, group, [member], True, count)
        return first == 1

    async def joined(self, home: RedisHome, entry: Entry, said: bytes, again: int) -> tuple[int, int, int]:
        group, member, channel = entry
        answer = await self.call(home, PRESENT, group, f"{channel} {member}", said, again)
        if answer[3] < 0:
            self.held.pop(entry, None)                   # it left by another process
        return answer[0], answer[3], answer[4]

    async def leave(self, home: RedisHome, entry: Entry) -> bool:
        group, member, channel = entry
        return (await self.call(home, ABSENT, group, f"{channel} {member}"))[3] == 1

    async def page(self, home: RedisHome, group: str, after: int, most: int) -> tuple[int, int, list]:
        count, _, _, last, rows = await self.call(home, LISTED, group, after, most, PAGE_BYTES)
        names = [name.decode("utf-8", "replace") for name in rows[::3]]
        return count, int(last), list(zip(names, map(self.opened, rows[1::3]), map(int, rows[2::3]), strict=True))

    async def call(self, home: RedisHome, script, group: str, *args) -> list:
        form = self.layer.format
        answer = await self.layer.run(home, form.group_shard(group), form.presence(script, [group], self.layer.process, *args))
        await self.heed(home, group, answer)
        return answer

    # What every answer tells

    async def heed(self, home: RedisHome, group: str, answer: list) -> None:
        """Leaves that are due are told by who found them, and somebody must look when the next one is."""
        count, due, gone = answer[:3]
        if due >= 0 and group not in self.looks:
            self.looks.add(group)
            home.loop.call_later(due / 1e6 + SLACK, self.look, home, group)
        if gone:
            await self.tell(home, group, [name.decode("utf-8", "replace") for name in gone], False, count)

    def look(self, home: RedisHome, group: str) -> None:
        self.looks.discard(group)
        if self.layer.home is home:
            self.begin(home, self.page, group, 0, 0)

    async def tell(self, home: RedisHome, group: str, members: list[str], joined: bool, count: int) -> None:
        for message in changed(group, members, joined, count):
            try:
                await self.layer.sent_to_group(home, group, self.layer.encode(message))
            except (OSError, ReplyError) as error:
                logger.warning("a change in group %s was not told: %s", group, error)

    # Renewing

    def keep(self, home: RedisHome, after: float | None = None) -> None:
        """Renew on this home from now on, first after so many seconds."""
        if self.home is not home:
            self.looks.clear()                           # their timers were another loop's
        self.home, self.beat = home, next(self.beats)
        home.loop.call_later(RENEWAL if after is None else after, self.fire, home, self.beat)

    def fire(self, home: RedisHome, beat: int) -> None:
        """The layer may not know a home yet that begins in another thread, and somebody may join just now: whoever of us two
        comes second sees that renewing is wanted."""
        if beat != self.beat:
            return
        if self.held and self.layer.home is home:
            return self.begin(home, self.renewal, beat)
        self.home = None                                 # until somebody joins
        if self.held and self.layer.home is home:
            self.keep(home)

    async def renewal(self, home: RedisHome, beat: int) -> None:
        pause = RETRY
        try:
            await self.renew(home)
            pause = RENEWAL
        finally:
            home.loop.call_later(pause, self.fire, home, beat)

    async def renew(self, home: RedisHome) -> None:
        shards: dict[int, list[Entry]] = {}
        for entry in tuple(self.held):
            shards.setdefault(self.layer.format.group_shard(entry[0]), []).append(entry)
        for number, entries in shards.items():
            for start in range(0, len(entries), BATCH):
                await self.renew_batch(home, number, entries[start:start + BATCH])

    async def renew_batch(self, home: RedisHome, number: int, entries: list[Entry]) -> None:
        places = {group: place for place, group in enumerate(dict.fromkeys(entry[0] for entry in entries), 1)}
        args = [arg for group, member, channel in entries for arg in (places[group], f"{channel} {member}")]
        call = self.layer.format.presence(RENEWED, list(places), self.layer.process, *args)
        lost, left, *answers = await self.layer.run(home, number, call)
        for place in left:
            self.held.pop(entries[place], None)
        await self.come_again(home, [entries[place] for place in lost])
        for group, answer in zip(places, answers, strict=True):
            await self.heed(home, group, answer)

    async def come_again(self, home: RedisHome, entries: list[Entry]) -> None:
        """Redis has forgotten them, or they ended while we could not renew them."""
        held = [(entry, said) for entry in entries if (said := self.held.get(entry)) is not None]
        results = await asyncio.gather(*[self.joined(home, entry, said, again=1) for entry, said in held])
        groups: dict[str, list[str]] = {}
        counts: dict[str, int] = {}
        for (entry, _), (count, _, tell) in zip(held, results, strict=True):
            counts[entry[0]] = count
            if tell:
                groups.setdefault(entry[0], []).append(entry[1])
        for group, members in groups.items():
            await self.tell(home, group, members, True, counts[group])

    # Small parts

    def begin(self, home: RedisHome, call, *args) -> None:
        """`await call(home, *args)` some time soon."""
        task = home.loop.create_task(self.quietly(call, home, *args))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def quietly(self, call, *args) -> None:
        try:
            await call(*args)
        except (OSError, ReplyError) as error:
            logger.warning("presence in Redis: %s", error)

    def sealed(self, info: bytes) -> bytes:
        seal = self.layer.format.seal
        return info if seal is None else seal.encrypt(info, self.layer.now())

    def opened(self, info: bytes) -> bytes:
        """A sealed info may be old: who renews a lease does not say it again."""
        seal = self.layer.format.seal
        try:
            return info if seal is None else seal.fernet.decrypt(info)
        except seal.invalid:
            return NOTHING

"""Presence over a real redis-server: leases, processes that die, a Redis that forgets, changes that are told once."""
import asyncio
import contextlib

import msgpack
import pytest
from channels.layers import channel_layers
from redis_server import NoRedis, RedisServer

from interfaces.layers.shared import BadName
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_local import GRACE, MANY, PAGE_BYTES
from interfaces.layers.wire_presence import LEASE, SECOND
from interfaces.layers.wire_redis import PRESENT
from interfaces.worker import presence, redis_presence
from interfaces.worker.layers import RedisChannelLayer
from interfaces.worker.presence import Member
from tests.worker.hub import dialogue
from tests.worker.test_redis_layer import until

ROOM = "asgi:presence:room"
KEYS = {ROOM, f"{ROOM}:members", f"{ROOM}:about"}


@pytest.fixture(scope="module")
def shared_server():
    try:
        with RedisServer() as server:
            yield server
    except NoRedis as error:
        pytest.skip(str(error))


@pytest.fixture
def redis(shared_server):
    shared_server("FLUSHALL")
    return shared_server


class Process(RedisChannelLayer):
    """A worker process's layer, with what it says and hears about rooms."""

    def __init__(self, server, **config):
        super().__init__(hosts=[server.url], **config)
        self.server = server

    async def joins(self, member, channel="x", group="room", notify=True, info=None):
        return await self.presence_join(group, (member, f"{self.process}!{channel}"), msgpack.packb(info), notify)

    async def leaves(self, member, channel="x", group="room"):
        return await self.presence_leave(group, member, f"{self.process}!{channel}")

    async def members(self, group="room"):
        count, following, rows = await self.presence_page(group, 0, 100)
        assert (count, following) == (len(rows), 0)
        return {member: channels for member, _, channels in rows}

    async def renews(self):
        await self.ask(self.leases.renew)

    async def hears(self):
        """What was told of the room since it listens: (member, joined, count)."""
        await self.send(f"{self.process}!ear", {"type": "that's all"})
        heard = []
        while (message := await self.receive(f"{self.process}!ear"))["type"] == "presence.changed":
            assert message["group"] == "room"
            heard.append((message["member"], message["joined"], message["count"]))
        return heard

    async def hears_in_all(self, count):
        """So much, some of which may still be on its way."""
        heard = await self.hears()
        async with asyncio.timeout(10):
            while len(heard) < count:
                heard += await self.hears()
        return heard

    async def listens(self):
        await self.group_add("room", f"{self.process}!ear")
        return self

    def dies(self):
        """Its leases have ended this long ago, and it never renews them again."""
        for member in self.server("ZRANGE", ROOM, 0, -1):
            if member.startswith(self.process.encode()):
                self.server("ZADD", ROOM, 1, member)
        self.leases.held.clear()


@contextlib.asynccontextmanager
async def processes(server, number, **config):
    made = [Process(server, **config) for _ in range(number)]
    before = channel_layers.set("default", made[0])
    try:
        yield made
    finally:
        channel_layers.set("default", before)
        for process in made:
            await process.close()


def grace_ends(server):
    """The leaves that wait are due."""
    for member in server("ZRANGE", f"{ROOM}:leaving", 0, -1):
        server("ZADD", f"{ROOM}:leaving", 1, member)


@dialogue
async def test_who_is_in_a_group(redis):
    async with processes(redis, 2) as (a, b):
        assert await presence.join("room", "ann smith", f"{a.process}!1", info={"n": 1, 2: None})
        assert not await b.joins("ann smith", info="latest")
        assert await presence.join("room", "bób\n", "robots")
        assert await presence.members("room") == [Member("ann smith", "latest", 2), Member("bób\n", None, 1)]
        assert (await presence.count("room"), await presence.count("nobody")) == (2, 0)
        assert not await presence.leave("room", "ann smith", f"{a.process}!1")
        assert await b.leaves("ann smith") and not await b.leaves("ann smith")
        assert await presence.leave("room", "bób\n", "robots")
        assert await presence.members("room") == [] and a.leases.held == {} == b.leases.held


@dialogue
async def test_nothing_stays_in_redis(redis):
    async with processes(redis, 2) as (a, b):
        await a.joins("ann")
        assert {key.decode() for key in redis("KEYS", "asgi:*")} == KEYS
        await presence.leave("room", "bob", "robots")
        await a.leaves("ann")
        for key in redis("KEYS", "*"):
            assert 0 < redis("TTL", key) <= 2 * LEASE + GRACE
        assert [redis("EXISTS", key) for key in KEYS] == [0, 0, 0]
        await a.joins("ann")
        redis("SET", "asgi:presence:room:of:mine", 1)
        await b.flush()
        assert redis("KEYS", "*") == [b"asgi:presence:room:of:mine"]


@dialogue
async def test_a_killed_process_takes_its_members_along(redis):
    async with processes(redis, 2) as (a, b):
        await b.listens()
        await a.joins("ann")
        await a.joins("bob")
        await b.joins("bob")
        assert await b.hears() == [("ann", True, 1), ("bob", True, 2)]
        a.dies()
        assert await b.members() == {"bob": 1}
        await until(lambda: redis("ZCARD", f"{ROOM}:leaving") == 0)     # long ended, it is told at once
        assert await b.hears() == [("ann", False, 1)]


@dialogue
async def test_who_lives_renews(redis):
    async with processes(redis, 2) as (a, b):
        await a.joins("ann")
        await b.joins("bob")
        await b.joins("bob", group="other")
        first = redis("ZRANGE", ROOM, 0, -1, "WITHSCORES")
        await b.renews()
        again = redis("ZRANGE", ROOM, 0, -1, "WITHSCORES")
        assert again[:2] == first[:2] and again[2] == first[2] and float(again[3]) > float(first[3])
        now = int(redis("TIME")[0])
        for score in (again[1], again[3], redis("ZRANGE", "asgi:presence:other", 0, -1, "WITHSCORES")[1]):
            assert now + LEASE - 10 < float(score) / SECOND <= now + LEASE + 1
        redis("ZADD", ROOM, 1, first[2])                # it could not renew for long, but nobody has looked
        await b.renews()
        assert await a.members() == {"ann": 1, "bob": 1}


@dialogue
async def test_renewing_goes_on_by_itself(redis, monkeypatch):
    monkeypatch.setattr(redis_presence, "RENEWAL", 0.01)
    async with processes(redis, 2) as (a, b):
        await a.joins("ann")
        [entry] = redis("ZRANGE", ROOM, 0, -1)
        for _ in range(3):
            redis("ZADD", ROOM, 1, entry)               # or it would take a minute to see
            await until(lambda: float(redis("ZSCORE", ROOM, entry)) > 1)
        spare = a.home
        receiving = asyncio.ensure_future(a.receive(f"{a.process}!x"))
        await until(lambda: a.home is not spare)
        redis("ZADD", ROOM, 1, entry)                   # on another loop now
        await until(lambda: float(redis("ZSCORE", ROOM, entry)) > 1)
        assert await b.members() == {"ann": 1}
        receiving.cancel()


@dialogue
async def test_a_process_that_holds_nothing_renews_nothing_until_it_does(redis, monkeypatch):
    monkeypatch.setattr(redis_presence, "RENEWAL", 0.01)
    async with processes(redis, 1) as [a]:
        await a.members()
        await until(lambda: a.leases.home is None)
        await a.joins("ann")
        [entry] = redis("ZRANGE", ROOM, 0, -1)
        redis("ZADD", ROOM, 1, entry)
        await until(lambda: float(redis("ZSCORE", ROOM, entry)) > 1)


@dialogue
async def test_a_home_that_is_not_known_yet_when_it_begins_renews_all_the_same(redis, monkeypatch):
    monkeypatch.setattr(redis_presence, "RENEWAL", 0.01)
    async with processes(redis, 1) as [a]:
        await a.members()
        known, a.leases.home, a.home = a.home, a.home, None
        a.leases.fire(known, a.leases.beat)
        a.home = known
        await a.joins("ann")
        [entry] = redis("ZRANGE", ROOM, 0, -1)
        redis("ZADD", ROOM, 1, entry)
        await until(lambda: float(redis("ZSCORE", ROOM, entry)) > 1)


@dialogue
async def test_a_layer_that_was_closed_renews_nothing(redis):
    async with processes(redis, 1) as [a]:
        receiving = asyncio.ensure_future(a.receive(f"{a.process}!x"))
        await asyncio.sleep(0)
        await a.joins("ann")
        home, beat = a.home, a.leases.beat
        await until(lambda: not a.leases.tasks)
        receiving.cancel()
        await a.close()
        a.leases.fire(home, beat)
        assert not a.leases.tasks


@dialogue
async def test_renewing_survives_a_redis_that_does_not_answer_well(redis, monkeypatch, caplog):
    monkeypatch.setattr(redis_presence, "RENEWAL", 0.01)
    monkeypatch.setattr(redis_presence, "RETRY", 0.01)
    async with processes(redis, 1) as [a]:
        await a.joins("ann")
        redis("SET", "asgi:presence:room:left", "somebody's")
        await until(lambda: "presence in Redis: WRONGTYPE" in caplog.text)
        redis("FLUSHALL")
        await until(lambda: redis("ZCARD", ROOM) == 1)


@dialogue
async def test_a_leave_by_another_process_is_not_undone_by_renewing(redis):
    async with processes(redis, 2) as (a, b):
        await a.joins("ann")
        assert await b.presence_leave("room", "ann", f"{a.process}!x")
        await a.renews()
        assert (await b.members(), a.leases.held) == ({}, {})
        await a.joins("ann")
        held = dict(a.leases.held)
        a.dies()
        assert await b.members() == {}
        a.leases.held = held
        await a.renews()
        assert await b.members() == {"ann": 1}, "who joined anew has not left"


@dialogue
async def test_a_leave_while_it_is_said_again_counts(redis):
    async with processes(redis, 2) as (a, b):
        await a.joins("ann")
        [(entry, said)] = a.leases.held.items()
        await b.presence_leave(*entry)
        assert (await a.ask(a.leases.joined, entry, said, 1))[1] == -1
        assert (await b.members(), a.leases.held) == ({}, {})
        await a.renews()
        assert await b.members() == {}


@dialogue
async def test_the_order_stands_when_the_clock_steps_back(redis):
    async with processes(redis, 1) as [a]:
        await a.joins("zoe")
        redis("ZADD", f"{ROOM}:members", int(redis("TIME")[0] + b"000000") + 3600 * SECOND, "zoe")
        await a.joins("bob")
        await a.joins("ann")
        assert list(await a.members()) == ["zoe", "bob", "ann"]


@dialogue
async def test_who_joined_last_holds_the_lease(redis):
    async with processes(redis, 2) as (a, b):
        for process in (a, b):
            await process.presence_join("room", ("robot", "robots"), b"\xc0", False)
        await a.renews()
        assert a.leases.held == {} and len(b.leases.held) == 1
        await b.renews()
        assert len(b.leases.held) == 1 and await a.members() == {"robot": 1}


@dialogue
async def test_a_redis_that_was_emptied_learns_who_is_there(redis):
    async with processes(redis, 2) as (a, b):
        await b.listens()
        for member in ("ann", "bob", "cat"):
            await a.joins(member, notify=False)
        await b.joins("dan", notify=False)
        redis("FLUSHALL")
        await b.listens()
        assert await presence.leave("room", "cat", f"{a.process}!x") is False     # nobody knows it, but it has left
        await b.presence_leave("room", "bob", f"{a.process}!x")
        await a.renews()
        await b.renews()
        assert await b.members() == {"ann": 1, "dan": 1}
        assert [entry[1] for entry in a.leases.held] == ["ann"]


@dialogue
async def test_a_redis_that_was_restarted_learns_it_at_once(redis_server):
    async with processes(redis_server, 1) as [a]:
        await a.joins("ann", info="here")
        redis_server.restart()
        await until(lambda: redis_server("ZCARD", ROOM) == 1)
        assert await presence.members("room") == [Member("ann", "here", 1)]


@dialogue
async def test_leaves_are_told_once_and_late(redis):
    async with processes(redis, 3) as (a, b, c):
        await c.listens()
        await a.joins("ann")
        await a.leaves("ann")
        assert await c.members() == {} and await c.hears() == [("ann", True, 1)]
        [member, due] = redis("ZRANGE", f"{ROOM}:leaving", 0, -1, "WITHSCORES")
        assert 0 < float(due) / SECOND - float(redis("TIME")[0]) <= GRACE + 1
        grace_ends(redis)
        await asyncio.gather(*[process.members() for process in (a, b, c) for _ in range(3)])
        assert await c.hears() == [("ann", False, 0)]


@dialogue
async def test_who_told_a_leave_is_waiting_looks_by_itself(redis, monkeypatch):
    monkeypatch.setattr(redis_presence, "SLACK", 0.001 - GRACE)
    async with processes(redis, 1) as [a]:
        await a.listens()
        assert await a.hears() == []                    # it lives on the loop of who receives from now on
        await a.joins("ann")
        await a.leaves("ann")
        grace_ends(redis)                               # or it would take five seconds to see
        assert await a.hears_in_all(2) == [("ann", True, 1), ("ann", False, 0)]
        await a.joins("bob")
        await a.leaves("bob")
        grace_ends(redis)
        assert await a.hears_in_all(2) == [("bob", True, 1), ("bob", False, 0)]


@dialogue
async def test_a_look_that_waits_on_a_loop_that_was_left_stops_no_other(redis):
    async with processes(redis, 1) as [a]:
        await a.joins("ann")
        await a.leaves("ann")
        spare = a.home
        assert a.leases.looks == {"room"}
        receiving = asyncio.ensure_future(a.receive(f"{a.process}!x"))
        await until(lambda: a.home is not spare and a.leases.looks == set())
        receiving.cancel()


@dialogue
async def test_who_comes_back_in_time_has_not_left(redis):
    async with processes(redis, 2) as (a, b):
        await b.listens()
        await a.joins("ann")
        await a.leaves("ann")
        assert await b.joins("ann"), "in the list it was gone"
        grace_ends(redis)
        assert await b.members() == {"ann": 1}
        assert await b.hears() == [("ann", True, 1)]


@dialogue
async def test_a_connection_that_is_handed_over_tells_nothing(redis):
    async with processes(redis, 2) as (a, b):
        await b.listens()
        await a.joins("ann")
        assert not await b.joins("ann")
        a.dies()
        assert (await b.members(), await b.hears()) == ({"ann": 1}, [("ann", True, 1)])


@dialogue
async def test_who_asked_for_no_news_makes_none(redis):
    async with processes(redis, 1) as [a]:
        await a.listens()
        await a.joins("ann", notify=False)
        await a.leaves("ann")
        assert (redis("ZCARD", f"{ROOM}:leaving"), await a.hears()) == (0, [])


@pytest.mark.parametrize("number", [MANY, MANY + 1])
@dialogue
async def test_a_crowd_that_goes_is_told_as_one(redis, number):
    async with processes(redis, 2) as (a, b):
        await asyncio.gather(*[a.joins(f"m{n}") for n in range(number)])
        await b.listens()
        a.dies()
        assert await b.members() == {}
        names = {f"m{n}" for n in range(number)} if number <= MANY else {None}
        heard = await b.hears()
        assert len(heard) == len(names) and set(heard) == {(name, False, 0) for name in names}


@dialogue
async def test_who_comes_again_after_its_leave_was_told_is_told(redis):
    async with processes(redis, 2) as (a, b):
        await b.listens()
        await a.joins("ann")
        held = dict(a.leases.held)
        a.dies()
        await b.members()
        a.leases.held = held                            # it was only held up, for minutes
        await a.renews()
        assert await b.hears() == [("ann", True, 1), ("ann", False, 0), ("ann", True, 1)]


@dialogue
async def test_a_long_list_comes_whole(redis, monkeypatch):
    async with processes(redis, 1) as [a]:
        names = [f"{n:03}".ljust(1024, "é"[:n % 2] or "x")[:600] for n in range(800)]
        await asyncio.gather(*[a.joins(name, info="i" * 1000, notify=False) for name in names])
        count, following, rows = await a.presence_page("room", 0, 1000)
        assert count == 800 and following and PAGE_BYTES / 2000 < len(rows) < 400
        assert sorted(member.member for member in await presence.members("room")) == sorted(names)
        await a.renews()
        assert await presence.count("room") == 800
        monkeypatch.setattr(presence, "LISTED", 5)
        assert len(await presence.members("room")) == 5


@dialogue
async def test_leases_are_renewed_in_one_call(redis):
    async with processes(redis, 1) as [a]:
        await asyncio.gather(*[a.joins(f"m{n}", group=f"g{n % 50}", notify=False) for n in range(500)])
        await a.renews()                                # a server that doesn't know the script yet is asked twice
        before = redis("INFO", "commandstats").decode()
        await a.renews()
        after = redis("INFO", "commandstats").decode()
        calls = [sum(int(line.split("calls=")[1].split(",")[0]) for line in text.splitlines()
                     if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))) for text in (before, after)]
        assert calls[1] - calls[0] == 1


@dialogue
async def test_an_info_is_as_secret_as_messages_are(redis):
    async with processes(redis, 2, symmetric_encryption_keys=["secret"]) as (a, b):
        await a.joins("ann", info="the treasure")
        assert await presence.members("room") == [Member("ann", "the treasure", 1)]
        assert not any(b"treasure" in value for value in redis("HVALS", f"{ROOM}:about"))
        redis("HSET", f"{ROOM}:about", "iann", "0somebody else's")
        assert await presence.members("room") == [Member("ann", None, 1)]


@dialogue
async def test_an_end_needs_no_waiting(redis):
    async with processes(redis, 1) as [a]:
        a.presence_end("room", "nobody", f"{a.process}!x")      # there is no connection yet
        await a.joins("ann")
        a.presence_end("room", "ann", f"{a.process}!x")
        assert a.leases.held == {}
        await until(lambda: redis("ZCARD", ROOM) == 0)


@dialogue
async def test_a_redis_that_refuses_joins_nothing(redis):
    async with processes(redis, 1) as [a]:
        redis("SET", ROOM, "somebody's")
        with pytest.raises(ConnectionError, match="WRONGTYPE"):
            await a.joins("ann")
        assert a.leases.held == {}


def test_scripts_need_a_group_with_a_name():
    with pytest.raises(BadName):
        ChannelsFormat().presence(PRESENT, ["a:members"], "specific.a")

"""The functions of a Django project, through LocalChannelLayer and the server's own hub, on a clock; and the mixin."""
import asyncio
import contextlib
import os

import msgpack
import pytest
from asgiref.sync import sync_to_async
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import ChannelFull, StopConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from interfaces.layers import wire_local as wire
from interfaces.layers.local import LocalLayer
from interfaces.layers.local import Worker as HubWorker
from interfaces.worker import presence
from interfaces.worker.layers import LocalChannelLayer
from interfaces.worker.presence import Member, PresenceMixin
from tests.worker.hub import Hub, dialogue


class Transport(StringTransport):
    """Of the server's side of a worker's socket."""

    def __init__(self, writer):
        super().__init__()
        self.writer = writer
        self.write = writer.write

    def abortConnection(self):
        self.writer.transport.abort()


class Server:
    """A hub at a path, whose clock stands."""

    def __init__(self, path):
        self.path, self.clock = path, Clock()
        self.clock.advance(1_700_000_000)
        self.layer = LocalLayer(self.clock, None)
        self.calls: set[asyncio.Task] = set()

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.called, self.path)
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        self.layer.close()
        for task in tuple(self.calls):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        os.unlink(self.path)

    async def called(self, reader, writer):
        self.calls.add(asyncio.current_task())
        worker = HubWorker(self.layer)
        worker.makeConnection(Transport(writer))
        try:
            while data := await reader.read(65536):
                worker.dataReceived(data)
        finally:
            self.calls.discard(asyncio.current_task())
            worker.connectionLost(None)
            writer.close()

    @property
    def members(self):
        return {group: {name: len(member.channels) for name, member in members.items()}
                for group, members in self.layer.presence.groups.items()}


@contextlib.asynccontextmanager
async def default(*layers):
    """The first is the default channel layer; all are closed."""
    before = channel_layers.set("default", layers[0])
    try:
        yield layers[0]
    finally:
        channel_layers.set("default", before)
        for layer in layers:
            if isinstance(layer, LocalChannelLayer):
                await layer.close()


async def until(true):
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


@dialogue
async def test_who_is_in_a_group(path):
    async with Server(path), default(LocalChannelLayer(path=path)) as layer:
        one, two = await layer.new_channel(), await layer.new_channel()
        assert await presence.join("room", "ann", one, info={"avatar": "a.png", 1: None})
        assert not await presence.join("room", "ann", two)
        assert await presence.join("room", "bób", two, info=[b"\xff"])
        assert await presence.members("room") == [Member("ann", None, 2), Member("bób", [b"\xff"], 1)]
        assert (await presence.count("room"), await presence.count("nobody")) == (2, 0)
        assert not await presence.leave("room", "ann", one)
        assert await presence.leave("room", "ann", two)
        assert await presence.members("room") == [Member("bób", [b"\xff"], 1)]


@dialogue
async def test_synchronous_code_asks_the_same(path):
    def view():
        channel = "robots"
        assert presence.sync.join("room", "robot", channel, info=7)
        assert presence.sync.members("room") == [Member("robot", 7, 1)]
        return presence.sync.count("room"), presence.sync.leave("room", "robot", channel), presence.sync.count("room")

    async with Server(path), default(LocalChannelLayer(path=path)):
        assert await sync_to_async(view, thread_sensitive=False)() == (1, True, 0)


@dialogue
async def test_a_chat_page_shows_who_comes_and_goes(path):
    async with Server(path) as server, default(LocalChannelLayer(path=path)) as layer:
        page = await layer.new_channel()
        hearing = asyncio.ensure_future(layer.receive(page))
        await asyncio.sleep(0)
        await layer.group_add("room", page)
        await presence.join("room", "ann", page, notify=True)
        server.clock.advance(0)
        event = {"type": "presence.changed", "group": "room", "member": "ann", "joined": True, "count": 1}
        assert await hearing == event
        hearing = asyncio.ensure_future(layer.receive(page))
        await presence.leave("room", "ann", page)
        server.clock.advance(wire.GRACE)
        assert await hearing == event | {"joined": False, "count": 0}


@dialogue
async def test_a_layer_that_moves_to_who_receives_keeps_its_members(path):
    async with Server(path) as server, default(LocalChannelLayer(path=path)) as layer:
        page = await layer.new_channel()
        await presence.join("room", "ann", page, notify=True)
        server.clock.advance(0)
        before = layer.home
        hearing = asyncio.ensure_future(layer.receive(page))
        await until(lambda: layer.home is not before and layer.home.connection)
        await layer.group_add("room", page)
        server.clock.advance(2 * wire.GRACE)
        assert (await presence.members("room"), server.layer.presence.leaving) == ([Member("ann", None, 1)], {})
        await layer.send(page, {"type": "next"})
        assert await hearing == {"type": "next"}, "and before it nothing was told"


@dialogue
async def test_a_worker_that_goes_takes_its_members_along(path):
    other = LocalChannelLayer(path=path)
    async with Server(path) as server, default(LocalChannelLayer(path=path), other) as layer:
        await presence.join("room", "ann", await layer.new_channel())
        await other.presence_join("room", ("bob", await other.new_channel()), msgpack.packb(None), False)
        assert await presence.count("room") == 2
        await other.close()
        await until(lambda: server.members == {"room": {"ann": 1}})


@dialogue
async def test_a_long_list_comes_whole_up_to_its_bound(path, monkeypatch):
    monkeypatch.setattr(presence, "LISTED", 2 * wire.PAGE + 5)
    async with Server(path) as server, default(LocalChannelLayer(path=path)) as layer:
        names = [f"m{n}" for n in range(2 * wire.PAGE + 6)]
        await presence.join("room", names[0], "robots")          # then there is a connection, and they come in order
        await asyncio.gather(*[presence.join("room", name, "robots") for name in names[1:-1]])
        assert [member.member for member in await presence.members("room")] == names[:-1]
        await presence.join("room", names[-1], "robots")
        assert [member.member for member in await presence.members("room")] == names[:-1]
        assert await presence.count("room") == len(names) == len(server.members["room"])
        await layer.flush()
        assert await presence.members("room") == []


@dialogue
async def test_a_server_that_comes_again_learns_who_is_there(path):
    async with default(LocalChannelLayer(path=path)) as layer:
        async with Server(path) as server:
            channel = await layer.new_channel()
            await presence.join("room", "ann", channel, info=1, notify=True)
            await presence.join("room", "ann", "robots")
            await presence.join("room", "bob", channel)
            await presence.leave("room", "bob", channel)
            await presence.join("other", "bob", channel)
            layer.presence_end("other", "bob", channel)
            await until(lambda: "other" not in server.members)
        async with Server(path) as server:
            assert await presence.members("room") == [Member("ann", 1, 1)]
            assert server.members == {"room": {"ann": 1}}


@dialogue
async def test_who_was_refused_does_not_come_again(path):
    async with default(LocalChannelLayer(path=path)) as layer:
        async with Hub(path) as hub:
            joining = asyncio.ensure_future(presence.join("room", "ann", await layer.new_channel()))
            worker = await hub.worker()
            kind, group, payload = await worker.says()
            [number] = wire.CREDIT.unpack_from(payload)
            assert (kind, group) == (wire.PRESENT, "room") and wire.unpack(payload[4:])[0] == "ann"
            worker.hears(wire.PRESENCE, "", wire.RESULT_HEAD.pack(number, wire.FULL))
            with pytest.raises(ChannelFull):
                await joining
            assert layer.present == {}


@pytest.mark.parametrize("member, info, error", [
    (7, None, TypeError), ("", None, ValueError), ("x" * 1025, None, ValueError), ("ann", "x" * 1022, ValueError),
    ("ann", object(), TypeError), ("\ud800", None, ValueError)])
@dialogue
async def test_members_and_infos_are_checked(path, member, info, error):
    async with default(LocalChannelLayer(path=path)) as layer:
        with pytest.raises(error):
            await presence.join("room", member, "robots", info)
        assert layer.home is None, "nobody was asked"


@pytest.mark.parametrize("call", [
    lambda: presence.join("no room", "ann", "a"), lambda: presence.join("room", "ann", "no channel"),
    lambda: presence.leave("no room", "ann", "a"), lambda: presence.members("no room"), lambda: presence.count("é")])
@dialogue
async def test_names_are_checked(path, call):
    async with default(LocalChannelLayer(path=path)):
        with pytest.raises(TypeError):
            await call()


@dialogue
async def test_other_layers_say_what_they_cannot(path):
    async with default(InMemoryChannelLayer()):
        for call in (presence.join("room", "ann", "a"), presence.leave("room", "ann", "a"), presence.members("room"),
                     presence.count("room")):
            with pytest.raises(NotImplementedError, match="InMemoryChannelLayer, which doesn't know presence: use"):
                await call


# The mixin


class Visit(PresenceMixin, AsyncConsumer):
    async def visit_begin(self, message):
        await self.enter("room", message["member"], notify=True)
        await self.enter("building", message["member"])
        await self.send({"type": "entered"})

    async def visit_end(self, message):
        raise StopConsumer

    async def visit_fail(self, message):
        raise ZeroDivisionError


class SyncVisit(PresenceMixin, SyncConsumer):
    def visit_begin(self, message):
        self.enter("room", message["member"])
        self.enter("building", message["member"])
        self.send({"type": "entered"})

    def visit_end(self, message):
        raise StopConsumer

    def visit_fail(self, message):
        raise ZeroDivisionError


async def visiting(consumer):
    """A consumer that has entered, and what says more to it."""
    said, heard = asyncio.Queue(), asyncio.Queue()
    visit = asyncio.ensure_future(consumer.as_asgi()({"type": "visit"}, said.get, heard.put))
    said.put_nowait({"type": "visit.begin", "member": "ann"})
    async with asyncio.timeout(10):
        assert await heard.get() == {"type": "entered"}
    return visit, said.put_nowait


@pytest.mark.parametrize("consumer", [Visit, SyncVisit])
@pytest.mark.parametrize("end", ["end", "fail", "cancel"])
@dialogue
async def test_a_consumer_that_ends_leaves(path, consumer, end):
    async with Server(path) as server, default(LocalChannelLayer(path=path)):
        visit, say = await visiting(consumer)
        assert server.members == {"room": {"ann": 1}, "building": {"ann": 1}}
        if end == "cancel":
            visit.cancel()
        else:
            say({"type": f"visit.{end}"})
        await asyncio.wait([visit])
        assert visit.cancelled() if end == "cancel" else bool(visit.exception()) == (end == "fail")
        await until(lambda: server.members == {})


@dialogue
async def test_a_consumer_that_never_entered_needs_no_layer_that_can(path):
    async with default(InMemoryChannelLayer()):
        said = asyncio.Queue()
        said.put_nowait({"type": "visit.end"})
        await Visit.as_asgi()({"type": "visit"}, said.get, None)
        said.put_nowait({"type": "visit.begin", "member": "ann"})
        with pytest.raises(NotImplementedError):
            await Visit.as_asgi()({"type": "visit"}, said.get, None)

"""Stock consumers of Channels, unchanged: dialogues, groups, middleware, lanes."""
import asyncio
import threading

import django.db
import msgpack
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.db import aclose_old_connections, database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.db import ConnectionHandler, close_old_connections
from django.urls import re_path

from interfaces.layers import wire_local as wire
from interfaces.worker import lanes
from interfaces.worker.lanes import Lane
from tests.worker.hub import dialogue
from tests.worker.sockets import hosted


class Log:
    """What consumers were told, in order."""
    said: list = []


class Sync(WebsocketConsumer):
    groups = ["room"]

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=f"{threading.current_thread().name}: {text_data}")

    def chat(self, message):
        self.send(text_data=message["text"])

    def disconnect(self, code):
        Log.said.append(("left", code))


class Async(AsyncWebsocketConsumer):
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def chat(self, message):
        await self.send(text_data=message["text"])

    async def disconnect(self, code):
        Log.said.append(("left", code))


def of_group(server, message) -> None:
    """A group message for the channels that were added."""
    channels = [payload.decode() for kind, _, payload in server.asked if kind == wire.GROUP_ADD]
    server.worker.hears(wire.MESSAGES, "", msgpack.packb(channels) + msgpack.packb(message))


@dialogue
async def test_sync(path):
    Log.said = []
    async with hosted(path, Sync.as_asgi()) as server:
        socket = await server.opens()
        assert await socket.hears() == {"type": "websocket.accept"}
        socket.says("hello")
        assert await socket.hears() == {"type": "websocket.send", "text": "lane 1: hello"}
        of_group(server, {"type": "chat", "text": "to all"})
        assert (await socket.hears())["text"] == "to all"
        socket.leaves(1000)
        await server.until(lambda: any(kind == wire.GROUP_DISCARD for kind, *_ in server.asked))
        await server.settled()
    assert Log.said == [("left", 1000)]


@dialogue
async def test_async(path):
    Log.said = []
    async with hosted(path, Async.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        socket.says(b"bytes")
        assert await socket.hears() == {"type": "websocket.send", "bytes": b"bytes"}
        of_group(server, {"type": "chat", "text": "to all"})
        assert (await socket.hears())["text"] == "to all"
        socket.leaves(1000)
        await server.until(lambda: any(kind == wire.GROUP_DISCARD for kind, *_ in server.asked))
        await server.settled()
        assert all(lane.thread is None for lane in server.worker_sessions.lanes.lanes)       # no thread was needed
    assert Log.said == [("left", 1000)]


@dialogue
async def test_json_behind_the_whole_stack(path):
    class Json(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content):
            await self.send_json({"user": str(self.scope["user"]), "room": self.scope["url_route"]["kwargs"]["room"]} | content)

    router = URLRouter([re_path(r"^chat/(?P<room>\w+)$", Json.as_asgi())])
    async with hosted(path, AllowedHostsOriginValidator(AuthMiddlewareStack(router))) as server:
        socket = await (await server.opens("/chat/lobby")).accepted()
        socket.says('{"n": 1}')
        assert (await socket.hears())["text"] == '{"user": "AnonymousUser", "room": "lobby", "n": 1}'


@dialogue
async def test_a_foreign_origin_is_refused(path, monkeypatch):
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["example.com"])
    async with hosted(path, AllowedHostsOriginValidator(Async.as_asgi())) as server:
        socket = await server.opens(headers=[[b"origin", b"http://evil.example.org"]])
        assert await socket.hears() == {"type": "websocket.close"}
        await server.settled()


@dialogue
async def test_interface_send_becomes_a_frame_and_reaches_no_consumer(path, caplog):
    async with hosted(path, Async.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        of_group(server, {"type": "interface.send", "text": "for every protocol", "topic": "a/b"})
        assert await socket.hears() == {"type": "websocket.send", "text": "for every protocol"}
        of_group(server, {"type": "interface.send", "bytes": b"b"})
        assert await socket.hears() == {"type": "websocket.send", "bytes": b"b"}
        assert server.session_of(socket).out.written == 19       # nobody can wait here, but what follows it does
        of_group(server, {"type": "interface.unheard-of"})
        of_group(server, {"type": "interface.send", "topic": "nothing for a browser"})
        socket.says("still here")
        assert (await socket.hears())["text"] == "still here" and not caplog.records


@dialogue
async def test_channels_of_consumers_that_were_cancelled_leave_their_groups(path):
    async with hosted(path, Async.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        [(_, group, channel)] = server.asked
        socket.gone()
        await server.until(lambda: (wire.GROUP_DISCARD, group, channel) in server.asked)
        assert not server.worker_sessions.layer.inbox.hosted and not server.worker_sessions.layer.groups


@dialogue
async def test_a_thread_of_the_consumers_own_may_send(path):
    """asgiref gives it a loop of its own, where nothing of ours lives."""
    class Threaded(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            thread = threading.Thread(target=lambda: [self.send(text_data=letter * 200_000) for letter in "ab"])
            thread.start()
            thread.join()

    async with hosted(path, Threaded.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        socket.says("go")
        assert (await socket.hears())["text"] == "a" * 200_000
        await server.until_in_worker(lambda session: session.senders)
        socket.confirms(200_000)
        assert (await socket.hears())["text"] == "b" * 200_000


# Lanes

@dialogue
async def test_one_that_blocks_holds_up_nobody_but_its_lane(path):
    blocks, release = threading.Event(), threading.Event()

    class Blocking(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            if text_data == "block":
                blocks.set()
                release.wait()
            self.send(text_data=f"{threading.current_thread().name} {text_data}")

    async with hosted(path, Blocking.as_asgi(), threads=2) as server:
        first, second, third = [await (await server.opens()).accepted() for _ in range(3)]
        first.says("block")
        first.says("after")
        await asyncio.to_thread(blocks.wait)
        third.says("waits for the first, in its lane")
        for n in range(3):
            second.says(f"{n}")
            assert (await second.hears())["text"] == f"lane 2 {n}"
        assert not first.heard and not third.heard
        release.set()
        assert [(await first.hears())["text"] for _ in range(2)] == ["lane 1 block", "lane 1 after"]
        assert (await third.hears())["text"].startswith("lane 1 waits")


@dialogue
async def test_a_connection_stays_in_its_lane_and_the_emptiest_takes_the_next(path):
    class Where(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            name = await database_sync_to_async(lambda: threading.current_thread().name)()
            await self.send(text_data=name)

    async with hosted(path, Where.as_asgi(), threads=3) as server:
        sockets = [await (await server.opens()).accepted() for _ in range(4)]
        for _ in range(2):
            for socket, lane in zip(sockets, (1, 2, 3, 1), strict=True):
                socket.says("where?")
                assert (await socket.hears())["text"] == f"lane {lane}"
        sockets[1].leaves()
        while len(server.worker_sessions.all) == 4:
            await asyncio.sleep(0)
        assert [lane.held for lane in server.worker_sessions.lanes.lanes] == [2, 0, 1]


@dialogue
async def test_old_connections_are_closed_in_a_lane_that_has_any(tmp_path, monkeypatch):
    """Where none is open nobody is asked. One whose time is over is closed before the next message."""
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "database", "CONN_MAX_AGE": 0}
    database = ConnectionHandler({"default": sqlite})
    for module in (django.db, lanes):
        monkeypatch.setattr(module, "connections", database)
    lane = Lane(1)

    async def inside():
        await aclose_old_connections()
        assert lane.thread is None
        await sync_to_async(lambda: database["default"].ensure_connection())()
        assert lane.has_database
        await aclose_old_connections()
        return lane.has_database

    assert not await asyncio.get_running_loop().create_task(inside(), context=lane.enter())
    lane.close()


@dialogue
async def test_a_lane_goes_on_after_what_fails_in_it_and_ends_when_it_is_closed():
    lane = Lane(1)
    context = lane.enter()

    async def inside():
        try:
            await sync_to_async(lambda: 1 / 0)()
        except ZeroDivisionError:
            return await sync_to_async(threading.current_thread)()

    thread = await asyncio.get_running_loop().create_task(inside(), context=context)
    assert thread is lane.thread and thread.name == "lane 1" and thread.daemon
    lane.close()
    await asyncio.to_thread(thread.join)
    assert lane.thread is None
    await asyncio.get_running_loop().create_task(sync_to_async(close_old_connections)(), context=lane.enter())
    assert lane.thread is None

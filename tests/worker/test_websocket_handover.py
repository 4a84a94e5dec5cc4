"""Connections that go from one worker to the next: what is given back, when, and what the next one begins with."""
import asyncio
import logging

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from interfaces.worker import Resumable
from tests.worker.hub import Hub, dialogue
from tests.worker.sockets import Server, echo, hosted
from tests.worker.test_leaving import ended, runworker
from tests.worker.test_websocket_consumers import Async, of_group


async def leaves(server, last: bool = False) -> None:
    """As a worker does it on SIGTERM, until nothing is left."""
    while not server.worker_sessions.leave(last):
        await asyncio.sleep(0)


@dialogue
async def test_one_that_waits_is_given_back_at_once_and_cancelled_without_a_disconnect(path):
    events = []

    async def application(scope, receive, send):
        try:
            await echo(scope, receive, send)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async with hosted(path, application) as server:
        socket = await (await server.opens(epoch=2)).accepted()
        socket.says("a")
        await socket.hears()
        await leaves(server)
        await server.until(lambda: socket.given_back is not None)
        assert (socket.given_back, socket.handled, events) == ({}, 1, ["cancelled"])


@dialogue
async def test_one_that_is_busy_finishes_its_message_and_begins_no_other(path):
    there, handled = asyncio.Event(), []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await there.wait()
            handled.append(event["text"])
            await send({"type": "websocket.send", "text": event["text"]})

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        socket.says("b")
        await server.until_in_worker(lambda session: session.given == 1 and session.queue)
        assert not server.worker_sessions.leave(False) and not server.worker_sessions.leave(False)
        assert socket.given_back is None
        there.set()
        await leaves(server)
        assert (await socket.hears())["text"] == "a"
        await server.until(lambda: socket.given_back is not None)
        assert handled == ["a"] and socket.handled == 1


@dialogue
async def test_a_group_message_that_is_being_handled_is_finished_too(path):
    there, began = asyncio.Event(), asyncio.Event()

    class Busy(Async):
        async def chat(self, message):
            began.set()
            await there.wait()
            await self.send(text_data="done")

    async with hosted(path, Busy.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        of_group(server, {"type": "chat"})
        await began.wait()
        assert not server.worker_sessions.leave(False) and not server.worker_sessions.leave(False)
        there.set()
        await leaves(server)
        assert (await socket.hears())["text"] == "done"
        await server.until(lambda: socket.given_back is not None)


@dialogue
async def test_one_whose_client_has_left_ends_here(path):
    events = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await there.wait()
            events.append(event["text"])
        events.append(event["code"])

    there = asyncio.Event()
    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        for text in "ab":
            socket.says(text)
        socket.leaves(1001)
        await server.until_in_worker(lambda session: session.left)
        assert not server.worker_sessions.leave(False)
        there.set()
        await leaves(server)
        assert events == ["a", "b", 1001] and socket.given_back is None


@dialogue
async def test_at_the_end_of_the_grace_what_may_have_run_counts_as_handled(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await asyncio.get_running_loop().create_future()

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        socket.says("b")
        await server.until_in_worker(lambda session: session.given == 1 and session.queue)
        assert not server.worker_sessions.leave(False)
        await leaves(server, last=True)
        await server.until(lambda: socket.given_back is not None)
        assert socket.handled == 1


# State

class Counting(Resumable):
    count = 0

    def get_state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]


class AsyncCounter(Counting, AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        self.count += 1
        await self.send(text_data=f"{self.count}")


class SyncCounter(Counting, WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.count += 1
        self.send(text_data=f"{self.count}")


class AsyncMethods(AsyncCounter):
    async def get_state(self):
        return super().get_state()

    async def restore(self, state):
        super().restore(state)


@pytest.mark.parametrize("consumer", [AsyncCounter, SyncCounter, AsyncMethods])
@dialogue
async def test_state_is_given_back_and_restored(path, consumer):
    async with hosted(path, consumer.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        for n in "12":
            socket.says("x")
            assert (await socket.hears())["text"] == n
        await leaves(server)
        await server.until(lambda: socket.given_back is not None)
        assert socket.given_back == {"state": {"count": 2}} and socket.handled == 2 and socket.state is None
    async with hosted(path, consumer.as_asgi()) as server:
        socket = await (await server.opens(epoch=1, resumed=True, state={"count": 2}, order=3)).accepted()
        socket.says("x")
        assert (await socket.hears())["text"] == "3"


@dialogue
async def test_state_on_every_message(path):
    class Kept(AsyncCounter):
        state_on_every_message = True

    async with hosted(path, Kept.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        await server.until(lambda: socket.state == {"count": 0})
        socket.says("x")
        await server.until(lambda: socket.state == {"count": 1})


@pytest.mark.parametrize("state", [lambda: object(), lambda: 1 / 0])
@dialogue
async def test_a_state_that_cannot_be_had_is_logged_and_the_connection_goes_on(path, state, caplog):
    class Broken(AsyncCounter):
        def get_state(self):
            return state()

    caplog.set_level(logging.ERROR)
    async with hosted(path, Broken.as_asgi()) as server:
        socket = await (await server.opens()).accepted()
        await leaves(server)
        await server.until(lambda: socket.given_back is not None)
        assert socket.given_back == {} and len(caplog.records) == 1


# A stock worker, and SIGTERM

@dialogue
async def test_a_stock_worker_gives_its_connections_back_and_ends_with_0(path):
    async with Hub(path) as hub, runworker(path, channel="websocket.connect") as process:
        server = Server(await hub.worker())
        sockets = [await server.opens() for _ in range(20)]
        for socket in sockets:
            await socket.accepted()
        busy, *idle = sockets
        busy.says("0.3")
        busy.says("not begun")
        assert (await busy.hears())["text"] == "begins 0.3"
        process.terminate()
        await server.until(lambda: all(socket.given_back is not None for socket in idle))
        assert (await busy.hears())["text"] == "ends 0.3"
        await server.until(lambda: busy.given_back is not None)
        assert busy.handled == 1 and {socket.handled for socket in idle} == {0}
        assert await ended(process) == 0


@dialogue
async def test_a_consumer_that_is_stuck_is_given_back_before_the_end_of_the_grace(path):
    async with Hub(path) as hub, runworker(path, channel="websocket.connect", GRACE="0.6") as process:
        server = Server(await hub.worker())
        socket = await (await server.opens()).accepted()
        socket.says("3600")
        assert (await socket.hears())["text"] == "begins 3600"
        process.terminate()
        await server.until(lambda: socket.given_back is not None)
        assert socket.handled == 1
        assert await ended(process) == 0

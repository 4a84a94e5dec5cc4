"""WebSocket connections over Redis: claims, credit, hand-over; and a stock channels_redis layer, which can't."""
import asyncio
import time

import pytest
from channels_redis.core import RedisChannelLayer as StockLayer
from django.core.exceptions import ImproperlyConfigured

from interfaces.worker.application import OverChannels, Settings
from tests.worker.hub import dialogue
from tests.worker.redis_hosting import hosted
from tests.worker.sockets import echo, websocket_connect
from tests.worker.test_redis_layer import until
from tests.worker.test_websocket_consumers import Async

ON = {"channels": ("websocket.connect",)}


async def opens(server, **keys) -> dict:
    message = websocket_connect(reply_channel=await server.layer.new_channel(), deadline=time.time() + 30, **keys)
    await server.layer.send("websocket.connect", message)
    return message


async def says(server, message, owner, order, text):
    await server.layer.send(owner, {"type": "websocket.receive", "reply_channel": message["reply_channel"], "order": order,
                                    "path": "/chat", "text": text})


@dialogue
async def test_the_first_reply_claims_and_what_follows_comes_to_the_owner(redis_server):
    async with hosted(redis_server.url, {"websocket": echo}, **ON) as server:
        message = await opens(server, epoch=2)
        accept = await server.hears(message)
        owner = accept["receive_channel"]
        assert accept == {"type": "websocket.accept", "receive_channel": owner, "epoch": 2}
        assert owner.startswith(server.worker_layer.process + "!")
        for order, text in enumerate("abc", 1):
            await says(server, message, owner, order, text)
            assert await server.hears(message) == {"type": "websocket.send", "text": text, "handled": order - 1}
        assert await server.hears(message) == {"type": "interface.credit", "handled": 3}


@dialogue
async def test_who_is_announced_again_is_claimed_at_once_and_who_is_decided_slowly_after_a_moment(redis_server):
    async def slow(scope, receive, send):
        await receive()
        await asyncio.sleep(scope["path"] == "/slow")
        await send({"type": "websocket.accept"})
        await receive()

    async with hosted(redis_server.url, {"websocket": slow}, **ON) as server:
        for more in ({"epoch": 3, "resumed": True}, {"path": "/slow"}):
            message = await opens(server, **more)
            claim = await server.hears(message)
            assert (claim["type"], claim["epoch"]) == ("interface.credit", more.get("epoch", 0)) and claim["receive_channel"]
            assert await server.hears(message) == {"type": "websocket.accept"}


@dialogue
async def test_a_ping_to_the_owner_is_answered(redis_server):
    async with hosted(redis_server.url, {"websocket": echo}, **ON) as server:
        message = await opens(server)
        owner = (await server.hears(message))["receive_channel"]
        reply_channel = await server.layer.new_channel()
        await server.layer.send(owner, {"type": "interface.ping", "id": "x", "reply_channel": reply_channel})
        assert (await server.layer.receive(reply_channel))["id"] == "x"


@dialogue
async def test_a_group_reaches_a_stock_consumer_and_interface_send_its_client(redis_server):
    async with hosted(redis_server.url, {"websocket": Async.as_asgi()}, **ON) as server:
        message = await opens(server)
        await server.hears(message)
        await server.layer.group_send("room", {"type": "chat", "text": "to all"})
        assert (await server.hears(message))["text"] == "to all"
        await server.layer.group_send("room", {"type": "interface.send", "text": "neutral"})
        assert await server.hears(message) == {"type": "websocket.send", "text": "neutral"}


@dialogue
async def test_a_worker_that_leaves_gives_back_and_is_in_no_group_any_more(redis_server):
    async with hosted(redis_server.url, {"websocket": Async.as_asgi()}, **ON) as server:
        message = await opens(server, epoch=1)
        owner = (await server.hears(message))["receive_channel"]
        await says(server, message, owner, 1, "a")
        assert (await server.hears(message))["text"] == "a"
        [sessions] = server.worker_layer.inbox.residents
        assert redis_server("ZCARD", "asgi:group:room") == 1
        while not sessions.leave(False):
            await asyncio.sleep(0)
        heard = [await server.hears(message)]
        while "receive_channel" not in heard[-1]:
            heard.append(await server.hears(message))
        assert heard[-1] == {"type": "interface.credit", "receive_channel": None, "epoch": 1, "handled": 1}
        assert redis_server("ZCARD", "asgi:group:room") == 0


@dialogue
async def test_no_more_handshakes_are_taken_than_run_at_once(redis_server):
    there = asyncio.Event()

    async def application(scope, receive, send):
        await there.wait()
        await echo(scope, receive, send)

    async with hosted(redis_server.url, {"websocket": application}, concurrency=2, **ON) as server:
        messages = [await opens(server) for _ in range(4)]
        sessions = await first_of(server)
        await until(lambda: len(sessions.all) == 2)
        there.set()
        for message in messages:
            assert (await server.hears(message))["type"] == "websocket.accept"
        assert len(sessions.all) == 4


async def first_of(server):
    await until(lambda: server.worker_layer.inbox.residents)
    return server.worker_layer.inbox.residents[0]


@dialogue
async def test_channels_redis_is_refused_at_start(redis_server):
    with pytest.raises(ImproperlyConfigured, match="interfaces.worker.layers.RedisChannelLayer"):
        OverChannels({"websocket": echo}, StockLayer(hosts=[redis_server.url]), Settings())


@dialogue
async def test_channels_redis_with_one_application_for_all_says_so_when_it_is_started_for_websockets(redis_server, caplog):
    application = OverChannels(echo, StockLayer(hosts=[redis_server.url]), Settings())
    assert application.channels == ("http.request",)
    application.activate("websocket.connect")
    assert "interfaces.worker.layers.RedisChannelLayer" in caplog.text

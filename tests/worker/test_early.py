"""What a server sends right behind the first connection of a new worker overtakes it: that one goes the runworker's way."""
import pytest
from channels.generic.websocket import AsyncWebsocketConsumer

from interfaces.worker.wsgi import Wsgi
from tests.worker import devices, hosting, sockets
from tests.worker.hub import dialogue, http_request
from tests.worker.test_mqtt_consumers import Sync
from tests.worker.test_redis_hosting import echo, wsgi_echo


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


async def overtaken(server, message, *others):
    """The connection of `message`, to whose owner `others` were sent before it began."""
    await server.until(lambda: server.credit > 0)
    for order, other in enumerate(others, message["order"] + 1):
        server.worker.gets(server.application.layer.inbox.owner,
                           {"reply_channel": message["reply_channel"], "order": order} | other)
    return server.announces(message)


@dialogue
async def test_the_first_messages_of_a_websocket_wait_for_it(path):
    async with sockets.hosted(path, Echo.as_asgi()) as server:
        message = sockets.websocket_connect(resumed=True, epoch=1, order=3)
        socket = await overtaken(server, message, *({"type": "websocket.receive", "text": text} for text in "ab"))
        await socket.accepted()
        assert [(await socket.hears())["text"] for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("application", [Wsgi(wsgi_echo), echo], ids=["wsgi", "asgi"])
@dialogue
async def test_the_first_parts_of_an_upload_wait_for_it(path, application):
    async with hosting.hosted(path, {"http": application}) as worker:
        request = http_request(method="POST", body=b"a", more_body=True, headers=[[b"content-length", b"3"]])
        for order, part in enumerate((b"b", b"c"), 1):
            worker.gets(worker.stock.application.layer.inbox.owner, {
                "type": "http.request.body", "reply_channel": request["reply_channel"], "order": order, "content": part,
                "more_content": order == 1, "closed": False})
        worker.gets("http.request", request)
        _, reply = await worker.replies()
        while "status" not in reply:                     # it confirms what it has read
            _, reply = await worker.replies()
        assert (reply["status"], reply["content"]) == (200, b"abc")
        assert not worker.stock.application.early


@dialogue
async def test_the_first_publish_of_a_device_waits_for_it(path):
    async with devices.hosted(path, Sync.as_asgi()) as server:
        lamp = await overtaken(server, devices.mqtt_connect(resumed=True, epoch=1, order=3),
                               {"type": "mqtt.receive", "topic": "a", "payload": b"", "qos": 1, "id": 7})
        await lamp.accepted()
        await lamp.acked()


@dialogue
async def test_what_comes_for_a_connection_that_has_ended_is_not_kept(path):
    async with devices.hosted(path, Sync.as_asgi()) as server:
        await (await server.opens()).accepted()
        server.worker.gets(server.owner, {"type": "mqtt.receive", "reply_channel": "reply.server!gone", "order": 7})
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", qos=1)
        await lamp.acked()
        assert not server.worker_sessions.early

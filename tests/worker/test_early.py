"""What a server sends right behind the first connection of a new worker overtakes it: that one goes the runworker's way."""
from channels.generic.websocket import AsyncWebsocketConsumer

from tests.worker import devices, sockets
from tests.worker.hub import dialogue
from tests.worker.test_mqtt_consumers import Sync


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

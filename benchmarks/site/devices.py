"""What `manage.py runworker mqtt.connect` may host; workers.py names them. A device that says "count" is told how much was
heard of all of them, so that a measurement knows that nothing was lost."""
import hmac
from collections import Counter

from channels.layers import get_channel_layer

from interfaces.worker.consumers import AsyncMqttConsumer, MqttConsumer

TOKEN = b"for measurements on loopback only"
COUNT = "count"
HEARD: Counter[str] = Counter()         # by device: a device has one lane, so no count is lost between threads


def counted() -> dict:
    return {"topic": COUNT, "payload": b"%d" % sum(tuple(HEARD.values()))}


async def bare(scope, receive, send):
    """An ASGI application: no consumer class, no Django."""
    await receive()
    await send({"type": "mqtt.accept"})
    name = scope["client_id"]
    while (event := await receive())["type"] == "mqtt.receive":
        if event["topic"] == COUNT:
            await send({"type": "mqtt.send", **counted()})
            continue
        HEARD[name] += 1
        if event["qos"]:
            await send({"type": "mqtt.ack", "id": event["id"]})


async def plain(scope, receive, send):
    """By channel name, without anything of ours but the layer: nobody owns the connections."""
    layer = get_channel_layer()
    while True:
        message = await receive()
        name = message["reply_channel"]
        if message["type"] == "mqtt.connect":
            await layer.send(name, {"type": "mqtt.accept"})
        elif message["type"] == "mqtt.receive" and message["topic"] == COUNT:
            await layer.send(name, {"type": "mqtt.send", **counted()})
        elif message["type"] == "mqtt.receive":
            HEARD[name] += 1
            if message["qos"]:
                await layer.send(name, {"type": "mqtt.ack", "id": message["id"]})


async def relay(scope, receive, send):
    """It lets devices in: what they publish is for one another."""
    layer = get_channel_layer()
    while True:
        message = await receive()
        if message["type"] == "mqtt.connect":
            await layer.send(message["reply_channel"], {"type": "mqtt.accept", "relay": True, "subscribe_acl": ["#"]})


class Token(MqttConsumer):
    def authenticate(self, username, password, client_id, **rest):
        return hmac.compare_digest(password or b"", TOKEN) and client_id

    def received(self, topic, payload, **rest):
        if topic == COUNT:
            self.publish(**counted())
        else:
            HEARD[self.scope["client_id"]] += 1


class AsyncToken(AsyncMqttConsumer):
    async def authenticate(self, username, password, client_id, **rest):
        return hmac.compare_digest(password or b"", TOKEN) and client_id

    async def received(self, topic, payload, **rest):
        if topic == COUNT:
            await self.publish(**counted())
        else:
            HEARD[self.scope["client_id"]] += 1

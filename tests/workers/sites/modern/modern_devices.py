"""Devices without any helper, by what Channels 4 itself has: each message may come to another worker."""
import os

from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

NAMES = ("mqtt.connect", "mqtt.receive", "mqtt.subscribe", "mqtt.unsubscribe", "mqtt.disconnect")


class PlainDevice(SyncConsumer):
    """`all` goes to every device's own channel, `everywhere` to the servers' group and there to those who have subscribed to
    `between/all`; `refused` is refused. What else is published is answered on `down`."""

    def say(self, message, kind, **reply):
        async_to_sync(self.channel_layer.send)(message["reply_channel"], {"type": kind, **reply})

    def note(self, *words):
        with open(os.environ["SITE_TRACE"], "a") as trace:
            trace.write(" ".join(map(str, words)) + "\n")

    def mqtt_connect(self, message):
        if message["password"] != b"pw":
            return self.say(message, "mqtt.close", reason_code=0x86)
        async_to_sync(self.channel_layer.group_add)("devices", message["reply_channel"])
        self.say(message, "mqtt.accept", relay=True)

    def mqtt_subscribe(self, message):
        codes = [0x87 if wish["filter"].startswith("secret/") else wish["qos"] for wish in message["subscriptions"]]
        self.say(message, "mqtt.suback", id=message["id"], reason_codes=codes)

    def mqtt_unsubscribe(self, message):
        self.note("not", *message["filters"])

    def mqtt_receive(self, message):
        topic, payload = message["topic"], message["payload"]
        self.note("got", topic, message["qos"], int(message["dup"]), payload.decode(errors="backslashreplace"))
        if topic == "all":
            everybody = {"type": "mqtt.send", "topic": "down", "payload": payload}
            async_to_sync(self.channel_layer.group_send)("devices", everybody)
        elif topic == "everywhere":
            everybody = {"type": "mqtt.send", "topic": "between/all", "payload": payload, "qos": message["qos"], "retain": True}
            async_to_sync(self.channel_layer.group_send)("mqtt", everybody)
        elif message["qos"]:
            self.say(message, "mqtt.send", topic="down", payload=b"you said " + payload)
        if message["qos"]:
            self.say(message, "mqtt.ack", id=message["id"], reason_code=0x87 if topic == "refused" else 0)

    def mqtt_disconnect(self, message):
        async_to_sync(self.channel_layer.group_discard)("devices", message["reply_channel"])
        self.note("left", f"{message['reason_code']:#04x}", message["clean"])


plain_devices = ProtocolTypeRouter({"channel": ChannelNameRouter({name: PlainDevice.as_asgi() for name in NAMES})})


def hosted():
    """By over_channels: one consumer for each device."""
    from interfaces.worker import over_channels
    from interfaces.worker.consumers import AsyncMqttConsumer

    class Device(AsyncMqttConsumer):
        file = os.open(os.environ["SITE_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        relay, subscribe_acl = True, ["down/#", "between/#"]

        async def authenticate(self, username, password, client_id, **rest):
            return password == b"pw"

        async def received(self, topic, payload, *, qos, dup, **rest):
            os.write(self.file, f"got {self.scope['client_id']} {topic} {qos} {int(dup)} {payload.decode()}\n".encode())
    return over_channels({"mqtt": Device.as_asgi()})

"""What `manage.py runworker http.request`, `websocket.connect` or `mqtt.connect` may host. SITE_WORKER chooses one, and only
that one is made."""
import os
from importlib import import_module

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from interfaces.worker import Wsgi, over_channels

ALL = "to all: "                # a text that begins so goes to all sockets
HELLO = {"status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"Hello, channels! 20b"}


async def answer(scope, receive, send):
    """No Django view, no consumer class: what our own parts cost."""
    layer = get_channel_layer()
    while True:
        message = await receive()
        await layer.send(message["reply_channel"], HELLO)


async def hold(scope, receive, send):
    """The long-poll: requests for /held wait in a group until one for /answer answers them all. /marked does it too, with a
    message to nobody before and after, so that who watches Redis can tell what belongs to the group send."""
    layer = get_channel_layer()
    while True:
        message = await receive()
        if message["path"] == "/held":
            await layer.group_add("held", message["reply_channel"])
            continue
        if message["path"] == "/answer":
            await layer.group_send("held", HELLO)
        elif message["path"] == "/marked":
            await layer.send("mark.first", {})
            await layer.group_send("held", HELLO)
            await layer.send("mark.last", {})
        await layer.send(message["reply_channel"], HELLO)


class Asynchronous(AsyncConsumer):
    async def http_request(self, message):
        await self.channel_layer.send(message["reply_channel"], HELLO)


class Synchronous(SyncConsumer):
    def http_request(self, message):
        async_to_sync(self.channel_layer.send)(message["reply_channel"], HELLO)


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)


class Room(AsyncWebsocketConsumer):
    """What it hears it says: to all, through its group, or to who said it."""

    async def connect(self):
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data.startswith(ALL):
            await self.channel_layer.group_send("room", {"type": "room.said", "text": text_data})
        else:
            await self.send(text_data)

    async def room_said(self, event):
        await self.send(event["text"])


class Named(Room):
    """It tells each socket first in which process it is."""

    async def connect(self):
        await super().connect()
        await self.send(f"here {os.getpid()}")


async def converse(scope, receive, send):
    """The same as a plain consumer on the three channels: sockets are in the group themselves, and nobody owns them."""
    layer = get_channel_layer()
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await layer.group_add("room", message["reply_channel"])
            await layer.send(message["reply_channel"], {"type": "websocket.accept"})
        elif message["type"] == "websocket.receive" and message["text"].startswith(ALL):
            await layer.group_send("room", {"type": "websocket.send", "text": message["text"]})
        elif message["type"] == "websocket.receive":
            await layer.send(message["reply_channel"], {"type": "websocket.send", "text": message["text"]})


async def repeat(scope, receive, send):
    """An ASGI application without a consumer class."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


def consumer(application, *channels):
    return ProtocolTypeRouter({"channel": ChannelNameRouter(dict.fromkeys(channels or ("http.request",), application))})


def sockets(application):
    return over_channels({"websocket": application}, connections=20_000)        # more than are measured


def device(name: str):
    """An attribute of devices.py, which the other workers need not import."""
    found = getattr(import_module("devices"), name)
    return over_channels({"mqtt": found.as_asgi() if hasattr(found, "as_asgi") else found}, connections=20_000)


def plain_device(name: str):
    return consumer(getattr(import_module("devices"), name), "mqtt.connect", "mqtt.receive", "mqtt.disconnect")


WORKERS = {
    "wsgi": lambda: over_channels({"http": Wsgi(get_wsgi_application())}),
    "asgi": lambda: over_channels({"http": get_asgi_application()}),
    "bare": lambda: consumer(answer),
    "held": lambda: consumer(hold),
    "async_consumer": lambda: consumer(Asynchronous.as_asgi()),
    "sync_consumer": lambda: consumer(Synchronous.as_asgi()),
    "room": lambda: sockets(Room.as_asgi()),
    "room_named": lambda: sockets(Named.as_asgi()),
    "room_plain": lambda: consumer(converse, "websocket.connect", "websocket.receive", "websocket.disconnect"),
    "echo": lambda: sockets(Echo.as_asgi()),
    "echo_asgi": lambda: sockets(repeat),
    "mqtt_bare": lambda: device("bare"),
    "mqtt_plain": lambda: plain_device("plain"),
    "mqtt_relay": lambda: plain_device("relay"),
    "mqtt_token": lambda: device("Token"),
    "mqtt_async": lambda: device("AsyncToken"),
    "mqtt_django": lambda: device("MqttConsumer"),
}


def __getattr__(name):
    # over_channels tells the layer that it hosts http.request: a process makes one of them, or none
    if name not in WORKERS:
        raise AttributeError(name)
    return WORKERS[name]()

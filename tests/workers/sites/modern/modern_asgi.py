"""Plain consumers, which need nothing of ours, and the same site behind over_channels."""
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modern_settings")

import modern_devices
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import path

TEXT = [[b"content-type", b"text/plain"]]


class Plain(AsyncConsumer):
    """It answers at once, echoes a body, or leaves the request to the group `held`, which `/answer` answers."""

    async def http_request(self, message):
        if message["path"] == "/held":
            await self.channel_layer.group_add("held", message["reply_channel"])
            return
        if message["path"] == "/answer":
            await self.held_answer(message)
        await self.channel_layer.send(message["reply_channel"], {
            "status": 200, "headers": TEXT, "content": message["path"].encode() + b" " + await self.body(message)})

    async def held_answer(self, message):
        await self.channel_layer.group_send("held", {"status": 200, "headers": TEXT, "content": b"at last"})

    async def body(self, message) -> bytes:
        body, more = message["body"], message["more_body"]
        while more:
            part = await self.channel_layer.receive(message["body_channel"])
            body, more = body + part["content"], part["more_content"]
        return body

    async def http_disconnect(self, message):
        with open(os.environ["SITE_TRACE"], "a") as trace:
            trace.write(f"left {message['path']}\n")


class Count(AsyncConsumer):
    """Notes each number with one write, which the system appends whole."""
    file = os.open(os.environ["SITE_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def number_add(self, message):
        os.write(self.file, b"%d %d\n" % (os.getpid(), message["number"]))


class PlainSocket(SyncConsumer):
    """WebSockets without any helper, by what Channels 4 itself has: each message may come to another worker."""

    def say(self, message, **reply):
        async_to_sync(self.channel_layer.send)(message["reply_channel"], reply)

    def websocket_connect(self, message):
        if message["path"] == "/refused":
            return self.say(message, type="websocket.close")
        async_to_sync(self.channel_layer.group_add)("room", message["reply_channel"])
        if message["path"] == "/typed":
            return self.say(message, type="websocket.accept", subprotocol=(message["subprotocols"] or [None])[0])
        self.say(message, accept=True, text=f"welcome to {message['path']}")

    def websocket_receive(self, message):
        text, data = message.get("text"), message.get("bytes")
        if text is not None and text.startswith("all: "):
            async_to_sync(self.channel_layer.group_send)("room", {"type": "websocket.send", "text": text[5:]})
        elif text == "close":
            self.say(message, text="goodbye", close=4001)
        else:
            self.say(message, text=text and f"{message['order']} {text}", bytes=data)

    def websocket_disconnect(self, message):
        async_to_sync(self.channel_layer.group_discard)("room", message["reply_channel"])
        with open(os.environ["SITE_TRACE"], "a") as trace:
            trace.write(f"left {message['path']} {message['code']}\n")


class Echo(AsyncWebsocketConsumer):
    """`all: words` says the words to everybody in the room."""
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None and text_data.startswith("all: "):
            return await self.channel_layer.group_send("room", {"type": "to.all", "text": text_data[5:]})
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def to_all(self, message):
        await self.send(text_data=message["text"])

    async def disconnect(self, code):
        with open(os.environ["SITE_TRACE"], "a") as trace:
            trace.write(f"left {os.getpid()} {code}\n")


class SyncEcho(WebsocketConsumer):
    groups = ["room"]

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)

    def to_all(self, message):
        self.send(text_data=message["text"])


plain = ProtocolTypeRouter({"channel": ChannelNameRouter({
    name: Plain.as_asgi() for name in ("http.request", "http.disconnect", "held.answer")})})
count = ProtocolTypeRouter({"channel": ChannelNameRouter({"number.add": Count.as_asgi()})})
plain_sockets = ProtocolTypeRouter({"channel": ChannelNameRouter({
    name: PlainSocket.as_asgi() for name in ("websocket.connect", "websocket.receive", "websocket.disconnect")})})
plain_devices = modern_devices.plain_devices


def __getattr__(name):
    # over_channels tells the layer that it hosts http.request: a process makes one of them, or none
    from interfaces.worker import Wsgi, over_channels
    if name == "wsgi":
        return over_channels({"http": Wsgi(get_wsgi_application(), threads=4)})
    if name == "asgi":
        return over_channels({"http": get_asgi_application()})
    if name == "sockets":
        return over_channels({"websocket": URLRouter([path("echo", Echo.as_asgi()), path("sync", SyncEcho.as_asgi())])})
    if name == "devices":
        return modern_devices.hosted()
    raise AttributeError(name)

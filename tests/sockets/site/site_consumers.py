"""Stock consumers, as a project writes them. What they are told of an end goes to the file SITE_TRACE."""
import os
import time

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncConsumer, AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from interfaces.worker import Resumable


def trace(*words):
    with open(os.environ.get("SITE_TRACE", os.devnull), "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


class Echo(AsyncWebsocketConsumer):
    """Echoes; `all: words` says the words to everybody in the room; `close: 4001 words` closes."""
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data is not None and text_data.startswith("all: "):
            return await self.channel_layer.group_send("room", {"type": "to.all", "text": text_data[5:]})
        if text_data is not None and text_data.startswith("close: "):
            code, _, reason = text_data[7:].partition(" ")
            return await self.close(int(code), reason)
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def to_all(self, message):
        await self.send(text_data=message["text"])

    async def disconnect(self, code):
        trace("left", os.getpid(), code, self.scope["query_string"].decode())


class Sync(WebsocketConsumer):
    """`sleep: 1` blocks its thread."""

    def receive(self, text_data=None, bytes_data=None):
        if text_data is not None and text_data.startswith("sleep: "):
            time.sleep(float(text_data[7:]))
        if text_data is not None and text_data.startswith("close: "):
            code, _, reason = text_data[7:].partition(" ")
            return self.close(int(code), reason)
        self.send(text_data=text_data, bytes_data=bytes_data)

    def disconnect(self, code):
        trace("left", os.getpid(), code, self.scope["query_string"].decode())


class Json(AsyncJsonWebsocketConsumer):
    """What it knows of its client, and a count in its session."""

    async def receive_json(self, content):
        session = self.scope["session"]
        count = await database_sync_to_async(session.get)("count", 0) + content["add"]
        session["count"] = count
        await database_sync_to_async(session.save)()
        await self.send_json({
            "user": str(self.scope["user"]), "count": count, "path": self.scope["path"], "client": self.scope["client"][0],
            "room": self.scope["url_route"]["kwargs"]["room"], "scheme": self.scope["scheme"]})


class Chosen(AsyncWebsocketConsumer):
    """Chooses a subprotocol, and sets a header."""

    async def connect(self):
        await self.accept(subprotocol="second" if "second" in self.scope["subprotocols"] else None,
                          headers=[(b"x-from", b"the consumer")])
        await self.send(f"{self.scope['scheme']} {self.scope['subprotocols']}")


class Refuse(WebsocketConsumer):
    def connect(self):
        self.close()


class Deny(AsyncWebsocketConsumer):
    """Channels has no word of its own for a refusal with a body: ASGI's."""

    async def connect(self):
        say = super(AsyncWebsocketConsumer, self).send
        await say({"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-price", b"42")]})
        await say({"type": "websocket.http.response.body", "body": b"pay ", "more_body": True})
        await say({"type": "websocket.http.response.body", "body": b"first"})
        raise StopConsumer


class Fail(AsyncWebsocketConsumer):
    async def connect(self):
        raise RuntimeError("a consumer that fails")


class Count(Resumable, AsyncWebsocketConsumer):
    """How many messages it has had, in whatever worker."""
    count = 0

    async def receive(self, text_data=None, bytes_data=None):
        self.count += 1
        await self.send(f"{self.count} {os.getpid()}")

    def get_state(self):
        return self.count

    def restore(self, state):
        self.count = state


class Held(AsyncConsumer):
    """Never decides."""

    async def websocket_connect(self, message):
        trace("asked", self.scope["query_string"].decode())

    async def websocket_disconnect(self, message):
        trace("left undecided", message["code"])
        raise StopConsumer


stack = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([
    path("json/<str:room>", Json.as_asgi()), path("sync", Sync.as_asgi()), path("chosen", Chosen.as_asgi()),
    path("refuse", Refuse.as_asgi()), path("deny", Deny.as_asgi()), path("fail", Fail.as_asgi()),
    path("echo", Echo.as_asgi()), path("count", Count.as_asgi()), path("held", Held.as_asgi()),
])))

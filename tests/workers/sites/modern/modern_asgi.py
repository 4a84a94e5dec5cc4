"""Plain consumers, which need nothing of ours, and the same site behind over_channels."""
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modern_settings")

from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

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


plain = ProtocolTypeRouter({"channel": ChannelNameRouter({
    name: Plain.as_asgi() for name in ("http.request", "http.disconnect", "held.answer")})})
count = ProtocolTypeRouter({"channel": ChannelNameRouter({"number.add": Count.as_asgi()})})


def __getattr__(name):
    # over_channels tells the layer that it hosts http.request: a process makes one of them, or none
    from interfaces.worker import Wsgi, over_channels
    if name == "wsgi":
        return over_channels({"http": Wsgi(get_wsgi_application(), threads=4)})
    if name == "asgi":
        return over_channels({"http": get_asgi_application()})
    raise AttributeError(name)

"""What `manage.py runworker http.request` may host. SITE_WORKER chooses one, and only that one is made."""
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from interfaces.worker import Wsgi, over_channels

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


def consumer(application):
    return ProtocolTypeRouter({"channel": ChannelNameRouter({"http.request": application})})


WORKERS = {
    "wsgi": lambda: over_channels({"http": Wsgi(get_wsgi_application())}),
    "asgi": lambda: over_channels({"http": get_asgi_application()}),
    "bare": lambda: consumer(answer),
    "held": lambda: consumer(hold),
    "async_consumer": lambda: consumer(Asynchronous.as_asgi()),
    "sync_consumer": lambda: consumer(Synchronous.as_asgi()),
}


def __getattr__(name):
    # over_channels tells the layer that it hosts http.request: a process makes one of them, or none
    if name not in WORKERS:
        raise AttributeError(name)
    return WORKERS[name]()

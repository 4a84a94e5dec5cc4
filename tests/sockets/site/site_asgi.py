"""Every way of answering HTTP that a project may choose, each under a name of its own."""
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from interfaces.worker import Wsgi, over_channels

HOSTED = {
    "wsgi": lambda: over_channels({"http": Wsgi(get_wsgi_application(), threads=4)}),
    "brief": lambda: over_channels({"http": Wsgi(get_wsgi_application(), threads=4)}, grace=2.0),
    "asgi": lambda: over_channels({"http": get_asgi_application()}),
    "router": lambda: over_channels(ProtocolTypeRouter({"http": get_asgi_application()})),
    "sockets": lambda: over_channels({"http": Wsgi(get_wsgi_application(), threads=4), "websocket": consumers()}),
    "all": lambda: over_channels({"http": Wsgi(get_wsgi_application(), threads=4), "websocket": consumers(), "mqtt": device()}),
    "devices": lambda: over_channels({"http": Wsgi(get_wsgi_application(), threads=4), "mqtt": device()}),
    "two_lanes": lambda: over_channels({"websocket": consumers()}, threads=2),
    "released": lambda: over_channels({"websocket": consumers()}, release=os.environ["SITE_RELEASE"]),
}


def consumers():
    from site_consumers import stack
    return stack


def device():
    from site_devices import Device
    return Device.as_asgi()


def __getattr__(name):
    # over_channels tells the layer that it hosts http.request: a process makes one of them, or none
    if name not in HOSTED:
        raise AttributeError(name)
    return HOSTED[name]()


class Plain(AsyncConsumer):
    """Without any helper: it answers at once, or leaves the request to the group `held`."""

    async def http_request(self, message):
        if message["path"] == "/held":
            await self.channel_layer.group_add("held", message["reply_channel"])
            return
        await get_channel_layer().send(message["reply_channel"], {
            "status": 200, "headers": [[b"content-type", b"text/plain"]], "content": message["path"].encode()})


class PlainSync(SyncConsumer):
    def http_request(self, message):
        from asgiref.sync import async_to_sync
        async_to_sync(get_channel_layer().send)(message["reply_channel"], {"status": 200, "content": b"sync"})


plain = ProtocolTypeRouter({"channel": ChannelNameRouter({"http.request": Plain.as_asgi()})})
plain_sync = ProtocolTypeRouter({"channel": ChannelNameRouter({"http.request": PlainSync.as_asgi()})})

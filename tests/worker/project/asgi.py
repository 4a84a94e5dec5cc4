import asyncio
import os
import time

from channels.consumer import AsyncConsumer
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ChannelNameRouter
from django.core.wsgi import get_wsgi_application

from interfaces.worker import Wsgi, over_channels


class Slow(WebsocketConsumer):
    """Takes as many seconds for a message as it says."""
    groups = ["room"]

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=f"begins {text_data}")
        time.sleep(float(text_data))
        self.send(text_data=f"ends {text_data}")


class Plain(AsyncConsumer):
    async def http_request(self, message):
        await asyncio.sleep(message.get("seconds", 0))
        await self.channel_layer.send(message["reply_channel"], {"status": 200, "headers": [], "content": b"plain"})


get_wsgi_application()
if os.environ.get("KIND") == "plain":
    application = ChannelNameRouter({"http.request": Plain.as_asgi()})
else:
    application = over_channels({"http": Wsgi(get_wsgi_application(), threads=3), "websocket": Slow.as_asgi()},
                                grace=float(os.environ.get("GRACE", "8")))

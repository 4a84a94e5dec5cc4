import asyncio
import os

from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter
from django.core.wsgi import get_wsgi_application

from interfaces.worker import Wsgi, over_channels


class Plain(AsyncConsumer):
    async def http_request(self, message):
        await asyncio.sleep(message.get("seconds", 0))
        await self.channel_layer.send(message["reply_channel"], {"status": 200, "headers": [], "content": b"plain"})


get_wsgi_application()
if os.environ.get("KIND") == "plain":
    application = ChannelNameRouter({"http.request": Plain.as_asgi()})
else:
    application = over_channels({"http": Wsgi(get_wsgi_application(), threads=3)},
                                grace=float(os.environ.get("GRACE", "8")))

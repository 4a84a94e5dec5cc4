"""A stock Channels worker that hosts an application over Redis, and a server's side of it: a layer of its own."""
import asyncio
import contextlib
import time

from channels.layers import channel_layers
from channels.worker import Worker as StockWorker

from interfaces.worker.application import over_channels
from interfaces.worker.layers import RedisChannelLayer
from tests.worker.hub import http_request


class Server:
    """`asks` like an interface server; `hears` what comes to one reply channel."""

    def __init__(self, url: str, **config):
        self.layer = RedisChannelLayer(hosts=[url], **config)

    async def asks(self, path: str = "/", **keys) -> dict:
        message = http_request(path, **{"reply_channel": await self.layer.new_channel(), "deadline": time.time() + 30} | keys)
        await self.layer.send("http.request", message)
        return message

    async def hears(self, message: dict, patience: float = 10.0) -> dict:
        async with asyncio.timeout(patience):
            return await self.layer.receive(message["reply_channel"])


@contextlib.asynccontextmanager
async def hosted(url: str, application, *, layer=None, wrap=over_channels, channels=("http.request",), **options):
    """Gives a Server. `layer` is the worker's, by default ours."""
    worker_layer = layer or RedisChannelLayer(hosts=[url])
    before = channel_layers.set("default", worker_layer)
    server = Server(url)
    server.worker_layer = worker_layer
    running = asyncio.ensure_future(StockWorker(wrap(application, **options), list(channels), worker_layer).arun())
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.wait([running])
        await server.layer.close()
        await (worker_layer.close() if layer is None else worker_layer.close_pools())
        channel_layers.set("default", before)

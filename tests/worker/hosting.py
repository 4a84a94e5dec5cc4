"""A stock Channels worker that hosts an application over a layer, and the hub it talks to. Shared by the tests here."""
import asyncio
import contextlib

from channels.layers import channel_layers
from channels.worker import Worker as StockWorker

from interfaces.layers import wire_local as wire
from interfaces.worker.application import over_channels
from interfaces.worker.layers import LocalChannelLayer
from tests.worker.hub import Hub


@contextlib.asynccontextmanager
async def hosted(path, application, channels=("http.request",), wrap=over_channels, **options):
    """Gives the hub's view of the worker. The first credit is still to be said."""
    layer = LocalChannelLayer(path=path)
    before = channel_layers.set("default", layer)
    async with Hub(path) as hub:
        stock = StockWorker(wrap(application, **options), list(channels), layer)
        running = asyncio.ensure_future(stock.arun())
        worker = await hub.worker()
        worker.layer, worker.stock, worker.hub = layer, stock, hub
        try:
            yield worker
        finally:
            running.cancel()
            await asyncio.wait([running])
            await layer.close()
            channel_layers.set("default", before)


async def started(worker, *requests):
    """Hand out `requests` at once; the worker says that they are started. Gives the owner it named."""
    worker.gets("http.request", *requests)
    count, owner = 0, None
    while count < len(requests):
        kind, name, payload = await worker.says()
        if kind == wire.STARTED:
            count += wire.CREDIT.unpack_from(payload)[0]
            owner = payload[4:].decode()
        else:
            assert kind != 0
    return owner


async def granted(worker, count):
    """The worker says credit for `count` more, in one frame or several, and nothing else meanwhile."""
    while count:
        kind, name, more = await worker.says_credit()
        assert (kind, name) == (wire.LISTEN, "http.request") and more <= count
        count -= more


def quiet_wsgi(body=b"ok"):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]
    return application

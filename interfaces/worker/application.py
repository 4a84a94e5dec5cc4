"""`over_channels`: the ASGI application that a stock `manage.py runworker http.request` hosts."""
import logging

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from interfaces.worker.adoption import Adoption
from interfaces.worker.asgi import AsgiRequests

from interfaces.worker.homed import HomedLayer
from interfaces.worker.leaving import GRACE
from interfaces.worker.stock_layer import StockHost, is_stock
from interfaces.worker.wsgi import Wsgi, WsgiRequests

logger = logging.getLogger("interfaces.worker")
CONCURRENCY = 100            # requests of an ASGI application at once, a guess: one that awaits is cheap


def over_channels(application, *, layer: str = "default", concurrency: int = CONCURRENCY, grace: float = GRACE):
    """`application` is a dict by protocol, {"http": Wsgi(...) or an ASGI 3 application}, or one ASGI 3 application.

    At most `concurrency` requests of an ASGI application run at once (of a Wsgi: its threads). On SIGTERM the worker
    finishes what runs within `grace` seconds. A scope of another type than "channel" (Daphne or Uvicorn host it
    directly, in development) goes straight to the application."""
    return OverChannels(application, get_channel_layer(layer), concurrency, grace)


class OverChannels:
    """Messages of a channel layer in, requests of an application out. `requests`: those that run, by reply channel."""

    def __init__(self, application, layer, concurrency: int, grace: float):
        if isinstance(application, dict) and not application:
            raise ImproperlyConfigured("over_channels needs an application")
        self.application, self.layer, self.hosting = application, layer, None
        self.requests: dict[str, object] = {}
        self.late = 0                                    # messages dropped because the client had been answered already
        http = application.get("http") if isinstance(application, dict) else application
        kind = WsgiRequests if isinstance(http, Wsgi) else AsgiRequests
        self.http = http and kind(self, http)
        self.slots = http.threads if isinstance(http, Wsgi) else concurrency
        if is_stock(layer):
            self.layer = layer = StockHost(layer)
        elif not isinstance(layer, HomedLayer):
            raise ImproperlyConfigured("over_channels needs a channel layer of interfaces.worker.layers, or channels_redis")
        self.adoption = Adoption(layer)
        if http is not None:
            layer.grace = grace
            layer.inbox.host("http.request", self.slots)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "channel":
            return await self.serve(scope["channel"], receive)
        application = self.application
        if isinstance(application, dict):
            application = application.get(scope["type"])
            if application is None:
                raise ValueError(f"No application configured for scope type {scope['type']!r}")
        return await application(scope, receive, send)

    async def serve(self, channel: str, receive) -> None:
        """The stock runworker's instance for one channel. Never ends: a new one is made only at the next message."""
        take = self.hear
        if channel == "http.request" and self.http is not None:
            take, inbox = self.begin, self.layer.inbox
            self.hosting = inbox.hostings[channel]
            inbox.owned = self.hear
            if self.server_lost not in inbox.on_lost:
                inbox.on_lost.append(self.server_lost)
            self.hosting.activate(self.begin)
        while True:
            message = await receive()
            await self.layer.inbox.free(channel)
            try:
                take(message)
            except Exception:
                logger.exception("a message on %s could not be read", channel)

    def begin(self, message: dict) -> None:
        """Start the request that `message` (http.request, messages.md 2) tells of."""
        deadline = message.get("deadline")
        if deadline is not None and self.layer.now() > deadline:
            # Its client has got 504 long ago: a POST that runs now would run in secret (messages.md 1, `deadline`).
            self.late += 1
            return self.hosting.finish()
        try:
            request = self.http.request(message)
            self.requests[request.reply_channel] = request
            if self.adoption.needed:
                self.adoption.begin(request)
            self.http.begin(request)
        except Exception:
            logger.exception("a request could not be started")
            self.end(message.get("reply_channel"))

    def end(self, reply_channel: str) -> None:
        """A request is over. From any thread."""
        request = self.requests.pop(reply_channel, None)
        if request is not None and request.body is not None:
            request.body.close()
        self.hosting.finish()

    def confirm(self, request, handled: int) -> None:
        """The application asks for more than the `handled` parts of the body that it has had. From any thread."""
        if request.body is not None:
            request.body.wake()
        else:
            self.layer.reply(request.reply_channel, {"type": "interface.credit", "handled": handled})

    def hear(self, message: dict) -> None:
        """A further message for a request that runs: a part of its body, credit, the client's going."""
        request = self.requests.get(message.get("reply_channel"))
        if request is not None:
            request.hear(message)

    def server_lost(self) -> None:
        for request in tuple(self.requests.values()):
            request.gone()

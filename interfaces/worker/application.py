"""`over_channels`: the ASGI application that a stock `manage.py runworker http.request websocket.connect` hosts."""
import logging
from dataclasses import dataclass

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from interfaces.worker import mqtt_session, websocket
from interfaces.worker.adoption import Adoption
from interfaces.worker.asgi import AsgiRequests
from interfaces.worker.early import Early
from interfaces.worker.homed import HomedLayer
from interfaces.worker.lanes import THREADS
from interfaces.worker.leaving import GRACE
from interfaces.worker.sessions import Sessions
from interfaces.worker.stock_layer import StockHost, is_stock
from interfaces.worker.wsgi import Wsgi, WsgiRequests

logger = logging.getLogger("interfaces.worker")
CONCURRENCY = 100            # requests of an ASGI application at once, a guess: one that awaits is cheap
CONNECTIONS = 10_000         # long-lived connections of a worker, a guess: 160 MB of stock consumers
LASTING = {                  # the shared channels of connections that last, by protocol; what each makes of its messages
    "websocket.connect": (websocket.WebSocket, websocket.scope_of),
    "mqtt.connect": (mqtt_session.Mqtt, mqtt_session.scope_of),
}
NO_SESSIONS = ("over_channels hosts no WebSocket on channels_redis, and no MQTT: its buffers drop messages, and a connection "
               "could not be given from one worker to the next. Use interfaces.worker.layers.RedisChannelLayer")


@dataclass(frozen=True)
class Settings:
    """The arguments of `over_channels`."""
    concurrency: int = CONCURRENCY
    grace: float = GRACE
    threads: int = THREADS
    connections: int = CONNECTIONS
    release: str | None = None

    def __post_init__(self):
        for name in ("concurrency", "threads", "connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"over_channels needs {name} of at least 1")


def over_channels(application, *, layer: str = "default", **settings):
    """`application` is a dict by protocol, {"http": Wsgi(...) or an ASGI 3 application, "websocket": an ASGI 3 application,
    "mqtt": an ASGI 3 application}, or one ASGI 3 application for all.

    `settings`: at most `concurrency` (100) requests of an ASGI application, and as many handshakes, run at once (of a Wsgi:
    its threads); at most `connections` (10,000) are open. Synchronous consumers run in `threads` (16) lanes: a connection stays
    in one. On SIGTERM the worker finishes what runs, and gives its connections to other workers, within `grace` (8) seconds.
    `release` names the code that runs, for a server that prefers the newest. A scope of another type than "channel" (Daphne
    or Uvicorn host it directly, in development) goes straight to the application."""
    return OverChannels(application, get_channel_layer(layer), Settings(**settings))


class OverChannels:
    """Messages of a channel layer in, requests and connections of an application out. `requests`: those that run, by reply
    channel. `sessions`: the connections, by shared channel."""

    def __init__(self, application, layer, settings: Settings):
        if isinstance(application, dict) and not application:
            raise ImproperlyConfigured("over_channels needs an application")
        self.application, self.layer, self.settings, self.hosting = application, layer, settings, None
        self.requests: dict[str, object] = {}
        self.early = Early()
        self.late = 0                                    # messages dropped because the client had been answered already
        of = application.get if isinstance(application, dict) else lambda protocol: application
        http, lasting = of("http"), {channel: found for channel in LASTING if (found := of(channel.split(".")[0])) is not None}
        if is_stock(layer):
            if isinstance(application, dict) and lasting:
                raise ImproperlyConfigured(NO_SESSIONS)
            self.layer, lasting = StockHost(layer), {}
        elif not isinstance(layer, HomedLayer):
            raise ImproperlyConfigured("over_channels needs a channel layer of interfaces.worker.layers, or channels_redis")
        self.http = http and (WsgiRequests if isinstance(http, Wsgi) else AsgiRequests)(self, http)
        self.adoption = Adoption(self.layer)
        self.layer.inbox.owned = self.hear
        self.layer.grace, self.layer.release = settings.grace, settings.release
        self.sessions: dict[str, Sessions] = {}
        if http is not None:
            self.layer.inbox.host("http.request", http.threads if isinstance(http, Wsgi) else settings.concurrency)
        for channel, found in lasting.items():
            if not isinstance(found, Wsgi):
                self.sessions[channel] = Sessions(self, found, *LASTING[channel])
                self.layer.inbox.host(channel, min(settings.concurrency, settings.connections))

    async def __call__(self, scope, receive, send):
        if scope["type"] == "channel":
            return await self.serve(scope["channel"], receive)
        application = self.application
        if isinstance(application, dict):
            application = application.get(scope["type"])
            if application is None:
                raise ValueError(f"No application configured for scope type {scope['type']!r}")
        return await application(scope, receive, send)

    @property
    def channels(self) -> tuple[str, ...]:
        """The shared channels that a worker of this application is started with."""
        return tuple(self.layer.inbox.hostings)

    async def serve(self, channel: str, receive) -> None:
        """The stock runworker's instance for one channel. Never ends: a new one is made only at the next message."""
        take = self.activate(channel)
        try:
            while True:
                message = await receive()
                await self.layer.inbox.free(channel)
                try:
                    take(message)
                except Exception:
                    logger.exception("a message on %s could not be read", channel)
        finally:
            if channel in self.sessions:
                self.sessions[channel].close()

    def activate(self, channel: str):
        """What is called with the messages of `channel`."""
        inbox = self.layer.inbox
        hosting = inbox.hostings.get(channel)
        if hosting is None:
            logger.error("a worker was started with %s, for which over_channels has no application%s", channel,
                         f". {NO_SESSIONS}" if channel in LASTING and inbox is self.layer else "")
            return self.hear
        if self.server_lost not in inbox.on_lost:
            inbox.on_lost.append(self.server_lost)
        if channel == "http.request":
            self.hosting = hosting
            hosting.activate(self.begin)
            return self.begin
        sessions = self.sessions[channel]
        sessions.activate(hosting)
        return sessions.begin

    def begin(self, message: dict) -> None:
        """Start the request that `message` (http.request, messages.md 2) tells of."""
        deadline = message.get("deadline")
        if deadline is not None and self.layer.now() > deadline:
            # Its client has got 504 long ago: a POST that runs now would run in secret (messages.md 1, `deadline`).
            self.late += 1
            self.early.taken(message.get("reply_channel"))
            return self.hosting.finish()
        try:
            request = self.http.request(message)
            self.requests[request.reply_channel] = request
            if self.adoption.needed:
                self.adoption.begin(request)
            self.http.begin(request)
            for early in self.early.taken(request.reply_channel):
                request.hear(early)
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
        """A further message for a request or a connection that runs. One that is wrong must not cost those behind it."""
        try:
            request = self.requests.get(message.get("reply_channel"))
            if request is not None:
                request.hear(message)
            elif self.hosting is None and str(message.get("type")).startswith("http."):
                self.early.keep(message)
            else:
                for sessions in self.sessions.values():          # one of them knows it
                    sessions.hear(message)
        except Exception:
            logger.exception("a message of the interface server could not be read")

    def server_lost(self) -> None:
        for request in tuple(self.requests.values()):
            request.gone()
        for sessions in self.sessions.values():
            sessions.server_lost()

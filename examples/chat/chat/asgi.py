import os

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from django.urls import path

from interfaces.worker import Wsgi, over_channels

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
pages = StaticFilesHandler(get_wsgi_application())

from room.consumers import Room  # noqa: E402  (they import models: not before the settings are read)
from room.devices import DeviceConsumer  # noqa: E402

sockets = URLRouter([path("room", Room.as_asgi())])
application = over_channels({
    "http": Wsgi(pages),
    "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(sockets)),     # no other site's page talks in our name
    "mqtt": DeviceConsumer.as_asgi(),
})

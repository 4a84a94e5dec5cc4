import os

from channels.routing import URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path, re_path
from room.held import poll, stream

from interfaces.worker import over_channels

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
pages = ASGIStaticFilesHandler(get_asgi_application())
by_path = URLRouter([path("poll", poll), path("stream", stream), re_path("", pages)])
# A held request is one that runs: hence many at once, and little patience with them when the worker is told to leave.
application = over_channels({"http": by_path}, concurrency=1000, grace=2.0)

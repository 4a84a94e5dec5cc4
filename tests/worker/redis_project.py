"""A worker in a process of its own, for `python -m tests.worker.redis_project KIND URL`: a stock runworker on Redis.

KIND wsgi hosts the tests' site. KIND count answers each message on `jobs` by its number on `done`."""
import asyncio
import os
import sys

from channels.layers import channel_layers
from channels.routing import ChannelNameRouter
from channels.worker import Worker
from django.conf import settings

from interfaces.worker.layers import RedisChannelLayer

settings.configure(SECRET_KEY="tests", ROOT_URLCONF="tests.worker.site", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["channels"],
                   DATABASES={}, LOGGING_CONFIG=None)


def counting(layer):
    async def count(scope, receive, send):
        while True:
            message = await receive()
            await asyncio.sleep(message.get("seconds", 0))
            await layer.send(message["reply_channel"], {"n": message["n"], "pid": os.getpid()})
    return ChannelNameRouter({"jobs": count})


def hosting(layer):
    import django
    django.setup()
    from django.core.wsgi import get_wsgi_application

    from interfaces.worker import Wsgi, over_channels
    return over_channels({"http": Wsgi(get_wsgi_application(), threads=3)}, grace=8.0)


if __name__ == "__main__":
    layer = RedisChannelLayer(hosts=[sys.argv[2]])
    channel_layers.set("default", layer)
    kinds = {"wsgi": (hosting, "http.request"), "count": (counting, "jobs")}
    application, channel = kinds[sys.argv[1]]
    try:
        Worker(application(layer), [channel], layer).run()
    except KeyboardInterrupt:                            # as the stock management command ends on SIGTERM
        pass

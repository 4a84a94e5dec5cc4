"""The same site as a project of 2017: Django 2.2, Channels 1.1, asgi_redis. There is nothing of ours in it."""
import os

from settings import ALLOWED_HOSTS, DATABASES, DEBUG, LOGGING_CONFIG, MIDDLEWARE, ROOT_URLCONF, SECRET_KEY  # noqa: F401

INSTALLED_APPS = ["channels"]
CHANNEL_LAYERS = {"default": {
    "BACKEND": "asgi_redis.RedisChannelLayer",
    "ROUTING": "routing_classic.channel_routing",
    "CONFIG": {"hosts": [os.environ["SITE_REDIS"]], "capacity": int(os.environ["SITE_CAPACITY"])},
}}

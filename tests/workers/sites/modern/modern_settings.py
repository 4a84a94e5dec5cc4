"""A project of today on Redis: Django 5.2 and Channels 4.3, with channels_redis or with our layer."""
import json
import os

SECRET_KEY = "for tests on loopback only"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "modern_urls"
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = None
ASGI_APPLICATION = "modern_asgi." + os.environ.get("SITE_APP", "plain")
CHANNEL_LAYERS = {"default": {"BACKEND": os.environ["SITE_BACKEND"], "CONFIG": {
    "hosts": json.loads(os.environ["SITE_HOSTS"]) if "SITE_HOSTS" in os.environ else os.environ["SITE_REDIS"].split(","),
    "symmetric_encryption_keys": [key for key in os.environ.get("SITE_KEYS", "").split(",") if key] or None}}}
LOGGING = {"version": 1, "disable_existing_loggers": False,
           "handlers": {"console": {"class": "logging.StreamHandler"}},
           "root": {"handlers": ["console"], "level": "INFO"}}

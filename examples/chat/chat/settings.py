"""A stock Django project. The one line that is about channels-interfaces is the backend in CHANNEL_LAYERS."""
import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("CHAT_SECRET_KEY") or get_random_secret_key()
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "chat.urls"
ASGI_APPLICATION = "chat.asgi.application"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.staticfiles",
                  "channels", "room"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("CHAT_DATABASE") or BASE_DIR / "chat.sqlite3",
    # WAL: who reads never waits for who writes. IMMEDIATE: two writers wait for each other instead of failing.
    "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
}}
# With a Redis URL in CHAT_REDIS server and workers may be on different machines; without one they meet at a Unix socket.
REDIS = os.environ.get("CHAT_REDIS")
CHANNEL_LAYERS = {"default": {
    "BACKEND": "interfaces.worker.layers.RedisChannelLayer", "CONFIG": {"hosts": [REDIS]},
} if REDIS else {"BACKEND": "interfaces.worker.layers.LocalChannelLayer"}}
DEVICE_TOKEN = os.environ.get("CHAT_DEVICE_TOKEN", "")          # the password of all devices; see room/devices.py
LOGGING = {         # Django's own says nothing but errors
    "version": 1, "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True

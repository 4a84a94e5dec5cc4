"""A project of 2017: Django 2.2, Channels 1.1, asgi_redis. There is nothing of ours in it."""
import os
import tempfile

SECRET_KEY = "for tests on loopback only"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
                  "channels"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
              "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
CHANNEL_SESSION_ENGINE = "django.contrib.sessions.backends.file"        # Channels allows no cookies here
SESSION_FILE_PATH = os.environ.get("SITE_SESSIONS")
ROOT_URLCONF = "classic_urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SITE_DB", ":memory:")}}
FILE_UPLOAD_TEMP_DIR = tempfile.gettempdir()
DATA_UPLOAD_MAX_MEMORY_SIZE = None
CHANNEL_LAYERS = {"default": {
    "BACKEND": "asgi_redis.RedisChannelLayer",
    "ROUTING": "classic_routing.channel_routing",
    "CONFIG": {"hosts": os.environ["SITE_REDIS"].split(","),
               "symmetric_encryption_keys": [key for key in os.environ.get("SITE_KEYS", "").split(",") if key]},
}}

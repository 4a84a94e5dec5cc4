"""Stock Django, nothing left out: what a project of 2026 has switched on."""
import os
import tempfile

SECRET_KEY = "for tests on loopback only"
DEBUG = os.environ.get("SITE_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("SITE_ALLOWED_HOSTS", "*").split(",")
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
                  "django.contrib.staticfiles", "channels"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
              "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]
ROOT_URLCONF = "site_urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"context_processors": [
    "django.template.context_processors.request", "django.contrib.messages.context_processors.messages"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",
                         "NAME": os.environ.get("SITE_DB", os.path.join(tempfile.gettempdir(), "site.sqlite3"))}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = None
ASGI_APPLICATION = f"site_asgi.{os.environ.get('SITE_APP', 'wsgi')}"
CHANNEL_LAYERS = {"default": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer"}}
if os.environ.get("SITE_LAYER") == "redis":
    CHANNEL_LAYERS["default"] = {"BACKEND": "interfaces.worker.layers.RedisChannelLayer",
                                 "CONFIG": {"hosts": [os.environ["SITE_REDIS"]]}}
LOGGING = {"version": 1, "disable_existing_loggers": False,
           "handlers": {"console": {"class": "logging.StreamHandler"}},
           "root": {"handlers": ["console"], "level": "INFO"}}

"""A site without middleware and database: what is measured is the way to the view and back."""
import os

SITE_WORKER = os.environ.get("SITE_WORKER", "")      # an attribute of workers.py; empty under the peers
SECRET_KEY = "for measurements on loopback only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["channels"] if SITE_WORKER else []
MIDDLEWARE = []
ROOT_URLCONF = "urls"
DATABASES = {}
if "SITE_DATABASE" in os.environ:       # where Django's own users are measured
    INSTALLED_APPS += ["django.contrib.contenttypes", "django.contrib.auth"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["SITE_DATABASE"]}}
LOGGING_CONFIG = None
ASGI_APPLICATION = f"workers.{SITE_WORKER}" if SITE_WORKER else "asgi.application"
LAYER = {"BACKEND": os.environ.get("SITE_LAYER", "interfaces.worker.layers.LocalChannelLayer")}
if "SITE_LAYER" in os.environ:
    LAYER["CONFIG"] = {"hosts": [os.environ["SITE_REDIS"]], "capacity": int(os.environ["SITE_CAPACITY"])}
CHANNEL_LAYERS = {"default": LAYER} if SITE_WORKER else {}

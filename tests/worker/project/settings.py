"""A Django project as a user has it, for stock runworkers in processes of their own. HUB is where they find the hub."""
import os

SECRET_KEY = "tests"
ROOT_URLCONF = "tests.worker.site"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
ASGI_APPLICATION = "tests.worker.project.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer",
                              "CONFIG": {"path": os.environ.get("HUB")}}}

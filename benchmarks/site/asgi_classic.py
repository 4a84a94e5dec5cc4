"""For Daphne 1.4."""
import os

from channels.asgi import get_channel_layer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings_classic")
channel_layer = get_channel_layer()

"""For Daphne 1.4, against which the tests themselves are tested."""
import os

from channels.asgi import get_channel_layer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "classic_settings")
channel_layer = get_channel_layer()

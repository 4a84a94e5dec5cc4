"""CHANNEL_LAYERS for `--layer django:site_layers#...`; the server imports this and not the whole of the settings."""
import os

from interfaces.worker.layers import LocalChannelLayer


class Foreign(LocalChannelLayer):
    """A layer that the server does not know: it meets the workers at the hub of another server."""


CHANNEL_LAYERS = {
    "default": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer", "CONFIG": {"path": os.environ.get("SITE_HUB")}},
    "redis": {"BACKEND": "interfaces.worker.layers.RedisChannelLayer", "CONFIG": {"hosts": [os.environ.get("SITE_REDIS", "redis://")]}},
    "foreign": {"BACKEND": "site_layers.Foreign", "CONFIG": {"path": os.environ.get("SITE_HUB")}},
}

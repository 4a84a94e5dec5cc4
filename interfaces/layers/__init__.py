"""Channel layers. A layer is chosen by a URL; nothing here imports a reactor."""
from interfaces.layers.configured import Configured
from interfaces.layers.redis_settings import RedisSettings

KNOWN = ("local: (a hub for the workers of this machine), local:/path/of/a.sock, memory: (this process only), "
         "redis://host:port/db, rediss://, redis+unix:///path/of/a.sock, redis+sentinel://host:port/db?master=name, or "
         "django:mysite.settings")


def open_layer(url: str | Configured, reactor, **settings):
    """The layer that a URL or CHANNEL_LAYERS names, not listening yet. Settings: `mode`, `group` of the hub's socket,
    `prefer_release`, and shared.Limits. Raises ValueError."""
    from interfaces.layers import wire_local
    from interfaces.layers.local import LocalLayer
    if isinstance(url, Configured):
        if url.native is None:
            from interfaces.layers.foreign import ForeignLayer, load        # needs the asyncio reactor
            return ForeignLayer(load(url), max_message=settings["max_message"])
        url = url.native
    if isinstance(url, RedisSettings):
        return open_redis(reactor, url, settings)
    scheme, mark, path = url.partition(":")
    if scheme == "memory" and mark and not path:
        for name in ("mode", "group"):
            settings.pop(name, None)
        return LocalLayer(reactor, None, **settings)
    if scheme == "local" and mark and (not path or path.startswith("/")):
        return LocalLayer(reactor, path or wire_local.default_path(), **settings)
    if scheme.startswith(("redis", "valkey")):
        from interfaces.layers.redis_url import parse
        return open_redis(reactor, parse(url), settings)
    raise ValueError(f"there is no layer {url!r}; layers are {KNOWN}")


def open_redis(reactor, where: RedisSettings, settings: dict):
    from interfaces.layers.redis import RedisLayer
    hub = {"mode", "group", "prefer_release"}
    return RedisLayer(reactor, where, **{name: settings[name] for name in settings.keys() - hub})

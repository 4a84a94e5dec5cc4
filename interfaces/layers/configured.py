"""What a Django project's CHANNEL_LAYERS says: `--layer django:mysite.settings#alias`.

The settings module is imported and nothing else of Django is: a server beside a project of Channels 1 need not have
Django, and django.conf would change this process's time zone.
"""
import importlib
import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from interfaces.layers.redis_settings import PORT, TLS, Host, RedisSettings

OURS = "interfaces.worker.layers"
LOCAL = f"{OURS}.LocalChannelLayer"
STOCK = "channels_redis.core.RedisChannelLayer"
REDIS = {                       # BACKEND -> format
    f"{OURS}.RedisChannelLayer": "channels_redis", STOCK: "channels_redis",
    "asgi_redis.RedisChannelLayer": "asgi_redis", "asgi_redis.core.RedisChannelLayer": "asgi_redis",
}
SENTINEL = ("asgi_redis.RedisSentinelChannelLayer", "asgi_redis.sentinel.RedisSentinelChannelLayer")
SAME = ("prefix", "expiry", "group_expiry", "capacity", "channel_capacity")
ONLY = {"channels_redis": {"random_prefix_length": "random_prefix_length", "serializer_format": "serializer"},
        "asgi_redis": {"stats_prefix": "stats_prefix"}}
ELSEWHERE = {"hosts", "services", "symmetric_encryption_keys",
             "connection_kwargs", "service_refresh_interval"}       # the last two are of asgi_redis's own connections
OF_HOST = {"host", "port", "path", "db", "username", "password", "ssl", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}


class Given(NamedTuple):
    """A secret that the settings hold themselves; redis_settings.Source says where the others are."""
    secret: str

    def read(self, environ=None) -> str:
        return self.secret

    def __repr__(self):
        return "Given(...)"


@dataclass(frozen=True)
class Configured:
    """One alias of CHANNEL_LAYERS. `native` is a layer URL (local:...) or RedisSettings; None: the backend itself is run
    (foreign.py)."""
    where: str                                          # "mysite.settings#default"
    backend: str
    config: dict = field(repr=False)
    native: str | RedisSettings | None = field(default=None, repr=False)


def read(text: str) -> Configured:
    """`mysite.settings#alias`; without a module DJANGO_SETTINGS_MODULE names it. Runs the settings module. Raises
    ValueError: a sentence."""
    module, _, alias = text.partition("#")
    module, alias = module or os.environ.get("DJANGO_SETTINGS_MODULE", ""), alias or "default"
    if not module:
        raise ValueError("django: needs a settings module: --layer django:mysite.settings, or DJANGO_SETTINGS_MODULE")
    os.environ["DJANGO_SETTINGS_MODULE"] = module       # for a backend that asks django.conf
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())                 # as manage.py has it; twistd is a script elsewhere
    try:
        layers = getattr(importlib.import_module(module), "CHANNEL_LAYERS", None)
    except Exception as error:      # the project's own code: whatever it raises
        raise ValueError(f"the settings {module} can't be imported: {type(error).__name__}: {error}") from error
    if not isinstance(layers, dict) or alias not in layers:
        known = ", ".join(map(str, layers)) if isinstance(layers, dict) else ""
        raise ValueError(f"CHANNEL_LAYERS in {module} has no {alias!r}" + (f"; it has {known}" if known else ""))
    return configured(f"{module}#{alias}", layers[alias])


def configured(where: str, entry: Any) -> Configured:
    """An entry of CHANNEL_LAYERS. Raises ValueError."""
    backend = entry.get("BACKEND") if isinstance(entry, dict) else None
    config = entry.get("CONFIG") or {} if isinstance(entry, dict) else None
    if not isinstance(backend, str) or not isinstance(config, dict):
        raise ValueError(f"CHANNEL_LAYERS, {where}: a BACKEND is a dotted name and a CONFIG is a dict")
    found = Configured(where, backend, config)
    try:
        if backend == LOCAL:
            return replace(found, native=f"local:{config.get('path') or ''}")
        if backend in REDIS or backend in SENTINEL:
            return replace(found, native=redis(config, REDIS.get(backend, "asgi_redis"), backend in SENTINEL))
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"CHANNEL_LAYERS, {where}: {error}") from error
    return found


def redis(config: dict, format: str, sentinel: bool) -> RedisSettings:
    unknown = config.keys() - set(SAME) - ONLY[format].keys() - ELSEWHERE
    if unknown:
        raise ValueError(f"CONFIG has {', '.join(sorted(map(str, unknown)))}, which this server can't do")
    options = {name: config[name] for name in SAME if config.get(name) is not None}
    options |= {ours: config[name] for name, ours in ONLY[format].items() if config.get(name) is not None}
    keys = config.get("symmetric_encryption_keys") or ()
    if isinstance(keys, (str, bytes)):
        raise ValueError("symmetric_encryption_keys is a list, even if there is only one")
    places = sentinels_of_classic(config) if sentinel else places_of(config.get("hosts"))
    settings = RedisSettings(**places, format=format, options=options, keys=tuple(map(Given, keys)))
    settings.wire()             # the format's own complaints come now, in the foreground
    return settings


def places_of(hosts: Any) -> dict[str, Any]:
    """`hosts` as both stock layers take it: URLs, (host, port), and dicts of redis-py's arguments."""
    if isinstance(hosts, (str, bytes)):
        raise ValueError("hosts is a list, even if there is only one")
    found = [entry_of(entry) for entry in hosts or ["redis://localhost:6379"]]
    watched = [entry for entry in found if "sentinels" in entry]
    if not watched:
        return {"hosts": tuple(entry["host"] for entry in found), "tls": same(found, "tls", "hosts with and without TLS")}
    if len(watched) < len(found):
        raise ValueError("hosts has Sentinels and servers")
    return {"sentinels": same(found, "sentinels", "different Sentinels"), "masters": tuple(e["name"] for e in found),
            "master": same(found, "host", "masters with different logins"),
            "tls": same(found, "tls", "hosts with and without TLS")}


def same(entries: list[dict], key: str, otherwise: str) -> Any:
    if any(entry[key] != entries[0][key] for entry in entries):
        raise ValueError(f"hosts has {otherwise}")
    return entries[0][key]


def entry_of(entry: Any) -> dict[str, Any]:
    if isinstance(entry, (tuple, list)):
        return {"host": Host("tcp", str(entry[0]), int(entry[1])), "tls": None}
    if isinstance(entry, str):
        return host_of(address(entry))
    if not isinstance(entry, dict):
        raise ValueError("a host is a URL, a pair (host, port) or a dict")
    entry = dict(entry)
    if "address" in entry:
        return host_of(entry | address(str(entry.pop("address"))))
    if "sentinels" not in entry:
        return host_of(entry)
    login = dict(entry.pop("sentinel_kwargs", None) or {})
    sentinels, name = entry.pop("sentinels"), entry.pop("master_name")
    found = host_of(entry)
    kind = found["host"].kind
    return found | {"name": str(name), "sentinels": tuple(
        Host(kind, str(host), int(port), username=login.get("username"), password=login.get("password"))
        for host, port in sentinels)}


def address(url: str) -> dict[str, Any]:
    """redis-py's arguments in a URL, as its `from_url` reads them."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "valkey", "valkeys", "unix"):
        raise ValueError("a host's URL begins with redis://, rediss:// or unix://")
    found: dict[str, Any] = {key: value for key, value in parse_qsl(parts.query) if key in OF_HOST | {"ssl_cert_reqs"}}
    if parts.scheme == "unix":
        found["path"] = unquote(parts.path)
    else:
        found |= {"host": parts.hostname or "localhost", "port": parts.port or PORT,
                  "ssl": parts.scheme in ("rediss", "valkeys")}
        if parts.path.strip("/"):
            found.setdefault("db", unquote(parts.path.strip("/")))
    for key, value in (("username", parts.username), ("password", parts.password)):
        if value:
            found[key] = unquote(value)
    return found


def host_of(found: dict) -> dict[str, Any]:
    if str(found.get("ssl_cert_reqs") or "required").lower() in ("none", "optional", "cert_none"):
        raise ValueError("ssl_cert_reqs: this server always checks the certificate; name its authority in ssl_ca_certs")
    login = {"db": int(found.get("db") or 0), "username": found.get("username"), "password": found.get("password")}
    path = found.get("path") or found.get("unix_socket_path")
    if path:
        return {"host": Host("unix", port=0, path=str(path), **login), "tls": None}
    tls = TLS(found.get("ssl_ca_certs"), found.get("ssl_certfile"), found.get("ssl_keyfile")) if found.get("ssl") else None
    return {"tls": tls, "host": Host("tls" if tls else "tcp", str(found.get("host") or "localhost"),
                                     int(found.get("port") or PORT), **login)}


def sentinels_of_classic(config: dict) -> dict[str, Any]:
    """asgi_redis's: `hosts` are the Sentinels, `services` the masters."""
    services = config.get("services")
    if not services:
        raise ValueError("services names the masters; without it nobody knows their order, which is part of the format")
    sentinels = tuple(Host("tcp", str(host), int(port)) for host, port in config.get("hosts") or [("localhost", 26379)])
    return {"sentinels": sentinels, "masters": tuple(map(str, services)), "master": Host("tcp")}

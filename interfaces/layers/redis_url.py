"""What `--layer redis://...` says. Pure.

    redis://[user:password@]host[:port][,host[:port]...][/db][?option=value&...]      rediss:// is the same over TLS
    redis+unix:///path/of/a.sock[?db=0&...]
    redis+sentinel://[user:password@]sentinel[:port][,...][/db]?master=name[&...]     rediss+sentinel:// over TLS

`valkey` says the same as `redis`. Several hosts, or several masters of Sentinels, share the channels; their order matters
to all who write and read. The credentials stand once, before the first host, and are Redis's; what is special in a
password is percent-encoded. `password_env`, `password_file`, `key_env` and `key_file` keep secrets off the command line,
which everybody on the machine can read.
"""
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import unquote

from hyperlink import DecodedURL, URLParseError

from interfaces.layers.redis_settings import FORMATS, PORT, TLS, Host, RedisSettings, Source
from interfaces.layers.wire_classic import STATS_PREFIX

SENTINEL_PORT = 26379           # sentinel.conf
SCHEME = re.compile(r"(redis|valkey)(s?)(\+unix|\+sentinel)?")
HOST = re.compile(r"[a-zA-Z\d_](?:[a-zA-Z\d\-_.]{0,252})", re.ASCII)        # RFC 1035, and "_", which container names have


def text(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("is empty or unprintable")
    return value


def number(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", value) or not least <= int(value) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(value)
    return parse


def seconds(value: str) -> float | int:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value) or float(value) <= 0:
        raise ValueError("is not a number of seconds above 0")
    return float(value) if "." in value else int(value)


def switch(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError("is neither yes nor no")
    return value == "yes"


def one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return value
    return parse


def pattern(value: str) -> tuple[str, int]:
    glob, colon, most = value.rpartition(":")
    if not (glob and most.isascii() and most.isdigit() and len(most) < 10):
        raise ValueError("is not a pattern, a colon and a number, such as http.request:5000")
    return glob, int(most)


COUNT = number(1, 1_000_000_000)
OPTIONS: dict[str, Callable[[str], Any]] = {
    "format": one_of(*FORMATS), "prefix": text, "expiry": seconds, "group_expiry": seconds, "capacity": COUNT,
    "local_capacity": COUNT, "channel_capacity": pattern, "serializer": one_of("msgpack", "json"),
    "random_prefix_length": number(1, 64), "stats": switch, "db": number(0, 999_999), "master": text,
    "key_env": text, "key_file": text, "password_env": text, "password_file": text,
    "sentinel_password_env": text, "sentinel_password_file": text, "tls_ca": text, "tls_cert": text, "tls_key": text,
}
OFTEN = {"channel_capacity", "key_env", "key_file", "master"}
OF_FORMAT = {"prefix", "expiry", "group_expiry", "capacity", "local_capacity", "serializer", "random_prefix_length"}
SECRETS = {"key", "keys", "password", "pass", "secret", "symmetric_encryption_keys", "sentinel_password"}


def parse(url: str) -> RedisSettings:
    """Raises ValueError: a sentence that names what is wrong and never holds a secret."""
    scheme, mark, rest = url.partition("://")
    known = SCHEME.fullmatch(scheme)
    if not mark or known is None:
        raise ValueError("a Redis layer's URL begins with redis://, rediss://, redis+unix:// or redis+sentinel://")
    authority, tail = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()
    if "@" in tail or "#" in tail:
        raise ValueError("/, ?, # and @ in a password, a path or an option are percent-encoded: %2F, %3F, %23, %40")
    path, _, query = tail.partition("?")
    credentials, at, names = authority.rpartition("@")
    options, order = read_options(query)
    login = log_in(credentials) if at else Host("tcp")
    kind = known[3] or ""
    for option in ("master", "sentinel_password_env", "sentinel_password_file"):
        if option in options and kind != "+sentinel":
            raise ValueError(f"{option} needs redis+sentinel://")
    tls = read_tls(options, bool(known[2]))
    if kind == "+unix":
        places = {"hosts": (unix(path, names, login, options, tls),)}
    else:
        places = network(kind, names, replace(login, kind="tls" if tls else "tcp", db=database(path, options)), options)
    if login.password is not None and ("password_env" in options or "password_file" in options):
        raise ValueError("a password in the URL and password_env are both given")
    return RedisSettings(**places, tls=tls, **secrets(options, order), **of_format(options))


def log_in(credentials: str) -> Host:
    if "@" in credentials:
        raise ValueError("an @ in a password is written %40, and the credentials stand once, before the first host")
    username, _, password = map(unquote, credentials.partition(":"))
    return Host("tcp", username=username or None, password=password or None)


def unix(path: str, names: str, login: Host, options: dict, tls: TLS | None) -> Host:
    if names or len(path) < 2 or tls:
        raise ValueError("a Redis on a Unix socket is redis+unix:///path/of/a.sock, without a host and without TLS")
    return replace(login, kind="unix", port=0, path=unquote(path), db=options.pop("db", 0))


def network(kind: str, names: str, login: Host, options: dict) -> dict[str, Any]:
    """`login`: what all hosts have in common."""
    masters = tuple(options.pop("master", ()))
    if kind != "+sentinel":
        return {"hosts": tuple(replace(login, host=host, port=port) for host, port in places(names, PORT))}
    if not masters:
        raise ValueError("redis+sentinel:// needs ?master=name, the name that the Sentinels give to the master")
    sentinels = tuple(Host(login.kind, host, port) for host, port in places(names, SENTINEL_PORT))
    return {"sentinels": sentinels, "masters": masters, "master": login}


def places(names: str, default: int) -> list[tuple[str, int]]:
    """What isn't a host or a port is not repeated in full: it may be a password whose @ was forgotten."""
    found = []
    for name in (names or "localhost").split(","):
        parts = re.fullmatch(r"(\[[^\[\]]*\]|[^:]*)(?::(.*))?", name, re.DOTALL)
        host, port = parts.groups() if parts else ("", None)
        try:
            host = str(IPv6Address(host[1:-1])) if host.startswith("[") else HOST.fullmatch(host)[0]
        except (ValueError, TypeError):
            raise ValueError(f"host {len(found) + 1} of the URL is no host name or address") from None
        try:
            found.append((host, default if port is None else number(1, 65535)(port)))
        except ValueError as error:
            raise ValueError(f"the port of {host} {error}") from None
    return found


def database(path: str, options: dict) -> int:
    given = unquote(path.strip("/"))
    if given and "db" in options:
        raise ValueError("the database stands behind the host or in db=, not in both")
    if not given:
        return options.pop("db", 0)
    try:
        return OPTIONS["db"](given)
    except ValueError as error:
        raise ValueError(f"the database {given!r} {error}") from None


def read_options(query: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """By name (a list, where one may come often), and as they came."""
    try:
        pairs = [(name, value or "") for name, value in DecodedURL.from_text(f"redis://x/?{query}").query if name or value]
    except (URLParseError, ValueError):
        raise ValueError("the options behind ? can't be read") from None
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name in SECRETS:
            raise ValueError(f"{name} would be seen on the command line: use password_env, password_file, key_env, key_file")
        if name not in OPTIONS:
            raise ValueError(f"there is no option {name!r}; options are {', '.join(OPTIONS)}")
        if name in options and name not in OFTEN:
            raise ValueError(f"{name} is given twice")
        try:
            parsed = OPTIONS[name](value)
        except ValueError as error:
            shown = "" if name.endswith(("_env", "_file")) else f" {value!r}"       # it may be the secret itself
            raise ValueError(f"{name}{shown} {error}") from None
        if name in OFTEN:
            options.setdefault(name, []).append(parsed)
        else:
            options[name] = parsed
    return options, pairs


def read_tls(options: dict, wanted: bool) -> TLS | None:
    given = {name: options.pop(f"tls_{name}") for name in ("ca", "cert", "key") if f"tls_{name}" in options}
    if given and not wanted:
        raise ValueError(f"tls_{next(iter(given))} needs rediss://")
    if "key" in given and "cert" not in given:
        raise ValueError("tls_key needs tls_cert")
    return TLS(**given) if wanted else None


def secrets(options: dict, order: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {"keys": tuple(Source(name[4:], value) for name, value in order
                                           if name in ("key_env", "key_file"))}
    for name in ("password", "sentinel_password"):
        given = [Source(kind, options[f"{name}_{kind}"]) for kind in ("env", "file") if f"{name}_{kind}" in options]
        if len(given) > 1:
            raise ValueError(f"{name}_env and {name}_file are both given")
        found[name] = given[0] if given else None
    return found


def of_format(options: dict) -> dict[str, Any]:
    name = options.get("format", FORMATS[0])
    foreign = {"serializer", "random_prefix_length"} if name == "asgi_redis" else {"stats"}
    for option in foreign & options.keys():
        raise ValueError(f"format={name} has no option {option}")
    chosen = {option: options[option] for option in OF_FORMAT & options.keys()}
    if "channel_capacity" in options:
        patterns = options["channel_capacity"]
        if len(dict(patterns)) < len(patterns):
            raise ValueError("channel_capacity is given twice for one pattern")
        chosen["channel_capacity"] = dict(patterns)
    if options.get("stats"):
        chosen["stats_prefix"] = STATS_PREFIX
    return {"format": name, "options": chosen}

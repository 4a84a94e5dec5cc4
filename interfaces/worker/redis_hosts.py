"""Where the Redis servers of a `RedisChannelLayer` are: `hosts` of its CONFIG, as channels_redis 4.3 reads them."""
import asyncio
import re
import ssl
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hiredis import ReplyError

from interfaces.worker.redis_connection import RedisConnection

CONNECT_TIME = 5.0           # seconds, a guess: a server that is alive answers in a millisecond
PORT, SENTINEL_PORT = 6379, 26379                        # redis.conf, sentinel.conf
# Options of redis-py's pool that mean nothing for two connections that are watched and made anew as needed.
POOL = {"max_connections", "timeout", "socket_timeout", "socket_connect_timeout", "socket_keepalive", "connection_class",
        "socket_keepalive_options", "retry", "retry_on_timeout", "retry_on_error", "health_check_interval", "protocol",
        "client_name", "lib_name", "lib_version", "encoding", "encoding_errors", "decode_responses", "socket_type",
        "socket_read_size", "parser_class", "driver_info", "maint_notifications_config"}
TLS = {"ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs",
       "ssl_check_hostname"}


@dataclass(frozen=True)
class Host:
    """`await host.connect(loop)` gives a connection that is logged in. Raises OSError."""
    host: str = "localhost"
    port: int = PORT
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.path or f'{self.host}:{self.port}'} db {self.db}"

    async def connect(self, loop: asyncio.AbstractEventLoop) -> RedisConnection:
        connection = RedisConnection(loop)
        try:
            # Not wait_for: Python 3.11's swallows a cancellation that meets the end of what it waits for (bpo-37658).
            async with asyncio.timeout(CONNECT_TIME):
                if self.path:
                    await loop.create_unix_connection(lambda: connection, self.path)
                else:
                    await loop.create_connection(lambda: connection, self.host, self.port, ssl=self.tls)
                await self.log_in(connection)
        except TimeoutError:
            connection.end("it does not answer")
            raise ConnectionError(f"no answer within {CONNECT_TIME:g} s") from None
        except BaseException:
            connection.end("not connected")
            raise
        return connection

    async def log_in(self, connection: RedisConnection) -> None:
        commands = []
        if self.password is not None:
            commands.append(("AUTH", *([self.username] if self.username else []), self.password))
        if self.db:
            commands.append(("SELECT", self.db))
        for reply in await asyncio.gather(*[connection.execute(*command) for command in [*commands, ("PING",)]]):
            if isinstance(reply, ReplyError):
                raise ConnectionError(f"it refuses: {reply}")


@dataclass(frozen=True)
class Sentinels:
    """The master of that name, as the first Sentinel that answers knows it."""
    sentinels: tuple[Host, ...]
    master: str
    login: Host

    def __str__(self) -> str:
        return f"master {self.master} of {', '.join(map(str, self.sentinels))}"

    async def connect(self, loop: asyncio.AbstractEventLoop) -> RedisConnection:
        reasons = []
        for sentinel in self.sentinels:
            try:
                connection = await sentinel.connect(loop)
                try:
                    async with asyncio.timeout(CONNECT_TIME):
                        found = await connection.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
                finally:
                    connection.end("asked")
                if not isinstance(found, list):
                    raise ConnectionError(f"it knows no master {self.master}" if found is None else str(found))
                return await self.connect_master(loop, found[0].decode(), int(found[1]))
            except (OSError, TimeoutError) as error:
                reasons.append(f"{sentinel}: {error or 'no answer'}")
        raise ConnectionError("; ".join(reasons))

    async def connect_master(self, loop, host: str, port: int) -> RedisConnection:
        connection = await replace(self.login, host=host, port=port).connect(loop)
        try:
            async with asyncio.timeout(CONNECT_TIME):
                role = await connection.execute("ROLE")
            if isinstance(role, list) and role[0] != b"master":
                raise ConnectionError(f"{host}:{port} is no master any more")    # the Sentinels don't know it yet
        except BaseException:
            connection.end("no master")
            raise
        return connection


def read_hosts(hosts) -> list[Host | Sentinels]:
    """Raises ValueError."""
    if isinstance(hosts, (str, bytes)):
        raise ValueError("hosts is a list, even if there is only one")
    return [read_host(entry) for entry in hosts or [{"address": "redis://localhost:6379"}]]


def read_host(entry) -> Host | Sentinels:
    if isinstance(entry, (tuple, list)):
        return Host(host=entry[0], port=int(entry[1]))
    if not isinstance(entry, dict):
        return read_url(str(entry), {})
    options = dict(entry)
    if "address" in options:
        address = options.pop("address")
        if isinstance(address, (tuple, list)):
            return replace(read_host(address), **login(options))
        return read_url(address, options)
    if "sentinels" in options:
        sentinels, kwargs = options.pop("sentinels"), options.pop("sentinel_kwargs", None) or {}
        master = options.pop("master_name", None)
        if not master or not sentinels:
            raise ValueError("a host with sentinels needs them and master_name")
        return Sentinels(tuple(Host(host=host, port=int(port), **login(kwargs)) for host, port in sentinels), master,
                         Host(**login(options)))
    place = {name: options.pop(name) for name in ("host", "port", "path") if name in options}
    if "unix_socket_path" in options:
        place["path"] = options.pop("unix_socket_path")
    return Host(**place, **login(options))


def read_url(url: str, options: dict[str, Any]) -> Host:
    """As redis-py's from_url: redis://, rediss://, unix://, and valkey's; what the URL says goes before `options`."""
    parts = urlsplit(url)
    known = re.fullmatch(r"(?:redis|valkey)(s?)|((?:redis\+)?unix)", parts.scheme)
    if known is None:
        raise ValueError("the address of a Redis begins with redis://, rediss:// or unix://")
    query = dict(parse_qsl(parts.query))
    options = options | query
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            options[name] = unquote(value)
    if known[2]:
        return Host(path=unquote(parts.path), **login(options))
    if parts.path.strip("/") and "db" not in query:
        options["db"] = parts.path.strip("/")
    if known[1]:
        options["ssl"] = True
    return Host(host=unquote(parts.hostname or "localhost"), port=parts.port or PORT, **login(options))


def login(options: dict[str, Any]) -> dict[str, Any]:
    found = {name: options[name] for name in ("username", "password") if options.get(name) is not None}
    if options.get("db"):
        found["db"] = int(options["db"])
    if options.get("ssl"):
        found["tls"] = context(options)
    unknown = options.keys() - POOL - TLS - {"username", "password", "db", "ssl"}
    if unknown:
        raise ValueError(f"a Redis host has no option {', '.join(sorted(unknown))}")
    return found


def context(options: dict[str, Any]) -> ssl.SSLContext:
    wanted = options.get("ssl_cert_reqs", "required")
    made = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"),
                                      cadata=options.get("ssl_ca_data"))
    if wanted in (None, "none", "None", ssl.CERT_NONE):
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    elif str(options.get("ssl_check_hostname", True)).lower() in ("false", "0", "no"):
        made.check_hostname = False
    if options.get("ssl_certfile"):
        made.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    return made

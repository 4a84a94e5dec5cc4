"""Where a Redis layer is, how to log in there, and which format it speaks. Pure, but for secrets that are read when asked."""
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat

PORT = 6379                     # redis.conf
FORMATS = ("channels_redis", "asgi_redis")


@dataclass(frozen=True)
class Host:
    kind: Literal["tcp", "tls", "unix"]
    host: str = ""
    port: int = PORT
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """For logs: without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.path or f'{host}:{self.port}'} db {self.db}"


@dataclass(frozen=True)
class TLS:
    """Files. Without `ca` the system's authorities count; without `key` the key is in `cert`."""
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Source(NamedTuple):
    """Where a secret is: in the environment variable, or the file, of that name."""
    kind: Literal["env", "file"]
    name: str

    def read(self, environ: Mapping[str, str] = os.environ) -> str:
        """Raises ValueError. Of a file one newline at its end doesn't count."""
        try:
            secret = environ[self.name] if self.kind == "env" else Path(self.name).read_text("utf-8").removesuffix("\n")
        except KeyError:
            raise ValueError(f"the environment variable {self.name} is not set") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"can't read {self.name}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
        if not secret:
            raise ValueError(f"{'the environment variable ' if self.kind == 'env' else 'the file '}{self.name} is empty")
        return secret


@dataclass(frozen=True)
class RedisSettings:
    """`hosts`, or `sentinels` and the names of the `masters` to ask them for (one for each shard); `master` says how to log
    in there. `options` are of the format, by the names of its fields. `keys`: the first encrypts, all decrypt."""
    hosts: tuple[Host, ...] = ()
    sentinels: tuple[Host, ...] = ()
    masters: tuple[str, ...] = ()
    master: Host | None = None
    tls: TLS | None = None
    format: Literal["channels_redis", "asgi_redis"] = "channels_redis"
    options: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[Source, ...] = ()
    password: Source | None = None
    sentinel_password: Source | None = None

    def login(self, environ: Mapping[str, str] = os.environ) -> "RedisSettings":
        """The same, with the passwords that are elsewhere. Raises ValueError."""
        found = self
        if self.password is not None:
            secret = self.password.read(environ)
            found = replace(found, hosts=tuple(replace(host, password=secret) for host in self.hosts),
                            master=self.master and replace(self.master, password=secret))
        if self.sentinel_password is not None:
            secret = self.sentinel_password.read(environ)
            found = replace(found, sentinels=tuple(replace(host, password=secret) for host in self.sentinels))
        return found

    def wire(self, environ: Mapping[str, str] = os.environ) -> ChannelsFormat | ClassicFormat:
        """The format, with its encryption keys. Raises ValueError."""
        make = ChannelsFormat if self.format == "channels_redis" else ClassicFormat
        return make(**self.options, encryption_keys=[source.read(environ) for source in self.keys],
                    hosts=len(self.hosts or self.masters))

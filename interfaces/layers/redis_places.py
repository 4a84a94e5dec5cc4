"""Where a Redis is: at an address, or where the Sentinels say; over TLS, verified, when it is asked for."""
import re
from dataclasses import replace
from pathlib import Path

from OpenSSL import crypto
from twisted.internet import defer, ssl
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS

from interfaces.contract import LayerDown
from interfaces.layers.redis_client import CONNECT, Once, sentence
from interfaces.layers.redis_settings import TLS, Host, RedisSettings

ASK = 1.0               # seconds for each Sentinel; a guess
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Authorities:
    """The files that TLS settings name, read once. Raises ValueError."""

    def __init__(self, tls: TLS):
        self.root = self.own = None
        try:
            if tls.ca is not None:
                found = CERTIFICATE.findall(Path(tls.ca).read_bytes())
                if not found:
                    raise ValueError(f"there is no certificate in {tls.ca}")
                self.root = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem) for pem in found])
            if tls.cert is not None:
                pem = Path(tls.cert).read_bytes()
                self.own = ssl.PrivateCertificate.loadPEM(pem + (Path(tls.key).read_bytes() if tls.key else b""))
        except OSError as error:
            raise ValueError(f"can't read {error.filename}: {error.strerror}") from None
        except (ssl.SSL.Error, crypto.Error):
            raise ValueError(f"can't read the certificate or key in {tls.cert or tls.ca}") from None

    def creator(self, name: str):
        """Verifies the certificate and that it is for this name or address (service_identity)."""
        # Not clientCertificate: Twisted would hand on pyOpenSSL's own objects, which pyOpenSSL deprecates.
        own = self.own and {"privateKey": self.own.privateKey.original.to_cryptography_key(),
                            "certificate": self.own.original.to_cryptography()}
        return ssl.optionsForClientTLS(name, trustRoot=self.root, extraCertificateOptions=own)


class Place:
    """`host` is where the newest connection went to: with its credentials."""
    must_be_master = False          # without Sentinels a write tells: -READONLY

    def __init__(self, reactor, host: Host, authorities: Authorities | None):
        self.reactor, self.host, self.authorities = reactor, host, authorities

    def __str__(self) -> str:
        return str(self.host)

    def endpoint(self, host: Host):
        if host.kind == "unix":
            return UNIXClientEndpoint(self.reactor, host.path, timeout=CONNECT)
        endpoint = HostnameEndpoint(self.reactor, host.host, host.port, timeout=CONNECT)
        return wrapClientTLS(self.authorities.creator(host.host), endpoint) if host.kind == "tls" else endpoint

    async def connect(self, factory):
        return await self.endpoint(self.host).connect(factory)

    async def moved(self) -> bool:
        return False


class SentinelPlace(Place):
    """The master of this name: asked for before each connection, from the Sentinel that last knew it on."""
    must_be_master = True

    def __init__(self, reactor, settings: RedisSettings, name: str, authorities: Authorities | None):
        super().__init__(reactor, settings.master, authorities)
        self.name, self.sentinels = name, list(settings.sentinels)

    def __str__(self) -> str:
        return f"master {self.name}"

    async def connect(self, factory):
        self.host = await self.find()
        return await super().connect(factory)

    async def find(self) -> Host:
        """Raises LayerDown."""
        why = "none knows it"
        for sentinel in list(self.sentinels):
            try:
                address = await self.ask(sentinel)
            except defer.CancelledError:
                raise
            except Exception as error:      # whatever it is, the next one may know
                why = sentence(error)
                continue
            if address is not None:
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return address
        raise LayerDown(f"no Sentinel tells where it is ({why})")

    async def ask(self, sentinel: Host) -> Host | None:
        endpoint = self.endpoint(sentinel)
        connection = await endpoint.connect(Once(self.reactor)).addTimeout(ASK, self.reactor)
        try:
            commands = [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)]
            if sentinel.password is not None:
                commands.insert(0, login(sentinel))
            found = (await defer.ensureDeferred(connection.many(*commands)).addTimeout(ASK, self.reactor))[-1]
        finally:
            connection.give_up("it was asked")
        if found is None:
            return None
        try:
            return replace(self.host, host=found[0].decode(), port=int(found[1]))
        except (ValueError, LookupError, AttributeError, TypeError):
            raise LayerDown(f"{sentinel} is no Sentinel") from None

    async def moved(self) -> bool:
        """Do the Sentinels name another one by now? An old master that was cut off from them doesn't know that it is none."""
        try:
            found = await self.find()
        except LayerDown:
            return False
        return (found.host, found.port) != (self.host.host, self.host.port)


def login(host: Host) -> tuple:
    return ("AUTH", host.username, host.password or "") if host.username else ("AUTH", host.password)


def places(reactor, settings: RedisSettings) -> list[Place]:
    """In the order of the shards. Raises ValueError."""
    authorities = Authorities(settings.tls) if settings.tls is not None else None
    if settings.masters:
        return [SentinelPlace(reactor, settings, name, authorities) for name in settings.masters]
    return [Place(reactor, host, authorities) for host in settings.hosts]

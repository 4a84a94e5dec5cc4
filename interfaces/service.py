"""Interfaces and endpoints -> Twisted services: start, drain, stop."""
import os
import resource
import socket
import sys

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import ServerFactory
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from interfaces.access import AccessLog
from interfaces.admission import Admission
from interfaces.bridge import Connection
from interfaces.carrier import Carriers
from interfaces.desk import Desk
from interfaces.exchange import Exchange
from interfaces.layers import open_layer
from interfaces.options import endpoint, options_class
from interfaces.schema import Replies
from interfaces.transport import send_at_once

Options = options_class()


@implementer(IProtocolNegotiationFactory)
class ConnectionFactory(ServerFactory):
    """The connections of one interface on one layer, and what they share."""
    noisy = False

    def __init__(self, interface, options, exchange, access=None, admission=None):
        self.interface, self.options, self.exchange = interface, options, exchange
        self.replies = Replies(interface.replies)
        self.shared = interface.shared(options) if interface.shared else None
        self.desk = Desk(exchange, self.replies, self.shared) if hasattr(self.shared, "open") else None
        self.log = Logger(namespace=f"interfaces.{interface.name}")
        self.access = access
        self.admission = admission or Admission(interface.name)
        self.connections, self.carriers = set(), Carriers(self)
        self.siblings, self.empty, self.purpose = {}, None, interface.name

    def buildProtocol(self, addr):
        host = getattr(addr, "host", None)
        if not self.admission.admit(host):
            return None
        connection = Connection(self)
        self.connections.add(connection)
        connection.host = host
        return connection

    def open(self):
        """The layer is there."""
        if self.desk is not None:
            self.desk.open()

    async def close(self):
        """All connections are over."""
        if self.desk is not None:
            await self.desk.finish()

    def acceptableProtocols(self):
        """Without a name in common Twisted ends the handshake, and browsers always offer some."""
        return list(self.interface.alpn)

    def left(self, connection):
        self.connections.discard(connection)
        for admission in connection.admissions:
            admission.left(connection.host)
        if self.empty is not None and not self.connections:
            self.empty.callback(None)
            self.empty = None

    @property
    def upgrades(self) -> dict[bytes, str]:
        return {sibling.interface.token: name for name, sibling in self.siblings.items() if sibling.interface.token}

    def inside(self, path, subprotocols):
        """contract.Link.inside"""
        for name, sibling in self.siblings.items():
            within = sibling.within
            if within is not None and path == within.path:
                chosen = next((each for each in subprotocols if each in within.subprotocols), None)
                return None if chosen is None else (name, chosen, within)
        return None

    @property
    def within(self):
        """Interface.within, or None where it is spoken on its own listeners alone."""
        return self.interface.within(self.options) if self.interface.within else None

    @property
    def carriages(self) -> dict[bytes, str]:
        return {b"%b-session" % name.encode(): name for name, other in self.siblings.items() if other.interface.carried}

    def sibling(self, name):
        """The factory of the interface to which a connection is handed over (`link.become`)."""
        return self.siblings[name]

    def drain(self):
        """Tell every connection to finish. A Deferred that fires when the last one has."""
        if not self.connections:
            return maybeDeferred(lambda: None)
        self.empty = Deferred()
        for connection in list(self.connections):
            connection.stop()
        return self.empty if self.empty is not None else maybeDeferred(lambda: None)


class InterfaceServer(Service):
    """Everything one `twistd channels-interfaces` runs, in the order in which it must start and stop."""

    def __init__(self, options, reactor):
        self.options, self.reactor = options, reactor
        self.ports, self.exchanges, self.factories = [], {}, {}     # by layer name; by layer name and interface name
        self.worker = None

    def privilegedStartService(self):
        """Ports below 1024 are opened before --uid takes effect."""
        raise_files_limit()
        common = self.options.common
        self.access = AccessLog(common["access-log"], self.reactor)
        admissions = {name: Admission(name, limits["max-connections"], limits["max-per-address"])
                      for name, limits in self.options.listener.items()}
        for interface in self.options.interfaces.values():
            if interface.warning:
                Logger(namespace=f"interfaces.{interface.name}").warn("{text}", text=interface.warning)
        for layer in self.options.layers:
            self.exchanges[layer] = Exchange(None, self.reactor, common["max-buffer"], common["resume-timeout"],
                                             common["credit"], common["owner-ping"])
            siblings = {name: self.factory(interface, layer, admissions.get(name))
                        for name, interface in self.options.interfaces.items()}
            for name, factory in siblings.items():
                factory.siblings = siblings
                self.factories[layer, name] = factory
        for name, text, layer in self.options.listen:
            try:
                self.now(endpoint(self.reactor, text).listen(self.listener(layer, name, admissions)), self.listens)
            except Exception as error:      # an endpoint parser is a plugin too, and raises what it likes
                self.fail(f"--{name} {text}: {error}")

    def factory(self, interface, layer, admission):
        return ConnectionFactory(
            interface, self.options.settings.get(interface.name), self.exchanges[layer],
            self.access.write if self.options.common["access-log"] else None, admission)

    def listener(self, layer, name, admissions):
        """A protocol that is reached by an upgrade is spoken behind HTTP, on a listener of its own too."""
        factory = self.factories[layer, name]
        if factory.interface.role != "upgrade":
            return factory
        http = self.factory(self.options.interfaces["http"], layer, admissions[name])
        http.siblings, http.purpose = factory.siblings, name
        self.factories[layer, f"http for {name}"] = http
        return http

    def listens(self, port):
        send_at_once(port)
        self.ports.append(port)

    def now(self, deferred, done=lambda result: None):
        """Raise at once what has failed at once: a Deferred would keep it to itself, and a daemon would stay without a port."""
        failures = []
        deferred.addCallbacks(done, failures.append)
        if failures:
            failures[0].raiseException()

    def startService(self):
        """The hub's socket is made after --uid took effect, so that it belongs to the user whose workers will use it."""
        super().startService()
        common = self.options.common
        try:
            self.access.start()
            for name, exchange in self.exchanges.items():
                exchange.layer = open_layer(
                    self.options.layers[name], self.reactor, mode=int(common["local-mode"], 8),
                    group=common["local-group"] or None, max_message=common["max-message"],
                    prefer_release=common["prefer-release"])
                if common["app"]:
                    self.host(common["app"], exchange.layer)
                self.now(ensureDeferred(exchange.open()), lambda nothing, name=name: self.opened(name))
        except (OSError, ValueError, ImportError) as error:
            self.fail(str(error))

    def opened(self, layer: str):
        listens = {name for name, _, listens in self.options.listen if listens == layer}
        for name in self.options.interfaces:
            if name in listens or self.factories[layer, name].within is not None:
                self.factories[layer, name].open()

    def host(self, application: str, layer):
        """Run an over_channels application in a thread of this process: for development. The same frames, no socket file."""
        from interfaces.worker.inprocess import serve_in_thread     # Django is needed only here
        sys.path.insert(0, os.getcwd())     # as `python manage.py` and the ASGI servers have it
        ours, theirs = socket.socketpair()
        layer.attach_socket(ours)
        self.worker = serve_in_thread(application, theirs)
        self.worker.ready.add_done_callback(lambda ready: ready.exception() and self.reactor.callFromThread(
            self.fail, f"--app {application}: {type(ready.exception()).__name__}: {ready.exception()}"))

    def fail(self, sentence: str):
        """The server can't start. In the foreground the user gets the sentence alone; a daemon's parent shows the exception."""
        if self.options.parent is not None and self.options.parent.get("nodaemon"):
            pidfile = self.options.parent.get("pidfile")
            if pidfile and os.path.exists(pidfile):
                os.unlink(pidfile)
            print(f"channels-interfaces: {sentence}", file=sys.__stderr__, flush=True)      # sys.stderr is twistd's log
            os._exit(1)         # SystemExit inside a callback of the reactor would only be logged
        raise RuntimeError(sentence)

    async def leave(self):
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        drained = DeferredList([factory.drain() for factory in self.factories.values()])
        timer = self.reactor.callLater(self.options.common["grace"], self.cut)
        await drained
        if timer.active():
            timer.cancel()
        if self.worker is not None:
            await deferToThread(self.worker.stop)       # the reactor goes on: it brings the last messages
        await DeferredList([ensureDeferred(factory.close()) for factory in self.factories.values()])
        for exchange in self.exchanges.values():
            exchange.close()
            if exchange.layer is not None:
                await exchange.layer.close()
        self.access.close()

    def cut(self):
        for factory in self.factories.values():
            for connection in list(factory.connections):
                connection.abort("the server is going down")

    def stopService(self):
        super().stopService()
        return ensureDeferred(self.leave())


def raise_files_limit():
    """10,000 sockets need 10,000 descriptors; the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def makeService(options):
    """What twistd calls with the parsed options."""
    from twisted.internet import reactor       # twistd has installed it by now
    service = MultiService()
    InterfaceServer(options, reactor).setServiceParent(service)
    return service

"""Any other Channels 2+ layer: `--layer django:...` with a BACKEND that has no native layer here. On the asyncio reactor.

A backend gives messages by `receive(full channel name)`, and only for that name: so each connection has a reader task of
its own, from its first message to the workers until it is forgotten, as a consumer has in Channels. A reader pushes and
never waits for a story. The backend's capacity bounds what waits for a connection.
"""
import asyncio
import importlib
import inspect
import random
import secrets
import sys
import time

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from interfaces.contract import ChannelFull, Done, Gap, LayerDown, MessageTooLarge, Unconfirmed
from interfaces.layers.configured import Configured
from interfaces.layers.wire_local import MAX_MESSAGE, pack

PATIENCE = 5.0              # seconds for a backend to do one thing: a guess; what it did not do by then may still happen
PAUSES = (0.05, 5.0)        # seconds between tries to receive, doubled each time: guesses
NOISE = 6                   # bytes: 8 characters of the 99 that a name may have; connections' names are the unguessable part
NAME = 22                   # characters of a connection's name: messages.md, reply_channel
log = Logger(namespace="interfaces.layers")


def install_reactor() -> None:
    """Choose the asyncio reactor, if none is chosen yet. Raises ValueError."""
    from twisted.internet import asyncioreactor
    chosen = sys.modules.get("twisted.internet.reactor")
    if chosen is None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)
    elif not isinstance(chosen, asyncioreactor.AsyncioSelectorReactor):
        raise ValueError(f"this layer runs on asyncio, and {type(chosen).__name__} was chosen: leave twistd's --reactor "
                         "out, or say --reactor=asyncio")


def load(configured: Configured):
    """The backend, made as Channels makes it. Raises ValueError."""
    module, _, name = configured.backend.rpartition(".")
    try:
        backend = getattr(importlib.import_module(module), name)(**configured.config)
    except Exception as error:      # a stranger's code: whatever it raises
        raise ValueError(f"{configured.where}: {configured.backend} can't be made: {type(error).__name__}: {error}") from error
    if not all(inspect.iscoroutinefunction(getattr(backend, name, None)) for name in ("send", "receive", "new_channel")):
        raise ValueError(f"{configured.where}: {configured.backend} is no channel layer of Channels 2 or later")
    return backend


class Address:
    """This process's own channels, each read by a task once a worker may know its name."""

    def __init__(self, layer: "ForeignLayer", prefix: str, deliver):
        self.layer, self.prefix, self.deliver = layer, prefix, deliver
        self.readers: dict[str, asyncio.Task] = {}
        self.groups: dict[str, set[str]] = {}

    def expect(self, connection: str) -> None:
        if connection not in self.readers:
            self.readers[connection] = self.layer.loop.create_task(self.read(connection))

    async def read(self, connection: str) -> None:
        channel, pause, told = f"{self.prefix}!{connection}", PAUSES[0], False
        while True:
            try:
                message = await self.layer.backend.receive(channel)
            except Exception as error:      # whatever a stranger's backend raises: the reader lives on
                self.layer.down("receive", error)
                if not told:
                    self.hand_over(connection, Gap())
                told = True
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, PAUSES[1])
                continue
            pause, told = PAUSES[0], False
            self.layer.up("receive")
            if message.__class__ is dict:
                self.hand_over(connection, message)

    def hand_over(self, connection: str, item) -> None:
        try:
            self.deliver(connection, item)
        except Exception:
            # One story must not stop the others.
            log.failure("delivery to {connection} failed", connection=connection)

    def forget(self, connection: str) -> None:
        """This connection is over: its reader ends, and it is in no group."""
        reader = self.readers.pop(connection, None)
        if reader is not None:
            reader.cancel()
        for group in self.groups.pop(connection, ()):
            quiet(self.layer.group_discard(group, f"{self.prefix}!{connection}"))


def quiet(deferred: Deferred) -> None:
    deferred.addErrback(lambda failure: None)       # `down` has said it


class ForeignLayer:
    """interfaces.layers.contract.ChannelLayer over an asyncio channel layer. `loop` is the reactor's; expiry and capacities are
    the backend's own. Awaitables are Deferreds."""
    tells_taken = tells_lost = False
    watch = None
    storage = None
    reader_mark = "."

    def __init__(self, backend, loop=None, max_message: int = MAX_MESSAGE):
        self.backend, self.max_message = backend, max_message
        self.loop = loop or asyncio.get_event_loop()
        self.addresses: dict[str, Address] = {}
        self.broken: dict[str, float] = {}          # "send" or "receive" -> since when, monotonic

    def open(self, prefix: str, deliver):
        """Before the loop runs this waits for the backend; ValueError when it gives no channel."""
        if self.loop.is_running():
            return self.ask(self.make_address(prefix, deliver))
        try:
            return Done(self.loop.run_until_complete(self.make_address(prefix, deliver)))
        except (Exception, asyncio.CancelledError) as error:
            raise ValueError(f"{self.name} gives no channel: {type(error).__name__}: {error}") from error

    async def make_address(self, prefix: str, deliver) -> Address:
        parameters = inspect.signature(self.backend.new_channel).parameters
        # Its own names may be alike in all processes (InMemoryChannelLayer's are).
        unlike = f"{prefix}.{secrets.token_urlsafe(NOISE)}"
        making = self.backend.new_channel(unlike) if parameters else self.backend.new_channel()
        own = (await asyncio.wait_for(making, PATIENCE)).partition("!")[0]
        if len(own) + 1 + NAME >= 100:      # channels 4, BaseChannelLayer
            raise ValueError(f"{self.name} makes names of {len(own)} characters, and no place is left in them")
        if own in self.addresses:
            raise ValueError(f"{self.name} gives one name twice")
        self.addresses[own] = Address(self, own, deliver)
        return self.addresses[own]

    def send(self, channel: str, message: dict) -> Deferred:
        """Fails with ChannelFull, MessageTooLarge, Unconfirmed: of a stranger's error nobody knows what was done."""
        self.check_size(message)
        prefix, _, connection = (message.get("reply_channel") or "").partition("!")
        if connection and prefix in self.addresses:
            self.addresses[prefix].expect(connection)
        return self.ask(self.backend.send(channel, message))

    def group_add(self, group: str, channel: str) -> Deferred:
        self.need_groups()
        prefix, _, connection = channel.partition("!")
        if prefix in self.addresses:
            self.addresses[prefix].expect(connection)
            self.addresses[prefix].groups.setdefault(connection, set()).add(group)
        return self.ask(self.backend.group_add(group, channel))

    def group_discard(self, group: str, channel: str) -> Deferred:
        self.need_groups()
        return self.ask(self.backend.group_discard(group, channel))

    def group_send(self, group: str, message: dict, but: str = "") -> Deferred:
        self.need_groups()
        self.check_size(message)
        return self.ask(self.backend.group_send(group, message))

    def check_size(self, message: dict) -> None:
        size = len(pack(message))
        if size > self.max_message:
            raise MessageTooLarge(f"{size} bytes; the layer carries {self.max_message}")

    def need_groups(self) -> None:
        if "groups" not in getattr(self.backend, "extensions", ()):
            raise LayerDown(f"{self.name} has no groups")

    def delete(self, channel: str, last: dict | None = None) -> Deferred:
        """No such thing in Channels' API: what waits expires. `last` goes behind it."""
        if last is None:
            done: Deferred = Deferred()
            done.callback(None)
            return done
        return self.send(channel, last).addErrback(lambda failure: failure.trap(ChannelFull) and None)

    def recover(self, owner: str) -> Done:
        return Done({})     # nobody can look into a backend

    def listening(self, channel: str) -> bool:
        return True         # nobody can know

    def deserted(self, channel: str) -> float:
        return 0.0

    def statistics(self) -> dict:
        return {"readers": {"interface": sum(len(address.readers) for address in self.addresses.values())}}

    def close(self) -> Deferred:
        for address in self.addresses.values():
            for reader in address.readers.values():
                reader.cancel()
            address.readers.clear()
        self.addresses.clear()
        closing = getattr(self.backend, "close_pools", None) or getattr(self.backend, "close", None)

        async def close():
            if closing is not None:
                await asyncio.wait_for(closing(), PATIENCE)
        return self.ask(close()).addErrback(lambda failure: None)       # it ends anyway

    # between asyncio and Twisted

    @property
    def name(self) -> str:
        return type(self.backend).__name__

    def ask(self, doing) -> Deferred:
        return Deferred.fromFuture(self.loop.create_task(self.answer(doing)))

    async def answer(self, doing):
        try:
            async with asyncio.timeout(PATIENCE):
                found = await doing
        except Exception as error:      # whatever a stranger's backend raises
            if type(error).__name__ == "ChannelFull":       # channels.exceptions': known by name, not imported
                raise ChannelFull(str(error)) from error
            self.down("send", error)
            raise Unconfirmed(f"{self.name}: {type(error).__name__}: {error}") from error
        self.up("send")
        return found

    def down(self, what: str, error: Exception) -> None:
        if what not in self.broken:
            self.broken[what] = time.monotonic()
            log.warn("{name} can't {what}: {kind}: {error}", name=self.name, what=what, kind=type(error).__name__, error=error)

    def up(self, what: str) -> None:
        if what in self.broken:
            log.info("{name} can {what} again, after {seconds:.1f} s", name=self.name, what=what,
                     seconds=time.monotonic() - self.broken.pop(what))

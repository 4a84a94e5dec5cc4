"""What the connections of one process share hears and says through the layer: a channel of its own in groups, and time."""
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger

from interfaces.contract import DONE, ChannelFull, MessageTooLarge
from interfaces.schema import BadMessage

RENEW = 3600.0                  # seconds; a membership lasts a day (Channels' group_expiry), a worker's renewal is as frequent
MOST = 1000                     # messages to groups that may be under way at a time: a guess, 1 MB of small ones
RETRY = 5.0                     # seconds until a layer that was down is tried again; a guess
log = Logger(namespace="interfaces.desk")


class Desk:
    """contract.Desk for one interface on one layer. It lasts as long as the exchange."""

    def __init__(self, exchange, replies, shared):
        self.exchange, self.replies, self.shared = exchange, replies, shared
        self.name, self.groups, self.timer, self.address = exchange.fresh(), [], None, exchange.address
        self.out = self.lost = 0        # messages to groups: under way; that found no way
        self.waiting = {}               # key -> Deferreds of `wait`

    def open(self):
        """When the layer is there; again does nothing."""
        if self.name not in self.exchange.desks:
            self.exchange.desks[self.name] = self
            self.address = self.exchange.address
            if self.storage is not None:
                self.address = self.storage.open(self.hears, self.settled)
            self.shared.open(self)

    def hears(self, name, item):
        """At an address of its own, of which there is one name."""
        if name == self.name:
            self.deliver(item)

    async def settled(self):
        """All that has been heard has had its effect."""
        if hasattr(self.shared, "settled"):
            await self.shared.settled()

    async def finish(self):
        """All connections are over; the layer is still there."""
        if self.name in self.exchange.desks and hasattr(self.shared, "close"):
            await self.shared.close()

    def close(self):
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None

    @property
    def channel(self) -> str:
        return f"{self.address.prefix}!{self.name}"

    @property
    def alone(self) -> bool:
        return self.exchange.layer.tells_taken          # a layer that does is in this process

    def now(self) -> float:
        return self.exchange.clock.seconds()

    def later(self, seconds, call):
        timer = self.exchange.clock.callLater(seconds, call)
        return lambda: timer.cancel() if timer.active() else None

    @property
    def storage(self):
        return self.exchange.layer.storage

    def begin(self, work):
        ensureDeferred(work).addErrback(
            lambda failure: log.failure("what {channel} has begun failed", failure, channel=self.channel))

    async def wait(self, key, seconds):
        woken = Deferred()
        self.waiting.setdefault(key, []).append(woken)
        timer = self.exchange.clock.callLater(seconds, self.gave_up, key, woken)
        came = await woken
        if came:
            timer.cancel()
        return came

    def gave_up(self, key, woken):
        left = self.waiting[key]
        left.remove(woken)
        if not left:
            del self.waiting[key]
        woken.callback(False)

    def wake(self, key):
        for woken in self.waiting.pop(key, ()):
            woken.callback(True)

    def join(self, group):
        self.groups.append(group)
        self.renew()

    def renew(self):
        """Say it again: memberships expire, and a layer may have lost its data."""
        self.close()
        self.timer = self.exchange.clock.callLater(RENEW, self.renew)
        ensureDeferred(self.rejoin())

    async def rejoin(self):
        try:
            for group in self.groups:
                await self.exchange.layer.group_add(group, self.channel)
        except ChannelFull as error:
            log.warn("{channel} is in no group for now: {error}", channel=self.channel, error=error)
            self.close()
            self.timer = self.exchange.clock.callLater(RETRY, self.renew)

    def group_send(self, group, message, others=False):
        if self.out >= MOST:
            self.missed(group, "the layer is behind")
            return DONE
        self.out += 1
        return ensureDeferred(self.spread(group, message, self.channel if others else ""))

    async def spread(self, group, message, but):
        try:
            await self.exchange.layer.group_send(group, message, but)
        except (ChannelFull, MessageTooLarge) as error:
            self.missed(group, error)
        finally:
            self.out -= 1

    def send(self, channel, message):
        self.exchange.tell(channel, message)

    def missed(self, group, error):
        """Logged at the 1st, 2nd, 4th, 8th ... time."""
        self.lost += 1
        if self.lost & (self.lost - 1) == 0:
            log.warn("not sent to the group {group}: {error} ({count} so far)", group=group, error=error, count=self.lost)

    def deliver(self, message):
        if message.__class__ is not dict:
            return
        try:
            event = self.replies.read(message)
        except BadMessage as error:
            self.exchange.unreadable += 1
            log.info("a message to {channel} that can't be read: {error}", channel=self.channel, error=error)
            return
        self.shared.hear(event)

    def log(self, text):
        log.info("{text}", text=text)

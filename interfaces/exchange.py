"""One reader per process: what the layer delivers finds its link here."""
import secrets
from base64 import urlsafe_b64encode

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from interfaces.contract import ChannelFull, Doubt, Gap, Lost, MessageTooLarge, Taken
from interfaces.pings import EVERY, Pings
from interfaces.tenure import Announcer

log = Logger(namespace="interfaces.exchange")
NAME_BYTES = 16                 # messages.md: 128 bits, unguessable
DOUBTFUL = 0.05                 # seconds, a guess: times of two clocks that are as good as equal


class Exchange:
    """The reply channels of one process, and the worker processes that own connections."""

    def __init__(self, layer, clock, max_buffer: int = 16 * 1024 * 1024, resume_timeout: float = 60.0, credit: int = 64,
                 owner_ping: float = EVERY):
        self.layer, self.clock, self.max_buffer = layer, clock, max_buffer
        self.resume_timeout, self.credit = resume_timeout, credit       # messages.md, Worker loss; Credit
        self.announcer = Announcer(self)
        self.pings = Pings(self, clock, owner_ping)
        self.address = None
        self.names = []         # fresh, unguessable
        self.links = {}         # connection name -> Link
        self.desks = {}         # name -> Desk
        self.owned = {}         # worker process -> {connection name: Link}
        self.claiming = set()   # shared channels whose workers claim; where plain consumers alone work nothing is missed
        self.late = 0           # replies to connections that are gone
        self.unreadable = 0     # replies that fit no format
        self.fenced = 0         # claims that came too late
        self.full = 0           # messages that found no room

    async def open(self):
        self.name = self.fresh()
        self.address = await self.layer.open("interface", self.deliver)

    def close(self):
        self.announcer.close()
        for desk in self.desks.values():
            desk.close()
        self.pings.close()

    @property
    def own_channel(self) -> str:
        return f"{self.address.prefix}!{self.name}"

    def enter(self, link) -> str:
        """A fresh connection name for a link."""
        name = self.fresh()
        self.links[name] = link
        return name

    def fresh(self) -> str:
        if not self.names:
            noise = secrets.token_bytes(NAME_BYTES * 256)       # one call to the kernel for many names
            self.names = [urlsafe_b64encode(noise[at:at + NAME_BYTES])[:22].decode()
                          for at in range(0, len(noise), NAME_BYTES)]
        return self.names.pop()

    def leave(self, name: str):
        link = self.links.pop(name, None)
        if link is not None:
            self.disown(name, link)
        self.address.forget(name)

    def disown(self, name: str, link):
        if link.owner is not None:
            process = link.owner.partition("!")[0]
            owned = self.owned.get(process)
            if owned is not None:
                owned.pop(name, None)
                if not owned:
                    del self.owned[process]
            link.owner = None

    def deliver(self, name: str, item):
        link = self.links.get(name)
        if link is None:
            self.deliver_to_none(name, item)
        elif item.__class__ is Taken:
            self.taken(name, link, item)
            link.deliver(item)
        elif item.__class__ is not dict or "receive_channel" not in item or self.claimed(name, link, item):
            link.deliver(item)
            if link.tenure is not None and item.__class__ is dict and item.get("receive_channel", "") is None:
                link.tenure.given_back()        # after what it has handled, and what it leaves

    def deliver_to_none(self, name: str, item):
        """Not for a connection, or for one that is over."""
        if item.__class__ is Lost:
            self.lost(item)
        elif item.__class__ is Doubt:
            self.pings.doubt(item.process)
        elif item.__class__ is Gap:
            self.pings.gap()
            for link in list(self.links.values()):
                (link.deliver if link.tenure is None else link.tenure.gap)(item)
            for desk in self.desks.values() if item.everything else ():
                desk.renew()
        elif name == self.name:
            self.pings.answered(item)
        elif name in self.desks:
            self.desks[name].deliver(item)
        elif item.__class__ is dict:
            self.late += 1
            if item.get("receive_channel").__class__ is str:
                self.gone(name, item["receive_channel"])
        elif item.__class__ is Taken and item.owner is not None:
            self.gone(name, item.owner)

    def behind(self, channel: str, error):
        """A message found no room. Logged at the 1st, 2nd, 4th, 8th ... time: a flood must not fill the disk."""
        self.full += 1
        if self.full & (self.full - 1) == 0:
            log.warn("{channel}: {error} ({count} so far)", channel=channel, error=error, count=self.full)

    def claimed(self, name: str, link, message: dict) -> bool:
        """Adoption by a reply (messages.md, Ownership): a claim must know the newest announcement; None gives back."""
        owner, epoch = message["receive_channel"], message.get("epoch", 0)
        if epoch != link.epoch or owner is not None and owner.__class__ is not str:
            self.fenced += 1
            return False
        if link.tenure is None or owner is not None:
            taken = Taken(owner)
            self.taken(name, link, taken)
            link.deliver(taken)
        return True

    def taken(self, name: str, link, item: Taken):
        if item.owner is not None and item.owner == link.owner:
            return
        self.disown(name, link)
        if item.owner is not None:
            link.owner = item.owner
            process = item.owner.partition("!")[0]
            self.owned.setdefault(process, {})[name] = link
            if not self.layer.tells_lost:
                self.claiming.add(link.channel)
                self.pings.owns(process, item.owner)
        if link.tenure is not None:
            link.tenure.plain() if item.owner is None else link.tenure.claimed()

    def gone(self, name: str, owner: str):
        """A worker begins what waited for it while its connection ended: it must not wait for the rest of a body."""
        self.tell(owner, {"type": "interface.gone", "reply_channel": f"{self.address.prefix}!{name}"})

    def tell(self, channel: str, message: dict):
        """Send what need not arrive."""
        async def send():
            try:
                await self.layer.send(channel, message)
            except (ChannelFull, MessageTooLarge):
                pass        # the worker does not read; who needs it hears of its loss
        ensureDeferred(send())

    def owner(self, process: str) -> str | None:
        """The channel of its own of a process that owns connections."""
        return next((link.owner for link in self.owned.get(process, {}).values()), None)

    def lost(self, item: Lost):
        owner, links = self.owner(item.process), self.owned.pop(item.process, {})
        if self.layer.tells_lost or owner is None:
            return self.bereave(links, item, {})
        for link in links.values():
            if link.tenure is not None:
                link.tenure.suspend()
        ensureDeferred(self.recover(owner, links, item))

    async def find_orphans(self, item: Lost, before: float):
        """What a lost process had taken and not yet claimed, as a worker does within 0.2 s, or what never came to one: what
        was sent `before` that, belongs to nobody, and waits no more."""
        old = {}
        for link in self.links.values():
            if link.channel in self.claiming and link.unclaimed < before:
                old.setdefault(link.channel, []).append(link)
        for channel, links in old.items():
            taken = min(before, await self.layer.oldest(channel) - DOUBTFUL)
            for link in links:
                if link.unclaimed < taken:                  # still
                    link.orphaned(item)

    async def recover(self, owner: str, links: dict, item: Lost):
        self.bereave(links, item, await self.layer.recover(owner))

    def bereave(self, links: dict, item: Lost, untaken: dict):
        """`untaken`: reply channel -> orders of what their owner was sent and never took."""
        for link in links.values():
            if link.tenure is not None:
                link.tenure.lost(untaken.get(link.reply_channel, ()))
            else:
                link.owner = None
                link.deliver(item)

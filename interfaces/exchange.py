"""One reader per process: what the layer delivers finds its link here."""
import secrets
from base64 import urlsafe_b64encode

from interfaces.contract import ChannelFull, Lost, Taken

NAME_BYTES = 16                 # messages.md: 128 bits, unguessable


class Exchange:
    """The reply channels of one process, and the worker processes that own connections."""

    def __init__(self, layer, clock, max_buffer: int = 16 * 1024 * 1024):
        self.layer, self.clock, self.max_buffer = layer, clock, max_buffer
        self.address = None
        self.names = []         # fresh, unguessable
        self.links = {}         # connection name -> Link
        self.owned = {}         # worker process -> {connection name: Link}
        self.late = 0           # replies to connections that are gone
        self.unreadable = 0     # replies that fit no format

    async def open(self):
        self.address = await self.layer.open("interface", self.deliver)

    def enter(self, link) -> str:
        """A fresh connection name for a link."""
        if not self.names:
            noise = secrets.token_bytes(NAME_BYTES * 256)       # one call to the kernel for many names
            self.names = [urlsafe_b64encode(noise[at:at + NAME_BYTES])[:22].decode()
                          for at in range(0, len(noise), NAME_BYTES)]
        name = self.names.pop()
        self.links[name] = link
        return name

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
            if item.__class__ is Lost:
                self.lost(item)
            elif item.__class__ is dict:
                self.late += 1
            elif item.__class__ is Taken and item.owner is not None:
                self.gone(name, item.owner)
            return
        if item.__class__ is Taken:
            self.taken(name, link, item)
        link.deliver(item)

    def taken(self, name: str, link, item: Taken):
        self.disown(name, link)
        if item.owner is not None:
            link.owner = item.owner
            self.owned.setdefault(item.owner.partition("!")[0], {})[name] = link

    def gone(self, name: str, owner: str):
        """A worker begins what waited for it while its connection ended: it must not wait for the rest of a body."""
        try:
            self.layer.send(owner, {"type": "interface.gone", "reply_channel": f"{self.address.prefix}!{name}"})
        except ChannelFull:
            pass        # it does not read; it ends with its worker

    def lost(self, item: Lost):
        for link in self.owned.pop(item.process, {}).values():
            link.owner = None
            link.deliver(item)

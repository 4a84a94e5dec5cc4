"""What a connection sends to the application: under the worker's window, held while there is no room, and again to the next
worker when one has died."""
from interfaces.contract import ChannelFull, MessageTooLarge, Unconfirmed
from interfaces.mqtt.inbound import Over, Pending, asked

PACKET_TOO_LARGE, TOO_SLOW = 0x95, 0x97                 # MQTT 5, 2.4


class Asking:
    """Of a session.Client, whose attributes these are."""
    __slots__ = ()

    @property
    def vacant(self) -> bool:
        """Its worker is gone, and another is looked for."""
        return self.link.owner is None and not self.link.room

    async def give(self, message, packet=None):
        """To the application, or hold it until it can go. `packet` waits for the answer."""
        if not await self.gives(message, packet):
            self.held, self.since = (message, packet), self.link.now()

    async def gives(self, message, packet) -> bool:
        """Whether it is gone. Raises Over."""
        link = self.link
        if self.left:
            return await self.says_after_all(message, packet)
        if not link.room or packet is not None and self.crowded:
            return False
        # An owner hears of the end of the connection, and a deadline might pass while it is replaced.
        until = link.now() + self.options.ack_timeout if packet is not None and link.owner is None else None
        if packet is not None:              # before it is sent: its answer may be there before the layer has confirmed it
            if self.pending is None:
                self.pending = {}
            self.pending[packet.packet_id] = Pending(packet, link.now() + self.options.ack_timeout)
        try:
            await link.send(message, deadline=until)
            return True
        except Unconfirmed:
            return True                     # it may have been heard: news is not said twice, and a question times out
        except MessageTooLarge:
            raise Over(PACKET_TOO_LARGE, "larger than the application takes") from None
        except ChannelFull:
            if packet is not None:
                del self.pending[packet.packet_id]
                self.pending = self.pending or None
            return False

    async def says_after_all(self, message, packet) -> bool:
        """An owner hears it when it has room, and there will be no more; for plain workers there may be none."""
        if packet is None:
            try:
                await self.link.send(message)
            except (ChannelFull, MessageTooLarge) as error:
                self.link.log(f"what it said last is lost: {error!r}")
        return True

    @property
    def crowded(self) -> bool:
        return self.pending is not None and len(self.pending) >= self.options.receive_maximum

    async def retry(self):
        """What is held goes out if it can."""
        news = self.held[1] is None
        if news and not self.link.heeded(self.held[0].__class__) or await self.gives(*self.held):
            self.held, self.heard = None, self.link.now()       # what it said meanwhile was not read
        elif not self.vacant and self.link.now() >= self.since + self.options.patience:
            raise Over(TOO_SLOW, "the application is behind")

    def again(self, others: list[dict]) -> list:
        """A worker has died: what it has not answered goes to the next one (tenure.py), which gets `others` anyhow."""
        known = {message.get("id") for message in others}
        return [asked(pending.packet, True) for number, pending in (self.pending or {}).items() if number not in known]

    def renew(self):
        """A new owner has as much time as the one before."""
        if self.link.epoch != self.epoch:
            self.epoch = self.link.epoch
            self.extend()

    def extend(self):
        for pending in (self.pending or {}).values():
            pending.until = self.link.now() + self.options.ack_timeout

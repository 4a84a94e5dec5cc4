"""Who owns a long-lived connection, and how it goes from one worker to the next (messages.md, Worker loss and hand-over).

    asked --- a claim -----------------> owned    what is sent goes to the owner, and is kept until it is handled
          \\-- a verdict without one ---> plain    what is sent goes to the shared channels; nobody need be there for long
    owned --- given back, lost --------> vacant   announced again; what is to be sent waits
    vacant -- a claim -----------------> owned    what waits is sent
    vacant -- `resume_timeout` --------> the story hears Abandoned

A worker that gives back in order says what it has handled: the rest is sent again to the next one. Of what a crashed one
was sent nobody knows what it did, so that is gone: nothing runs twice but what the story says may (`Link.again`). A
connection whose peer leaves in between stays until its next owner has heard all of it, the goodbye too: whoever was told
connect is told disconnect.
"""
from collections import deque

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger

from interfaces.contract import Abandoned, ChannelFull, Gap, Handled, LayerDown, MessageTooLarge, Unconfirmed
from interfaces.layers.wire_local import pack, unpack

WINDOW_BYTES = 256 * 1024       # messages.md, Credit: of a worker's bodies; for what is sent to it a guess
MAX_STATE = 64 * 1024           # bytes that an owner may leave for the next one; a guess
RETRY = 0.1                     # seconds until an owner whose channel was full is tried again; a guess
RENEW = 15.0                    # seconds after which an announcement that nobody claimed is made again, where it may be lost
TICK = 1.0                      # seconds between looks at the vacant
PACE = 0.05                     # seconds until announcements go on after the channel was full; a guess
HANDLED = Handled()
log = Logger(namespace="interfaces.tenure")


class Entry:
    """A message to the owner. `order` is None until it is sent; `given`: it may have arrived."""
    __slots__ = ("encoded", "size", "order", "given")

    def __init__(self, encoded: dict):
        self.encoded, self.order, self.given = encoded, None, False
        self.size = 200 + sum(len(value) for value in encoded.values() if value.__class__ in (str, bytes))   # 200: a guess


class Tenure:
    """Of one connection, by its link."""
    __slots__ = ("link", "first", "channel", "asked", "vacant", "until", "announced", "state", "entries", "size", "flushing",
                 "deadline", "former")

    def __init__(self, link, first: dict, deadline: float):
        self.link, self.channel = link, first["type"]
        self.first = pack({k: v for k, v in first.items() if k not in ("order", "deadline")})
        self.asked, self.vacant, self.deadline = True, False, deadline
        self.until, self.announced, self.state, self.former = 0.0, None, None, None
        self.entries: deque[Entry] | None = None
        self.size, self.flushing = 0, False

    exchange = property(lambda self: self.link.connection.factory.exchange)

    @property
    def room(self) -> bool:
        if self.vacant or self.flushing:
            return False
        return not self.entries or self.size < WINDOW_BYTES and self.entries[-1].order is not None

    def outlives(self) -> bool:
        """The peer is gone, and an owner has still to hear something."""
        return not self.asked and self.link.name is not None and (self.vacant or any(
            entry.order is None for entry in self.entries or ()))

    # What goes to the owner

    async def send(self, encoded: dict) -> None:
        """Raises MessageTooLarge."""
        entry = Entry(encoded)
        if self.entries is None:
            self.entries = deque()
        self.entries.append(entry)
        self.size += entry.size
        if not self.vacant:
            await self.flush()

    async def flush(self) -> None:
        """Send what was not sent, in order. Raises MessageTooLarge of the newest."""
        if self.flushing:
            return
        self.flushing, link = True, self.link
        try:
            while (entry := self.unsent()) is not None:         # the goodbye may come while this waits
                if self.vacant or link.owner is None:
                    return
                entry.order = entry.encoded["order"] = order = self.number()
                try:
                    entry.given = True
                    await self.exchange.layer.send(link.owner, entry.encoded)
                except Unconfirmed:
                    pass                        # the owner has it, or sees the gap
                except MessageTooLarge:
                    self.entries.remove(entry)
                    self.size -= entry.size
                    self.unnumber(order)
                    raise
                except ChannelFull:
                    entry.order, entry.given = None, False
                    self.unnumber(order)
                    self.exchange.clock.callLater(RETRY, self.again)
                    return
        finally:
            self.flushing = False
        if link.story is None and not self.vacant:      # until then it may have more to say
            link.forget()

    def unsent(self) -> Entry | None:
        """The oldest."""
        return next((entry for entry in self.entries or () if entry.order is None), None)

    def number(self) -> int:
        """Taken before the message is sent: its reader may answer it before the layer has confirmed it."""
        self.link.order += 1
        return self.link.order - 1

    def unnumber(self, order: int) -> None:
        """It was not sent. If another one was meanwhile, its reader sees a hole, which is better than a number twice."""
        if self.link.order == order + 1:
            self.link.order = order

    def again(self) -> None:
        if not self.link.name or self.vacant:
            return
        ensureDeferred(self.flush()).addCallbacks(self.flushed, self.fault)

    def flushed(self, nothing) -> None:
        if self.link.ended is None and self.room:
            self.link.deliver(HANDLED)

    def fault(self, failure) -> None:
        log.failure("what waited for {channel}'s owner was not sent", failure, channel=self.channel)
        self.flushed(None)                      # what comes next is not to wait for it

    def handled(self, order: int) -> None:
        """All up to this one."""
        entries = self.entries
        while entries and entries[0].order is not None and entries[0].order <= order:
            self.size -= entries.popleft().size

    # Owners come and go

    def claimed(self) -> None:
        """`link.owner` is new."""
        link, former = self.link, self.former
        if former is not None and former != link.owner:
            self.exchange.gone(link.name, former)       # it may only have been stalled
        self.former = None
        self.vacate(False)
        if self.entries or link.ended:
            self.again()
        else:
            self.flushed(None)

    def plain(self) -> None:
        """Taken by a worker that owns nothing: what waits goes to the shared channels."""
        if not self.vacant:
            return
        self.vacate(False)
        entries, self.entries, self.size = self.entries or (), None, 0
        for entry in entries:
            entry.encoded["order"] = self.link.order
            self.link.order += 1
            self.exchange.tell(entry.encoded["type"], entry.encoded)
        self.flushed(None)
        if self.link.story is None:
            self.link.forget()

    def given_back(self) -> None:
        for entry in self.entries or ():
            entry.order, entry.given = None, False
        self.exchange.disown(self.link.name, self.link)
        self.announce()

    def lost(self, untaken=()) -> None:
        """`untaken`: orders of what the owner was sent and never took."""
        link, kept = self.link, deque(entry for entry in self.entries or () if not entry.given or entry.order in untaken)
        for entry in kept:
            entry.order, entry.given = None, False
        if link.again is not None and link.story is not None:
            for message in reversed(link.again([entry.encoded for entry in kept])):
                kept.appendleft(Entry(dict(message.__message__.encode(message), reply_channel=link.reply_channel)))
        if kept or self.entries:
            self.entries, self.size = kept, sum(entry.size for entry in kept)
        self.announce()

    def gap(self, gap: Gap) -> None:
        """After all was lost, whoever kept the connection in a group must do so again. Where a claim may have been lost the
        connection is announced again."""
        link = self.link
        if gap.everything and self.exchange.layer.reader_mark == "?":
            link.deliver(gap)                   # classic workers never see `resumed`
        elif gap.everything and link.owner is None and not self.vacant and not self.asked:
            link.epoch += 1                     # plain workers claim nothing
            self.exchange.announcer.add(self)
        elif gap.everything or self.vacant:
            self.announce()

    # Announcing

    def announce(self) -> None:
        """The connection is nobody's: whoever takes it is told all of it."""
        self.suspend()
        self.link.epoch += 1
        self.exchange.announcer.add(self)

    def suspend(self) -> None:
        """It has no owner: what is to be sent waits."""
        link = self.link
        if link.owner is not None:
            self.former = link.owner
            self.exchange.disown(link.name, link)
        if not self.vacant:
            self.vacate(True)
            self.until = self.deadline if self.asked else self.exchange.clock.seconds() + self.exchange.resume_timeout

    def vacate(self, vacant: bool) -> None:
        self.vacant, self.announced = vacant, None
        (self.exchange.announcer.vacant.add if vacant else self.exchange.announcer.vacant.discard)(self)

    def announcement(self) -> dict:
        message = unpack(self.first)
        message |= {"resumed": True, "epoch": self.link.epoch, "state": self.state, "order": self.number()}
        if self.asked:
            message["deadline"] = self.deadline
        return message

    def look(self, now: float) -> None:
        """Once in a while, of one that is vacant."""
        if now >= self.until:
            self.vacate(False)
            if self.link.story is None:
                self.link.forget()
            elif not self.asked:                # whoever asks has a deadline of its own
                self.link.deliver(Abandoned())
        elif not self.exchange.layer.tells_taken and self.announced is not None and now >= self.announced + RENEW:
            self.announce()

    def leave(self, state) -> None:
        """What the owner leaves for the next one."""
        try:
            fits = len(pack({"state": state})) <= MAX_STATE
        except (TypeError, ValueError, OverflowError):
            fits = False
        if fits:
            self.state = state
        else:
            self.link.log(f"a state that is larger than {MAX_STATE} bytes, or no value that layers carry")


class Announcer:
    """Says which connections have no owner, as fast as the workers' channel takes it. One for a process."""

    def __init__(self, exchange):
        self.exchange, self.clock = exchange, exchange.clock
        self.waiting: dict[Tenure, None] = {}
        self.vacant: set[Tenure] = set()
        self.running, self.timer, self.pause = False, None, None

    def add(self, tenure: Tenure) -> None:
        self.waiting[tenure] = None
        if self.timer is None:
            self.timer = self.clock.callLater(TICK, self.tick)
        if not self.running and self.pause is None:
            self.go_on()

    def go_on(self) -> None:
        self.pause = None
        ensureDeferred(self.run()).addErrback(self.fault)

    async def run(self) -> None:
        self.running = True
        try:
            while self.waiting and self.pause is None:
                await self.say(next(iter(self.waiting)))
        finally:
            self.running = False

    async def say(self, tenure: Tenure) -> None:
        link = tenure.link
        if link.name is None or link.owner is not None:
            self.waiting.pop(tenure, None)
            return
        epoch, message = link.epoch, tenure.announcement()
        try:
            await self.exchange.layer.send(tenure.channel, message)
        except Unconfirmed:
            pass                                # it is made again if nobody claims it
        except MessageTooLarge:                 # the first one was not: it is the state
            tenure.state = None
            return tenure.unnumber(message["order"])
        except ChannelFull as error:
            tenure.unnumber(message["order"])
            if not isinstance(error, LayerDown):
                self.exchange.behind(tenure.channel, error)
            self.pause = self.clock.callLater(PACE, self.go_on)
            return
        if link.epoch == epoch:
            tenure.announced = self.clock.seconds()
            self.waiting.pop(tenure, None)

    def tick(self) -> None:
        self.timer, now = None, self.clock.seconds()
        for tenure in list(self.vacant):
            tenure.look(now)
        if self.vacant or self.waiting:
            self.timer = self.clock.callLater(TICK, self.tick)

    def fault(self, failure) -> None:
        log.failure("announcing failed", failure)
        self.pause = self.pause or self.clock.callLater(PACE, self.go_on)

    def close(self) -> None:
        for timer in (self.timer, self.pause):
            if timer is not None:
                timer.cancel()
        self.timer = self.pause = None
        self.waiting.clear()
        self.vacant.clear()

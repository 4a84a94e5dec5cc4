"""Shared channels in memory: messages in order, pushed to readers that have room. Pure: every call is told the time.

At most once rests on three rules. A message that was pushed belongs to its reader until that says that it began
(`started`: nobody gets it again) or goes without having said so (`withdraw`, `leave`: back to its old place). The
reader says so before it begins. And from a reader whose words can't be trusted nothing comes back.

There is no timer: what expired is dropped when it is met, when its channel is full, and every SWEEP seconds by a `put`.
"""
import re
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, Protocol

from interfaces.contract import ChannelFull
from interfaces.layers.wire_local import MAX_MESSAGE

NAME = re.compile(r"[a-zA-Z\d\-_.]{1,99}", re.ASCII)        # channels 4, BaseChannelLayer: these, and under 100 of them
SWEEP = 10.0                # seconds; a guess: a sixth of the usual expiry
MIB = 1024 * 1024


class BadName(ValueError):
    """No channel or group can have this name."""


@dataclass(frozen=True)
class Limits:
    capacity: int = 5000                    # messages in a shared channel: messages.md, Sizes
    max_bytes: int = 64 * MIB               # of a shared channel: messages.md, Sizes
    max_total: int = 1024 * MIB             # of all of them: a guess; many uploads at once must not eat the machine
    expiry: float = 60.0                    # seconds: Channels' default
    group_expiry: float = 86400.0           # seconds: Channels' default
    max_message: int = MAX_MESSAGE          # bytes, encoded
    # One-off channels for the parts of a request, named and deleted by the server: 8 are out (messages.md, Sizes).
    capacities: dict[str, int] = field(default_factory=lambda: {"http.request.body.": 8})


class Reader(Protocol):
    """A worker process as the layer sees it. No method may call the layer back before it has returned."""
    process: str            # the part before "!" of its own channels: "specific.x1y2"
    paused: bool            # it doesn't read: shared channels keep their messages until `resumed(reader)`
    rank: int               # of its release: only the highest that listens gets messages (releases.py)

    def push(self, channel: str, payload: bytes) -> bool: ...                   # False: refused, the box is full
    def push_many(self, channels: list[str], payload: bytes) -> int: ...        # gives how many were refused
    def withdrawn(self, channel: str) -> None: ...


class Message(NamedTuple):
    number: int             # its place among all messages: what comes back goes back in this order
    payload: bytes
    expires: float          # seconds since the epoch
    reply_channel: str      # of a connection of this process, or ""


NUMBER = attrgetter("number")


class Desk:
    """A reader's place at a channel: how much more it takes, and what it has but did not begin."""
    __slots__ = ("reader", "credit", "unstarted")

    def __init__(self, reader: Reader):
        self.reader, self.credit, self.unstarted = reader, 0, deque()


class SharedChannel:
    """`count` and `size` (bytes) are of all that is not started: what was pushed may come back, and holds its place."""
    __slots__ = ("name", "capacity", "waiting", "desks", "count", "size")

    def __init__(self, name: str, capacity: int):
        self.name, self.capacity = name, capacity
        self.waiting: deque[Message] = deque()
        self.desks: dict[Reader, Desk] = {}         # least recently used first
        self.count = self.size = 0

    def free_desk(self) -> Desk | None:
        """Of the highest rank the one with the most credit left; of equal ones the least recently used, which comes first."""
        best, most, rank = None, 0, 0
        for desk in self.desks.values():
            if desk.reader.rank > rank:         # the newest release, even if it has no room now
                best, most, rank = None, 0, desk.reader.rank
            if desk.credit > most and not desk.reader.paused and desk.reader.rank == rank:
                best, most = desk, desk.credit
        return best

    def push(self, desk: Desk, message: Message) -> None:
        desk.credit -= 1
        desk.unstarted.append(message)
        if len(self.desks) > 1:
            self.desks[desk.reader] = self.desks.pop(desk.reader)
        desk.reader.push(self.name, message.payload)

    def put_back(self, messages: Iterable[Message]) -> None:
        """To the front, each at its old place. A reader may have got one that came back after a newer one."""
        messages = sorted(messages, key=NUMBER)
        while self.waiting and self.waiting[0].number < messages[-1].number:
            insort(messages, self.waiting.popleft(), key=NUMBER)
        self.waiting.extendleft(reversed(messages))


class SharedChannels:
    """All shared channels of a layer. One that holds nothing and has no reader leaves no trace."""

    def __init__(self, limits: Limits, now: float):
        self.limits, self.opened, self.swept = limits, now, now
        self.channels: dict[str, SharedChannel] = {}
        self.desks: dict[Reader, dict[str, Desk]] = {}
        self.deleted: dict[str, float] = {}         # one-off channels that are over -> until when we remember that
        self.left: dict[str, float] = {}            # channel -> when its last reader left
        self.size = self.delivered = self.expired = self.full = self.doubtful = 0

    def put(self, name: str, message: Message, now: float, capacity: int = 0) -> None:
        """Raises ChannelFull, BadName."""
        if now - self.swept >= SWEEP:
            self.sweep(now)
        channel = self.channels.get(name) or self.make(name)
        size = len(message.payload)
        if (channel.count >= (capacity or channel.capacity) or channel.size + size > self.limits.max_bytes
                or self.size + size > self.limits.max_total):
            self.make_room(channel, size, now, capacity or channel.capacity)
        channel.count += 1
        channel.size += size
        self.size += size
        desk = channel.free_desk() if not channel.waiting else None
        if desk is None:
            channel.waiting.append(message)
        else:
            channel.push(desk, message)

    def make_room(self, channel: SharedChannel, size: int, now: float, capacity: int) -> None:
        """Expired messages don't count."""
        if self.size + size > self.limits.max_total:
            self.sweep(now)
        self.expire(channel, now)
        if (channel.count >= capacity or channel.size + size > self.limits.max_bytes
                or self.size + size > self.limits.max_total):
            self.full += 1
            self.tidy(channel)
            raise ChannelFull(f"{channel.name} holds {channel.count} messages, {channel.size} bytes")
        self.channels[channel.name] = channel       # the sweep may have found it empty

    def make(self, name: str) -> SharedChannel:
        if not NAME.fullmatch(name):
            raise BadName(f"{name[:100]!r} is no shared channel's name")
        capacity = next((most for prefix, most in self.limits.capacities.items() if name.startswith(prefix)),
                        self.limits.capacity)
        channel = self.channels[name] = SharedChannel(name, capacity)
        return channel

    def credit(self, reader: Reader, name: str, n: int, now: float) -> None:
        """The reader takes n more messages of this channel; with 0 it only listens."""
        if name in self.deleted:
            return
        channel = self.channels.get(name) or self.make(name)
        desk = channel.desks.get(reader)
        if desk is None:
            desk = channel.desks[reader] = self.desks.setdefault(reader, {})[name] = Desk(reader)
        desk.credit += n
        if channel.waiting:
            self.refill(channel, now)

    def refill(self, channel: SharedChannel, now: float) -> None:
        """Push what waits to whom has room."""
        while channel.waiting and (desk := channel.free_desk()) is not None:
            message = channel.waiting.popleft()
            if message.expires > now:
                channel.push(desk, message)
            else:
                self.expired += 1
                self.release(channel, message)

    def started(self, reader: Reader, name: str, n: int) -> list[Message]:
        """The n oldest pushed ones begin to run. ValueError when there are not so many."""
        desk = self.desks.get(reader, {}).get(name)
        if desk is None or len(desk.unstarted) < n:
            if name in self.deleted:
                return []
            raise ValueError("more was started than was sent")
        begun = [desk.unstarted.popleft() for _ in range(n)]
        self.drop(self.channels[name], begun)
        self.delivered += n
        return begun

    def withdraw(self, reader: Reader, name: str, now: float, doubtful: bool = False) -> None:
        """It leaves this channel. What it did not start goes to another, to nobody if its words are doubtful."""
        desk = self.desks.get(reader, {}).pop(name, None)
        if desk is None:
            return
        channel = self.channels[name]
        del channel.desks[reader]
        if not channel.desks:
            self.left[name] = now
        if doubtful:
            self.drop(channel, desk.unstarted)
            self.doubtful += len(desk.unstarted)
        else:
            if desk.unstarted:
                channel.put_back(desk.unstarted)
            self.refill(channel, now)           # an older release may be the newest that is left
        self.tidy(channel)

    def leave(self, reader: Reader, now: float, doubtful: bool = False) -> None:
        """The reader leaves all channels."""
        for name in list(self.desks.get(reader, ())):
            self.withdraw(reader, name, now, doubtful)
        self.desks.pop(reader, None)

    def resumed(self, reader: Reader, now: float) -> None:
        for name in list(self.desks.get(reader, ())):
            self.refill(self.channels[name], now)

    def delete(self, name: str, now: float) -> None:
        """Drop what waits. A one-off channel is over then: credit and starts still on their way mean nothing."""
        channel = self.channels.get(name)
        one_off = name.startswith(tuple(self.limits.capacities))
        if one_off:
            self.deleted[name] = now + self.limits.expiry
        if channel is None:
            return
        self.drop(channel, channel.waiting)
        channel.waiting.clear()
        if one_off:
            for reader, desk in channel.desks.items():
                self.drop(channel, desk.unstarted)
                del self.desks[reader][name]
            channel.desks.clear()
        self.tidy(channel)

    def end(self, name: str, last: Message, now: float) -> None:
        """Drop what waits; `last` takes its place, for a reader that is there or comes before it expires."""
        channel = self.channels.get(name)
        if channel is not None:
            self.drop(channel, channel.waiting)
            channel.waiting.clear()
        self.put(name, last, now, 0 if channel is None else channel.count + 1)

    def clear(self) -> None:
        """Drop what waits, everywhere."""
        for channel in list(self.channels.values()):
            self.drop(channel, channel.waiting)
            channel.waiting.clear()
            self.tidy(channel)

    def drop(self, channel: SharedChannel, messages: Iterable[Message]) -> None:
        for message in messages:
            self.release(channel, message)

    def release(self, channel: SharedChannel, message: Message) -> None:
        """This message is no longer the channel's."""
        size = len(message.payload)
        channel.count -= 1
        channel.size -= size
        self.size -= size

    def expire(self, channel: SharedChannel, now: float) -> None:
        kept = deque(message for message in channel.waiting if message.expires > now)
        if len(kept) == len(channel.waiting):
            return
        self.expired += len(channel.waiting) - len(kept)
        self.drop(channel, [message for message in channel.waiting if message.expires <= now])
        channel.waiting = kept

    def tidy(self, channel: SharedChannel) -> None:
        if not channel.count and not channel.desks:
            self.channels.pop(channel.name, None)

    def sweep(self, now: float) -> None:
        self.swept = now
        for channel in list(self.channels.values()):
            self.expire(channel, now)
            self.tidy(channel)
        for times, longest in ((self.deleted, 0.0), (self.left, self.limits.expiry)):
            for name in [name for name, when in times.items() if when + longest <= now]:
                del times[name]

    def deserted(self, name: str, now: float) -> float:
        """For how many seconds nobody listens: 0.0 when somebody does, at most the layer's age."""
        channel = self.channels.get(name)
        return 0.0 if channel is not None and channel.desks else now - self.left.get(name, self.opened)

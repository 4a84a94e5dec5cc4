"""A channel layer in this process's memory, on the clock it is given. The hub of `local:` is this with a socket."""
import re
import secrets
from collections import deque
from itertools import count
from typing import Any

from twisted.logger import Logger

from interfaces.contract import DONE, ChannelFull, Deliver, Done, Lost, MessageTooLarge, Taken
from interfaces.layers.groups import Groups, process_of
from interfaces.layers.presence import Presence
from interfaces.layers.shared import NAME, BadName, Limits, Message, Reader, SharedChannels
from interfaces.layers.wire_local import pack, unpack

CHANNEL = re.compile(r"(?=.{1,99}\Z)[a-zA-Z\d\-_.]+(![\w\-.]*)?", re.ASCII)     # channels 4, BaseChannelLayer
NAME_BYTES = 16             # messages.md, reply_channel: 128 bits from `secrets`, 22 characters
log = Logger(namespace="interfaces.layers")


class Address:
    """This process's own channels: `<prefix>!<connection>`."""

    def __init__(self, layer: "MemoryLayer", prefix: str, deliver: Deliver):
        self.layer, self.prefix, self.deliver = layer, prefix, deliver
        # Connections that workers were told of -> the readers that own them, or may: which of two claims is newer only
        # the server knows, and being told of a loss too often does no harm.
        self.owners: dict[str, tuple[Reader, ...]] = {}

    def forget(self, connection: str) -> None:
        """This connection is over: out of all groups, owned by nobody."""
        self.owners.pop(connection, None)
        self.layer.groups.forget(self.prefix, f"{self.prefix}!{connection}")
        self.layer.presence.forget(f"{self.prefix}!{connection}")

    def claim(self, connection: str, reader: Reader | None) -> None:
        owners = self.owners.get(connection)
        if reader is not None and owners is not None and reader not in owners:
            self.owners[connection] = (*owners, reader)

    def abandon(self, reader: Reader) -> bool:
        """This reader owns nothing any more. True when it owned a connection."""
        owned = [connection for connection, owners in self.owners.items() if reader in owners]
        for connection in owned:
            self.owners[connection] = tuple(owner for owner in self.owners[connection] if owner is not reader)
        return bool(owned)


def decoded(payload: bytes) -> dict:
    """Raises ValueError."""
    message = unpack(payload)
    if message.__class__ is not dict:
        raise ValueError("a message that is no dict")
    return message


class MemoryLayer:
    """interfaces.layers.contract.ChannelLayer for one process. `clock` is a Twisted reactor or a task.Clock; for settings see
    shared.Limits. From `attach` on the methods are for readers: the workers of this machine, or a test's."""

    tells_taken = tells_lost = True
    watch = None
    reader_mark, storage = ".", None

    def __init__(self, clock, **limits):
        self.clock, self.limits = clock, Limits(**limits)
        self.shared = SharedChannels(self.limits, clock.seconds())
        self.groups, self.presence = Groups(), Presence(self)
        self.addresses: dict[str, Address] = {}
        self.processes: dict[str, Reader] = {}
        self.numbers = count()
        self.queue: deque[tuple[Address, str, Any]] = deque()
        self.flushing = None
        self.sent = self.dropped = self.refused = 0

    def open(self, prefix: str, deliver: Deliver):
        """An awaitable of an Address whose prefix nobody can guess."""
        address = Address(self, f"{prefix}.{secrets.token_urlsafe(NAME_BYTES)}", deliver)
        self.addresses[address.prefix] = address
        return Done(address)

    def send(self, channel: str, message: dict):
        """Raises ChannelFull, MessageTooLarge; TypeError, ValueError for what no message or no name can be."""
        payload = self.checked(pack(message))
        if "!" in channel:
            self.forward(channel, payload, soon=True)
            return DONE
        reply_channel = message.get("reply_channel") or ""
        prefix, mark, connection = reply_channel.partition("!")
        if mark and prefix in self.addresses:
            self.addresses[prefix].owners.setdefault(connection, ())
        now = self.clock.seconds()
        expires = message.get("deadline") or now + self.limits.expiry
        self.shared.put(channel, Message(next(self.numbers), payload, expires, reply_channel), now)
        self.sent += 1
        return DONE

    def group_add(self, group: str, channel: str):
        self.groups.add(group, channel, self.clock.seconds() + self.limits.group_expiry)
        return DONE

    def group_discard(self, group: str, channel: str):
        self.groups.discard(group, channel)
        return DONE

    def group_send(self, group: str, message: dict, but: str = ""):
        """Each channel once. Full ones are skipped and counted."""
        self.deal(group, self.checked(pack(message)), (0, 0.0), soon=True)
        return DONE

    def delete(self, channel: str, last: dict | None = None):
        now = self.clock.seconds()
        if last is None:
            self.shared.delete(channel, now)
        else:
            payload = self.checked(pack(last))
            self.shared.end(channel, Message(next(self.numbers), payload, now + self.limits.expiry, ""), now)
        return DONE

    def close(self):
        """Forget everything. What was not delivered is dropped."""
        if self.flushing is not None:
            self.flushing.cancel()
            self.flushing = None
        self.queue.clear()
        self.addresses.clear()
        self.processes.clear()
        self.shared, self.groups = SharedChannels(self.limits, self.clock.seconds()), Groups()
        self.presence.close()
        return DONE

    def recover(self, owner: str) -> Done:
        return Done({})         # Lost tells

    def listening(self, channel: str) -> bool:
        found = self.shared.channels.get(channel)
        return found is not None and bool(found.desks)

    def deserted(self, channel: str) -> float:
        """For how many seconds nobody has listened to this channel: 0.0 when somebody does, at most the layer's age."""
        return self.shared.deserted(channel, self.clock.seconds())

    def statistics(self) -> dict:
        """Counts since the start; waiting {channel: messages}; readers {process: {channel: {credit, unstarted}}}."""
        shared = self.shared
        readers = {process: {name: {"credit": desk.credit, "unstarted": len(desk.unstarted)}
                             for name, desk in shared.desks.get(reader, {}).items()}
                   for process, reader in self.processes.items()}
        waiting = {name: len(found.waiting) for name, found in shared.channels.items() if found.waiting}
        return {"sent": self.sent, "delivered": shared.delivered, "dropped": self.dropped + shared.doubtful,
                "expired": shared.expired, "full": shared.full + self.refused, "bytes": shared.size,
                "waiting": waiting, "readers": readers, "groups": len(self.groups.members)}

    # For readers

    def attach(self, reader: Reader) -> None:
        """A worker is there. One that comes again under its name takes its own place."""
        before = self.processes.get(reader.process)
        if before is not None:
            self.detach(before)
        self.processes[reader.process] = reader

    def detach(self, reader: Reader, doubtful: bool = False) -> None:
        """The worker is gone; what it did not start goes to another. `doubtful`: its words can't be trusted, so what it
        was sent may have run, and nobody gets it again."""
        if self.processes.get(reader.process) is not reader:
            return
        del self.processes[reader.process]
        self.groups.forget_process(reader.process)
        self.presence.forget(reader.process)
        self.shared.leave(reader, self.clock.seconds(), doubtful)
        for address in list(self.addresses.values()):
            if address.abandon(reader):
                self.tell(address, "", Lost(reader.process))

    def credit(self, reader: Reader, channel: str, n: int) -> None:
        """`reader` takes n more messages of this channel; with 0 it only listens. BadName."""
        if self.processes.get(reader.process) is reader:
            self.shared.credit(reader, channel, n, self.clock.seconds())

    def started(self, reader: Reader, channel: str, n: int, owner: str = "") -> None:
        """The n oldest pushed ones begin to run: nobody gets them again. `owner` is the channel that owns their
        connections from now on, or "". ValueError: more than were pushed, or an owner in another process."""
        if owner and process_of(owner) != reader.process:
            raise ValueError("an owner in another process")
        taken = Taken(owner or None)
        for message in self.shared.started(reader, channel, n):
            prefix, mark, connection = message.reply_channel.partition("!")
            address = self.addresses.get(prefix)
            if address is not None:
                if connection in address.owners:
                    address.owners[connection] = (reader,) if owner else ()
                self.tell(address, connection, taken)       # also where it is over: an owner must learn that

    def withdraw(self, reader: Reader, channel: str) -> None:
        """Push no more of this channel; what was not started goes to another reader."""
        reader.withdrawn(channel)
        self.shared.withdraw(reader, channel, self.clock.seconds())

    def resumed(self, reader: Reader) -> None:
        """It reads again: `reader.paused` is False."""
        self.shared.resumed(reader, self.clock.seconds())

    def put(self, channel: str, payload: bytes, capacity: int = 0, expiry: float = 0.0) -> None:
        """A worker's send; 0 stands for the layer's own value. ChannelFull, MessageTooLarge, BadName; ValueError: bytes
        that are no message."""
        self.checked(payload)
        if "!" in channel:
            self.forward(channel, payload)
            return
        now = self.clock.seconds()
        message = Message(next(self.numbers), payload, now + (expiry or self.limits.expiry), "")
        self.shared.put(channel, message, now, capacity)
        self.sent += 1

    def join(self, group: str, channel: str, expiry: float = 0.0) -> None:
        """A worker's group_add; BadName. The name of a process or connection that is gone would stay a day: dropped."""
        if not NAME.fullmatch(group) or not CHANNEL.fullmatch(channel):
            raise BadName("no group's or no channel's name")
        prefix, mark, connection = channel.partition("!")
        address = self.addresses.get(prefix)
        if mark and (connection not in address.owners if address is not None else prefix not in self.processes):
            self.dropped += 1
            return
        self.groups.add(group, channel, self.clock.seconds() + (expiry or self.limits.group_expiry))

    def spread(self, group: str, payload: bytes, capacity: int = 0, expiry: float = 0.0) -> None:
        """A worker's group_send; 0 stands for the layer's own value. MessageTooLarge; ValueError: no message."""
        self.deal(group, self.checked(payload), (capacity, expiry))

    def clear(self) -> None:
        """Channels' flush: drop all that waits, all groups, and who is in them."""
        self.shared.clear()
        self.groups = Groups()
        self.presence.close()

    # What both sides rest on

    def checked(self, payload: bytes) -> bytes:
        if len(payload) > self.limits.max_message:
            raise MessageTooLarge(f"{len(payload)} bytes; the layer carries {self.limits.max_message}")
        return payload

    def deal(self, group: str, payload: bytes, bounds: tuple[int, float], soon: bool = False) -> None:
        """Once to each channel: decoded once for all connections of this process, pushed once for all of a reader."""
        now = self.clock.seconds()
        capacity, expires = bounds[0], now + (bounds[1] or self.limits.expiry)
        own, foreign = [], {}
        for channel in self.groups.current(group, now):
            prefix, mark, connection = channel.partition("!")
            if not mark:
                try:
                    self.shared.put(channel, Message(next(self.numbers), payload, expires, ""), now, capacity)
                except ChannelFull:
                    continue
            elif prefix in self.addresses:
                own.append((self.addresses[prefix], connection))
            else:
                foreign.setdefault(prefix, []).append(channel)
        for process, channels in foreign.items():
            reader = self.processes.get(process)
            if reader is None:
                self.dropped += len(channels)
            else:
                self.refused += reader.push_many(channels, payload)
        if own:
            message = decoded(payload)
            for address, connection in own:
                self.tell(address, connection, dict(message), soon)
        self.sent += 1

    def forward(self, channel: str, payload: bytes, soon: bool = False) -> None:
        """To a process's own channel. What nobody's process is called is dropped and counted."""
        prefix, mark, connection = channel.partition("!")
        address = self.addresses.get(prefix)
        if address is not None:
            message = decoded(payload)
            owner = message.get("receive_channel")
            if owner.__class__ is str:          # adoption by a reply: messages.md, Ownership
                address.claim(connection, self.processes.get(process_of(owner)))
            self.tell(address, connection, message, soon)
        elif prefix not in self.processes:
            self.dropped += 1
            return
        elif not self.processes[prefix].push(channel, payload):
            self.refused += 1
            raise ChannelFull(f"{channel} is not read")
        self.sent += 1

    def tell(self, address: Address, connection: str, item: Any, soon: bool = False) -> None:
        """Deliver: at once what came from a socket, a turn later what the server says to itself (inside `send`)."""
        if not soon and not self.queue:
            self.hand_over(address, connection, item)
            return
        self.queue.append((address, connection, item))
        if self.flushing is None:
            self.flushing = self.clock.callLater(0, self.hand_over_queue)

    def hand_over_queue(self) -> None:
        self.flushing = None
        for _ in range(len(self.queue)):        # what the stories say meanwhile waits for the next turn
            if self.queue:                      # `close` may come in between
                self.hand_over(*self.queue.popleft())
        if self.queue and self.flushing is None:
            self.flushing = self.clock.callLater(0, self.hand_over_queue)

    def hand_over(self, address: Address, connection: str, item: Any) -> None:
        try:
            address.deliver(connection, item)
        except Exception:
            # One story must not stop the others.
            log.failure("delivery to {connection} failed", connection=connection)

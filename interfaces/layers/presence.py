"""Who is present in which group of a layer in memory. A member is there as long as one of its channels is; a channel goes
when it leaves, and with its worker's socket or the server's connection it belongs to.

The list changes at once. A change is told a turn later, and a leave GRACE seconds later, if the member has not come back
by then: what comes again at once (a page that is loaded anew, a connection that another worker takes over) tells nothing.
"""
from itertools import count
from typing import NamedTuple

from interfaces.contract import ChannelFull
from interfaces.layers.shared import NAME, BadName
from interfaces.layers.wire_local import GRACE, INFO_BYTES, MEMBER_BYTES, PAGE, PAGE_BYTES, changed, pack

ENTRIES = 1_000_000         # channels of members in all groups, some 500 MB; a guess: 20 times a server's connections


class Said(NamedTuple):
    info: bytes = b""       # msgpack, unopened
    notify: bool = False


class Member:
    def __init__(self, number: int):
        self.number = number                        # its place in the list
        self.channels: dict[str, str] = {}          # -> the holder: a worker's process, or the channel itself
        self.said = Said()                          # with the latest join


class Presence:
    """Of a MemoryLayer: its clock, its processes, its connections; changes are dealt to its groups."""

    def __init__(self, layer):
        self.layer, self.numbers = layer, count(1)
        self.groups: dict[str, dict[str, Member]] = {}
        self.held: dict[str, set[tuple[str, str, str]]] = {}        # holder -> (group, member, channel)
        self.entries = 0
        self.leaving: dict[tuple[str, str], float] = {}             # (group, member) -> when it is told, soonest first
        self.joined: dict[tuple[str, str], None] = {}               # to be told in the next turn
        self.timer = None

    def join(self, process: str, group: str, entry: tuple[str, str], said: Said) -> bool:
        """`process` says that a member is there by a channel, again or anew. True: by no other yet. A channel of a process or
        connection that is gone joins nothing. BadName; ChannelFull; ValueError: larger than it may be."""
        member, channel = entry
        if not 0 < len(member.encode()) <= MEMBER_BYTES or len(said.info) > INFO_BYTES:
            raise ValueError("a member's name or info that is too long, or empty")
        if not NAME.fullmatch(group):
            raise BadName("no group's name")
        holder = self.holder(process, channel)
        if holder is None:
            return False
        members = self.groups.get(group, {})
        found = members.get(member)
        if found is None or channel not in found.channels:
            if self.entries >= ENTRIES:
                raise ChannelFull(f"{ENTRIES} channels of members are present")
            self.entries += 1
        first = found is None
        if first:
            found = self.groups.setdefault(group, members)[member] = Member(next(self.numbers))
        self.release(found.channels.get(channel), (group, member, channel))
        found.channels[channel], found.said = holder, said
        self.held.setdefault(holder, set()).add((group, member, channel))
        if first and self.leaving.pop((group, member), None) is None and said.notify:
            self.joined[group, member] = None
            self.arm()
        return first

    def holder(self, process: str, channel: str) -> str | None:
        """With what the channel goes; None: it is gone. BadName."""
        prefix, mark, connection = channel.partition("!")
        if not mark:
            if not NAME.fullmatch(channel):
                raise BadName("no channel's name")
            return process
        address = self.layer.addresses.get(prefix)
        if address is not None:
            return channel if connection in address.owners else None
        return prefix if prefix in self.layer.processes else None

    def leave(self, group: str, member: str, channel: str) -> bool:
        """True: it was the member's last."""
        found = self.groups.get(group, {}).get(member)
        if found is None or channel not in found.channels:
            return False
        self.release(found.channels.pop(channel), (group, member, channel))
        self.entries -= 1
        if found.channels:
            return False
        del self.groups[group][member]
        if not self.groups[group]:
            del self.groups[group]
        if (group, member) in self.joined:
            del self.joined[group, member]                          # nobody has heard that it came
        elif found.said.notify:
            self.leaving[group, member] = self.layer.clock.seconds() + GRACE
            self.arm()
        return True

    def release(self, holder: str | None, entry: tuple[str, str, str]) -> None:
        held = self.held.get(holder)
        if held is not None:
            held.discard(entry)
            if not held:
                del self.held[holder]

    def forget(self, holder: str) -> None:
        """A worker is gone, or a connection is over."""
        for entry in sorted(self.held.get(holder, ())):
            self.leave(*entry)

    def page(self, group: str, after: int, most: int) -> tuple[int, int, list]:
        """Of the members behind number `after`, in the order they came, as many as one answer carries: (how many there are in
        all, the `after` of the next page or 0, [(member, info, channels)])."""
        members, rows, room, last = self.groups.get(group, {}), [], PAGE_BYTES, 0
        for name, member in members.items():
            if member.number <= after:
                continue
            if len(rows) >= min(most, PAGE) or room <= 0:
                return len(members), last, rows
            rows.append((name, member.said.info, len(member.channels)))
            room -= len(name.encode()) + len(member.said.info)
            last = member.number
        return len(members), 0, rows

    # What changed is told

    def arm(self) -> None:
        if self.timer is None and (self.joined or self.leaving):
            due = 0.0 if self.joined else next(iter(self.leaving.values())) - self.layer.clock.seconds()
            self.timer = self.layer.clock.callLater(max(0.0, due), self.tell)
        elif self.joined and self.timer is not None and self.timer.getTime() > self.layer.clock.seconds():
            self.timer.reset(0)

    def tell(self) -> None:
        self.timer, now = None, self.layer.clock.seconds()
        changes: dict[tuple[str, bool], list[str]] = {}
        for group, member in self.joined:
            changes.setdefault((group, True), []).append(member)
        self.joined.clear()
        while self.leaving and next(iter(self.leaving.values())) <= now:
            group, member = next(iter(self.leaving))
            del self.leaving[group, member]
            changes.setdefault((group, False), []).append(member)
        for (group, joined), members in changes.items():
            for message in changed(group, members, joined, len(self.groups.get(group, ()))):
                self.layer.deal(group, pack(message), (0, 0.0))
        self.arm()

    def close(self) -> None:
        """Nobody is there any more, nothing is told, and no timer is left."""
        if self.timer is not None:
            self.timer.cancel()
        self.__init__(self.layer)

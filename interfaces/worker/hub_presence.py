"""Presence over a `local:` hub. A lease is the socket itself: the hub sees it close when this process is killed."""
import msgpack

from interfaces.layers import wire_local as wire


class HubPresence:
    """Of a LocalChannelLayer. Names and sizes were checked by presence.py."""

    def start_afresh(self) -> None:
        # What a restarted server has forgotten: (group, member, channel) -> (info, notify).
        self.present: dict[tuple[str, str, str], tuple[bytes, bool]] = {}
        super().start_afresh()

    async def presence_join(self, group: str, entry: tuple[str, str], info: bytes, notify: bool) -> bool:
        """True: the member was not there before. ChannelFull: the hub holds all it may."""
        said = msgpack.packb([*entry, info, notify])

        def payload(number: int) -> bytes:
            if self.mine(entry[1]):
                self.present[group, *entry] = info, notify     # not before: what comes again as well is not the first
            return wire.CREDIT.pack(number) + said

        try:
            [first] = wire.unpack(await self.ask(wire.PRESENT, group, payload))
        except BaseException:
            self.present.pop((group, *entry), None)
            raise
        return first

    async def presence_leave(self, group: str, member: str, channel: str) -> bool:
        """True: it was the member's last channel."""
        self.present.pop((group, member, channel), None)
        payload = msgpack.packb([member, channel])
        [last] = wire.unpack(await self.ask(wire.ABSENT, group, lambda number: wire.CREDIT.pack(number) + payload))
        return last

    async def presence_page(self, group: str, after: int, most: int) -> tuple[int, int, list]:
        """How many members there are in all, the `after` of the next page or 0, and [(member, info, channels)]."""
        payload = msgpack.packb([after, most])
        found = await self.ask(wire.MEMBERS, group, lambda number: wire.CREDIT.pack(number) + payload)
        count, following, rows = wire.unpack(found)
        return count, following, rows

    def presence_end(self, group: str, member: str, channel: str) -> None:
        """`presence_leave` without waiting, from any thread."""
        self.present.pop((group, member, channel), None)
        home = self.home
        connection = home and home.connection
        if connection is not None:              # else the hub has forgotten it, or will with the socket
            connection.write(wire.frame(wire.ABSENT, group, wire.CREDIT.pack(0) + msgpack.packb([member, channel])))

    def come_again(self, connection) -> None:
        for (group, member, channel), (info, notify) in tuple(self.present.items()):
            payload = msgpack.packb([member, channel, info, notify])
            connection.write(wire.frame(wire.PRESENT, group, wire.CREDIT.pack(0) + payload))

"""Who is in which group. Names of a process that is gone leave all groups at once."""


def process_of(channel: str) -> str:
    """The part before "!", or "" for a shared channel, which belongs to no process."""
    process, mark, connection = channel.partition("!")
    return process if mark else ""


class Groups:
    def __init__(self):
        self.members: dict[str, dict[str, float]] = {}          # group -> channel -> when the membership expires
        self.joined: dict[str, dict[str, set[str]]] = {}        # process -> channel -> groups

    def add(self, group: str, channel: str, expires: float) -> None:
        self.members.setdefault(group, {})[channel] = expires
        self.joined.setdefault(process_of(channel), {}).setdefault(channel, set()).add(group)

    def discard(self, group: str, channel: str) -> None:
        members = self.members.get(group)
        if members is None or members.pop(channel, None) is None:
            return
        if not members:
            del self.members[group]
        process = process_of(channel)
        channels = self.joined[process]
        channels[channel].discard(group)
        if not channels[channel]:
            del channels[channel]
            if not channels:
                del self.joined[process]

    def current(self, group: str, now: float) -> list[str]:
        """The members, in order of joining; expired ones leave."""
        members = self.members.get(group)
        if not members:
            return []
        expired = [channel for channel, expires in members.items() if expires <= now]
        for channel in expired:
            self.discard(group, channel)
        return list(members)

    def forget(self, process: str, channel: str) -> None:
        """This channel is over."""
        channels = self.joined.get(process)
        if channels is not None and channel in channels:
            for group in list(channels[channel]):
                self.discard(group, channel)

    def forget_process(self, process: str) -> None:
        for channel in list(self.joined.get(process, ())):
            self.forget(process, channel)

    def expire(self, now: float) -> None:
        for group in list(self.members):
            self.current(group, now)

"""What a client may publish and subscribe to, as patterns that were given when it was let in. Pure."""
from interfaces.mqtt.topics import matches, split_share

UNSAFE = "+#/\0"        # in a client id or user name these would widen a pattern: "#" as client id (CVE-2017-7650)


class Acl:
    """Topic filters in which `%c` stands for the client id and `%u` for the user name. A pattern that needs a name which is
    not there, or unsafe, gives nothing."""
    __slots__ = ("patterns",)

    def __init__(self, patterns: list[str], client_id: str, username: str | None):
        names = {"%c": client_id, "%u": username}
        self.patterns = tuple(filter(None, (filled(pattern, names) for pattern in patterns)))

    def allows(self, topic: str) -> bool:
        """Whether a topic name may be published to."""
        return any(matches(pattern, topic) for pattern in self.patterns)

    def grants(self, wanted: str) -> bool:
        """Whether a filter may be subscribed to: one pattern matches whatever it matches."""
        inner = split_share(wanted)[1]
        return any(covers(pattern, inner) for pattern in self.patterns)


def filled(pattern: str, names: dict) -> str | None:
    for mark, name in names.items():
        if mark in pattern:
            if not name or any(each in name for each in UNSAFE):
                return None
            pattern = pattern.replace(mark, name.replace("%", "%\0"))       # a name with %u in it is no pattern
    return pattern.replace("%\0", "%")


def covers(pattern: str, wanted: str) -> bool:
    """Whether each topic that the filter `wanted` matches is matched by `pattern`."""
    if wanted[:1] == "$" and pattern[:1] in ("+", "#"):
        return False                                                        # [MQTT-4.7.2-1]
    has, wants = pattern.split("/"), wanted.split("/")
    for at, level in enumerate(has):
        if level == "#":
            return True                                                     # the parent too, 4.7.1.2
        if at == len(wants):
            return has[at:] == ["#"]
        if wants[at] == "#" or level != "+" and level != wants[at]:
            return False
    return len(has) == len(wants)

"""Topic names and topic filters (MQTT 5.0, 4.7 and 4.8.2; 3.1.1 has the same rules), and what is found by them. Pure.

`Tree` finds the subscriptions that a topic name matches, `Retained` the topic names that a filter matches. Both are bounded
in depth by LEVELS, because a name of 64 KiB may have 65,536 levels, each of them a node."""
from collections.abc import Hashable, Iterator
from typing import Any

LEVELS = 200                               # mosquitto's TOPIC_HIERARCHY_LIMIT
LONGEST = 65_535                           # bytes of UTF-8 [MQTT-4.7.3-3]
SHARE = "$share/"                          # [MQTT-4.8.2-1]


def check_topic(text: str) -> None:
    """Raises ValueError for what is no topic name that can be published to."""
    check_name(text)
    if "#" in text or "+" in text:
        raise ValueError("a topic name with a wildcard")             # [MQTT-3.3.2-2]


def check_filter(text: str) -> None:
    """Raises ValueError for what is no topic filter, shared ones included."""
    check_name(text)
    if text.startswith(SHARE):
        name, slash, inner = text[len(SHARE):].partition("/")
        if not name or "+" in name or "#" in name:                   # [MQTT-4.8.2-1], [MQTT-4.8.2-2]
            raise ValueError("a shared subscription without a proper name")
        if not slash or not inner:
            raise ValueError("a shared subscription without a filter")
        text = inner
    if "#" in text and (text.index("#") != len(text) - 1 or text[-2:] not in ("#", "/#")):           # [MQTT-4.7.1-1]
        raise ValueError("a filter with # that is not its last level")
    if "+" in text and any("+" in level and level != "+" for level in text.split("/")):              # [MQTT-4.7.1-2]
        raise ValueError("a filter with + that is not a whole level")


def check_name(text: str) -> None:
    """What holds for names and for filters."""
    if not text:
        raise ValueError("an empty topic")                           # [MQTT-4.7.3-1]
    if "\0" in text:
        raise ValueError("a topic with U+0000")                      # [MQTT-4.7.3-2]
    if len(text.encode()) > LONGEST:                                 # a lone surrogate raises UnicodeEncodeError, a ValueError
        raise ValueError("a topic of more than 65,535 bytes")
    if text.count("/") >= LEVELS:
        raise ValueError("a topic of too many levels")


def split_share(text: str) -> tuple[str, str]:
    """(ShareName, the filter inside) of a shared subscription's filter; ("", the filter) of any other. `text` is checked."""
    if not text.startswith(SHARE):
        return "", text
    name, _, inner = text[len(SHARE):].partition("/")
    return name, inner


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic name matches a filter (without $share); for one of each. For many there is Tree."""
    if "#" not in pattern and "+" not in pattern:
        return pattern == topic
    if topic[:1] == "$" and pattern[0] in "#+":
        return False                                                 # [MQTT-4.7.2-1]
    wanted, levels = pattern.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":                                             # "sport/#" also matches "sport" (4.7.1.2)
            return True
        if at == len(levels) or level != "+" and level != levels[at]:
            return False
    return len(levels) == len(wanted)


class Branch:
    """A level of filters with wildcards. `here`: subscriptions of the filter that ends here; `rest`: of this one and "/#"."""
    __slots__ = ("children", "plus", "here", "rest")

    def __init__(self):
        self.children: dict[str, Branch] | None = None
        self.plus: Branch | None = None
        self.here: dict[Hashable, Any] | None = None
        self.rest: dict[Hashable, Any] | None = None

    def child(self, level: str) -> "Branch":
        """The branch below, made if it isn't there."""
        if level == "+":
            if self.plus is None:
                self.plus = Branch()
            return self.plus
        if self.children is None:
            self.children = {}
        found = self.children.get(level)
        if found is None:
            found = self.children[level] = Branch()
        return found

    def below(self, level: str) -> "Branch | None":
        return self.plus if level == "+" else self.children.get(level) if self.children else None

    def cut(self, level: str) -> None:
        if level == "+":
            self.plus = None
        else:
            del self.children[level]
            self.children = self.children or None

    def bare(self) -> bool:
        return not (self.children or self.plus or self.here or self.rest)


class Tree:
    """Subscriptions by filter: {key: value} for each. Filters are those of check_filter, without $share/{name}/.

    A filter without wildcards costs one entry of a dict; only those with wildcards are a tree."""
    __slots__ = ("exact", "root")

    def __init__(self):
        self.exact: dict[str, dict[Hashable, Any]] = {}
        self.root = Branch()

    def subscribe(self, filter: str, key: Hashable, value: Any) -> Any:
        """Gives the value that stood there before, or None. Raises ValueError for a filter of more than LEVELS."""
        if "#" not in filter and "+" not in filter:
            subscribers = self.exact.get(filter)
            if subscribers is None:
                subscribers = self.exact[filter] = {}
        else:
            subscribers = self.grown(filter)
        before = subscribers.get(key)
        subscribers[key] = value
        return before

    def grown(self, filter: str) -> dict[Hashable, Any]:
        levels = filter.split("/")
        if len(levels) > LEVELS:
            raise ValueError("a filter of too many levels")
        rest = levels[-1] == "#"
        branch = self.root
        for level in levels[:-1] if rest else levels:
            branch = branch.child(level)
        if rest:
            branch.rest = {} if branch.rest is None else branch.rest
            return branch.rest
        branch.here = {} if branch.here is None else branch.here
        return branch.here

    def unsubscribe(self, filter: str, key: Hashable) -> Any:
        """Gives the value that was there, or None."""
        if "#" in filter or "+" in filter:
            return self.pruned(filter, key)
        subscribers = self.exact.get(filter)
        if subscribers is None:
            return None
        value = subscribers.pop(key, None)
        if not subscribers:
            del self.exact[filter]
        return value

    def pruned(self, filter: str, key: Hashable) -> Any:
        levels = filter.split("/")
        rest = levels[-1] == "#"
        branch, way = self.root, []
        for level in levels[:-1] if rest else levels:
            way.append((branch, level))
            branch = branch.below(level)
            if branch is None:
                return None
        value = ((branch.rest if rest else branch.here) or {}).pop(key, None)
        branch.rest, branch.here = branch.rest or None, branch.here or None
        while way and branch.bare():
            branch, level = way.pop()
            branch.cut(level)
        return value

    def match(self, topic: str) -> list[dict[Hashable, Any]]:
        """The subscriptions of each filter that a topic name matches: one {key: value} for a filter, never empty. They are
        the tree's own: not to be changed, and copied first where going through them may subscribe or unsubscribe."""
        found = []
        exact = self.exact.get(topic)
        if exact is not None:
            found.append(exact)
        if not self.root.bare():
            self.climb(topic, found)
        return found

    def climb(self, topic: str, found: list) -> None:
        # not split further than filters go: what is left has too many levels for any of them, and only "#" covers it
        levels = topic.split("/", LEVELS)
        branches = [self.root]
        if topic[:1] == "$":                                         # [MQTT-4.7.2-1]
            children = self.root.children
            branches = [children[levels[0]]] if children and levels[0] in children else []
            del levels[0]
        for level in levels:
            if not branches:
                return
            above, branches = branches, []
            for branch in above:
                if branch.rest is not None:
                    found.append(branch.rest)
                if branch.children is not None and level in branch.children:
                    branches.append(branch.children[level])
                if branch.plus is not None:
                    branches.append(branch.plus)
        for branch in branches:
            if branch.here is not None:
                found.append(branch.here)
            if branch.rest is not None:                              # 4.7.1.2: the parent level is matched too
                found.append(branch.rest)


class Level:
    """A level of topic names. `topic`: the name that ends here, or None."""
    __slots__ = ("children", "topic")

    def __init__(self):
        self.children: dict[str, Level] | None = None
        self.topic: str | None = None

    def child(self, level: str) -> "Level":
        if self.children is None:
            self.children = {}
        found = self.children.get(level)
        if found is None:
            found = self.children[level] = Level()
        return found


class Retained:
    """Values by topic name, found by filter: the inverse of Tree. Names are those of check_topic."""
    __slots__ = ("values", "root")

    def __init__(self):
        self.values: dict[str, Any] = {}
        self.root = Level()

    def __len__(self) -> int:
        return len(self.values)

    def get(self, topic: str, default: Any = None) -> Any:
        return self.values.get(topic, default)

    def set(self, topic: str, value: Any) -> None:
        """Raises ValueError for a name of more than LEVELS."""
        if topic not in self.values:
            levels = topic.split("/")
            if len(levels) > LEVELS:
                raise ValueError("a topic of too many levels")
            place = self.root
            for level in levels:
                place = place.child(level)
            place.topic = topic
        self.values[topic] = value

    def remove(self, topic: str) -> Any:
        """Gives the value that was there, or None."""
        if topic not in self.values:
            return None
        place, way = self.root, []
        for level in topic.split("/"):
            way.append((place, level))
            place = place.children[level]
        place.topic = None
        while way and place.topic is None and not place.children:
            place, level = way.pop()
            del place.children[level]
            place.children = place.children or None
        return self.values.pop(topic)

    def match(self, filter: str) -> Iterator[tuple[str, Any]]:
        """(topic, value) of each name that a filter (without $share) matches. What is set or removed meanwhile may be given
        or not; nothing else is disturbed by it."""
        if "#" not in filter and "+" not in filter:
            if filter in self.values:
                yield filter, self.values[filter]
            return
        wanted = filter.split("/")
        stack = [(self.root, 0)]
        while stack:
            place, depth = stack.pop()
            level = wanted[depth] if depth < len(wanted) else None
            if (level is None or level == "#") and place.topic in self.values:
                yield place.topic, self.values[place.topic]
            if level is not None and place.children is not None:
                after = depth if level == "#" else depth + 1         # "#" stays "#"
                stack += [(child, after) for child in places(place.children, level, place is self.root)]


def places(children: dict[str, Level], level: str, top: bool) -> list[Level]:
    """Where a filter's level leads to."""
    if level != "#" and level != "+":
        return [children[level]] if level in children else []
    if top:                                                          # [MQTT-4.7.2-1]
        return [child for name, child in children.items() if name[:1] != "$"]
    return list(children.values())

"""Topic names and filters, and the laws of what is found by them: always what going through everything would find."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from interfaces.mqtt.topics import LEVELS, Retained, Tree, check_filter, check_topic, matches, split_share

# MQTT 5.0, 4.7: every example of the standard, and what follows from its statements
MATCHING = [
    ("sport/tennis/player1/#", "sport/tennis/player1", True), ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True), ("sport/#", "sport", True), ("#", "sport", True),
    ("sport/tennis/+", "sport/tennis/player1", True), ("sport/tennis/+", "sport/tennis/player2", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False), ("sport/+", "sport", False), ("sport/+", "sport/", True),
    ("+/+", "/finance", True), ("/+", "/finance", True), ("+", "/finance", False), ("+", "finance", True),
    ("#", "$SYS/", False), ("+/monitor/Clients", "$SYS/monitor/Clients", False), ("$SYS/#", "$SYS/", True),
    ("#", "/$SYS", True),
    ("$SYS/#", "$SYS", True), ("$SYS/monitor/+", "$SYS/monitor/Clients", True), ("+", "$SYS", False),
    ("+/#", "$SYS/a", False),
    ("a/#", "a/$SYS", True), ("a/+", "a/$SYS", True),
    ("#", "/", True), ("+/+", "/", True), ("+/#", "a", True),
    ("+/#", "a/$b/$c", True), ("/#", "/", True), ("/#", "a", False), ("ACCOUNTS", "Accounts", False),
    ("/finance", "finance", False),
    ("a/+/c/#", "a/b/c", True), ("a/+/c/#", "a/b/c/d", True), ("a/+/c/#", "a/b", False), ("a/+/c", "a//c", True),
    ("a/b/#", "a", False), ("a/b", "a/b/c", False), ("a/b/c", "a/b", False), ("a/#", "ab", False), ("+/b", "a/c", False),
]


@pytest.mark.parametrize(("filter", "topic", "expected"), MATCHING)
def test_what_matches_what(filter, topic, expected):
    tree, retained = Tree(), Retained()
    tree.subscribe(filter, "me", 1)
    retained.set(topic, 1)
    assert matches(filter, topic) is expected
    assert tree.match(topic) == ([{"me": 1}] if expected else [])
    assert list(retained.match(filter)) == ([(topic, 1)] if expected else [])


@pytest.mark.parametrize("text", ["a", "/", "//", " ", "a/b", "$SYS/x", "Ü/\U0001f600", "\ufeff", "a" * 65_535,
                                  "/" * (LEVELS - 1)])
def test_topics(text):
    check_topic(text)
    check_filter(text)


@pytest.mark.parametrize("text", ["", "\0", "a\0b", "a" * 65_536, "ü" * 32_768, "\ud800", "/" * LEVELS])
def test_neither_topics_nor_filters(text):
    for check in (check_topic, check_filter):
        with pytest.raises(ValueError):
            check(text)


@pytest.mark.parametrize("text", ["#", "+", "/#", "+/#", "+/+/a", "a/+", "a/#", "/+/", "$share/s/a", "$share/s/#", "$share/s//",
                                  "$share/s/$share/x", "$share", "$shared/x", "$sharE/#", "a/$share/#", "$share/$/+"])
def test_filters(text):
    check_filter(text)
    if "+" in text or "#" in text:
        with pytest.raises(ValueError):
            check_topic(text)


@pytest.mark.parametrize("text", ["a#", "#/a", "##", "#/", "a/#/b", "+#", "#+", "a+", "+a", "a/b+", "+a/b", "++", "a/++",
                                  "$share/", "$share//", "$share//a", "$share/a", "$share/a/", "$share/+/a", "$share/#/a",
                                  "$share/#", "$share/a+b/c", "$share/a/b#", "$share/a/#/b", "$share/a/+b"])
def test_no_filters(text):
    with pytest.raises(ValueError):
        check_filter(text)


@pytest.mark.parametrize(("text", "parts"), [
    ("a/b", ("", "a/b")), ("$share/s/a/b", ("s", "a/b")), ("$share/s//", ("s", "/")),
    ("$share/s/$share/t/a", ("s", "$share/t/a")), ("$share", ("", "$share")), ("$SHARE/s/a", ("", "$SHARE/s/a"))])
def test_shared_subscriptions(text, parts):
    assert split_share(text) == parts


# laws

level = some.sampled_from(("", "a", "b", "$", "$SYS", "aa"))
topics = some.lists(level, min_size=1, max_size=4).map("/".join).filter(bool)


@some.composite
def filter_texts(draw):
    levels = draw(some.lists(some.one_of(level, some.just("+")), min_size=0, max_size=4))
    levels += draw(some.sampled_from(([], ["#"])))
    return "/".join(levels) or "#"


def naive(filter: str, topic: str) -> bool:
    """4.7.1 and 4.7.2, as they are read."""
    def run(wanted, levels):
        if not wanted:
            return not levels
        if wanted[0] == "#":
            return True
        return bool(levels) and wanted[0] in ("+", levels[0]) and run(wanted[1:], levels[1:])
    return not (topic[0] == "$" and filter[0] in "+#") and run(filter.split("/"), topic.split("/"))


@settings(max_examples=500)
@given(filter_texts(), topics)
def test_matching_is_what_the_standard_says(filter, topic):
    check_filter(filter)
    check_topic(topic)
    assert matches(filter, topic) == naive(filter, topic)


steps = some.lists(some.tuples(some.booleans(), filter_texts(), some.integers(0, 3)), max_size=30)


@settings(max_examples=300)
@given(steps, some.lists(topics, min_size=1, max_size=5))
def test_a_tree_finds_what_going_through_all_finds(steps, topics):
    tree, table = Tree(), {}
    for at, (wanted, filter, key) in enumerate(steps):
        if wanted:
            assert tree.subscribe(filter, key, at + 1) == table.get((filter, key))
            table[filter, key] = at + 1
        else:
            assert tree.unsubscribe(filter, key) == table.pop((filter, key), None)
    for topic in topics:
        found = tree.match(topic)
        assert all(found), "an empty one"
        pairs = sorted((key, value) for subscribers in found for key, value in subscribers.items())
        assert pairs == sorted((key, value) for (filter, key), value in table.items() if naive(filter, topic))
        filters = {filter for filter, _ in table if naive(filter, topic)}
        assert len(found) == len(filters)
    for filter, key in list(table):
        tree.unsubscribe(filter, key)
    assert not tree.exact and tree.root.bare(), "something is left"


@settings(max_examples=300)
@given(some.lists(some.tuples(some.booleans(), topics), max_size=30),
       some.lists(filter_texts() | topics, min_size=1, max_size=5))
def test_retained_ones_are_found_as_going_through_all_finds(steps, filters):
    retained, table = Retained(), {}
    for at, (kept, topic) in enumerate(steps):
        if kept:
            retained.set(topic, at)
            table[topic] = at
        else:
            assert retained.remove(topic) == table.pop(topic, None)
    assert len(retained) == len(table)
    for filter in filters:
        found = list(retained.match(filter))
        assert sorted(found) == sorted((topic, value) for topic, value in table.items() if naive(filter, topic))
    for topic in list(table):
        assert retained.get(topic) == table[topic]
        retained.remove(topic)
        assert retained.get(topic) is None
    assert not retained.root.children and retained.root.topic is None, "something is left"


def test_who_goes_takes_nobody_along():
    tree, filters = Tree(), ("a/+", "a/b/#", "a/+/c", "a/#", "b/+", "+", "a/c/+")
    for filter in filters:
        for key in (1, 2):
            tree.subscribe(filter, (filter, key), key)
    left = {(filter, key) for filter in filters for key in (1, 2)}
    for gone in sorted(left):
        assert tree.unsubscribe(gone[0], gone) == gone[1]
        left.remove(gone)
        for filter, _ in left:
            topic = filter.replace("+", "x").replace("#", "y")
            assert {key for found in tree.match(topic) for key in found} == {key for key in left if naive(key[0], topic)}


def test_what_is_removed_takes_nothing_along():
    retained, topics = Retained(), ["a", "a/b", "a/b/c", "a/b/d", "a/c", "b", "b/b/b"]
    for topic in topics:
        retained.set(topic, topic)
    while topics:
        retained.remove(topics.pop(0))
        assert sorted(topic for topic, _ in retained.match("#")) == topics


def test_retained_ones_may_change_while_they_are_read():
    retained = Retained()
    for at in range(10):
        retained.set(f"a/{at}", at)
        retained.set(f"b/{at}/c", at)
    reading = retained.match("#")
    seen = {next(reading)[0]}
    for at in range(10):
        retained.remove(f"a/{at}")
        retained.set(f"c/{at}", at)
    rest = [topic for topic, _ in reading]
    assert len(rest) == len(set(rest)) and not seen & set(rest)
    assert {f"b/{at}/c" for at in range(10)} <= seen | set(rest)


# bounds

def test_ten_thousand_subscribers_of_one_filter_are_not_copied():
    for filter in ("news", "news/#", "+"):
        tree = Tree()
        for key in range(10_000):
            tree.subscribe(filter, key, key)
        first, = tree.match("news")
        again, = tree.match("news")
        assert first is again and len(first) == 10_000


@pytest.mark.parametrize("filter", ["/" * LEVELS + "+", "/" * (LEVELS - 1) + "/#"])
def test_no_filter_is_deeper_than_the_tree(filter):
    tree = Tree()
    with pytest.raises(ValueError):
        tree.subscribe(filter, 1, 1)
    assert tree.unsubscribe(filter, 1) is None and tree.root.bare()


def test_no_topic_is_deeper_than_what_is_retained():
    retained = Retained()
    with pytest.raises(ValueError):
        retained.set("/" * LEVELS, 1)
    assert len(retained) == 0 and retained.root.children is None
    retained.set("/" * (LEVELS - 1), 1)
    assert list(retained.match("#")) == [("/" * (LEVELS - 1), 1)]


def test_a_topic_deeper_than_any_filter_is_matched_by_number_signs_alone():
    tree, deep = Tree(), "a" + "/a" * 60_000
    for filter in ("#", "a/#", "+/a/#", "/".join("+" * LEVELS), "a" + "/a" * (LEVELS - 1), "/".join("+" * (LEVELS - 1)) + "/#"):
        tree.subscribe(filter, filter, 1)
    found = {key for subscribers in tree.match(deep) for key in subscribers}
    assert found == {"#", "a/#", "+/a/#", "/".join("+" * (LEVELS - 1)) + "/#"}


def test_the_deepest_filters_match():
    tree = Tree()
    tree.subscribe("/".join("+" * LEVELS), "plus", 1)
    tree.subscribe("/".join("+" * (LEVELS - 1)) + "/#", "rest", 1)
    assert {key for found in tree.match("/".join("a" * LEVELS)) for key in found} == {"plus", "rest"}
    assert {key for found in tree.match("/".join("a" * (LEVELS - 1))) for key in found} == {"rest"}
    assert tree.match("/".join("a" * (LEVELS - 2))) == []


def test_a_filter_with_a_prefix_looks_at_nothing_else():
    class Unread(dict):
        def items(self):
            raise AssertionError("everything is looked at")
        __iter__ = keys = values = items

    retained = Retained()
    for at in range(1000):
        retained.set(f"devices/{at}/state", at)
    retained.values = Unread(retained.values)
    devices = retained.root.children["devices"]
    devices.children = Unread(devices.children)
    assert list(retained.match("devices/7/+")) == [("devices/7/state", 7)]
    assert list(retained.match("devices/7/#")) == [("devices/7/state", 7)]
    with pytest.raises(AssertionError):
        list(retained.match("devices/+/state"))

"""Access by patterns."""
import pytest
from hypothesis import given
from hypothesis import strategies as some

from interfaces.mqtt.acl import Acl, covers
from interfaces.mqtt.topics import matches

LEVELS = some.sampled_from(("a", "b", "", "$x"))
TOPICS = some.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = some.tuples(some.lists(LEVELS | some.just("+"), max_size=3), some.booleans()).map(
    lambda parts: "/".join(parts[0] + ["#"] * parts[1])).filter(bool)


@pytest.mark.parametrize("pattern, wanted, granted", [
    ("#", "a/b", True), ("#", "#", True), ("a/#", "a", True), ("a/#", "a/+/#", True), ("a/+", "a/+", True),
    ("a/+", "a/b", True),
    ("a/+", "a/#", False), ("a/b", "a/+", False), ("+/b", "#", False), ("a/+/#", "a/#", False), ("a/b", "a/b", True),
    ("#", "$SYS/x", False), ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True), ("a", "a/b", False), ("a/b", "a", False),
    ("+", "#", False), ("+/#", "#", False), ("a/b/#", "a/b", True), ("a/b/#", "a/+", False),
])
def test_a_pattern_grants_what_it_covers(pattern, wanted, granted):
    assert covers(pattern, wanted) is granted
    assert Acl([pattern], "c", None).grants(f"$share/g/{wanted}") is granted


@given(FILTERS, FILTERS, TOPICS)
def test_what_is_covered_matches_nothing_else(pattern, wanted, topic):
    if covers(pattern, wanted) and matches(wanted, topic):
        assert matches(pattern, topic)


@pytest.mark.parametrize("client_id, username", [
    ("#", "+"), ("+", "#"), ("a/b", "a/b"), ("", ""), ("", None), ("%u", "%c/x"),
])
def test_a_name_widens_no_pattern(client_id, username):
    """CVE-2017-7650: a client id that is a wildcard."""
    acl = Acl(["by/%c/#", "of/%u"], client_id, username)
    for topic in ("by/other/x", "by/a/b", "of/other", "of/a/b", "by//x", "of/", "by/%c/x", "of/%c/x"):
        assert not acl.allows(topic)
    assert not acl.grants("by/+/#") and not acl.grants("of/#") and not acl.grants("of/+")


def test_names_stand_where_their_marks_are():
    acl = Acl(["d/%c/%u/up", "all/%c-%c", "plain"], "7", "ann")
    assert acl.patterns == ("d/7/ann/up", "all/7-7", "plain")
    assert Acl(["by/%c"], "%u", "ann").patterns == ("by/%u",)
    assert not Acl([], "7", "ann").allows("plain") and not Acl([], "7", "ann").grants("plain")

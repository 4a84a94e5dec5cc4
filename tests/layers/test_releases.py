"""--prefer-release: what is new goes to the newest release that has workers."""
from twisted.internet.task import Clock

from interfaces.layers.memory import MemoryLayer
from interfaces.layers.releases import GONE, MOST, Releases
from tests.layers.conftest import MemoryWorker


def test_the_newest_is_the_one_whose_workers_began_to_come_last():
    releases = Releases(prefer=True)
    one, two = releases.arrived("v1", 0), releases.arrived("v2", 5)
    assert 0 < one < two and releases.arrived("v1", 6) == one
    assert releases.arrived(None, 7) == 0
    releases.left("v1", 8)
    releases.left("v1", 8)
    assert releases.arrived("v1", 8 + GONE / 2) == one, "its only worker was restarted"
    releases.left("v1", 50)
    assert releases.arrived("v1", 51 + GONE) > two, "a rollback"


def test_nobody_is_preferred_unless_it_is_asked_for():
    assert Releases().arrived("v1", 0) == Releases().arrived("v2", 0) == 0
    Releases().left("v1", 1)


def test_releases_are_forgotten_in_the_end():
    releases = Releases(prefer=True)
    for number in range(3 * MOST):
        releases.arrived(str(number), 0)
        releases.left(str(number), 0)
    assert len(releases.known) <= MOST


def test_messages_go_to_the_newest_even_if_it_is_busy_and_to_the_older_when_it_is_gone():
    layer = MemoryLayer(Clock())
    old, new = MemoryWorker(layer, "specific.old"), MemoryWorker(layer, "specific.new")
    old.rank, new.rank = 1, 2
    for reader, credit in ((old, 100), (new, 2)):
        layer.attach(reader)
        layer.credit(reader, "websocket.connect", credit)
    for number in range(4):
        layer.send("websocket.connect", {"n": number})
    assert [message["n"] for message in new.got("websocket.connect")] == [0, 1] and old.boxes == {}
    layer.started(new, "websocket.connect", 1)
    layer.detach(new)
    assert [message["n"] for message in old.got("websocket.connect")] == [1, 2, 3]


def test_an_older_release_gets_what_its_own_channels_are_told():
    layer = MemoryLayer(Clock())
    old, new = MemoryWorker(layer, "specific.old"), MemoryWorker(layer, "specific.new")
    old.rank, new.rank = 1, 2
    layer.attach(old), layer.attach(new)
    layer.credit(new, "websocket.connect", 1)
    layer.send("specific.old!own", {"n": 1})
    assert [message["n"] for message in old.got("specific.old!own")] == [1]

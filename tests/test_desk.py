"""What the connections of one process share has a channel of its own: in groups, for as long as the process lives."""
import pytest
from twisted.internet.defer import Deferred, fail

from interfaces.contract import Gap, Interface, LayerDown
from interfaces.desk import MOST, RENEW, RETRY
from interfaces.layers.memory import MemoryLayer
from interfaces.schema import Spelling
from interfaces.testing import Peer
from tests.test_bridge import LineWire
from tests.test_tenure import Text, session


class Shared:
    def __init__(self, options):
        self.heard = []

    def open(self, desk):
        self.desk = desk
        desk.join("news")

    def hear(self, event):
        self.heard.append(event)


class Moody(MemoryLayer):
    down = False

    def group_add(self, group, channel):
        return fail(LayerDown("away")) if self.down else super().group_add(group, channel)

    def group_send(self, group, message, but=""):
        return fail(LayerDown("away")) if self.down else super().group_send(group, message, but)


@pytest.fixture
def peer():
    toy = Interface("long", "A toy that shares.", lambda options: LineWire(), session, shared=Shared,
                    replies=(Spelling("long.text", Text, {"text": "text"}),))
    return Peer(toy, app=False, layer=Moody)


def says(peer, **message):
    peer.layer.group_send("news", message)
    peer.settle()


def test_it_hears_what_is_sent_to_its_groups_and_drops_what_it_can_not_read(peer):
    says(peer, type="long.text", text="hello")
    says(peer, type="long.text", text=5)
    says(peer, type="other")
    says(peer, type="interface.send", text="all")
    assert [event.text for event in peer.factory.shared.heard] == ["hello", "all"]
    assert peer.exchange.unreadable == 2 and peer.exchange.late == 0


def test_a_message_to_no_one_is_still_late(peer):
    peer.layer.send(f"{peer.exchange.address.prefix}!nobody", {"type": "long.text", "text": "x"})
    peer.settle()
    assert peer.exchange.late == 1


def test_it_stays_in_its_groups(peer):
    peer.waits(40 * RENEW)
    says(peer, type="long.text", text="later")
    peer.layer.clear()
    peer.exchange.deliver("", Gap(False))
    says(peer, type="long.text", text="lost")
    peer.exchange.deliver("", Gap(True))
    says(peer, type="long.text", text="again")
    assert [event.text for event in peer.factory.shared.heard] == ["later", "again"]


def test_a_layer_that_was_down_is_tried_again(peer):
    peer.layer.clear()
    peer.layer.down = True
    peer.exchange.deliver("", Gap(True))
    peer.factory.shared.desk.group_send("news", {"type": "long.text", "text": "to nobody"})
    peer.waits(RETRY)
    peer.layer.down = False
    peer.waits(RETRY)
    says(peer, type="long.text", text="back")
    assert [event.text for event in peer.factory.shared.heard] == ["back"]


def test_a_layer_that_is_behind_is_not_given_more_than_it_can_take(peer):
    desk, waiting = peer.factory.shared.desk, []

    def slow(group, message, but):
        waiting.append(Deferred())
        return waiting[-1]
    peer.layer.group_send = slow
    for _ in range(MOST + 5):
        desk.group_send("news", {})
    assert (len(waiting), desk.out, desk.lost) == (MOST, MOST, 5)
    for each in waiting:
        each.callback(None)
    desk.group_send("news", {})
    assert (desk.out, desk.lost) == (1, 5)


def test_it_has_time_until_it_closes(peer):
    desk, rung = peer.factory.shared.desk, []
    desk.later(5, lambda: rung.append(desk.now()))
    cancel = desk.later(5, lambda: rung.append("cancelled"))
    cancel()
    peer.waits(5)
    cancel()
    assert rung == [peer.clock.seconds()]
    peer.exchange.close()
    assert not peer.clock.getDelayedCalls()


def test_it_opens_once(peer):
    first = peer.factory.shared.desk
    peer.factory.open()
    assert peer.factory.shared.desk is first and first.groups == ["news"]

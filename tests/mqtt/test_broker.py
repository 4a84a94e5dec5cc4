"""MQTT as dialogues between devices, the server and an application, on a clock: what devices have to do with one another."""
import pytest

from interfaces.contract import Gap
from interfaces.layers.memory import MemoryLayer
from tests.layers.redis_layers import lines
from tests.mqtt.devices import (
    CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Device, World,
)

NO_LOCAL, AS_PUBLISHED, ONLY_NEW, NEVER = 4, 8, 16, 32         # MQTT 5, 3.8.3.1: subscription options beside the QoS


def subscribed(world, client_id="b", *filters, **more):
    device = world.member(client_id, **more).subscribes(*(filters or (("t/#", 0),)))
    device.hears_one(SUBACK)
    return device


# From device to device

def test_a_message_goes_to_those_who_want_it(world):
    world = world()
    a, b, c = world.member("a"), subscribed(world, "b", ("t/+", 1)), subscribed(world, "c", ("u/#", 1))
    a.publishes("t/1", b"x", user_property=[["k", "v"]], content_type="text", correlation_data=b"c", response_topic="r")
    (came,) = b.hears()
    assert (came.topic, came.payload, came.qos, came.retain, came.dup) == ("t/1", b"x", 0, False, False)
    assert came.properties == {"user_property": [["k", "v"]], "content_type": "text", "correlation_data": "c",
                               "response_topic": "r"}
    assert a.hears() == [] and c.hears() == []
    assert world.app.got("mqtt.receive")["payload"] == b"x"


def test_nothing_is_relayed_unless_the_application_says_so(world):
    world = world()
    a, b = world.device("a"), subscribed(world)
    a.publishes("t/1", b"x").publishes("t/1", b"x", 1, 7, retain=True)
    world.app.got()
    world.acked()
    assert b.hears() == [] and not len(world.broker.store.messages)


def test_with_qos_1_and_2_it_is_relayed_after_the_worker_has_it(world):
    world = world()
    a, b = world.member("a"), subscribed(world, "b", ("t/#", 2))
    for qos, number in ((1, 5), (2, 6), (2, 7)):
        a.publishes("t/1", b"%d" % number, qos, number)
        assert b.hears() == []
        world.acked(0x80 if number == 7 else 0)
        assert [(each.qos, each.payload) for each in b.hears()] == [(qos, b"%d" % number)] * (number != 7)
    a.publishes("t/1", b"6", 2, 6, dup=True).acks(PUBREL, 6)
    assert b.hears() == [] and world.app.nothing()


@pytest.mark.parametrize("wanted, sent, got", [(0, 2, 0), (1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_the_lesser_qos_counts(world, wanted, sent, got):
    world = world()
    a, b = world.member("a"), subscribed(world, "b", ("t", wanted))
    a.publishes("t", b"x", sent, 1)
    world.acked()
    assert b.hears_one(PUBLISH).qos == got


def test_versions_understand_one_another(world):
    world = world()
    devices = {version: subscribed(world, f"v{version}", version=version) for version in (3, 4, 5)}
    for version, device in devices.items():
        device.publishes("t/x", b"%d" % version)
        for other in devices.values():
            assert other.heard() == [("t/x", b"%d" % version)]


def test_no_local(world):
    world = world()
    a = subscribed(world, "a", ("t/1", NO_LOCAL), ("t/+", NO_LOCAL))
    b = subscribed(world, "b", ("t/#", 0))
    a.publishes("t/1", b"x").publishes("t/2", b"y")
    assert a.hears() == [] and len(b.heard()) == 2
    b.publishes("t/1", b"z")
    assert a.heard() == [("t/1", b"z")]


def test_subscriptions_that_overlap_give_one_message_with_the_greater_qos_and_all_identifiers(world):
    world = world()
    a, b = world.member("a"), world.member("b")
    b.subscribes(("t/#", 0), subscription_identifier=7).subscribes(("t/1", 1), subscription_identifier=8).hears()
    b.subscribes(("+/1", 0)).hears()
    a.publishes("t/1", b"x", 1, 1)
    world.acked()
    came = b.hears_one(PUBLISH)
    assert came.qos == 1 and sorted(came.properties["subscription_identifier"]) == [7, 8]
    a.publishes("t/2", b"x")
    assert b.hears_one(PUBLISH).properties == {"subscription_identifier": [7]}


def test_subscribing_again_takes_the_place_of_the_former(world):
    world = world()
    b = subscribed(world, "b", ("t", 1))
    b.subscribes(("t", 0), subscription_identifier=3).hears()
    world.publishes("t", b"x", qos=1)
    came = b.hears_one(PUBLISH)
    assert came.qos == 0 and came.properties == {"subscription_identifier": [3]}


def test_many_receivers_one_encoding(world):
    world = world()
    devices = [subscribed(world, f"d{number}") for number in range(50)]
    world.publishes("t/1", b"x")
    assert all(device.heard() == [("t/1", b"x")] for device in devices)


# From the application to all

def test_the_group_reaches_every_subscription(world):
    world = world()
    b = subscribed(world, "b", ("t/#", 1))
    world.publishes("t/1", b"x", qos=1, properties={"user_property": [["a", "b"]]})
    came = b.hears_one(PUBLISH)
    assert (came.qos, came.properties) == (1, {"user_property": [["a", "b"]]})
    world.layer.group_send("mqtt", {"type": "interface.send", "topic": "t/2", "text": "hello"})
    world.settle()
    assert b.heard() == [("t/2", b"hello")]


@pytest.mark.parametrize("wrong", [
    {"type": "mqtt.send", "topic": "a/#"}, {"type": "mqtt.send"}, {"type": "mqtt.send", "topic": "t/1", "qos": 7},
    {"type": "mqtt.ack", "id": 1}, {"type": "interface.send", "text": "x"}, {"text": "x"},
    {"type": "mqtt.send", "topic": "t/1", "properties": {"content_type": 1}}, {"type": "mqtt.close"},
])
def test_what_says_nothing_to_the_group_is_dropped(world, wrong):
    world = world()
    b = subscribed(world)
    world.layer.group_send("mqtt", wrong)
    world.settle()
    assert b.hears() == [] and not b.ended


def test_the_group_is_joined_again_and_again(world):
    world = world()
    b = subscribed(world, version=4)
    world.waits(86_400 * 2)
    world.publishes("t/1", b"x")
    assert b.heard() == [("t/1", b"x")]
    world.layer.clear()
    world.exchange.deliver("", Gap(True))
    world.publishes("t/1", b"y")
    assert b.heard() == [("t/1", b"y")]


# To and from other servers

class Elsewhere(MemoryLayer):
    """As on Redis, where other servers may be."""
    tells_taken = tells_lost = False

    def __init__(self, clock, **limits):
        super().__init__(clock, **limits)
        self.told = []

    def group_send(self, group, message, but=""):
        self.told.append((group, message))
        return super().group_send(group, message, but)


def test_other_servers_are_told_and_nobody_hears_it_twice(world):
    world = world(layer=Elsewhere, adopts=False)
    a = world.member("a", will=("t/w", b"gone", 0, True, {}))
    b = subscribed(world, "b", ("t/#", 1))
    a.publishes("t/1", b"x", 1, 5, retain=True, content_type="text")
    world.acked()
    assert world.layer.told == [("mqtt", {
        "type": "mqtt.send", "topic": "t/1", "payload": b"x", "qos": 1, "retain": True,
        "properties": {"content_type": "text"}, "origin": world.broker.desk.channel, "id": world.layer.told[0][1]["id"]})]
    assert world.layer.told[0][1]["id"]
    a.hears()
    a.leaves()
    assert b.heard() == [("t/1", b"x"), ("t/w", b"gone")] and len(world.layer.told) == 2
    world.publishes("t/2", b"y", origin="interface.other!server")
    assert b.heard() == [("t/2", b"y")] and len(world.layer.told) == 3


def test_alone_on_its_layer_a_server_tells_nobody(world):
    world = world()
    world.member("a").publishes("t", b"x")
    assert world.layer.statistics()["sent"] == len(world.app.heard) + len(world.app.waiting) + 1       # the accept


# Shared subscriptions

def test_of_those_who_share_each_gets_its_turn(world):
    world = world()
    devices = [subscribed(world, f"d{number}", ("$share/g/t/#", 0)) for number in range(3)]
    other = subscribed(world, "other", ("$share/h/t/#", 0), ("t/#", 0))
    for number in range(6):
        world.publishes("t/1", b"%d" % number)
    assert [[payload for _, payload in device.heard()] for device in devices] == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]
    assert len(other.heard()) == 12
    devices[0].unsubscribes("$share/g/t/#").hears()
    devices[1].leaves()
    for _ in "123":
        world.publishes("t/1", b"x")
    assert len(devices[2].heard()) == 3
    for device in (devices[2], other):
        device.unsubscribes("$share/g/t/#", "$share/h/t/#", "t/#").hears()
    assert not world.broker.shares and world.broker.tree.root.bare()


def test_who_is_there_comes_first_among_those_who_share(world):
    world = world()
    kept = subscribed(world, "kept", ("$share/g/t", 1), clean=False, session_expiry_interval=60)
    there = subscribed(world, "there", ("$share/g/t", 1))
    kept.leaves()
    for _ in "123":
        world.publishes("t", b"x", qos=1)
    assert len(there.heard()) == 3
    there.leaves()
    world.publishes("t", b"kept for it", qos=1)
    kept = world.member("kept", clean=False)
    assert kept.heard() == [("t", b"kept for it")]


# Retained messages

def test_what_is_retained_comes_to_later_subscribers(world):
    world = world()
    a, early = world.member("a"), subscribed(world, "early", ("t/#", 1))
    a.publishes("t/1", b"1", 1, 1, retain=True)
    world.acked()
    a.publishes("t/2", b"2", retain=True).publishes("other", b"3", retain=True)
    assert [(each.payload, each.retain) for each in early.hears()] == [(b"1", False), (b"2", False)]
    late = world.member("late").subscribes(("t/+", 1))
    assert [(each.topic, each.payload, each.qos, each.retain) for each in late.hears()[1:]] in (
        [("t/1", b"1", 1, True), ("t/2", b"2", 0, True)], [("t/2", b"2", 0, True), ("t/1", b"1", 1, True)])
    a.publishes("t/1", b"", retain=True)
    assert [each.payload for each in late.hears()] == [b""]
    assert [each.payload for each in world.member("later").subscribes(("t/#", 1)).hears()[1:]] == [b"2"]


def test_a_worker_retains(world):
    world = world()
    world.publishes("t", b"x", retain=True)
    assert world.member("b").subscribes(("t", 0)).hears()[1].retain is True
    world.publishes("t", b"", retain=True)
    assert len(world.member("c").subscribes(("t", 0)).hears()) == 1 and world.broker.store.size == 0


@pytest.mark.parametrize("handling, first, again", [(0, 1, 1), (ONLY_NEW, 1, 0), (NEVER, 0, 0)])
def test_retain_handling(world, handling, first, again):
    world = world()
    world.publishes("t", b"x", retain=True)
    b = world.member("b").subscribes(("t", handling))
    assert len(b.hears()) == 1 + first
    assert len(b.subscribes(("t", handling)).hears()) == 1 + again


def test_retain_as_published(world):
    world = world()
    kept, plain = subscribed(world, "kept", ("t", AS_PUBLISHED)), subscribed(world, "plain", ("t", 0))
    world.publishes("t", b"x", retain=True)
    world.publishes("t", b"y")
    assert [each.retain for each in kept.hears()] == [True, False] and [each.retain for each in plain.hears()] == [False] * 2


def test_those_who_share_get_nothing_that_was_retained(world):
    world = world()
    world.publishes("t", b"x", retain=True)
    assert len(world.member("b").subscribes(("$share/g/t", 0)).hears()) == 1


def test_there_is_room_for_so_many_retained_messages_and_bytes(world):
    world = world(max_retained=2, max_retained_bytes=10_000)
    for topic in ("t/1", "t/2", "t/3"):
        world.publishes(topic, b"x", retain=True)
    world.publishes("t/2", b"x" * 9_000, retain=True)
    world.publishes("t/1", b"x" * 9_000, retain=True)
    assert {topic: len(message.payload) for topic, message in world.broker.store.messages.values.items()} == {
        "t/1": 1, "t/2": 9_000}
    assert world.broker.dropped == 2
    world.publishes("t/2", b"", retain=True)
    world.publishes("t/3", b"x", retain=True)
    assert set(world.broker.store.messages.values) == {"t/1", "t/3"}


def test_many_retained_messages_do_not_flood_a_slow_subscriber(world):
    world = world(max_queued=10)
    for number in range(500):
        world.publishes(f"t/{number}", b"x" * 1000, qos=1, retain=True)
    b = world.member("b", receive_maximum=5).subscribes(("t/#", 1))
    seen = [each for each in b.hears() if each.kind == PUBLISH]
    assert len(seen) == 5
    while len(seen) < 500:
        b.acks(PUBACK, seen[-1].id)
        assert not b.ended
        seen += b.hears()
        for each in seen[-5:-1]:
            b.acks(PUBACK, each.id)
        seen += b.hears()
    assert len({each.topic for each in seen}) == 500 and all(each.retain for each in seen)


def test_a_newer_message_takes_the_place_of_the_retained_one_that_waits(world):
    world = world()
    for number in range(3):
        world.publishes(f"t/{number}", b"old", qos=1, retain=True)
    b = world.member("b", receive_maximum=1).subscribes(("t/#", 1))
    (came,) = [each for each in b.hears() if each.kind == PUBLISH]
    others = {"t/0", "t/1", "t/2"} - {came.topic}
    for topic in others:
        world.publishes(topic, b"new", qos=1, retain=True)
    seen = [came]
    while b.acks(PUBACK, seen[-1].id) and (more := b.hears()):
        seen += more
    assert [(each.payload, each.retain) for each in seen] == [(b"old", True), (b"new", False), (b"new", False)]


# Expiry

def test_what_has_waited_lasts_as_much_less(world):
    world = world()
    subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=600).leaves()
    world.publishes("t", b"short", qos=1, properties={"message_expiry_interval": 5})
    world.publishes("t", b"long", qos=1, properties={"message_expiry_interval": 60}, retain=True)
    world.waits(10)
    came = world.member("b", clean=False).hears()
    assert [(each.payload, each.properties) for each in came] == [(b"long", {"message_expiry_interval": 50})]
    other = world.member("other").subscribes(("t", 0)).hears()[1]
    assert other.properties == {"message_expiry_interval": 50}
    world.waits(50)
    assert len(world.member("later").subscribes(("t", 0)).hears()) == 1 and len(world.broker.store.messages) == 0


# Sessions

def test_a_session_is_kept_for_as_long_as_was_agreed(world):
    world = world()
    b = subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60)
    b.leaves()
    world.publishes("t", b"1", qos=1)
    world.publishes("t", b"0", qos=0)
    world.waits(59)
    b = world.comes().connects("b", clean=False, session_expiry_interval=60)
    while world.app.got()["type"] != "mqtt.connect":
        pass
    assert world.app.heard[-1]["session_present"] is True
    world.app.replies(type_="mqtt.accept", relay=True)
    connack, came = b.hears()
    assert connack.present and (came.payload, came.qos, came.dup) == (b"1", 1, False)
    b.leaves()
    world.waits(61)
    b = world.member("b", clean=False)
    assert not b.connack.present and not world.broker.tree.exact


@pytest.mark.parametrize("asked, said, maximum, lasts", [
    (60, None, 1000, 60), (5000, None, 1000, 1000), (0xFFFFFFFF, None, 1000, 1000), (60, 30, 1000, 30), (0, 30, 1000, 30),
    (60, 0, 1000, 0), (60, None, 0, 0), (60, -9, 1000, 0),
])
def test_how_long_a_session_is_kept(world, asked, said, maximum, lasts):
    world = world(session_expiry_maximum=maximum)
    given = {"session_expiry_interval": asked} if asked else {}
    b = world.device("b", {"session_expiry": said}, clean=False, **given)
    assert b.connack.properties.get("session_expiry_interval") == (None if lasts == asked else lasts)
    assert world.broker.store.sessions["b"].expiry == lasts


@pytest.mark.parametrize("clean, present", [(False, True), (True, False)])
def test_a_client_of_mqtt_3_keeps_its_session_unless_it_is_clean(world, clean, present):
    world = world()
    subscribed(world, "b", ("t", 1), version=4, clean=clean).disconnects()
    world.publishes("t", b"x", qos=1)
    b = world.member("b", version=4, clean=False)
    assert b.connack.present is present and len(b.hears()) == present


def test_a_clean_start_forgets(world):
    world = world()
    subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=600).leaves()
    world.publishes("t", b"x", qos=1)
    b = world.member("b", clean=True)
    assert not b.connack.present and b.hears() == [] and not world.broker.tree.exact


def test_the_session_that_a_goodbye_asks_for(world):
    world = world()
    b = world.member("b", clean=False, session_expiry_interval=60)
    b.disconnects(0, session_expiry_interval=0)
    assert not world.broker.store.sessions
    c = world.member("c").disconnects(0, session_expiry_interval=60)
    assert c.hears_one(DISCONNECT).code == 0x82


def test_a_subscription_that_the_acl_no_longer_covers_is_dropped(world):
    world = world()
    subscribed(world, "b", ("t", 1), ("u", 1), clean=False, session_expiry_interval=60).leaves()
    b = world.member("b", {"subscribe_acl": ["u"]}, clean=False)
    world.publishes("t", b"t")
    world.publishes("u", b"u")
    assert b.connack.present and b.heard() == [("u", b"u")]


def test_no_room_for_another_session(world):
    world = world(max_sessions=1)
    world.member("a")
    b = world.comes().connects("b")
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.accept")
    assert b.hears_one(CONNACK).code == 0x97 and world.app.got("mqtt.disconnect")["reason_code"] == 0x97


def test_devices_that_come_and_go_do_not_pile_up(world):
    world = world()
    for _ in range(500):
        world.member("b", clean=False, session_expiry_interval=600).leaves()
    assert len(world.broker.ends) < 100 and len(world.broker.store.sessions) == 1


# Take-over

def test_a_client_id_is_one_connection(world):
    world = world()
    first = subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60)
    second = world.comes().connects("b", clean=False, session_expiry_interval=60)
    world.app.got("mqtt.connect")
    assert not first.ended
    world.app.replies(type_="mqtt.accept", relay=True)
    assert second.hears_one(CONNACK).present and first.hears_one(DISCONNECT).code == 0x8E and first.ended
    gone = world.app.got("mqtt.disconnect")
    assert (gone["reason_code"], gone["reply_channel"]) == (0x8E, first.channel)
    world.publishes("t", b"x", qos=1)
    assert second.heard() == [("t", b"x")]


def test_what_the_old_connection_still_says_counts_no_more(world):
    world = world()
    first = subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60)
    world.publishes("t", b"x", qos=1)
    number = first.hears_one(PUBLISH).id
    second = world.comes().connects("b", clean=False, session_expiry_interval=60)
    world.app.got("mqtt.connect")
    world.layer.send(world.app.current, {"type": "mqtt.accept"})
    first.transport.unread += bytes([PUBACK << 4, 2, 0, number])
    first.transport.feed()
    world.settle()
    assert [(each.kind, getattr(each, "dup", None)) for each in second.hears()] in (
        [(CONNACK, None), (PUBLISH, True)], [(CONNACK, None)])
    assert first.ended


def test_a_fault_of_the_servers_own_leaves_no_session_that_seems_connected():
    world = World()
    b = world.member("b", clean=False, session_expiry_interval=60)
    world.broker.shares = None
    b.subscribes(("$share/g/t", 1))
    assert b.ended and len(world.log.faults) == 1 and world.broker.store.sessions["b"].client is None
    assert world.member("b", clean=False).connack.present


# Wills

WILL = ("w", b"gone", 1, True, {})


@pytest.mark.parametrize("end, published", [
    (Device.leaves, True), (lambda device: device.disconnects(), False), (lambda device: device.disconnects(4), True),
    (lambda device: device.says(b"\0\0"), True), (lambda device: device.world.waits(16), True),
])
def test_a_will_is_published_unless_the_client_says_goodbye(world, end, published):
    world = world()
    b = subscribed(world, "b", ("w", 1))
    a = world.member("a", will=WILL, keep_alive=10)
    end(a)
    came = b.hears()
    assert [(each.topic, each.payload, each.qos) for each in came] == [("w", b"gone", 1)] * published
    assert world.app.got("mqtt.disconnect")["will_published"] is published
    assert (len(world.member("c").subscribes(("w", 1)).hears()) == 2) is published


def test_the_application_hears_of_a_will_that_it_is_to_publish_itself(world):
    world = world()
    b = subscribed(world, "b", ("w", 1))
    world.device("a", will=WILL).leaves()
    assert world.app.got("mqtt.disconnect")["will_published"] is True and b.hears() == []


def test_a_will_waits_and_is_void_when_the_client_is_back(world):
    world = world()
    b = subscribed(world, "b", ("w", 0))
    will = ("w", b"gone", 0, False, {"will_delay_interval": 30})
    for back in (True, False):
        world.member("a", will=will, clean=False, session_expiry_interval=600).leaves()
        assert world.app.got("mqtt.disconnect")["will_published"] is False
        world.waits(29)
        if back:
            world.member("a", clean=False, session_expiry_interval=600).disconnects()
            world.app.got()
        world.waits(2)
        assert len(b.heard()) == (not back)


@pytest.mark.parametrize("expiry, after", [(10, 10), (0, 0)])
def test_a_will_waits_no_longer_than_the_session(world, expiry, after):
    world = world()
    b = subscribed(world, "b", ("w", 0))
    given = {"session_expiry_interval": expiry} if expiry else {}
    world.member("a", will=("w", b"", 0, False, {"will_delay_interval": 30}), clean=False, **given).leaves()
    if after:
        world.waits(after - 1)
        assert b.hears() == []
        world.waits(1.1)
    assert len(b.heard()) == 1


def test_a_clean_start_ends_the_session_and_so_its_will_is_due(world):
    world = world()
    b = subscribed(world, "b", ("w", 0))
    world.member("a", will=("w", b"", 0, False, {"will_delay_interval": 30}), clean=False, session_expiry_interval=60).leaves()
    world.app.got()
    world.member("a", clean=True)
    assert len(b.heard()) == 1
    world.waits(100)
    assert b.hears() == []


@pytest.mark.parametrize("delay, published", [(0, 1), (30, 0)])
def test_the_will_of_a_connection_that_is_taken_over(world, delay, published):
    world = world()
    b = subscribed(world, "b", ("w", 0))
    properties = {"will_delay_interval": delay} if delay else {}
    world.member("a", will=("w", b"", 0, False, properties), clean=False, session_expiry_interval=60)
    world.member("a", clean=False, session_expiry_interval=60)
    assert len(b.heard()) == published
    assert world.app.got("mqtt.disconnect")["will_published"] is bool(published)
    world.waits(100)
    assert b.hears() == []


# Delivery with QoS 1 and 2

def test_what_was_not_acknowledged_comes_again_after_a_reconnect_and_only_then(world):
    world = world()
    b = subscribed(world, "b", ("t", 2), clean=False, session_expiry_interval=60)
    for qos, payload in ((1, b"one"), (2, b"two"), (2, b"three"), (1, b"four")):
        world.publishes("t", payload, qos=qos)
    one, two, three, four = b.hears()
    assert [each.dup for each in (one, two, three, four)] == [False] * 4
    b.acks(PUBREC, three.id)
    assert b.hears_one(PUBREL).id == three.id
    b.acks(PUBACK, four.id)
    world.waits(300)
    assert b.hears() == []
    b.leaves()
    b = world.member("b", clean=False)
    again = b.hears()
    assert [(each.kind, each.id) for each in again] == [(PUBLISH, one.id), (PUBLISH, two.id), (PUBREL, three.id)]
    assert again[0].dup and again[1].dup and again[1].payload == b"two"
    b.acks(PUBACK, one.id).acks(PUBREC, two.id).acks(PUBCOMP, three.id)
    assert b.hears_one(PUBREL).id == two.id
    b.acks(PUBCOMP, two.id)
    session = world.broker.store.sessions["b"]
    assert session.inflight is None and session.client.out == 0


def test_what_a_client_no_longer_takes_is_not_sent_again(world):
    world = world()
    b = subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60)
    world.publishes("t", b"x" * 100, qos=1)
    world.publishes("t", b"y", qos=1)
    b.leaves()
    b = world.member("b", clean=False, maximum_packet_size=50)
    assert [(each.payload, each.dup) for each in b.hears()] == [(b"y", True)]
    assert len(world.broker.store.sessions["b"].inflight) == 1


def test_a_receive_maximum_is_kept(world):
    world = world()
    b = subscribed(world, "b", ("t", 2), receive_maximum=2)
    for number in range(5):
        world.publishes("t", b"%d" % number, qos=1 + number % 2)
    world.publishes("t", b"news")
    first, second = b.hears()
    assert (first.payload, second.payload) == (b"0", b"1")
    b.acks(PUBACK, first.id)
    assert b.hears_one(PUBLISH).payload == b"2"
    b.acks(PUBREC, second.id)
    assert b.hears_one(PUBREL)
    b.acks(PUBCOMP, second.id)
    assert b.hears_one(PUBLISH).payload == b"3"
    assert world.broker.store.sessions["b"].client.out == 2


def test_a_client_that_refuses_a_message(world):
    world = world()
    b = subscribed(world, "b", ("t", 2), receive_maximum=1)
    for qos in (1, 2, 1):
        world.publishes("t", b"x", qos=qos)
    for kind in (PUBACK, PUBREC, PUBACK):
        b.acks(kind, b.hears_one(PUBLISH).id, 0x80)
    assert b.hears() == [] and world.broker.store.sessions["b"].inflight is None


def test_acknowledgements_that_nobody_waits_for(world):
    world = world()
    b = world.member("b")
    b.acks(PUBACK, 9).acks(PUBCOMP, 9)
    assert b.hears() == []
    assert b.acks(PUBREC, 9).hears_one(PUBREL).code == 0x92
    assert not b.ended


def test_received_ids_survive_a_reconnect(world):
    world = world()
    a = world.member("a", clean=False, session_expiry_interval=60).publishes("t", b"x", 2, 5)
    world.acked()
    a.leaves()
    world.app.got("mqtt.disconnect")
    a = world.member("a", clean=False).publishes("t", b"x", 2, 5, dup=True)
    assert a.hears_one(PUBREC).id == 5 and world.app.nothing()
    assert a.acks(PUBREL, 5).hears_one(PUBCOMP).code == 0


def test_packet_ids_go_round_and_leave_out_those_in_use(world):
    world = world()
    b = subscribed(world, "b", ("t", 1))
    session = world.broker.store.sessions["b"]
    session.last_id = 65_534
    for _ in "123":
        world.publishes("t", b"", qos=1)
    assert [each.id for each in b.hears()] == [65_535, 1, 2]
    session.last_id = 65_534
    world.publishes("t", b"", qos=1)
    assert [each.id for each in b.hears()] == [3]


# Bounds

def test_what_waits_for_one_that_is_away_is_bounded(world):
    world = world(max_queued=3, max_queued_bytes=100_000)
    b = subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60)
    b.leaves()
    for number in range(5):
        world.publishes("t", b"%d" % number, qos=1)
    assert world.broker.dropped == 2
    assert [payload for _, payload in world.member("b", clean=False, session_expiry_interval=60).heard()] == [b"0", b"1", b"2"]


def test_and_so_are_its_bytes(world):
    world = world(max_queued_bytes=10_000)
    subscribed(world, "b", ("t", 1), clean=False, session_expiry_interval=60).leaves()
    for _ in range(5):
        world.publishes("t", b"x" * 4_000, qos=1)
    session = world.broker.store.sessions["b"]
    assert len(session.queue) == 2 and session.queued <= 10_000


def test_a_slow_client_misses_news_and_then_is_ended(world):
    world = world(max_queued=20)
    b, other = subscribed(world, "b", ("t", 1)), subscribed(world, "other", ("t", 1))
    b.stops_reading()
    for _ in range(100):
        world.publishes("t", b"x" * 1000)
    assert not b.ended and world.broker.dropped
    for _ in range(25):
        world.publishes("t", b"y" * 1000, qos=1)
    assert b.ended and world.app.got("mqtt.disconnect")["reason_code"] == 0x97
    assert len(other.heard()) == 125 and not other.ended


def test_a_slow_client_that_reads_on_gets_what_waited(world):
    world = world()
    b = subscribed(world, "b", ("t", 1))
    b.stops_reading()
    for number in range(120):
        world.publishes("t", b"%4d" % number + b"x" * 1000)
    assert world.broker.store.sessions["b"].queue
    seen = b.reads_on()
    while more := b.hears():
        seen += more
    assert [int(each.payload[:4]) for each in seen] == list(range(120))
    assert world.broker.store.sessions["b"].queue is None and world.broker.store.sessions["b"].queued == 0


def test_a_client_that_reads_nothing_is_cut(world):
    world = world()
    b = subscribed(world, "b", ("t", 1))
    b.stops_reading()
    for _ in range(120):
        world.publishes("t", b"x" * 1000)
    world.waits(59)
    assert not b.ended
    world.waits(2)
    assert b.transport.gone and world.app.got("mqtt.disconnect")["reason_code"] == 0x97


def test_what_is_larger_than_the_client_takes_is_not_sent(world):
    world = world()
    b = subscribed(world, "b", ("t", 1), maximum_packet_size=50)
    for qos in (0, 1):
        world.publishes("t", b"x" * 100, qos=qos)
        world.publishes("t", b"x", qos=qos)
    assert [(each.payload, each.qos) for each in b.hears()] == [(b"x", 0), (b"x", 1)]
    assert world.broker.dropped == 2 and world.broker.store.sessions["b"].client.out == 1


def test_a_chain_of_slow_clients_and_their_wills(world):
    """Each that is ended publishes to all the others, which ends the next: nobody's stack may grow by it."""
    world = world(max_queued=2)
    devices = [subscribed(world, f"d{number}", ("t", 1), will=("t", b"x" * 60_000, 1, False, {})) for number in range(60)]
    for device in devices:
        device.stops_reading()
    for _ in range(6):
        world.publishes("t", b"x" * 60_000, qos=1)
    world.waits(1)
    assert all(device.ended for device in devices)


# Topic aliases, 3.3.2.3.4

def test_a_client_that_takes_aliases_gets_them(world):
    world = world(topic_aliases=2)
    b = subscribed(world, "b", ("#", 2), topic_alias_maximum=10, session_expiry_interval=60)
    for number, topic in enumerate(("one/long/topic", "two", "three", "one/long/topic", "two", "three")):
        world.publishes(topic, b"x", qos=number % 3)
    came = b.hears()
    assert [(each.topic, each.properties.get("topic_alias")) for each in came] == [
        ("one/long/topic", 1), ("two", 2), ("three", None), ("", 1), ("", 2), ("three", None)]
    b.leaves()
    b = world.member("b", clean=False, topic_alias_maximum=1, session_expiry_interval=60)       # they end with the connection
    assert [(each.topic, each.properties.get("topic_alias")) for each in b.hears()] == [
        ("two", 1), ("three", None), ("", 1), ("three", None)]


def test_an_alias_that_would_make_a_packet_too_large_is_left_out(world):
    world = world()
    plain = 2 + 2 + 9 + 1 + 20
    b = subscribed(world, "b", ("#", 0), topic_alias_maximum=10, maximum_packet_size=plain + 2)
    for size in (20, 18, 20):
        world.publishes("topic/abc", bytes(size))
    assert [(each.topic, each.properties.get("topic_alias")) for each in b.hears()] == [
        ("topic/abc", None), ("topic/abc", 1), ("", 1)]


@pytest.mark.parametrize("said", [
    {"type": "mqtt.yield", "client_id": "b", "home": "h"}, {"type": "mqtt.yielded", "client_id": "b", "home": "h"},
    {"type": "mqtt.inherited", "home": "h"}, {"type": "mqtt.send", "topic": "t/1", "payload": b"x", "former": "h"}])
def test_what_servers_say_to_one_another_means_nothing_where_there_is_but_one(world, said):
    world = world()
    b = subscribed(world)
    with lines():               # and nobody logs a failure
        world.layer.group_send("mqtt", said)
        world.settle()
    assert b.hears() == [] and not b.ended
    world.publishes("t/1", b"y")
    assert b.heard() == [("t/1", b"y")]

"""MQTT as dialogues between devices, the server and an application, on a clock: one connection."""
import pytest

from interfaces.contract import DONE, Gap, Unconfirmed
from interfaces.layers.memory import MemoryLayer
from interfaces.testing import App
from tests.mqtt.devices import (
    AUTH, CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, connecting,
    packet, properties, read,
)

SILENT = 1.5            # times the keep alive


def told(world, code, clean=False, published=False):
    """The application is told once, and last."""
    message = world.app.got("mqtt.disconnect")
    assert (message["reason_code"], message["clean"], message["will_published"]) == (code, clean, published)
    assert world.app.nothing(), world.app.waiting


def over(world, device, code):
    """The server ends it; to MQTT 5 it says why."""
    came = device.hears()
    assert device.ended
    assert [(each.kind, each.code) for each in came] == ([(DISCONNECT, code)] if device.version == 5 else [])
    told(world, code)


# CONNECT

def test_a_connect_is_told_whole_and_not_answered_before_the_verdict(world):
    world = world()
    device = world.comes().connects(
        "thermo", username="u", password=b"\xff", keep_alive=60, will=("w", b"x", 1, True, {"will_delay_interval": 9}),
        receive_maximum=7, user_property=[["b", "1"], ["a", "2"], ["b", "1"]])
    assert device.hears() == [] and not device.ended
    got = world.app.got("mqtt.connect")
    assert (got["client_id"], got["protocol_version"], got["clean_start"], got["keep_alive"]) == ("thermo", 5, True, 60)
    assert (got["username"], got["password"], got["session_present"]) == ("u", b"\xff", False)
    assert got["will"] == {"topic": "w", "payload": b"x", "qos": 1, "retain": True, "properties": {"will_delay_interval": 9}}
    assert got["properties"] == {"receive_maximum": 7, "user_property": [["b", "1"], ["a", "2"], ["b", "1"]]}
    assert got["client"] == ["192.0.2.7", 4711] and got["tls"] is None and got["order"] == 0
    assert got["deadline"] == world.clock.seconds() + 10
    world.app.replies(type_="mqtt.accept")
    connack = device.hears_one(CONNACK)
    assert (connack.code, connack.present) == (0, False)
    assert connack.properties == {"receive_maximum": 64, "maximum_packet_size": 1152 * 1024, "topic_alias_maximum": 16}


@pytest.mark.parametrize("said, version, code", [
    (None, 5, 0x87), (0x86, 5, 0x86), (4, 5, 0x86), (0x9D, 5, 0x9D), (7, 5, 0x80), (-1, 5, 0x80), (None, 4, 5), (0x86, 4, 4),
    (0x85, 4, 2), (0x97, 4, 3), (0x87, 3, 5),
])
def test_a_refusal_has_the_code_that_the_worker_gives_it_in_the_words_of_the_version(world, said, version, code):
    world = world()
    device = world.comes().connects(version=version)
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.close", reason_code=said)
    assert device.hears_one(CONNACK).code == code and device.ended
    assert world.app.got("mqtt.disconnect")["clean"] is False and world.app.nothing()


def test_a_refusal_may_say_why(world):
    world = world()
    device = world.comes().connects()
    world.app.got()
    world.app.replies(type_="mqtt.close", reason_code=0x87, properties={"reason_string": "unpaid"})
    assert device.hears_one(CONNACK).properties == {"reason_string": "unpaid"}
    other = world.comes().connects()
    world.app.got("mqtt.disconnect")
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.close", reason_code=0x87, properties={"reason_string": 5})
    assert other.hears_one(CONNACK).code == 0x87 and "can't be given" in world.log.lines[-2]


@pytest.mark.parametrize("version, code", [(5, 0x88), (4, 3)])
def test_no_verdict_in_time_refuses(world, version, code):
    world = world()
    device = world.comes().connects(version=version)
    world.app.got("mqtt.connect")
    world.waits(10.1)
    assert device.hears_one(CONNACK).code == code and device.ended
    told(world, 0x88)


def test_nobody_listens(world):
    world = world()
    world.app.dies()
    device = world.comes().connects()
    world.waits(2.1)
    assert device.hears_one(CONNACK).code == 0x88 and device.ended


def test_a_full_channel_refuses_at_once_and_says_nothing_to_the_application(world):
    world = world(limits={"capacity": 1})
    world.layer.withdraw(world.app, "mqtt.connect")
    first, second = world.comes().connects("a"), world.comes().connects("b")
    assert first.hears() == [] and second.hears_one(CONNACK).code == 0x88
    world.waits(10.1)
    assert first.hears_one(CONNACK).code == 0x88


def test_a_verdict_that_can_not_be_read_is_the_servers_own_fault(world):
    world = world()
    device = world.comes().connects()
    world.app.got()
    world.app.replies(type_="mqtt.accept", relay="yes")
    assert device.hears_one(CONNACK).code == 0x80
    told(world, 0x80)


def test_what_is_sent_to_one_that_is_not_let_in_yet_decides_nothing(world):
    world = world()
    device = world.comes().connects()
    world.app.got()
    world.app.replies(type_="mqtt.send", topic="t", payload=b"x")
    world.app.replies(type_="interface.send", text="x", topic="t")
    world.app.replies(type_="mqtt.ack", id=1)
    assert device.hears() == []
    world.app.replies(type_="mqtt.accept")
    assert device.hears_one(CONNACK).code == 0


def test_properties_of_the_accept_are_said_and_those_that_can_not_be_are_left_out(world):
    world = world()
    device = world.device(accept={"properties": {"user_property": [["a", "b"]], "reason_string": "hi"}})
    assert device.connack.properties["user_property"] == [["a", "b"]] and device.connack.properties["reason_string"] == "hi"
    other = world.device("other", accept={"properties": {"reason_string": 1, "user_property": [["a", "b"]]}})
    assert not {"reason_string", "user_property"} & set(other.connack.properties) and "can't have" in world.log.lines[-1]
    third = world.device("third", accept={"properties": {"server_keep_alive": 1, "receive_maximum": 9, "no_such": 1}})
    assert third.connack.properties["receive_maximum"] == 64 and third.connack.properties["server_keep_alive"] == 3600
    world.device("fourth", accept={"properties": {"reason_string": "hi"}}, version=4)


def test_a_client_that_says_nothing(world):
    world = world()
    device = world.comes()
    world.waits(10.1)
    assert device.ended and device.hears() == [] and world.app.nothing()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", packet(PINGREQ), b"\x10\x02\x00\x00", b"\xff" * 6])
def test_what_is_no_connect_is_not_answered(world, said):
    world = world()
    device = world.comes().says(said)
    assert device.ended and device.hears() == [] and world.app.nothing()


@pytest.mark.parametrize("level, version, code", [(6, 5, 0x84), (3, 4, 1)])
def test_an_unknown_version_is_told_which_are_known(world, level, version, code):
    world = world()
    device = world.comes()
    device.version = version
    device.says(connecting("a", 4).replace(b"MQTT\x04", b"MQTT" + bytes([level])))
    assert device.hears_one(CONNACK).code == code and device.ended and world.app.nothing()


def test_a_malformed_connect_of_mqtt_5_has_its_code(world):
    world = world()
    device = world.comes().says(connecting("a", receive_maximum=0))
    assert device.hears_one(CONNACK).code == 0x82 and device.ended and world.app.nothing()


# The client id

@pytest.mark.parametrize("version", [4, 5])
def test_a_client_without_an_id_gets_one(world, version):
    world = world()
    device = world.device("", version=version)
    made = device.told["client_id"]
    assert len(made) == 22 and made in world.broker.store.sessions
    assert device.connack.properties.get("assigned_client_identifier") == (made if version == 5 else None)


@pytest.mark.parametrize("version", [3, 4])
def test_no_id_and_a_session_to_be_kept_is_refused(world, version):
    world = world()
    device = world.comes().connects("", version=version, clean=False)
    assert device.hears_one(CONNACK).code == 2 and device.ended and world.app.nothing()


def test_the_worker_gives_it_another_id(world):
    world = world()
    device = world.device("", {"client_id": "seven"})
    assert device.connack.properties["assigned_client_identifier"] == "seven" and "seven" in world.broker.store.sessions
    for wrong in ("a\0b", "x" * 70_000):
        made = world.device("", {"client_id": wrong})
        assert made.connack.properties["assigned_client_identifier"] == made.told["client_id"]


# Keep alive

@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_client_that_is_silent_for_longer_than_it_said_is_ended(world, version):
    world = world()
    device = world.device(version=version, keep_alive=10)
    world.waits(14.9)
    device.says(packet(PINGREQ))
    assert device.hears_one(PINGRESP)
    world.waits(14.9)
    assert not device.ended
    world.waits(0.2)
    over(world, device, 0x8D)


def test_a_client_that_keeps_alive_for_ever(world):
    world = world()
    device = world.device(version=4)
    world.waits(100_000)
    assert not device.ended


@pytest.mark.parametrize("asked, said, told_to_it, silence", [
    (0, None, 3600, 3600), (7200, None, 3600, 3600), (60, None, None, 60), (60, 30, 30, 30), (60, -1, None, 60),
])
def test_the_server_may_set_the_keep_alive_of_mqtt_5(world, asked, said, told_to_it, silence):
    world = world(keep_alive_maximum=3600)
    device = world.device(accept={"keep_alive": said}, keep_alive=asked)
    assert device.connack.properties.get("server_keep_alive") == told_to_it
    world.waits(silence * SILENT - 0.1)
    assert not device.ended
    world.waits(0.2)
    assert device.ended


# PUBLISH

def test_qos_0_is_news(world):
    world = world()
    device = world.device()
    device.publishes("devices/7/up", b"21.5", user_property=[["a", "b"]], content_type="text/plain")
    got = world.app.got("mqtt.receive")
    assert (got["topic"], got["payload"], got["qos"], got["retain"], got["dup"], got["id"]) == (
        "devices/7/up", b"21.5", 0, False, False, 0)
    assert got["properties"] == {"user_property": [["a", "b"]], "content_type": "text/plain"}
    assert device.hears() == [] and "deadline" not in got and got["order"] == 1


@pytest.mark.parametrize("qos, kind", [(1, PUBACK), (2, PUBREC)])
def test_it_is_acknowledged_after_the_worker_has(world, qos, kind):
    world = world()
    device = world.device().publishes("t", b"x", qos, 7)
    got = world.app.got("mqtt.receive")
    assert (got["qos"], got["id"], got["dup"]) == (qos, 7, False) and device.hears() == []
    world.app.replies(type_="mqtt.ack", id=7)
    acked = device.hears_one(kind)
    assert (acked.id, acked.code) == (7, 0)


def test_several_are_out_and_answered_in_any_order(world):
    world = world()
    device = world.device()
    for number in (1, 2, 3):
        device.publishes("t", b"", 1, number)
        world.app.got("mqtt.receive")
    for number in (2, 3, 1):
        world.app.replies(type_="mqtt.ack", id=number)
    assert [each.id for each in device.hears()] == [2, 3, 1]
    world.app.replies(type_="mqtt.ack", id=1)
    world.app.replies(type_="mqtt.ack", id=99)
    assert device.hears() == []


def test_qos_2_is_given_to_the_worker_once(world):
    world = world()
    device = world.device().publishes("t", b"x", 2, 7).publishes("t", b"x", 2, 7, dup=True)
    world.acked()
    assert world.app.nothing() and device.hears_one(PUBREC).id == 7
    device.publishes("t", b"x", 2, 7, dup=True)
    assert device.hears_one(PUBREC).id == 7 and world.app.nothing()
    assert device.acks(PUBREL, 7).hears_one(PUBCOMP).code == 0
    assert device.acks(PUBREL, 7).hears_one(PUBCOMP).code == 0x92
    device.publishes("t", b"y", 2, 7)
    assert world.acked()["payload"] == b"y"


@pytest.mark.parametrize("version, qos, code, heard", [
    (5, 1, 0x87, (PUBACK, 0x87)), (5, 2, 0x99, (PUBREC, 0x99)), (5, 1, 0x10, (PUBACK, 0x10)), (5, 1, 5, (PUBACK, 0x80)),
    (4, 1, 0x87, (PUBACK, 0)), (4, 2, 0x99, (PUBREC, 0)),
])
def test_a_worker_may_refuse_a_message(world, version, qos, code, heard):
    world = world()
    device = world.device(version=version).publishes("t", b"x", qos, 7)
    world.acked(code)
    came = device.hears()
    assert [(each.kind, each.code) for each in came] == [heard] and not device.ended


def test_a_failure_that_mqtt_3_has_no_word_for_ends_the_connection_so_that_it_is_sent_again(world):
    world = world()
    device = world.device(version=4).publishes("t", b"x", 1, 7)
    world.acked(0x80)
    over(world, device, 0x80)


@pytest.mark.parametrize("version", [4, 5])
def test_no_ack_in_time_ends_the_connection(world, version):
    world = world()
    device = world.device(version=version).publishes("t", b"x", 1, 7)
    world.app.got("mqtt.receive")
    world.waits(59.9)
    assert not device.ended
    world.waits(0.2)
    over(world, device, 0x83)


def test_more_than_the_receive_maximum(world):
    world = world(receive_maximum=2)
    device = world.device()
    assert device.connack.properties["receive_maximum"] == 2
    for number in (1, 2, 3):
        device.publishes("t", b"", 1, number)
    assert [world.app.got()["id"] for _ in "12"] == [1, 2]
    over(world, device, 0x93)


def test_a_client_of_mqtt_3_is_read_no_further_until_the_worker_has_caught_up(world):
    world = world(receive_maximum=2)
    device = world.device(version=4)
    for number in (1, 2, 3, 4):
        device.publishes("t", b"", 1, number)
    assert [world.acked()["id"] for _ in "12"] == [1, 2]
    world.waits(0)
    assert [world.acked()["id"] for _ in "34"] == [3, 4] and [each.id for each in device.hears()] == [1, 2, 3, 4]


def test_topic_aliases_are_resolved(world):
    world = world()
    device = world.device().publishes("long/name", b"1", topic_alias=3).publishes("", b"2", topic_alias=3)
    device.publishes("other", b"3", topic_alias=3).publishes("", b"4", topic_alias=3)
    got = [world.app.got("mqtt.receive") for _ in "1234"]
    assert [each["topic"] for each in got] == ["long/name", "long/name", "other", "other"]
    assert all(each["properties"] == {} for each in got)
    device.publishes("", b"5", topic_alias=4)
    over(world, device, 0x82)


def test_a_topic_alias_over_the_maximum(world):
    world = world(topic_aliases=2)
    over(world, world.device().publishes("t", topic_alias=3), 0x94)


def test_a_publish_acl_is_kept_and_the_worker_not_asked(world):
    world = world()
    device = world.device("d7", {"publish_acl": ["devices/%c/#", "by/%u"]}, username="ann")
    device.publishes("devices/d7/up", b"1").publishes("devices/d8/up", b"2").publishes("by/ann", b"3").publishes("by/bob", b"4")
    assert [world.app.got()["payload"] for _ in "12"] == [b"1", b"3"] and world.app.nothing()
    assert device.publishes("devices/d8/up", b"2", 1, 5).hears_one(PUBACK).code == 0x87
    assert device.publishes("devices/d8/up", b"2", 2, 6).hears_one(PUBREC).code == 0x87
    assert world.app.nothing()


@pytest.mark.parametrize("allowed", [False, True])
def test_sys_is_the_servers_own(world, allowed):
    world = world(allow_sys=allowed)
    device = world.member(accept={"publish_acl": None, "subscribe_acl": ["#", "$SYS/#"]})
    device.publishes("$SYS/x", b"", 1, 5).publishes("$SYStem", b"")
    assert [world.app.got()["topic"] for _ in range(1 + allowed)][-1] == "$SYStem"
    device.subscribes(("$SYS/#", 0), ("$share/g/$SYS/a", 0), ("#", 0))
    codes = next(each.codes for each in device.hears() if each.kind == SUBACK)
    assert codes == [0, 0, 0] if allowed else [0x87, 0x87, 0]


# A worker that is behind, or gone

def test_a_worker_that_is_behind_stops_the_reading_of_that_client_alone(world):
    world = world()
    device, other = world.device("a"), world.device("b")
    for number in range(100):
        device.publishes("t", b"%d" % number)
    other.publishes("t", b"other")
    got = []
    while not world.app.nothing():
        got.append(world.app.got()["payload"])
    assert got == [b"%d" % number for number in range(63)] + [b"other"]       # the connect counts too
    world.app.replies(device.channel, type_="interface.credit", handled=63)
    world.waits(0)
    while not world.app.nothing():
        got.append(world.app.got()["payload"])
    assert got[64:] == [b"%d" % number for number in range(63, 100)]
    assert not device.ended


def test_a_worker_that_stays_behind_ends_the_connection(world):
    world = world()
    device = world.device()
    for number in range(66):
        device.publishes("t", b"%d" % number)
    world.waits(29.9)
    assert not device.ended
    world.waits(0.2)
    assert [each.code for each in device.hears()] == [0x97] and device.ended


def test_silence_is_not_counted_while_nothing_is_read(world):
    world = world(patience=1000.0)
    device = world.device(keep_alive=10)
    for number in range(66):
        device.publishes("t", b"%d" % number)
    world.waits(100)
    assert not device.ended
    world.app.replies(device.channel, type_="interface.credit", handled=63)
    world.waits(14)
    assert not device.ended
    world.waits(2)
    assert device.ended


def test_plain_workers_whose_channel_is_full(world):
    world = world(adopts=False, limits={"capacity": 2})
    device = world.device()
    world.layer.withdraw(world.app, "mqtt.receive")
    for number in range(5):
        device.publishes("t", b"%d" % number)
    world.waits(1)
    assert not device.ended
    world.layer.credit(world.app, "mqtt.receive", 100)
    for number in range(5):
        world.waits(0.2)
        assert world.app.got()["payload"] == b"%d" % number
    assert device.publishes("t", b"x", 1, 9) and world.app.got()["deadline"] == world.clock.seconds() + 60
    world.app.replies(type_="mqtt.ack", id=9)
    assert device.hears_one(PUBACK).id == 9


def test_nobody_listens_for_messages(world):
    """An application that only lets devices in, for a broker of its own."""
    world = world(adopts=False)
    device = world.member()
    world.layer.withdraw(world.app, "mqtt.receive")
    world.waits(3)
    device.subscribes(("t", 0)).hears()
    for _ in range(6000):
        device.publishes("t")
    assert len(device.heard()) == 6000 and world.layer.statistics()["waiting"] == {}
    over_qos_1 = device.publishes("t", b"x", 1, 1)
    assert [each.code for each in over_qos_1.hears()] == [0x83]


class Second(App):
    process = "specific.two"


def succeeded(world):
    """The worker dies; another takes the connection over."""
    world.app.dies()
    world.app = Second(world.layer, world.sends, True)
    world.waits(0)
    again = world.app.got("mqtt.connect")
    world.app.replies(again["reply_channel"], type_="mqtt.accept", receive_channel="specific.two!owner", epoch=again["epoch"])
    world.waits(0)
    return again


def test_what_a_dead_worker_had_not_acknowledged_goes_to_the_next_one_marked(world):
    world = world()
    device = world.device()
    device.publishes("t", b"acked", 1, 1)
    world.acked()
    device.publishes("t", b"news").publishes("t", b"one", 1, 2).publishes("t", b"two", 2, 3)
    assert device.hears_one(PUBACK).id == 1
    again = succeeded(world)
    assert again["resumed"] is True and again["client_id"] == "dev"
    got = [world.app.got("mqtt.receive") for _ in "12"]
    assert [(each["payload"], each["dup"], each["id"]) for each in got] == [(b"one", True, 2), (b"two", True, 3)]
    assert world.app.nothing() and not device.ended
    for number in (2, 3):
        world.app.replies(device.channel, type_="mqtt.ack", id=number)
    assert [(each.kind, each.id) for each in device.hears()] == [(PUBACK, 2), (PUBREC, 3)]


def test_a_packet_id_that_is_used_again_stands_for_the_newer_message(world):
    world = world()
    device = world.device().publishes("t", b"old", 1, 5)
    world.acked()
    device.publishes("t", b"new", 1, 5)
    succeeded(world)
    assert world.app.got("mqtt.receive")["payload"] == b"new" and world.app.nothing()


def test_what_came_meanwhile_waits_for_the_next_worker(world):
    world = world()
    device = world.device()
    world.app.dies()
    device.publishes("t", b"1").publishes("t", b"2", 1, 7).publishes("t", b"3")
    device.says(packet(PINGREQ))
    world.waits(29)
    assert not device.ended
    succeeded(world)
    while world.app.waiting:
        got = world.app.got("mqtt.receive")
        assert got["payload"] in (b"1", b"2", b"3") and not got["dup"]
        if got["id"]:
            world.app.replies(device.channel, type_="mqtt.ack", id=got["id"])
    assert [each.kind for each in device.hears()] == [PINGRESP, PUBACK] and not device.ended


def test_no_worker_takes_it_over(world):
    world = world()
    device = world.device(keep_alive=0)
    world.app.dies()
    world.app.heard.clear()
    world.waits(59)
    assert not device.ended
    for _ in "123":
        world.waits(1)
    assert [each.code for each in device.hears()] == [0x8B] and device.ended


def test_after_data_was_lost_classic_workers_see_it_come_again(world):
    world = world(adopts=False)
    world.layer.reader_mark = "?"
    device = world.device()
    world.exchange.deliver("", Gap(True))
    over(world, device, 0x8B)


# Subscriptions

def test_a_worker_is_asked_what_may_be_subscribed_to(world):
    world = world()
    device = world.device().subscribes(("a/+", 1), ("b", 2 | 4 | 8 | 32), ("c", 0), id=9)
    got = world.app.got("mqtt.subscribe")
    assert got["id"] == 9 and got["subscriptions"][0] == {
        "filter": "a/+", "qos": 1, "no_local": False, "retain_as_published": False, "retain_handling": 0}
    assert got["subscriptions"][1] == {
        "filter": "b", "qos": 2, "no_local": True, "retain_as_published": True, "retain_handling": 2}
    assert device.hears() == []
    world.app.replies(type_="mqtt.suback", id=9, reason_codes=[2, 1, 0x87])
    suback = device.hears_one(SUBACK)
    assert (suback.id, suback.codes) == (9, [1, 1, 0x87])
    assert set(world.broker.store.sessions["dev"].subscriptions) == {"a/+", "b"}


@pytest.mark.parametrize("codes", [[], [0], [0, 3], [0, "x"], [0, 0, 0], [0, -1], [0, 999]])
def test_an_answer_that_is_none_refuses(world, codes):
    world = world()
    device = world.device().subscribes(("a", 1), ("b", 1))
    world.app.got("mqtt.subscribe")
    world.app.replies(type_="mqtt.suback", id=1, reason_codes=codes)
    assert device.hears_one(SUBACK).codes == [0x80, 0x80] and not world.broker.tree.exact


def test_no_answer_refuses_and_the_connection_goes_on(world):
    world = world()
    device = world.device(version=4).subscribes(("a", 1), ("b", 1))
    world.app.got("mqtt.subscribe")
    world.waits(60.1)
    assert device.hears_one(SUBACK).codes == [0x80, 0x80] and not device.ended
    world.app.replies(type_="mqtt.suback", id=1, reason_codes=[1, 1])
    assert device.hears() == []


def test_a_subscribe_acl_spares_the_question(world):
    world = world()
    device = world.device("d7", {"subscribe_acl": ["devices/%c/#", "all/+"]})
    device.subscribes(("devices/d7/down", 1), ("devices/d8/down", 1), ("#", 1), ("all/+", 2), ("all/#", 0),
                      ("$share/g/all/x", 1))
    assert device.hears_one(SUBACK).codes == [1, 0x87, 0x87, 2, 0x87, 1] and world.app.nothing()


def test_unsubscribing_is_news(world):
    world = world()
    device = world.member().subscribes(("a", 1))
    device.hears()
    assert device.unsubscribes("a", "b").hears_one(UNSUBACK).codes == [0, 0x11]
    assert world.app.got("mqtt.unsubscribe")["filters"] == ["a", "b"]
    world.publishes("a", b"x")
    assert device.hears() == [] and not world.broker.tree.exact


def test_too_many_subscriptions(world):
    world = world(max_subscriptions=2)
    device = world.member().subscribes(("a", 0), ("b", 0), ("c", 0), ("a", 1))
    assert device.hears_one(SUBACK).codes == [0, 0, 0x97, 1]


def test_a_packet_id_that_is_in_use(world):
    world = world()
    device = world.device().publishes("t", b"", 1, 5).subscribes(("a", 0), id=5)
    assert device.hears_one(SUBACK).codes == [0x91]
    other = world.device("other") if world.app.got("mqtt.receive") else None
    other.subscribes(("a", 0), id=5).publishes("t", b"", 1, 5)
    assert other.hears_one(PUBACK).code == 0x91


# The end

@pytest.mark.parametrize("version", [3, 4, 5])
def test_goodbye(world, version):
    world = world()
    device = world.device(version=version).disconnects()
    assert device.ended and device.hears() == []
    told(world, 0, clean=True)


def test_a_client_that_is_gone(world):
    world = world()
    world.device().leaves()
    told(world, 0x80)


def test_the_worker_ends_it(world):
    world = world()
    device = world.device()
    world.app.replies(type_="mqtt.close", reason_code=0x8E)
    over(world, device, 0x8E)


def test_the_worker_says_why_it_ends_it(world):
    world = world()
    device = world.device("a")
    world.app.replies(type_="mqtt.close", reason_code=0x9D, properties={"reason_string": "moved", "server_reference": "b"})
    assert device.hears_one(DISCONNECT).properties == {"reason_string": "moved", "server_reference": "b"}
    other = world.device("b")
    world.app.replies(type_="mqtt.close", reason_code=0x9D, properties={"reason_string": 5})
    assert other.hears_one(DISCONNECT).code == 0x98


@pytest.mark.parametrize("code, said", [(None, 0x98), (0x18, 0x98), (-5, 0x98), (300, 0x98)])
def test_a_code_that_no_disconnect_has(world, code, said):
    world = world()
    device = world.device()
    world.app.replies(type_="mqtt.close", reason_code=code)
    assert device.hears_one(DISCONNECT).code == said and device.ended


def test_the_server_goes_down(world):
    world = world()
    device = world.device()
    device.connection.stop()
    over(world, device, 0x8B)


@pytest.mark.parametrize("said, code", [
    (connecting("x"), 0x82), (packet(PUBLISH, b"\0\3a/#\0"), 0x90), (b"\0\0", 0x81), (packet(PUBLISH, b"\0\1t\0", 6), 0x81),
])
def test_what_is_malformed_ends_it_with_the_code_that_the_standard_has(world, said, code):
    world = world()
    over(world, world.device().says(said), code)


def test_what_is_malformed_ends_mqtt_3_without_a_word(world):
    world = world()
    over(world, world.device(version=4).says(b"\0\0"), 0x81)


def test_what_came_before_the_fault_counts(world):
    world = world()
    device = world.device().says(packet(PUBLISH, b"\0\1t\0x") + b"\0\0")
    assert world.app.got("mqtt.receive")["payload"] == b"x"
    over(world, device, 0x81)


# Enhanced authentication

def auth(code, **given):
    return packet(AUTH, bytes([code]) + properties(**given))


def test_an_authentication_of_several_steps(world):
    world = world()
    device = world.comes().connects(authentication_method="m", authentication_data=b"1")
    got = world.app.got("mqtt.connect")
    assert got["properties"] == {"authentication_method": "m", "authentication_data": b"1"}
    for step in (b"2", b"3"):
        world.app.replies(type_="mqtt.auth", properties={"authentication_data": b"do " + step})
        challenge = device.hears_one(AUTH)
        assert challenge.code == 0x18
        assert challenge.properties == {"authentication_method": "m", "authentication_data": "do " + step.decode()}
        device.says(auth(0x18, authentication_method="m", authentication_data=step, user_property=[["a", "b"]]))
        got = world.app.got("mqtt.auth")
        assert (got["method"], got["data"], got["reason_code"]) == ("m", step, 0x18)
        assert got["properties"] == {"user_property": [["a", "b"]]}
    world.app.replies(type_="mqtt.accept", properties={"authentication_data": b"ok"})
    connack = device.hears_one(CONNACK)
    assert connack.properties["authentication_method"] == "m" and connack.properties["authentication_data"] == "ok"


@pytest.mark.parametrize("said, code", [
    (packet(PINGREQ), 0x82), (auth(0x18, authentication_method="other"), 0x8C), (auth(0x19, authentication_method="m"), 0x82),
    (b"\0\0", 0x81),
])
def test_whoever_does_not_answer_the_challenge_is_refused(world, said, code):
    world = world()
    device = world.comes().connects(authentication_method="m")
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.auth")
    device.hears_one(AUTH)
    assert device.says(said).hears_one(CONNACK).code in (code, 0x80) and device.ended
    assert world.app.got("mqtt.disconnect")["reason_code"] == code


def test_a_challenge_that_is_not_answered_in_time_and_one_that_was_not_asked_for(world):
    world = world()
    device = world.comes().connects(authentication_method="m")
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.auth")
    device.hears_one(AUTH)
    world.waits(10.1)
    assert device.hears_one(CONNACK).code == 0x88
    world.app.got("mqtt.disconnect")
    plain = world.comes().connects("plain")
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.auth")
    world.waits(10.1)
    assert plain.hears_one(CONNACK).code == 0x88


def test_an_open_connection_is_authenticated_again(world):
    world = world()
    device = world.device(authentication_method="m")
    device.says(auth(0x19, authentication_method="m", authentication_data=b"1")).publishes("t", b"meanwhile")
    got = world.app.got("mqtt.auth")
    assert (got["reason_code"], got["data"]) == (0x19, b"1") and world.app.got("mqtt.receive")
    world.app.replies(type_="mqtt.auth", properties={"authentication_data": b"2"})
    assert device.hears_one(AUTH).code == 0x18
    device.says(auth(0x18, authentication_method="m", authentication_data=b"3"))
    assert world.app.got("mqtt.auth")["data"] == b"3"
    world.app.replies(type_="mqtt.auth", reason_code=0)
    assert device.hears_one(AUTH).code == 0
    world.waits(20)
    assert not device.ended
    over(world, device.says(auth(0x19, authentication_method="n")), 0x82)


def test_a_second_authentication_is_decided_in_time(world):
    world = world()
    device = world.device(authentication_method="m").says(auth(0x19, authentication_method="m"))
    world.app.got("mqtt.auth")
    world.waits(10.1)
    over(world, device, 0x87)


def test_auth_without_a_method(world):
    world = world()
    over(world, world.device().says(auth(0x19, authentication_method="m")), 0x82)


# What the worker says to one device

def test_a_worker_says_something_to_a_device(world):
    world = world()
    device = world.device()
    world.app.replies(type_="mqtt.send", topic="down", payload=b"x", properties={"user_property": [["a", "b"]]})
    world.app.replies(type_="mqtt.send", topic="down", payload=b"y", qos=2, retain=True)
    world.app.replies(type_="interface.send", topic="both", text="ü", bytes=b"z")
    world.app.replies(type_="interface.send", topic="text", text="ü")
    world.app.replies(type_="interface.send", text="for others")
    came = device.hears()
    assert [(each.topic, each.payload, each.qos, each.retain) for each in came] == [
        ("down", b"x", 0, False), ("down", b"y", 2, True), ("both", b"z", 0, False), ("text", "ü".encode(), 0, False)]
    assert came[0].properties == {"user_property": [["a", "b"]]}


@pytest.mark.parametrize("wrong", [
    {"topic": "a/#"}, {"topic": ""}, {"topic": "a\0"}, {"topic": "t", "qos": 3}, {"topic": "t", "qos": -1},
    {"topic": "t", "properties": {"content_type": 5}}, {"topic": "t", "properties": {"user_property": "x"}},
    {"topic": "t", "properties": {"message_expiry_interval": "soon"}}, {"topic": "\ud800"},
    {"topic": "t", "properties": {"content_type": "\0"}}, {"topic": "t", "payload": "text"}, {},
])
def test_what_no_wire_could_say_never_reaches_a_device(world, wrong):
    world = world()
    device = world.device()
    try:
        world.app.replies(type_="mqtt.send", **wrong)
    except UnicodeEncodeError:
        pass                    # no layer carries it
    assert device.hears() == [] and not device.ended
    assert device.publishes("t") and world.app.got("mqtt.receive")


def test_a_worker_is_told_when_it_may_say_more(world):
    world = world()
    device = world.device(receive_maximum=1)
    for _ in range(64):
        world.app.replies(device.channel, type_="mqtt.send", topic="t", payload=b"xx", qos=1)
    credits = [message for _, message in world.app.waiting]
    assert [(each["type"], each["sent"]) for each in credits] == [("interface.credit", 64)]
    for number in range(1, 65):
        device.acks(PUBACK, number)
    assert [message["sent"] for _, message in world.app.waiting] == [64, 128]
    assert len(read(device.transport.read(), 5)) == 64


def test_what_was_said_before_a_goodbye_is_heard_though_the_worker_is_behind(world):
    world = world()
    device = world.device(will=("w", b"", 0, False, {}))
    for number in range(70):
        device.publishes("t", b"%d" % number)
    device.publishes("t", b"asked", 1, 9).disconnects().leaves()
    got = [world.app.got("mqtt.receive")["payload"] for _ in range(63)]
    world.app.replies(device.channel, type_="interface.credit", handled=63)
    world.waits(0)
    got += [world.app.got("mqtt.receive")["payload"] for _ in range(7)]
    assert got == [b"%d" % number for number in range(70)]
    told(world, 0, clean=True)


def test_the_server_goes_down_while_a_worker_decides(world):
    world = world()
    device = world.comes().connects()
    world.app.got("mqtt.connect")
    device.connection.stop()
    world.app.replies(type_="mqtt.accept")
    assert [(each.kind, each.code) for each in device.hears()] == [(CONNACK, 0), (DISCONNECT, 0x8B)]
    told(world, 0x8B)


def test_a_will_that_the_client_may_not_publish(world):
    world = world()
    device = world.comes().connects("d7", will=("devices/d8/gone", b"", 0, False, {}))
    world.app.got("mqtt.connect")
    world.app.replies(type_="mqtt.accept", relay=True, publish_acl=["devices/%c/#"])
    assert device.hears_one(CONNACK).code == 0x87 and device.ended
    told(world, 0x87)


def test_a_session_is_nobody_elses(world):
    world = world()
    ann = world.member("d7", username="ann", clean=False, session_expiry_interval=60).subscribes(("t", 1))
    ann.leaves()
    world.publishes("t", b"for ann", qos=1)
    bob = world.member("d7", username="bob", clean=False)
    assert not bob.told["session_present"] and not bob.connack.present and bob.hears() == []


class Doubtful(MemoryLayer):
    """It sends, and its word for it is lost."""

    def send(self, channel, message):
        super().send(channel, message)
        if message["type"] == "mqtt.receive":
            raise Unconfirmed("no answer")
        return DONE


def test_what_may_have_been_heard_is_not_said_twice(world):
    world = world(layer=Doubtful, adopts=False)
    device = world.device().publishes("t", b"news").publishes("t", b"x", 1, 7)
    world.waits(3)
    assert world.app.got("mqtt.receive")["payload"] == b"news"
    world.acked()
    assert world.app.nothing() and device.hears_one(PUBACK).id == 7


def test_what_a_dead_worker_had_begun_and_not_answered_goes_to_the_next_one(world):
    """A handler that awaits lets the next message in; `handled` says only that."""
    world = world()
    device = world.device().publishes("t", b"one", 1, 2).subscribes(("a", 1), id=3)
    world.app.got("mqtt.receive")
    world.app.got("mqtt.subscribe")
    world.app.replies(device.channel, type_="interface.credit", handled=2)
    succeeded(world)
    got = world.app.got("mqtt.receive")
    assert (got["payload"], got["dup"], got["id"]) == (b"one", True, 2)
    assert world.app.got("mqtt.subscribe")["id"] == 3 and world.app.nothing()
    world.app.replies(device.channel, type_="mqtt.ack", id=2)
    world.app.replies(device.channel, type_="mqtt.suback", id=3, reason_codes=[1])
    assert [each.kind for each in device.hears()] == [PUBACK, SUBACK]
    device.publishes("t", b"two", 1, 4)
    world.waits(9)
    assert not device.ended


def test_what_comes_again_to_the_next_worker_has_as_much_time(world):
    world = world()
    device = world.device().publishes("t", b"one", 1, 2)
    world.waits(59)
    succeeded(world)
    world.waits(59)
    assert not device.ended
    world.waits(2)
    assert [each.code for each in device.hears()] == [0x83]


class Silent(MemoryLayer):
    """As Redis, which does not know who listens."""

    def listening(self, channel):
        return True

    def deserted(self, channel):
        return 0.0


def test_plain_workers_who_do_not_read_what_is_unsubscribed_stop_nobody(world):
    world = world(adopts=False, layer=Silent, limits={"capacity": 2})
    device = world.device()
    world.layer.withdraw(world.app, "mqtt.unsubscribe")
    for number in range(5):
        assert device.unsubscribes(f"t/{number}").hears_one(UNSUBACK).codes == [0x11]
    device.says(b"\xc0\0")
    assert device.hears_one(PINGRESP)


def test_news_that_waits_for_readers_who_have_gone_holds_nobody_up(world):
    world = world(adopts=False, limits={"capacity": 2})
    device = world.device()
    world.layer.withdraw(world.app, "mqtt.receive")
    for number in range(4):
        device.publishes("t", b"%d" % number)
    device.says(b"\xc0\0")
    assert device.hears() == [], "held: readers may come back"
    world.waits(3)
    assert device.hears_one(PINGRESP)

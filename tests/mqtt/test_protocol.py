"""The wire of MQTT: what comes of bytes, however they are cut, and what is said to whom."""
import random
import tracemalloc
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from interfaces.contract import ProtocolError
from interfaces.mqtt.packets import (
    V3_1, V3_1_1, V5, Auth, Connack, Connect, Disconnect, Pingreq, Pingresp, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback,
    Subscribe, Subscription, Unsuback, Unsubscribe, Will,
)
from interfaces.mqtt.protocol import DEFAULTS, Limits, MqttWire, Prepared, encode_publish
from tests.mqtt.client_wire import HELLO, heard, packed, packet, said, string, varint
from tests.mqtt.malformed import MALFORMED_PACKETS, MAX_PACKET, TOO_MUCH, Case

SMALL = Limits(max_packet=MAX_PACKET)
VERSIONS = (V3_1, V3_1_1, V5)
every_version = pytest.mark.parametrize("version", VERSIONS)


def connected(version: int, options=DEFAULTS) -> MqttWire:
    wire = MqttWire(options)
    assert wire.receive(HELLO[version]) == b""
    assert wire.next_event() == Connect(version, "device", True, 60)
    return wire


def read(pieces, version: int = 0, options=SMALL) -> tuple[list, tuple[str, int] | None]:
    """(events, the fault behind them), however the bytes were cut. `version`: after a CONNECT of it; 0: from the start."""
    wire = connected(version, options) if version else MqttWire(options)
    events, fault = [], None
    for piece in pieces:
        assert wire.receive(piece) == b""
        try:
            while (event := wire.next_event()) is not None:
                events.append(event)
        except ProtocolError as error:
            fault = error.reason, error.code
    return events, fault


def singly(data: bytes):
    return (data[at:at + 1] for at in range(len(data)))


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    at = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 6)))
    return [data[begin:end] for begin, end in zip([0, *at], [*at, len(data)], strict=True)]


# what a client must not say

@pytest.mark.parametrize("case", MALFORMED_PACKETS, ids=lambda case: case.name)
def test_what_a_client_must_not_say(case: Case):
    events, fault = read([case.said], case.version)
    assert not events and fault[1] == case.code
    assert read(singly(case.said), case.version) == (events, fault)
    for place in range(1, min(len(case.said), 40)):
        assert read([case.said[:place], case.said[place:]], case.version) == (events, fault), place
    if case.version:                                        # and what stood in front of it is given first
        good = [Pingreq(), Publish("t", b"x")]
        around = b"".join(said(event, case.version) for event in good)
        assert read([around + case.said + around], case.version) == (good, fault)


@pytest.mark.parametrize("case", TOO_MUCH, ids=lambda case: case.name)
def test_what_is_more_than_anybody_needs(case: Case):
    events, fault = read([case.said], case.version, DEFAULTS)
    assert not events and fault[1] == case.code


def test_as_much_as_anybody_needs():
    for event in (Publish("t", b"", properties={"user_property": [["k", "v"]] * 1024}),
                  Subscribe(1, [Subscription("a")] * 1024), Unsubscribe(1, ["a"] * 1024)):
        assert read([said(event, V5)], V5, DEFAULTS) == ([event], None)


def test_a_fault_is_for_ever():
    wire = connected(V5)
    for _ in range(3):
        wire.receive(b"\0\0" + said(Pingreq(), V5))
        with pytest.raises(ProtocolError) as caught:
            wire.next_event()
        assert caught.value.code == 0x81
    assert wire.unread() == b""


def test_no_two_cases_have_one_name():
    names = [(case.name, case.said) for case in MALFORMED_PACKETS + TOO_MUCH]
    assert len(set(names)) == len(names)


@every_version
def test_a_packet_that_is_too_large_is_refused_before_it_comes(version):
    wire = connected(version, SMALL)
    wire.receive(b"\x30" + varint(MAX_PACKET - 2))          # and the fixed header takes three
    with pytest.raises(ProtocolError) as caught:
        wire.next_event()
    assert caught.value.code == 0x95
    largest = packet(3, 0, string("t"), b"\0" * (MAX_PACKET - 6))
    assert len(largest) == MAX_PACKET
    (event,), fault = read([largest], version)
    assert fault is None and event.topic == "t"


def test_a_limit_below_the_smallest_lengths_holds_too():
    options = Limits(max_packet=40)
    longest = said(Publish("t", b"x" * 35), V3_1_1)
    assert read([longest], V3_1_1, options)[1] is None and len(longest) == 40
    assert read([said(Publish("t", b"x" * 36), V3_1_1)], V3_1_1, options)[1][1] == 0x95


def test_a_stranger_may_not_send_as_much_as_who_is_known():
    wire = MqttWire()
    wire.receive(b"\x10" + varint(300_000))
    with pytest.raises(ProtocolError) as caught:
        wire.next_event()
    assert caught.value.code == 0x95 and 300_000 < DEFAULTS.max_packet


# versions

@pytest.mark.parametrize(("name", "level", "answer"), [
    ("MQTT", 6, b"\x20\x03\0\x84\0"), ("MQTT", 255, b"\x20\x03\0\x84\0"), ("MQTT", 3, b"\x20\x02\0\x01"),
    ("MQIsdp", 4, b"\x20\x02\0\x01"), ("MQIsdp", 0x83, b"\x20\x02\0\x01"), ("HTTP", 4, b"")])
def test_an_unknown_version_is_answered_in_words_it_may_know(name, level, answer):
    wire = MqttWire()
    wire.receive(packet(1, 0, string(name), bytes([level, 2, 0, 60]), string("c")))
    with pytest.raises(ProtocolError) as caught:
        wire.next_event()
    assert caught.value.code == 0x84 and wire.encode(Connack(False, caught.value.code)) == answer


@pytest.mark.parametrize(("version", "answer"), [(V3_1, b""), (V3_1_1, b""), (V5, b"\x20\x03\0\x81\0")])
def test_a_malformed_connect_is_answered_where_the_version_has_an_answer(version, answer):
    wire = MqttWire()
    wire.receive(HELLO[version][:1] + bytes([HELLO[version][1] + 1]) + HELLO[version][2:] + b"\0")
    with pytest.raises(ProtocolError) as caught:
        wire.next_event()
    assert caught.value.code == 0x81 and wire.encode(Connack(False, 0x81)) == answer


@pytest.mark.parametrize("event", [Connack(False, 0x80), Publish("t", b""), Disconnect(0x82), Pingresp()])
def test_who_has_not_said_mqtt_hears_nothing(event):
    wire = MqttWire()
    wire.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.encode(event) == b""


def test_in_3_1_a_name_or_password_may_be_missing():
    """3.1, 3.1: the remaining length takes precedence over the flags."""
    head = string("MQIsdp") + bytes([3, 0xC2, 0, 60]) + string("c")
    assert read([packet(1, 0, head)]) == ([Connect(V3_1, "c", True, 60)], None)
    assert read([packet(1, 0, head, string("u"))]) == ([Connect(V3_1, "c", True, 60, None, "u")], None)


def test_in_3_1_bits_that_mean_nothing_are_ignored():
    head = string("MQIsdp") + bytes([3, 0x3B, 0, 60]) + string("c")
    assert read([packet(1, 0, head)]) == ([Connect(V3_1, "c", True, 60)], None)
    again = said(Pubrel(1), V3_1), said(Subscribe(2, [Subscription("a", 1)]), V3_1), said(Unsubscribe(3, ["a"]), V3_1)
    dup = b"".join(bytes([data[0] | 8]) + data[1:] for data in again)
    assert read([dup], V3_1) == (read([b"".join(again)], V3_1)[0], None)
    assert read([b"\x82\x06\0\1\0\1a\xfd"], V3_1) == ([Subscribe(1, [Subscription("a", 1)])], None)
    assert read([b"\x38\x03\0\1t"], V3_1) == ([Publish("t", b"", dup=True)], None)


def test_before_mqtt_5_a_length_may_have_more_bytes_than_it_needs():
    assert read([b"\xc0\x80\x80\0"], V3_1_1) == ([Pingreq()], None)


@every_version
def test_long_and_odd_client_identifiers(version):
    for client_id in ("", "x" * 24, "x" * 1000, "ü/#+ \u00ad\ufeff\U0001f600", "$SYS"):
        event = Connect(version, client_id, True, 0)
        assert read([said(event, version)]) == ([event], None)


# there and back: every packet that a client sends

versions = some.sampled_from(VERSIONS)      # not by parametrize: pytest-twisted wraps a test of hypothesis but once
text = some.text(some.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
level = some.text(some.characters(exclude_categories=("Cs",), exclude_characters="\0/+#$"), max_size=5)
topic = some.lists(level, min_size=1, max_size=4).map("/".join).filter(bool)
pattern = some.lists(some.one_of(level, some.just("+")), min_size=1, max_size=4).map("/".join).filter(bool)
patterns = some.lists(pattern, min_size=1, max_size=3)
data, packet_id, qos = some.binary(max_size=300), some.integers(1, 0xFFFF), some.integers(0, 2)
byte, two, four = some.integers(0, 1), some.integers(0, 0xFFFF), some.integers(0, 0xFFFFFFFF)
users = some.lists(some.tuples(text, text).map(list), min_size=1, max_size=3)
identifiers = some.lists(some.integers(1, 268_435_455), min_size=1, max_size=1)
ABOUT = {"message_expiry_interval": four, "content_type": text, "response_topic": topic, "correlation_data": data,
         "user_property": users}
TOLD = {"reason_string": text, "user_property": users}
NAMES = {
    Connect: {"session_expiry_interval": four, "receive_maximum": some.integers(1, 0xFFFF), "topic_alias_maximum": two,
              "maximum_packet_size": some.integers(1, 0xFFFFFFFF), "request_response_information": byte,
              "request_problem_information": byte, "authentication_method": text, "user_property": users},
    Will: ABOUT | {"will_delay_interval": four}, Publish: ABOUT | {"topic_alias": some.integers(1, 0xFFFF)},
    Subscribe: {"subscription_identifier": identifiers, "user_property": users}, Unsubscribe: {"user_property": users},
    Disconnect: TOLD | {"session_expiry_interval": four},
    Auth: TOLD | {"authentication_data": data},
}


def having(kind: type, version: int):
    return some.fixed_dictionaries({}, optional=NAMES.get(kind, TOLD)) if version == V5 else some.just({})


def none_if_empty(kind: type, version: int):
    return having(kind, version).map(lambda found: found or None)


@some.composite
def connects(draw, version):
    will = Will(draw(topic), draw(data), draw(qos), draw(some.booleans()), draw(having(Will, version)))
    username = draw(some.none() | text)
    password = draw(some.none() | data) if username is not None or version == V5 else None
    return Connect(version, draw(text), draw(some.booleans()), draw(two), draw(some.sampled_from((None, will))), username,
                   password, draw(having(Connect, version)))


@some.composite
def publishes(draw, version, kind=none_if_empty):
    wanted = draw(qos)
    return Publish(draw(topic), draw(data), wanted, draw(some.booleans()), wanted > 0 and draw(some.booleans()),
                   draw(packet_id) if wanted else 0, draw(kind(Publish, version)))


@some.composite
def subscribes(draw, version):
    bits = some.booleans() if version == V5 else some.just(False)
    one = some.builds(Subscription, pattern, qos, bits, bits, some.integers(0, 2) if version == V5 else some.just(0))
    return Subscribe(draw(packet_id), draw(some.lists(one, min_size=1, max_size=3)), draw(none_if_empty(Subscribe, version)))


def answers(kind, version, codes):
    return some.builds(kind, packet_id, some.sampled_from(codes if version == V5 else (0,)), none_if_empty(kind, version))


def everything(version):
    received = (0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99)
    common = [publishes(version), answers(Puback, version, received), answers(Pubrec, version, received),
              answers(Pubrel, version, (0, 0x92)), answers(Pubcomp, version, (0, 0x92)), subscribes(version),
              some.builds(Unsubscribe, packet_id, patterns, none_if_empty(Unsubscribe, version)), some.just(Pingreq())]
    if version != V5:
        return some.one_of(*common, some.just(Disconnect()))
    method = some.builds(lambda found, name: found | {"authentication_method": name}, having(Auth, version), text)
    left = some.builds(Disconnect, some.sampled_from((0, 4, 0x80, 0x99)), none_if_empty(Disconnect, version))
    return some.one_of(*common, left, some.builds(Auth, some.sampled_from((0x18, 0x19)), method))


@given(versions, some.data())
def test_connect_as_a_client_says_it(version, draw):
    event = draw.draw(connects(version))
    data = said(event, version)
    assert read([data], options=DEFAULTS) == read(singly(data), options=DEFAULTS) == ([event], None)


@given(versions, some.data())
def test_everything_else_as_a_client_says_it(version, draw):
    events = draw.draw(some.lists(everything(version), max_size=5))
    data = b"".join(said(event, version) for event in events)
    assert read([data], version, DEFAULTS) == read(singly(data), version, DEFAULTS) == (events, None)


@given(versions, some.data())
def test_no_prefix_of_a_packet_is_one(version, draw):
    data = said(draw.draw(everything(version)), version)
    place = draw.draw(some.integers(0, len(data) - 1))
    assert read([data[:place]], version, DEFAULTS) == ([], None)


@settings(max_examples=500)
@given(versions, some.binary(max_size=60), some.integers())
def test_garbage_is_nothing_but_a_protocol_error(version, garbage, seed):
    pieces = cut(garbage, random.Random(seed))
    assert read([garbage]) == read(pieces) and read([garbage], version) == read(pieces, version)


@settings(max_examples=200)
@given(versions, some.data())
def test_a_mutation_is_read_or_a_protocol_error(version, draw):
    """Whatever is changed: nothing else is raised, cutting changes nothing, and what is read keeps the rules of its type."""
    events = draw.draw(some.lists(everything(version), min_size=1, max_size=3))
    data = bytearray(b"".join(said(event, version) for event in events))
    for _ in range(draw.draw(some.integers(1, 3))):
        data[draw.draw(some.integers(0, len(data) - 1))] = draw.draw(some.integers(0, 255))
    found, fault = read([bytes(data)], version)
    assert read(singly(bytes(data)), version) == (found, fault)
    assert fault is None or fault[1] in (0x81, 0x82, 0x8F, 0x90, 0x94, 0x95, 0x99)
    for event in found:
        assert getattr(event, "packet_id", 1) or event.qos == 0
        assert not isinstance(event, Publish) or not set("+#\0") & set(event.topic)


# there and back: every packet that a server sends

def sendable(version):
    codes = some.sampled_from((0, 0x10, 0x80, 0x87, 0x99) if version == V5 else (0,))
    released = some.sampled_from((0, 0x92) if version == V5 else (0,))
    told = none_if_empty(Puback, version)
    granted = some.lists(some.sampled_from((0, 1, 2, 0x80, 0x87, 0xA2) if version == V5 else (0, 1, 2)), min_size=1, max_size=3)
    gone = some.lists(some.sampled_from((0, 0x11, 0x8F)), min_size=1, max_size=3) if version == V5 else some.just([])
    return some.one_of(
        some.builds(Connack, some.booleans() if version != V3_1 else some.just(False), some.just(0), connack_has(version)),
        publishes(version, publish_has), some.just(Pingresp()), some.builds(Suback, packet_id, granted, told),
        some.builds(Unsuback, packet_id, gone, told), *(some.builds(kind, packet_id, codes, told) for kind in (Puback, Pubrec)),
        *(some.builds(kind, packet_id, released, told) for kind in (Pubrel, Pubcomp)))


def connack_has(version):
    known = {"session_expiry_interval": four, "receive_maximum": some.integers(1, 0xFFFF), "maximum_qos": byte,
             "retain_available": byte, "maximum_packet_size": some.integers(1, 0xFFFFFFFF), "assigned_client_identifier": text,
             "topic_alias_maximum": two, "wildcard_subscription_available": byte, "subscription_identifier_available": byte,
             "shared_subscription_available": byte, "server_keep_alive": two, "response_information": text,
             "server_reference": text, "authentication_method": text, "authentication_data": data}
    return some.fixed_dictionaries({}, optional=TOLD | known).map(lambda found: found or None) if version == V5 else some.none()


def publish_has(kind, version):
    several = some.lists(some.integers(1, 268_435_455), min_size=1, max_size=3)
    known = NAMES[Publish] | {"subscription_identifier": several, "payload_format_indicator": byte}
    return some.fixed_dictionaries({}, optional=known).map(lambda found: found or None) if version == V5 else some.none()


@given(versions, some.data())
def test_everything_as_a_client_hears_it(version, draw):
    wire, events = connected(version), draw.draw(some.lists(sendable(version), max_size=5))
    assert heard(b"".join(map(wire.encode, events)), version) == events


@given(some.sampled_from((0, 0x04, 0x82, 0x8E, 0xA2)), some.fixed_dictionaries({}, optional=TOLD | {"server_reference": text}))
def test_only_a_client_of_mqtt_5_hears_why_it_is_over(code, told):
    event = Disconnect(code, told or None)
    assert [connected(version).encode(event) for version in (V3_1, V3_1_1)] == [b"", b""]
    if code != 0x04:                                        # with the will: a client's
        assert heard(connected(V5).encode(event), V5) == [event]


def test_the_least_is_said():
    """3.4.2.1, 3.14.2.1, 3.15.2.1"""
    wire = connected(V5)
    assert wire.encode(Puback(1)) == wire.encode(Puback(1, 0, {})) == b"\x40\2\0\1"
    assert wire.encode(Puback(1, 0x10)) == b"\x40\3\0\1\x10"
    assert wire.encode(Pubrel(0x102)) == b"\x62\2\1\2" and wire.encode(Pubcomp(1, 0x92)) == b"\x70\3\0\1\x92"
    assert wire.encode(Disconnect()) == b"\xe0\0" and wire.encode(Disconnect(0x8E)) == b"\xe0\1\x8e"
    assert wire.encode(Pingresp()) == b"\xd0\0" and wire.encode(Suback(1, [1], {})) == b"\x90\4\0\1\0\1"
    assert wire.encode(Connack(True, 0)) == b"\x20\3\1\0\0"
    assert wire.encode(Auth(0x18, {"authentication_method": "m"})) == b"\xf0\6\x18\4\x15\0\1m"


def test_a_failure_that_a_packet_cannot_name_is_its_general_one():
    wire = connected(V5)
    assert wire.encode(Pubrel(1, 0x80)) == wire.encode(Pubrel(1, 0xFF)) == b"\x62\3\0\1\x92"
    assert wire.encode(Puback(1, 0x8B)) == b"\x40\3\0\1\x80" and wire.encode(Disconnect(0x84)) == b"\xe0\1\x80"
    assert wire.encode(Suback(1, [0x80, 0x82])) == b"\x90\5\0\1\0\x80\x80"


@pytest.mark.parametrize(("code", "three", "five"), [
    (0, 0, 0), (1, 1, 0x84), (2, 2, 0x85), (3, 3, 0x88), (4, 4, 0x86), (5, 5, 0x87), (0x80, 3, 0x80), (0x84, 1, 0x84),
    (0x85, 2, 0x85), (0x86, 4, 0x86), (0x87, 5, 0x87), (0x88, 3, 0x88), (0x89, 3, 0x89), (0x8A, 5, 0x8A), (0x8B, 3, 0x80),
    (0x8C, 5, 0x8C), (0x90, 5, 0x90), (0x97, 3, 0x97), (0x9F, 3, 0x9F), (0xFF, 3, 0x80)])
def test_a_refusal_in_the_words_of_each_version(code, three, five):
    event = Connack(True, code)                             # [MQTT-3.2.2-6]: a refusal has no session, whoever says so
    assert connected(V5).encode(event) == bytes([0x20, 3, code == 0, five, 0])
    assert connected(V3_1_1).encode(event) == bytes([0x20, 2, code == 0, three])
    assert connected(V3_1).encode(event) == bytes([0x20, 2, 0, three])


def test_grants_in_the_words_of_each_version():
    event = Suback(1, [0, 2, 0x87, 0x80], {"reason_string": "no"})
    assert connected(V3_1_1).encode(event) == b"\x90\6\0\1\0\2\x80\x80"
    assert connected(V3_1).encode(event) == b"\x90\6\0\1\0\2\0\0"
    assert connected(V3_1_1).encode(Unsuback(7, [0, 0x11])) == b"\xb0\2\0\7"
    assert connected(V3_1_1).encode(Puback(7, 0x87, {"reason_string": "no"})) == b"\x40\2\0\7"


def unsaid(**properties) -> Publish:
    return Publish("a", b"", properties=properties)


@pytest.mark.parametrize("event", [
    Publish("", b""), Publish("a/+", b""), Publish("#", b""), Publish("a\0", b""), Publish("\ud800", b""),
    Publish("a" * 65_536, b""),
    Publish("a", b"", 1), Publish("a", b"", 1, packet_id=65_536), Publish("a", b"", 3, packet_id=1), Publish("a", b"", -1),
    Publish("a", "text"), Publish("a", None), Publish(b"a", b""), Publish("a", b"", 0.5), Publish("a", b"", 1, packet_id=1.5),
    Publish("a", b"", properties=[1]), Publish("", b"", properties={"a": 1}),
    unsaid(topic_alias=0), unsaid(payload_format_indicator=2), unsaid(nothing=1), unsaid(will_delay_interval=1),
    unsaid(content_type="\0"), unsaid(content_type="\udfff"), unsaid(content_type="x" * 65_536), unsaid(content_type=5),
    unsaid(response_topic=""), unsaid(response_topic="a/+"), unsaid(response_topic="#"),
    unsaid(correlation_data="text"), unsaid(correlation_data=5), unsaid(message_expiry_interval=2**32),
    unsaid(message_expiry_interval=-1), unsaid(message_expiry_interval="5"), unsaid(message_expiry_interval=1.5),
    unsaid(user_property=[["a"]]), unsaid(user_property=5), unsaid(user_property=[["a", 5]]), unsaid(user_property=[None]),
    unsaid(subscription_identifier=[0]), unsaid(subscription_identifier=5), unsaid(subscription_identifier=[268_435_456]),
    Disconnect(0, {"session_expiry_interval": 1}), Disconnect(1), Disconnect(-1), Disconnect(256), Disconnect("0"),
    Connack(True, 6), Connack(False, 0, {"topic_alias": 1}), Puback(0), Puback(65_536), Puback(1, 1), Puback(1, [1]),
    Pubrel(1, 0x10), Suback(0, [0]), Suback(1, [3]), Suback(1, 5), Unsuback(1, [1]), Auth(0x18),
    Auth(0x19, {"authentication_method": "m"}), Pingreq(), Connect, None])
def test_what_cant_be_said_is_a_value_error(event):
    wire = connected(V5)
    with pytest.raises(ValueError):
        wire.encode(event)


@pytest.mark.parametrize("version", (V3_1, V3_1_1))
def test_before_mqtt_5_there_is_no_auth_and_no_topic_but_its_name(version):
    for event in (Auth(0x18, {"authentication_method": "m"}), Publish("", b"", properties={"topic_alias": 1})):
        with pytest.raises(ValueError):
            connected(version).encode(event)


def test_a_topic_may_be_told_by_its_alias():
    event = Publish("", b"x", properties={"topic_alias": 1})
    assert heard(connected(V5).encode(event), V5) == [event]
    assert read([said(event, V5)], V5) == ([event], None)


@pytest.mark.parametrize("length", [5, 126, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152])       # 1.5.5, table 1-1
def test_remaining_lengths(length):
    event = Publish("t", b"x" * (length - 5), 1, packet_id=1)
    data = connected(V3_1_1).encode(event)
    assert data[1:-length] == varint(length) and heard(data, V3_1_1) == [event]
    assert data == encode_publish(event, V3_1_1) == said(event, V3_1_1)
    assert read([data], V3_1_1, Limits(max_packet=3_000_000)) == ([event], None)


@pytest.mark.parametrize("properties", [
    {"subscription_identifier": [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]},
    {"content_type": "x" * 65_535}, {"correlation_data": b"x" * 65_535}, {"message_expiry_interval": 0, "topic_alias": 65_535},
    {"message_expiry_interval": 2**32 - 1, "payload_format_indicator": 1}])
def test_the_largest_and_least_values(properties):
    event = Publish("a" * 65_535, b"", properties=properties)
    assert heard(connected(V5).encode(event), V5) == [event]


# many

@every_version
def test_one_encoding_for_many(version):
    publish = Publish("t", b"x" * 10, 0, True, properties={"user_property": [["a", "b"]]} if version == V5 else None)
    prepared, wires = Prepared(publish), [connected(version) for _ in range(3)]
    first, *rest = (wire.encode(prepared) for wire in wires)
    assert heard(first, version) == [publish] and all(other is first for other in rest)


def test_above_qos_0_nobody_shares():
    with pytest.raises(ValueError):
        Prepared(Publish("t", b"", 1, packet_id=1))


@pytest.mark.parametrize("event", [Publish("#", b""), Publish("t", b"", 1), unsaid(message_expiry_interval=2**32), unsaid(x=1)])
def test_without_a_wire_it_is_a_value_error_too(event):
    with pytest.raises(ValueError):
        encode_publish(event, V5)


def test_what_cant_be_said_to_many_is_a_value_error():
    for event in (Publish("#", b""), Publish("t", "text"), Publish("t", b"", properties={"nothing": 1})):
        with pytest.raises(ValueError):
            connected(V5).encode(Prepared(event))


# buffers

def test_what_is_not_read_yet_can_be_had_and_is_forgotten():
    wire = connected(V5)
    ping, publish = said(Pingreq(), V5), said(Publish("t", b"x" * 50), V5)
    wire.receive(ping + publish[:3])
    wire.receive(publish[3:9])
    assert wire.next_event() == Pingreq()
    assert wire.unread() == publish[:9] and wire.unread() == b"" and wire.next_event() is None
    wire.receive(ping)
    assert wire.next_event() == Pingreq()


@pytest.mark.parametrize("seed", range(20))
def test_the_wire_may_be_behind(seed):
    """Bytes come while nobody pulls; then some are pulled, and more come."""
    chance, wire, found = random.Random(seed), connected(V3_1_1), []
    events = [Publish("t", chance.randbytes(chance.choice((0, 1, 5, 120, 130, 20_000)))) for _ in range(30)]
    for piece in cut(b"".join(said(event, V3_1_1) for event in events), chance):
        for part in cut(piece, chance):
            wire.receive(part)
            found += [event for _ in range(chance.randrange(4)) if (event := wire.next_event()) is not None]
    found += iter(wire.next_event, None)
    assert found == events


def test_a_packet_that_comes_byte_by_byte_is_not_copied_for_each():
    wire, data = connected(V5), said(Publish("t", b"x" * 1_000_000), V5)
    copied = 0

    class Counted(bytearray):
        def __radd__(self, other):
            nonlocal copied
            copied += len(other) + len(self)
            return other + bytes(self)
    for byte in singly(data):
        wire.receive(byte)
        if wire.more is not None and wire.more.__class__ is bytearray:
            wire.more = Counted(wire.more)
        event = wire.next_event()
    assert event.payload == b"x" * 1_000_000 and 1_000_000 < copied < 2 * len(data)


def test_a_busy_story_does_not_make_a_trickle_expensive():
    wire = connected(V3_1_1)
    wire.receive(said(Publish("t", b"x" * 60_000), V3_1_1))
    held = wire.buffer
    for _ in range(1000):
        wire.receive(b"\xc0\0")
        assert wire.buffer is held and wire.at == 0         # what waits is not moved for what comes
    assert sum(1 for _ in iter(wire.next_event, None)) == 1001


def test_an_idle_connection_keeps_nothing_of_what_it_read():
    wires = [connected(V5) for _ in range(200)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for wire in wires:
            wire.receive(bytes(said(Publish("t", b"x" * 40_000), V5) + b"\x30"))
            assert wire.next_event() and wire.next_event() is None
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 200 * 200                                 # the first byte of the next packet


@every_version
def test_every_packet_has_its_field_names(version):
    """What the story matches on: positional order is that of packets.py."""
    assert [field.name for field in fields(Publish)] == ["topic", "payload", "qos", "retain", "dup", "packet_id", "properties"]
    properties = packed({"user_property": [["b", "1"], ["a", "2"], ["b", "1"]]}) if version == V5 else b""
    (event,), _ = read([packet(3, 0, string("t"), properties, b"x")], version)
    if version == V5:
        assert event.properties == {"user_property": [["b", "1"], ["a", "2"], ["b", "1"]]}       # [MQTT-3.3.2-18]
    assert event.payload == b"x"

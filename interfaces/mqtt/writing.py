"""What a server says: a value of packets.py -> the bytes of the control packet, in the words of the client's version. Pure.

Raises ValueError for what can't be said. What a version has no words for is left out: properties, reason codes and
DISCONNECT before MQTT 5."""
from collections.abc import Callable
from struct import Struct

from interfaces.mqtt.packets import (
    V3_1, V5, Auth, Connack, Disconnect, Pingresp, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback, Unsuback,
)
from interfaces.mqtt.properties import (
    AUTH, CONNACK, DISCONNECT, MOST, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, variable, write_properties,
)

SUCCESS, UNSPECIFIED, UNKNOWN_ID = 0x00, 0x80, 0x92
UNAVAILABLE = 3                            # 3.1.1, table 3.1

# table 3-1 of MQTT 5 -> table 3.1 of 3.1.1. Where the packet itself was wrong, 3.1.1 has no answer [MQTT-3.1.4-1]; the
# rest (unspecified, busy, quotas) is the server's trouble to it
RETURN_CODES = {0x84: 1, 0x85: 2, 0x86: 4, 0x87: 5, 0x8A: 5, 0x8C: 5, 0x90: 5}
UNANSWERED = frozenset((0x81, 0x82, 0x95, 0x99))
REASONS = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}              # and back, for who speaks 3.1.1 to a client of MQTT 5

CONNECTED = frozenset((0, *range(0x80, 0x8B), 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F))   # table 3-1
RECEIVED = frozenset((0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))                # tables 3-4, 3-5
RELEASED = frozenset((0, UNKNOWN_ID))                                # tables 3-6, 3-7
SUBSCRIBED = frozenset((0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2))  # table 3-8
UNSUBSCRIBED = frozenset((0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91))    # table 3-9
CLOSED = frozenset((0, *range(0x80, 0x84), 0x87, 0x89, 0x8B, *range(0x8D, 0x91), *range(0x93, 0xA3)))        # table 3-10
CONTINUED = frozenset((0, 0x18))                                     # table 3-11, Server

SMALL = Struct("!BBH").pack                # first byte, remaining length of one byte, length of the topic
TWO = Struct("!H").pack
ACKNOWLEDGED = Struct("!BBH").pack


def legal(code: int, table: frozenset[int], otherwise: int = UNSPECIFIED) -> int:
    """The code; for a failure that this packet can't name, its general one [MQTT-3.2.2-8], [MQTT-3.4.2-1] and the like."""
    if code in table:
        return code
    if UNSPECIFIED <= code <= 0xFF:
        return otherwise
    raise ValueError(f"reason code {code!r} in a packet that has none such")


def framed(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first,)) + variable(len(body)) + body


def identifier(packet_id: int) -> bytes:
    if not 0 < packet_id <= 0xFFFF:                                  # [MQTT-2.2.1-4]
        raise ValueError("a packet identifier that is out of range")
    return TWO(packet_id)


def connack(version: int, event: Connack) -> bytes:
    code = event.reason_code
    if version != V5:
        if code in UNANSWERED:
            return b""
        if code not in REASONS and code:
            code = RETURN_CODES.get(legal(code, CONNECTED), UNAVAILABLE)
        present = event.session_present and not code and version != V3_1
        return framed(CONNACK << 4, bytes((present, code)))
    code = legal(REASONS.get(code, code), CONNECTED)
    present = event.session_present and not code                     # [MQTT-3.2.2-6]
    return framed(CONNACK << 4, bytes((present, code)), write_properties(event.properties, CONNACK))


def encode_publish(event: Publish, version: int) -> bytes:
    """A PUBLISH. What it costs is mostly `topic`; who tells many the same of QoS 0 has Prepared."""
    topic, payload = event.topic.encode(), event.payload             # a lone surrogate: UnicodeEncodeError, a ValueError
    size = len(topic)
    if b"#" in topic or b"+" in topic or b"\0" in topic or size > MOST:
        raise ValueError("a topic that can't be published to")
    first = PUBLISH << 4 | event.qos << 1
    if event.retain:
        first |= 1
    if event.qos:
        if event.qos not in (1, 2):
            raise ValueError("QoS is 0, 1 or 2")
        topic += identifier(event.packet_id)
        if event.dup:
            first |= 8
    if version == V5:
        topic += write_properties(event.properties, PUBLISH) if event.properties else b"\0"
    if not size and not (version == V5 and event.properties and "topic_alias" in event.properties):
        raise ValueError("a PUBLISH without a topic")
    length = 2 + len(topic) + len(payload)
    if length < 0x80:
        return SMALL(first, length, size) + topic + payload
    return b"".join((bytes((first,)), variable(length), TWO(size), topic, payload))


class Prepared:
    """A PUBLISH of QoS 0 for many: each version's bytes are made once. `publish` is not to be changed afterwards."""
    __slots__ = ("publish", "forms")

    def __init__(self, publish: Publish):
        if publish.qos:
            raise ValueError("above QoS 0 each receiver has a packet identifier of its own")
        self.publish = publish
        self.forms: dict[int, bytes] = {}

    def encoded(self, version: int) -> bytes:
        """Raises ValueError as encode_publish does."""
        data = self.forms.get(version)
        if data is None:
            data = self.forms[version] = encode_publish(self.publish, version)
        return data


def acknowledgement(first: int, codes: frozenset[int], otherwise: int = UNSPECIFIED) -> Callable:
    """The writer of PUBACK, PUBREC, PUBREL or PUBCOMP. Before MQTT 5 none can say that something failed (3.1.1, 3.3.5)."""
    def write(version: int, event) -> bytes:
        packet_id, code = event.packet_id, event.reason_code
        if not 0 < packet_id <= 0xFFFF:
            raise ValueError("a packet identifier that is out of range")
        if version != V5 or not code and not event.properties:       # 3.4.2.1: what is 0 and empty is left out
            return ACKNOWLEDGED(first, 2, packet_id)
        said = bytes((legal(code, codes, otherwise),))
        if event.properties:
            said += write_properties(event.properties, first >> 4)
        return framed(first, TWO(packet_id), said)
    return write


def suback(version: int, event: Suback) -> bytes:
    codes = bytes(legal(code, SUBSCRIBED) for code in event.reason_codes)
    if version == V5:
        return framed(SUBACK << 4, identifier(event.packet_id), write_properties(event.properties, SUBACK), codes)
    # 3.1 knows no failure: the least that can be granted is QoS 0
    failure = 0 if version == V3_1 else UNSPECIFIED                  # 3.1.1: [MQTT-3.9.3-2]
    return framed(SUBACK << 4, identifier(event.packet_id), bytes(code if code < 3 else failure for code in codes))


def unsuback(version: int, event: Unsuback) -> bytes:
    if version != V5:
        return framed(UNSUBACK << 4, identifier(event.packet_id))
    codes = bytes(legal(code, UNSUBSCRIBED) for code in event.reason_codes)
    return framed(UNSUBACK << 4, identifier(event.packet_id), write_properties(event.properties, UNSUBACK), codes)


def pingresp(version: int, event: Pingresp) -> bytes:
    return b"\xd0\x00"


def disconnect(version: int, event: Disconnect) -> bytes:
    if version != V5:                                                # 3.1.1, 3.14: a client says it, a server only closes
        return b""
    code = legal(event.reason_code, CLOSED)
    if event.properties:
        return framed(DISCONNECT << 4, bytes((code,)), write_properties(event.properties, DISCONNECT))
    return framed(DISCONNECT << 4, bytes((code,)) if code else b"")  # 3.14.2.1


def auth(version: int, event: Auth) -> bytes:
    if version != V5:
        raise ValueError("AUTH is of MQTT 5")
    code = legal(event.reason_code, CONTINUED)
    if not (event.properties and "authentication_method" in event.properties):           # [MQTT-4.12.0-5]
        raise ValueError("AUTH without its method")
    return framed(AUTH << 4, bytes((code,)), write_properties(event.properties, AUTH))


WRITERS = {
    Connack: connack, Publish: lambda version, event: encode_publish(event, version),
    Prepared: lambda version, event: event.encoded(version),
    Puback: acknowledgement(PUBACK << 4, RECEIVED), Pubrec: acknowledgement(PUBREC << 4, RECEIVED),
    Pubrel: acknowledgement(PUBREL << 4 | 2, RELEASED, UNKNOWN_ID),  # [MQTT-3.6.1-1]
    Pubcomp: acknowledgement(PUBCOMP << 4, RELEASED, UNKNOWN_ID),
    Suback: suback, Unsuback: unsuback, Pingresp: pingresp, Disconnect: disconnect, Auth: auth,
}

"""What a client says after CONNECT: the body of each control packet that it may send (MQTT 5.0, 3) -> a value of packets.py.
Pure. CONNECT itself is in reading_connect.py.

A reader gets (version, buffer, at, end, first byte) of a packet that is all there, and must use it up to `end`: a byte too
many is as malformed as one too few. READERS[version][first byte] is that of a packet; where the type or its flags are not
allowed, it is `refuse`. 3.1 leaves unused bits unsaid where 3.1.1 has them 0; they are ignored there."""
from collections.abc import Callable

from interfaces.contract import ProtocolError
from interfaces.mqtt.packets import (
    V3_1, V3_1_1, V5, Auth, Disconnect, Pingreq, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Subscription, Unsubscribe,
)
from interfaces.mqtt.properties import (
    AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PROTOCOL_ERROR, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL,
    QUOTA_EXCEEDED, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, malformed, read_byte, read_properties, read_text, read_two,
)
from interfaces.mqtt.topics import LEVELS, SHARE, check_filter, check_topic

FILTER_INVALID, TOPIC_INVALID, PAYLOAD_INVALID = 0x8F, 0x90, 0x99
MOST_FILTERS = 1024                        # in one packet; a guess. 1 MiB of them would be 260,000, and 0.3 s of the server's
NONE = 0                                   # the version before CONNECT


# PUBLISH and its answers

def publish(version: int, buffer: bytes, at: int, end: int, first: int) -> Publish:
    stop = start = at + 2
    if stop <= end:
        stop += buffer[at] << 8 | buffer[at + 1]
    if stop > end:
        raise malformed("a packet cut short")
    try:
        topic = buffer[start:stop].decode()
    except UnicodeDecodeError:                                       # [MQTT-3.3.2-1]
        raise malformed("a topic that is not UTF-8") from None
    if not topic or "#" in topic or "+" in topic or "\0" in topic or stop - start >= LEVELS:
        if topic or version != V5:
            named(topic)
    packet_id = 0
    qos = first >> 1 & 3
    if qos:
        packet_id, stop = read_id(buffer, stop, end)
    properties = None
    if version == V5:
        if stop < end and not buffer[stop]:                          # most have none
            stop += 1
        else:
            properties, stop = read_properties(buffer, stop, end, PUBLISH)
            check_response(properties)
            check_format(properties, buffer[stop:end])
        if not topic and (properties is None or "topic_alias" not in properties):        # 3.3.2.1
            raise ProtocolError("neither a topic nor an alias for one", PROTOCOL_ERROR)
    return Publish(topic, buffer[stop:end], qos, first & 1 == 1, first & 8 == 8, packet_id, properties)


def named(topic: str) -> None:
    if "\0" in topic:
        raise malformed("a topic with U+0000")
    try:
        check_topic(topic)
    except ValueError as error:
        raise ProtocolError(str(error), TOPIC_INVALID) from None


def check_response(properties: dict) -> None:
    if "response_topic" in properties:
        try:
            check_topic(properties["response_topic"])
        except ValueError as error:                                  # [MQTT-3.3.2-14]
            raise ProtocolError(f"response topic: {error}", PROTOCOL_ERROR) from None


def check_format(properties: dict, payload: bytes) -> None:
    """3.3.2.3.2, 3.1.3.2.3: a receiver may check it; then whoever reads it can rely on it."""
    if properties.get("payload_format_indicator"):
        try:
            payload.decode()
        except UnicodeDecodeError:
            raise ProtocolError("a payload that is not UTF-8, as its format says", PAYLOAD_INVALID) from None


def read_id(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    packet_id, at = read_two(buffer, at, end)
    if not packet_id:                                                # [MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]
        raise ProtocolError("packet identifier 0", PROTOCOL_ERROR)
    return packet_id, at


def acknowledgement(packet: int, made: type, codes: frozenset[int]) -> Callable:
    """The reader of PUBACK, PUBREC, PUBREL or PUBCOMP; their bodies are the same."""
    def read(version: int, buffer: bytes, at: int, end: int, first: int):
        packet_id, at = read_id(buffer, at, end)
        if at == end:
            return made(packet_id)
        if version != V5:
            raise malformed("a packet that is too long")
        code, properties, at = read_reason(packet, buffer, at, end)
        if code not in codes:
            raise ProtocolError(f"a reason code {code:#04x} that is none of this packet's", PROTOCOL_ERROR)
        whole(at, end)
        return made(packet_id, code, properties)
    return read


def read_reason(packet: int, buffer: bytes, at: int, end: int) -> tuple[int, dict | None, int]:
    """The reason code, and what properties there are (3.4.2.2.1: none if the packet ends before their length)."""
    properties = None
    code, at = read_byte(buffer, at, end)
    if at < end:
        properties, at = read_properties(buffer, at, end, packet)
    return code, properties or None, at


RECEIVED = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))             # tables 3-4, 3-5
RELEASED = frozenset((0x00, 0x92))                                   # tables 3-6, 3-7
LEFT = frozenset((0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99))     # table 3-10, Client
AUTHENTICATED = frozenset((0x18, 0x19))                              # table 3-11, Client


# the rest

def subscribe(version: int, buffer: bytes, at: int, end: int, first: int) -> Subscribe:
    packet_id, at = read_id(buffer, at, end)
    properties = None
    if version == V5:
        properties, at = read_properties(buffer, at, end, SUBSCRIBE)
    subscriptions = []
    while at < end:
        text, at = read_filter(buffer, at, end)
        options, at = read_byte(buffer, at, end)
        subscriptions.append(subscription(version, text, options))
        bounded(subscriptions)
    if not subscriptions:                                            # [MQTT-3.8.3-2], 3.1.1: [MQTT-3.8.3-3]
        raise ProtocolError("SUBSCRIBE without a filter", PROTOCOL_ERROR)
    return Subscribe(packet_id, subscriptions, properties or None)


def subscription(version: int, text: str, options: int) -> Subscription:
    if version == V3_1:
        options &= 0x03
    if options & (0xC0 if version == V5 else 0xFC):                  # [MQTT-3.8.3-5], 3.1.1: [MQTT-3.8.3-4]
        raise malformed("reserved bits of a subscription are set")
    if options & 0x03 == 0x03 or options & 0x30 == 0x30:             # 3.8.3.1
        raise ProtocolError("a subscription of QoS 3 or with retain handling 3", PROTOCOL_ERROR)
    if options & 0x04 and text.startswith(SHARE):                    # [MQTT-3.8.3-4]
        raise ProtocolError("no local on a shared subscription", PROTOCOL_ERROR)
    return Subscription(text, options & 0x03, options & 0x04 != 0, options & 0x08 != 0, options >> 4 & 3)


def unsubscribe(version: int, buffer: bytes, at: int, end: int, first: int) -> Unsubscribe:
    packet_id, at = read_id(buffer, at, end)
    properties = None
    if version == V5:
        properties, at = read_properties(buffer, at, end, UNSUBSCRIBE)
    filters = []
    while at < end:
        text, at = read_filter(buffer, at, end)
        filters.append(text)
        bounded(filters)
    if not filters:                                                  # [MQTT-3.10.3-2]
        raise ProtocolError("UNSUBSCRIBE without a filter", PROTOCOL_ERROR)
    return Unsubscribe(packet_id, filters, properties or None)


def read_filter(buffer: bytes, at: int, end: int) -> tuple[str, int]:
    text, at = read_text(buffer, at, end)                            # [MQTT-3.8.3-1], [MQTT-3.10.3-1]
    try:
        check_filter(text)
    except ValueError as error:
        raise ProtocolError(str(error), FILTER_INVALID) from None
    return text, at


def bounded(filters: list) -> None:
    if len(filters) > MOST_FILTERS:
        raise ProtocolError("too many filters in one packet", QUOTA_EXCEEDED)


def pingreq(version: int, buffer: bytes, at: int, end: int, first: int) -> Pingreq:
    whole(at, end)
    return Pingreq()


def disconnect(version: int, buffer: bytes, at: int, end: int, first: int) -> Disconnect:
    if at == end:
        return Disconnect()
    if version != V5:
        raise malformed("a packet that is too long")
    code, properties, at = read_reason(DISCONNECT, buffer, at, end)
    if code not in LEFT:                                             # [MQTT-3.14.2-1]
        raise ProtocolError(f"a reason code {code:#04x} that is none of this packet's", PROTOCOL_ERROR)
    whole(at, end)
    return Disconnect(code, properties)


def auth(version: int, buffer: bytes, at: int, end: int, first: int) -> Auth:
    code, properties = 0, {}
    if at < end:                                                     # 3.15.2.1: both may only be left out together
        code, at = read_byte(buffer, at, end)
        properties, at = read_properties(buffer, at, end, AUTH)
    if code not in AUTHENTICATED:                                    # [MQTT-3.15.2-1]
        raise ProtocolError(f"a reason code {code:#04x} that is none of a client's", PROTOCOL_ERROR)
    if "authentication_method" not in properties:                    # 3.15.2.2.2
        raise ProtocolError("AUTH without its method", PROTOCOL_ERROR)
    whole(at, end)
    return Auth(code, properties)


def whole(at: int, end: int) -> None:
    if at != end:
        raise malformed("a packet that is too long")


def refuse(version: int, buffer: bytes, at: int, end: int, first: int):
    """For a first byte that can't be here; its packet need not have come."""
    packet = first >> 4
    if version == NONE and packet != CONNECT:                        # [MQTT-3.1.0-1]
        raise ProtocolError("the first packet is no CONNECT", PROTOCOL_ERROR)
    if packet == CONNECT and version != NONE:                        # [MQTT-3.1.0-2]
        raise ProtocolError("a second CONNECT", PROTOCOL_ERROR)
    if packet in (CONNACK, SUBACK, UNSUBACK, PINGRESP):
        raise ProtocolError("a packet that only a server sends", PROTOCOL_ERROR)
    raise malformed("reserved bits of the first byte")               # [MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-2]


def readers(version: int) -> list[Callable]:
    allowed = {PUBACK << 4: acknowledgement(PUBACK, Puback, RECEIVED), PUBREC << 4: acknowledgement(PUBREC, Pubrec, RECEIVED),
               PUBREL << 4 | 2: acknowledgement(PUBREL, Pubrel, RELEASED),                           # [MQTT-3.6.1-1]
               PUBCOMP << 4: acknowledgement(PUBCOMP, Pubcomp, RELEASED),
               SUBSCRIBE << 4 | 2: subscribe, UNSUBSCRIBE << 4 | 2: unsubscribe,         # [MQTT-3.8.1-1], [MQTT-3.10.1-1]
               PINGREQ << 4: pingreq, DISCONNECT << 4: disconnect}                       # [MQTT-3.14.1-1]
    for retain in (0, 1):
        for flags in (0, 2, 4, 10, 12):                              # [MQTT-3.3.1-2], [MQTT-3.3.1-4]
            allowed[PUBLISH << 4 | flags | retain] = publish
    if version == V3_1:                                              # 3.1, 2.1: DUP on what is sent again
        again = [first for first in allowed if first & 2 or first >> 4 == PUBLISH]
        allowed |= {first | 8: allowed[first] for first in again}
    if version == V5:
        allowed[AUTH << 4] = auth                                    # [MQTT-3.15.1-1]
    return [allowed.get(first, refuse) for first in range(256)]


READERS = {NONE: [refuse] * 256} | {version: readers(version) for version in (V3_1, V3_1_1, V5)}

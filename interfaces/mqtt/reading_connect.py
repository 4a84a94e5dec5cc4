"""What a client says first: the body of CONNECT (MQTT 5.0, 3.1; the same of 3.1.1 and 3.1) -> a value of packets.py. Pure."""
from interfaces.contract import ProtocolError
from interfaces.mqtt.packets import V3_1, V3_1_1, V5, Connect, Will
from interfaces.mqtt.properties import (
    CONNECT, PROTOCOL_ERROR, WILL, malformed, read_binary, read_byte, read_properties, read_text, read_two,
)
from interfaces.mqtt.reading import NONE, check_format, check_response, named, whole

UNSUPPORTED_VERSION = 0x84                 # table 3-1


def read_version(buffer: bytes, at: int, end: int) -> tuple[int, bool, int]:
    """(version, whether it is known, where the flags are). An unknown one is to be answered in `version` [MQTT-3.1.2-2]."""
    name, at = read_text(buffer, at, end)
    level, at = read_byte(buffer, at, end)
    if name == "MQTT" and level > V5:
        return V5, False, at
    if name == "MQTT" and level >= V3_1_1 or name == "MQIsdp" and level == V3_1:
        return level, True, at
    return V3_1_1 if name in ("MQTT", "MQIsdp") else NONE, False, at


def connect(version: int, buffer: bytes, at: int, end: int) -> Connect:
    """From the Connect Flags on."""
    flags, at = read_byte(buffer, at, end)
    check_flags(version, flags)
    keep_alive, at = read_two(buffer, at, end)
    properties = {}
    if version == V5:
        properties, at = read_properties(buffer, at, end, CONNECT)
        if "authentication_data" in properties and "authentication_method" not in properties:        # 3.1.2.11.10
            raise ProtocolError("authentication data without a method", PROTOCOL_ERROR)
    client_id, at = read_text(buffer, at, end)                       # [MQTT-3.1.3-3], the order is [MQTT-3.1.3-1]
    will = username = password = None
    if flags & 0x04:
        will, at = read_will(version, flags, buffer, at, end)
    # 3.1, 3.3: the remaining length takes precedence over the flags; a name or password may be missing
    if flags & 0x80 and not (version == V3_1 and at == end):
        username, at = read_text(buffer, at, end)
    if flags & 0x40 and not (version == V3_1 and at == end):
        password, at = read_binary(buffer, at, end)
    whole(at, end)
    return Connect(version, client_id, flags & 0x02 != 0, keep_alive, will, username, password, properties)


def check_flags(version: int, flags: int) -> None:
    """The Connect Flags (3.1.2.3)."""
    if flags & 0x1C == 0x1C:                                         # [MQTT-3.1.2-12], 3.1.1: [MQTT-3.1.2-14]
        raise malformed("a will of QoS 3")
    if flags & 0x40 and not flags & 0x80 and version != V5:          # 3.1.1: [MQTT-3.1.2-22]
        raise malformed("a password without a user name")
    if version == V3_1:
        return
    if flags & 0x01:                                                 # [MQTT-3.1.2-3]
        raise malformed("the reserved flag of CONNECT is set")
    if flags & 0x38 and not flags & 0x04:                            # [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        raise malformed("QoS or retain of a will that isn't there")


def read_will(version: int, flags: int, buffer: bytes, at: int, end: int) -> tuple[Will, int]:
    properties = {}
    if version == V5:
        properties, at = read_properties(buffer, at, end, WILL)
        check_response(properties)
    topic, at = read_text(buffer, at, end)
    named(topic)
    payload, at = read_binary(buffer, at, end)
    check_format(properties, payload)
    return Will(topic, payload, flags >> 3 & 3, flags & 0x20 != 0, properties), at

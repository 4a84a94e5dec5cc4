"""Data representation (MQTT 5.0, 1.5) and properties (2.2.2): bytes <-> values. Pure.

Reading takes (buffer, at, end) and gives (value, where it ends); it raises ProtocolError with 0x81 for what is malformed.
Writing raises ValueError for what can't be said."""
from collections.abc import Callable
from dataclasses import dataclass

from interfaces.contract import ProtocolError

# control packets (2.1.2); 0, which is none, stands for the will in CONNECT, which has properties of its own
WILL, CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

MALFORMED, PROTOCOL_ERROR, TOPIC_ALIAS_INVALID, QUOTA_EXCEEDED = 0x81, 0x82, 0x94, 0x97
MOST = 0xFFFF                              # bytes of a string or of binary data (1.5.4, 1.5.6)
MOST_VARIABLE = 268_435_455                # 1.5.5, table 1-1
MOST_USER_PROPERTIES = 1024                # in one packet; a guess. 1 MiB of them would be 200,000, and 0.1 s of the server's


def malformed(reason: str) -> ProtocolError:
    return ProtocolError(reason, MALFORMED)


# what a peer says

def read_text(buffer: bytes, at: int, end: int) -> tuple[str, int]:
    """A UTF-8 Encoded String."""
    data, at = read_binary(buffer, at, end)
    try:
        text = data.decode()                                         # refuses surrogates and overlong forms [MQTT-1.5.4-1]
    except UnicodeDecodeError:
        raise malformed("a string that is not UTF-8") from None
    if "\0" in text:                                                 # [MQTT-1.5.4-2]
        raise malformed("a string with U+0000")
    return text, at


def read_binary(buffer: bytes, at: int, end: int) -> tuple[bytes, int]:
    size, at = read_two(buffer, at, end)
    if at + size > end:
        raise malformed("a packet cut short")
    return buffer[at:at + size], at + size


def read_byte(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    if at >= end:
        raise malformed("a packet cut short")
    return buffer[at], at + 1


def read_two(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    if at + 2 > end:
        raise malformed("a packet cut short")
    return buffer[at] << 8 | buffer[at + 1], at + 2


def read_four(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    if at + 4 > end:
        raise malformed("a packet cut short")
    return int.from_bytes(buffer[at:at + 4], "big"), at + 4


def read_variable(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """A Variable Byte Integer."""
    value = 0
    for shift in (0, 7, 14, 21):
        byte, at = read_byte(buffer, at, end)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:                                   # [MQTT-1.5.5-1]
                raise malformed("an integer of more bytes than it needs")
            return value, at
    raise malformed("an integer of more than four bytes")


def read_pair(buffer: bytes, at: int, end: int) -> tuple[list[str], int]:
    name, at = read_text(buffer, at, end)
    value, at = read_text(buffer, at, end)
    return [name, value], at


# what is said to it

def text(value: str) -> bytes:
    if "\0" in value:
        raise ValueError("U+0000 in a string")
    return binary(value.encode())                                    # a lone surrogate: UnicodeEncodeError, a ValueError


def topic(value: str) -> bytes:
    if not value or "#" in value or "+" in value:                    # [MQTT-3.3.2-14]
        raise ValueError("a response topic that can't be published to")
    return text(value)


def binary(value: bytes) -> bytes:
    if len(value) > MOST:
        raise ValueError("more than 65,535 bytes")
    return len(value).to_bytes(2, "big") + value


def variable(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value <= MOST_VARIABLE:
        raise ValueError("an integer that is out of range")
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def pair(value: list[str]) -> bytes:
    name, said = value
    return text(name) + text(said)


def number(size: int) -> Callable[[int], bytes]:
    def written(value: int) -> bytes:
        try:
            return value.to_bytes(size, "big")
        except (OverflowError, AttributeError):
            raise ValueError("a number that is out of range") from None
    return written


BYTE, TWO, FOUR = (read_byte, number(1)), (read_two, number(2)), (read_four, number(4))
TEXT, BINARY, VARIABLE, PAIR = (read_text, text), (read_binary, binary), (read_variable, variable), (read_pair, pair)
TOPIC = read_text, topic


@dataclass(frozen=True, slots=True)
class Property:
    """`client`, `server`: the packets in which either may say it. `least`, `most`: what the value may be, where less than
    its type allows."""
    name: str
    kind: tuple[Callable, Callable]
    client: tuple[int, ...] = ()
    server: tuple[int, ...] = ()
    least: int = 0
    most: int | None = None


ACKS = (PUBACK, PUBREC, PUBREL, PUBCOMP)
TOLD = (CONNACK, *ACKS, SUBACK, UNSUBACK, DISCONNECT, AUTH)

PROPERTIES = {                             # table 2-4; the limits are those of the sections on each packet
    0x01: Property("payload_format_indicator", BYTE, (PUBLISH, WILL), (PUBLISH,), most=1),
    0x02: Property("message_expiry_interval", FOUR, (PUBLISH, WILL), (PUBLISH,)),
    0x03: Property("content_type", TEXT, (PUBLISH, WILL), (PUBLISH,)),
    0x08: Property("response_topic", TOPIC, (PUBLISH, WILL), (PUBLISH,)),
    0x09: Property("correlation_data", BINARY, (PUBLISH, WILL), (PUBLISH,)),
    0x0B: Property("subscription_identifier", VARIABLE, (SUBSCRIBE,), (PUBLISH,), least=1),          # [MQTT-3.3.4-6]
    0x11: Property("session_expiry_interval", FOUR, (CONNECT, DISCONNECT), (CONNACK,)),              # [MQTT-3.14.2-2]
    0x12: Property("assigned_client_identifier", TEXT, (), (CONNACK,)),
    0x13: Property("server_keep_alive", TWO, (), (CONNACK,)),
    0x15: Property("authentication_method", TEXT, (CONNECT, AUTH), (CONNACK, AUTH)),
    0x16: Property("authentication_data", BINARY, (CONNECT, AUTH), (CONNACK, AUTH)),
    0x17: Property("request_problem_information", BYTE, (CONNECT,), most=1),
    0x18: Property("will_delay_interval", FOUR, (WILL,)),
    0x19: Property("request_response_information", BYTE, (CONNECT,), most=1),
    0x1A: Property("response_information", TEXT, (), (CONNACK,)),
    0x1C: Property("server_reference", TEXT, (), (CONNACK, DISCONNECT)),
    0x1F: Property("reason_string", TEXT, (*ACKS, DISCONNECT, AUTH), TOLD),
    0x21: Property("receive_maximum", TWO, (CONNECT,), (CONNACK,), least=1),
    0x22: Property("topic_alias_maximum", TWO, (CONNECT,), (CONNACK,)),
    0x23: Property("topic_alias", TWO, (PUBLISH,), (PUBLISH,), least=1),
    0x24: Property("maximum_qos", BYTE, (), (CONNACK,), most=1),
    0x25: Property("retain_available", BYTE, (), (CONNACK,), most=1),
    0x26: Property("user_property", PAIR, (CONNECT, PUBLISH, WILL, *ACKS, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH),
                   (*TOLD, PUBLISH)),
    0x27: Property("maximum_packet_size", FOUR, (CONNECT,), (CONNACK,), least=1),
    0x28: Property("wildcard_subscription_available", BYTE, (), (CONNACK,), most=1),
    0x29: Property("subscription_identifier_available", BYTE, (), (CONNACK,), most=1),
    0x2A: Property("shared_subscription_available", BYTE, (), (CONNACK,), most=1),
}
CODES = {known.name: (bytes((code,)), known) for code, known in PROPERTIES.items()}
LISTS = ("user_property", "subscription_identifier")                 # those that may stand more than once


def read_properties(buffer: bytes, at: int, end: int, packet: int) -> tuple[dict, int]:
    """The properties of a client's packet, as packets.py has them: by name; the value of a LISTS one is a list."""
    size, at = read_variable(buffer, at, end)
    stop = at + size
    if stop > end:
        raise malformed("properties that are longer than their packet")
    properties = {}
    while at < stop:
        known = PROPERTIES.get(buffer[at])                           # a Variable Byte Integer, but none has two bytes (2.2.2.2)
        if known is None:
            raise malformed("an unknown property")
        if packet not in known.client:
            if packet in known.server:
                raise ProtocolError(f"{known.name} from a client", PROTOCOL_ERROR)
            raise malformed(f"{known.name} in a packet that has none")
        value, at = known.kind[0](buffer, at + 1, stop)
        add(properties, known, value)
    return properties, stop


def add(properties: dict, known: Property, value) -> None:
    name = known.name
    if known.least and value < known.least or known.most is not None and value > known.most:
        raise ProtocolError(f"{name} can't be {value}", TOPIC_ALIAS_INVALID if name == "topic_alias" else PROTOCOL_ERROR)
    if name == "user_property":
        several = properties.setdefault(name, [])
        if len(several) == MOST_USER_PROPERTIES:
            raise ProtocolError("too many user properties", QUOTA_EXCEEDED)
        several.append(value)
    elif name in properties:                                         # said of each in its own section
        raise ProtocolError(f"{name} twice", PROTOCOL_ERROR)
    else:
        properties[name] = [value] if name in LISTS else value


def write_properties(properties: dict | None, packet: int) -> bytes:
    """The properties of a server's packet, their length in front [MQTT-2.2.2-1]."""
    if not properties:
        return b"\0"
    said = []
    for name, value in properties.items():
        code, known = CODES.get(name, (b"", None))
        if known is None or packet not in known.server:
            raise ValueError(f"{name} is no property of this packet")
        for one in value if name in LISTS else (value,):
            if known.least and one < known.least or known.most is not None and one > known.most:
                raise ValueError(f"{name} can't be {one}")
            said += code, known.kind[1](one)
    data = b"".join(said)
    return variable(len(data)) + data

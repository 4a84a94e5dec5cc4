"""Packets that a client must not send, each with the normative statement that forbids it, or the section where that has no
number, and the reason code of the fault. [MQTT-x] alone is of MQTT 5.0; "3.1.1" in front names the older standard.

`version` 3, 4, 5: what is said after a CONNECT of that version. FIRST (0): instead of one."""
from dataclasses import dataclass

from tests.mqtt.client_wire import string, varint

FIRST, V3_1, V3_1_1, V5 = 0, 3, 4, 5
MALFORMED, PROTOCOL, VERSION, FILTER, TOPIC, ALIAS, LARGE, QUOTA, FORMAT = 0x81, 0x82, 0x84, 0x8F, 0x90, 0x94, 0x95, 0x97, 0x99
MAX_PACKET = 2000                          # of the wires that are told this
NUL, SURROGATE, OVERLONG, LATIN, CUT = b"a\0b", b"\xed\xa0\x80", b"\xc0\xaf", b"caf\xe9", b"\xe2\x82"


@dataclass(frozen=True)
class Case:
    name: str
    said: bytes
    code: int
    version: int = FIRST


def packet(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([first]) + varint(len(body)) + body


def five(*properties: bytes) -> bytes:
    data = b"".join(properties)
    return varint(len(data)) + data


def connect(flags=0x02, rest=b"\0\1c", name="MQTT", level=5, properties=b"\0", first=0x10) -> bytes:
    return packet(first, string(name), bytes([level, flags, 0, 60]), properties if level == 5 else b"", rest)


def publish(body: bytes, first=0x30, topic="t", properties=b"\0") -> bytes:
    return packet(first, string(topic), properties, body)


def five_only(version: int) -> bytes:
    """No properties, where there are any."""
    return b"\0" if version == V5 else b""


ID, EXPIRY, USER = b"\0\1", b"\x02\0\0\0\1", b"\x26" + string("k") + string("v")
WILL = string("c") + b"\0" + string("w") + string("gone")
BAD_TEXT = {"U+0000": NUL, "a surrogate": SURROGATE, "an overlong form": OVERLONG, "Latin-1": LATIN, "half a character": CUT}

HEADERS = [
    Case("[MQTT-3.1.0-1] PUBLISH before CONNECT", publish(b""), PROTOCOL),
    Case("[MQTT-3.1.0-1] PINGREQ before CONNECT", b"\xc0\0", PROTOCOL),
    Case("[MQTT-3.1.0-1] HTTP", b"GET / HTTP/1.1\r\n\r\n", PROTOCOL),
    Case("[MQTT-3.1.0-1] TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc", MALFORMED),
    Case("[MQTT-3.1.0-1] SSH", b"SSH-2.0-OpenSSH_9.6\r\n", PROTOCOL),
    Case("[MQTT-2.1.3-1] CONNECT with flags", connect(first=0x12), MALFORMED),
    Case("2.1.4 a remaining length of five bytes", b"\x10\x80\x80\x80\x80\x01", MALFORMED),
    Case("2.1.4 a remaining length that goes on", b"\x10\xff\xff\xff\xff", MALFORMED),
    *(Case(f"[MQTT-3.1.0-2] a second CONNECT, {version}", connect(level=version), PROTOCOL, version) for version in (4, 5)),
    *(Case(f"2.1.2 packet type 0, {version}", b"\0\0", MALFORMED, version) for version in (3, 4, 5)),
    *(Case(f"2.1.2 {name} is a server's, {version}", bytes([first, 2, 0, 1]), PROTOCOL, version)
      for version in (3, 4, 5)
      for name, first in (("CONNACK", 0x20), ("SUBACK", 0x90), ("UNSUBACK", 0xB0), ("PINGRESP", 0xD0))),
    *(Case(f"3.1.1 [MQTT-2.2.2-2] packet type 15, {version}", b"\xf0\0", MALFORMED, version) for version in (3, 4)),
    *(Case(f"{source} flags {flags:04b} of packet {type_}, {version}", bytes([type_ << 4 | flags, 2, 0, 1]), MALFORMED, version)
      for version in (4, 5)
      for type_, right, source in ((4, 0, "[MQTT-2.1.3-1]"), (5, 0, "[MQTT-2.1.3-1]"), (6, 2, "[MQTT-3.6.1-1]"),
                                   (7, 0, "[MQTT-2.1.3-1]"), (8, 2, "[MQTT-3.8.1-1]"), (10, 2, "[MQTT-3.10.1-1]"),
                                   (12, 0, "[MQTT-2.1.3-1]"), (14, 0, "[MQTT-3.14.1-1]"))
      for flags in range(16) if flags != right),
    *(Case(f"[MQTT-3.15.1-1] AUTH with flags {flags:04b}", bytes([0xF0 | flags, 0]), MALFORMED, V5) for flags in range(1, 16)),
    *(Case(f"[MQTT-3.3.1-4] QoS 3, {version}", packet(first, string("t"), ID, b"\0"), MALFORMED, version)
      for version in (3, 4, 5) for first in (0x36, 0x37, 0x3E, 0x3F)),
    *(Case(f"[MQTT-3.3.1-2] DUP with QoS 0, {version}", publish(b"", first), MALFORMED, version)
      for version in (4, 5) for first in (0x38, 0x39)),
    *(Case(f"3.1, 2.1 flags {flags:04b} of packet {type_}", bytes([type_ << 4 | flags, 2, 0, 1]), MALFORMED, V3_1)
      for type_, flags in ((6, 0), (6, 3), (8, 0), (8, 4), (10, 0), (10, 6), (14, 1))),
    *(Case(f"[MQTT-3.2.2-15] larger than the server takes, {version}", b"\x30" + varint(MAX_PACKET - 2), LARGE, version)
      for version in (3, 4, 5)),
    Case("[MQTT-3.2.2-15] a CONNECT larger than the server takes", b"\x10" + varint(MAX_PACKET - 2), LARGE),
    Case("[MQTT-3.2.2-15] the largest there can be", b"\x30\xff\xff\xff\x7f", LARGE, V5),
    Case("[MQTT-1.5.5-1] a remaining length of more bytes than it needs", b"\xc0\x80\0", MALFORMED, V5),
    *(Case(f"3.12 PINGREQ with a body, {version}", b"\xc0\1\0", MALFORMED, version) for version in (3, 4, 5)),
    *(Case(f"3.14 DISCONNECT with a body, {version}", b"\xe0\1\0", MALFORMED, version) for version in (3, 4)),
]

CONNECTS = [
    Case("[MQTT-3.1.2-1] a name that is none", connect(name="MQTX"), VERSION),
    Case("[MQTT-3.1.2-1] a name in small letters", connect(name="mqtt"), VERSION),
    Case("[MQTT-3.1.2-1] a name with more behind it", connect(name="MQTT5"), VERSION),
    *(Case(f"[MQTT-3.1.2-2] level {level} of MQTT", connect(level=level), VERSION) for level in (0, 1, 3, 6, 255)),
    *(Case(f"3.1.1 [MQTT-3.1.2-2] level {level} of MQIsdp", connect(name="MQIsdp", level=level), VERSION)
      for level in (2, 4, 5, 0x83)),
    *(Case(f"[MQTT-3.1.2-3] the reserved flag, {level}", connect(0x03, level=level), MALFORMED) for level in (4, 5)),
    *(Case(f"[MQTT-3.1.2-11] will QoS {flags >> 3} without a will, {level}", connect(flags, level=level), MALFORMED)
      for level in (4, 5) for flags in (0x08, 0x10, 0x18)),
    *(Case(f"[MQTT-3.1.2-13] will retain without a will, {level}", connect(0x20, level=level), MALFORMED) for level in (4, 5)),
    *(Case(f"[MQTT-3.1.2-12] a will of QoS 3, {level}", connect(0x1C, WILL, level=level), MALFORMED) for level in (4, 5)),
    Case("3.1, 3.1 a will of QoS 3", connect(0x1C, WILL, name="MQIsdp", level=3), MALFORMED),
    *(Case(f"3.1.1 [MQTT-3.1.2-22] a password without a user name, {level}",
           connect(0x42, string("c") + string("p"), name, level), MALFORMED) for name, level in (("MQTT", 4), ("MQIsdp", 3))),
    Case("[MQTT-3.1.3-3] no client identifier", connect(rest=b""), MALFORMED),
    *(Case(f"[MQTT-3.1.3-4] a client identifier of {what}", connect(rest=string(bad)), MALFORMED)
      for what, bad in BAD_TEXT.items()),
    *(Case(f"[MQTT-3.1.3-11] a will topic of {what}", connect(0x06, string("c") + b"\0" + string(bad) + string("")), MALFORMED)
      for what, bad in BAD_TEXT.items()),
    *(Case(f"[MQTT-3.1.3-12] a user name of {what}", connect(0x82, string("c") + string(bad)), MALFORMED)
      for what, bad in BAD_TEXT.items()),
    Case("[MQTT-3.1.2-9] no will topic", connect(0x06, string("c") + b"\0"), MALFORMED),
    Case("[MQTT-3.1.2-9] no will payload", connect(0x06, string("c") + b"\0" + string("w")), MALFORMED),
    Case("[MQTT-4.7.0-1] a will topic with +", connect(0x06, string("c") + b"\0" + string("w/+") + string("")), TOPIC),
    Case("[MQTT-4.7.0-1] a will topic with #", connect(0x06, string("c") + string("#") + string(""), level=4), TOPIC),
    Case("[MQTT-4.7.3-1] an empty will topic", connect(0x06, string("c") + b"\0" + string("") + string("")), TOPIC),
    Case("[MQTT-3.1.2-17] no user name", connect(0x82), MALFORMED),
    Case("[MQTT-3.1.2-19] no password", connect(0xC2, string("c") + string("u")), MALFORMED),
    Case("[MQTT-3.1.2-16] a user name that no flag tells of", connect(rest=string("c") + string("u")), MALFORMED),
    Case("[MQTT-3.1.2-18] a password that no flag tells of", connect(0x82, string("c") + string("u") + b"\0\0"), MALFORMED),
    Case("3.1.3 a payload that stops in a length", connect(rest=b"\0"), MALFORMED),
    Case("3.1.3 a client identifier longer than its packet", connect(rest=b"\0\5c"), MALFORMED),
    Case("3.1.2.10 no keep alive", packet(0x10, string("MQTT"), b"\5\2\0"), MALFORMED),
    Case("3.1.2 nothing at all", b"\x10\0", MALFORMED),
    Case("3.1.3.2.3 a will that is not of the format it names",
         connect(0x06, string("c") + five(b"\x01\1") + string("w") + string(LATIN)), FORMAT),
]

PUBLISHES = [
    *(Case(f"[MQTT-3.3.2-2] a topic {topic!r}, {version}", publish(b"", topic=topic), TOPIC, version)
      for version in (3, 4, 5) for topic in ("#", "+", "a/#", "a/+/b", "a+", "#a")),
    *(Case(f"[MQTT-3.3.2-1] a topic of {what}, {version}", publish(b"", topic=bad), MALFORMED, version)
      for version in (3, 4, 5) for what, bad in BAD_TEXT.items()),
    *(Case(f"[MQTT-4.7.3-1] an empty topic, {version}", publish(b"", topic=""), TOPIC, version) for version in (3, 4)),
    Case("3.3.2.1 an empty topic without an alias", publish(b"", topic=""), PROTOCOL, V5),
    Case("3.3.2.1 an empty topic with other properties", publish(b"", topic="", properties=five(EXPIRY)), PROTOCOL, V5),
    Case("4.7.1.1 a topic of 201 levels", publish(b"", topic="/" * 200), TOPIC, V5),
    *(Case(f"[MQTT-2.2.1-3] packet identifier 0, {version}", packet(first, string("t"), b"\0\0\0"), PROTOCOL, version)
      for version in (3, 4, 5) for first in (0x32, 0x34, 0x3A, 0x3C)),
    *(Case(f"3.3.2 {what}, {version}", packet(0x32, body), MALFORMED, version) for version in (3, 4, 5)
      for what, body in (("nothing", b""), ("half a length", b"\0"), ("a length without a topic", b"\0\5"),
                         ("a topic cut short", b"\0\5t"),
                         ("no packet identifier", string("t")), ("half a packet identifier", string("t") + b"\1"))),
    Case("[MQTT-2.2.2-1] no property length", packet(0x30, string("t")), MALFORMED, V5),
    Case("[MQTT-3.3.2-8] topic alias 0", publish(b"", properties=five(b"\x23\0\0")), ALIAS, V5),
    *(Case(f"[MQTT-3.3.2-14] a response topic {topic!r}", publish(b"", properties=five(b"\x08" + string(topic))), PROTOCOL, V5)
      for topic in ("a/+", "#", "")),
    Case("[MQTT-3.3.4-6] a subscription identifier from a client", publish(b"", properties=five(b"\x0b\1")), PROTOCOL, V5),
    Case("3.3.2.3.2 a payload that is not of the format it names", publish(LATIN, properties=five(b"\x01\1")), FORMAT, V5),
]

ACKNOWLEDGEMENTS = [
    *(Case(f"[MQTT-2.2.1-3] packet identifier 0 in packet {first >> 4}, {version}", bytes([first, 2, 0, 0]), PROTOCOL, version)
      for version in (3, 4, 5) for first in (0x40, 0x50, 0x62, 0x70)),
    *(Case(f"3.4.2 packet {first >> 4} without its identifier, {version}", bytes([first, len(body)]) + body, MALFORMED, version)
      for version in (3, 4, 5) for first in (0x40, 0x50, 0x62, 0x70) for body in (b"", b"\1")),
    *(Case(f"3.1.1, 3.4.2 packet {first >> 4} with a reason code, {version}", bytes([first, 3, 0, 1, 0]), MALFORMED, version)
      for version in (3, 4) for first in (0x40, 0x50, 0x62, 0x70)),
    *(Case(f"[MQTT-{section}-1] reason code {code:#x}", bytes([first, 3, 0, 1, code]), PROTOCOL, V5)
      for section, first, codes in (("3.4.2", 0x40, (1, 0x81, 0x92, 0xFF)), ("3.5.2", 0x50, (2, 0x92)),
                                    ("3.6.2", 0x62, (0x10, 0x80)), ("3.7.2", 0x70, (1, 0x80))) for code in codes),
    Case("3.4.2.2 properties that are longer than the packet", b"\x40\4\0\1\0\5", MALFORMED, V5),
    Case("3.4.2 more behind the properties", b"\x40\5\0\1\0\0\0", MALFORMED, V5),
]

BAD_FILTERS = {
    "[MQTT-4.7.3-1]": [""], "[MQTT-4.7.1-1]": ["a/#/b", "a#", "#/", "##", "$share/a/#/b"],
    "[MQTT-4.7.1-2]": ["a+", "+a/b", "++"],
    "[MQTT-4.8.2-1]": ["$share/", "$share//a"], "[MQTT-4.8.2-2]": ["$share/a", "$share/a/", "$share/a+/b", "$share/#"],
    "4.7.1.1": ["/" * 200],
}
SUBSCRIBES = [
    *(Case(f"[MQTT-3.8.3-2] SUBSCRIBE without a filter, {version}", packet(0x82, ID, five_only(version)), PROTOCOL, version)
      for version in (3, 4, 5)),
    *(Case(f"[MQTT-3.10.3-2] UNSUBSCRIBE without a filter, {version}", packet(0xA2, ID, five_only(version)), PROTOCOL, version)
      for version in (3, 4, 5)),
    *(Case(f"[MQTT-2.2.1-3] packet identifier 0 in packet {first >> 4}", packet(first, b"\0\0\0\0\1a\0"), PROTOCOL, V5)
      for first in (0x82, 0xA2)),
    *(Case(f"{source} a filter {text!r} in packet {first >> 4}, {version}",
           packet(first, ID, five_only(version), string(text), b"\0" if first == 0x82 else b""), FILTER, version)
      for version in (3, 4, 5) for first in (0x82, 0xA2)
      for source, texts in BAD_FILTERS.items() for text in texts),
    *(Case(f"[MQTT-{source}] a filter of {what} in packet {first >> 4}",
           packet(first, ID, b"\0", string(bad), b"\0" if first == 0x82 else b""), MALFORMED, V5)
      for source, first in (("3.8.3-1", 0x82), ("3.10.3-1", 0xA2)) for what, bad in BAD_TEXT.items()),
    *(Case(f"[MQTT-3.8.3-5] reserved bits {bits:#04x}", packet(0x82, ID, b"\0", string("a"), bytes([bits])), MALFORMED, V5)
      for bits in (0x40, 0x80, 0xC0)),
    *(Case(f"3.1.1 [MQTT-3.8.3-4] reserved bits {bits:#04x}", packet(0x82, ID, string("a"), bytes([bits])), MALFORMED, V3_1_1)
      for bits in (0x04, 0x08, 0x10, 0x80)),
    *(Case(f"3.8.3.1 a subscription of QoS 3, {version}",
           packet(0x82, ID, five_only(version), string("a"), b"\3"), PROTOCOL, version) for version in (3, 4, 5)),
    Case("3.8.3.1 retain handling 3", packet(0x82, ID, b"\0", string("a"), b"\x30"), PROTOCOL, V5),
    Case("[MQTT-3.8.3-4] no local on a shared subscription", packet(0x82, ID, b"\0", string("$share/s/a"), b"\4"),
         PROTOCOL, V5),
    Case("3.8.3 a filter without its options", packet(0x82, ID, b"\0", string("a")), MALFORMED, V5),
    Case("3.8.3 a filter cut short", packet(0x82, ID, b"\0", b"\0\5a"), MALFORMED, V5),
    Case("3.8.3 a second filter cut short", packet(0x82, ID, b"\0", string("a"), b"\0\0"), MALFORMED, V5),
    Case("3.8.2.1.2 subscription identifier 0", packet(0x82, ID, five(b"\x0b\0"), string("a"), b"\0"), PROTOCOL, V5),
    Case("3.8.2.1.2 two subscription identifiers", packet(0x82, ID, five(b"\x0b\1\x0b\2"), string("a"), b"\0"), PROTOCOL, V5),
]

PROPERTIES = [
    *(Case(f"2.2.2.2 property {number:#04x}, which there is not", publish(b"", properties=five(bytes([number]) + b"\0\0\0\0")),
           MALFORMED, V5) for number in (0, 4, 0x0A, 0x14, 0x20, 0x2B, 0x7F, 0x80, 0xFF)),
    *(Case(f"2.2.2.2 property {said[0]:#04x} in PUBLISH", publish(b"", properties=five(said)), MALFORMED, V5)
      for said in (b"\x11\0\0\0\1", b"\x15" + string("m"), b"\x17\1", b"\x18\0\0\0\1", b"\x21\0\1", b"\x22\0\1", b"\x1f\0\1r")),
    *(Case(f"2.2.2.2 property {said[0]:#04x} in CONNECT", connect(properties=five(said)), MALFORMED)
      for said in (EXPIRY, b"\x01\1", b"\x18\0\0\0\1", b"\x23\0\1", b"\x12" + string("c"))),
    *(Case(f"2.2.2.2 property {said[0]:#04x} in the will", connect(0x06, string("c") + five(said) + string("w") + string("")),
           MALFORMED) for said in (b"\x11\0\0\0\1", b"\x21\0\1", b"\x23\0\1")),
    *(Case(f"{section} property {said[0]:#04x} twice", connect(properties=five(said, said)), PROTOCOL)
      for section, said in (("3.1.2.11.2", b"\x11\0\0\0\1"), ("3.1.2.11.3", b"\x21\0\1"), ("3.1.2.11.4", b"\x27\0\0\1\0"),
                            ("3.1.2.11.5", b"\x22\0\1"), ("3.1.2.11.6", b"\x19\1"), ("3.1.2.11.7", b"\x17\1"),
                            ("3.1.2.11.9", b"\x15" + string("m")))),
    *(Case(f"{section} property {said[0]:#04x} twice", publish(b"", properties=five(said, said)), PROTOCOL, V5)
      for section, said in (("3.3.2.3.2", b"\x01\1"), ("3.3.2.3.3", EXPIRY), ("3.3.2.3.4", b"\x23\0\1"),
                            ("3.3.2.3.5", b"\x08" + string("r")), ("3.3.2.3.6", b"\x09" + string("d")),
                            ("3.3.2.3.9", b"\x03" + string("c")))),
    Case("3.1.2.11.10 authentication data twice", connect(properties=five(b"\x15\0\1m", b"\x16\0\0", b"\x16\0\0")), PROTOCOL),
    Case("3.1.2.11.10 authentication data without a method", connect(properties=five(b"\x16" + string("d"))), PROTOCOL),
    *(Case(f"{section} a value that can't be, {said.hex()}", connect(properties=five(said)), PROTOCOL)
      for section, said in (("3.1.2.11.3", b"\x21\0\0"), ("3.1.2.11.4", b"\x27\0\0\0\0"), ("3.1.2.11.6", b"\x19\2"),
                            ("3.1.2.11.7", b"\x17\2"))),
    Case("3.3.2.3.2 payload format 2", publish(b"", properties=five(b"\x01\2")), PROTOCOL, V5),
    *(Case(f"[MQTT-1.5.7-1] a user property with {what} as its {part}",
           publish(b"", properties=five(said)), MALFORMED, V5)
      for what, bad in BAD_TEXT.items()
      for part, said in (("name", b"\x26" + string(bad) + string("v")), ("value", b"\x26" + string("k") + string(bad)))),
    *(Case(f"[MQTT-3.3.2-{number}] property {code:#x} with {what}",
           publish(b"", properties=five(bytes([code]) + string(bad))), MALFORMED, V5)
      for number, code in ((13, 8), (19, 3)) for what, bad in BAD_TEXT.items()),
    *(Case(f"2.2.2.1 properties cut short: {said.hex()}", publish(b"", properties=five(said)), MALFORMED, V5)
      for said in (b"\x02\0\0\0", b"\x01", b"\x23\0", b"\x26\0\1k", b"\x26\0\1k\0", b"\x08\0", b"\x08\0\5r", EXPIRY + b"\x26")),
    Case("2.2.2.1 properties that are longer than their packet", publish(b"", properties=b"\x05\x02\0\0\0"), MALFORMED, V5),
    Case("2.2.2.1 properties that take from the payload", publish(b"\0\0\0", properties=b"\x02\x02\0"), MALFORMED, V5),
    Case("[MQTT-1.5.5-1] a property length of more bytes than it needs", publish(b"", properties=b"\x80\0"), MALFORMED, V5),
    Case("1.5.5 a property length of five bytes", publish(b"", properties=b"\x80\x80\x80\x80\x01"), MALFORMED, V5),
    Case("1.5.5 a subscription identifier of five bytes",
         packet(0x82, ID, five(b"\x0b\xff\xff\xff\xff\x7f"), string("a"), b"\0"), MALFORMED, V5),
]

ENDS = [
    *(Case(f"[MQTT-3.14.2-1] DISCONNECT {code:#04x} is a server's", bytes([0xE0, 1, code]), PROTOCOL, V5)
      for code in (0x01, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x9C, 0xFF)),
    Case("3.14.2.2.5 a server reference from a client", packet(0xE0, b"\0", five(b"\x1c" + string("s"))), PROTOCOL, V5),
    Case("3.14.2.2 session expiry twice", packet(0xE0, b"\0", five(b"\x11\0\0\0\1", b"\x11\0\0\0\1")), PROTOCOL, V5),
    Case("3.14.2 more behind the properties", b"\xe0\3\0\0\0", MALFORMED, V5),
    *(Case(f"[MQTT-3.15.2-1] AUTH {code:#04x}", packet(0xF0, bytes([code]), five(b"\x15" + string("m"))), PROTOCOL, V5)
      for code in (0, 1, 0x80)),
    Case("[MQTT-3.15.2-1] AUTH that says success", b"\xf0\0", PROTOCOL, V5),
    Case("3.15.2.2.2 AUTH without its method", packet(0xF0, b"\x18", five(b"\x16" + string("d"))), PROTOCOL, V5),
    Case("3.15.2.1 AUTH without a property length", b"\xf0\1\x18", MALFORMED, V5),
    Case("3.15.2 more behind the properties", packet(0xF0, b"\x18", five(b"\x15" + string("m")), b"\0"), MALFORMED, V5),
]

TOO_MUCH = [                               # with room for large packets
    Case("2.2.2.2 more user properties than anybody needs", publish(b"", properties=five(USER * 1025)), QUOTA, V5),
    Case("3.8.3 more filters than anybody needs", packet(0x82, ID, b"\0", (string("a") + b"\0") * 1025), QUOTA, V5),
    Case("3.10.3 more filters than anybody needs", packet(0xA2, ID, b"\0", string("a") * 1025), QUOTA, V5),
]

MALFORMED_PACKETS = HEADERS + CONNECTS + PUBLISHES + ACKNOWLEDGEMENTS + SUBSCRIBES + PROPERTIES + ENDS

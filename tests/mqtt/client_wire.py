"""What a client says, and how it reads what a server says: written from the standard alone, with nothing of ours but the
values of packets.py, so that the two hands check one another.

`said(event, version)` gives the bytes of a client's packet; `heard(data, version)` the packets of a server, all of them."""
import io
import struct

from interfaces.mqtt import packets
from interfaces.mqtt.packets import V3_1, V5

# MQTT 5.0, table 2-4: number -> name, type
KINDS = {
    1: ("payload_format_indicator", "B"), 2: ("message_expiry_interval", "I"), 3: ("content_type", "s"),
    8: ("response_topic", "s"), 9: ("correlation_data", "b"), 11: ("subscription_identifier", "v"),
    17: ("session_expiry_interval", "I"),
    18: ("assigned_client_identifier", "s"), 19: ("server_keep_alive", "H"), 21: ("authentication_method", "s"),
    22: ("authentication_data", "b"), 23: ("request_problem_information", "B"), 24: ("will_delay_interval", "I"),
    25: ("request_response_information", "B"), 26: ("response_information", "s"), 28: ("server_reference", "s"),
    31: ("reason_string", "s"), 33: ("receive_maximum", "H"), 34: ("topic_alias_maximum", "H"), 35: ("topic_alias", "H"),
    36: ("maximum_qos", "B"), 37: ("retain_available", "B"), 38: ("user_property", "p"), 39: ("maximum_packet_size", "I"),
    40: ("wildcard_subscription_available", "B"), 41: ("subscription_identifier_available", "B"),
    42: ("shared_subscription_available", "B"),
}
NUMBERS = {name: (number, kind) for number, (name, kind) in KINDS.items()}
TYPES = {1: "Connect", 2: "Connack", 3: "Publish", 4: "Puback", 5: "Pubrec", 6: "Pubrel", 7: "Pubcomp", 8: "Subscribe",
         9: "Suback", 10: "Unsubscribe", 11: "Unsuback", 12: "Pingreq", 13: "Pingresp", 14: "Disconnect", 15: "Auth"}
CODES = {name: code for code, name in TYPES.items()}


# saying

def string(said: str | bytes) -> bytes:
    data = said.encode() if isinstance(said, str) else said
    return struct.pack(">H", len(data)) + data


def varint(value: int) -> bytes:
    low, high = value % 128, value // 128
    return bytes([low + 128]) + varint(high) if high else bytes([low])


def packed(properties: dict | None) -> bytes:
    body = b""
    for name, value in (properties or {}).items():
        number, kind = NUMBERS[name]
        for one in value if kind in "pv" else [value]:
            if kind == "p":
                data = string(one[0]) + string(one[1])
            else:
                data = string(one) if kind in "sb" else varint(one) if kind == "v" else struct.pack(">" + kind, one)
            body += bytes([number]) + data
    return varint(len(body)) + body


def packet(type_: int, flags: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([type_ * 16 + flags]) + varint(len(body)) + body


def said(event, version: int) -> bytes:
    """The bytes of a client's packet."""
    name = type(event).__name__
    five = packed(event.properties) if version == V5 and hasattr(event, "properties") else b""
    match event:
        case packets.Connect():
            return packet(1, 0, connect(event, five))
        case packets.Publish(topic, payload, qos, retain, dup, packet_id):
            head = string(topic) + (struct.pack(">H", packet_id) if qos else b"")
            return packet(3, dup * 8 + qos * 2 + retain, head, five, payload)
        case packets.Subscribe(packet_id, subscriptions):
            return packet(8, 2, struct.pack(">H", packet_id), five, *map(asked, subscriptions))
        case packets.Unsubscribe(packet_id, filters):
            return packet(10, 2, struct.pack(">H", packet_id), five, *map(string, filters))
        case packets.Pingreq():
            return packet(12, 0)
    number = struct.pack(">H", event.packet_id) if hasattr(event, "packet_id") else b""
    if version == V5 and (event.reason_code or event.properties):
        number += bytes([event.reason_code]) + (five if event.properties or name == "Auth" else b"")
    return packet(CODES[name], 2 if name == "Pubrel" else 0, number)


def asked(one: packets.Subscription) -> bytes:
    return string(one.filter) + bytes([one.qos + one.no_local * 4 + one.retain_as_published * 8 + one.retain_handling * 16])


def connect(event: packets.Connect, five: bytes) -> bytes:
    will, flags, payload = event.will, event.clean_start * 2, string(event.client_id)
    if will is not None:
        flags += 4 + will.qos * 8 + will.retain * 32
        payload += packed(will.properties) if event.protocol_version == V5 else b""
        payload += string(will.topic) + string(will.payload)
    if event.username is not None:
        flags, payload = flags + 128, payload + string(event.username)
    if event.password is not None:
        flags, payload = flags + 64, payload + string(event.password)
    name = "MQIsdp" if event.protocol_version == V3_1 else "MQTT"
    return string(name) + bytes([event.protocol_version, flags]) + struct.pack(">H", event.keep_alive) + five + payload


HELLO = {version: said(packets.Connect(version, "device", True, 60), version) for version in (3, 4, 5)}


# hearing

class Body(io.BytesIO):
    def take(self, size: int) -> bytes:
        data = self.read(size)
        assert len(data) == size, "a packet cut short"
        return data

    def number(self, kind: str) -> int:
        return struct.unpack(">" + kind, self.take(struct.calcsize(">" + kind)))[0]

    def varint(self) -> int:
        value, factor, byte = 0, 1, 128
        while byte >= 128:
            byte = self.number("B")
            value, factor = value + byte % 128 * factor, factor * 128
        return value

    def string(self) -> bytes:
        return self.take(self.number("H"))

    def value(self, kind: str):
        if kind == "p":
            return [self.string().decode(), self.string().decode()]
        if kind in "sb":
            return self.string().decode() if kind == "s" else self.string()
        return self.varint() if kind == "v" else self.number(kind)

    def properties(self) -> dict | None:
        inner, found = Body(self.take(self.varint())), {}
        while inner.tell() < len(inner.getvalue()):
            name, kind = KINDS[inner.number("B")]
            if kind in "pv":
                found.setdefault(name, []).append(inner.value(kind))
            else:
                assert name not in found, f"{name} twice"
                found[name] = inner.value(kind)
        return found or None

    def left(self) -> int:
        return len(self.getvalue()) - self.tell()


def heard(data: bytes, version: int) -> list:
    """The packets of a server."""
    stream, found = Body(data), []
    while stream.left():
        first = stream.number("B")
        body = Body(stream.take(stream.varint()))
        found.append(understood(TYPES[first // 16], first % 16, body, version))
        assert not body.left(), f"{found[-1]} and more"
    return found


def understood(name: str, flags: int, body: Body, version: int):
    made = getattr(packets, name)
    if name == "Publish":
        topic, qos = body.string().decode(), flags // 2 % 4
        packet_id = body.number("H") if qos else 0
        properties = body.properties() if version == V5 else None
        return made(topic, body.read(), qos, flags % 2 == 1, flags >= 8, packet_id, properties)
    assert flags == (2 if name == "Pubrel" else 0)
    if name == "Pingresp":
        return made()
    if name == "Connack":
        present, code = body.number("B"), body.number("B")
        assert present in (0, 1)
        return made(present == 1, code, body.properties() if version == V5 else None)
    if name in ("Suback", "Unsuback"):
        packet_id = body.number("H")
        properties = body.properties() if version == V5 else None
        return made(packet_id, list(body.read()), properties)
    known = [body.number("H")] if name.startswith("Pub") else []
    code = body.number("B") if body.left() else 0
    return made(*known, code, body.properties() if body.left() else None)

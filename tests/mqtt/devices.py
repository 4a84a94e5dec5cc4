"""Devices of one broker in memory, and their packets by hand: written and read without the code that is tested."""
import struct
from types import SimpleNamespace

from twisted.internet.error import ConnectionLost

from interfaces.mqtt.plugin import MqttOptions, mqtt
from interfaces.testing import MemoryTransport, Peer

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = range(1, 12)
PINGREQ, PINGRESP, DISCONNECT, AUTH = range(12, 16)
# MQTT 5, table 2-4: (number, how the value is said)
PROPERTIES = {
    "payload_format_indicator": (0x01, "B"), "message_expiry_interval": (0x02, "I"), "content_type": (0x03, "s"),
    "response_topic": (0x08, "s"), "correlation_data": (0x09, "s"), "subscription_identifier": (0x0B, "v"),
    "session_expiry_interval": (0x11, "I"), "assigned_client_identifier": (0x12, "s"), "server_keep_alive": (0x13, "H"),
    "authentication_method": (0x15, "s"), "authentication_data": (0x16, "s"), "will_delay_interval": (0x18, "I"),
    "server_reference": (0x1C, "s"), "reason_string": (0x1F, "s"), "receive_maximum": (0x21, "H"),
    "topic_alias_maximum": (0x22, "H"),
    "topic_alias": (0x23, "H"), "user_property": (0x26, "p"), "maximum_packet_size": (0x27, "I"),
}


def variable(number: int) -> bytes:
    said = b""
    while number > 127:
        said, number = said + bytes([number & 127 | 128]), number >> 7
    return said + bytes([number])


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(data)) + data


def properties(**given) -> bytes:
    said = b""
    for name, value in given.items():
        number, kind = PROPERTIES[name]
        for one in value if kind == "p" else (value,):
            said += bytes([number]) + (variable(one) if kind == "v" else text(one) if kind == "s" else
                                       text(one[0]) + text(one[1]) if kind == "p" else struct.pack("!" + kind, one))
    return variable(len(said)) + said


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return bytes([kind << 4 | flags]) + variable(len(body)) + body


def connecting(client_id="", version=5, clean=True, keep_alive=0, username=None, password=None, will=None, **given) -> bytes:
    """`will`: (topic, payload, qos, retain, properties)."""
    flags = clean << 1 | (username is not None) << 7 | (password is not None) << 6
    body = text("MQIsdp" if version == 3 else "MQTT") + bytes([version])
    rest = text(client_id)
    if will is not None:
        topic, payload, qos, retain, own = will
        flags |= 4 | qos << 3 | retain << 5
        rest += (properties(**own) if version == 5 else b"") + text(topic) + text(payload)
    for field in (username, password):
        rest += b"" if field is None else text(field)
    return packet(CONNECT, body + bytes([flags]) + struct.pack("!H", keep_alive) + (
        properties(**given) if version == 5 else b"") + rest)


class Reader:
    def __init__(self, data: bytes):
        self.data = data

    def take(self, count: int) -> bytes:
        assert count <= len(self.data)
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count: int = 2) -> int:
        return int.from_bytes(self.take(count), "big")

    def text(self) -> str:
        return self.take(self.number()).decode()

    def variable(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    def properties(self) -> dict:
        inside, found = Reader(self.take(self.variable())), {}
        while inside.data:
            number = inside.number(1)
            name, kind = next((name, kind) for name, (known, kind) in PROPERTIES.items() if known == number)
            if kind == "p":
                found.setdefault(name, []).append([inside.text(), inside.text()])
            elif kind == "v":
                found.setdefault(name, []).append(inside.variable())
            else:
                found[name] = inside.text() if kind == "s" else inside.number(struct.calcsize(kind))
        return found


def read(data: bytes, version: int) -> list[SimpleNamespace]:
    """What the server said."""
    found, all_of_it = [], Reader(data)
    while all_of_it.data:
        first = all_of_it.number(1)
        body = Reader(all_of_it.take(all_of_it.variable()))
        found.append(one(first >> 4, first & 15, body, version))
        assert not body.data
    return found


def one(kind: int, flags: int, body: Reader, version: int) -> SimpleNamespace:
    said, modern = SimpleNamespace(kind=kind, properties={}), version == 5
    if kind == CONNACK:
        said.present, said.code = bool(body.number(1)), body.number(1)
    elif kind == PUBLISH:
        said.qos, said.retain, said.dup, said.topic = flags >> 1 & 3, bool(flags & 1), bool(flags & 8), body.text()
        said.id = body.number() if said.qos else 0
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        said.id, said.code = body.number(), body.number(1) if body.data else 0
    elif kind in (SUBACK, UNSUBACK):
        said.id = body.number()
    elif kind in (DISCONNECT, AUTH):
        said.code = body.number(1) if body.data else 0
    if modern and kind != PINGRESP and body.data:
        said.properties = body.properties()
    if kind == PUBLISH:
        said.payload = body.take(len(body.data))
    elif kind in (SUBACK, UNSUBACK):
        said.codes = list(body.take(len(body.data)))
    return said


class Device:
    """One of several clients. What it says is what the server may hear; `hears()` gives what the server said."""

    def __init__(self, world):
        self.world, self.version, self.kept = world, 5, []
        self.transport = MemoryTransport(world.clock)
        self.connection = world.factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)
        world.settle()

    def says(self, data: bytes):
        if not self.transport.gone:
            self.transport.unread += data
            self.transport.feed()
        self.world.settle()
        return self

    def connects(self, client_id="dev", version=5, **given):
        self.version = version
        return self.says(connecting(client_id, version, **given))

    def publishes(self, topic: str, payload=b"", qos=0, id=0, retain=False, dup=False, **given):
        body = text(topic) + (struct.pack("!H", id) if qos else b"") + (properties(**given) if self.version == 5 else b"")
        return self.says(packet(PUBLISH, body + payload, dup << 3 | qos << 1 | retain))

    def acks(self, kind: int, id: int, code: int = 0):
        return self.says(packet(kind, struct.pack("!H", id) + (bytes([code]) if code else b""), 2 if kind == PUBREL else 0))

    def subscribes(self, *filters, id=1, **given):
        """Each filter with its options: ("a/b", 1)."""
        body = struct.pack("!H", id) + (properties(**given) if self.version == 5 else b"")
        return self.says(packet(SUBSCRIBE, body + b"".join(text(each) + bytes([options]) for each, options in filters), 2))

    def unsubscribes(self, *filters, id=2):
        body = struct.pack("!H", id) + (b"\0" if self.version == 5 else b"")
        return self.says(packet(UNSUBSCRIBE, body + b"".join(map(text, filters)), 2))

    def disconnects(self, code=0, **given):
        return self.says(packet(DISCONNECT, (bytes([code]) + properties(**given)) if code or given else b""))

    def hears(self) -> list[SimpleNamespace]:
        data = self.transport.read()
        self.world.settle()
        came, self.kept = self.kept + read(data, self.version), []
        return came

    def hears_one(self, kind: int) -> SimpleNamespace:
        """The one packet that came."""
        came = self.hears()
        assert [each.kind for each in came] == [kind], came
        return came[0]

    def heard(self) -> list[tuple]:
        """(topic, payload) of each message that came; nothing else may have."""
        came = self.hears()
        assert all(each.kind == PUBLISH for each in came), came
        return [(each.topic, each.payload) for each in came]

    def leaves(self):
        self.transport.lost(ConnectionLost())
        self.world.settle()

    def stops_reading(self):
        self.transport.peer_reads = False

    def reads_on(self):
        self.transport.peer_reads = True
        return self.hears()

    @property
    def ended(self) -> bool:
        return self.transport.gone or self.transport.closing or self.transport.write_closed


class World(Peer):
    """An interface server, an application, and devices. `beside`: another server on the same layer, with the application."""

    def __init__(self, adopts=True, layer=None, limits=None, beside=None, **options):
        more = {} if layer is None else {"layer": layer}
        super().__init__(mqtt, app=beside is None, adopts=adopts, options=MqttOptions(**options), **more, **(limits or {}))
        if beside is not None:
            self.app = beside.app
        self.transport.lost(ConnectionLost())           # Peer's own; here all are devices
        self.settle()
        self.devices = []

    @property
    def broker(self):
        return self.factory.shared

    def comes(self) -> Device:
        """A new connection, that has said nothing yet."""
        self.devices.append(Device(self))
        return self.devices[-1]

    def device(self, client_id="dev", accept=None, **connect) -> Device:
        """One that has been let in."""
        while not self.app.nothing():
            self.app.got()              # what it heard of others is not what the test looks at now
        device = self.comes().connects(client_id, **connect)
        device.told = self.app.got("mqtt.connect")
        device.channel = device.told["reply_channel"]
        self.app.replies(type_="mqtt.accept", **(accept or {}))
        device.connack, *device.kept = device.hears()
        assert (device.connack.kind, device.connack.code) == (CONNACK, 0)
        return device

    def member(self, client_id="dev", accept=None, **connect) -> Device:
        """One whose messages go to others, and that may do everything."""
        given = {"relay": True, "publish_acl": ["#"], "subscribe_acl": ["#"], **(accept or {})}
        return self.device(client_id, given, **connect)

    def acked(self, code=0):
        """The application takes the message that came to it."""
        message = self.app.got("mqtt.receive")
        self.app.replies(type_="mqtt.ack", id=message["id"], reason_code=code)
        return message

    def publishes(self, topic: str, payload=b"", **more):
        """A worker does, to the group."""
        self.layer.group_send("mqtt", {"type": "mqtt.send", "topic": topic, "payload": payload, **more})
        self.settle()

"""What is published, and the way of a message to one client: now, when it has room, or when it comes back. Pure."""
from interfaces.mqtt.packets import Publish
from interfaces.mqtt.protocol import Prepared

GROUP = "mqtt"          # messages.md, section 4: each interface server is in it
EXPIRY, WILL_DELAY = "message_expiry_interval", "will_delay_interval"
FORWARDED = ("payload_format_indicator", EXPIRY, "content_type", "response_topic", "correlation_data", "user_property")
OVERHEAD = 200          # bytes of a message beside its topic and payload: a guess
ENTRY = 100             # of one that waits for a session, where the message itself is shared: a guess


class Message:
    """`at`: when it was published, by the layer's time. `expires`: when nobody wants it any more, or None. `sender`: the
    session that it came from, or None. `number`: which one it is of those that were retained. `id`: by which servers know it
    that have a copy each, or None."""
    __slots__ = ("topic", "payload", "qos", "retain", "properties", "at", "expires", "sender", "size", "forms",
                 "number", "id")

    def __init__(self, packet, at: float, sender=None):
        """`packet`: a Publish, a Will, or a worker's Send; whoever makes it has checked it."""
        self.topic, self.payload, self.qos, self.retain = packet.topic, packet.payload, packet.qos, packet.retain
        given = packet.properties
        self.properties = {name: given[name] for name in FORWARDED if name in given} if given else None
        self.at, self.sender, self.forms, self.number, self.id = at, sender, None, 0, None
        lasts = self.properties.get(EXPIRY) if self.properties else None
        self.expires = None if lasts is None else at + lasts
        self.size = OVERHEAD + len(self.topic) + len(self.payload)

    def outgoing(self, now: float, identifiers: tuple | None) -> dict | None:
        """The properties for one receiver: expiry is lowered by the time that it waited [MQTT-3.3.2-6]."""
        properties = self.properties
        if self.expires is not None and now - self.at >= 1.0:
            properties = {**properties, EXPIRY: max(int(self.expires - now), 1)}
        if identifiers:
            properties = {**(properties or {}), "subscription_identifier": list(identifiers)}
        return properties

    def form(self, retain: bool, now: float, identifiers: tuple | None) -> Publish | Prepared:
        """With QoS 0: the same object for most receivers, so that the wire need encode it but once."""
        if identifiers or self.expires is not None and now - self.at >= 1.0:
            return Publish(self.topic, self.payload, 0, retain, False, 0, self.outgoing(now, identifiers))
        if self.forms is None:
            self.forms = [None, None]
        form = self.forms[retain]
        if form is None:
            form = self.forms[retain] = Prepared(Publish(self.topic, self.payload, 0, retain, False, 0, self.properties))
        return form


class Wanted:
    """What a subscription asks for: one for each session and filter."""
    __slots__ = ("qos", "no_local", "retain_as_published", "identifiers")

    def __init__(self, qos: int, no_local: bool = False, retain_as_published: bool = False, identifiers: tuple | None = None):
        self.qos, self.no_local, self.retain_as_published = qos, no_local, retain_as_published
        self.identifiers = identifiers

    def joined(self, other: "Wanted") -> "Wanted":
        """Of two subscriptions that match, one message: with the greater QoS [MQTT-3.3.4-2] and all identifiers
        [MQTT-3.3.4-4]."""
        return Wanted(max(self.qos, other.qos), False, self.retain_as_published or other.retain_as_published,
                      (self.identifiers or ()) + (other.identifiers or ()) or None)


DIRECT = Wanted(2, retain_as_published=True)            # a worker's word to one device


class Outgoing:
    """A message with QoS 1 or 2 on its way to the client. `message` is None when only PUBREL is left to say. `sent`: on the
    present connection. `order`: the less, the earlier it was sent first."""
    __slots__ = ("message", "qos", "retain", "identifiers", "order", "sent")

    def __init__(self, message: Message | None, qos: int, retain: bool, identifiers: tuple | None, order: int):
        self.message, self.qos, self.retain, self.identifiers, self.order = message, qos, retain, identifiers, order
        self.sent = False

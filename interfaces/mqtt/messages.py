"""The formats of MQTT (messages.md, section 4). Only data. `properties` are as in packets.py."""
from dataclasses import dataclass

from interfaces.schema import Address, Spelling, key, message


@message("mqtt.connect", question=True)
class MqttConnect:
    """A device asks to be let in. CONNACK waits for the verdict."""
    client_id: str = key("the client identifier; one that the server made where the device gave none")
    protocol_version: int = key("3 (MQTT 3.1), 4 (3.1.1) or 5")
    clean_start: bool = key("what was kept of an earlier connection is to be forgotten (3.x: clean session)")
    keep_alive: int = key("seconds; 0: none")
    username: str | None = key("the user name, or None", None)
    password: bytes | None = key("any bytes, or None", None)
    will: dict | None = key("`{topic, payload, qos, retain, properties}`: what is to be published if it is lost, or None", None)
    session_present: bool = key("a session of this client is kept", False)
    properties: dict = key("of CONNECT (MQTT 5); with `authentication_method` an `mqtt.auth` may be the answer", {})
    client: Address | None = key("the client, or None on a Unix socket", None)
    server: Address | None = key("what the client reached, or None on a Unix socket", None)
    tls: dict | None = key("`{version, cipher, sni, peer_subject, peer_fingerprint_sha256}`, or None", None)


@message("mqtt.auth", question=True)
class MqttAuth:
    """A step of an enhanced authentication (MQTT 5, 4.12), when the device is let in or later."""
    method: str = key("the authentication method")
    data: bytes | None = key("the authentication data, or None", None)
    reason_code: int = key("0x18: go on; 0x19: the device asks to be authenticated again", 0x18)
    properties: dict = key("the other properties of AUTH", {})


@message("mqtt.subscribe", question=True)
class MqttSubscribe:
    """A device subscribes. Not asked where the accept had a `subscribe_acl`."""
    id: int = key("the packet identifier: the answer repeats it")
    subscriptions: list = key("of `{filter, qos, no_local, retain_as_published, retain_handling}`")


@message("mqtt.unsubscribe")
class MqttUnsubscribe:
    """A device has unsubscribed."""
    filters: list[str] = key("topic filters, as in the subscription")


@message("mqtt.receive", question=True)
class MqttReceive:
    """A device publishes. With QoS 1 and 2 it is a question: PUBACK and PUBREC follow the answer `mqtt.ack`."""
    topic: str = key("the topic name")
    payload: bytes = key("any bytes")
    qos: int = key("0, 1 or 2")
    retain: bool = key("the device wants it kept for later subscribers", False)
    dup: bool = key("it may have been given to a worker before: by an earlier PUBLISH, or before that worker died", False)
    id: int = key("the packet identifier: the answer repeats it; 0 with QoS 0", 0)
    properties: dict = key("of PUBLISH (MQTT 5); a topic alias is resolved", {})


@message("mqtt.disconnect")
class MqttDisconnect:
    """The connection is over, however it ended. The last message."""
    reason_code: int = key("MQTT 5, 3.14.2.1, of whichever side ended it; 0x80: the connection was lost")
    clean: bool = key("the device said goodbye, and its will is not to be published")
    will_published: bool = key("its will was due at once; with `relay` it was published", False)


@dataclass(frozen=True)
class Accept:
    """The device is let in. On an open connection it changes nothing."""
    session_expiry: int | None = key("seconds for which the session is kept when it is gone; None: as the device asked", None)
    keep_alive: int | None = key("seconds, in place of what the device asked for (MQTT 5)", None)
    client_id: str | None = key("the client identifier, in place of the device's own", None)
    relay: bool = key("what it publishes goes to matching subscriptions too; with QoS 1 and 2 after `mqtt.ack`", False)
    publish_acl: list[str] | None = key(
        "filters for the topics it may publish to; `%c` is its client id, `%u` its user name; None: the application says", None)
    subscribe_acl: list[str] | None = key("filters that cover what it may subscribe to; None: `mqtt.subscribe` asks", None)
    properties: dict = key("of CONNACK (MQTT 5): user_property, reason_string, response_information, server_reference, "
                           "authentication_data", {})


@dataclass(frozen=True)
class Close:
    """Refuses the device; on an open connection it ends it."""
    reason_code: int | None = key("MQTT 5, 2.4; None: 0x87 (not authorized), on an open connection 0x98", None)
    properties: dict = key("of CONNACK or DISCONNECT (MQTT 5)", {})


@dataclass(frozen=True)
class AuthReply:
    """The next step of an enhanced authentication."""
    reason_code: int = key("0x18: go on; 0x00: an open connection is authenticated again", 0x18)
    properties: dict = key("`authentication_data` and others; the method is added", {})


@dataclass(frozen=True)
class SubscribeReply:
    """What is granted."""
    id: int = key("of the question")
    reason_codes: list = key("one for each subscription, in order: the QoS granted, or 0x80 and more")


@dataclass(frozen=True)
class Ack:
    """A message with QoS 1 or 2 is taken over by the application, or refused."""
    id: int = key("of the question")
    reason_code: int = key("0x80 and more: refused", 0)


@dataclass(frozen=True)
class Send:
    """On a reply channel: to that device, whatever it has subscribed to. To the layer group `mqtt`: to every subscription that
    matches, on every interface server."""
    topic: str = key("the topic name")
    payload: bytes = key("any bytes", b"")
    qos: int = key("0, 1 or 2", 0)
    retain: bool = key("to the group: kept for later subscribers; an empty payload removes what is kept", False)
    properties: dict = key("of PUBLISH (MQTT 5)", {})
    origin: str | None = key("to the group, by an interface server: its own channel, so that it knows its copy", None)
    id: str | None = key("to the group: a copy that comes twice to a server, while a session moves to it, is known by it", None)
    former: str | None = key("to the group, by the heir of a server that is gone: whose copy this was", None)


@dataclass(frozen=True)
class Yield:
    """Between interface servers: give up a session, its client has come to another one."""
    client_id: str = key("of the session; empty: only answer")
    home: str = key("the channel of the server that asks")


@dataclass(frozen=True)
class Yielded:
    """Between interface servers: the answer."""
    client_id: str = key("as it was asked")
    home: str = key("the channel of the server that answers")


@dataclass(frozen=True)
class Inherited:
    """Between interface servers, to the group: all that one that is gone has left has been given to the others."""
    home: str = key("its channel")


SENDS = (MqttConnect, MqttAuth, MqttSubscribe, MqttUnsubscribe, MqttReceive, MqttDisconnect)
REPLIES = tuple(Spelling(name, event, {each: each for each in event.__dataclass_fields__}) for name, event in (
    ("mqtt.accept", Accept), ("mqtt.close", Close), ("mqtt.auth", AuthReply), ("mqtt.suback", SubscribeReply),
    ("mqtt.ack", Ack), ("mqtt.send", Send), ("mqtt.yield", Yield), ("mqtt.yielded", Yielded), ("mqtt.inherited", Inherited)))

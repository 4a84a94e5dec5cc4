"""MQTT's control packets (MQTT 5.0, 2.1), as values: what the wire reads and writes.

Names are those of the standard, in snake case. `properties` are those of 2.2.2.2: name -> value, None or {} where there are
none; `user_property` is a list of [name, value] in the order in which they came, `subscription_identifier` a list of int,
binary data bytes, the rest int or str. Of 3.1 and 3.1.1, which know none, they are always empty and a reason code is the return
code of that version. No value is frozen: tens of thousands are made in a second."""
from dataclasses import dataclass, field

V3_1, V3_1_1, V5 = 3, 4, 5          # CONNECT's protocol version


@dataclass(slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict = field(default_factory=dict)


@dataclass(slots=True)
class Connect:
    """`client_id` "": the server is to assign one. `keep_alive` in seconds, 0: none. `username`, `password`: None if absent."""
    protocol_version: int
    client_id: str
    clean_start: bool
    keep_alive: int
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: dict = field(default_factory=dict)


@dataclass(slots=True)
class Connack:
    session_present: bool
    reason_code: int
    properties: dict | None = None


@dataclass(slots=True)
class Publish:
    """`packet_id` is 0 with QoS 0. From the wire `topic` may be "" where a topic alias stands for it (MQTT 5)."""
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Puback:
    packet_id: int
    reason_code: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Pubrec:
    packet_id: int
    reason_code: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Pubrel:
    packet_id: int
    reason_code: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Pubcomp:
    packet_id: int
    reason_code: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Subscription:
    """`qos` is the most that is asked for; the rest is MQTT 5's (3.8.3.1). `retain_handling`: 0 send retained messages, 1 only
    for a new subscription, 2 never."""
    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(slots=True)
class Subscribe:
    packet_id: int
    subscriptions: list[Subscription]
    properties: dict | None = None


@dataclass(slots=True)
class Suback:
    packet_id: int
    reason_codes: list[int]
    properties: dict | None = None


@dataclass(slots=True)
class Unsubscribe:
    packet_id: int
    filters: list[str]
    properties: dict | None = None


@dataclass(slots=True)
class Unsuback:
    """`reason_codes`: of MQTT 5; earlier versions have none."""
    packet_id: int
    reason_codes: list[int] = field(default_factory=list)
    properties: dict | None = None


@dataclass(slots=True)
class Pingreq:
    pass


@dataclass(slots=True)
class Pingresp:
    pass


@dataclass(slots=True)
class Disconnect:
    """From a client that is over by its own wish; from the server only to one of MQTT 5."""
    reason_code: int = 0
    properties: dict | None = None


@dataclass(slots=True)
class Auth:
    """MQTT 5: a step of an enhanced authentication."""
    reason_code: int = 0
    properties: dict | None = None

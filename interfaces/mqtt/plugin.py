"""What the house knows of MQTT: the Interface value and its options."""
from dataclasses import dataclass

from interfaces.contract import Interface, option
from interfaces.mqtt.broker import Broker
from interfaces.mqtt.messages import REPLIES, SENDS
from interfaces.mqtt.protocol import MqttWire
from interfaces.mqtt.session import session
from interfaces.mqtt.websocket import within

NUMBERS = {             # fields of two bytes, whose least is 1 where MQTT 5 says so (3.1.2.11.3, 3.2.2.3.3)
    "receive_maximum": (1, 65_535), "max_inflight": (1, 65_534), "topic_aliases": (0, 65_535),
    "keep_alive_maximum": (0, 65_535),
}


@dataclass(frozen=True)
class MqttOptions:
    connect_timeout: float = option(10.0, "seconds a client has for its CONNECT, and for each step of an authentication")
    decision_timeout: float = option(10.0, "seconds a worker has to decide on CONNECT (0x88)")
    ack_timeout: float = option(60.0, "seconds workers have to answer SUBSCRIBE (0x80), and PUBLISH with QoS 1 or 2 (the "
                                "connection ends with 0x83): time to notice that one is dead, and for the next")
    patience: float = option(30.0, "seconds that a message waits for workers that are behind (0x97)")
    write_timeout: float = option(60.0, "seconds in which a client must read something of what it was sent")    # as HTTP
    max_packet: int = option((1024 + 128) * 1024, "bytes of a packet (0x95)")
    keep_alive_maximum: int = option(3600, "seconds that a client of MQTT 5 is told if it wants more or none; 0: as it wants")
    session_expiry_maximum: int = option(7 * 86_400, "seconds for which a session is kept at most; 0: none is")
    max_sessions: int = option(100_000, "sessions at one time, connected or kept (0x97)")
    max_subscriptions: int = option(1000, "subscriptions of a session (0x97)")
    receive_maximum: int = option(64, "messages with QoS 1 or 2 of one client that may be with the workers")
    max_inflight: int = option(64, "messages with QoS 1 or 2 that may be on their way to a client, if it allows as many")
    max_queued: int = option(1000, "messages that wait for a client; it is ended (0x97) if it is connected")
    max_queued_bytes: int = option(1024 * 1024, "bytes of them")
    max_retained: int = option(100_000, "retained messages")
    max_retained_bytes: int = option(64 * 1024 * 1024, "bytes of them")
    topic_aliases: int = option(16, "topic aliases that a client of MQTT 5 may use, and is sent if it takes them; 0: none")
    server_lease: float = option(15.0, "with sessions in Redis: seconds after which a server that says nothing is gone, and "
                                 "another one keeps its sessions")
    allow_sys: bool = option(False, "let clients subscribe and publish to $SYS, if their worker does")

    ws_path: str = option("", "path on which MQTT is spoken inside WebSocket, on every endpoint of HTTP (/mqtt is usual)")

    def __post_init__(self):
        if self.ws_path and not self.ws_path.startswith("/"):
            raise ValueError("a path begins with a slash")
        for name, (least, most) in NUMBERS.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {least} to {most}")


mqtt = Interface(
    name="mqtt", summary="MQTT 3.1, 3.1.1 and 5: devices, with this server as their broker.", wire=MqttWire, session=session,
    sends=SENDS, replies=REPLIES, options=MqttOptions, shared=Broker, alpn=(b"mqtt",), within=within)

"""MQTT inside WebSocket (MQTT 5 and 3.1.1, 6): where. How is ws/tunnel.py's; to the story it is a connection like any other."""
from dataclasses import dataclass

SUBPROTOCOLS = ("mqtt", "mqttv3.1")     # [MQTT-6.0.0-3]; the other is what browsers' clients call MQTT 3.1
PROTOCOL_ERROR = 0x82                   # MQTT 5, 2.4


@dataclass(frozen=True, slots=True)
class Within:
    """contract.Interface.within. `most`: bytes that one message must be allowed to have, since a client may send each packet
    in one."""
    path: str
    most: int
    subprotocols: tuple[str, ...] = SUBPROTOCOLS
    fault: int = PROTOCOL_ERROR


def within(options) -> Within | None:
    return Within(options.ws_path, options.max_packet) if options.ws_path else None

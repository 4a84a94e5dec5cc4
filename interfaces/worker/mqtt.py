"""Publishing from anywhere in Django: `publish` and, where there is an event loop, `apublish`.

    from interfaces.worker.mqtt import publish
    publish("devices/7/down", b"reboot", qos=1)

Every interface server gets one copy, over the layer group `mqtt`, and gives it to the subscriptions that match."""
from collections.abc import Callable, Mapping
from secrets import token_urlsafe

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

GROUP = "mqtt"               # messages.md 4: the layer group that every interface server is in
ID_BYTES = 12                # by which servers know the copies of one message: 96 bits
MOST = 0xFFFF                # bytes of a string or of binary data: MQTT 5.0, 1.5.4 and 1.5.6


def publish(topic: str, payload: bytes, qos: int = 0, retain: bool = False, *, layer: str = "default", **properties) -> None:
    """To every subscription that matches `topic`, on every interface server of the channel layer `layer`.

    `properties` are those of PUBLISH (MQTT 5.0, 3.3.2.3): payload_format_indicator, message_expiry_interval (seconds),
    content_type, response_topic, correlation_data, user_property (pairs or a dict). With `retain` the message is kept for
    later subscribers; an empty payload removes what is kept. Raises TypeError and ValueError for what MQTT can't carry,
    interfaces.worker.homed.MessageTooLarge for what the layer can't, ChannelFull when a server is behind, ConnectionError
    when the layer can't be reached. It goes at once: in a transaction, call it from `transaction.on_commit`."""
    async_to_sync(send_to_all)(publication(topic, payload, qos, retain, properties), layer)


async def apublish(topic: str, payload: bytes, qos: int = 0, retain: bool = False, *, layer: str = "default",
                   **properties) -> None:
    """`publish` where an event loop runs."""
    await send_to_all(publication(topic, payload, qos, retain, properties), layer)


async def send_to_all(message: dict, layer: str) -> None:
    found = get_channel_layer(layer)
    if found is None:
        raise ImproperlyConfigured(f"there is no channel layer {layer!r}")
    await found.group_send(GROUP, {**message, "id": token_urlsafe(ID_BYTES)})


def publication(topic: str, payload: bytes, qos: int, retain: bool, properties: dict) -> dict:
    """The message `mqtt.send` (messages.md 4). Raises TypeError, ValueError."""
    if payload.__class__ is not bytes:
        if not isinstance(payload, bytearray | memoryview):
            raise TypeError(f"a payload is bytes, not {type(payload).__name__}: encode it first")
        payload = bytes(payload)
    if qos not in (0, 1, 2):
        raise ValueError(f"a QoS is 0, 1 or 2, not {qos!r}")
    return {"type": "mqtt.send", "topic": topic_name("a topic", topic), "payload": payload, "qos": int(qos),
            "retain": bool(retain), "properties": checked(properties) if properties else {}}


def topic_name(what: str, topic: str) -> str:
    """MQTT 5.0, 4.7.3 and 4.7.1: not empty, no wildcards."""
    text(what, topic)
    if not topic:
        raise ValueError(f"{what} is not empty")
    if "+" in topic or "#" in topic:
        raise ValueError(f"{what} has no wildcards: {topic!r}")
    return topic


def text(what: str, value: str) -> str:
    """MQTT 5.0, 1.5.4."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} has no U+0000: {value!r}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what} is no text that UTF-8 can say: {value!r}") from None
    if size > MOST:
        raise ValueError(f"{what} has at most {MOST} bytes, not {size}")
    return value


def data(what: str, value: bytes) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{what} is bytes, not {type(value).__name__}")
    if len(bytes(value)) > MOST:
        raise ValueError(f"{what} has at most {MOST} bytes")
    return bytes(value)


def number(most: int) -> Callable[[str, int], int]:
    def check(what: str, value: int) -> int:
        if not isinstance(value, int):
            raise TypeError(f"{what} is an int, not {type(value).__name__}")
        if not 0 <= value <= most:
            raise ValueError(f"{what} is from 0 to {most}, not {value}")
        return int(value)
    return check


def pairs(what: str, value) -> list[list[str]]:
    """A name may be there more than once, and their order is kept [MQTT-3.3.2-18]."""
    found = [list(pair) for pair in (value.items() if isinstance(value, Mapping) else value)]
    for pair in found:
        if len(pair) != 2:
            raise ValueError(f"{what} is made of pairs, not {pair!r}")
        for each in pair:
            text(what, each)
    return found


# MQTT 5.0, 3.3.2.3. Topic aliases and subscription identifiers are the server's.
PROPERTIES = {
    "payload_format_indicator": number(1), "message_expiry_interval": number(0xFFFFFFFF), "content_type": text,
    "response_topic": topic_name, "correlation_data": data, "user_property": pairs,
}


def checked(properties: dict) -> dict:
    unknown = sorted(set(properties) - set(PROPERTIES))
    if unknown:
        raise TypeError(f"{', '.join(unknown)}: not a property of PUBLISH, which are {', '.join(PROPERTIES)}")
    return {name: PROPERTIES[name](name, value) for name, value in properties.items() if value is not None}

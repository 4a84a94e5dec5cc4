"""What devices say, right and wrong, for the storms of tests/test_laws.py. The malformed packets one by one: malformed.py."""
import struct

from tests.mqtt.devices import (
    AUTH, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, connecting, packet, properties,
    text,
)


def publish(topic, payload=b"", qos=0, id=0, retain=False, version=5, **given) -> bytes:
    return packet(PUBLISH, text(topic) + (struct.pack("!H", id) if qos else b"") + (
        properties(**given) if version == 5 else b"") + payload, qos << 1 | retain)


def subscribe(*filters, id=1, version=5, **given) -> bytes:
    return packet(SUBSCRIBE, struct.pack("!H", id) + (properties(**given) if version == 5 else b"") + b"".join(
        text(each) + bytes([options]) for each, options in filters), 2)


def ack(kind: int, id: int) -> bytes:
    return packet(kind, struct.pack("!H", id), 2 if kind == PUBREL else 0)


WILL = ("wills/storm", b"gone", 1, True, {"will_delay_interval": 5})
LET_IN = [
    connecting("storm"), connecting("storm", version=4), connecting("storm", version=3, keep_alive=10),
    connecting("storm", clean=False, session_expiry_interval=60, keep_alive=10, will=WILL),
    connecting("storm", version=4, clean=False, username="u", password=b"\xff", keep_alive=10),
    connecting("storm", receive_maximum=2, maximum_packet_size=100, will=("w", b"", 0, False, {})),
]
MODERN = (subscribe(("#", 2), ("storm/+", 1)), subscribe(("$share/g/storm/1", 1), id=2, subscription_identifier=7),
          publish("storm/1", b"x"), publish("storm/1", b"x" * 300, 1, 1), publish("storm/2", b"y", 2, 2, True),
          publish("storm/3", topic_alias=1), publish("", topic_alias=1), ack(PUBREL, 2), ack(PUBACK, 1), ack(PUBREC, 1),
          ack(PUBCOMP, 1), packet(UNSUBSCRIBE, b"\0\3\0" + text("#"), 2), packet(PINGREQ))
EARLIER = (subscribe(("#", 2), version=4), publish("storm/1", b"x", version=4), publish("storm/1", b"x", 1, 1, version=4),
           publish("storm/2", b"y", 2, 2, True, version=4), ack(PUBREL, 2), ack(PUBACK, 1), ack(PUBREC, 1), packet(PINGREQ))
GOODBYES = (packet(DISCONNECT), packet(DISCONNECT, b"\4"), packet(DISCONNECT, b"\0" + properties(session_expiry_interval=9)))
WRONG = (b"\0\0", b"\xff" * 5, b"GET / HTTP/1.1\r\n\r\n", packet(PINGREQ, b"x"), publish("a/#"), publish("t", qos=3, id=1),
         packet(AUTH, b"\x18" + properties(authentication_method="m")), publish("", topic_alias=9), connecting("storm") * 2,
         publish("storm/2", b"y", 2, 2, True)[:5], publish("$SYS/x", qos=1, id=9),
         connecting("storm", authentication_method="m") + packet(AUTH, b"\x18" + properties(authentication_method="m")))


def storm_corpus() -> list[bytes]:
    """Mostly what is right, so that connections last; no client id that the server would have to make up, since that is
    another one each time."""
    first = [each + more for each in LET_IN[:1] + LET_IN[3:4] for more in (b"", b"".join(MODERN[:5]), MODERN[0])]
    first += [LET_IN[1] + b"".join(EARLIER[:4]), *LET_IN]
    flood = publish("storm/1", b"z" * 1000, 1, 5) + publish("storm/1", b"z" * 1000) * 100
    return [*first, *first, *MODERN, *MODERN, *EARLIER, *GOODBYES, *WRONG, flood]

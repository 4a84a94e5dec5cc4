"""MQTT inside WebSocket: the dialogues of a browser. What MQTT itself does is in test_session.py and test_broker.py."""
import struct
from dataclasses import replace
from types import SimpleNamespace

import pytest

from interfaces.http.plugin import HttpOptions, http, networks
from interfaces.laws import Storm, lawful, traces
from interfaces.mqtt.plugin import MqttOptions, mqtt
from interfaces.testing import Peer
from interfaces.ws.plugin import WsOptions, ws
from tests.mqtt.corpus import publish, storm_corpus, subscribe
from tests.mqtt.devices import (
    CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH, SUBACK, Device, connecting, packet, read,
)
from tests.ws.client import BINARY, CLOSE, PING, PONG, TEXT, asking, frame
from tests.ws.client import read as frames

CONTINUATION = 0            # RFC 6455 11.8
RELAYS = {"type_": "mqtt.accept", "relay": True, "publish_acl": ["#"], "subscribe_acl": ["#"]}
WILL = ("wills/page", b"gone", 0, False, {})
OPENING = asking(b"/mqtt", Sec_WebSocket_Protocol=b"mqtt")


class Page(Peer):
    """A browser's page; a server that speaks MQTT on /mqtt, and on a listener of its own."""

    def __init__(self, path="/mqtt", adopts=True, web=None, most=None, **options):
        served = replace(mqtt, options=lambda: MqttOptions(ws_path=path, **options))
        super().__init__(http, adopts=adopts, siblings=[ws, served])
        self.factory.siblings["ws"].options = web or WsOptions()
        self.devices = self.factory.siblings["mqtt"]
        if most is not None:
            self.devices.admission.most = most

    def device(self) -> Device:
        """Of the same server, by TCP."""
        return Device(SimpleNamespace(clock=self.clock, factory=self.devices, settle=self.settle))

    def asks(self, path=b"/mqtt", offered: bytes | None = b"mqtt", **fields) -> bytes:
        """The head of the answer, if there is one already."""
        self.says(asking(path, Sec_WebSocket_Protocol=offered, **fields))
        return self.heard()

    def opens(self):
        assert self.asks().startswith(b"HTTP/1.1 101 ")
        return self

    def sends_packets(self, *packets: bytes):
        self.says(frame(BINARY, b"".join(packets)))
        return self

    def hears(self) -> tuple[list, list]:
        """(packets, frames that are none)."""
        came = frames(self.heard())
        return read(b"".join(data for kind, data in came if kind == BINARY), 5), [each for each in came if each[0] != BINARY]

    def is_let_in(self, client_id="page", **connect):
        self.opens().sends_packets(connecting(client_id, **connect))
        self.app.got("mqtt.connect")
        self.app.replies(**RELAYS)
        (connack,), _ = self.hears()
        assert (connack.kind, connack.code) == (CONNACK, 0)
        return self


@pytest.fixture
def page():
    """What a test leaves behind is gone when all have left."""
    pages = []

    def make(**options):
        pages.append(Page(**options))
        return pages[-1]
    yield make
    for each in pages:
        each.leaves()
        each.waits(700)
        assert not traces(each) and not each.log.faults and not each.transport.late, each.log.faults


def told(page, code, clean=False):
    message = page.app.got("mqtt.disconnect")
    assert (message["reason_code"], message["clean"]) == (code, clean) and page.app.nothing()


def closing(code: int) -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code)


# The handshake

def test_the_handshake_asks_nobody_and_connect_does(page):
    page = page(web=WsOptions(compression=True))            # which is not for MQTT
    answer = page.asks(Sec_WebSocket_Extensions=b"permessage-deflate")
    assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
    assert page.app.nothing() and len(page.access) == 1
    page.sends_packets(connecting("page", keep_alive=60))
    assert page.app.got("mqtt.connect")["client_id"] == "page" and page.heard() == b""
    page.app.replies(type_="mqtt.accept")
    (connack,), others = page.hears()
    assert (connack.kind, connack.code, others) == (CONNACK, 0, [])


def test_behind_a_proxy_the_client_is_the_one_that_it_names(page):
    page = page()
    page.factory.options = HttpOptions(trusted_proxies=networks("192.0.2.0/24"))
    page.connects()
    assert page.asks(X_Forwarded_For=b"198.51.100.4", Host=b"a").startswith(b"HTTP/1.1 101 ")
    page.sends_packets(connecting("page"))
    assert page.app.got("mqtt.connect")["client"][0] == "198.51.100.4"


def test_a_page_that_is_hasty_is_heard(page):
    page = page()
    page.says(OPENING + frame(PING, b"p") + frame(BINARY, connecting("hasty")))
    assert page.app.got("mqtt.connect")["client_id"] == "hasty"
    assert frames(page.heard().partition(b"\r\n\r\n")[2]) == [(PONG, b"p")]


@pytest.mark.parametrize(("offered", "chosen"), [(b"mqttv3.1", b"mqttv3.1"), (b"chat, mqttv3.1, mqtt", b"mqttv3.1")])
def test_the_first_name_that_is_known_is_taken(page, offered, chosen):
    assert b"\r\nSec-WebSocket-Protocol: " + chosen + b"\r\n" in page().asks(offered=offered)


@pytest.mark.parametrize(("served", "path", "offered"), [
    ("", b"/mqtt", b"mqtt"), ("/mqtt", b"/mqtt/", b"mqtt"), ("/mqtt", b"/", b"mqtt"), ("/mqtt", b"/mqtt", None),
    ("/mqtt", b"/mqtt", b"chat"), ("/mqtt", b"/mqtt", b"MQTT"),
])
def test_every_other_websocket_is_the_applications(page, served, path, offered):
    page = page(path=served)
    assert page.asks(path, offered) == b""
    assert page.app.got("websocket.connect")["path"] == path.decode()


def test_a_websocket_that_requests_carry_is_the_applications(page):
    page, body = page(), b'{"protocols":["mqtt"]}'
    page.says(b"POST /mqtt?ws-session=new HTTP/1.1\r\nHost: example.test\r\nOrigin: https://example.test\r\n"
              b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert page.app.got("websocket.connect")["subprotocols"] == ["mqtt"]


def test_allowed_origins_hold_here_too(page):
    page = page(web=WsOptions(allowed_origins=(b"https://ours",)))
    assert page.asks(Origin=b"https://theirs").startswith(b"HTTP/1.1 403 ") and page.ended and page.app.nothing()
    page.connects()
    assert page.asks(Origin=b"https://ours").startswith(b"HTTP/1.1 101 ")


def test_the_limits_of_mqtts_listeners_hold_here_too(page):
    page = page(most=1)
    page.device()
    assert page.asks().startswith(b"HTTP/1.1 503 ") and page.ended and page.app.nothing()


def test_a_page_has_as_long_for_connect_as_a_device(page):
    page = page().opens()
    page.waits(9.9)
    assert not page.ended
    page.waits(0.2)
    assert page.ended and frames(page.heard()) == [closing(1000)] and page.app.nothing()


def test_a_path_begins_with_a_slash():
    with pytest.raises(ValueError, match="slash"):
        MqttOptions(ws_path="mqtt")


# Packets and messages

@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("kind", ["messages", "fragments", "bytes"])
def test_however_packets_lie_in_messages_they_are_the_same(page, size, kind):
    page = page()
    said = connecting("page") + subscribe(("a", 1)) + publish("a", b"x" * 300, 1, 5) + packet(PINGREQ)
    cut = [said[at:at + size] for at in range(0, len(said), size)]
    page.opens()
    if kind == "messages":                                              # [MQTT-6.0.0-2]
        page.says(b"".join(frame(BINARY, piece) + frame(BINARY) for piece in cut))
    elif kind == "fragments":
        last = len(cut) - 1
        page.says(b"".join(frame(CONTINUATION if at else BINARY, piece, fin=at == last) for at, piece in enumerate(cut)))
    else:
        whole = frame(BINARY, said)
        for at in range(0, len(whole), size):
            page.says(whole[at:at + size])
    page.app.got("mqtt.connect")
    page.app.replies(**RELAYS)
    message = page.app.got("mqtt.receive")
    assert (message["topic"], message["payload"], message["qos"]) == ("a", b"x" * 300, 1)
    page.app.replies(type_="mqtt.ack", id=message["id"], reason_code=0)
    came, _ = page.hears()
    assert [each.kind for each in came] == [CONNACK, SUBACK, PINGRESP, PUBACK, PUBLISH] and came[-1].payload == b"x" * 300


def test_a_packet_may_be_as_large_as_elsewhere(page):
    page = page(web=WsOptions(max_message=1000)).is_let_in()
    page.sends_packets(publish("t", b"x" * (1024 * 1024 + 1)))
    assert len(page.app.got("mqtt.receive")["payload"]) == 1024 * 1024 + 1
    page.says(frame(BINARY, b"x" * (1152 * 1024 + 1)))
    (goodbye,), (close,) = page.hears()
    assert (goodbye.kind, goodbye.code) == (DISCONNECT, 0x82) and close == closing(1009)
    told(page, 0x82)


def test_the_largest_packet_that_a_page_takes_is_counted_without_its_frame(page):
    page = page().is_let_in(maximum_packet_size=20)
    page.sends_packets(subscribe(("t", 1)))
    page.hears()
    for payload in (b"x" * 14, b"y" * 12):          # beside it 2 + 2 + 1 + 2 + 1 bytes, and with QoS 0 two less
        page.layer.group_send("mqtt", {"type": "mqtt.send", "topic": "t", "payload": payload, "qos": 0})
        page.layer.group_send("mqtt", {"type": "mqtt.send", "topic": "t", "payload": payload, "qos": 1})
        page.settle()
    assert [(each.qos, each.payload[:1]) for each in page.hears()[0]] == [(0, b"x"), (0, b"y"), (1, b"y")]


def test_pings_are_answered_and_pongs_are_nothing(page):
    page = page().is_let_in()
    whole = publish("t", b"x" * 200, 1, 5)
    page.says(frame(BINARY, whole[:100]) + frame(PING, b"there?") + frame(PONG) + frame(BINARY, whole[100:]))
    assert page.hears() == ([], [(PONG, b"there?")])
    assert page.app.got("mqtt.receive")["payload"] == b"x" * 200


def test_page_and_device_have_the_same_broker(page):
    page = page().is_let_in()
    page.sends_packets(subscribe(("to/page", 0)))
    page.hears()
    device = page.device().connects("lamp")
    page.app.got("mqtt.connect")
    page.app.replies(**RELAYS)
    device.subscribes(("to/lamp", 0)).hears()
    page.sends_packets(publish("to/lamp", b"on"))
    device.publishes("to/page", b"done")
    assert device.heard() == [("to/lamp", b"on")]
    assert [(each.topic, each.payload) for each in page.hears()[0]] == [("to/page", b"done")]
    device.leaves()


def test_a_device_with_the_same_client_id_takes_over(page):
    page = page().is_let_in("same")
    device = page.device().connects("same")
    page.app.got("mqtt.connect")
    page.app.replies(**RELAYS)
    (goodbye,), (close,) = page.hears()
    assert (goodbye.code, close) == (0x8E, closing(1000)) and page.ended and not device.ended
    device.leaves()


# Ends

def test_a_goodbye_is_answered_by_a_close(page):
    page = page().is_let_in(will=WILL)
    page.sends_packets(packet(DISCONNECT))
    assert page.hears() == ([], [closing(1000)]) and page.ended
    told(page, 0, clean=True)


@pytest.mark.parametrize("code", [1000, 1001])
def test_a_close_without_goodbye_leaves_the_will_behind(page, code):
    page = page().is_let_in(will=WILL)
    page.says(frame(CLOSE, struct.pack("!H", code)))
    assert page.hears() == ([], [closing(code)]) and page.ended
    message = page.app.got("mqtt.disconnect")
    assert (message["reason_code"], message["clean"], message["will_published"]) == (0x80, False, True)


def test_what_came_before_a_close_is_heard(page):
    page = page().is_let_in()
    page.says(frame(BINARY, publish("t", b"last")) + frame(CLOSE))
    assert page.app.got("mqtt.receive")["payload"] == b"last"
    told(page, 0x80)


def test_nothing_is_said_after_a_close(page):
    page = page().opens().sends_packets(connecting("page"))
    page.app.got("mqtt.connect")
    page.says(frame(CLOSE))
    page.app.replies(**RELAYS)
    assert page.hears() == ([], [(CLOSE, b"")]) and page.ended
    told(page, 0x80)


def test_a_close_before_connect_is_nobodys_business(page):
    page = page().opens()
    page.says(frame(CLOSE))
    assert frames(page.heard()) == [(CLOSE, b"")] and page.ended and page.app.nothing()


@pytest.mark.parametrize(("said", "code"), [
    (frame(TEXT, b"\x10\x00"), 1003), (frame(TEXT), 1003),          # [MQTT-6.0.0-1]
    (frame(BINARY, b"x", rsv=4), 1002), (frame(3), 1002), (frame(CLOSE, b"\x03\xed"), 1002), (frame(TEXT, b"\xff"), 1007),
])
def test_a_fault_of_websocket_ends_both(page, said, code):
    page = page().is_let_in()
    page.says(frame(BINARY, publish("t", b"before")) + said + frame(BINARY, publish("t", b"after")))
    assert page.app.got("mqtt.receive")["payload"] == b"before"
    (goodbye,), ((kind, reason),) = page.hears()
    assert (goodbye.kind, goodbye.code) == (DISCONNECT, 0x82)
    assert (kind, reason[:2]) == closing(code) and page.ended
    told(page, 0x82)


@pytest.mark.parametrize(("said", "code"), [(frame(TEXT, b"x"), 1003), (frame(BINARY, b"GET / HTTP/1.1"), 1002)])
def test_who_speaks_no_mqtt_is_told_so_by_websocket_alone(page, said, code):
    page = page().opens()
    page.says(said)
    assert frames(page.heard()) == [closing(code)] and page.ended and page.app.nothing()


def test_a_fault_of_mqtt_ends_both(page):
    page = page().is_let_in()
    page.sends_packets(b"\0\0")
    (goodbye,), (close,) = page.hears()
    assert (goodbye.kind, goodbye.code, close) == (DISCONNECT, 0x81, closing(1002))
    told(page, 0x81)


def test_a_server_that_stops_says_so(page):
    page = page().is_let_in()
    page.connection.stop()
    page.settle()
    (goodbye,), (close,) = page.hears()
    assert (goodbye.code, close) == (0x8B, closing(1000)) and page.ended
    told(page, 0x8B)


# The laws

class PageStorm(Storm):
    def __init__(self, seed):
        super().__init__(mqtt, [], seed)
        self.corpus = [*(frame(BINARY, each) for each in storm_corpus()), frame(PING, b"x"), frame(PONG), frame(TEXT, b"x"),
                       frame(CLOSE), frame(BINARY, b"\x30\x05", fin=False), frame(BINARY), frame(5), b"\x82"]
        self.peer = Page(adopts=self.dice.random() < 0.5)
        self.apps = [self.peer.app]
        self.peer.says(OPENING)


@pytest.mark.parametrize("tenth", range(10))
def test_whatever_happens_the_laws_hold(tenth):
    for seed in range(tenth * 30, tenth * 30 + 30):
        found = PageStorm(seed)
        found.run()
        lawful(found.peer, [message for app in found.apps for message in app.heard], (http, ws, mqtt), found.lossy)

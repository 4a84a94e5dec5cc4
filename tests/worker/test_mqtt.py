"""MQTT connections of an ASGI application, and publishing from anywhere."""
import asyncio
import logging

import msgpack
import pytest
from channels.layers import channel_layers
from django.core.exceptions import ImproperlyConfigured

from interfaces.layers import wire_local as wire
from interfaces.worker import session, sessions
from interfaces.worker.application import over_channels
from interfaces.worker.homed import MessageTooLarge
from interfaces.worker.layers import LocalChannelLayer
from interfaces.worker.mqtt import apublish, publish
from interfaces.worker.mqtt_session import scope_of
from tests.worker import hosting
from tests.worker.devices import hosted, mqtt_connect
from tests.worker.hub import Hub, dialogue
from tests.worker.sockets import echo, websocket_connect
from tests.worker.test_websocket_handover import leaves


class Application:
    """Lets the device in, keeps its events, and does with each what `does` says. `gone`: it was cancelled."""

    def __init__(self, does=None):
        self.does, self.events, self.scope, self.gone = does, [], None, False

    async def __call__(self, scope, receive, send):
        self.scope = scope
        try:
            self.events.append(await receive())
            await send({"type": "mqtt.accept", "session_expiry": 3600})
            while (event := await receive())["type"] != "mqtt.disconnect":
                self.events.append(event)
                if self.does:
                    await self.does(event, send)
            self.events.append(event)
        except asyncio.CancelledError:
            self.gone = True
            raise


async def acknowledge(event, send):
    if event.get("qos"):
        await send({"type": "mqtt.ack", "id": event["id"], "reason_code": 0})


# Scope and events

def test_the_scope_has_what_the_device_said_but_no_secret():
    will = {"topic": "lamps/7", "payload": b"gone", "qos": 1, "retain": True, "properties": {}}
    properties = {"receive_maximum": 10, "authentication_method": "SCRAM", "authentication_data": b"secret"}
    assert scope_of(mqtt_connect("lamp-7", will=will, properties=properties, tls={"version": "TLSv1.3"})) == {
        "type": "mqtt", "asgi": {"version": "3.0"}, "client_id": "lamp-7", "username": "ann",
        "client": ("192.0.2.7", 50123), "server": ("192.0.2.1", 1883), "tls": {"version": "TLSv1.3"}, "protocol_version": 5,
        "clean_start": True, "keep_alive": 60, "session_present": False, "will": will,
        "properties": {"receive_maximum": 10, "authentication_method": "SCRAM"}, "state": {}, "extensions": {}}


def test_one_that_another_worker_had_says_so_in_its_scope():
    message = mqtt_connect(resumed=True, epoch=1, state={"user": ["value", "ann"], "state": {"count": 2}})
    assert scope_of(message)["extensions"] == {"interface.resumed": {"state": {"count": 2}, "user": ["value", "ann"]}}
    assert scope_of(mqtt_connect(resumed=True))["extensions"] == {"interface.resumed": {"state": None, "user": None}}


@dialogue
async def test_events_are_the_messages_of_the_device(path):
    application = Application()
    async with hosted(path, application) as server:
        device = await server.opens("lamp-7", properties={"receive_maximum": 10})
        assert await device.hears() == {"type": "mqtt.accept", "session_expiry": 3600}
        assert device.claim[0].startswith(server.worker.process)
        device.publishes("devices/7/up", b"\xff\x00", properties={"content_type": "x"})
        device.subscribes("devices/7/down")
        device.tells("mqtt.unsubscribe", filters=["a/#"])
        device.tells("mqtt.auth", method="SCRAM", data=b"x", reason_code=0x19, properties={})
        device.leaves(0x8E, clean=False)
        await server.settled()
    assert application.events == [
        {"type": "mqtt.connect", "password": b"secret", "properties": {"receive_maximum": 10}},
        {"type": "mqtt.receive", "topic": "devices/7/up", "payload": b"\xff\x00", "qos": 0, "retain": False, "dup": False,
         "id": 0, "properties": {"content_type": "x"}},
        {"type": "mqtt.subscribe", "id": 9, "subscriptions": [
            {"filter": "devices/7/down", "qos": 1, "no_local": False, "retain_as_published": False, "retain_handling": 0}]},
        {"type": "mqtt.unsubscribe", "filters": ["a/#"]},
        {"type": "mqtt.auth", "method": "SCRAM", "data": b"x", "reason_code": 0x19, "properties": {}},
        {"type": "mqtt.disconnect", "reason_code": 0x8E, "clean": False, "will_published": True}]


# Replies

@dialogue
async def test_a_publish_is_acknowledged_once_and_only_one_that_came(path):
    async def twice(event, send):
        await send({"type": "mqtt.ack", "id": 99})
        await acknowledge(event, send)
        await send({"type": "mqtt.ack", "id": event["id"], "reason_code": 0x80})
        if not event["qos"]:
            await send({"type": "mqtt.send", "topic": "a", "payload": b"no question"})

    async with hosted(path, Application(twice)) as server:
        device = await (await server.opens()).accepted()
        for qos in (1, 2, 1):                            # an id is used again as soon as it is free
            device.publishes("a", qos=qos)
            await device.acked()
        device.publishes("a")
        assert (await device.hears())["payload"] == b"no question"


@pytest.mark.parametrize("event", [
    {"type": "mqtt.suback", "id": 9, "reason_codes": [1, 0x87]}, {"type": "mqtt.auth", "reason_code": 0},
    {"type": "mqtt.send", "topic": "a", "payload": b"x", "qos": 1, "retain": False, "properties": {"content_type": "x"}},
    {"type": "mqtt.close", "reason_code": 0x98}], ids=lambda event: event["type"])
@dialogue
async def test_replies_are_those_of_the_messages_page(path, event):
    async with hosted(path, Application(lambda _, send: send(event))) as server:
        device = await (await server.opens()).accepted()
        device.publishes("a")
        assert await device.hears() == event


@dialogue
async def test_one_that_is_refused_is_told_that_it_is_over(path):
    heard = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "mqtt.close", "reason_code": 0x87})
        heard.append(await receive())

    async with hosted(path, application) as server:
        device = await server.opens()
        await device.refused(0x87)
        device.leaves(0x87, clean=False)
        await server.settled()
    assert heard == [{"type": "mqtt.disconnect", "reason_code": 0x87, "clean": False, "will_published": True}]


@dialogue
async def test_of_a_server_that_is_lost_the_application_hears_the_end(path):
    async with hosted(path, application := Application()) as server:
        await (await server.opens()).accepted()
        server.worker.leaves()
        await server.settled()
    assert application.events[-1] == {"type": "mqtt.disconnect", "reason_code": 0x80, "clean": False, "will_published": False}


@pytest.mark.parametrize(("moment", "reason_code"), [(0, 0x88), (1, 0x80)])
@dialogue
async def test_an_application_that_fails_refuses_the_device_or_ends_its_connection(path, caplog, moment, reason_code):
    async def application(scope, receive, send):
        await receive()
        if moment:
            await send({"type": "mqtt.accept"})
        raise ValueError("a mistake")

    caplog.set_level(logging.ERROR)
    async with hosted(path, application) as server:
        device = await server.opens("lamp\n7")
        if moment:
            await device.accepted()
        await device.refused(reason_code)
    [record] = caplog.records
    assert record.getMessage() == r"the application of the MQTT client 'lamp\n7' failed"


@pytest.mark.parametrize(("event", "error"), [
    ({"type": "mqtt.accept"}, "mqtt.accept is not for this moment of a connection"),
    ({"type": "mqtt.pub"}, "MQTT knows no 'mqtt.pub'")])
@dialogue
async def test_what_has_no_place_is_the_applications_mistake(path, event, error):
    async def does(_, send):
        with pytest.raises(RuntimeError) as raised:
            await send(event)
        await send({"type": "mqtt.send", "topic": "error", "payload": str(raised.value).encode()})

    async with hosted(path, Application(does)) as server:
        device = await (await server.opens()).accepted()
        device.publishes("a")
        assert (await device.hears())["payload"].decode() == error


@dialogue
async def test_a_device_that_has_left_gets_no_late_acknowledgement(path, monkeypatch):
    """And to say one is no mistake, however late: what else is said raises by then."""
    monkeypatch.setattr(session, "LAST_WORDS", -1.0)
    there, left = asyncio.Event(), asyncio.Event()

    async def late(event, send):
        await there.wait()
        await acknowledge(event, send)
        left.set()

    async with hosted(path, Application(late)) as server:
        device = await (await server.opens()).accepted()
        device.publishes("a", qos=1)
        device.leaves(0x80, clean=False)
        await server.until_in_worker(lambda session: session.left)
        there.set()
        await left.wait()
        await (await server.opens("another")).accepted()         # what was said before was heard before
        assert not device.heard


# Credit

@dialogue
async def test_an_application_waits_for_a_device_that_is_behind(path):
    async def flood(event, send):
        for _ in range(5):
            await send({"type": "mqtt.send", "topic": "a", "payload": bytes(65536)})

    async with hosted(path, Application(flood)) as server:
        device = await (await server.opens()).accepted()
        device.publishes("a")
        for _ in range(4):
            await device.hears()
        await server.until_in_worker(lambda session: session.senders)
        device.confirms(65536)
        assert len((await device.hears())["payload"]) == 65536


@dialogue
async def test_what_is_handled_is_said_at_the_latest_after_half_a_window(path, monkeypatch):
    monkeypatch.setattr(sessions, "TICK", 3600.0)        # and not because time has passed
    async with hosted(path, Application()) as server:
        device = await (await server.opens()).accepted()
        for _ in range(32):
            device.publishes("a")
        await server.until(lambda: device.handled == 31)      # with order 0, the mqtt.connect, 32
        device.publishes("a", bytes(128 * 1024))
        await server.until(lambda: device.handled == 33)


# From worker to worker

@dialogue
async def test_one_whose_publish_is_not_answered_stays_until_it_is(path):
    there = asyncio.Event()

    async def late(event, send):
        asyncio.get_running_loop().create_task(later(event, send))

    async def later(event, send):
        await there.wait()
        await acknowledge(event, send)

    async with hosted(path, application := Application(late)) as server:
        device = await (await server.opens()).accepted()
        device.publishes("a", qos=1)
        await server.until_in_worker(lambda session: session.handled == 1)
        assert not server.worker_sessions.leave(False) and device.given_back is None
        there.set()
        await leaves(server)
        await device.acked()
        await server.until(lambda: device.given_back is not None)
        assert device.given_back == {} and device.handled == 1 and application.gone


@dialogue
async def test_interface_send_is_published_to_the_device(path):
    channels = []

    async def echo(event, send):
        await send({"type": "mqtt.send", "topic": "a", "payload": event["payload"]})

    async def application(scope, receive, send):
        channels.append(await channel_layers["default"].new_channel())
        await Application(echo)(scope, receive, send)

    async with hosted(path, application) as server:
        device = await (await server.opens()).accepted()

        def group(**keys):
            server.worker.hears(wire.MESSAGES, "", msgpack.packb(channels) + msgpack.packb({"type": "interface.send"} | keys))

        group(topic="a/b", text="ä", sender="ann")
        assert await device.hears() == {"type": "mqtt.send", "topic": "a/b", "payload": "ä".encode()}
        group(topic="a/b", text="ä", bytes=b"x")
        assert (await device.hears())["payload"] == b"x"
        assert server.session_of(device).out.written == 3
        group(text="for browsers")
        group(topic="a/b")
        device.publishes("a", b"still here")
        assert (await device.hears())["payload"] == b"still here"


# Beside other protocols

@dialogue
async def test_one_worker_has_websockets_and_devices(path):
    application = {"websocket": echo, "mqtt": Application(acknowledge)}
    async with hosting.hosted(path, application, channels=("websocket.connect", "mqtt.connect")) as worker:
        first = {message["type"]: message for message in (websocket_connect(), mqtt_connect())}
        said, owners = {message["reply_channel"]: [] for message in first.values()}, set()

        async def until(reached):
            while not reached():
                kind, name, payload = await worker.says()
                if kind == wire.LISTEN and name in first:
                    worker.gets(name, first.pop(name))
                elif kind == wire.STARTED:
                    owners.add(payload[4:].decode())
                elif kind == wire.SEND:
                    said[name].append(wire.unpack(payload[wire.SEND_HEAD.size:])["type"])

        await until(lambda: all(said.values()))
        [owner], (socket, device) = owners, said
        keys = {"topic": "a", "payload": b"", "qos": 1, "id": 7}
        worker.gets(owner, {"type": "websocket.receive", "reply_channel": socket, "order": 1, "text": "hello"},
                    {"type": "mqtt.receive", "reply_channel": device, "order": 1} | keys)
        await until(lambda: all(len(each) == 2 for each in said.values()))
        assert [*said.values()] == [["websocket.accept", "websocket.send"], ["mqtt.accept", "mqtt.ack"]]
        worker.gets(owner, *({"type": f"{kind}.disconnect", "reply_channel": each, "order": 2}
                             for kind, each in (("websocket", socket), ("mqtt", device))))
        while any(sessions.all for sessions in worker.stock.application.sessions.values()):
            await asyncio.sleep(0)


def test_the_stock_layer_is_refused():
    from channels_redis.core import RedisChannelLayer
    channel_layers.set("stock", RedisChannelLayer())
    with pytest.raises(ImproperlyConfigured, match="no MQTT"):
        over_channels({"mqtt": Application()}, layer="stock")


# Publishing from anywhere

@dialogue
async def test_publish_goes_to_the_group_of_the_interface_servers(path):
    layer = LocalChannelLayer(path=path)
    before = channel_layers.set("default", layer)
    try:
        async with Hub(path) as hub:
            properties = {"content_type": "x", "user_property": {"a": "b"}}
            calls = [asyncio.ensure_future(apublish("devices/7/down", b"on", 1, True, **properties)),
                     asyncio.ensure_future(asyncio.to_thread(publish, "devices/7/down", bytearray(b"off")))]
            worker = await hub.worker()
            said = [await worker.asks() for _ in calls]
            await asyncio.gather(*calls)
            await layer.close()
    finally:
        channel_layers.set("default", before)
    assert {(kind, name) for kind, name, _ in said} == {(wire.GROUP_SEND, "mqtt")}
    message = {"type": "mqtt.send", "topic": "devices/7/down", "payload": b"off", "qos": 0, "retain": False, "properties": {}}
    sent = sorted((wire.unpack(payload) for *_, payload in said), key=lambda sent: sent["qos"])
    assert len({each.pop("id") for each in sent}) == 2
    assert sent == [
        message, message | {"payload": b"on", "qos": 1, "retain": True,
                            "properties": {"content_type": "x", "user_property": [["a", "b"]]}}]


@pytest.mark.parametrize(("arguments", "error", "text"), [
    (("a/+", b""), ValueError, "a topic has no wildcards: 'a/+'"),
    (("a/#", b""), ValueError, "a topic has no wildcards: 'a/#'"),
    (("", b""), ValueError, "a topic is not empty"),
    (("a\0", b""), ValueError, "a topic has no U+0000"),
    (("\ud800", b""), ValueError, "a topic is no text that UTF-8 can say"),
    (("ä" * 32768, b""), ValueError, "a topic has at most 65535 bytes, not 65536"),
    ((b"a", b""), TypeError, "a topic is a str, not bytes"),
    (("a", "text"), TypeError, "a payload is bytes, not str: encode it first"),
    (("a", None), TypeError, "a payload is bytes, not NoneType"),
    (("a", b"", 3), ValueError, "a QoS is 0, 1 or 2, not 3"),
    (("a", b"", "1"), ValueError, "a QoS is 0, 1 or 2, not '1'"),
])
def test_what_mqtt_cannot_carry_is_refused_by_a_sentence(arguments, error, text):
    with pytest.raises(error) as raised:
        publish(*arguments)
    assert str(raised.value).startswith(text)


@pytest.mark.parametrize(("name", "value", "error", "text"), [
    ("topic_alias", 1, TypeError, "topic_alias: not a property of PUBLISH, which are"),
    ("payload_format_indicator", 2, ValueError, "payload_format_indicator is from 0 to 1, not 2"),
    ("message_expiry_interval", 2**32, ValueError, "message_expiry_interval is from 0 to 4294967295"),
    ("message_expiry_interval", 1.5, TypeError, "message_expiry_interval is an int, not float"),
    ("content_type", b"x", TypeError, "content_type is a str, not bytes"),
    ("response_topic", "a/+", ValueError, "response_topic has no wildcards"),
    ("correlation_data", "x", TypeError, "correlation_data is bytes, not str"),
    ("correlation_data", bytes(65536), ValueError, "correlation_data has at most 65535 bytes"),
    ("user_property", [("a", 1)], TypeError, "user_property is a str, not int"),
    ("user_property", [("a", "b", "c")], ValueError, "user_property is made of pairs"),
])
def test_properties_are_checked_too(name, value, error, text):
    with pytest.raises(error) as raised:
        publish("a", b"", **{name: value})
    assert str(raised.value).startswith(text)


@dialogue
async def test_what_the_layer_cannot_carry_is_refused(path):
    layer = LocalChannelLayer(path=path)
    before = channel_layers.set("default", layer)
    try:
        with pytest.raises(MessageTooLarge):
            await apublish("a", bytes(wire.MAX_MESSAGE))
        with pytest.raises(ImproperlyConfigured, match="no channel layer 'nowhere'"):
            await apublish("a", b"", layer="nowhere")
    finally:
        channel_layers.set("default", before)

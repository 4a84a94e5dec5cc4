"""MqttConsumer and AsyncMqttConsumer: dialogues of a device with what a Django project writes."""
import asyncio
import logging
import threading

import msgpack
import pytest
from asgiref.testing import ApplicationCommunicator
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.db import ConnectionHandler, connections, transaction
from django.test import override_settings

from interfaces.layers import wire_local as wire
from interfaces.worker import Resumable
from interfaces.worker import session as worker_session
from interfaces.worker.consumers import AsyncMqttConsumer, MqttConsumer, MqttRefused, MqttRouter, mqtt_path
from interfaces.worker.mqtt_session import scope_of
from tests.worker.devices import hosted, mqtt_connect
from tests.worker.hub import dialogue
from tests.worker.test_websocket_handover import leaves

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


class Sync(MqttConsumer):
    """Lets everybody in."""
    def authenticate(self, username, password, client_id, **rest):
        return username or "nobody"


class Async(AsyncMqttConsumer):
    async def authenticate(self, username, password, client_id, **rest):
        return username or "nobody"


def of(kind, **methods):
    """A consumer of that kind with these methods; for an asynchronous one the plain functions become `async def`."""
    def asynchronous(method):
        async def awaited(self, *args, **kwargs):
            return method(self, *args, **kwargs)
        return awaited

    base = Sync if kind == "sync" else Async
    members = {name: asynchronous(each) if callable(each) and kind == "async" else each for name, each in methods.items()}
    return type("Device", (base,), members)


def to_group(server, message) -> None:
    channels = [payload.decode() for kind, _, payload in server.asked if kind == wire.GROUP_ADD]
    server.worker.hears(wire.MESSAGES, "", msgpack.packb(channels) + msgpack.packb(message))


@pytest.fixture
def database(tmp_path, monkeypatch):
    """SQLite with the users of django.contrib.auth, of whom `ann` is one."""
    made = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "database"}})
    monkeypatch.setitem(connections.settings, "default", made.settings["default"])
    if hasattr(connections._connections, "default"):
        del connections["default"]                       # the dummy of a project without one
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        with connections["default"].schema_editor() as editor:
            for model in (ContentType, Permission, Group, User):
                editor.create_model(model)
        yield User.objects.create_user("ann", password="sécret")
    connections["default"].close()
    del connections["default"]


# Being let in

@BOTH
@dialogue
async def test_what_authenticate_returns_is_the_user_and_the_attributes_are_what_is_accepted(path, kind):
    told = []

    def authenticate(self, username, password, client_id, **rest):
        told.append((username, password, client_id, sorted(rest)))
        return {"name": username}

    def received(self, topic, payload, **rest):
        told.append(self.scope["user"])

    device = of(kind, authenticate=authenticate, received=received, relay=True, publish_acl=["devices/%c/#"],
                subscribe_acl=["devices/%c/down"], session_expiry=3600, keep_alive=30, assigned_client_id="lamp-8",
                properties={"reason_string": "hello"})
    async with hosted(path, device.as_asgi()) as server:
        lamp = await server.opens("lamp-7")
        assert await lamp.hears() == {
            "type": "mqtt.accept", "relay": True, "publish_acl": ["devices/%c/#"], "subscribe_acl": ["devices/%c/down"],
            "session_expiry": 3600, "keep_alive": 30, "client_id": "lamp-8", "properties": {"reason_string": "hello"}}
        lamp.publishes("a", qos=1)
        await lamp.acked()
    assert told == [("ann", b"secret", "lamp-7", ["clean_start", "client", "keep_alive", "properties", "protocol_version",
                                                  "tls", "will"]), {"name": "ann"}]


@pytest.mark.parametrize("consumer", [MqttConsumer, AsyncMqttConsumer])
@dialogue
async def test_by_default_the_users_of_django_are_let_in(path, database, consumer):
    async with hosted(path, consumer.as_asgi()) as server:
        await (await server.opens(username="ann", password="sécret".encode())).accepted()
        for username, password in (("ann", b"wrong"), ("bob", b"x"), ("ann", b"\xff"), ("ann", None), (None, b"x")):
            await (await server.opens(username=username, password=password)).refused(0x86)
        await (await server.opens(username=None, password=None)).refused(0x87)


@BOTH
@dialogue
async def test_authenticate_may_name_the_reason(path, kind):
    def authenticate(self, username, password, client_id, **rest):
        raise MqttRefused(0x8A)

    async with hosted(path, of(kind, authenticate=authenticate).as_asgi()) as server:
        await (await server.opens()).refused(0x8A)


@BOTH
@dialogue
async def test_a_mistake_in_authenticate_refuses(path, kind, caplog):
    caplog.set_level(logging.ERROR)
    async with hosted(path, of(kind, authenticate=lambda self, *args, **rest: 1 / 0).as_asgi()) as server:
        device = await server.opens("lamp-7")
        await device.refused(0x88)
        device.leaves()
        await server.settled()
    assert [record.getMessage() for record in caplog.records] == ["Device failed with its device 'lamp-7'"]


def test_a_reason_that_refuses_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="from 0x80 to 0xFF, not 0x0"):
        MqttRefused(0)


@BOTH
@dialogue
async def test_connected_and_disconnected_are_told_to_those_who_were_let_in(path, kind):
    told = []
    device = of(kind, authenticate=lambda self, username, *args, **rest: username == "ann",
                connected=lambda self, **rest: told.append(rest),
                disconnected=lambda self, **rest: told.append(rest))
    async with hosted(path, device.as_asgi()) as server:
        stranger = await server.opens(username="bob")
        await stranger.refused(0x86)
        stranger.leaves(0x86)
        lamp = await (await server.opens(session_present=True)).accepted()
        lamp.leaves(0x8E, clean=False)
        await server.settled()
    assert told == [{"resumed": False, "session_present": True}, {"reason_code": 0x8E, "clean": False, "will_published": True}]


@BOTH
@dialogue
async def test_enhanced_authentication_goes_step_by_step_and_again_later(path, kind):
    def authenticate_step(self, method, data, **rest):
        return {b"hello": b"who are you?", b"ann": "ann", b"again": "ann again"}.get(data)

    def received(self, topic, payload, **rest):
        users.append(self.scope["user"])

    users, properties = [], {"authentication_method": "SCRAM", "authentication_data": b"hello"}
    async with hosted(path, of(kind, authenticate_step=authenticate_step, received=received).as_asgi()) as server:
        device = await server.opens(username=None, password=None, properties=properties)
        assert await device.hears() == {"type": "mqtt.auth", "reason_code": 0x18,
                                        "properties": {"authentication_data": b"who are you?"}}
        device.tells("mqtt.auth", method="SCRAM", data=b"ann", reason_code=0x18, properties={})
        await device.accepted()
        device.publishes("a", qos=1)
        await device.acked()
        device.tells("mqtt.auth", method="SCRAM", data=b"again", reason_code=0x19, properties={})
        assert await device.hears() == {"type": "mqtt.auth", "reason_code": 0}
        device.publishes("a", qos=1)
        await device.acked()
        device.tells("mqtt.auth", method="SCRAM", data=b"wrong", reason_code=0x19, properties={})
        await device.refused(0x87)
    assert users == ["ann", "ann again"]


@BOTH
@dialogue
async def test_a_method_that_nobody_knows_is_refused(path, kind):
    async with hosted(path, of(kind).as_asgi()) as server:
        await (await server.opens(properties={"authentication_method": "SCRAM"})).refused(0x8C)


# What it publishes

@BOTH
@dialogue
async def test_what_is_received(path, kind):
    got = []
    device = of(kind, received=lambda self, topic, payload, **rest: got.append((topic, payload, rest)))
    async with hosted(path, device.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a/b", b"\xff", qos=2, id=11, dup=True, retain=True, properties={"content_type": "x"})
        await lamp.acked(11)
        lamp.publishes("a/b")
        lamp.publishes("a/c", qos=1)
        await lamp.acked()
    nothing = {"qos": 0, "retain": False, "dup": False, "id": 0, "properties": {}}
    assert got == [
        ("a/b", b"\xff", {"qos": 2, "retain": True, "dup": True, "id": 11, "properties": {"content_type": "x"}}),
        ("a/b", b"", nothing), ("a/c", b"", nothing | {"qos": 1, "id": 7})]


@BOTH
@dialogue
async def test_a_mistake_in_received_is_said_to_the_device_and_its_connection_goes_on(path, kind, caplog):
    def received(self, topic, payload, **rest):
        if topic == "refused":
            raise MqttRefused(0x99)
        return 1 / int(payload)

    caplog.set_level(logging.ERROR)
    async with hosted(path, of(kind, received=received).as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        for topic, payload, code in (("a", b"0", 0x80), ("refused", b"", 0x99), ("a", b"1", 0)):
            lamp.publishes("a", b"0")
            lamp.publishes(topic, payload, qos=1)
            await lamp.acked(reason_code=code)
    assert len(caplog.records) == 4


@BOTH
@dialogue
async def test_authorize_publish_is_asked_first(path, kind):
    got = []
    device = of(kind, authorize_publish=lambda self, topic, **rest: topic.startswith(f"devices/{self.scope['client_id']}/"),
                received=lambda self, topic, payload, **rest: got.append(topic))
    async with hosted(path, device.as_asgi()) as server:
        lamp = await (await server.opens("7")).accepted()
        lamp.publishes("devices/8/up")
        lamp.publishes("devices/8/up", qos=1)
        await lamp.acked(reason_code=0x87)
        lamp.publishes("devices/7/up", qos=1)
        await lamp.acked()
    assert got == ["devices/7/up"]


@BOTH
@dialogue
async def test_without_auto_ack_the_application_says_when(path, kind):
    received = []

    async def told(self, message):
        await self.ack(received.pop(0), message["reason_code"])

    def told_in_a_lane(self, message):
        self.ack(received.pop(0), message["reason_code"])

    base = Sync if kind == "sync" else Async

    class Late(base):
        auto_ack, groups = False, ["late"]
        done = told_in_a_lane if kind == "sync" else told

        def received(self, topic, payload, **rest):
            received.append(rest["id"])

    async with hosted(path, Late.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        for packet_id in (1, 2):
            lamp.publishes("a", qos=1, id=packet_id)
        await server.until_in_worker(lambda session: session.handled == 2)
        assert not lamp.heard
        to_group(server, {"type": "done", "reason_code": 0})
        await lamp.acked(1)
        to_group(server, {"type": "done", "reason_code": 0x97})
        await lamp.acked(2, 0x97)


@dialogue
async def test_in_a_transaction_the_device_hears_when_it_is_committed(path, database):
    """Also of what is acknowledged by hand in a transaction of one's own; what is rolled back is not acknowledged."""
    class Atomic(Sync):
        atomic = True

        def received(self, topic, payload, **rest):
            assert connections["default"].in_atomic_block
            if topic == "by hand":
                with transaction.atomic():
                    self.ack(rest["id"], 0x10)
                    transaction.on_commit(lambda: self.publish("committed", b""))
                self.publish("not yet", b"")
            if topic == "roll back":
                User.objects.create_user("bob")
                transaction.set_rollback(True)
            if topic == "fail":
                self.ack(rest["id"])
                User.objects.create_user("bob")
                raise ValueError("a mistake")

    async with hosted(path, Atomic.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", qos=1, id=1)
        await lamp.acked(1)
        lamp.publishes("by hand", qos=1, id=2)
        assert (await lamp.hears())["topic"] == "not yet"
        await lamp.acked(2, 0x10)
        assert (await lamp.hears())["topic"] == "committed"
        lamp.publishes("fail", qos=1, id=3)
        await lamp.acked(3, 0x80)
        lamp.publishes("roll back", qos=1, id=4)
        lamp.publishes("a", qos=1, id=5)
        await lamp.acked(5)
    assert await asyncio.to_thread(User.objects.filter(username="bob").exists) is False


@dialogue
async def test_a_decorated_method_has_committed_when_it_returns(path, database):
    class Decorated(Sync):
        @transaction.atomic
        def received(self, topic, payload, **rest):
            User.objects.create_user(payload.decode())

    async with hosted(path, Decorated.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("users", b"bob", qos=1)
        await lamp.acked()
        assert await asyncio.to_thread(User.objects.filter(username="bob").exists)


@dialogue
async def test_a_coroutine_is_no_method_of_a_synchronous_consumer(path, caplog):
    class Mixed(Sync):
        async def received(self, topic, payload, **rest):
            raise AssertionError("it runs")

    caplog.set_level(logging.ERROR)
    async with hosted(path, Mixed.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", qos=1)
        await lamp.acked(reason_code=0x80)
    assert "use AsyncMqttConsumer" in str(caplog.records[0].exc_info[1])


# Routes

class Log:
    def __init__(self, device):
        self.device, self.lines = device, []

    def received(self, topic, payload, *, id, **rest):
        self.lines.append(f"{id!r}: {payload.decode()}")
        self.device.got.append((topic, *self.lines))


@BOTH
@dialogue
async def test_topics_are_routed_as_urls(path, kind):
    def up(self, topic, payload, id, unit, **rest):
        self.got.append((topic, id, payload, unit, rest["qos"]))

    async def awaited(self, topic, payload, path, **rest):
        self.got.append((topic, path))

    def in_a_lane(self, topic, payload, path, **rest):
        self.got.append((topic, path))

    base = Sync if kind == "sync" else Async

    class Device(base):
        got = []
        routes = [mqtt_path("devices/<slug:id>/up", up, {"unit": "C"}), mqtt_path("devices/<int:id>/log", Log),
                  mqtt_path("<path:path>/raw", in_a_lane if kind == "sync" else awaited)]

        def received(self, topic, payload, **rest):
            self.got.append((topic, "no route"))

    async with hosted(path, Device.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        for topic, payload in (("devices/lamp-7/up", b"21"), ("devices/7/log", b"a"), ("devices/8/log", b"b"), ("/a//raw", b""),
                               ("devices/x y/up", b""), ("devices/lamp-7/up/", b""), ("$SYS", b"")):
            lamp.publishes(topic, payload, qos=1)
            await lamp.acked()
    assert Device.got == [
        ("devices/lamp-7/up", "lamp-7", b"21", "C", 1), ("devices/7/log", "7: a"), ("devices/8/log", "7: a", "8: b"),
        ("/a//raw", "/a/"), ("devices/x y/up", "no route"), ("devices/lamp-7/up/", "no route"), ("$SYS", "no route")]


def test_the_first_route_that_matches_counts():
    one, two = mqtt_path("a/<str:x>", print, {"n": 1, "x": "?"}), mqtt_path("a/b", print)
    router = MqttRouter([one, two])
    assert router.match("a/b") == (one, {"n": 1, "x": "b"}) and MqttRouter([two, one]).match("a/b") == (two, {})
    assert router.match("a/b/c") is None and router.match("b") is None


@pytest.mark.parametrize(("make", "text"), [
    (lambda: mqtt_path("devices/+/up", print), "a wildcard of MQTT"), (lambda: mqtt_path("a/#", print), "a wildcard of MQTT"),
    (lambda: mqtt_path("a", "name"), "leads to a function"), (lambda: mqtt_path("a", dict), "leads to a function"),
    (lambda: mqtt_path("<nothing:x>", print), "invalid converter"), (lambda: MqttRouter([print]), "made by mqtt_path")])
def test_routes_that_lead_nowhere_are_refused_when_they_are_made(make, text):
    with pytest.raises(ImproperlyConfigured, match=text):
        make()


# What it subscribes to

@BOTH
@dialogue
async def test_subscriptions_are_granted_one_by_one(path, kind):
    asked = []

    def authorize_subscribe(self, topic_filter, **rest):
        asked.append((topic_filter, rest["qos"], rest["share_name"]))
        if topic_filter == "quota":
            raise MqttRefused(0x97)
        return {"all": True, "less": 0, "more": 2, "nothing": None, "no": False, "code": 0x8F}.get(topic_filter, False)

    device = of(kind, authorize_subscribe=authorize_subscribe)
    filters = ["all", "less", "more", "nothing", "no", "code", "quota", "$share/all/x", "$share/n/all"]
    async with hosted(path, device.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.subscribes(*filters)
        assert await lamp.hears() == {"type": "mqtt.suback", "id": 9,
                                      "reason_codes": [1, 0, 1, 0x87, 0x87, 0x8F, 0x97, 0x87, 1]}
    assert asked == [*((each, 1, None) for each in filters[:-2]), ("x", 1, "all"), ("all", 1, "n")]


@BOTH
@dialogue
async def test_nothing_is_granted_that_was_not_thought_of_or_by_mistake(path, kind, caplog):
    caplog.set_level(logging.ERROR)
    async with hosted(path, of(kind).as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.subscribes("#", "a")
        assert (await lamp.hears())["reason_codes"] == [0x87, 0x87]
    broken = of(kind, authorize_subscribe=lambda self, topic_filter, **rest: topic_filter == "a" or 1 / 0)
    async with hosted(path, broken.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.subscribes("a", "b")
        assert (await lamp.hears())["reason_codes"] == [0x80, 0x80]
    assert len(caplog.records) == 1


@BOTH
@dialogue
async def test_unsubscribed_is_told(path, kind):
    async with hosted(path, of(kind, unsubscribed=lambda self, filters: told.append(filters)).as_asgi()) as server:
        told = []
        lamp = await (await server.opens()).accepted()
        lamp.tells("mqtt.unsubscribe", filters=["a/#", "b"])
        lamp.leaves()
        await server.settled()
    assert told == [["a/#", "b"]]


# To the device

@BOTH
@dialogue
async def test_publish_and_close(path, kind):
    class Lane(Sync):
        def received(self, topic, payload, **rest):
            self.publish("answer", payload, 1, True, correlation_data=b"x")
            self.close(0x98)

    class Loop(Async):
        async def received(self, topic, payload, **rest):
            await self.publish("answer", payload, 1, True, correlation_data=b"x")
            await self.close(0x98)

    async with hosted(path, (Lane if kind == "sync" else Loop).as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("question", b"?")
        assert await lamp.hears() == {"type": "mqtt.send", "topic": "answer", "payload": b"?", "qos": 1, "retain": True,
                                      "properties": {"correlation_data": b"x"}}
        await lamp.refused(0x98)


@BOTH
@dialogue
async def test_group_messages_are_methods_and_a_wrong_one_ends_no_connection(path, kind, caplog):
    def light(self, message):
        told.append((message["state"], self.scope["client_id"]))
        return 1 / message["state"]

    caplog.set_level(logging.ERROR)
    told = []
    async with hosted(path, of(kind, groups=["lamps"], light=light).as_asgi()) as server:
        lamp = await (await server.opens("lamp-7")).accepted()
        send = {"type": "mqtt.send", "topic": "devices/7/down", "payload": b"on"}
        for message in ({"type": "light", "state": 0}, {"type": "unheard.of"}, send | {"topic": "a/+"},
                        {"type": "light", "state": 1}, send):
            to_group(server, message)
        assert await lamp.hears() == {"type": "mqtt.send", "topic": "devices/7/down", "payload": b"on", "qos": 0,
                                      "retain": False, "properties": {}}
        lamp.leaves()
        await server.until(lambda: any(asked == wire.GROUP_DISCARD for asked, *_ in server.asked))
        await server.settled()
    assert told == [(0, "lamp-7"), (1, "lamp-7")] and len(caplog.records) == 3


@BOTH
@dialogue
async def test_it_leaves_the_groups_that_it_has_joined(path, kind):
    """Whatever a property says by then."""
    names = iter("abc")
    device = of(kind)
    device.groups = property(lambda self: [f"{next(names)}-{self.scope['user']}"])
    async with hosted(path, device.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.leaves()
        await server.until(lambda: len(server.asked) == 2)
        await server.settled()
        assert [(asked, group) for asked, group, _ in server.asked] == [
            (wire.GROUP_ADD, "a-ann"), (wire.GROUP_DISCARD, "a-ann")]


@dialogue
async def test_speaking_to_a_device_that_has_left_is_no_mistake(path, caplog, monkeypatch):
    monkeypatch.setattr(worker_session, "LAST_WORDS", -1.0)
    spoken, left = [], asyncio.Event()

    class Late(Async):
        async def received(self, topic, payload, **rest):
            await left.wait()
            spoken.append(payload)
            await self.publish(topic, payload)
            raise AssertionError("nobody can hear it")

    caplog.set_level(logging.ERROR)
    async with hosted(path, Late.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", b"x", qos=1)
        lamp.leaves(0x80, clean=False)
        await server.until_in_worker(lambda session: session.left)
        left.set()
        await server.settled()
    assert spoken == [b"x"] and not caplog.records


@pytest.mark.parametrize("consumer", [Sync, Async])
@dialogue
async def test_a_project_tests_its_consumer_by_the_communicator_of_asgiref(consumer):
    before = channel_layers.set("default", InMemoryChannelLayer())
    try:
        device = ApplicationCommunicator(consumer.as_asgi(), scope_of(mqtt_connect()))
        await device.send_input({"type": "mqtt.connect", "password": b"secret", "properties": {}})
        assert (await device.receive_output())["type"] == "mqtt.accept"
        for qos in (0, 1):
            await device.send_input({"type": "mqtt.receive", "topic": "a", "payload": b"", "qos": qos, "id": 7 * qos})
        assert await device.receive_output() == {"type": "mqtt.ack", "id": 7, "reason_code": 0}
        await device.send_input({"type": "mqtt.disconnect", "reason_code": 0, "clean": True, "will_published": False})
        await device.wait()
    finally:
        channel_layers.set("default", before)


# Lanes

@dialogue
async def test_a_synchronous_consumer_runs_in_its_lane_and_an_asynchronous_one_needs_none(path):
    class Where(Sync):
        def received(self, topic, payload, **rest):
            self.publish("here", threading.current_thread().name.encode())

    async with hosted(path, Where.as_asgi(), threads=2) as server:
        for n in (1, 2):
            lamp = await (await server.opens()).accepted()
            for _ in range(2):
                lamp.publishes("where?")
                assert (await lamp.hears())["payload"] == f"lane {n}".encode()
    async with hosted(path, Async.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", qos=1)
        await lamp.acked()
        assert all(lane.thread is None for lane in server.worker_sessions.lanes.lanes)


# From worker to worker

@pytest.mark.parametrize("consumer", [MqttConsumer, AsyncMqttConsumer])
@dialogue
async def test_the_next_worker_knows_the_user_and_asks_for_no_password(path, database, consumer):
    class Known(consumer):
        groups = ["lamps"]

        def received(self, topic, payload, **rest):
            users.append(self.scope["user"])

        def connected(self, **rest):
            told.append(rest)

    users, told = [], []
    async with hosted(path, Known.as_asgi()) as server:
        lamp = await (await server.opens(password="sécret".encode())).accepted()
        await server.until(lambda: lamp.state is not None)
        await leaves(server)
        await server.until(lambda: lamp.given_back is not None)
        state = lamp.state
        assert state == {"user": ["model", "auth.User", str(database.pk)]} and lamp.given_back == {}
    async with hosted(path, Known.as_asgi()) as server:
        again = {"epoch": 1, "resumed": True, "state": state, "order": 1, "password": b"not even looked at"}
        lamp = await (await server.opens(**again)).accepted()
        assert [name for kind, name, _ in server.asked if kind == wire.GROUP_ADD] == ["lamps"]
        lamp.publishes("a", qos=1)
        await lamp.acked()
        assert lamp.state is None                        # the server has it
        assert users == [database] and [each["resumed"] for each in told] == [False, True]
        await asyncio.to_thread(User.objects.update, is_active=False)
        await (await server.opens(**again)).refused(0x87)
        await asyncio.to_thread(User.objects.all().delete)
        await (await server.opens(**again)).refused(0x87)


@BOTH
@dialogue
async def test_a_user_that_cannot_be_carried_is_asked_for_again(path, kind):
    """As one whose worker died before it had said who it is."""
    device = of(kind, authenticate=lambda self, username, *args, **rest: {"name": username})
    async with hosted(path, device.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        await leaves(server)
        await server.until(lambda: lamp.given_back is not None)
        assert lamp.given_back == {} and lamp.state is None
    async with hosted(path, of(kind, authenticate=lambda self, username, *args, **rest: False).as_asgi()) as server:
        await (await server.opens(epoch=1, resumed=True, state=None, order=1)).refused(0x86)


@BOTH
@dialogue
async def test_a_resumable_consumer_keeps_its_own_state_beside_the_user(path, kind):
    class Counter(Resumable, Sync if kind == "sync" else Async):
        count, state_on_every_message = 0, True

        def received(self, topic, payload, **rest):
            self.count += 1
            got.append((self.count, self.scope["user"]))

        def get_state(self):
            return self.count

        def restore(self, state):
            self.count = state

    got = []
    async with hosted(path, Counter.as_asgi()) as server:
        lamp = await (await server.opens()).accepted()
        lamp.publishes("a", qos=1)
        await lamp.acked()
        await leaves(server)
        await server.until(lambda: lamp.given_back is not None)
        assert lamp.given_back == {"state": {"user": ["value", "ann"], "state": 1}}
        assert lamp.state == lamp.given_back["state"]
    async with hosted(path, Counter.as_asgi()) as server:
        lamp = await (await server.opens(epoch=1, resumed=True, order=2, **lamp.given_back)).accepted()
        lamp.publishes("a", qos=1)
        await lamp.acked()
    assert got == [(1, "ann"), (2, "ann")]

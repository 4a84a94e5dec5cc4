"""Devices before the stock runworker of Channels 1.1 and asgi_redis, which are older than all this and know nothing of us."""

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from tests.sockets.device import VERSIONS, Device, devices
from tests.sockets.processes import until
from tests.workers.conftest import interpreter

pytestmark = pytest.mark.slow
BINARY = bytes(range(256))


@pytest.fixture(scope="module")
def front(shared):
    sessions = shared.folder / "sessions"
    sessions.mkdir()
    shared.gate = shared.folder / "gate"
    shared.environment |= {"SITE_SESSIONS": str(sessions), "SITE_GATE": str(shared.gate)}
    shared.server = shared.broker(form="asgi_redis")
    return shared


@pytest.fixture
def served(front):
    """One server and one worker, for all these tests."""
    front.staffed()
    front.gate.unlink(missing_ok=True)
    with front.visit():
        yield front


@pytest.fixture
def comes(served):
    """`comes("lamp")`: a device, gone at the end of the test."""
    with devices(served.mqtt) as to:
        yield to


def test_consumers_by_route(served, comes):
    [redis] = served.servers
    redis("DEL", "asgi::group:devices")
    devices = [comes(f"lamp{version}", version) for version in VERSIONS]
    assert [comes(f"thief{version}", version, user=("bob", "guess")).answer for version in VERSIONS] == [0x86, 0x86]
    for device in devices:
        name = device.name
        for qos in (0, 1, 2):
            device.publishes(f"devices/{name}/up", BINARY, qos)
            line = f"got {name} devices/{name}/up {qos} {BINARY.hex()} {name}"
            assert not qos or line in served.noted, "before the acknowledgement"
            until(lambda line=line: line in served.noted, "its consumer has it")
        device.hears(*[(f"down/{name}", BINARY, qos, False) for qos in (0, 1, 2)])
        assert device.subscribes("between/#", 2) == 2 and device.subscribes("secret/#") >= 0x80
    one, other = devices
    for qos in (0, 1, 2):
        one.publishes("between/us", BINARY, qos)
    for device in devices:
        device.hears(*[("between/us", BINARY, qos, False) for qos in (0, 1, 2)])
    other.publishes("all", b"of you")
    for device in devices:
        device.hears(("down/all", b"of you", 0, False))
    one.leaves()
    other.vanishes()
    ends = {f"left {one.name} 0x00 True", f"left {other.name} 0x80 False"}
    until(lambda: ends <= set(served.noted), "both ends are heard of")
    assert redis("ZCARD", "asgi::group:devices") == 0
    assert "Traceback" not in served.server.text + served.first.text


def got(site, *names):
    """What consumers have noted of these devices."""
    return [line for line in site.noted if line.split()[:2] in [["got", name] for name in names]]


def test_the_acknowledgement_is_the_consumers(served, comes):
    device, codes = comes("patient", user=("patterns", "pw")), []
    device.client.on_publish = lambda client, userdata, mid, code, properties: codes.append(code.value)
    held = [device.begins("held", f"{qos}", qos) for qos in (1, 2)]
    until(lambda: got(served, "patient") == ["got patient held 1 31"], "the consumer has it")
    # The one worker is busy, and these need none.
    assert device.subscribes("news/today") == 1 and device.subscribes("down/patient") == 1
    assert device.subscribes("down/other") >= 0x80
    assert not any(each.is_published() for each in held)
    served.gate.touch()
    for each in held:
        each.wait_for_publish(10)
    device.publishes("refused", "x")
    until(lambda: codes == [0, 0, 0x87], "it is told that it may not")


def test_devices_stay_when_the_worker_goes_and_come_again_when_redis_was_emptied(served, comes):
    """Groups and sessions are gone then, and nothing tells such a worker: ASGI 1 asks for it."""
    devices = [comes(f"stayer{version}", version) for version in VERSIONS]
    assert served.first.ends() == 0
    waiting = [device.begins("up", device.name, 2) for device in devices]
    served.classic()
    for device, waits in zip(devices, waiting, strict=True):
        waits.wait_for_publish(10)
        assert waits.is_published() and not device.ended
    assert sorted(got(served, *(device.name for device in devices))) == [
        f"got {device.name} up 2 {device.name.encode().hex()}" for device in devices]
    [redis] = served.servers
    redis("FLUSHALL")
    for device in devices:
        until(lambda device=device: device.ended, f"{device.name} is told")
    assert devices[1].ended == [0x8B]               # "server shutting down"
    again = comes("stayer4")
    again.publishes("all", b"here")
    again.hears(("down/all", b"here", 0, False))


def test_the_group_mqtt_reaches_all_that_have_subscribed(served, comes):
    """Of both versions, and on both servers; from a process that is no worker."""
    here = served.mqtt
    served.broker(form="asgi_redis", listen=False)
    there, served.mqtt = served.mqtt, here
    devices = [comes(f"reader{version}", version, user=("patterns", "pw")) for version in VERSIONS]
    devices.append(Device(there, "far", MQTTv5, user=("patterns", "pw")))
    for device in devices:
        assert device.subscribes("news/#", 2) == 2
    message = {"type": "mqtt.send", "topic": "news/kept", "payload": BINARY, "qos": 2, "retain": True}
    sends = served.start("sender", [interpreter("classic"), "manage.py", "shell", "-c",
                         f"from channels import Group; Group('mqtt').send({message!r})"], site="classic", PYTHONPATH="")
    assert sends.process.wait(60) == 0, sends.text
    for device in devices:
        device.hears(("news/kept", BINARY, 2, False))
    late = comes("late", MQTTv311, user=("patterns", "pw"))
    late.subscribes("news/kept", 1)
    late.hears(("news/kept", BINARY, 1, True))
    devices[-1].leaves()

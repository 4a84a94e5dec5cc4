"""Several interface servers on one Redis: devices go from one to the other, servers stop and are killed."""
import json
import signal
import subprocess
import sys

import pytest
from paho.mqtt.client import MQTTv311

from tests.sockets.device import VERSIONS, devices
from tests.sockets.processes import free_port, until
from tests.workers.conftest import ROOT

pytestmark = pytest.mark.slow
LEASE = 1.0


PUBLISHER = """
import json, sys
from interfaces.worker.mqtt import publish
for line in sys.stdin:
    publish("down/x", **json.loads(line, object_hook=lambda found: found | {"payload": found["payload"].encode()}))
    print("published", flush=True)
"""


@pytest.fixture(scope="module")
def django(shared):
    """A worker, and a process of Django's beside it that publishes what it is told to."""
    shared.modern("devices", "ours", ("mqtt.connect",))
    publisher = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-v0", "-c", PUBLISHER], cwd=ROOT / "tests/workers/sites/modern", text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=shared.environment | {"SITE_BACKEND": "interfaces.worker.layers.RedisChannelLayer", "SITE_APP": "devices"})
    shared.publisher = publisher
    with publisher:
        yield shared
        publisher.stdin.close()


@pytest.fixture
def house(django):
    """`house.serves()`: a port where devices are served, and who does. Nothing is left of the servers before."""
    [redis] = django.servers
    redis("FLUSHALL")

    def serves(port=None):
        django.mqtt = port or free_port()
        server = django.twistd("--mqtt", f"tcp:{django.mqtt}:interface=127.0.0.1", f"--mqtt-server-lease={LEASE}", listen=False)
        until(lambda: django.open(django.mqtt), "the port for devices is open")
        return django.mqtt, server
    django.serves = serves
    with django.visit():
        yield django


@pytest.fixture
def comes(house):
    with devices(keeps=True) as to:
        yield to


def published(house, *payloads, qos=1, **more):
    """By Django, from a process of its own."""
    for each in payloads:
        house.publisher.stdin.write(json.dumps({"payload": str(each), "qos": qos, **more}) + "\n")
        house.publisher.stdin.flush()
        assert house.publisher.stdout.readline() == "published\n"


def subscribes(device, topic_filter, qos=1):
    assert device.subscribes(topic_filter, qos) == qos


def numbers(*payloads, qos=1):
    return [("down/x", b"%d" % each, qos, False) for each in payloads]


def test_devices_come_back_to_another_server(house, comes):
    (here, first), (there, second) = house.serves(), house.serves()
    devices = [comes(here, f"lamp{version}", version) for version in VERSIONS]
    for device in devices:
        subscribes(device, "down/#")
    published(house, 1)
    for device in devices:
        device.hears(*numbers(1))
    again = [comes(there, device.name, device.client.protocol) for device in devices]
    for old, new in zip(devices, again, strict=True):
        assert new.present and not new.ended
        until(lambda old=old: old.ended, "the old connection is ended")
    assert devices[1].ended == [0x8E]
    published(house, 2)
    for device in again:
        device.hears(*numbers(2))
        device.leaves()
    published(house, 3, 4)
    for device in devices:
        back = comes(here, device.name, device.client.protocol)
        assert back.present
        back.hears(*numbers(3, 4))
    for server in (first, second):
        assert "Traceback" not in server.text


@pytest.mark.parametrize("qos", [1, 2])
def test_a_server_is_killed_and_its_devices_miss_nothing(house, comes, qos):
    def numbered(*payloads):
        return numbers(*payloads, qos=qos)

    (here, first), (there, second) = house.serves(), house.serves()
    device, sleeper = comes(here, "lamp"), comes(here, "sleeper", MQTTv311)
    mourner = comes(there, "mourner")
    subscribes(mourner, "between/will")
    poor = comes(here, "poor", will=("between/will", "gone", 1))
    for each in (device, sleeper):
        subscribes(each, "down/#", qos)
    sleeper.leaves()
    published(house, 1, 2, qos=qos)
    device.hears(*numbered(1, 2))
    first.ends(signal.SIGKILL)
    until(lambda: device.ended and poor.ended, "they see it")
    published(house, 3, 4, qos=qos)
    device = comes(there, "lamp")
    assert device.present
    until(lambda: set(numbered(3, 4)) <= set(device.heard), "what nobody was there for", 20)
    published(house, 5, qos=qos)
    until(lambda: numbered(5)[0] in device.heard, "it goes on")
    assert sorted(device.heard) == numbered(3, 4, 5), "and nothing comes twice"
    back = comes(there, "sleeper", MQTTv311)
    assert back.present
    back.hears(*numbered(1, 2, 3, 4, 5))
    mourner.hears(("between/will", b"gone", 1, False))
    assert "Traceback" not in second.text


def test_the_only_server_starts_again(house, comes):
    here, server = house.serves()
    device = comes(here, "lamp")
    subscribes(device, "down/#")
    published(house, 1, retain=True)
    device.hears(*numbers(1))
    for number in (signal.SIGTERM, signal.SIGKILL):
        server.ends(number)
        until(lambda gone=device: gone.ended, "it sees it")
        published(house, 2)
        _, server = house.serves(here)
        device = comes(here, "lamp")
        assert device.present
        device.hears(*numbers(2), seconds=20)
        late = comes(here, "late", keeps=False)
        subscribes(late, "down/#")
        late.hears(("down/x", b"1", 1, True))
        late.leaves()
        assert "Traceback" not in server.text

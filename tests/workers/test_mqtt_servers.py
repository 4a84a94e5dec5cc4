"""Several interface servers on one Redis: devices go from one to the other, servers stop and are killed."""
import contextlib
import signal
import sys

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from tests.sockets.device import VERSIONS, Device
from tests.sockets.processes import free_port, until

pytestmark = pytest.mark.slow
LEASE = 1.0


@pytest.fixture
def house(site):
    """A worker, and `house.serves()`: a port where devices are served, and who does."""
    site.modern("devices", "ours", ("mqtt.connect",))

    def serves(port=None):
        site.mqtt = port or free_port()
        server = site.twistd("--mqtt", f"tcp:{site.mqtt}:interface=127.0.0.1", f"--mqtt-server-lease={LEASE}", listen=False)
        until(lambda: site.open(site.mqtt), "the port for devices is open")
        return site.mqtt, server
    site.serves = serves
    return site


@pytest.fixture
def comes():
    with contextlib.ExitStack() as devices:
        def to(port, name, version=MQTTv5, **more):
            device = Device(port, name, version, **{"keeps": True, **more})
            devices.callback(device.leaves)
            return device
        yield to


def published(house, *payloads, **more):
    """By Django, from a process of its own."""
    call = f"[publish('down/x', b'%d' % each, qos=1, **{more!r}) for each in {payloads!r}]"
    house.run(sys.executable, "manage.py", "shell", "-v0", "-c", f"from interfaces.worker.mqtt import publish; {call}",
              SITE_BACKEND="interfaces.worker.layers.RedisChannelLayer", SITE_APP="devices")


def subscribes(device, topic_filter):
    assert device.subscribes(topic_filter) == 1


def numbers(*payloads):
    return [("down/x", b"%d" % each, 1, False) for each in payloads]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_device_comes_back_to_another_server(house, comes, version):
    (here, first), (there, second) = house.serves(), house.serves()
    device = comes(here, "lamp", version)
    subscribes(device, "down/#")
    published(house, 1)
    device.hears(*numbers(1))
    again = comes(there, "lamp", version)
    assert again.present and not again.ended
    until(lambda: device.ended, "the old connection is ended")
    assert device.ended == [0x8E] or version == MQTTv311
    published(house, 2)
    again.hears(*numbers(2))
    again.leaves()
    published(house, 3, 4)
    back = comes(here, "lamp", version)
    assert back.present
    back.hears(*numbers(3, 4))
    for server in (first, second):
        assert "Traceback" not in server.text


def test_a_server_is_killed_and_its_devices_miss_nothing(house, comes):
    (here, first), (there, second) = house.serves(), house.serves()
    device, sleeper = comes(here, "lamp"), comes(here, "sleeper", MQTTv311)
    mourner = comes(there, "mourner")
    subscribes(mourner, "between/will")
    poor = comes(here, "poor", will=("between/will", "gone", 1))
    for each in (device, sleeper):
        subscribes(each, "down/#")
    sleeper.leaves()
    published(house, 1, 2)
    device.hears(*numbers(1, 2))
    first.ends(signal.SIGKILL)
    until(lambda: device.ended and poor.ended, "they see it")
    published(house, 3, 4)
    device = comes(there, "lamp")
    assert device.present
    until(lambda: set(numbers(3, 4)) <= set(device.heard), "what nobody was there for", 20)
    published(house, 5)
    until(lambda: ("down/x", b"5", 1, False) in device.heard, "it goes on")
    assert sorted(device.heard) == numbers(3, 4, 5), "and nothing comes twice"
    back = comes(there, "sleeper", MQTTv311)
    assert back.present
    back.hears(*numbers(1, 2, 3, 4, 5))
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

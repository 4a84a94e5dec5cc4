"""Devices of another hand (paho's, Mosquitto's), a real twistd as their broker, Django behind a stock runworker."""
import contextlib
import shutil
import signal
import socket
import subprocess

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from tests.sockets.device import VERSIONS, Device, Talker, devices
from tests.sockets.processes import House, until
from tests.sockets.test_twistd import certify

BAD_CREDENTIALS, NOT_AUTHORIZED, FAILED = 0x86, 0x87, 0x80       # MQTT 5.0, 2.4; paho says 3.1.1's 4 as the first


def served(folder) -> House:
    house = House(folder)
    house.gate = folder / "gate"
    house.environment["SITE_GATE"] = str(house.gate)
    house.server = house.broker()
    house.first = house.devices(house.server)
    return house


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """One server, one worker, one user."""
    house = served(tmp_path_factory.mktemp("mqtt"))
    house.manage("migrate", "-v0")
    house.manage("shell", "-v0", "-c", "from django.contrib.auth.models import User; User.objects.create_user('ann', '', 'pw')")
    yield house
    house.close()
    for program in house.programs:
        assert "Unhandled" not in program.text


@pytest.fixture
def comes(front):
    """`comes("lamp")`: a device, gone at the end of the test."""
    with devices(front.mqtt) as to:
        yield to


@pytest.fixture
def mosquitto(front):
    """`mosquitto("sub", "-t", "down/#")`: arguments for a client of Mosquitto's."""
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto's clients are not installed (make ci-deps)")
    return lambda which, *arguments: [f"mosquitto_{which}", "-h", "127.0.0.1", "-p", str(front.mqtt), *arguments]


def noted(house, line):
    until(lambda: line in house.noted, f"{line!r} is noted, in {house.folder}")


@pytest.mark.parametrize("version", VERSIONS)
def test_django_lets_a_device_in_or_not(comes, version):
    assert comes("lamp", version, user=("ann", "pw")).answer == 0
    assert comes("thief", version, user=("ann", "guess")).answer == BAD_CREDENTIALS
    assert comes("nobody", version, user=(None, None)).answer == NOT_AUTHORIZED


@pytest.mark.parametrize(("version", "refused"), [(MQTTv311, b"\x20\x02\0\4"), (MQTTv5, b"\x20\x03\0\x86\0")])
def test_the_code_of_a_refusal_is_that_of_the_version(front, version, refused):
    rest = bytes((4 if version == MQTTv311 else 5, 0xC2, 0, 60)) + b"\0" * (version == MQTTv5)
    fields = b"\0\4MQTT" + rest + b"\0\5thief" + b"\0\3bob" + b"\0\5guess"
    with socket.create_connection(("127.0.0.1", front.mqtt), 10) as device:
        device.sendall(bytes((0x10, len(fields))) + fields)
        assert device.makefile("rb").read() == refused, "and the end"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_a_device_publishes_reaches_its_consumer(front, comes, version, qos):
    name = f"sensor{version}{qos}"
    device = comes(name, version)
    device.publishes("up/temperature", "21.5", qos)
    if qos:
        assert f"got {name} up/temperature {qos} 0 21.5" in front.noted, "before the acknowledgement"
    noted(front, f"got {name} up/temperature {qos} 0 21.5")
    device.leaves()
    noted(front, f"left {name} 0x00 True")
    assert sum(f" {name} up/" in line for line in front.noted) == 1


@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquitto_publishes_too(front, mosquitto, version):
    for qos in "012":
        subprocess.run(mosquitto("pub", "-V", version, "-i", f"m{version}", "-u", "bob", "-P", "pw", "-q", qos, "-t", "up/m",
                                 "-m", qos), check=True, timeout=20)
        noted(front, f"got m{version} up/m {qos} 0 {qos}")
    refused = subprocess.run(mosquitto("pub", "-V", version, "-u", "bob", "-P", "guess", "-t", "up/m", "-m", "no"), timeout=20,
                             capture_output=True, text=True)
    assert refused.returncode and "bad user name or password" in refused.stderr.lower()


@pytest.mark.parametrize("qos", [1, 2])
def test_the_acknowledgement_waits_for_the_consumer(front, comes, qos):
    front.gate.unlink(missing_ok=True)
    device = comes("patient")
    waits = device.begins("up/held", f"{qos}", qos)
    noted(front, f"held {qos}")
    assert device.subscribes("down/x") == 1
    assert not waits.is_published(), "the consumer is still busy"
    front.gate.touch()
    waits.wait_for_publish(10)
    assert waits.is_published()


def test_what_is_acknowledged_is_committed_and_what_fails_is_not(front, comes):
    codes = []
    device = comes("writer")
    device.client.on_publish = lambda client, userdata, mid, code, properties: codes.append(code.value)
    device.publishes("up/group", "kept")
    device.publishes("up/fail", "x")
    until(lambda: len(codes) == 2, "both are answered")
    assert codes == [0, FAILED]
    names = front.manage("shell", "-v0", "-c", "from django.contrib.auth.models import Group; "
                         "print([*Group.objects.values_list('name', flat=True)])")
    assert names == "['kept']\n"
    older = comes("older", MQTTv311)
    older.begins("up/fail", "x")
    until(lambda: older.ended, "3.1.1 has no word for it: the connection ends")
    device.publishes("up/after", "x")


@pytest.mark.parametrize("version", VERSIONS)
def test_devices_hear_one_another(comes, version):
    one, other = comes("one"), comes("other", version)
    assert other.subscribes("between/#", 2) == 2
    assert other.subscribes("secret/#") >= 0x80
    for qos in (0, 1, 2):
        one.publishes("between/a", f"{qos}", qos)
    one.publishes("secret/a", "x")
    one.publishes("between/b", "last")
    other.hears(*[("between/a", b"%d" % qos, qos, False) for qos in (0, 1, 2)], ("between/b", b"last", 1, False))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retained_message_waits_for_who_comes_late(comes, version):
    comes("early").publishes("between/kept", "still here", retain=True)
    late = comes("late", version)
    late.subscribes("between/kept")
    late.hears(("between/kept", b"still here", 1, True))
    late.publishes("between/kept", "", retain=True)
    late.hears(("between/kept", b"", 1, False))
    later = comes("later", version)
    later.subscribes("between/+")
    later.publishes("between/now", "x")
    later.hears(("between/now", b"x", 1, False))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_will_is_published_for_one_that_vanishes_only(front, comes, version):
    heir = comes("heir")
    heir.subscribes("between/will/#")
    comes("polite", version, will=("between/will/polite", "x", 1)).leaves()
    noted(front, "left polite 0x00 True")
    name = f"poor{version}"
    comes(name, version, will=("between/will/poor", "gone", 1)).vanishes()
    heir.hears(("between/will/poor", b"gone", 1, False))
    noted(front, f"left {name} 0x80 False")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_outlives_its_connection(comes, version):
    name = f"sleeper{version}"
    sleeper = comes(name, version, keeps=True)
    assert not sleeper.present
    sleeper.subscribes("between/mail")
    sleeper.leaves()
    sender = comes("sender")
    for number in range(3):
        sender.publishes("between/mail", f"{number}")
    back = comes(name, version, keeps=True)
    assert back.present
    back.hears(*[("between/mail", b"%d" % number, 1, False) for number in range(3)])
    back.leaves()
    assert not comes(name, version).present, "a clean start"


def test_a_second_connection_of_the_same_device_takes_over(comes):
    old = comes("twice")
    new = comes("twice")
    until(lambda: old.ended, "the old one is told to go")
    assert old.ended == [0x8E] and not new.ended        # "session taken over"


def test_django_publishes_from_another_process(front, comes, mosquitto):
    devices = [comes(f"lamp{version}", version) for version in VERSIONS]
    for device in devices:
        device.subscribes("down/all", 2)
    wants = ("-t", "down/+", "-q", "1", "-C", "1", "-F", "%t=%p content=%C")
    listener = front.start("sub", ["stdbuf", "-oL"] + mosquitto("sub", "-d", "-V", "5", "-u", "bob", "-P", "pw", *wants))
    listener.says(r"Subscribed \(mid: 1\)")
    front.manage("shell", "-v0", "-c", "from interfaces.worker.mqtt import publish; "
                 "publish('down/all', b'on', qos=1, content_type='text/plain')")
    for device in devices:
        device.hears(("down/all", b"on", 1, False))
    listener.says("down/all=on content=text/plain")
    assert listener.process.wait(10) == 0


@pytest.mark.parametrize("garbage", [b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x16\3\1\2\0\1"],
                         ids=["zeros", "http", "length", "tls"])
def test_garbage_ends_its_connection_and_nothing_else(front, comes, garbage):
    device, before = comes("calm"), len(front.server.text.splitlines())
    with socket.create_connection(("127.0.0.1", front.mqtt), 10) as peer:
        port = peer.getsockname()[1]
        peer.sendall(garbage)
        assert peer.makefile("rb").read() == b""        # before CONNECT there is nobody to answer [MQTT-3.1.0-1]
    device.publishes("up/after", "x")
    lines = front.server.text.splitlines()[before:]
    assert len([line for line in lines if f"127.0.0.1:{port}: 0x8" in line]) == 1 and "Traceback" not in "".join(lines)


def test_a_server_that_starts_again_on_the_local_layer_remembers_no_session(house):
    server = house.broker()
    house.devices(server)
    for version in VERSIONS:
        Device(house.mqtt, f"lamp{version}", version, keeps=True).leaves()
    server.ends()
    house.broker()
    for version in VERSIONS:
        device = Device(house.mqtt, f"lamp{version}", version, keeps=True)
        assert device.answer == 0 and not device.present
        device.leaves()


@pytest.mark.parametrize("hosted", [False, True], ids=["worker", "in the server"])
def test_the_server_is_told_to_stop(house, hosted):
    server = house.broker(*["--app", "site_asgi:devices"] * hosted)
    if not hosted:
        house.devices(server)
    devices = [Device(house.mqtt, f"lamp{version}", version) for version in VERSIONS]
    for device in devices:
        device.publishes("up/once", "x")
    assert server.ends() in (0, -signal.SIGTERM)
    until(lambda: all(device.ended for device in devices), "the devices are told")
    assert devices[1].ended == [0x8B]                   # "server shutting down"
    for device in devices:
        assert f"got {device.name} up/once 1 0 x" in house.noted
        noted(house, f"left {device.name} 0x8b False")
        device.leaves()


def test_over_tls(house):
    certify(house.folder / "pem", house.folder / "crt")
    house.devices(house.broker(endpoint=f"ssl:{{}}:privateKey={house.folder}/pem:certKey={house.folder}/crt"))
    device = Device(house.mqtt, "safe", tls=house.folder / "crt")
    device.publishes("up/secret", "x" * 1_000_000)
    noted(house, "got safe up/secret 1 0 " + "x" * 1_000_000)
    device.leaves()


def test_workers_are_replaced_and_killed_and_no_message_is_lost(tmp_path):
    with contextlib.closing(served(tmp_path)) as house:
        kinds = {"old": (MQTTv311, 1), "new": (MQTTv5, 1), "twice": (MQTTv5, 2)}
        talkers = [Talker(house.mqtt, name, *kind) for name, kind in kinds.items()]

        def all_go_on():
            for talker in talkers:
                talker.goes_on()
        all_go_on()
        second = house.devices(house.server)
        assert house.first.ends() == 0
        all_go_on()
        assert not [line for line in house.noted if line.split()[4] == "1"], "nothing is given twice in a deploy"
        house.devices(house.server)
        assert second.ends(signal.SIGKILL) == -signal.SIGKILL
        all_go_on()
        for talker in talkers:
            talker.falls_silent()
            assert not talker.ended, "it has noticed nothing"
            talker.was_heard(house.noted)
            talker.leaves()

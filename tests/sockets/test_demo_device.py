"""The kettle of `make demo`: seen and switched by visitors, while others try the README's lines."""
import contextlib
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTv5

from tests.sockets import chromium as browsers
from tests.sockets.demos import ROOT, Page, Visitor, demos
from tests.sockets.device import Device

pytestmark = pytest.mark.slow
BAD_CREDENTIALS, NOT_AUTHORIZED, PAYLOAD_FORMAT_INVALID = 0x86, 0x87, 0x99        # MQTT 5.0, 2.4
KETTLE = "[data-name=kettle]"


@pytest.fixture(scope="module")
def demo():
    with demos() as start:
        demo = start(keys=True)
        demo.is_ready()
        yield demo


@pytest.fixture
def ann(demo):
    ann = Visitor(demo, "ann")
    yield ann
    ann.leaves()


def says_how_warm_it_is(visitor) -> float:
    """What the visitor hears of it next."""
    visitor.devices.clear()
    visitor.hears_until(lambda: visitor.devices.get("kettle", {}).get("temperature") is not None)    # its switch may be first
    return visitor.devices["kettle"]["temperature"]


def switches(visitor, to: str):
    visitor.tells({"switch": "kettle", "to": to})
    visitor.hears_until(lambda: visitor.devices["kettle"]["power"] == to)


def sockets(pid: int) -> set[str]:
    files = [path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {name for name in files if name.startswith("socket:")}


def test_it_is_seen_live_and_switched_whatever_becomes_of_the_worker(demo, ann):
    eve = Page(demo)
    eve.opens()
    cold = says_how_warm_it_is(ann)
    assert 19 < cold < 21
    ann.hears_until(lambda: ann.devices["kettle"]["power"] == "off")
    switches(ann, "on")
    ann.hears_until(lambda: ann.devices["kettle"]["temperature"] > cold + 5)
    eve.polls_until(lambda said: any((device["temperature"] or 0) > 25 for device in said.get("devices", ())))

    connected, workers = sockets(demo.children()["device.py"]), ann.workers
    for key, to in (("k", "off"), ("r", "on")):
        seen = len(workers)
        demo.press(key)
        ann.hears_until(lambda seen=seen: len(workers) > seen)
        demo.says()
        switches(ann, to)
        assert says_how_warm_it_is(ann) > cold
    assert sockets(demo.children()["device.py"]) == connected != set()


def test_the_lines_in_the_readme_work(demo, ann):
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto's clients are not installed (make ci-deps)")
    lines = dict(re.findall(r"^\$ mosquitto_(sub|pub) (.*)$", (ROOT / "README.md").read_text(), re.M))
    sub, pub = ([f"mosquitto_{name}", "-p", str(demo.mqtt), *shlex.split(lines[name], comments=True)]
                for name in ("sub", "pub"))
    topic, payload = pub[pub.index("-t") + 1], pub[pub.index("-m") + 1]
    with subprocess.Popen(sub, stdout=subprocess.PIPE, text=True) as hears:
        try:
            said = hears.stdout
            assert re.fullmatch(r"devices/kettle/\w+ \S+\n", said.readline())       # retained, so there at once
            subprocess.run(pub, check=True, timeout=10)
            assert any(line == f"{topic} {payload}\n" for line in said)
            ann.hears_until(lambda: ann.devices.get(topic.split("/")[1], {}).get("temperature") == float(payload))
            switches(ann, "on")
            assert any(line == "devices/kettle/set on\n" for line in said)
        finally:
            hears.terminate()


def test_each_device_speaks_for_itself_and_sense(demo, ann):
    def acknowledged(topic, payload):
        """The reason code of its PUBACK."""
        codes = []
        stove.client.on_publish = lambda client, userdata, mid, code, properties: codes.append(code.value)
        stove.publishes(topic, payload)
        return codes

    def refused(name, token):
        device = Device(demo.mqtt, name, MQTTv5, (name, token))
        device.leaves()
        return device.answer
    for name, token in (("stove", "guessed"), ("stove", ""), ("no/slug", "demo"), ("x" * 41, "demo")):
        assert refused(name, token) == BAD_CREDENTIALS, name
    stove = Device(demo.mqtt, "any client id", MQTTv5, ("stove", "demo"))
    for nonsense in ("", "warm", "nan", "inf", "-274", "1e5", b"\xff", "9" * 5000):
        assert acknowledged("devices/stove/temperature", nonsense) == [PAYLOAD_FORMAT_INVALID], nonsense
    assert acknowledged("devices/stove/power", "perhaps") == [PAYLOAD_FORMAT_INVALID]
    for topic in ("devices/kettle/temperature", "devices/kettle/set", "devices/stove/set", "stove"):
        assert acknowledged(topic, "1") == [NOT_AUTHORIZED], topic
    assert stove.subscribes("#") == NOT_AUTHORIZED
    assert acknowledged("devices/stove/temperature", "180") == acknowledged("devices/stove/power", "on") == [0]
    stove.leaves()
    ann.hears_until(lambda: ann.devices.get("stove") == {"name": "stove", "temperature": 180, "power": "on"})


def test_a_browser_has_a_button_for_it(demo, tmp_path):
    if browsers.find() is None:
        pytest.skip("Chromium is not installed (make ci-deps)")
    chromium = browsers.Chromium(tmp_path)
    try:
        tab = chromium.visits(demo.url)
        tab.until(f"document.querySelector('{KETTLE} button')?.value")
        to = tab.value(f"document.querySelector('{KETTLE} button').value")
        tab.value(f"document.querySelector('{KETTLE} button').click()")
        other = {"on": "off", "off": "on"}[to]
        tab.until(f"document.querySelector('{KETTLE} button').innerText === 'Switch {other}'")
        reading = tab.value(f"document.querySelector('{KETTLE} span').innerText")
        assert re.fullmatch(r"\d+\.\d °C", reading)
        tab.until(f"document.querySelector('{KETTLE} span').innerText !== '{reading}'")
    finally:
        chromium.close()


def test_where_1883_is_taken_it_says_which_port_it_has():
    with demos() as start:
        try:
            taken = socket.create_server(("127.0.0.1", 1883))
        except OSError:         # by somebody else
            taken = contextlib.nullcontext()
        with taken:
            demo = start(mqtt=0)
            demo.is_ready()
            assert demo.mqtt != 1883
            stove = Device(demo.mqtt, "any", MQTTv5, ("stove", "demo"))
            stove.leaves()
            assert stove.answer == 0

"""Pages of another hand (paho's, over WebSocket) on the port of HTTP of a real twistd, Django behind a stock runworker."""
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from tests.sockets.device import VERSIONS, Device
from tests.sockets.processes import House, free_port, until


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with closing(House(tmp_path_factory.mktemp("pages"))) as house:
        yield house
    assert not any("Unhandled" in program.text for program in house.programs)


@pytest.fixture(scope="module")
def front(house):
    """MQTT on the port of HTTP alone."""
    house.devices(house.twistd("--mqtt-ws-path", "/mqtt", "--http-timeout", "1"))
    return house


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_page_is_a_device_like_any_other(front, version, qos):
    name = f"page{version}{qos}"
    page, other = (Device(front.port, each, version, transport="websockets") for each in (name, f"other{version}{qos}"))
    assert page.answer == other.answer == 0
    assert other.subscribes(f"between/{name}", qos) == qos
    large = "x" * 300_000
    page.publishes("up/page", large, qos)
    page.publishes(f"between/{name}", "hello", qos)
    other.hears((f"between/{name}", b"hello", qos, False))
    until(lambda: f"got {name} up/page {qos} 0 {large}" in front.noted, "its consumer has it")
    page.leaves()
    until(lambda: f"left {name} 0x00 True" in front.noted, "it has said goodbye")
    other.leaves()


def test_the_port_still_speaks_http(front):
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{front.url}/mqtt", timeout=20)
    assert answer.value.code == 504, "nobody works for HTTP here"


def test_pages_and_devices_meet(tmp_path):
    with closing(House(tmp_path)) as house:
        port = free_port()
        house.devices(house.twistd("--mqtt", f"tcp:{port}:interface=127.0.0.1", "--mqtt-ws-path", "/mqtt"))
        page, lamp = Device(house.port, "page", transport="websockets"), Device(port, "lamp")
        lamp.subscribes("between/lamp")
        page.subscribes("between/page")
        page.publishes("between/lamp", "on")
        lamp.hears(("between/lamp", b"on", 1, False))
        lamp.publishes("between/page", "done")
        page.hears(("between/page", b"done", 1, False))
        for device in (page, lamp):
            device.leaves()

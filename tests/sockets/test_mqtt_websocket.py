"""Pages of another hand (paho's, over WebSocket) on the port of HTTP of a real twistd, Django behind a stock runworker."""
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from tests.sockets.device import VERSIONS, Device
from tests.sockets.processes import House, free_port, until
from tests.sockets.test_twistd import certify


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with closing(House(tmp_path_factory.mktemp("pages"))) as house:
        yield house
    assert not any("Unhandled" in program.text for program in house.programs)


@pytest.fixture(scope="module")
def front(house):
    """MQTT on the port of HTTP alone, and on that of HTTPS."""
    house.tls = free_port()
    certify(house.folder / "pem", house.folder / "crt")
    house.devices(house.twistd(
        "--mqtt-ws-path", "/mqtt", "--http-timeout", "1",
        "--http", f"ssl:{house.tls}:privateKey={house.folder}/pem:certKey={house.folder}/crt:interface=127.0.0.1"))
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


def test_a_page_that_came_by_https(front):
    page = Device(front.tls, "safe", transport="websockets", tls=front.folder / "crt")
    lamp = Device(front.port, "lamp", transport="websockets")
    for one, other in ((page, lamp), (lamp, page)):
        assert one.subscribes(f"between/{one.name}", 2) == 2
        other.publishes(f"between/{one.name}", "x" * 100_000, 2)
        one.hears((f"between/{one.name}", b"x" * 100_000, 2, False))
    page.leaves()
    lamp.leaves()


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

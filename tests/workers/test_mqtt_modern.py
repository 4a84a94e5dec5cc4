"""Devices on a real Redis: plain consumers of Channels 4, on our layer and on channels_redis."""
import signal

import pytest

from tests.sockets.device import VERSIONS, Talker, devices
from tests.sockets.processes import until

pytestmark = pytest.mark.slow
CHANNELS = ("mqtt.connect", "mqtt.receive", "mqtt.subscribe", "mqtt.unsubscribe", "mqtt.disconnect")
BINARY = bytes(range(256))


@pytest.fixture(scope="module")
def served(shared):
    # With the usual 10 s a lost worker is missed only after the decision's time-out, which ends what waits for it.
    shared.server = shared.broker("--owner-ping", "0.5")
    return shared


@pytest.fixture
def comes(front):
    """`comes("lamp")`: a device, gone at the end of the test."""
    with devices(front.mqtt) as to:
        yield to


@pytest.mark.parametrize("environment", ["stock", "ours"])
def test_a_plain_consumer_of_each_channel(front, comes, environment):
    front.modern("plain_devices", environment, CHANNELS)
    devices = [comes(f"lamp{version}", version) for version in VERSIONS]
    assert [comes("thief", version, user=("bob", "guess")).answer for version in VERSIONS] == [0x86, 0x86]
    for device in devices:
        assert device.subscribes("between/#") == 1 and device.subscribes("secret/#") >= 0x80
    one, other = devices
    for qos in (1, 2):
        one.publishes("up", f"{qos}", qos)
        assert f"got up {qos} 0 {qos}" in front.noted
    one.hears(("down", b"you said 1", 0, False), ("down", b"you said 2", 0, False))
    one.publishes("between/us", "hello")
    one.hears(("down", b"you said hello", 0, False), ("between/us", b"hello", 1, False))
    other.hears(("between/us", b"hello", 1, False))
    codes = []
    other.client.on_publish = lambda client, userdata, mid, code, properties: codes.append(code.value)
    other.publishes("refused", "x")
    until(lambda: codes == [0x87], "it is told that it may not")
    other.hears(("down", b"you said x", 0, False))
    one.publishes("all", "of you", 0)
    for device in devices:
        device.hears(("down", b"of you", 0, False))
    for qos in (1, 2):
        one.publishes("everywhere", BINARY, qos)
    for device in devices:
        device.hears(*[("between/all", BINARY, 1, False)] * 2)      # the QoS that it was granted
    late = comes("late", one.client.protocol)
    late.subscribes("between/all", 2)
    late.hears(("between/all", BINARY, 2, True))
    late.client.unsubscribe("between/all")
    until(lambda: "not between/all" in front.noted, "it is told")
    one.publishes("everywhere", b"")                                # nothing is retained any more
    for device in devices:
        device.hears(("between/all", b"", 1, False))
    late.leaves()
    one.leaves()
    other.vanishes()
    ends = ("left 0x00 True", "left 0x80 False")
    until(lambda: [front.noted.count(end) for end in ends] == [2, 1], "all ends are heard of")
    [redis] = front.servers
    until(lambda: redis("ZCARD", "asgi:group:devices") == 0, "the group is empty")
    assert "Traceback" not in front.server.text


def test_plain_consumers_come_and_go_behind_their_devices(front, comes):
    """Nobody owns them: what is published meanwhile waits in the channel, and is acknowledged later."""
    worker = front.modern("plain_devices", "ours", CHANNELS)
    device = comes("lamp")
    device.publishes("up", "with a worker")
    assert worker.ends() == 0
    waits = device.begins("up", "without")
    front.modern("plain_devices", "ours", CHANNELS)
    waits.wait_for_publish(10)
    assert waits.is_published() and not device.ended
    assert front.noted == ["got up 1 0 with a worker", "got up 1 0 without"]
    device.leaves()
    until(lambda: front.noted[2:] == ["left 0x00 True"], "its end is heard of")


def test_no_message_is_lost_when_a_worker_ends_or_is_killed(front, comes):
    first = front.modern("devices", "ours", CHANNELS[:1])
    talkers = [Talker(front.mqtt, f"talker{version}{qos}", version, qos) for version in VERSIONS for qos in (1, 2)]

    def all_go_on():
        for talker in talkers:
            talker.goes_on()
    all_go_on()
    second = front.modern("devices", "ours", CHANNELS[:1])
    assert first.ends() == 0
    all_go_on()
    assert not [line for line in front.noted if line.split()[4] == "1"], "nothing is given twice in a deploy"
    front.modern("devices", "ours", CHANNELS[:1])
    assert second.ends(signal.SIGKILL) == -signal.SIGKILL
    all_go_on()
    for talker in talkers:
        talker.falls_silent()
        assert not talker.ended, "it has noticed nothing"
        talker.was_heard(front.noted)
        talker.leaves()

import pytest

from interfaces.laws import traces
from tests.mqtt.devices import World


@pytest.fixture
def world():
    """What a test leaves behind is gone when all have left: no timer, no address, no membership, no fault of the server's."""
    worlds = []

    def make(**options):
        worlds.append(World(**options))
        return worlds[-1]
    yield make
    for each in worlds:
        for device in each.devices:
            device.leaves()
        each.waits(700)
        assert not traces(each) and not each.log.faults, each.log.faults
        assert not any(device.transport.late for device in each.devices)

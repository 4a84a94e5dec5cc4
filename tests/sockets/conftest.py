import shutil

import pytest

from tests.sockets.processes import House, until


@pytest.fixture
def house(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (make ci-deps)")
    house = House(tmp_path)
    yield house
    house.close()


@pytest.fixture
def served(house):
    """A server and one Wsgi worker."""
    house.server = house.twistd()
    house.first = house.worker(server=house.server)
    return house


@pytest.fixture(scope="session")
def patience():
    return until

"""A house for a test of its own, and one server for a whole module: a twistd costs 0.6 s of CPU, a stock runworker 1 s."""
import contextlib
import shutil
import signal

import pytest

from tests.sockets import chromium as browsers
from tests.sockets.processes import House, until


def furnished(folder):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (make ci-deps)")
    return contextlib.closing(House(folder))


@pytest.fixture
def house(tmp_path):
    with furnished(tmp_path) as house:
        yield house


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A server for the tests of a module, each of which has workers of its own: by `unstaffed`, `served` or `front`."""
    with furnished(tmp_path_factory.mktemp("hub")) as house:
        house.server, house.stays = house.twistd(), None
        yield house


def dismiss(house, stays=None):
    """End the workers of a hub except for one; the server knows it when this returns."""
    for worker in house.programs:
        if worker not in (house.server, stays):
            if worker.process.poll() is None:
                worker.ends(signal.SIGKILL)
            until(lambda pid=worker.process.pid: house.server.text.count(f"(pid {pid}) is gone")
                  >= house.server.text.count(f"(pid {pid}) is here"), f"{worker.name} is missed")
    house.programs = [program for program in house.programs if program in (house.server, stays)]


@pytest.fixture
def unstaffed(hub):
    """The module's server, without a worker. One that the test assigns to `stays` lives on for the next test."""
    dismiss(hub)
    hub.trace.unlink(missing_ok=True)
    hub.stays = None
    yield hub
    dismiss(hub, hub.stays)


def staffed(hub, begins):
    """The module's server and one worker, `first`: the one that stayed, or who `begins()`. The test says which `stays`."""
    stays, hub.stays = hub.stays, None
    dismiss(hub, stays)
    hub.trace.unlink(missing_ok=True)
    hub.first = stays if stays and stays.process.poll() is None else begins()
    yield hub
    dismiss(hub, hub.stays)


@pytest.fixture
def served(hub):
    """With a Wsgi worker, of which the test may do what it likes."""
    yield from staffed(hub, lambda: hub.worker(server=hub.server))


@pytest.fixture
def front(served):
    """For who only asks: the worker stays."""
    served.stays = served.first
    return served


@pytest.fixture(scope="session")
def patience():
    return until


@pytest.fixture
def chromium(tmp_path):
    if browsers.find() is None:
        pytest.skip("Chromium is not installed (make ci-deps)")
    with contextlib.closing(browsers.Chromium(tmp_path)) as chromium:
        yield chromium

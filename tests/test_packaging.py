"""Every way to install this lets twistd find it, and a stranger's interface beside it."""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "MANIFEST.in",
           "interfaces", "twisted", "examples/finger")
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dropin.cache")
OURS = ("channels_interfaces", "__editable__", "interfaces", "finger")
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")

pytestmark = pytest.mark.slow


def run(*command, cwd, **environment):
    """What a command printed. Its environment knows nothing of the one that the tests run in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=kept | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the project, because building writes into it."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copy if (ROOT / name).is_file() else lambda a, b: shutil.copytree(a, b, ignore=LEFTOVERS)
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", str(folder), str(source), cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory):
    """All that is installed where the tests run, but nothing of ours."""
    folder = tmp_path_factory.mktemp("dependencies")
    for scheme in ("purelib", "platlib"):
        for found in Path(sysconfig.get_path(scheme)).iterdir():
            if not found.name.startswith(OURS) and not (folder / found.name).is_symlink():
                (folder / found.name).symlink_to(found)
    return folder


class Environment:
    """A fresh virtual environment with the dependencies and with what `install` is given."""

    def __init__(self, folder: Path, dependencies: Path):
        venv.create(folder, with_pip=False)
        self.folder, self.python = folder, str(folder / "bin" / "python")
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "dependencies.pth").write_text(f"{dependencies}\n")

    def install(self, *what):
        run(self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
            *map(str, what), cwd=self.folder)

    def twistd(self, *arguments, **environment):
        return run(self.python, *TWISTD, *arguments, cwd=self.folder, **environment)


@pytest.fixture
def fresh(tmp_path, dependencies):
    return Environment(tmp_path / "environment", dependencies)


def is_found(environment):
    assert "channels-interfaces" in environment.twistd("--help")
    options = environment.twistd("channels-interfaces", "--help")
    assert "--http=" in options and "--layer=" in options
    return options


def test_a_fresh_environment_knows_nothing_of_it(fresh):
    assert "channels-interfaces" not in fresh.twistd("--help")


def test_pip_install_of_the_folder(fresh, source):
    fresh.install(source)
    is_found(fresh)


def test_pip_install_editable(fresh, source):
    fresh.install("--editable", source)
    is_found(fresh)
    assert run(fresh.python, "-c", "import interfaces; print(*interfaces.__path__)", cwd=fresh.folder).strip() == str(
        source / "interfaces")


# Any program that reads the channel can be the worker; a Django project would have a consumer on `finger.query`.
WORKER = """
import asyncio
from interfaces.worker.layers import LocalChannelLayer

async def answer_once():
    layer = LocalChannelLayer()
    query = await layer.receive("finger.query")
    await layer.send(query["reply_channel"], {"type": "finger.answer", "text": query["user"] + " is here"})
    await layer.close()

asyncio.run(answer_once())
"""


def chooses_no_reactor(environment):
    """What twistd imports to show its options."""
    run(environment.python, "-c", "import sys, twisted.plugins.channels_interfaces as plugin\n"
        "plugin.serviceMaker.options()\n"
        "assert 'twisted.internet.reactor' not in sys.modules", cwd=environment.folder)
    environment.twistd("--reactor=poll", "channels-interfaces", "--help")


def works_in_a_daemon(environment):
    with tempfile.TemporaryDirectory() as name:         # not tmp_path: a Unix socket's has 107 bytes at most
        folder, hub = Path(name), {"CHANNELS_INTERFACES_SOCKET": f"{name}/hub.sock"}
        environment.twistd(f"--pidfile={folder / 'pid'}", f"--logfile={folder / 'log'}", "channels-interfaces",
                           f"--finger=unix:{folder / 'finger.sock'}", **hub)
        server = os.pidfd_open(pid := int((folder / "pid").read_text()))
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(folder / "finger.sock"))
                client.sendall(b"ann\r\n")
                run(environment.python, "-c", WORKER, cwd=folder, **hub)
                assert client.makefile("rb").read() == b"ann is here\r\n"
        finally:
            os.kill(pid, signal.SIGTERM)
            ended, _, _ = select.select([server], [], [], 20)
            os.close(server)
        assert ended, (folder / "log").read_text()
        assert not (folder / "pid").exists() and not (folder / "hub.sock").exists()


def test_a_wheel_and_a_strangers_interface_beside_it_that_works_in_a_daemon(fresh, wheel, source):
    fresh.install(wheel)
    assert "--finger=" not in is_found(fresh)
    chooses_no_reactor(fresh)
    fresh.install(source / "examples" / "finger")
    options = fresh.twistd("channels-interfaces", "--help")
    assert "--finger=" in options and "RFC 1288" in options and "--finger-timeout=" in options
    works_in_a_daemon(fresh)


def test_a_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/channels_interfaces.py"]
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"interfaces", "twisted", "channels_interfaces"}
    assert any(name.endswith("/LICENSE") for name in names)
    assert metadata["Name"] == "channels-interfaces" and metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {"worker", "worker-redis", "redis", "test", "dev"}
    assert "make demo" in metadata.get_payload()


SKIPS = {
    "inside": "import pytest\n\ndef test_it():\n    pytest.skip('no curl')\n",
    "module": "import pytest\n\npytest.importorskip('no_such_module')\n",
    "mark": "import pytest\n\n@pytest.mark.skip(reason='later')\ndef test_it():\n    pass\n",
    "expected": "import pytest\n\n@pytest.mark.xfail\ndef test_it():\n    assert False\n",
}


def test_where_skipping_is_forbidden_every_kind_of_skip_fails(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    for name, text in SKIPS.items():
        (tmp_path / f"test_{name}.py").write_text(text)

    def summary(no_skip):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."],
            cwd=tmp_path, env=os.environ | {"CHANNELS_INTERFACES_NO_SKIP": no_skip, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0]
    assert summary("") == (0, "3 skipped, 1 xfailed")
    assert summary("1") == (1, "1 failed, 1 xfailed, 2 errors")

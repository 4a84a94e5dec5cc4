"""Stock workers of both eras, in environments of their own, on a real Redis."""
import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis_server import NoRedis, RedisServer

from tests.sockets.processes import House, Program, free_port
from tests.workers.environments import CLASSIC, STOCK, STOCK8, Unavailable

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = {environment.name: environment for environment in (CLASSIC, STOCK, STOCK8)}


def interpreter(name: str) -> str:
    """Of an environment by its name; `ours` is the tests' own."""
    if name == "ours":
        return sys.executable
    try:
        return ENVIRONMENTS[name].python()
    except Unavailable as error:
        pytest.skip(str(error))


class Site(House):
    """A project, its workers, and an interface server before them, all on the Redis servers given."""
    def __init__(self, folder: Path, *servers, keys=""):
        super().__init__(folder)
        self.servers, self.keys, self.place, self.first = servers, keys, None, None
        self.environment |= {"SITE_REDIS": ",".join(server.url for server in servers), "SITE_KEYS": keys,
                             "PYTHONPATH": str(ROOT)}        # `stock` has nothing of ours but what over_channels needs

    def lives(self, place: str, *hosts):
        """Elsewhere than on its servers: `place` for --layer, but without a format; `hosts` for CONFIG."""
        self.place, self.environment["SITE_HOSTS"] = place, json.dumps(hosts)

    def layer(self, form: str) -> str:
        """The URL for --layer."""
        if self.place is not None:
            return f"{self.place}{'&' if '?' in self.place else '?'}format={form}"
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        keys = "&key_env=SITE_KEY" if self.keys else ""
        self.environment["SITE_KEY"] = self.keys
        return f"redis://{hosts}/0?format={form}{keys}"

    def start(self, name, arguments, **more):
        cwd = HERE / "sites" / more.pop("site", "modern")
        program = Program(name, list(map(str, arguments)), self.folder / f"{name}-{len(self.programs)}.log", cwd=cwd,
                          env={**self.environment, **more})
        self.programs.append(program)
        return program

    def twistd(self, *arguments, form="channels_redis", **more):
        return super().twistd("--layer", self.layer(form), *arguments, **more)

    def classic(self, *arguments):
        """Its own `manage.py runworker`, with no configuration of ours."""
        worker = self.start("classic", [interpreter("classic"), "manage.py", "runworker", *arguments], site="classic",
                            PYTHONPATH="")
        worker.says("Running worker against channel layer")
        return worker

    def daphne(self):
        server = self.start("daphne", [
            Path(interpreter("classic")).with_name("daphne"), "-p", self.port, "classic_asgi:channel_layer"],
                            site="classic", PYTHONPATH="")
        server.says("Listening on endpoint")
        return server

    def modern(self, application, environment="stock", channels=("http.request", "http.disconnect"), **more):
        """A stock runworker of Channels 4, on channels_redis or (`ours`) on our layer."""
        backend = "interfaces.worker.layers" if environment == "ours" else "channels_redis.core"
        worker = self.start("modern", [interpreter(environment), "manage.py", "runworker", *channels], SITE_APP=application,
                            SITE_BACKEND=f"{backend}.RedisChannelLayer", **more)
        worker.says("Running worker for channels")
        return worker

    def run(self, *command, **more) -> str:
        done = subprocess.run(list(map(str, command)), cwd=HERE / "sites" / "modern", env={**self.environment, **more},
                              timeout=120, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def staffed(self):
        """`first` is a worker of Channels 1 that runs: a new one if a test has ended the one before."""
        if self.first is None or self.first.process.poll() is not None:
            self.first = self.classic()

    @contextlib.contextmanager
    def visit(self):
        """Of one test among several on this site: nothing is noted yet, and what it starts ends with it."""
        self.trace.write_text("")       # not removed: a worker may have it open
        there = len(self.programs)
        try:
            yield self
        finally:
            for program in reversed(self.programs[there:]):
                program.ends()


@contextlib.contextmanager
def site_in(folder: Path, servers=1, keys=""):
    """A site on Redis servers of its own, all gone at the end."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (make ci-deps)")
    with contextlib.ExitStack() as started:
        try:
            redis = [started.enter_context(RedisServer()) for _ in range(servers)]
        except NoRedis as error:
            pytest.skip(str(error))
        yield started.enter_context(contextlib.closing(Site(folder, *redis, keys=keys)))


@pytest.fixture
def site_on(tmp_path):
    """`site_on(servers=2, keys="secret")`."""
    with contextlib.ExitStack() as sites:
        yield lambda servers=1, keys="": sites.enter_context(site_in(tmp_path, servers, keys))


@pytest.fixture
def site(site_on):
    return site_on()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The site of those tests of a module that need none of their own. Each is to `visit()` it."""
    with site_in(tmp_path_factory.mktemp("shared")) as site:
        yield site


@pytest.fixture(scope="module")
def doors(shared):
    """A project of 2017 behind Daphne 1.4 and behind our server at the same time, on one Redis: `ports`, of the one and the
    other."""
    sessions = shared.folder / "sessions"
    sessions.mkdir()
    shared.environment["SITE_SESSIONS"] = str(sessions)
    shared.ports = {"daphne": shared.port, "twistd": free_port()}
    shared.daphne()
    shared.port = shared.ports["twistd"]
    shared.server = shared.twistd(form="asgi_redis")
    return shared


@pytest.fixture(params=["daphne", "twistd"])
def ask(request, doors):
    """One of the two, before a worker that both share."""
    doors.staffed()
    doors.port = doors.ports[request.param]
    with doors.visit():
        yield doors


@pytest.fixture
def front(served):
    """A server, which the tests of a module share, as its `served` makes it; its workers are theirs."""
    with served.visit():
        yield served

"""Layers chosen on the command line and by a Django project, several of them, and what `--check` says: on real processes."""
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

TWISTD = Path(sys.executable).parent / "twistd"
SITE = Path(__file__).parent / "site"


def check(house, *arguments):
    done = subprocess.run([TWISTD, "channels-interfaces", "--check", "--http", "8000", *arguments], capture_output=True,
                          text=True, cwd=SITE, env=house.environment, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_two_layers_have_listeners_of_their_own_and_a_project_says_where_a_hub_is(house):
    second, hubs = house.folder / "second.sock", [house.folder / "project.sock", house.folder / "b.sock"]
    house.environment["SITE_HUB"] = str(hubs[0])
    both = ("--layer", "django:site_layers", "--layer", f"b=local:{hubs[1]}")
    server = house.twistd(*both, "--http", f"b@unix:{second}")
    workers = [house.worker(server=server, CHANNELS_INTERFACES_SOCKET=str(hub)) for hub in hubs]
    answers = [json.loads(house.curl("/facts", *more)) for more in ((), ("--unix-socket", str(second)))]
    assert [answer["pid"] for answer in answers] == [worker.process.pid for worker in workers]
    workers[1].ends()
    assert house.curl("/hello") == "hello world"
    status, lines = check(house, *both[:2])
    assert status == 0 and re.fullmatch(r"ok: the interface server at \S+ answers: .* ms \(median of 20\)", lines[0])
    assert lines[1:] == ["ok: 1 worker listens on http.request"]
    status, lines = check(house, *both, "--http", "b@8001")
    assert status == 1 and lines[-1].startswith("b: wrong: no worker listens on http.request")
    server.ends()
    assert not any(hub.exists() for hub in hubs)


def test_a_layer_that_is_not_ours_runs_on_asyncio_and_on_no_other_reactor(house, patience):
    meets = house.twistd()
    house.worker(server=meets)
    house.environment["SITE_HUB"] = house.environment["CHANNELS_INTERFACES_SOCKET"]
    path = house.folder / "foreign.sock"
    at = ("--unix-socket", str(path))
    server = house.twistd("--layer", "django:site_layers#foreign", "--http", f"unix:{path}", listen=False)
    patience(lambda: path.exists() and house.status("/hello", *at) == 200, "its layer is open too, a moment after its port")
    assert "AsyncioSelectorReactor" in server.text
    assert house.curl("/hello?name=foreign", *at) == "hello foreign"
    assert len(house.curl("/big?n=3", *at)) == 3 * 65536
    status, lines = check(house, "--layer", "django:site_layers#foreign")
    assert status == 0 and lines[0].startswith("ok: Foreign answers: ")

    meets.ends()        # the hub is gone: a client hears of it, after 5 s (foreign.PATIENCE)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        refuses_another_reactor()       # meanwhile
        assert client.recv(65536)[:12] in (b"HTTP/1.1 503", b"HTTP/1.1 504")
    server.says("Foreign can't (send|receive)")
    assert server.ends() in (0, -15)


def refuses_another_reactor():
    done = subprocess.run([TWISTD, "--reactor=poll", "-n", "--pidfile=", "channels-interfaces", "--http", "8000", "--layer",
                           "django:site_layers#foreign"], capture_output=True, text=True, cwd=SITE, timeout=60)
    said = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert done.returncode == 1 and "runs on asyncio, and PollReactor was chosen" in said


def test_a_server_on_redis_is_no_worker(house, redis_server, patience):
    house.environment["SITE_REDIS"] = redis_server.url
    house.twistd("--layer", "django:site_layers#redis")
    patience(lambda: b"name=channels-interfaces" in redis_server("CLIENT", "LIST"), "the server waits for answers")
    status, lines = check(house, "--layer", "django:site_layers#redis")
    assert status == 1 and len(lines) == 2
    assert re.search(r"^ok: .*: Redis \S+ answers", lines[0]) and re.search("^wrong: .*nobody waits for messages", lines[1])

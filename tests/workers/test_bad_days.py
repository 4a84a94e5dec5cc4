"""Redis on its bad days, under a real twistd and stock runworkers on our layer: 503 meanwhile, and all is well after."""
import signal
import socket
import threading

import pytest

from tests.sockets.processes import until

pytestmark = pytest.mark.slow


class Traffic:
    """Four clients that ask again and again until they are stopped. `statuses` counts what they heard."""

    def __init__(self, site):
        self.site, self.stopped, self.statuses = site, threading.Event(), {}
        self.clients = [threading.Thread(target=self.ask) for _ in range(4)]

    def ask(self):
        while not self.stopped.is_set():
            status = self.site.status("/hello", seconds=30)
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *error):
        self.stopped.set()
        for client in self.clients:
            client.join(40)

    def goes_on(self, more=20):
        """So many requests are answered with 200 from now on."""
        before = self.statuses.get(200, 0)
        until(lambda: self.statuses.get(200, 0) >= before + more, f"traffic flows; so far {self.statuses}", 30)


@pytest.fixture
def flowing(site):
    site.server = site.twistd("--http-timeout", "4")
    site.worker_ = site.modern("wsgi", "ours")
    assert site.curl("/hello?name=you") == "hello you"
    with Traffic(site) as traffic:
        traffic.goes_on()
        yield site, site.servers[0], traffic
    assert set(traffic.statuses) <= {200, 503, 504}, traffic.statuses
    assert site.worker_.process.poll() is None and site.server.process.poll() is None
    assert "Traceback" not in site.server.text and "Traceback" not in site.worker_.text


def test_flushall_under_traffic(flowing):
    site, redis, traffic = flowing
    for _ in range(5):
        redis("FLUSHALL")
        traffic.goes_on(5)


def test_a_redis_that_is_paused_for_a_while(flowing):
    site, redis, traffic = flowing
    redis.pause()
    try:
        until(lambda: traffic.statuses.get(503, 0) + traffic.statuses.get(504, 0) > 0, "clients are told", 20)
    finally:
        redis.resume()
    traffic.goes_on()


@pytest.mark.parametrize(("begins", "ends"), [
    (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),                  # READONLY
    (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),     # OOM
])
def test_a_redis_that_refuses_to_write(flowing, begins, ends):
    site, redis, traffic = flowing
    redis(*begins)
    until(lambda: traffic.statuses.get(503, 0) > 0, "clients are told", 20)
    redis(*ends)
    traffic.goes_on()
    assert len(site.server.text.splitlines()) < 60, "a line per change of state, not per request"


def test_a_redis_that_wants_another_password(flowing):
    site, redis, traffic = flowing
    redis("CONFIG", "SET", "requirepass", "other")
    with socket.create_connection(("127.0.0.1", redis.port), 10) as sock:
        sock.sendall(b"AUTH other\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")
        until(lambda: traffic.statuses.get(503, 0) > 0, "clients are told", 20)
        sock.sendall(b"CONFIG SET requirepass ''\r\n")
        traffic.goes_on()
    assert len(site.server.text.splitlines()) < 60, "a line per change of state, not per request"


def test_a_killed_worker_hurts_only_what_it_had_taken(flowing):
    site, redis, traffic = flowing
    second = site.modern("wsgi", "ours")
    traffic.goes_on()
    second.ends(signal.SIGKILL)
    traffic.goes_on()
    assert sum(count for status, count in traffic.statuses.items() if status != 200) <= 16, "as many as it has threads"

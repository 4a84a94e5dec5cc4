"""Redis on its bad days, under a real twistd and stock runworkers on our layer: 503 meanwhile, and all is well after."""
import signal
import socket

import pytest

from tests.sockets.processes import until
from tests.workers.traffic import flowing as under_traffic

pytestmark = pytest.mark.slow


@pytest.fixture
def flowing(site):
    with under_traffic(site) as traffic:
        yield site, site.servers[0], traffic


def test_flushall_under_traffic(flowing):
    site, redis, traffic = flowing
    for _ in range(5):
        redis("FLUSHALL")
        traffic.goes_on(5)


def test_a_redis_that_is_paused_for_a_while(flowing):
    site, redis, traffic = flowing
    redis.pause()
    try:
        until(lambda: traffic.statuses[503] + traffic.statuses[504], "clients are told", 20)
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
    traffic.refused()
    redis(*ends)
    traffic.goes_on()


def test_a_redis_that_wants_another_password(flowing):
    site, redis, traffic = flowing
    redis("CONFIG", "SET", "requirepass", "other")
    with socket.create_connection(("127.0.0.1", redis.port), 10) as sock:
        sock.sendall(b"AUTH other\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")
        traffic.refused()
        sock.sendall(b"CONFIG SET requirepass ''\r\n")
        traffic.goes_on()


def test_a_killed_worker_hurts_only_what_it_had_taken(flowing):
    site, redis, traffic = flowing
    second = site.modern("wsgi", "ours")
    traffic.goes_on()
    second.ends(signal.SIGKILL)
    traffic.goes_on()
    assert sum(count for status, count in traffic.statuses.items() if status != 200) <= 16, "as many as it has threads"

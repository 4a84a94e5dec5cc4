"""Redis on its bad days, under a real twistd and stock runworkers on our layer: 503 meanwhile, and all is well after."""
import signal
import socket

import pytest

from tests.sockets.processes import until
from tests.workers.traffic import flowing as under_traffic
from tests.workers.traffic import terse

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worked(shared):
    """One server and one worker, under traffic on all these days."""
    with under_traffic(shared) as traffic:
        yield shared, shared.servers[0], traffic


@pytest.fixture
def flowing(worked):
    """A day that begins well."""
    site, redis, traffic = worked
    traffic.goes_on(5)
    with terse(site.server, site.worker_):
        yield worked


def test_flushall_under_traffic(flowing):
    site, redis, traffic = flowing
    for _ in range(5):
        redis("FLUSHALL")
        traffic.goes_on(5)


def test_a_redis_that_is_paused_for_a_while(flowing):
    site, redis, traffic = flowing
    before = traffic.unanswered
    redis.pause()
    try:
        until(lambda: traffic.unanswered > before, "clients are told", 20)
    finally:
        redis.resume()
    traffic.goes_on()


def test_a_redis_that_is_killed_and_restarted_empty(flowing):
    site, redis, traffic = flowing
    redis.kill()
    try:
        traffic.refused()
    finally:
        redis.restart()
    traffic.goes_on()


@pytest.mark.parametrize(("begins", "ends"), [
    (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),                  # READONLY
    (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),     # OOM
])
def test_a_redis_that_refuses_to_write(flowing, begins, ends):
    site, redis, traffic = flowing
    redis(*begins)
    try:
        traffic.refused()
    finally:
        redis(*ends)
    traffic.goes_on()


def test_a_redis_that_wants_another_password(flowing):
    site, redis, traffic = flowing
    redis("CONFIG", "SET", "requirepass", "other")
    with socket.create_connection(("127.0.0.1", redis.port), 10) as sock:
        try:
            sock.sendall(b"AUTH other\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")
            traffic.refused()
        finally:
            sock.sendall(b"CONFIG SET requirepass ''\r\n")
        traffic.goes_on()


def test_a_killed_worker_hurts_only_what_it_had_taken(flowing):
    site, redis, traffic = flowing
    traffic.settles()
    before = traffic.statuses
    second = site.modern("wsgi", "ours")
    traffic.goes_on()
    second.ends(signal.SIGKILL)
    traffic.goes_on()
    hurt = traffic.statuses - before
    assert hurt.total() - hurt[200] <= 16, "as many as it has threads"

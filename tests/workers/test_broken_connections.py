"""A Redis that loads, that is slow, and whose connections break, under a real twistd, a stock runworker and traffic."""
import pytest

from tests.sockets.processes import until
from tests.workers.proxy import Proxy
from tests.workers.traffic import flowing, terse

pytestmark = pytest.mark.slow


@pytest.fixture
def between(site):
    """The site is behind a proxy."""
    [redis] = site.servers
    with Proxy(redis.port) as proxy:
        site.lives(f"redis://127.0.0.1:{proxy.port}/0", f"redis://127.0.0.1:{proxy.port}/0")
        yield proxy
        site.close()


def test_a_redis_that_loads_its_file_and_one_that_is_slow(site, between):
    with flowing(site) as traffic, terse(site.server, site.worker_):
        between.begin_loading()
        traffic.refused()
        before, heard = between.commands, len(traffic.heard)
        until(lambda: len(traffic.heard) > heard + 100, "many more are refused")
        assert between.commands - before < 100, "it is asked less and less, not once for each request"
        between.loading = False
        traffic.goes_on()
        assert site.server.text.count("LOADING Redis is loading the dataset in memory; trying again") == 1

        traffic.settles()
        between.delay = 0.3
        refused = traffic.unanswered
        traffic.goes_on(4)
        assert traffic.unanswered == refused, "slow, but all are answered"
        between.delay = 3
        traffic.refused()
        between.delay = 0
        traffic.goes_on()


def test_connections_that_break_in_the_middle(site, between):
    """A pop is out all the time. The worst moments: Redis has given a message that nobody gets, so that it is lost and must
    not be run later; and it has taken a message whose sender is not told, who must not send it again."""
    with flowing(site, patience=1) as traffic, terse(site.server, site.worker_):
        for _ in range(2):
            between.cut()
            traffic.goes_on(4)
            for command in (b"BZPOPMIN", b"EVALSHA"):
                between.cut_after(command)
                traffic.goes_on(4)
    assert traffic.unanswered > 0, "something was on its way"

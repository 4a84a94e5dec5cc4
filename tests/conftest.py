"""With CHANNELS_INTERFACES_NO_SKIP set (as .ci/run does) a skip is a failure: what can't be run isn't known to work."""
import contextlib
import os

import pytest

NO_SKIP = bool(os.environ.get("CHANNELS_INTERFACES_NO_SKIP"))


def refuse_skip(report):
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped, which CHANNELS_INTERFACES_NO_SKIP forbids: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return refuse_skip((yield))


@pytest.fixture
def start_redis():
    """`start_redis("--requirepass", "secret")`: real servers, each gone at the end of the test (examples/redis_server.py)."""
    from redis_server import NoRedis, RedisServer       # here: test_packaging runs this file where there are no examples
    with contextlib.ExitStack() as servers:
        def start(*arguments):
            try:
                return servers.enter_context(RedisServer(*arguments))
            except NoRedis as error:
                pytest.skip(str(error))
        yield start


@pytest.fixture
def redis_server(start_redis):
    """`redis_server.url`, `.port`, `.socket`; `redis_server("LLEN", "a")`; kill(), restart() (empty), pause(), resume()."""
    return start_redis()

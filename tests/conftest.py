"""With CHANNELS_INTERFACES_NO_SKIP set (as .ci/run does) a skip is a failure: what can't be run isn't known to work."""
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

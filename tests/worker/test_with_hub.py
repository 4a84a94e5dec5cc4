"""Stock runworkers against the real hub, each in a process of its own."""
import asyncio
import contextlib
import json
import sys

import pytest

from tests.worker.hub import PATIENCE, dialogue
from tests.worker.test_leaving import ROOT, ended, runworker


@contextlib.asynccontextmanager
async def real_hub(path, count, pathname="/hello"):
    hub = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.worker.real_hub", path, str(count), pathname,
                                               cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert await said(hub) == "ready"
        yield hub
    finally:
        with contextlib.suppress(ProcessLookupError):
            hub.kill()
        await hub.communicate()


async def said(hub) -> str:
    return (await asyncio.wait_for(hub.stdout.readline(), PATIENCE)).decode().strip()


@pytest.mark.parametrize("kind", ["wsgi", "plain"])
@dialogue
async def test_every_request_is_answered_once(path, kind):
    async with real_hub(path, 1000) as hub, runworker(path, KIND=kind) as process:
        assert await said(hub) == "hundred"
        assert json.loads(await said(hub)) == {"answered": 1000, "statuses": [200], "twice": 0, "lost": 0}
        process.terminate()
        assert await ended(process) == 0


@dialogue
async def test_a_killed_worker_costs_only_what_it_had_begun(path):
    async with real_hub(path, 1000) as hub, runworker(path) as first:
        assert await said(hub) == "hundred"
        async with runworker(path):
            first.kill()
            result = json.loads(await said(hub))
    assert result["answered"] + result["lost"] == 1000
    assert result["lost"] <= 3 and result["twice"] == 0 and result["statuses"] == [200]


@dialogue
async def test_a_worker_that_leaves_costs_nothing(path):
    async with real_hub(path, 1000) as hub, runworker(path) as first:
        assert await said(hub) == "hundred"
        async with runworker(path):
            first.terminate()
            assert await ended(first) == 0
            assert json.loads(await said(hub)) == {"answered": 1000, "statuses": [200], "twice": 0, "lost": 0}

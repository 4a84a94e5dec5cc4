"""Stock runworkers on Redis, each in a process of its own: exactly once, kill -9, SIGTERM."""
import asyncio
import contextlib
import os
import pathlib
import signal
import sys

import pytest

from interfaces.worker.layers import RedisChannelLayer
from tests.worker.hub import PATIENCE, dialogue
from tests.worker.test_leaving import ended
from tests.worker.test_redis_layer import blocked, until

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def workers(kind, url, count):
    processes = [await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker.redis_project", kind, url, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL)
        for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def asker(url):
    layer = RedisChannelLayer(hosts=[url], capacity=100_000, channel_capacity={"specific.*": 100_000})
    try:
        yield layer, await layer.new_channel()
    finally:
        await layer.close()


async def asks(layer, own, numbers, **keys):
    for n in numbers:
        await layer.send("jobs", {"type": "jobs", "reply_channel": own, "n": n} | keys)


async def answers(layer, own, count) -> list[dict]:
    async with asyncio.timeout(60):
        return [await layer.receive(own) for _ in range(count)]


@pytest.mark.slow
@dialogue
async def test_four_workers_run_each_of_20000_once(redis_server):
    async with workers("count", redis_server.url, 4), asyncio.timeout(60):
        async with asker(redis_server.url) as (layer, own):
            await until(lambda: blocked(redis_server) == 4)
            asking = [asyncio.ensure_future(asks(layer, own, range(start, 20_000, 50))) for start in range(50)]
            got = await answers(layer, own, 20_000)
            await asyncio.gather(*asking)
            assert sorted(message["n"] for message in got) == list(range(20_000))
            assert len({message["pid"] for message in got}) == 4
            await until(lambda: redis_server("EXISTS", "asgijobs", f"asgi{layer.process}!") == 0)
            assert layer.inbox.dropped == 0


@pytest.mark.slow
@dialogue
async def test_a_killed_worker_costs_only_what_it_had_taken(redis_server):
    async with workers("count", redis_server.url, 2) as (first, _), asker(redis_server.url) as (layer, own):
        await until(lambda: blocked(redis_server) == 2)
        asking = asyncio.ensure_future(asks(layer, own, range(2000)))
        got = await answers(layer, own, 100)
        first.kill()
        await asking
        await until(lambda: redis_server("EXISTS", "asgijobs") == 0)
        await asks(layer, own, [-1])
        while got[-1]["n"] != -1:
            got += await answers(layer, own, 1)
        numbers = [message["n"] for message in got]
        assert len(numbers) == len(set(numbers)), "nothing is run twice"
        assert len(numbers) >= 2001 - 2 * 8 - 2          # its queue of 8, and as many on the way


@pytest.mark.slow
@dialogue
async def test_a_worker_that_leaves_gives_back_what_it_has_not_begun(redis_server):
    async with workers("count", redis_server.url, 2) as (first, second), asker(redis_server.url) as (layer, own):
        await until(lambda: blocked(redis_server) == 2)
        asking = asyncio.ensure_future(asks(layer, own, range(600)))
        got = await answers(layer, own, 50)
        first.terminate()
        await asking
        got += await answers(layer, own, 550)
        assert sorted(message["n"] for message in got) == list(range(600))
        assert await ended(first) == 0
        second.terminate()
        assert await ended(second) == 0
        await asks(layer, own, [0])
        assert redis_server("ZCARD", "asgijobs") == 1, "nobody takes what nobody runs"


@pytest.mark.slow
@dialogue
async def test_an_idle_worker_leaves_at_once_and_without_a_redis_too(redis_server):
    async with workers("wsgi", redis_server.url, 2) as wsgi, workers("count", redis_server.url, 2) as count:
        await until(lambda: blocked(redis_server) == 4)
        for process, _ in (wsgi, count):
            process.terminate()
            assert await ended(process) == 0
        redis_server.kill()
        for _, process in (wsgi, count):
            os.kill(process.pid, signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


@pytest.mark.slow
@dialogue
async def test_an_idle_worker_outlives_its_pops(redis_server):
    """Where redis-py 8 gives up (channels_redis#422)."""
    async with workers("count", redis_server.url, 1) as (process,), asker(redis_server.url) as (layer, own):
        await until(lambda: b"cmdstat_bzpopmin:calls=2" in redis_server("INFO", "commandstats"))
        await asks(layer, own, [1])
        assert (await answers(layer, own, 1))[0]["pid"] == process.pid

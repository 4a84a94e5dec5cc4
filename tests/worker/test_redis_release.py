"""Workers of an older release take nothing new on Redis, and take it again when the newer ones are gone."""
import asyncio

import pytest

from interfaces.worker import redis_release
from tests.worker.hub import dialogue
from tests.worker.redis_hosting import hosted
from tests.worker.test_redis_layer import until


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(redis_release, "LOOK", 0.05)


def saying(name: str):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": name.encode()})
    return {"http": application}


async def answered_by(server) -> str:
    return (await server.hears(await server.asks()))["content"].decode()


@dialogue
async def test_a_deploy_drains_the_old_release_and_its_end_gives_it_back(redis_server, quick, monkeypatch):
    monkeypatch.setattr(redis_release, "ALIVE", 1)
    async with hosted(redis_server.url, saying("old"), release="v1") as old:
        inbox = old.worker_layer.inbox
        assert await answered_by(old) == "old"
        async with hosted(redis_server.url, saying("new"), release="v2") as new:
            assert await answered_by(new) in ("old", "new")
            await until(lambda: inbox.outdated)
            for _ in range(20):
                assert await answered_by(old) == "new"
            assert not new.worker_layer.inbox.outdated
        await until(lambda: not inbox.outdated)
        assert await answered_by(old) == "old"


@dialogue
async def test_what_was_begun_is_finished_and_a_restarted_worker_is_no_newer(redis_server, quick):
    async with hosted(redis_server.url, saying("a"), release="v1") as one:
        assert await answered_by(one) == "a"
        async with hosted(redis_server.url, saying("b"), release="v2") as two:
            await until(lambda: one.worker_layer.inbox.outdated)
            async with hosted(redis_server.url, saying("c"), release="v1") as again:
                await until(lambda: again.worker_layer.inbox.outdated)
                assert await answered_by(two) == "b"


@dialogue
async def test_a_rollback_is_newer_after_a_while(redis_server, quick, monkeypatch):
    async with hosted(redis_server.url, saying("a"), release="v1") as one:
        assert await answered_by(one) == "a"
    monkeypatch.setattr(redis_release, "GONE", 0.3)
    async with hosted(redis_server.url, saying("b"), release="v2") as two:
        assert await answered_by(two) == "b"
        await asyncio.sleep(0.4)        # Redis's own time can't be moved
        async with hosted(redis_server.url, saying("a"), release="v1"):
            await until(lambda: two.worker_layer.inbox.outdated)


@dialogue
async def test_without_releases_nothing_is_asked_of_redis(redis_server, quick):
    async with hosted(redis_server.url, saying("a")) as server:
        assert await answered_by(server) == "a"
        await asyncio.sleep(0.2)        # there is nothing else to wait for
        assert redis_server("KEYS", "*releases*") == []

"""A stock `manage.py runworker` in a process of its own, and SIGTERM."""
import asyncio
import contextlib
import os
import pathlib
import signal
import sys

import pytest

from interfaces.layers import wire_local as wire
from tests.worker.hosting import granted, started
from tests.worker.hub import PATIENCE, Hub, dialogue, http_request

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def runworker(path, shell: bool = False, channel: str = "http.request", **environment):
    """The process. In a background shell, if `shell`: there SIGINT is ignored."""
    command = [sys.executable, "-m", "django", "runworker", channel]
    if shell:
        command = ["sh", "-c", '"$@" & wait $!', "sh", *command]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, start_new_session=True, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"HUB": path, "DJANGO_SETTINGS_MODULE": "tests.worker.project.settings",
                          "PYTHONPATH": str(ROOT)} | environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def ended(process) -> int:
    return await asyncio.wait_for(process.wait(), PATIENCE)


async def listening(hub):
    worker = await hub.worker()
    await granted(worker, 1)
    return worker


@pytest.mark.parametrize("kind", ["wsgi", "plain"])
@dialogue
async def test_before_the_first_message(path, kind):
    async with Hub(path) as hub, runworker(path, KIND=kind) as process:
        worker = await hub.worker()
        assert (await worker.says())[0] == wire.LISTEN
        process.terminate()
        assert (await worker.says())[:2] == (wire.WITHDRAW, "http.request")
        assert await ended(process) == 0
        assert (await worker.says())[0] == 0


@dialogue
async def test_idle(path):
    async with Hub(path) as hub, runworker(path) as process:
        worker = await listening(hub)
        await started(worker, http_request("/hello"))
        assert (await worker.replies())[1]["content"] == b"hello"
        process.terminate()
        assert await ended(process) == 0


@dialogue
async def test_without_a_server(path):
    async with runworker(path) as process:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert b"no connection to the interface server" in line
        process.terminate()
        assert await ended(process) == 0


@dialogue
async def test_under_load_what_has_begun_is_answered_and_nothing_new_is_taken(path):
    async with Hub(path) as hub, runworker(path) as process:
        worker = await listening(hub)
        await started(worker, http_request("/hello"))
        requests, begun, answered, withdrawn = [http_request("/hello") for _ in range(400)], 0, 0, False
        given = credit = 0
        while True:
            kind, _, payload = await worker.says()
            if kind == 0:
                break
            if kind == wire.LISTEN:
                assert not withdrawn
                credit += wire.CREDIT.unpack(payload)[0]
            elif kind == wire.STARTED:
                assert not withdrawn
                begun += wire.CREDIT.unpack_from(payload)[0]
            elif kind == wire.WITHDRAW:
                withdrawn = True
            elif kind == wire.SEND:
                answered += 1
                if answered == 100:
                    process.terminate()
            more, given = requests[given:given + credit], given + credit
            credit = 0
            if answered < 100:                           # later the process may be gone before it is written
                worker.gets("http.request", *more)
        assert withdrawn and answered == begun + 1
        assert await ended(process) == 0


@dialogue
async def test_a_stuck_view_holds_it_no_longer_than_its_grace(path):
    async with Hub(path) as hub, runworker(path, GRACE="0.3") as process:
        worker = await listening(hub)
        await started(worker, http_request("/wait"))
        process.terminate()
        assert await ended(process) == 0


@dialogue
async def test_in_a_background_shell(path):
    async with Hub(path) as hub, runworker(path, shell=True) as process:
        worker = await listening(hub)
        await started(worker, http_request("/hello"))
        assert (await worker.replies())[1]["content"] == b"hello"
        os.kill(worker.hello["pid"], signal.SIGTERM)
        assert await ended(process) == 0


@dialogue
async def test_a_plain_consumer_finishes_what_it_has_begun(path):
    async with Hub(path) as hub, runworker(path, KIND="plain") as process:
        worker = await hub.worker()
        await worker.says()
        requests = [http_request("/", seconds=0.2), http_request("/")]
        worker.gets("http.request", requests[0])
        begun = 0
        while begun < 1:
            kind, _, payload = await worker.says()
            begun += kind == wire.STARTED and payload == wire.CREDIT.pack(1)
        worker.gets("http.request", requests[1])
        while begun < 2:
            kind, _, payload = await worker.says()
            begun += kind == wire.STARTED and payload == wire.CREDIT.pack(1)
        process.terminate()
        for request in requests:
            assert (await worker.replies()) == (request["reply_channel"], {"status": 200, "headers": [], "content": b"plain"})
        assert await ended(process) == 0

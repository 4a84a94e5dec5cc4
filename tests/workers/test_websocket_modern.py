"""WebSocket on a real Redis: stock consumers hosted by our layer; plain ones of Channels 4 on ours and on channels_redis."""
import asyncio
import contextlib
import signal

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from tests.sockets.crowd import Crowd
from tests.sockets.processes import until
from tests.workers.conftest import interpreter

pytestmark = pytest.mark.slow
CHANNELS = ("websocket.connect", "websocket.receive", "websocket.disconnect")


@pytest.fixture(scope="module")
def served(shared):
    shared.server = shared.twistd()
    return shared


@pytest.fixture
def opens(front):
    with contextlib.ExitStack() as clients:
        yield lambda path, **more: clients.enter_context(connect(front.ws + path, proxy=None, **more))


@pytest.mark.parametrize("environment", ["stock", "ours"])
def test_a_plain_consumer_of_each_channel(front, opens, environment):
    for _ in range(1 if environment == "stock" else 2):     # two of channels_redis run some messages twice: channels_redis#163
        front.modern("plain_sockets", environment, CHANNELS)
    one, other = opens("/classic"), opens("/typed", subprotocols=["a", "b"])
    assert one.recv(10) == "welcome to /classic" and other.subprotocol == "a"
    with pytest.raises(InvalidStatus) as refused:
        opens("/refused")
    assert refused.value.response.status_code == 403
    for number in range(1, 4):
        other.send("hello")
        assert other.recv(5) == f"{number} hello"
    other.send(b"\0\xff")
    assert other.recv(5) == b"\0\xff"
    one.send("all: of you")
    assert one.recv(5) == other.recv(5) == "of you"
    one.send("close")
    assert one.recv(5) == "goodbye"
    with pytest.raises(ConnectionClosedError) as closed:
        one.recv(5)
    assert closed.value.rcvd.code == 4001
    other.close(1000)
    until(lambda: len(front.noted) == 3, "all ends are heard of")
    assert sorted(front.noted) == ["left /classic 4001", "left /refused 1006", "left /typed 1000"]
    [redis] = front.servers
    until(lambda: redis("ZCARD", "asgi:group:room") == 0, "the group is empty")
    assert "Traceback" not in front.server.text


def test_plain_consumers_come_and_go_behind_open_sockets(front, opens):
    """Nobody owns them: what is said meanwhile waits in the channel."""
    worker = front.modern("plain_sockets", "ours", CHANNELS)
    client = opens("/typed")
    client.send("with a worker")
    assert client.recv(5) == "1 with a worker"
    assert worker.ends() == 0
    client.send("without")
    front.modern("plain_sockets", "ours", CHANNELS)
    assert client.recv(10) == "2 without"


def test_nobody_notices_that_a_worker_is_replaced(front):
    first = front.modern("sockets", "ours", CHANNELS[:1])

    async def dialogue():
        async with Crowd(f"{front.ws}/echo", 10) as one, Crowd(f"{front.ws}/sync", 10) as other:
            for crowd in (one, other):
                await crowd.goes_on("before")
            await asyncio.to_thread(front.modern, "sockets", "ours", CHANNELS[:1])
            first.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.process.wait, 3) == 0
            assert max(await asyncio.gather(*[crowd.goes_on("after", 1) for crowd in (one, other)])) < 2
            for crowd in (one, other):
                await crowd.falls_silent()
                assert (crowd.dropped, crowd.doubled, crowd.disordered, sum(map(len, crowd.lost))) == (0, 0, 0, 0)
    asyncio.run(dialogue())


def test_a_worker_is_killed_and_another_has_its_sockets_and_what_it_never_took(site):
    site.twistd()
    first = site.modern("sockets", "ours", CHANNELS[:1])
    [redis] = site.servers

    async def dialogue():
        async with Crowd(f"{site.ws}/echo", 10) as crowd:
            await crowd.goes_on("before")
            await asyncio.to_thread(site.modern, "sockets", "ours", CHANNELS[:1])
            await asyncio.to_thread(first.ends, signal.SIGKILL)
            said = [client.sent for client in crowd.clients]
            assert await crowd.goes_on("after", 1) < 10, "pings alone need half a minute"
            await crowd.falls_silent()
            assert (crowd.dropped, crowd.doubled) == (0, 0)
            for lost, after in zip(crowd.lost, said, strict=True):
                assert all(number <= after for number in lost), "what is said to a dead worker is not lost"
            await crowd.until(lambda client: redis("ZCARD", "asgi:group:room") == 10, "the dead one's names have left")
    asyncio.run(dialogue())


def test_a_redis_that_has_lost_all_its_data_costs_no_socket(site):
    """Flushed, and restarted empty. Memberships come back by themselves, and the workers go on."""
    server = site.twistd()
    workers = [site.modern("sockets", "ours", CHANNELS[:1]) for _ in range(2)]
    [redis] = site.servers

    async def loses(crowd, *losing):
        await crowd.goes_on("before")
        assert redis("ZCARD", "asgi:group:room") == 10
        for lose in losing:
            await asyncio.to_thread(lose)
        for client in crowd.clients:
            client.said.clear()
        await crowd.until(lambda client: redis("ZCARD", "asgi:group:room") >= 10, "all are in the group again", 20)
        await crowd.goes_on("after", 1)
        await crowd.clients[0].socket.send("all: are here")
        await crowd.until(lambda client: client.said == ["are here"], "all hear it", 20)

    async def dialogue():
        async with Crowd(f"{site.ws}/echo", 10) as crowd:
            await loses(crowd, lambda: redis("FLUSHALL"))
            await loses(crowd, redis.kill, redis.restart)
            # Not in order, perhaps: what one worker had still to say overtakes, or not, what the next one says.
            assert (crowd.dropped, crowd.doubled) == (0, 0)
    asyncio.run(dialogue())
    assert all(program.process.poll() is None for program in (server, *workers))


def test_hosted_websockets_on_channels_redis_are_refused_at_start(front):
    worker = front.start("modern", [interpreter("stock"), "manage.py", "runworker", "websocket.connect"], SITE_APP="sockets",
                        SITE_BACKEND="channels_redis.core.RedisChannelLayer")
    assert worker.process.wait(20) == 1
    assert "over_channels hosts no WebSocket on channels_redis" in worker.text.strip().splitlines()[-1]
    assert "interfaces.worker.layers.RedisChannelLayer" in worker.text

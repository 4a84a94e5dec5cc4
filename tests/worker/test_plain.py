"""Plain consumers under a stock runworker: how much they are given, and when it counts as begun."""
import asyncio

from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter

from interfaces.layers import wire_local as wire
from interfaces.worker.boxes import FEW, WINDOW
from tests.worker.hosting import hosted
from tests.worker.hub import SERVER, dialogue, http_request


def routed(consumer):
    return lambda application: ChannelNameRouter({"http.request": application}), consumer


def counts(frames):
    listen = sum(wire.CREDIT.unpack(p)[0] for kind, _, p in frames if kind == wire.LISTEN)
    begun = sum(wire.CREDIT.unpack_from(p)[0] for kind, _, p in frames if kind == wire.STARTED)
    return listen, begun


async def until_quiet(worker) -> list:
    """All that the worker says to what it was given so far."""
    own = await worker.layer.new_channel()
    reading = asyncio.ensure_future(worker.layer.receive(own))
    worker.gets(own, {})
    await reading                                        # it has read all that came before
    for _ in range(4 * FEW):
        await asyncio.sleep(0)                           # its tasks have had their turns
    await worker.layer.send(f"{SERVER}!end", {})
    frames = []
    while (frame := await worker.says())[1] != f"{SERVER}!end":
        frames.append(frame)
    return frames


@dialogue
async def test_a_slow_consumer_is_given_few(path):
    taken, go = [], asyncio.Semaphore(0)

    async def slow(scope, receive, send):
        while True:
            taken.append(await receive())
            await go.acquire()

    wrap, application = routed(slow)
    async with hosted(path, application, wrap=wrap) as worker:
        frames, given = [await worker.says()], 0
        while more := counts(frames)[0] - given:         # give all that it asks for
            worker.gets("http.request", *[http_request(f"/{n}") for n in range(given, given + more)])
            given += more
            frames += await until_quiet(worker)
        listen, begun = counts(frames)
        assert listen <= 4 * FEW < WINDOW and begun <= FEW + 2 and len(taken) == 1
        for _ in range(given):
            go.release()
            frames += await until_quiet(worker)
        assert [message["path"] for message in taken] == [f"/{n}" for n in range(given)]
        assert counts(frames)[1] == given


@dialogue
async def test_a_quick_consumer_gets_all_in_order_and_a_full_window(path):
    async def quick(scope, receive, send):
        layer = get_channel_layer()
        while True:
            message = await receive()
            await layer.send(message["reply_channel"], {"status": 200, "content": message["path"].encode()})

    wrap, application = routed(quick)
    async with hosted(path, application, wrap=wrap) as worker:
        credit, waiting, answered, most = 0, [http_request(f"/{n}") for n in range(3000)], [], 0
        expected = [request["path"].encode() for request in waiting]
        listened = begun = 0
        while len(answered) < 3000:
            kind, _, payload = await worker.says()
            if kind == wire.LISTEN:
                credit += wire.CREDIT.unpack(payload)[0]
                listened += wire.CREDIT.unpack(payload)[0]
            elif kind == wire.STARTED:
                assert payload[4:] == b"", "a plain consumer owns nothing"
                begun += wire.CREDIT.unpack_from(payload)[0]
            else:
                answered.append(wire.unpack(payload[12:])["content"])
                assert len(answered) <= begun
            most = max(most, listened - begun)
            assert listened - begun <= WINDOW
            now, waiting = waiting[:credit], waiting[credit:]
            credit -= len(now)
            worker.gets("http.request", *now)
        assert answered == expected and most > FEW


@dialogue
async def test_a_consumer_that_fails_is_made_anew_and_stays_bounded(path, caplog):
    async def failing(scope, receive, send):
        message = await receive()
        await get_channel_layer().send(message["reply_channel"], {"status": 200, "content": b""})
        raise RuntimeError("boom")

    wrap, application = routed(failing)
    async with hosted(path, application, wrap=wrap) as worker:
        worker.stock.application_checker_interval = 0.001
        for _ in range(3):
            request = http_request()
            worker.gets("http.request", request)
            assert (await worker.replies())[0] == request["reply_channel"]
            while worker.stock.application_instances:
                await asyncio.sleep(0.001)

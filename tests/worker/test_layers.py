"""LocalChannelLayer against frames: sending, receiving, groups, homes, and a server that comes and goes."""
import asyncio
import os
import threading

import msgpack
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull

from interfaces.layers import wire_local as wire
from interfaces.worker import home, inbox
from interfaces.worker.layers import LocalChannelLayer, MessageTooLarge
from tests.worker.hub import SERVER, Hub, dialogue


async def receiving(layer, channel):
    """A receive that is waiting."""
    task = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)
    return task


async def met(hub, layer):
    """A layer whose home is this loop, and its worker as the hub sees it."""
    own = await layer.new_channel()
    waiting = await receiving(layer, own)
    worker = await hub.worker()
    await layer.home.up.wait()
    waiting.cancel()
    return worker


@dialogue
async def test_send_waits_for_the_result(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path, expiry=7, capacity=3, channel_capacity={"tiny*": 1})
        worker = await met(hub, layer)
        sending = asyncio.ensure_future(layer.send("tiny.one", {"type": "x", "n": 1}))
        kind, name, payload = await worker.says()
        number, capacity, expiry = wire.SEND_HEAD.unpack_from(payload)
        assert (kind, name, capacity, expiry) == (wire.SEND, "tiny.one", 1, 7000)
        assert wire.unpack(payload[12:]) == {"type": "x", "n": 1} and not sending.done()
        worker.hears(wire.RESULT, "", wire.RESULT_HEAD.pack(number, wire.OK))
        await sending


@pytest.mark.parametrize("code, error", [(wire.FULL, ChannelFull), (wire.TOO_LARGE, MessageTooLarge),
                                         (wire.BAD_NAME, ValueError)])
@dialogue
async def test_refusals_are_raised_at_the_send(path, code, error):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        sending = asyncio.ensure_future(layer.send("shared", {"type": "x"}))
        await worker.asks(code)
        with pytest.raises(error):
            await sending


@dialogue
async def test_replies_are_pipelined_and_in_order(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        for n in range(3):
            await layer.send(f"{SERVER}!abc", {"n": n})
        assert [await worker.replies() for _ in range(3)] == [(f"{SERVER}!abc", {"n": n}) for n in range(3)]


@dialogue
async def test_a_server_that_does_not_read_stops_the_senders(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        sent = 0

        async def flood():
            nonlocal sent
            for _ in range(100):
                await layer.send(f"{SERVER}!abc", {"content": bytes(256 * 1024)})
                sent += 1

        flooding = asyncio.ensure_future(flood())
        for _ in range(50):
            await asyncio.sleep(0)
        assert 0 < sent < 50
        for _ in range(100):
            await worker.replies()
        await flooding


@dialogue
async def test_too_large_is_said_before_anything_is_written(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        with pytest.raises(MessageTooLarge, match="2097152"):
            await layer.send("shared", {"content": bytes(wire.MAX_MESSAGE)})
        await layer.send(f"{SERVER}!abc", {"n": 1})
        assert await worker.replies() == (f"{SERVER}!abc", {"n": 1})


@pytest.mark.parametrize("call", [lambda layer: layer.send("no space", {}), lambda layer: layer.receive("é"),
                                  lambda layer: layer.send("x" * 100, {}), lambda layer: layer.group_add("a!b", "c"),
                                  lambda layer: layer.send("x", [1])])
def test_names_and_messages_are_checked(path, call):
    with pytest.raises(TypeError):
        asyncio.run(call(LocalChannelLayer(path=path)))


@dialogue
async def test_a_plain_receive_asks_for_one_and_starts_it(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        first = await receiving(layer, "jobs")
        worker = await hub.worker()
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 1})
        assert await worker.says() == (wire.STARTED, "jobs", wire.CREDIT.pack(1))
        assert await first == {"n": 1}
        await asyncio.sleep(0)
        assert layer.inbox.listenings == {}


@dialogue
async def test_shared_messages_come_in_order_to_those_who_wait(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        waiting = [await receiving(layer, "jobs") for _ in range(3)]
        worker = await hub.worker()
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 3)
        worker.gets("jobs", {"n": 1}, {"n": 2}, {"n": 3})
        assert await asyncio.gather(*waiting) == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert await worker.says_credit() == (wire.STARTED, "jobs", 3)


@dialogue
async def test_a_cancelled_receive_gives_back_what_was_not_started(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        waiting = await receiving(layer, "jobs")
        worker = await hub.worker()
        await worker.says_credit()
        waiting.cancel()
        assert (await worker.says())[:2] == (wire.WITHDRAW, "jobs")
        worker.gets("jobs", {"n": "crossed the withdrawal: another worker's now"})
        worker.hears(wire.WITHDRAWN, "jobs")
        again = await receiving(layer, "jobs")
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 2})
        assert await again == {"n": 2}


@dialogue
async def test_a_receive_cancelled_with_a_message_in_hand_loses_nothing(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        own = await layer.new_channel()
        waiting = await receiving(layer, own)
        await hub.worker()
        layer.inbox.deliver(own, msgpack.packb({"n": 1}))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await layer.receive(own) == {"n": 1}


@dialogue
async def test_own_channels_keep_the_oldest(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path, capacity=2)
        worker = await met(hub, layer)
        own, other = await layer.new_channel(), await layer.new_channel("room")
        assert own.startswith(worker.process + "!") and other.startswith(worker.process + "!room.")
        worker.gets(own, {"n": 1}, {"n": 2}, {"n": 3})
        worker.gets(other, {"n": 4})
        assert await layer.receive(other) == {"n": 4}
        assert [await layer.receive(own), await layer.receive(own)] == [{"n": 1}, {"n": 2}]
        assert layer.inbox.dropped == 1 and layer.inbox.boxes == {}


@dialogue
async def test_channels_that_nobody_reads_do_not_pile_up(path, monkeypatch):
    monkeypatch.setattr(inbox, "BOXES", 50)
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        own = await layer.new_channel()
        waiting = await receiving(layer, own)
        for n in range(500):
            worker.gets(await layer.new_channel(), {"n": n})
        worker.gets(own, {"last": True})
        assert await waiting == {"last": True}
        assert len(layer.inbox.boxes) <= 50


@dialogue
async def test_a_channel_of_another_process_cannot_be_received(path):
    with pytest.raises(ValueError, match="another process"):
        await LocalChannelLayer(path=path).receive("specific.other!x")


@dialogue
async def test_a_message_that_is_none_is_dropped(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        waiting = await receiving(layer, "jobs")
        worker = await hub.worker()
        await worker.says_credit()
        for payload in (b"\xc1", b"\x01", msgpack.packb({1: 2})):
            worker.hears(wire.MESSAGE, "jobs", payload)
            assert await worker.says_credit() == (wire.STARTED, "jobs", 1)
            assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 1})
        assert await waiting == {"n": 1}
        assert layer.inbox.dropped == 3


@dialogue
async def test_groups(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path, group_expiry=30)
        worker = await met(hub, layer)
        own = await layer.new_channel()

        async def answer(call, code=wire.OK):
            task = asyncio.ensure_future(call)
            asked = await worker.asks(code)
            await task
            return asked

        assert await answer(layer.group_add("room", own)) == (wire.GROUP_ADD, "room", own.encode())
        sent = await answer(layer.group_send("room", {"type": "hi"}))
        assert sent == (wire.GROUP_SEND, "room", msgpack.packb({"type": "hi"}))
        assert await answer(layer.group_discard("room", own)) == (wire.GROUP_DISCARD, "room", own.encode())
        assert (await answer(layer.flush()))[0] == wire.FLUSH


@dialogue
async def test_one_group_message_for_many_is_a_copy_for_each(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        channels = [await layer.new_channel() for _ in range(3)]
        worker.hears(wire.MESSAGES, "", msgpack.packb(channels) + msgpack.packb({"list": []}))
        messages = [await layer.receive(channel) for channel in channels]
        messages[0]["list"].append("mine")
        assert messages[1:] == [{"list": []}] * 2


@dialogue
async def test_a_restarted_server_finds_credit_and_groups_again(path):
    layer = LocalChannelLayer(path=path)
    own = await layer.new_channel()
    async with Hub(path) as hub:
        waiting = await receiving(layer, "jobs")
        worker = await hub.worker()
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        joining = asyncio.ensure_future(layer.group_add("room", own))
        await worker.asks()
        await joining
        lost = asyncio.ensure_future(layer.send("shared", {"type": "x"}))
        assert (await worker.says())[1] == "shared"
    with pytest.raises(ConnectionError, match="went away"):
        await lost
    async with Hub(path) as hub:
        worker = await hub.worker()
        kind, name, payload = await worker.says()
        assert (kind, name, payload) == (wire.GROUP_ADD, "room", wire.GROUP_HEAD.pack(0, 86400) + own.encode())
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 1})
        assert await waiting == {"n": 1}


@dialogue
async def test_what_may_be_asked_twice_is_asked_again_of_a_server_that_restarts(path):
    layer = LocalChannelLayer(path=path)
    asked = {wire.GROUP_ADD, wire.GROUP_DISCARD, wire.MEMBERS}       # in any order: who waits may be overtaken
    async with Hub(path) as hub:
        asking = [asyncio.ensure_future(question) for question in (
            layer.group_add("room", "robots"), layer.group_discard("room", "robots"), layer.presence_page("room", 0, 9))]
        worker = await hub.worker()
        assert {(await worker.says())[0] for _ in asked} == asked
    async with Hub(path) as hub:
        worker = await hub.worker()
        again = set()
        for _ in asked:
            kind, group, payload = await worker.says()
            again.add(kind)
            found = wire.pack([0, 0, []]) if kind == wire.MEMBERS else b""
            [number] = wire.CREDIT.unpack_from(payload)
            worker.hears(wire.PRESENCE if found else wire.RESULT, "", wire.RESULT_HEAD.pack(number, wire.OK) + found)
        assert await asyncio.gather(*asking) == [None, None, (0, 0, [])] and again == asked


@dialogue
async def test_a_send_waits_for_a_server_that_restarts(path):
    layer = LocalChannelLayer(path=path)
    sending = asyncio.ensure_future(layer.send("shared", {"type": "x"}))
    await asyncio.sleep(0)
    async with Hub(path) as hub:
        worker = await hub.worker()
        assert (await worker.asks())[1] == "shared"
        await sending


@dialogue
async def test_no_server_is_an_error_with_a_sentence(path, monkeypatch, caplog):
    monkeypatch.setattr(home, "PATIENCE", 0.2)
    layer = LocalChannelLayer(path=path)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="no interface server at .*hub.sock within 0.2 s"):
            await layer.send("shared", {"type": "x"})
    assert len([record for record in caplog.records if path in record.getMessage()]) == 1


@pytest.mark.parametrize("welcome, said", [({"version": 9}, "version 9"), ({"refused": "no such name"}, "no such name")])
@dialogue
async def test_a_server_that_refuses_is_logged_with_its_reason(path, caplog, welcome, said):
    async with Hub(path, **welcome) as hub:
        waiting = await receiving(LocalChannelLayer(path=path), "jobs")
        assert (await (await hub.worker()).says())[0] == 0
        assert said in caplog.text
        waiting.cancel()


@dialogue
async def test_bytes_that_are_no_frames_end_the_connection_and_nothing_else(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        waiting = await receiving(layer, "jobs")
        worker = await hub.worker()
        worker.writer.write(b"\xff" * 100)
        worker = await hub.worker()
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 1})
        assert await waiting == {"n": 1}


@dialogue
async def test_every_thread_may_send(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        calls = [asyncio.to_thread(async_to_sync(layer.send), "shared", {"n": n}) for n in range(5)]
        sending = asyncio.gather(*calls)
        assert {wire.unpack((await worker.asks())[2])["n"] for _ in range(5)} == set(range(5))
        await sending
        replying = asyncio.ensure_future(asyncio.to_thread(async_to_sync(layer.send), f"{SERVER}!a", {"n": 9}))
        assert await worker.replies() == (f"{SERVER}!a", {"n": 9})
        await replying


@dialogue
async def test_another_loop_may_receive(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        receiving_there = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(layer.receive("jobs"))))
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        worker.gets("jobs", {"n": 1})
        assert await receiving_there == {"n": 1}
        assert (await worker.says())[0] == wire.STARTED
        cancelled = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(timing_out(layer))))
        assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
        assert (await worker.says())[0] == wire.WITHDRAW
        await cancelled


async def timing_out(layer):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive("jobs"), 0.01)


@dialogue
async def test_without_a_receiver_a_thread_of_its_own_holds_the_connection(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        sending = asyncio.ensure_future(asyncio.to_thread(async_to_sync(layer.send), "shared", {"n": 1}))
        worker = await hub.worker()
        await worker.asks()
        await sending
        sending = asyncio.ensure_future(asyncio.to_thread(async_to_sync(layer.send), "shared", {"n": 2}))
        assert wire.unpack((await worker.asks())[2]) == {"n": 2}
        await sending
        assert layer.home.spare
        waiting = await receiving(layer, "jobs")
        assert (await worker.says())[0] == 0, "the spare home has left"
        moved = await hub.worker()
        assert await moved.says_credit() == (wire.LISTEN, "jobs", 1)
        assert moved.process == worker.process
        waiting.cancel()


@dialogue
async def test_a_home_whose_loop_has_ended_is_replaced(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        for n in range(2):
            there = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(layer.receive("jobs"))))
            worker = await hub.worker()
            assert await worker.says_credit() == (wire.LISTEN, "jobs", 1)
            worker.gets("jobs", {"n": n})
            assert await there == {"n": n}
            assert (await worker.says())[0] == wire.STARTED
            assert (await worker.says())[0] == 0


@dialogue
async def test_a_forked_process_is_a_process_of_its_own(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        child = await asyncio.to_thread(fork, layer)
        born = await hub.worker()
        assert born.process != worker.process and born.hello["pid"] == child
        assert (await born.asks())[1] == "shared"
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        await layer.send(f"{SERVER}!a", {"n": 1})
        assert await worker.replies() == (f"{SERVER}!a", {"n": 1})


def fork(layer) -> int:
    child = os.fork()
    if child == 0:
        try:
            thread = threading.Thread(target=lambda: asyncio.run(layer.send("shared", {"type": "x"})))
            thread.start()
            thread.join()
        finally:
            os._exit(0)
    return child


@dialogue
async def test_close_ends_the_connection_until_the_next_call(path):
    async with Hub(path) as hub:
        layer = LocalChannelLayer(path=path)
        worker = await met(hub, layer)
        await layer.close()
        assert (await worker.says())[0] == 0
        sending = asyncio.ensure_future(layer.send("shared", {}))
        await (await hub.worker()).asks()
        await sending
        await layer.close()

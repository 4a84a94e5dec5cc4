"""Channels: their capacities, and how they are emptied."""
from interfaces.contract import ChannelFull
from interfaces.layers.conformance.harness import every, numbers, opened, refused


@every
async def a_full_channel_says_so(harness):
    layer, server = await opened(harness, capacity=3)
    worker = await harness.worker("a")
    for n in range(3):
        await layer.send("mqtt.receive", {"n": n})
    assert await refused(ChannelFull, lambda: layer.send("mqtt.receive", {"n": 3}))
    assert await refused(ChannelFull, lambda: worker.send("mqtt.receive", {"n": 3}))
    await worker.send("another", {"n": 0})
    assert await refused(ChannelFull, lambda: worker.send("another", {"n": 1}, capacity=1))
    await worker.listen("mqtt.receive", 9)
    await harness.settle()
    assert numbers(worker.got("mqtt.receive")) == [0, 1, 2]
    await worker.started("mqtt.receive", 3)
    await layer.send("mqtt.receive", {"n": 4})
    await harness.settle()
    assert numbers(worker.got("mqtt.receive")) == [4]


@every
async def expired_messages_take_no_room(harness):
    layer, server = await opened(harness, capacity=2, expiry=60)
    for n in range(2):
        await layer.send("mqtt.receive", {"n": n})
    await harness.advance(61)
    await layer.send("mqtt.receive", {"n": 2})
    worker = await harness.worker("a")
    await worker.listen("mqtt.receive", 9)
    await harness.settle()
    assert numbers(worker.got("mqtt.receive")) == [2]


@every
async def a_body_channel_has_its_own_capacity(harness):
    layer, server = await opened(harness, capacities={"http.request.body.": 8})
    for n in range(8):
        await layer.send("http.request.body.x", {"n": n})
    assert await refused(ChannelFull, lambda: layer.send("http.request.body.x", {"n": 8}))
    await layer.send("http.request.body.y", {"n": 0})


@every
async def a_deleted_channel_is_empty(harness):
    layer, server = await opened(harness)
    for channel in ("http.request.body.x", "an.ordinary.one"):
        await layer.send(channel, {"n": 1})
        await layer.delete(channel)
    await layer.delete("never.was.there")
    worker = await harness.worker("a")
    for channel in ("http.request.body.x", "an.ordinary.one"):
        await worker.listen(channel, 9)
    await layer.send("an.ordinary.one", {"n": 2})
    await harness.settle()
    assert worker.got("http.request.body.x") == []
    assert numbers(worker.got("an.ordinary.one")) == [2]


@every
async def a_flush_empties_channels_and_groups(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await layer.send("http.request", {"n": 1})
    await layer.group_add("group", server.name("c"))
    await worker.flush()
    await layer.group_send("group", {"n": 2})
    await worker.listen("http.request", 9)
    await layer.send("http.request", {"n": 3})
    await harness.settle()
    assert numbers(worker.got("http.request")) == [3]
    assert server.heard() == []

"""Groups: who hears, and who no longer does."""
from interfaces.layers.conformance.harness import credit, every, numbers, opened


@every
async def a_group_reaches_each_member_once(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await server.request("c1")
    for channel in (server.name("c1"), f"{a.process}!x", f"{a.process}!y", f"{b.process}!z", "a.shared.channel"):
        await a.group_add("group", channel)
        await b.group_add("group", channel)
    await layer.group_add("group", server.name("c2"))
    await a.listen("a.shared.channel", 9)
    await b.group_send("group", {"n": 1})
    await layer.group_send("group", {"n": 2})
    await harness.settle()
    assert sorted((connection, message["n"]) for connection, message in server.heard()) == [
        ("c1", 1), ("c1", 2), ("c2", 1), ("c2", 2)]
    for channel in (f"{a.process}!x", f"{a.process}!y", "a.shared.channel"):
        assert numbers(a.got(channel)) == [1, 2]
    assert numbers(b.got(f"{b.process}!z")) == [1, 2]


@every
async def members_of_a_group_get_copies(harness):
    layer, server = await opened(harness)
    for n in range(2):
        await layer.group_add("group", server.name(f"c{n}"))
    await layer.group_send("group", {"n": 1})
    await harness.settle()
    (_, first), (_, second) = server.heard()
    first["n"] = 2
    assert second == {"n": 1}


@every
async def who_left_a_group_hears_nothing(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await worker.group_add("group", f"{worker.process}!x")
    await layer.group_add("group", server.name("c"))
    await worker.group_discard("group", f"{worker.process}!x")
    await layer.group_discard("group", server.name("c"))
    await layer.group_discard("group", server.name("never.was.there"))
    await worker.group_discard("never.was.there", f"{worker.process}!x")
    await layer.group_send("group", {"n": 1})
    await harness.settle()
    assert worker.got(f"{worker.process}!x") == []
    assert server.heard() == []


@every
async def memberships_expire_and_are_renewed(harness):
    layer, server = await opened(harness, group_expiry=100)
    await layer.group_add("group", server.name("once"))
    await layer.group_add("group", server.name("renewed"))
    await harness.advance(60)
    await layer.group_add("group", server.name("renewed"))
    await harness.advance(60)
    await layer.group_send("group", {"n": 1})
    await harness.settle()
    assert server.heard() == [("renewed", {"n": 1})]


@every
async def a_full_member_is_skipped(harness):
    layer, server = await opened(harness, capacity=1)
    await layer.group_add("group", "full.channel")
    await layer.group_add("group", server.name("c"))
    await layer.send("full.channel", {"n": 0})
    await layer.group_send("group", {"n": 1})
    worker = await harness.worker("a")
    await worker.listen("full.channel", 9)
    await harness.settle()
    assert numbers(worker.got("full.channel")) == [0]
    assert server.heard() == [("c", {"n": 1})]


@every
async def a_forgotten_connection_is_in_no_group(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await server.request("c")
    await worker.group_add("one", server.name("c"))
    await layer.group_add("two", server.name("c"))
    server.address.forget("c")
    await worker.group_send("one", {"n": 1})
    await layer.group_send("two", {"n": 2})
    await harness.settle()
    assert server.heard() == []


@credit
async def a_dead_process_is_in_no_group(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await worker.group_add("group", f"{worker.process}!x")
    await worker.die()
    again = await harness.worker("a")
    await layer.group_send("group", {"n": 1})
    await harness.settle()
    assert again.got(f"{again.process}!x") == []


@credit
async def a_connection_that_is_over_joins_no_group(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await server.request("c")
    server.address.forget("c")
    await worker.group_add("group", server.name("c"))
    await layer.group_send("group", {"n": 1})
    await harness.settle()
    assert server.heard() == []

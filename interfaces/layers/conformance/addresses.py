"""Whose a message is: the server's connections, a worker's own channels, nobody's."""
from interfaces.layers.conformance.harness import Server, every, opened


@every
async def replies_reach_their_connection_in_order(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    for n in range(5):
        await worker.send(server.name(f"c{n % 2}"), {"n": n})
    await harness.settle()
    assert server.heard() == [(f"c{n % 2}", {"n": n}) for n in range(5)]


@every
async def addresses_are_unguessable_and_each_gets_its_own(harness):
    layer, server = await opened(harness)
    other = Server(layer)
    other.address = await layer.open("interface", other.deliver)
    for prefix in (server.address.prefix, other.address.prefix):
        assert prefix.startswith("interface.") and len(prefix) == len("interface.") + 22
    assert other.address.prefix != server.address.prefix
    worker = await harness.worker("a")
    await worker.send(other.name("c"), {"n": 1})
    await worker.send(server.name("c"), {"n": 2})
    await harness.settle()
    assert other.heard() == [("c", {"n": 1})]
    assert server.heard() == [("c", {"n": 2})]


@every
async def what_is_nobodys_is_dropped(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await layer.send("specific.nobody!c", {"n": 1})
    await worker.send("specific.nobody!c", {"n": 1})
    await worker.send(server.address.prefix[:-1] + "!c", {"n": 1})
    await layer.group_add("group", "specific.nobody!c")
    await worker.group_add("group", "specific.nobody!c")
    await layer.group_send("group", {"n": 2})
    await harness.settle()
    assert server.heard() == []


@every
async def a_process_gets_what_is_its_own(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await layer.send(f"{a.process}!x", {"n": 1})
    await b.send(f"{a.process}!y", {"n": 2})
    await harness.settle()
    assert a.got(f"{a.process}!x") == [{"n": 1}]
    assert a.got(f"{a.process}!y") == [{"n": 2}]
    assert b.got(f"{a.process}!x") == []


@every
async def nothing_is_delivered_inside_a_send(harness):
    layer, server = await opened(harness)
    await layer.group_add("group", server.name("c"))
    for sending in (lambda: layer.send(server.name("c"), {"n": 1}), lambda: layer.group_send("group", {"n": 2})):
        before = len(server.items)
        sent = sending()
        assert len(server.items) == before
        await sent
    await harness.settle()
    assert server.heard() == [("c", {"n": 1}), ("c", {"n": 2})]


@every
async def an_answer_given_inside_a_delivery_waits_its_turn(harness):
    layer, server = await opened(harness)
    inside, depths = [], []

    def deliver(connection, item):
        depths.append(len(inside))
        inside.append(connection)
        if item["n"] < 3:
            layer.send(f"{address.prefix}!c", {"n": item["n"] + 1})
        inside.pop()

    address = await layer.open("interface", deliver)
    worker = await harness.worker("a")
    await worker.send(f"{address.prefix}!c", {"n": 0})
    for _ in range(4):
        await harness.settle()
    assert depths == [0, 0, 0, 0]


@every
async def a_delivery_that_fails_stops_no_other(harness):
    layer, server = await opened(harness)

    def deliver(connection, item):
        raise RuntimeError("this story broke")

    broken = await layer.open("interface", deliver)
    worker = await harness.worker("a")
    await worker.send(f"{broken.prefix}!c", {"n": 1})
    await worker.send(server.name("c"), {"n": 2})
    await harness.settle()
    assert server.heard() == [("c", {"n": 2})]

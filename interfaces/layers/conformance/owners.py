"""Owners: who took a connection, and who died with it."""
from interfaces.contract import Lost, Taken
from interfaces.layers.conformance.harness import credit, opened


@credit
async def the_server_hears_who_took_a_connection(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 1)
    await server.request("owned")
    await b.listen("http.request", 1)
    await server.request("plain")
    await harness.settle()
    await a.started("http.request", 1, f"{a.process}!owner")
    await b.started("http.request", 1)
    await harness.settle()
    assert server.heard() == [("owned", Taken(f"{a.process}!owner")), ("plain", Taken(None))]


@credit
async def a_lost_owner_is_told_once(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 2)
    await server.request("one")
    await server.request("two")
    await harness.settle()
    await a.started("http.request", 2, f"{a.process}!owner")
    await b.listen("http.request", 1)
    await server.request("plain")
    await harness.settle()
    await b.started("http.request", 1)
    await harness.settle()
    server.heard()
    await a.die()
    await b.die()
    await harness.settle()
    assert server.heard() == [("", Lost(a.process))]


@credit
async def who_owned_only_what_is_over_is_no_loss(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await worker.listen("http.request", 2)
    await server.request("answered")
    await server.request("left.early")
    await harness.settle()
    await worker.started("http.request", 1, f"{worker.process}!owner")
    await harness.settle()
    server.address.forget("answered")
    server.address.forget("left.early")
    await worker.started("http.request", 1, f"{worker.process}!owner")
    await worker.die()
    await harness.settle()
    owner = f"{worker.process}!owner"
    assert server.heard() == [("answered", Taken(owner)), ("left.early", Taken(owner))], "the second learns that it is over"


@credit
async def an_owner_by_reply_is_an_owner(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 1)
    await server.request("c")
    await harness.settle()
    await a.started("http.request", 1, f"{a.process}!owner")
    await b.send(server.name("c"), {"type": "x", "receive_channel": f"{b.process}!owner"})
    await harness.settle()
    server.heard()
    await b.die()
    await harness.settle()
    assert server.heard() == [("", Lost(b.process))]

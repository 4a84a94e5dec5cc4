"""What a message is when it comes, and when it no longer comes."""
from interfaces.contract import MessageTooLarge
from interfaces.layers.conformance.harness import every, expiries, numbers, opened, refused


@every
async def messages_arrive_in_order(harness):
    layer, server = await opened(harness)
    for n in range(10):
        await layer.send("http.request", {"n": n})
    worker = await harness.worker("a")
    await worker.listen("http.request", 20)
    for n in range(10, 20):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    assert numbers(worker.got("http.request")) == list(range(20))


VALUES = {"none": None, "true": True, "false": False, "int": 7, "largest": 2 ** 63 - 1, "smallest": -2 ** 63,
          "float": 0.1,
          "str": "h\u00e9\u4e2d\U0001f40d\x00", "bytes": bytes(range(256)), "list": [1, [2, [b"x", None]]],
          "dict": {"a": {"b": []}}, "empty": ["", b"", [], {}]}


@every
async def values_arrive_unchanged(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await worker.listen("http.request", 1)
    await layer.send("http.request", VALUES)
    await worker.send(server.name("c"), VALUES)
    await harness.settle()
    for values in (worker.got("http.request")[0], server.heard()[0][1]):
        assert values == VALUES
        assert [type(value) for value in values.values()] == [type(value) for value in VALUES.values()]


@every
async def a_message_is_as_it_was_sent(harness):
    layer, server = await opened(harness)
    message = {"headers": [["a"]], "n": 1}
    await layer.send("http.request", message)
    await layer.send(server.name("c"), message)
    message["headers"][0].append("later")
    message["n"] = 2
    worker = await harness.worker("a")
    await worker.listen("http.request", 1)
    await harness.settle()
    assert worker.got("http.request") == [{"headers": [["a"]], "n": 1}]
    assert server.heard() == [("c", {"headers": [["a"]], "n": 1})]


@every
async def a_large_message_is_refused_at_its_send(harness):
    layer, server = await opened(harness, max_message=1000)
    worker = await harness.worker("a")
    await layer.group_add("group", server.name("c"))
    large = {"body": b"x" * 1000}
    assert await refused(MessageTooLarge, lambda: layer.send("http.request", large))
    assert await refused(MessageTooLarge, lambda: layer.send(server.name("c"), large))
    assert await refused(MessageTooLarge, lambda: layer.group_send("group", large))
    assert await refused(MessageTooLarge, lambda: worker.send(server.name("c"), large))
    assert await refused(MessageTooLarge, lambda: worker.group_send("group", large))
    await layer.send("http.request", {"body": b"x" * 900})
    await worker.listen("http.request", 9)
    await harness.settle()
    assert [len(message["body"]) for message in worker.got("http.request")] == [900]
    assert server.heard() == []


@expiries
async def messages_expire(harness):
    layer, server = await opened(harness, expiry=60)
    worker = await harness.worker("a")
    await layer.send("http.request", {"n": 1})
    await worker.send("http.request", {"n": 2}, expiry=90)
    await harness.advance(59)
    await layer.send("http.request", {"n": 3})
    await harness.advance(2)
    await worker.listen("http.request", 9)
    await harness.settle()
    assert numbers(worker.got("http.request")) == [2, 3]


@expiries
async def a_deadline_is_when_a_message_expires(harness):
    layer, server = await opened(harness, expiry=60)
    await layer.send("http.request", {"n": 1, "deadline": harness.now() + 5})
    await layer.send("http.request", {"n": 2, "deadline": harness.now() + 120})
    await layer.send("http.request", {"n": 3})
    await harness.advance(61)
    worker = await harness.worker("a")
    await worker.listen("http.request", 9)
    await harness.settle()
    assert numbers(worker.got("http.request")) == [2]

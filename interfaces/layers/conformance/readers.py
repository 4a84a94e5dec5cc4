"""Credit: who reads a shared channel, and to whom its messages go when a reader dies."""
from interfaces.layers.conformance.harness import credit, numbers, opened


@credit
async def no_more_is_pushed_than_was_asked_for(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await worker.listen("http.request", 0)
    for n in range(9):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    assert worker.got("http.request") == []
    await worker.listen("http.request", 2)
    await harness.settle()
    assert numbers(worker.got("http.request")) == [0, 1]
    await worker.started("http.request", 2)
    await harness.settle()
    assert worker.got("http.request") == []
    await worker.listen("http.request", 3)
    await worker.listen("http.request", 1)
    await harness.settle()
    assert numbers(worker.got("http.request")) == [2, 3, 4, 5]


@credit
async def the_reader_with_most_room_is_first(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 2)
    await b.listen("http.request", 4)
    for n in range(6):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    assert sorted(numbers(a.got("http.request")) + numbers(b.got("http.request"))) == list(range(6))
    await a.listen("http.request", 3)
    await b.listen("http.request", 3)
    for n in range(6):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    first, second = numbers(a.got("http.request")), numbers(b.got("http.request"))
    assert sorted([first, second]) == [[0, 2, 4], [1, 3, 5]]


@credit
async def of_equal_readers_the_one_that_waited_longest_is_next(harness):
    layer, server = await opened(harness)
    workers = [await harness.worker(name) for name in "abc"]
    for worker in workers:
        await worker.listen("http.request", 1)
    turns = []
    for n in range(7):
        await layer.send("http.request", {"n": n})
        await harness.settle()
        [took] = [worker for worker in workers if worker.got("http.request")]
        await took.started("http.request", 1)
        await took.listen("http.request", 1)
        turns.append(took.process)
    assert turns[:3] == turns[3:6] and len(set(turns[:3])) == 3 and turns[6] == turns[0]


@credit
async def what_a_killed_worker_did_not_start_goes_to_another_in_order(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 4)
    for n in range(6):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    assert numbers(a.got("http.request")) == [0, 1, 2, 3]
    await a.started("http.request", 1)
    await a.die()
    await b.listen("http.request", 9)
    await harness.settle()
    assert numbers(b.got("http.request")) == [1, 2, 3, 4, 5]


@credit
async def what_two_killed_workers_had_comes_back_in_order(harness):
    layer, server = await opened(harness)
    a, b, c = [await harness.worker(name) for name in "abc"]
    await a.listen("http.request", 3)
    await b.listen("http.request", 3)
    for n in range(8):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    await b.die()
    await a.die()
    await c.listen("http.request", 9)
    await harness.settle()
    assert numbers(c.got("http.request")) == list(range(8))


@credit
async def a_withdrawn_worker_gets_nothing_more(harness):
    layer, server = await opened(harness)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 4)
    for n in range(3):
        await layer.send("http.request", {"n": n})
    await harness.settle()
    await a.started("http.request", 1)
    await a.withdraw("http.request")
    await layer.send("http.request", {"n": 3})
    await harness.settle()
    assert numbers(a.got("http.request")) == [0, 1, 2]
    await b.listen("http.request", 9)
    await harness.settle()
    assert numbers(b.got("http.request")) == [1, 2, 3]
    await a.listen("http.request", 1)
    await b.withdraw("http.request")
    await harness.settle()
    assert numbers(a.got("http.request")) == [1]


@credit
async def what_comes_back_too_late_has_expired(harness):
    layer, server = await opened(harness, expiry=60)
    a, b = await harness.worker("a"), await harness.worker("b")
    await a.listen("http.request", 1)
    await layer.send("http.request", {"n": 1})
    await harness.settle()
    await harness.advance(61)
    await a.die()
    await b.listen("http.request", 9)
    await harness.settle()
    assert b.got("http.request") == []


@credit
async def it_is_known_who_listens(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    await harness.advance(3)
    assert not layer.listening("http.request") and layer.deserted("http.request") == 3
    await worker.listen("http.request", 0)
    await harness.settle()
    assert layer.listening("http.request") and layer.deserted("http.request") == 0
    await harness.advance(5)
    await worker.die()
    await harness.advance(2)
    assert not layer.listening("http.request") and layer.deserted("http.request") == 2


@credit
async def what_comes_and_goes_leaves_no_trace(harness):
    layer, server = await opened(harness)
    worker = await harness.worker("a")
    before = layer.statistics()
    for n in range(50):
        body = f"http.request.body.{n}"
        await server.request(f"c{n}", deadline=harness.now() + 1)
        await layer.send(body, {"n": n})
        await worker.listen(body, 9)
        await layer.send(body, {"n": n})
        await worker.started(body, 1)
        await layer.delete(body)
        await worker.started(body, 1)
        await worker.listen(body, 1)
        await worker.group_add(f"group{n}", server.name(f"c{n}"))
        server.address.forget(f"c{n}")
    await harness.settle()
    await harness.advance(100)
    await layer.send("http.request", {"n": 1})
    await worker.listen("http.request", 9)
    await harness.settle()
    await worker.started("http.request", 1)
    await worker.withdraw("http.request")
    await harness.settle()
    after = layer.statistics()
    for kept in ("waiting", "readers", "groups", "bytes"):
        assert after[kept] == before[kept]

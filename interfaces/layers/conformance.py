"""What every layer keeps. One suite, on a clock: give it a Harness, and run each of `checks(harness)`.

A check is a coroutine function of a Harness and raises AssertionError. It awaits whatever the layer gives, so it runs
under `ensureDeferred` as well as, where everything happens at the call, by hand (`run`). A layer that doesn't push by
credit (one whose readers pull, as from Redis) leaves `credit` False, and is spared the checks that speak of it; one that
keeps all messages of a channel equally long, whatever their deadline, leaves `expiries` False.
"""
from typing import Any, Protocol

from interfaces.contract import Address, ChannelFull, ChannelLayer, Lost, MessageTooLarge, Taken


class Worker(Protocol):
    """A worker process of the layer under test. Messages are dicts. `send` raises as the layer's own does."""
    process: str

    async def listen(self, channel: str, n: int) -> None: ...               # n more may come
    async def withdraw(self, channel: str) -> None: ...
    async def started(self, channel: str, n: int, owner: str = "") -> None: ...
    async def send(self, channel: str, message: dict, capacity: int = 0, expiry: float = 0.0) -> None: ...
    async def group_add(self, group: str, channel: str, expiry: int = 0) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict) -> None: ...
    async def flush(self) -> None: ...
    async def die(self) -> None: ...                                        # as by kill -9
    def got(self, channel: str) -> list[dict]: ...                          # what came since the last call, in order


class Harness(Protocol):
    """One layer on a clock that is far from the time of day, and what its tests do to it."""
    credit: bool
    expiries: bool

    async def make(self, **limits) -> ChannelLayer: ...                     # shared.Limits' names; called once
    async def worker(self, name: str) -> Worker: ...                        # its process is "specific.<name>"
    async def advance(self, seconds: float) -> None: ...
    async def settle(self) -> None: ...                                     # until nothing is on its way
    def now(self) -> float: ...


class Server:
    """The server's side of a check: an address, and what was delivered to it."""

    def __init__(self, layer: ChannelLayer):
        self.layer, self.items = layer, []
        self.address: Address | None = None

    def deliver(self, connection: str, item: Any) -> None:
        self.items.append((connection, item))

    def name(self, connection: str) -> str:
        return f"{self.address.prefix}!{connection}"

    def heard(self) -> list[tuple[str, Any]]:
        heard, self.items = self.items, []
        return heard

    async def request(self, connection: str, **more) -> None:
        """The first message of a connection."""
        await self.layer.send("http.request", {"type": "http.request", "reply_channel": self.name(connection), **more})


EVERY, CREDIT, EXPIRIES = [], [], []


def every(check):
    EVERY.append(check)
    return check


def credit(check):
    CREDIT.append(check)
    return check


def expiries(check):
    EXPIRIES.append(check)
    return check


def checks(harness_class) -> list:
    """The checks that apply to a harness (its class, or itself)."""
    return EVERY + (CREDIT if harness_class.credit else []) + (EXPIRIES if harness_class.expiries else [])


def run(coroutine) -> None:
    """Drive a check in which nothing really waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("the layer made the check wait")


async def opened(harness: Harness, **limits) -> tuple[ChannelLayer, Server]:
    layer = await harness.make(**limits)
    server = Server(layer)
    server.address = await layer.open("interface", server.deliver)
    return layer, server


def numbers(messages: list[dict]) -> list[int]:
    return [message["n"] for message in messages]


async def refused(error: type[Exception], sending) -> bool:
    """Does `sending()` raise this, at the call or from its awaitable?"""
    try:
        await sending()
    except error:
        return True
    return False


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
async def a_body_channel_has_its_own_capacity(harness):
    layer, server = await opened(harness, capacities={"http.request.body.": 8})
    for n in range(8):
        await layer.send("http.request.body.x", {"n": n})
    assert await refused(ChannelFull, lambda: layer.send("http.request.body.x", {"n": 8}))
    await layer.send("http.request.body.y", {"n": 0})


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

"""What the layers in memory promise beyond conformance: bounds in bytes, no timers, and counts that add up."""
import pytest

from interfaces.contract import ChannelFull
from interfaces.layers.conformance import opened, run


def counts(layer, *names):
    statistics = layer.statistics()
    return [statistics[name] for name in names]


def test_a_channel_is_bounded_in_bytes(harness):
    async def story():
        layer, server = await opened(harness, max_bytes=5000)
        for _ in range(4):
            layer.send("mqtt.receive", {"payload": b"x" * 1200})
        with pytest.raises(ChannelFull, match="mqtt.receive holds 4 messages, 48.. bytes"):
            layer.send("mqtt.receive", {"payload": b"x" * 1200})
        layer.send("smtp.receive", {"payload": b"x" * 1200})
    run(story())


def test_all_channels_together_are_bounded_in_bytes(harness):
    async def story():
        layer, server = await opened(harness, max_total=5000)
        for n in range(4):
            layer.send(f"http.request.body.{n}", {"content": b"x" * 1200})
        with pytest.raises(ChannelFull):
            layer.send("http.request.body.5", {"content": b"x" * 1200})
        layer.delete("http.request.body.0")
        layer.send("http.request.body.5", {"content": b"x" * 1200})
        await harness.advance(61)
        for n in range(4):
            layer.send(f"http.request.body.1{n}", {"content": b"x" * 1200})
        assert counts(layer, "expired", "full") == [4, 1]
    run(story())


def test_what_has_expired_anywhere_makes_room_for_a_new_channel(harness):
    async def story():
        layer, server = await opened(harness, max_total=5000)
        await harness.advance(20)
        layer.send("mqtt.receive", {})
        for _ in range(4):
            layer.send("http.request", {"body": b"x" * 1200, "deadline": harness.now() + 1})
        await harness.advance(2)        # sooner than the usual sweep
        layer.send("smtp.receive", {"body": b"x" * 1200})
        assert layer.statistics()["waiting"] == {"mqtt.receive": 1, "smtp.receive": 1}
    run(story())


def test_what_a_worker_says_comes_after_what_the_server_said_before(harness):
    async def story():
        layer, server = await opened(harness)
        worker = await harness.worker("a")
        layer.send(server.name("c"), {"n": 1})
        await worker.send(server.name("c"), {"n": 2})
        await harness.settle()
        assert [message["n"] for connection, message in server.heard()] == [1, 2]
    run(story())


def test_who_comes_again_under_its_name_replaces_itself(harness):
    async def story():
        layer, server = await opened(harness)
        first = await harness.worker("a")
        await first.listen("http.request", 9)
        layer.send("http.request", {"n": 1})
        again = await harness.worker("a")
        layer.send("http.request", {"n": 2})
        await again.listen("http.request", 9)
        assert [message["n"] for message in again.got("http.request")] == [1, 2]
        assert [message["n"] for message in first.got("http.request")] == [1]
        assert list(layer.statistics()["readers"]) == ["specific.a"]
    run(story())


def test_what_was_pushed_holds_its_place_until_it_is_started(harness):
    async def story():
        layer, server = await opened(harness, capacity=2)
        worker = await harness.worker("a")
        await worker.listen("http.request", 9)
        for n in range(2):
            layer.send("http.request", {"n": n})
        with pytest.raises(ChannelFull):
            layer.send("http.request", {"n": 2})
        await worker.started("http.request", 1)
        layer.send("http.request", {"n": 2})
    run(story())


def test_expired_leftovers_go_at_the_next_send_and_no_timer_runs(harness):
    async def story():
        layer, server = await opened(harness)
        for n in range(100):
            layer.send(f"one.off.{n}", {"n": n})
        assert harness.clock.getDelayedCalls() == []
        await harness.advance(61)
        layer.send("http.request", {"n": 0})
        assert list(layer.statistics()["waiting"]) == ["http.request"]
        assert counts(layer, "sent", "expired") == [101, 100]
        assert len(layer.shared.channels) == 1
    run(story())


def test_closing_leaves_no_timer_and_delivers_nothing_more(harness):
    async def story():
        layer, server = await opened(harness)
        layer.send(server.name("c"), {"n": 1})
        assert len(harness.clock.getDelayedCalls()) == 1
        layer.close()
        assert harness.clock.getDelayedCalls() == []
        await harness.settle()
        assert server.heard() == []
    run(story())


def test_a_delivery_may_close_the_layer(harness):
    async def story():
        layer = await harness.make()
        heard = []

        def deliver(connection, item):
            heard.append(connection)
            layer.close()

        address = await layer.open("interface", deliver)
        for connection in ("one", "two"):
            layer.send(f"{address.prefix}!{connection}", {})
        await harness.settle()
        assert heard == ["one"]
        assert harness.clock.getDelayedCalls() == []
    run(story())


@pytest.mark.parametrize("message", [{"x": object()}, {"x": 2 ** 64}, {"x": "\udc80"}])
def test_what_no_message_can_carry_is_the_senders_error(harness, message):
    async def story():
        layer, server = await opened(harness)
        with pytest.raises((TypeError, ValueError, OverflowError)):
            layer.send("http.request", message)
        layer.send("http.request", {"n": 1})
        assert layer.statistics()["waiting"] == {"http.request": 1}
    run(story())


@pytest.mark.parametrize("channel", ["", "with space", "x" * 100, "h\u00e9", "a/b", "a\n", "a?b"])
def test_a_name_that_no_channel_can_have(harness, channel):
    async def story():
        layer, server = await opened(harness)
        with pytest.raises(ValueError, match="no shared channel's name"):
            layer.send(channel, {})
        assert layer.shared.channels == {}
    run(story())


def test_counts_add_up(harness):
    async def story():
        layer, server = await opened(harness, capacity=4)
        worker = await harness.worker("a")
        for n in range(4):
            layer.send("http.request", {"n": n})
        with pytest.raises(ChannelFull):
            layer.send("http.request", {"n": 4})
        await worker.listen("http.request", 3)
        await worker.started("http.request", 2)
        await worker.send("specific.nobody!x", {})
        assert layer.statistics() == {
            "sent": 4, "delivered": 2, "dropped": 1, "expired": 0, "full": 1, "bytes": 8, "groups": 0,
            "waiting": {"http.request": 1},
            "readers": {"specific.a": {"http.request": {"credit": 0, "unstarted": 1}}}}
    run(story())

"""A Channels layer that is not ours, on asyncio: the in-memory one of Channels itself, and some that fail."""
import asyncio
import functools
import subprocess
import sys

import pytest
from channels.exceptions import ChannelFull as ChannelsFull
from channels.layers import InMemoryChannelLayer
from twisted.internet.defer import Deferred, ensureDeferred

from interfaces.contract import ChannelFull, Gap, LayerDown, MessageTooLarge
from interfaces.layers import conformance, foreign
from interfaces.layers.conformance import addresses, groups, messages
from interfaces.layers.configured import Configured
from interfaces.layers.foreign import ForeignLayer, load

PATIENCE = 10.0             # seconds until a test that hangs has failed


def dialogue(test):
    """Deferreds and futures both, on an event loop of the test's own."""
    @functools.wraps(test)
    def run(*args, **kwargs):
        async def main():
            await asyncio.wait_for(ensureDeferred(test(*args, **kwargs)).asFuture(asyncio.get_running_loop()), PATIENCE)
        asyncio.run(main())
    return run


def future(coroutine) -> Deferred:
    return Deferred.fromFuture(asyncio.ensure_future(coroutine))


async def turns(n=20):
    for _ in range(n):
        await asyncio.sleep(0)


class Worker:
    """Reads the backend as a stock runworker does."""

    def __init__(self, backend, name):
        self.backend, self.process, self.boxes, self.tasks = backend, f"specific.{name}", {}, []

    async def listen(self, channel, n):
        async def read():
            while True:
                self.boxes.setdefault(channel, []).append(await self.backend.receive(channel))
        self.tasks.append(asyncio.ensure_future(read()))

    def got(self, channel):
        return self.boxes.pop(channel, [])

    async def send(self, channel, message, capacity=0, expiry=0.0):
        await future(self.backend.send(channel, message))

    async def group_add(self, group, channel, expiry=0):
        await future(self.backend.group_add(group, channel))

    async def group_discard(self, group, channel):
        await future(self.backend.group_discard(group, channel))

    async def group_send(self, group, message):
        await future(self.backend.group_send(group, message))

    async def flush(self):
        await future(self.backend.flush())


class ForeignHarness:
    credit = expiries = False

    async def make(self, max_message=2 ** 21, **limits):
        self.backend = InMemoryChannelLayer(capacity=limits.get("capacity", 5000))
        self.layer = ForeignLayer(self.backend, max_message=max_message)
        return self.layer

    async def worker(self, name):
        return Worker(self.backend, name)

    async def settle(self):
        await future(turns())

    def now(self):
        return 1_700_000_000.0


# The rest speaks of clocks, of capacities of single channels, or of what Channels' API has no word for.
@pytest.mark.parametrize("check", [
    messages.messages_arrive_in_order, messages.values_arrive_unchanged, messages.a_message_is_as_it_was_sent,
    addresses.replies_reach_their_connection_in_order, addresses.nothing_is_delivered_inside_a_send,
    groups.members_of_a_group_get_copies, groups.who_left_a_group_hears_nothing], ids=lambda check: check.__name__)
def test_it_keeps_what_a_layer_must(check, monkeypatch):
    def named(server, connection):
        server.address.expect(connection)       # the suite speaks to connections that sent nothing; here each begins by sending
        return name(server, connection)
    name = conformance.Server.name
    monkeypatch.setattr(conformance.Server, "name", named)
    dialogue(check)(ForeignHarness())


class Server:
    """An interface server's side: what is delivered to it, as it comes."""

    def __init__(self, backend, **more):
        self.layer, self.heard = ForeignLayer(backend, **more), asyncio.Queue()

    async def opens(self):
        self.address = await self.layer.open("interface", lambda *item: self.heard.put_nowait(item))

    def name(self, connection):
        return f"{self.address.prefix}!{connection}"

    async def asks(self, connection):
        await self.layer.send("http.request", {"type": "http.request", "reply_channel": self.name(connection)})

    async def hears(self):
        return await future(self.heard.get())


@dialogue
async def test_a_question_is_answered_and_a_forgotten_connection_is_read_no_more():
    backend = InMemoryChannelLayer()
    server = Server(backend)
    await server.opens()
    await server.asks("one")
    request = await future(backend.receive("http.request"))
    assert request == {"type": "http.request", "reply_channel": server.name("one")}
    await future(backend.send(request["reply_channel"], {"status": 200, "content": b"\x00"}))
    assert await server.hears() == ("one", {"status": 200, "content": b"\x00"})
    server.address.forget("one")
    await future(turns())
    await future(backend.send(request["reply_channel"], {"status": 200}))
    await future(turns())
    assert server.heard.empty() and not server.address.readers
    await server.layer.close()


@dialogue
async def test_one_group_send_answers_all_who_wait_and_who_is_forgotten_leaves_its_groups():
    backend = InMemoryChannelLayer()
    server = Server(backend)
    await server.opens()
    for connection in ("one", "two"):
        await server.layer.group_add("news", server.name(connection))
    await future(backend.group_send("news", {"text": "new"}))
    assert sorted([await server.hears(), await server.hears()]) == [("one", {"text": "new"}), ("two", {"text": "new"})]
    server.address.forget("one")
    await future(turns())
    assert list(backend.groups["news"]) == [server.name("two")]
    await server.layer.close()


@dialogue
async def test_a_full_channel_and_a_large_message_are_the_contracts_own_errors():
    server = Server(InMemoryChannelLayer(capacity=1), max_message=100)
    await server.opens()
    await server.layer.send("http.request", {"n": 1})
    with pytest.raises(ChannelFull) as full:
        await server.layer.send("http.request", {"n": 2})
    assert not isinstance(full.value, LayerDown) and not server.layer.broken
    for sending in (server.layer.send, server.layer.group_send):
        with pytest.raises(MessageTooLarge):
            sending("http.request", {"n": b"x" * 100})
    await server.layer.delete("http.request")
    await server.layer.delete("http.request", {"closed": True})       # full: dropped
    await server.layer.close()


@dialogue
async def test_a_story_that_fails_stops_no_other():
    backend, heard = InMemoryChannelLayer(), []

    def deliver(connection, message):
        heard.append((connection, message["n"]))
        raise RuntimeError("this story broke")
    layer = ForeignLayer(backend)
    address = await layer.open("interface", deliver)
    for n, connection in enumerate(("one", "two", "one")):
        await layer.send(f"{address.prefix}!{connection}", {"n": n, "reply_channel": f"{address.prefix}!{connection}"})
    await future(turns())
    assert sorted(heard) == [("one", 0), ("one", 2), ("two", 1)]
    await layer.close()


class Broken(InMemoryChannelLayer):
    """A layer whose server is away. Its errors are its own, as redis-py's are."""
    away = True

    async def send(self, channel, message):
        if self.away:
            raise Exception("connection refused")
        await super().send(channel, message)

    async def receive(self, channel):
        if self.away:
            raise Exception("connection refused")
        return await super().receive(channel)


@dialogue
async def test_a_layer_that_fails_is_down_and_its_readers_live_on(monkeypatch):
    monkeypatch.setattr(foreign, "PAUSES", (0.0, 0.0))
    backend = Broken()
    server = Server(backend)
    await server.opens()
    with pytest.raises(LayerDown, match="connection refused"):
        await server.asks("one")
    await future(turns())
    assert set(server.layer.broken) == {"send", "receive"}
    backend.away = False
    await future(turns())
    await future(backend.send(server.name("one"), {"n": 1}))
    assert await server.hears() == ("one", Gap()), "once, however often it failed"
    assert await server.hears() == ("one", {"n": 1})
    await server.asks("one")
    assert server.layer.broken == {}
    await server.layer.close()


class Silent(InMemoryChannelLayer):
    async def send(self, channel, message):
        await asyncio.Event().wait()


@dialogue
async def test_a_layer_that_does_not_answer_is_down_after_a_while(monkeypatch):
    monkeypatch.setattr(foreign, "PATIENCE", 0.0)
    server = Server(Silent())
    monkeypatch.setattr(foreign, "PATIENCE", 10.0)
    await server.opens()
    monkeypatch.setattr(foreign, "PATIENCE", 0.0)
    with pytest.raises(LayerDown):
        await server.asks("one")
    monkeypatch.setattr(foreign, "PATIENCE", 10.0)
    await server.layer.close()


class Groupless(InMemoryChannelLayer):
    extensions = []


@dialogue
async def test_without_the_extension_there_are_no_groups():
    server = Server(Groupless())
    await server.opens()
    for doing in (lambda: server.layer.group_add("g", server.name("one")), lambda: server.layer.group_send("g", {})):
        with pytest.raises(LayerDown, match="no groups"):
            doing()


class Plain(InMemoryChannelLayer):
    """The API has no prefix for new_channel, and a name need not have a "!"."""
    async def new_channel(self):
        return "mine"


class Long(InMemoryChannelLayer):
    async def new_channel(self, prefix="specific."):
        return f"{'x' * 80}!y"


@dialogue
async def test_any_name_will_do_that_leaves_room_for_a_connections():
    server = Server(Plain())
    await server.opens()
    assert server.address.prefix == "mine"
    for refused, said in ((server, "one name twice"), (Server(Long()), "80 characters")):
        with pytest.raises(LayerDown, match=said):
            await refused.opens()


def test_before_the_loop_runs_it_is_opened_at_once():
    loop = asyncio.new_event_loop()
    try:
        layer = ForeignLayer(InMemoryChannelLayer(), loop)
        [address] = [layer.open("interface", print).value]
        assert address.prefix.startswith("interface.") and address.prefix.endswith(".inmemory")
        with pytest.raises(ValueError, match="gives no channel"):
            ForeignLayer(Long(), loop).open("interface", print)
    finally:
        loop.close()


class Classic:
    """Channels 1: its methods don't wait."""
    def __init__(self, **config): ...
    def send(self, channel, message): ...
    def receive_many(self, channels, block=False): ...
    def new_channel(self, pattern): ...


@pytest.mark.parametrize(("backend", "config", "said"), [
    ("channels.layers.Nothing", {}, "can't be made: AttributeError"), ("no.such.Layer", {}, "ModuleNotFoundError"),
    ("channels.layers.InMemoryChannelLayer", {"nonsense": 1}, "TypeError"), (f"{__name__}.Classic", {}, "no channel layer of"),
])
def test_a_backend_that_can_not_be_made_is_one_sentence(backend, config, said, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "Classic", Classic, raising=False)
    with pytest.raises(ValueError, match=said) as error:
        load(Configured("mysite.settings#default", backend, config))
    assert "mysite.settings#default" in str(error.value)


def test_a_backend_is_made_of_its_config():
    layer = load(Configured("s", "channels.layers.InMemoryChannelLayer", {"capacity": 7}))
    assert layer.capacity == 7


def test_channels_own_error_is_known_by_its_name():
    assert ChannelsFull.__name__ == "ChannelFull"


@pytest.mark.parametrize(("before", "said"), [
    ("", "AsyncioSelectorReactor"),
    ("from twisted.internet import pollreactor; pollreactor.install()", "PollReactor was chosen"),
    ("from twisted.internet import asyncioreactor; asyncioreactor.install()", "AsyncioSelectorReactor"),
])
def test_it_needs_the_asyncio_reactor_and_installs_it(before, said):
    program = f"""{before}
from interfaces.layers.foreign import install_reactor
try:
    install_reactor()
except ValueError as error:
    print(error)
else:
    from twisted.internet import reactor
    print(type(reactor).__name__)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert said in done.stdout, done.stderr

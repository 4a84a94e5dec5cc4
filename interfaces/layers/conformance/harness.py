"""What a check is given, and the lists it is entered in."""
from typing import Any, Protocol

from interfaces.layers.contract import Address, ChannelLayer


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

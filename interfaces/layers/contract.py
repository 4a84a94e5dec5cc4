"""What a channel layer is to the server. conformance tests it."""
from collections.abc import Awaitable, Callable
from typing import Protocol

from interfaces.contract import Deliver, Storage


class ChannelLayer(Protocol):
    """The server's side of a channel layer. Messages are dicts. Every awaitable is a Deferred or DONE."""
    tells_taken: bool                 # it delivers Taken; elsewhere only a claim in a reply tells of an owner
    reader_mark: str                  # in a name that one process reads, stands before its own part: "." or classic "?"
    tells_lost: bool                  # it delivers Lost at once; elsewhere the exchange pings the owners
    watch: Callable[[str, object], None] | None      # given an owner and its pong's `reader`; delivers Doubt when that is gone
    storage: Storage | None           # what outlasts this process; None: it keeps nothing

    def send(self, channel: str, message: dict) -> Awaitable[None]:
        """Raises ChannelFull or MessageTooLarge, at the call or from the awaitable. `message["deadline"]`, where it is
        there, is when the message expires."""

    def open(self, prefix: str, deliver: Deliver) -> Awaitable["Address"]:
        """Open this process's own address. From then on `deliver(connection, item)` is called for what is sent to
        `<address.prefix>!<connection>`: a message dict, Taken, or Lost; `deliver("", Lost(process))` when a process that
        owned connections is gone, `deliver("", Doubt(process))` when it may be, `deliver("", Gap(everything))` when messages
        may be lost (to one connection alone: `deliver(connection, Gap())`). Never called from inside `send` of the same
        stack."""

    def group_add(self, group: str, channel: str) -> Awaitable[None]: ...
    def group_discard(self, group: str, channel: str) -> Awaitable[None]: ...
    def group_send(self, group: str, message: dict, but: str = "") -> Awaitable[None]:
        """`but`: a channel that need not get it, where leaving it out saves something."""

    def delete(self, channel: str, last: dict | None = None) -> Awaitable[None]:
        """Drop what waits on a channel (a body that nobody reads any more). `last`: a message in its place."""

    def recover(self, owner: str) -> Awaitable[dict]:
        """Asked where the layer does not tell of lost owners, of one that is lost: its names leave all groups, and what it
        was sent from here and never took is taken back. Gives reply channel -> orders of that; never raises."""

    def oldest(self, channel: str) -> Awaitable[float]:
        """Asked where `watch` is: since when the oldest message of a shared channel waits, on this process's clock; inf when
        none does, -inf when nobody knows; never raises."""

    def listening(self, channel: str) -> bool: ...               # False where it is known that nobody reads the channel
    def deserted(self, channel: str) -> float: ...               # for how many seconds that is known; 0.0 where it is not
    def close(self) -> Awaitable[None]: ...


class Address(Protocol):
    prefix: str                                                  # channel names are f"{prefix}!{connection}"

    def forget(self, connection: str) -> None: ...               # this connection is over: out of all groups, owned by nobody

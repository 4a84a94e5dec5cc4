"""The words that every room, layer and test shares. Imports nothing of ours.

A connection is a stream of four things: the peer speaks, the application speaks, time passes, the peer goes. A `Wire` turns
bytes into events and back; a story (an `async def session(link, options, shared)`) pulls the next thing from its `Link`
and answers it with `link.write` (to the peer) and `link.send` (to the application).
"""
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol


class ProtocolError(Exception):
    """The peer broke the protocol. `code` is the protocol's own number for it (an HTTP status, an MQTT reason code)."""

    def __init__(self, reason: str, code: int = 0):
        super().__init__(reason)
        self.reason, self.code = reason, code


class ChannelFull(Exception):
    """The application is behind: the channel holds all it may. Raised at the `send` that met it."""


class MessageTooLarge(Exception):
    """A message is larger than the layer carries. Raised at the `send` that met it."""


class LayerDown(ChannelFull):
    """The layer can't be reached. A kind of ChannelFull, because the peer is told the same: not now."""


class Unconfirmed(LayerDown):
    """What was sent was not answered for: it may have been done. Sent again it might be done twice, so nobody does."""


class NoVerdict(Exception):
    """Nobody answered a question in time. The story gives the protocol's refusal. `heard`: a worker has the question, or may
    have it; it is owed the end of the story."""

    def __init__(self, reason: str, heard: bool = True):
        super().__init__(reason)
        self.heard = heard


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time passed: nothing came before the timeout given to `next`, `event`, `reply` or `drain`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer went, or the server ended the connection. Every later wait gives it again; `write` is then ignored."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HalfClosed:
    """The peer will send no more, but may still read: a pipe into `nc -N` still wants its answer."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The server is going down: finish what was begun, begin nothing new."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A worker began to run this connection's first message. `owner` is the channel of an owner, or None when it was taken
    by a plain worker, which owns nothing (see messages.md, Ownership)."""
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker process that owned this connection died."""
    process: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """This worker process may have died: what it read by is gone."""
    process: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages to this process may be lost. `everything`: all that the layer stored is, what waited and the groups too."""
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Handled:
    """The owner has run some of what was sent to it: `link.room` is true again."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The worker that owned the connection is gone, and no other took it over in time."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request that asks for another protocol on its connection (RFC 9110 7.8), as HTTP understood it: it is parsed once,
    and what is handed over is this. `protocol`: the token that was asked for, in lower case."""
    protocol: str
    http_version: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: list
    client: list | None
    server: list | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a carried protocol answers to the request that opens it (docs/fallback.md). `accepted`: it is open."""
    status: int
    headers: list
    body: bytes
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What is left of a carried connection that is over: the last entry for its page, or b""."""
    last: bytes = b""


@dataclass(frozen=True, slots=True)
class Ready:
    """The carried connection that a request waits for has something to say, takes more, or is over."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reply came that fits no format (it was logged and counted). The story gives its protocol's internal error."""
    reason: str = ""


class Wire(Protocol):
    """Bytes <-> events of one connection. No clock, no socket, no layer.

    A wire that multiplexes has `streams = True`; its events then have an attribute `stream` and each stream gets a link of
    its own. `unread()` gives what was received but not yet turned into an event, and forgets it (an upgrade takes it)."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer; return what the protocol owes at once (a pong), mostly b''."""

    def next_event(self) -> Any | None:
        """The next event, or None when more bytes are needed. Raises ProtocolError."""

    def encode(self, event: Any) -> bytes:
        """The bytes of an event to the peer. The one place that keeps CR, LF and NUL out of a line."""

    def unread(self) -> bytes: ...


class CarriedWire(Wire):
    """The wire of a connection that requests of HTTP carry. First it receives the body of the request that opens it, then
    the bodies of those that say something, each whole, or b"" where a request says only that the page lives. `receive` may
    raise ProtocolError with a status of HTTP: then nothing of that body is taken, and the connection goes on.
    `encode` gives Answered, or an entry for the page (one line of JSON), b"" to ask for a sign of life, or None: nothing."""
    most: int                                                    # bytes that a body may have
    over: bool                                                   # the page has said its last word, and reads no more

    def oversize(self) -> None:
        """A body was larger than that. The next pull raises ProtocolError."""


class Link(Protocol):
    """All that a story can do. One per connection, or one per stream where a protocol multiplexes.

    Every wait may also give HalfClosed and Stopping, each once; Closed comes last, and again at every later wait."""
    peer: list | None                 # [host, port] of the client, or None (a Unix socket)
    server: list | None               # [host, port] that it reached
    tls: dict | None                  # {version, cipher, sni, peer_subject, peer_fingerprint_sha256}, or None
    reply_channel: str                # the connection's identity (the request's, in HTTP)
    now: Callable[[], float]          # the layer's time, seconds since the epoch
    wire: Wire                        # for what it tells about itself
    owner: str | None                 # the channel of the worker process that owns the connection, or None
    stopping: bool                    # Stopping has come: the server is going down
    tells_taken: bool                 # ChannelLayer.tells_taken
    reader_mark: str                  # ChannelLayer.reader_mark
    curious: bool                     # a story that must know when its message is Taken sets it (`renew` resets it)
    window: int                       # messages that may be out to an owner (messages.md, Credit); a story may set it
    room: bool                        # the owner's window has room for another message, and there is an owner or need be none
    drained: bool                     # the peer has read enough of what was written: `drain` would not wait
    again: Callable[[list[dict]], list] | None   # asked when an owner has died: the messages that the next one gets, though
        # the first may have had them (it can't have had those given); a story may set it. None: nothing runs twice
    upgrades: dict[bytes, str]        # what `become` can name, by the token of HTTP's Upgrade field
    inside: Callable[[str, tuple], tuple | None]    # by path and subprotocols that are offered: (name, subprotocol, its
        # `Interface.within`) of what is spoken inside a WebSocket; None: nothing is
    carriages: dict[bytes, str]       # what `carry` can name, by the query's parameter that asks for it
    purpose: str                      # the interface that this listener is for: its own, or one that is reached by an upgrade

    # Each wait gives what comes first: an event of the wire (where events are waited for), a reply or Taken, Handled, Lost,
    # Unreadable (where replies are), Elapsed, Closed.
    async def next(self, timeout: float | None = None): ...      # the peer or the application
    async def event(self, timeout: float | None = None): ...     # only the peer
    async def reply(self, timeout: float | None = None): ...     # only the application
    async def ask(self, message, timeout: float): ...            # a question; gives its verdict. NoVerdict, ChannelFull
    async def open(self, message, timeout: float): ...           # the question that opens a long-lived connection, the same
        # From then on the connection goes from worker to worker by itself (tenure.py): the story hears no Lost; `room` is
        # false meanwhile, and if nobody takes it over, Abandoned comes.
    async def send(self, message, channel=None, patience=0.0, deadline=None): ...  # ChannelFull, MessageTooLarge
    async def tell(self, message): ...                           # news that nobody need hear: never raises
    async def confirm(self, sent: int): ...                      # so many bytes of the owner's are written to the socket
    async def drop(self, channel: str, last=None): ...           # ChannelLayer.delete
    def heeded(self, form: type) -> bool: ...    # False: for a while nobody has listened for messages of this class
    def deliver(self, item): ...                 # another story of the process says something to this one: `reply` gives it
    async def drain(self, timeout: float | None = None): ...     # until the peer has read enough: None | Elapsed | Closed
    def encode(self, event) -> bytes: ...                        # for `pour`; raises what the wire raises, nothing is written
    async def pour(self, data: bytes, timeout: float): ...       # write as fast as the peer takes it: None | Elapsed | Closed
    def write(self, event) -> int: ...                           # to the peer; gives the number of bytes
    def renew(self): ...                                         # a fresh reply channel: a late reply never reaches what comes
    def become(self, name: str, event, around=None) -> bool: ... # another interface goes on from this event (None: there is
        # none), unread bytes too, once this story returns. `around(wire)` gives the wire to use in place of its own, which
        # may have a `farewell()`: what is written when its story closes. False: it has no room for another connection
    def carry(self, name: str, event, body: bytes): ...          # another interface begins on a Carrier (carrier.py), which
        # this request opens; it waits for Ready in `reply`. None: there is no room for another connection
    def carrier(self, name: str, session: str): ...              # the Carrier of a session, Ended, or None
    def close(self, reason: str = "", linger: bool = False): ... # after what was written has gone out
    def abort(self, reason: str): ...                            # at once, whatever is still to be written
    def log(self, text: str): ...                                # one line about this connection
    def access(self, line: Callable[[], str]): ...               # a line of the access log, made only if there is one


class Desk(Protocol):
    """What the connections of one process share (`Interface.shared`) has of the frame: where it has a method `open(desk)`, that
    is called with one when the layer is there. What comes to the groups, and to its channel, is given to its `hear(event)`.
    A coroutine `close()`, where it has one, is waited for when all connections are over."""
    channel: str                                                 # its own
    alone: bool                                                  # no other server can be on this layer
    storage: "Storage | None"                                    # what outlasts this process; None: the layer keeps nothing

    def now(self) -> float: ...                                  # the layer's time
    def later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]: ...    # gives what cancels it
    def begin(self, work: Coroutine): ...                        # runs beside all else; what it raises is logged
    async def wait(self, key: Any, seconds: float) -> bool: ...  # until `wake` is called with that key; False: it was not
    def wake(self, key: Any): ...
    def join(self, group: str): ...                              # for as long as the process lives
    def group_send(self, group: str, message: dict, others: bool = False) -> Awaitable[None]: ...   # news that nobody need
        # hear; done when it is out. `others`: it is known here, and may come back or not
    def send(self, channel: str, message: dict): ...             # likewise, to another server's desk
    def log(self, text: str): ...


class Storage(Protocol):
    """A Redis that all servers of a layer have in common. Every awaitable may raise LayerDown."""
    prefix: str                                                  # before all names of keys

    def now(self) -> float: ...                                  # its time, as far as it is known
    def run(self, script: str, keys: tuple, args: tuple) -> Awaitable[Any]: ...     # Lua; calls are done in their order
    def seal(self, data: bytes) -> bytes: ...                    # as the layer's messages are, where they are encrypted
    def unseal(self, data: bytes) -> bytes: ...                  # raises ValueError
    def open(self, deliver: "Deliver", settled: Callable[[], Awaitable[None]]) -> Any: ...      # an Address of one's own: what
        # comes to it is kept until `settled()`, asked for behind it, is done
    def inherit(self, channel: str) -> Awaitable[list[dict]]: ...    # of a server that is gone: the messages to its desk
        # that it never took are taken, and its names leave all groups


class Done:
    """An awaitable that has already happened: what a layer gives when it needs no round trip."""
    __slots__ = ("value",)

    def __init__(self, value=None):
        self.value = value

    def __await__(self):
        return self.value
        yield       # what makes this a generator


DONE = Done()
Deliver = Callable[[str, Any], None]


@dataclass(frozen=True)
class Interface:
    """A protocol the house speaks: everything it is, in one value. Found by entry point `channels_interfaces`.

    `wire(options)` makes the Wire of a new connection. `session(link, options, shared)` is its story. `sends` and `replies`
    are the formats (schema.message, schema.Spelling). `options` is a frozen dataclass whose fields are made by `option`.
    `shared(options)` makes what the connections of one process have in common; None where there is nothing."""
    name: str
    summary: str
    wire: Callable[[Any], Wire]
    session: Callable[[Link, Any, Any], Coroutine]
    sends: tuple = ()
    replies: tuple = ()
    options: type | None = None
    role: str = "listen"                                         # "listen" | "connect" | "upgrade"
    shared: Callable[[Any], Any] | None = None
    token: bytes = b""                                           # by which HTTP's Upgrade field asks for it (role "upgrade")
    carried: Callable[[Any], CarriedWire] | None = None          # its wire where requests of HTTP carry it; None: never
    warning: str = ""                                            # for the log, when it is served
    alpn: tuple[bytes, ...] = ()                                 # its names in TLS (RFC 7301), best first
    within: Callable[[Any], Any] | None = None                   # by its options: where it is spoken inside WebSocket: `path`
        # and `subprotocols`, the bytes that a message may have (`most`), its own number for a `fault` of WebSocket's. None:
        # nowhere


def option(default: Any, help: str, parse: Callable[[str], Any] | None = None, flag: str | None = None) -> Any:
    """A field of an options class. It becomes `--<interface>-<field>`, or `--<flag>`. `parse` turns the text into the value
    (by default the default's own type; a bool becomes a switch; a tuple may be given again and again, an item each time).
    A ValueError from `parse` is shown to the user."""
    return field(default=default, metadata={"help": help, "parse": parse, "flag": flag})

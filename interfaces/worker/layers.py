"""`LocalChannelLayer`: the channel layer of a worker on the same machine as the interface server.

    CHANNEL_LAYERS = {"default": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer"}}

CONFIG may have `path` (of the server's socket; by default both sides agree on one), `expiry` (60 s), `group_expiry`
(86400 s), `capacity` and `channel_capacity` (None: what the server holds). Usable from any thread and any event loop:
one loop, the home, owns the connection; calls from others cross to it.
"""
import asyncio
import logging
import os
import secrets
import socket
import threading

import msgpack
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from interfaces.layers import wire_local as wire
from interfaces.worker.connection import HIGH_WATER
from interfaces.worker.home import Home, spare_home
from interfaces.worker.inbox import Inbox
from interfaces.worker.leaving import GRACE

logger = logging.getLogger("interfaces.worker")
LOOP_ENDED = "the event loop that held the connection has ended"


class MessageTooLarge(ValueError):
    """A message is larger than the layer carries (messages.md, Sizes). Nothing was sent."""


class LocalChannelLayer(BaseChannelLayer):
    """The channel layer API of Channels 4, over the hub in the interface server.

    `send` raises ChannelFull, MessageTooLarge, TypeError (an invalid name), and ConnectionError when no server was
    there for 5 s. `receive` never raises for the server's sake: it waits until there is one again."""
    extensions = ["groups", "flush"]

    def __init__(self, path=None, expiry=60, group_expiry=86400, capacity=None, channel_capacity=None, sock=None):
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.reply_head = wire.SEND_HEAD.pack(0, 0, self.milliseconds)
        self.default_path = path is None and not os.environ.get("CHANNELS_INTERFACES_SOCKET")
        self.path = path or wire.default_path()
        self.sock: socket.socket | None = sock
        self.where = "the other end of a socket pair" if sock else self.path
        self.state, self.grace = "", GRACE
        self.inbox = Inbox(self)
        self.start_afresh()

    def start_afresh(self) -> None:
        """As a new process: after a fork nothing of the parent's connection may be touched."""
        self.pid, self.guard, self.packers = os.getpid(), threading.Lock(), threading.local()
        self.process = f"specific.{secrets.token_urlsafe(16)}"
        self.home: Home | None = None
        self.server, self.max_message = None, wire.MAX_MESSAGE
        self.results: dict[int, asyncio.Future] = {}
        self.last_id, self.leaving = 0, None
        self.groups: set[tuple[str, str]] = set()
        self.inbox.start_afresh(self.process)

    # The channel layer API

    async def send(self, channel: str, message: dict) -> None:
        self.require_valid_channel_name(channel)
        payload = self.encode(message)
        home = self.home
        if home is not None and home.pid == os.getpid() and self.server and channel.startswith(self.server):
            connection = home.connection
            if connection is not None:
                connection.write(wire.frame(wire.SEND, channel, self.send_head(0, channel) + payload))
                if connection.pending > HIGH_WATER and home.loop is asyncio.get_running_loop():
                    await connection.drained()
                return
        await self.ask(wire.SEND, channel, lambda number: self.send_head(number, channel) + payload)

    async def receive(self, channel: str) -> dict:
        self.require_valid_channel_name(channel)
        home = self.settle(receiving=True)
        if home.loop is asyncio.get_running_loop():
            return await self.inbox.take(channel)
        return await self.take_across(channel)

    async def new_channel(self, prefix: str = "specific") -> str:
        """A channel of this process. All of them share one process name, so another `prefix` goes behind the `!`."""
        if self.pid != os.getpid():
            self.start_afresh()
        kind = "" if prefix == "specific" else f"{prefix.rstrip('.')}."
        channel = f"{self.process}!{kind}{secrets.token_urlsafe(16)}"
        self.require_valid_channel_name(channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if self.mine(channel):
            self.groups.add((group, channel))
        expiry = max(1, int(self.group_expiry))
        await self.ask(wire.GROUP_ADD, group, lambda number: wire.GROUP_HEAD.pack(number, expiry) + channel.encode())

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.groups.discard((group, channel))
        await self.ask(wire.GROUP_DISCARD, group, lambda number: wire.GROUP_HEAD.pack(number, 0) + channel.encode())

    async def group_send(self, group: str, message: dict) -> None:
        self.require_valid_group_name(group)
        payload = self.encode(message)
        head = wire.SEND_HEAD
        capacity = self.capacity or 0
        await self.ask(wire.GROUP_SEND, group, lambda number: head.pack(number, capacity, self.milliseconds) + payload)

    async def flush(self) -> None:
        """Forget every message and every group of the whole layer. For tests."""
        self.groups.clear()
        self.inbox.flush()
        await self.ask(wire.FLUSH, "", lambda number: wire.GROUP_HEAD.pack(number, 0))

    async def close(self) -> None:
        """Close the connection. A later call opens a new one."""
        with self.guard:
            home, self.home = self.home, None
            self.inbox.lost()
        if home is not None and home.pid == os.getpid():
            home.retire()
            await asyncio.wait([asyncio.wrap_future(home.over)], timeout=2)

    close_pools = close

    # Homes

    def settle(self, receiving: bool = False) -> Home:
        """The home, made now if there is none. A receiver's loop is preferred to the spare thread."""
        loop = asyncio.get_running_loop()
        home = self.home
        if home is not None and home.loop is loop and home.pid == os.getpid() and not home.task.done():
            return home
        if self.pid != os.getpid():
            self.start_afresh()
        with self.guard:
            home = self.home
            if home is not None and home.alive and not (receiving and home.spare and self.sock is None):
                return home
            if home is not None:
                self.leave_home(home)
            self.home = Home(self, predecessor=home) if receiving else spare_home(self)
            return self.home

    def leave_home(self, home: Home) -> None:
        self.inbox.lost()
        self.inbox.drop_waiters()                        # of the loop that is left; those who cross come again
        if home.alive:
            home.retire()
        else:
            home.drop(ConnectionError(LOOP_ENDED))
            if not home.over.done():
                home.over.set_result(None)
        for call in tuple(home.crossing):
            call.cancel()

    async def ask(self, kind: int, name: str, payload) -> None:
        """Write the frame with `payload(number)` and wait for its RESULT, on whatever loop."""
        home = self.settle()
        if home.loop is asyncio.get_running_loop():
            code = await self.question(home, kind, name, payload)
        else:
            code = await self.ask_across(home, self.question(home, kind, name, payload))
        if code == wire.FULL:
            raise ChannelFull(f"{name} holds all it may")
        if code == wire.TOO_LARGE:
            raise MessageTooLarge(f"a message for {name} is larger than the layer carries")
        if code != wire.OK:
            raise ValueError(f"the interface server refuses the name {name} (code {code})")

    async def ask_across(self, home: Home, question) -> int:
        future = asyncio.run_coroutine_threadsafe(question, home.loop)
        home.crossing.add(future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():
                raise
            raise ConnectionError(LOOP_ENDED) from None
        finally:
            home.crossing.discard(future)

    async def question(self, home: Home, kind: int, name: str, payload) -> int:
        connection = await home.connected()
        self.last_id = number = self.last_id % 0xFFFFFFFF + 1
        self.results[number] = future = home.loop.create_future()
        try:
            connection.write(wire.frame(kind, name, payload(number)))
            return await future
        finally:
            self.results.pop(number, None)

    async def take_across(self, channel: str) -> dict:
        """`receive` on a loop that isn't the home. When the home moves, ask the new one. Cancelled, it gives back what
        had already been taken for it."""
        while True:
            home, tasks = self.settle(), []

            async def taking(tasks=tasks):
                tasks.append(asyncio.current_task())
                return await self.inbox.take(channel)

            future = asyncio.run_coroutine_threadsafe(taking(), home.loop)
            home.crossing.add(future)
            try:
                return await asyncio.shield(asyncio.wrap_future(future))
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():
                    home.loop.call_soon_threadsafe(self.inbox.abandon, channel, tasks)
                    raise
            finally:
                home.crossing.discard(future)

    # What the home tells

    def hello(self) -> dict:
        return {"version": wire.VERSION, "process": self.process, "pid": self.pid}

    def welcomed(self, home: Home, welcome: dict) -> None:
        if home is not self.home:
            return                                       # it was left before it was welcomed
        self.server = welcome.get("server") or None
        self.max_message = min(welcome.get("max_message") or wire.MAX_MESSAGE, wire.MAX_FRAME)
        for group, channel in self.groups:
            head = wire.GROUP_HEAD.pack(0, max(1, int(self.group_expiry)))
            home.connection.write(wire.frame(wire.GROUP_ADD, group, head + channel.encode()))
        self.inbox.connected(home)
        self.say("up", "connected to the interface server at %s", self.where)

    def heard(self, home: Home, frames: list[tuple[int, str, bytes]]) -> None:
        for kind, name, payload in frames:
            if kind == wire.RESULT:
                number, code = wire.RESULT_HEAD.unpack(payload)
                future = self.results.get(number)
                if future is not None and not future.done():
                    future.set_result(code)
            elif home is self.home:                      # one that was left only waits for its results
                self.inbox.frame(kind, name, payload)
        if home is self.home:
            self.inbox.settle()

    def lost(self, home: Home, error: Exception) -> None:
        if home is self.home:
            self.inbox.lost()
        for future in tuple(self.results.values()):
            if not future.done() and future.get_loop() is home.loop and not home.loop.is_closed():
                future.set_exception(error)

    def say(self, state: str, text: str, *args) -> None:
        """One log line per change of state."""
        if state != self.state:
            self.state = state
            logger.log(logging.INFO if state == "up" else logging.WARNING, text, *args)

    # Small parts

    def mine(self, channel: str) -> bool:
        return channel.startswith(self.process) and channel[len(self.process):len(self.process) + 1] == "!"

    def encode(self, message: dict) -> bytes:
        if not isinstance(message, dict):
            raise TypeError("a message is a dict")
        packer = getattr(self.packers, "packer", None)   # one per thread: a Packer has one buffer
        if packer is None:
            packer = self.packers.packer = msgpack.Packer(autoreset=True)
        payload = packer.pack(message)
        if len(payload) > self.max_message:
            raise MessageTooLarge(f"a message of {len(payload)} bytes; the layer carries {self.max_message}")
        return payload

    def send_head(self, number: int, channel: str) -> bytes:
        return wire.SEND_HEAD.pack(number, self.get_capacity(channel) or 0, self.milliseconds)

    def reply(self, channel: str, message: dict) -> None:
        """Write an answer to a reply channel, without waiting for anything. From any thread. An answer to a server that
        is not there any more is dropped, as its client is gone."""
        home = self.home
        connection = home and home.connection
        if connection is not None:
            connection.write(wire.frame(wire.SEND, channel, self.reply_head + self.encode(message)))

    @property
    def milliseconds(self) -> int:
        return min(max(1, int(self.expiry * 1000)), 0xFFFFFFFF)

"""`LocalChannelLayer`: the channel layer of a worker on the same machine as the interface server.

    CHANNEL_LAYERS = {"default": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer"}}

CONFIG may have `path` (of the server's socket; by default both sides agree on one), `expiry` (60 s), `group_expiry`
(86400 s), `capacity` and `channel_capacity` (None: what the server holds). Usable from any thread and any event loop:
one loop, the home, owns the connection; calls from others cross to it.
"""
import asyncio
import os
import socket
import threading

import msgpack
from channels.exceptions import ChannelFull

from interfaces.layers import wire_local as wire
from interfaces.worker.connection import HIGH_WATER
from interfaces.worker.home import HubHome
from interfaces.worker.homed import HomedLayer, MessageTooLarge
from interfaces.worker.hub_inbox import HubInbox
from interfaces.worker.hub_presence import HubPresence

__all__ = ["LocalChannelLayer", "MessageTooLarge"]
# Asked anew of a server that comes again, since twice is as once. A message isn't: the one that is gone may have had it.
REPEATABLE = {wire.GROUP_ADD, wire.GROUP_DISCARD, wire.MEMBERS}


def __getattr__(name: str):
    # Not imported above: it needs hiredis, of the extra `worker-redis`.
    if name == "RedisChannelLayer":
        from interfaces.worker.redis_layer import RedisChannelLayer
        return RedisChannelLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class LocalChannelLayer(HubPresence, HomedLayer):
    """The channel layer API of Channels 4, over the hub in the interface server.

    `send` raises ChannelFull, MessageTooLarge, TypeError (an invalid name), and ConnectionError when no server was
    there for 5 s. `receive` never raises for the server's sake: it waits until there is one again."""
    make_home = HubHome

    def __init__(self, path=None, expiry=60, group_expiry=86400, capacity=None, channel_capacity=None, sock=None):
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.reply_head = wire.SEND_HEAD.pack(0, 0, self.milliseconds)
        self.default_path = path is None and not os.environ.get("CHANNELS_INTERFACES_SOCKET")
        self.path = path or wire.default_path()
        self.sock: socket.socket | None = sock
        self.where = "the other end of a socket pair" if sock else self.path
        self.movable = sock is None
        self.begin(HubInbox(self))

    def start_afresh(self) -> None:
        self.packers = threading.local()
        self.server, self.max_message = None, wire.MAX_MESSAGE
        self.results: dict[int, asyncio.Future] = {}
        self.last_id = 0
        super().start_afresh()

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
        forgotten = self.mine(channel)                   # by a server that is gone: the next one is not told of it
        if forgotten and (self.home is None or self.home.connection is None):
            return
        try:
            await self.ask(wire.GROUP_DISCARD, group, lambda number: wire.GROUP_HEAD.pack(number, 0) + channel.encode())
        except ConnectionError:
            if not forgotten:
                raise

    async def group_send(self, group: str, message: dict) -> None:
        self.require_valid_group_name(group)
        payload = self.encode(message)
        head = wire.SEND_HEAD
        capacity = self.capacity or 0
        await self.ask(wire.GROUP_SEND, group, lambda number: head.pack(number, capacity, self.milliseconds) + payload)

    async def flush(self) -> None:
        """Forget every message and every group of the whole layer. For tests."""
        self.groups.clear()
        self.present.clear()
        self.inbox.flush()
        await self.ask(wire.FLUSH, "", lambda number: wire.GROUP_HEAD.pack(number, 0))

    async def ask(self, kind: int, name: str, payload):
        """Write the frame with `payload(number)` and wait for its RESULT, on whatever loop; gives what a PRESENCE holds."""
        home = self.settle()
        if home.loop is asyncio.get_running_loop():
            code, found = await self.question(home, kind, name, payload)
        else:
            code, found = await self.ask_across(home, self.question(home, kind, name, payload))
        if code == wire.FULL:
            raise ChannelFull(f"{name} holds all it may")
        if code == wire.TOO_LARGE:
            raise MessageTooLarge(f"a message for {name} is larger than the layer carries")
        if code != wire.OK:
            raise ValueError(f"the interface server refuses the name {name} (code {code})")
        return found

    async def question(self, home: HubHome, kind: int, name: str, payload) -> tuple[int, bytes]:
        connection = await home.connected()
        try:
            return await self.answer(home, connection, kind, name, payload)
        except ConnectionError:
            if kind not in REPEATABLE or home is not self.home or not home.alive:
                raise
        return await self.answer(home, await home.connected(), kind, name, payload)

    async def answer(self, home: HubHome, connection, kind: int, name: str, payload) -> tuple[int, bytes]:
        self.last_id = number = self.last_id % 0xFFFFFFFF + 1
        self.results[number] = future = home.loop.create_future()
        try:
            connection.write(wire.frame(kind, name, payload(number)))
            return await future
        finally:
            self.results.pop(number, None)

    # What the home tells

    def hello(self) -> dict:
        return {"version": wire.VERSION, "process": self.process, "pid": self.pid, "release": self.release}

    def welcomed(self, home: HubHome, welcome: dict) -> None:
        if home is not self.home:
            return                                       # it was left before it was welcomed
        self.server = welcome.get("server") or None
        self.max_message = min(welcome.get("max_message") or wire.MAX_MESSAGE, wire.MAX_FRAME)
        for group, channel in self.groups:
            head = wire.GROUP_HEAD.pack(0, max(1, int(self.group_expiry)))
            home.connection.write(wire.frame(wire.GROUP_ADD, group, head + channel.encode()))
        self.come_again(home.connection)
        self.inbox.connected(home)
        self.say("up", "connected to the interface server at %s", self.where)

    def heard(self, home: HubHome, frames: list[tuple[int, str, bytes]]) -> None:
        for kind, name, payload in frames:
            if kind == wire.RESULT or kind == wire.PRESENCE:
                number, code = wire.RESULT_HEAD.unpack_from(payload)
                future = self.results.get(number)
                if future is not None and not future.done():
                    future.set_result((code, payload[wire.RESULT_HEAD.size:]))
            elif home is self.home:                      # one that was left only waits for its results
                self.inbox.frame(kind, name, payload)
        if home is self.home:
            self.inbox.settle()

    def lost(self, home: HubHome, error: Exception) -> None:
        if home is self.home:
            self.inbox.lost()
        for future in tuple(self.results.values()):
            if not future.done() and future.get_loop() is home.loop and not home.loop.is_closed():
                future.set_exception(error)

    # Small parts

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

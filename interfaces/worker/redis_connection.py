"""One connection to a Redis server: commands out, replies in, in order.

Not redis-py: its asyncio client costs 93 us a pipelined command and 172 us a lone one, this one 8 and 94; its pool ends
at 100 connections, and its read timeout kills an idle blocking pop (channels_redis#422)."""
import asyncio
import math
import os
import socket
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

OPEN: "weakref.WeakSet[RedisConnection]" = weakref.WeakSet()
HIGH_WATER = 1024 * 1024     # bytes, a guess: half a largest message; above it senders wait


class ConnectionLost(ConnectionError):
    """The connection to Redis is gone. What was written on it may or may not have been run."""


class RedisConnection(asyncio.Protocol):
    """Belongs to one loop. An error reply is a `hiredis.ReplyError` given as a reply; a lost connection gives
    ConnectionLost to all that is unanswered. `lost` is done, with what it was lost by, when it is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.loop, self.lost = loop, loop.create_future()
        self.reader = hiredis.Reader()
        self.expected: deque[Callable[[Any], None]] = deque()
        self.outbox: list[bytes] = []
        self.written = 0                                 # bytes in the outbox
        self.most, self.unread = math.inf, 0             # bytes: of a reply, and what has come of the next one
        self.transport: asyncio.Transport | None = None
        OPEN.add(self)
        self.room = asyncio.Event()
        self.room.set()
        self.heard = loop.time()                         # when it last said anything, or had nothing to say

    def ask(self, command: tuple, done: Callable[[Any], None]) -> None:
        """Commands of one turn of the loop leave in one piece. `done(reply)` is called once."""
        if self.lost.done():
            return done(self.lost.result())
        if not self.expected:
            self.heard = self.loop.time()
        self.expected.append(done)
        if not self.outbox:
            self.loop.call_soon(self.flush)
        packed = hiredis.pack_command(command)
        self.outbox.append(packed)
        self.written += len(packed)
        if self.written > HIGH_WATER:
            self.flush()                                 # who never waits for anything is told so: `room`

    def execute(self, *command) -> asyncio.Future:
        """The reply. An error reply is its result, a lost connection its exception."""
        future = self.loop.create_future()

        def done(reply):
            if not future.done():
                if isinstance(reply, ConnectionLost):
                    future.set_exception(reply)
                    future.exception()                   # who waited may have been cancelled: nothing to complain of
                else:
                    future.set_result(reply)

        self.ask(command, done)
        return future

    def flush(self) -> None:
        outbox, self.outbox, self.written = self.outbox, [], 0
        if outbox and not self.lost.done():
            self.transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))

    @property
    def silence(self) -> float:
        """For how many seconds a reply has been due."""
        return self.loop.time() - self.heard if self.expected else 0.0

    # What asyncio calls

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        self.unread += len(data)
        try:
            self.reader.feed(data)
            while (reply := self.reader.gets()) is not False:
                self.unread = 0
                if not self.expected:
                    return self.end("it answers what nobody asked")
                self.expected.popleft()(reply)
        except hiredis.ProtocolError as error:
            return self.end(f"it does not speak as a Redis does: {error}")
        if self.unread > self.most:
            self.end(f"a reply of more than {self.most} bytes")

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(str(error or "it closed the connection"))

    # The end

    def end(self, reason: str) -> None:
        """At once. The kernel says it to the server now: asyncio closes a socket in the next turn of its loop, which may
        never come, and a pop that still waits there would take a message for nobody."""
        if self.lost.done():
            return
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            if not self.loop.is_closed():
                self.transport.abort()
        self.fail(reason)

    def fail(self, reason: str) -> None:
        if self.lost.done() or self.loop.is_closed():
            return
        error = ConnectionLost(reason)
        self.lost.set_result(error)
        self.room.set()
        expected, self.expected = self.expected, deque()
        for done in expected:
            done(error)


def let_go() -> None:
    """In a forked child: an inherited socket would keep a dead parent's pop waiting, which takes a message for nobody. The
    descriptor itself stays taken, as the transport that has it closes it again some time."""
    null = os.open(os.devnull, os.O_RDWR)
    for connection in tuple(OPEN):
        sock = connection.transport and connection.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            os.dup2(null, sock.fileno(), inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=let_go)

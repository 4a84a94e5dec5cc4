"""The loop where a layer's connection lives, and the task that keeps it up: connect, say HELLO, reconnect."""
import asyncio
import concurrent.futures
import logging
import os
import random
import socket
import threading

import msgpack

from interfaces.layers.wire_local import HELLO, VERSION, WELCOME, FrameError, distrust, frame, unpack
from interfaces.worker.connection import Connection

logger = logging.getLogger("interfaces.worker")
FIRST, LAST = 0.05, 2.0      # seconds between attempts, guesses: a restarted server is found at once
WELCOME_TIME = 5.0           # a guess: a server that is alive answers in a millisecond
PATIENCE = 5.0               # how long a send waits for a server that restarts; messages.md, Asking: retry for 5 s
RETIRE_TIME = 1.0            # a guess: how long an old home may wait for what it has asked the hub


class Home:
    """A loop and what lives on it. A subclass has `keep_up()`, which never ends but by its own wish, `drop(error)`,
    `flushed()` and `unfinished()`."""

    def __init__(self, layer, predecessor: "Home | None" = None, spare: bool = False):
        self.layer, self.predecessor, self.spare = layer, predecessor, spare
        self.loop, self.pid = asyncio.get_running_loop(), os.getpid()
        self.over: concurrent.futures.Future = concurrent.futures.Future()
        self.crossing: set[concurrent.futures.Future] = set()      # other loops' receives that wait for this one
        self.asking: set[concurrent.futures.Future] = set()        # and their sends
        self.task = self.loop.create_task(self.run(), name="channel layer connection")

    @property
    def alive(self) -> bool:
        return self.loop.is_running() and not self.task.done()

    async def run(self) -> None:
        try:
            if self.predecessor is not None:
                await asyncio.wait([asyncio.wrap_future(self.predecessor.over)], timeout=2 * RETIRE_TIME)
                self.predecessor = None
            await self.keep_up()
        finally:
            self.drop(ConnectionError("the event loop that held the connection has ended"))
            if not self.over.done():
                self.over.set_result(None)

    def retire(self) -> None:
        """Another loop takes over: finish what was asked, then close. From any thread."""
        async def end():
            deadline = self.loop.time() + RETIRE_TIME
            while (asked := [*self.unfinished(), *map(heeded, tuple(self.asking))]) and self.loop.time() < deadline:
                await asyncio.wait(asked, timeout=RETIRE_TIME)
            self.task.cancel()
            await asyncio.wait([self.task])
            if self.spare:
                self.loop.stop()

        try:
            asyncio.run_coroutine_threadsafe(end(), self.loop)
        except RuntimeError:                             # the loop has been closed meanwhile
            if not self.over.done():
                self.over.set_result(None)


def heeded(call: concurrent.futures.Future) -> asyncio.Future:
    """Its exception is for who asked."""
    future = asyncio.wrap_future(call)
    future.add_done_callback(lambda future: future.cancelled() or future.exception())
    return future


class HubHome(Home):
    """`layer` is told: `welcomed(home, welcome)`, `heard(home, frames)`, `lost(home, error)`, all on this loop."""

    def __init__(self, layer, predecessor: Home | None = None, spare: bool = False):
        self.connection: Connection | None = None
        self.up = asyncio.Event()
        super().__init__(layer, predecessor, spare)

    async def keep_up(self) -> None:
        delay = FIRST
        while True:
            try:
                sock = await self.open()
                await self.stay(sock)
                delay = FIRST
            except (OSError, TimeoutError, FrameError, ValueError) as error:
                self.layer.say("down", "no connection to the interface server at %s: %s", self.layer.where, error)
            if self.layer.sock is not None:
                return                                   # one end of a socket pair: nobody to call again
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(2 * delay, LAST)

    async def open(self) -> socket.socket:
        if self.layer.sock is not None:
            return self.layer.sock
        if self.layer.default_path and (reason := distrust(self.layer.path)):
            raise PermissionError(reason)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            # Not wait_for: Python 3.11's swallows a cancellation that meets the end of what it waits for (bpo-37658).
            async with asyncio.timeout(WELCOME_TIME):
                await self.loop.sock_connect(sock, self.layer.path)
        except BaseException:
            sock.close()
            raise
        return sock

    async def stay(self, sock: socket.socket) -> None:
        """From HELLO until the connection is lost. Raises what it was lost by."""
        welcome, gone = self.loop.create_future(), self.loop.create_future()

        def heard(frames):
            if self.connection is None:
                self.welcomed(connection, frames.pop(0))
                welcome.set_result(None)
            self.layer.heard(self, frames)

        def lost(error):
            for future in (welcome, gone):
                if not future.done():
                    future.set_result(error)

        connection = Connection(sock, self.loop, heard, lost)
        try:
            connection.write(frame(HELLO, "", msgpack.packb(self.layer.hello())))
            async with asyncio.timeout(WELCOME_TIME):
                error = await welcome
            raise error or await gone
        finally:
            connection.close()
            self.drop(ConnectionError("the interface server went away"))

    def welcomed(self, connection: Connection, first: tuple[int, str, bytes]) -> None:
        kind, _, payload = first
        found = unpack(payload) if kind == WELCOME else {}
        if found.get("refused"):
            raise FrameError(f"it refuses this worker: {found['refused']}")
        if found.get("version") != VERSION:
            raise FrameError(f"it speaks version {found.get('version')!r} of the frames, this worker {VERSION}")
        self.connection = connection
        self.layer.welcomed(self, found)
        self.up.set()

    def drop(self, error: Exception) -> None:
        connection, self.connection = self.connection, None
        self.up.clear()
        if connection is not None:
            if not connection.closed:
                connection.flush()
                connection.close()
            self.layer.lost(self, error)

    async def connected(self) -> Connection:
        """The connection, after at most PATIENCE seconds; ConnectionError then. Only on this loop."""
        while self.connection is None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.up.wait()
            except TimeoutError:
                raise ConnectionError(f"no interface server at {self.layer.where} within {PATIENCE:g} s") from None
        return self.connection

    async def flushed(self) -> None:
        """The kernel has all that was written, or nobody is there to read it."""
        if self.connection is not None:
            done = self.loop.create_future()
            self.connection.when_flushed(done.set_result)
            await done

    def unfinished(self) -> list[asyncio.Future]:
        """What was asked and isn't answered."""
        return list(self.layer.results.values())


def spare_home(layer) -> Home:
    """A home in a daemon thread with a loop of its own, for a process in which nobody receives."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="channel layer", daemon=True).start()

    async def make():
        return layer.make_home(layer, spare=True)

    return asyncio.run_coroutine_threadsafe(make(), loop).result()

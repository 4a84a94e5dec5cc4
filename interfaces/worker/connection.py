"""One socket to the hub of a `local:` layer: frames in, frames out.

It isn't an asyncio transport because STARTED has to be in the kernel's hands before an application sees the message,
which a transport never tells. Frames may be written from any thread; those of one turn of the loop go out together.
"""
import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable

from interfaces.layers.wire_local import FrameError, Frames

READ = 64 * 1024             # a full body part; malloc maps and unmaps a buffer above 128 KiB for every read: 15 us
EARLY = 16                   # frames that wait for the end of the turn: the server works on another core meanwhile
HIGH_WATER = 1024 * 1024     # a guess: half a largest message; above it senders wait


class Connection:
    """`heard(frames)` gets a list of (kind, name, payload); `lost(error)` is called once. Both on `loop`."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, heard: Callable, lost: Callable):
        sock.setblocking(False)
        self.sock, self.loop, self.heard, self.lost = sock, loop, heard, lost
        self.thread = threading.get_ident()
        self.frames = Frames()
        self.outbox: deque[bytes] = deque()
        self.rest = b""                                  # what the kernel did not take
        self.pending = 0                                 # bytes in outbox and rest, nearly: threads add to it unlocked
        self.lock = threading.Lock()
        self.scheduled = self.writing = self.closed = False
        self.waiting: list[Callable] = []                # called when all is in the kernel's hands, or lost
        self.extra: Callable[[], bytes] = bytes          # frames that are made as late as possible (credit)
        loop.add_reader(sock, self.readable)

    def write(self, frame: bytes) -> None:
        """Send soon: frames written during one turn of the loop leave in few pieces. From any thread."""
        self.outbox.append(frame)
        self.pending += len(frame)
        if len(self.outbox) >= EARLY and not self.rest and threading.get_ident() == self.thread:
            self.flush()
        elif not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Flush at the end of this turn of the loop. From any thread."""
        if self.scheduled:
            return
        self.scheduled = True
        if threading.get_ident() == self.thread:
            self.loop.call_soon(self.flush)
        else:
            try:
                self.loop.call_soon_threadsafe(self.flush)
            except RuntimeError:                         # the loop is closed: whoever comes next finds a new home
                self.closed = True

    def flush(self) -> bool:
        """Send now. True when the kernel has it all. From any thread."""
        self.scheduled, broken = False, None
        with self.lock:
            if self.closed:
                return False
            outbox, parts = self.outbox, [self.rest] if self.rest else []
            while outbox:
                parts.append(outbox.popleft())
            if extra := self.extra():
                parts.append(extra)
            data = b"".join(parts) if len(parts) != 1 else parts[0]
            try:
                sent = self.sock.send(data) if data else 0
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                sent, broken = len(data), error
            self.rest = data[sent:] if sent < len(data) else b""
            self.pending = len(self.rest)
        if broken:
            self.on_loop(self.fail, broken)
            return False
        if self.rest or self.writing or self.waiting:
            self.on_loop(self.settle_writing)
        return not self.rest

    def on_loop(self, call: Callable, *args) -> None:
        if threading.get_ident() == self.thread:
            call(*args)
        else:
            try:
                self.loop.call_soon_threadsafe(call, *args)
            except RuntimeError:
                self.closed = True

    def settle_writing(self) -> None:
        if self.closed:
            return
        if self.rest and not self.writing:
            self.writing = True
            self.loop.add_writer(self.sock, self.flush)
        elif not self.rest and self.writing:
            self.writing = False
            self.loop.remove_writer(self.sock)
        if not self.rest:
            self.wake()

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call(not self.closed)

    def when_flushed(self, call: Callable[[bool], None]) -> None:
        """`call(True)` once the kernel has all that was written, at once if it takes it now; `call(False)` when the
        connection is lost before. Only on the loop."""
        if self.flush():
            call(True)
        elif self.closed:
            call(False)
        else:
            self.waiting.append(call)

    async def drained(self) -> None:
        """Wait until the kernel has taken what is held, if that is much. Only on the loop."""
        if self.pending > HIGH_WATER and not self.flush():
            done = self.loop.create_future()
            self.waiting.append(lambda flushed: done.done() or done.set_result(None))
            await done

    def readable(self) -> None:
        try:
            data = self.sock.recv(READ)
            frames = self.frames.feed(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, FrameError) as error:
            return self.fail(error)
        if not data:
            return self.fail(ConnectionResetError("the interface server closed the connection"))
        try:
            self.heard(frames)
        except (FrameError, ValueError, struct.error) as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        if not self.closed:
            self.close()
            self.lost(error)

    def close(self) -> None:
        """Only on the loop. What was not flushed is lost."""
        if self.closed:
            return
        with self.lock:
            self.closed = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self.sock)
            if self.writing:
                self.loop.remove_writer(self.sock)
        self.sock.close()
        self.wake()

"""What the layers of this package share: one loop, the home, owns the connection; calls from other loops and threads cross
to it."""
import asyncio
import logging
import os
import secrets
import threading
import time

from channels.layers import BaseChannelLayer

from interfaces.worker.home import Home, spare_home
from interfaces.worker.leaving import GRACE
from interfaces.worker.session import current

logger = logging.getLogger("interfaces.worker")
LOOP_ENDED = "the event loop that held the connection has ended"


class MessageTooLarge(ValueError):
    """A message is larger than the layer carries (messages.md, Sizes). Nothing was sent."""


class HomedLayer(BaseChannelLayer):
    """A subclass has `inbox` (an Inbox) and `make_home(layer, predecessor=None, spare=False)`, made on the home's loop."""
    extensions = ["groups", "flush"]
    make_home: type[Home]
    movable = True                       # a spare home gives way to the loop of one who receives
    adopts = False                       # whoever runs a request must claim it (messages.md, Ownership)
    release: str | None = None           # of the code that runs, for a server that prefers the newest
    reads_bodies = False                 # the further parts of a body come on a channel of its own

    def begin(self, inbox) -> None:
        """At the end of __init__."""
        self.states: dict[object, str] = {}
        self.grace, self.inbox = GRACE, inbox
        self.start_afresh()

    def start_afresh(self) -> None:
        """As a new process: after a fork nothing of the parent's connection may be touched."""
        self.pid, self.guard = os.getpid(), threading.Lock()
        self.process = f"specific.{secrets.token_urlsafe(16)}"
        self.home: Home | None = None
        self.leaving = None
        self.groups: set[tuple[str, str]] = set()
        self.inbox.start_afresh(self.process)

    # The channel layer API

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
        session = current.get(None)
        if session is not None and session.channel is None and session.sessions.layer is self:
            session.channel = channel                    # the first: a consumer asks for one before it reads anything
            self.inbox.hosted[channel] = session
        return channel

    async def close(self) -> None:
        """Close the connection. A later call opens a new one."""
        with self.guard:
            home, self.home = self.home, None
            self.inbox.lost()
        if home is not None and home.pid == os.getpid():
            if not home.alive:
                return home.drop(ConnectionError(LOOP_ENDED))
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
            if home is not None and home.alive and not (receiving and home.spare and self.movable):
                return home
            if home is not None:
                self.leave_home(home)
            self.home = self.make_home(self, predecessor=home) if receiving else spare_home(self)
            return self.home

    def leave_home(self, home: Home) -> None:
        self.inbox.lost()
        self.inbox.drop_waiters()                        # of the loop that is left; those who cross come again
        calls = set(home.crossing)
        if home.alive:
            home.retire()                                # which first finishes what was asked
        else:
            calls |= home.asking
            home.drop(ConnectionError(LOOP_ENDED))
            if not home.over.done():
                home.over.set_result(None)
        for call in calls:
            call.cancel()

    async def ask_across(self, home: Home, question):
        future = asyncio.run_coroutine_threadsafe(question, home.loop)
        home.asking.add(future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():
                raise
            raise ConnectionError(LOOP_ENDED) from None
        finally:
            home.asking.discard(future)

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

    # Small parts

    def now(self) -> float:
        """The time on which deadlines are. A hub is on this machine."""
        return time.time()

    def say(self, state: str, text: str, *args, about: object = None) -> None:
        """One log line per change of state."""
        if state != self.states.get(about):
            self.states[about] = state
            logger.log(logging.INFO if state == "up" else logging.WARNING, text, *args)

    def mine(self, channel: str) -> bool:
        return channel.startswith(self.process) and channel[len(self.process):len(self.process) + 1] == "!"

"""Lanes: the threads in which synchronous consumers run.

asgiref runs what is `thread_sensitive` (Channels' SyncConsumer, database_sync_to_async) in one thread of the process: one
slow handler would stop all. Here each connection has a lane, one of N threads, and stays in it: its messages are run in
order, and those of the other lanes meanwhile. A connection that never goes to a thread costs its lane nothing."""
import asyncio
import functools
import logging
import threading
from concurrent.futures import Executor, Future
from contextvars import Context, copy_context
from queue import SimpleQueue

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections, connections

logger = logging.getLogger("interfaces.worker")
THREADS = 16                 # as many as a Wsgi has


class Lane(Executor):
    """One thread, started when it is needed. It is a daemon: none holds up the end of the process."""

    def __init__(self, number: int):
        self.number, self.held = number, 0               # held: connections that are in it
        self.calls: SimpleQueue = SimpleQueue()
        self.thread: threading.Thread | None = None
        self.has_database = False                        # a database connection was left open in the thread
        self.sensitive = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self.sensitive] = self
        self.context = copy_context()
        self.context.run(SyncToAsync.thread_sensitive_context.set, self.sensitive)

    def enter(self) -> Context:
        """The context for the tasks of one more connection."""
        self.held += 1
        return self.context.copy()

    def submit(self, call, /, *args, **kwargs):
        if not self.has_database and closes_old_connections(call):
            # Channels 4.3 asks for it before each message of an AsyncConsumer: 70 us of 108 for a thread with nothing open.
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        future: Future = Future()
        self.calls.put((future, functools.partial(call, *args, **kwargs)))
        if self.thread is None:
            self.thread = threading.Thread(target=self.work, args=(self.calls,), name=f"lane {self.number}", daemon=True)
            self.thread.start()
        return future

    def work(self, calls: SimpleQueue) -> None:
        while (found := calls.get()) is not None:
            future, call = found
            if future.set_running_or_notify_cancel():
                result = error = None
                try:
                    result = call()
                except BaseException as raised:          # it is for who waits; the thread goes on
                    error = raised
                self.has_database = is_open()
                future.set_result(result) if error is None else future.set_exception(error)
            found = future = call = result = error = None        # an idle thread keeps nothing alive
        connections.close_all()

    def close(self) -> None:
        """What was asked is still run; then the thread ends, and with it its database connections."""
        if self.thread is not None:
            self.calls.put(None)
            self.calls, self.thread, self.has_database = SimpleQueue(), None, False


def closes_old_connections(call) -> bool:
    """As asgiref gives `sync_to_async(close_old_connections)()` to an executor. What is not recognised just runs."""
    args = call.args if isinstance(call, functools.partial) else ()
    return bool(args) and isinstance(args[-1], functools.partial) and args[-1].func is close_old_connections


def is_open() -> bool:
    return any(connection.connection is not None for connection in connections.all(initialized_only=True))


class Lanes:
    def __init__(self, threads: int):
        self.lanes = [Lane(number) for number in range(1, threads + 1)]

    def choose(self) -> Lane:
        """The emptiest."""
        return min(self.lanes, key=lambda lane: lane.held)

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()

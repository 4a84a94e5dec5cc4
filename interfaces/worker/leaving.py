"""Leaving a stock runworker on SIGTERM: take nothing new, finish what runs, say goodbye, and end with 0.

What fails, all tried: nothing done ends with 143; cancelling the worker's listener or application tasks with 1; SIGINT
is ignored in a background shell. KeyboardInterrupt raised from a callback of the loop ends a stock runworker well.
"""
import asyncio
import logging
import os
import signal
import sys
import threading

logger = logging.getLogger("interfaces.worker")
GRACE = 8.0                  # seconds; below the 10 s after which container runtimes send SIGKILL
LOOK = 0.02                  # seconds between looks at what still runs, a guess
LAST = 1.0                   # seconds before the end of the grace in which connections are given back whatever they do, a guess


def prepare(layer, worker) -> None:
    """Called at the first receive of a stock worker's listener. Does nothing where SIGTERM isn't ours to take: another
    thread, or somebody's own handler."""
    if layer.leaving is not None or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        layer.leaving = Leaving(layer, worker, asyncio.get_running_loop())


class Leaving:
    """Waits for SIGTERM."""

    def __init__(self, layer, worker, loop: asyncio.AbstractEventLoop):
        self.layer, self.worker, self.loop = layer, worker, loop
        self.task: asyncio.Task | None = None
        loop.add_signal_handler(signal.SIGTERM, self.begin)

    def begin(self) -> None:
        if self.task is None:
            logger.info("SIGTERM: finishing what runs, for at most %g s", self.layer.grace)
            timer = threading.Timer(self.layer.grace, end_now)
            timer.daemon = True
            timer.start()
            self.task = self.loop.create_task(self.leave())

    async def leave(self) -> None:
        inbox = self.layer.inbox
        channels = [name for name in self.worker.channels if name in inbox.listenings]
        for name in channels:
            inbox.listenings[name].leaving = True
            inbox.listenings[name].withdraw()
        last = self.loop.time() + self.layer.grace - min(LAST, self.layer.grace / 2)
        while (not all([resident.leave(self.loop.time() > last) for resident in inbox.residents])
               or inbox.running or inbox.returning or not all(self.at_rest(name) for name in channels)):
            await asyncio.sleep(LOOK)
        if self.layer.home is not None:
            await self.layer.home.flushed()
        self.loop.call_soon(interrupt)

    def at_rest(self, channel: str) -> bool:
        from interfaces.worker import runworker          # not above: it imports this module

        return self.layer.inbox.listenings[channel].at_rest and runworker.at_rest(self.worker, channel)


def interrupt() -> None:
    raise KeyboardInterrupt


def end_now() -> None:
    """Threads of executors are joined when an interpreter ends: a stuck view would hold it for ever."""
    logger.warning("still busy at the end of the grace period: leaving what runs")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

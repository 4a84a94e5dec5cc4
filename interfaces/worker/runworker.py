"""Reading for a stock `runworker`: finding it, and bounding what it swallows."""
import asyncio

from channels.worker import Worker

from interfaces.worker import leaving
from interfaces.worker.boxes import FEW


def meet(layer, listening) -> None:
    """When the running task is the listener of a stock worker, keep its queue short and leave with it on SIGTERM.

    `Worker.listener` puts all that it receives into an unbounded asyncio.Queue: a slow consumer would swallow the whole
    channel, and take it down when it is killed. The layer API has no word for "not yet", so the queue itself is given a
    bound: `put` then waits, and with it the next `receive`. `_maxsize` is what Queue(maxsize=) sets, since Python 3.4;
    should it vanish, the queue is unbounded again and nothing else breaks."""
    if listening.queued is not None:
        listening.queued()                               # an application that ended has a new queue now
        return
    worker = stock_worker()
    if worker is None or listening.channel not in worker.channels:
        return
    listening.queued = queue_length(worker, listening.channel)
    leaving.prepare(layer, worker)


def adopt(layer, channel: str) -> None:
    """For the application of a stock worker whose layer isn't ours: it is found among the tasks of the loop."""
    for task in asyncio.all_tasks():
        worker = stock_worker(task)
        if worker is not None and channel in worker.channels:
            queue = queue_of(worker, channel)
            if getattr(queue, "_maxsize", None) == 0:
                queue._maxsize = 1
            leaving.prepare(layer, worker)


def stock_worker(task: asyncio.Task | None = None) -> Worker | None:
    """The Worker whose listener is the task, by default the running one."""
    frame = getattr((task or asyncio.current_task()).get_coro(), "cr_frame", None)
    found = frame.f_locals.get("self") if frame is not None and frame.f_code is Worker.listener.__code__ else None
    return found if isinstance(found, Worker) else None


def queue_of(worker: Worker, channel: str) -> asyncio.Queue | None:
    details = worker.application_instances.get(channel)
    return details and details.get("input_queue")


def queue_length(worker: Worker, channel: str):
    """How many messages the worker holds for `channel`, as a function, which also gives the queue its bound."""
    def queued() -> int:
        queue = queue_of(worker, channel)
        if queue is None:
            return FEW - 1                               # the first one makes the application: one at a time until then
        if getattr(queue, "_maxsize", None) == 0:
            queue._maxsize = FEW
        return queue.qsize()

    return queued


def at_rest(worker: Worker, channel: str) -> bool:
    """The application has taken all that it was given and asks for more (or has ended)."""
    details = worker.application_instances.get(channel)
    if details is None or details["future"].done():
        return True
    queue = details["input_queue"]
    return queue.empty() and bool(getattr(queue, "_getters", True))

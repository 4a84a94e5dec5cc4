"""How many messages each reader wants, and what becomes of those that came for nobody. On a clock, without a Redis."""
import asyncio

import msgpack
import pytest

from interfaces.worker.boxes import Listening
from interfaces.worker.redis_boxes import LINGER, PARTS, RedisBody, RedisHosting, RedisListening
from tests.worker.hub import dialogue


class Desk:
    """The inbox of one listening: what it gives back, and a clock with its timers."""
    reads_own = False

    def __init__(self):
        self.now, self.timers, self.back, self.listenings = 0.0, [], [], {}

    def clock(self):
        return self.now

    def later(self, when, call):
        self.timers.append((when, call))
        return True

    def advance(self, seconds):
        self.now += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.now], [t for t in self.timers if t[0] > self.now]
        for _, call in due:
            call()

    def put_back(self, listening):
        while listening.unstarted:
            self.back.append(listening.unstarted.popleft()[0])

    def encode(self, message):
        return message["n"], self.now, 0

    def decode(self, channel, parcel):
        return {"n": parcel[0]}

    def poke(self, channel=None):
        """It looks again."""

    withdraw = wake = poke


def comes(listening, *values):
    listening.unstarted.extend((value, 0.0, 0) for value in values)
    listening.settle()


async def reads(listening):
    task = asyncio.ensure_future(listening.take())
    await asyncio.sleep(0)
    return task


def listening():
    return RedisListening("jobs", Desk())


@dialogue
async def test_a_reader_that_was_given_a_message_and_is_not_awake_yet_is_not_at_rest():
    """A worker that ended then would lose the message: neither its queue nor this listening has it."""
    jobs = listening()
    assert not jobs.at_rest, "nobody reads yet"
    reader = await reads(jobs)
    assert jobs.at_rest
    comes(jobs, 1)
    assert not jobs.ready and not jobs.at_rest
    await reader
    assert not jobs.at_rest, "it has not been back"
    reader = await reads(jobs)
    assert jobs.at_rest
    reader.cancel()
    assert not jobs.at_rest


@dialogue
async def test_what_the_hub_is_being_told_of_is_not_at_rest():
    """The same on a hub, where a message begins only when the word of it has left."""
    class Link:
        connection = None
        loop, decode, told = asyncio.get_running_loop(), staticmethod(msgpack.unpackb), []

        def write(self, frame):
            """It is on its way."""

        def when_flushed(self, call):
            self.told.append(call)

    link = Link()
    link.connection = link
    jobs = Listening("jobs", link)
    reader = await reads(jobs)
    assert jobs.at_rest
    jobs.pushed(msgpack.packb({"n": 1}), link.loop.time())
    jobs.settle()
    jobs.withdraw()
    assert not jobs.at_rest and not reader.done()
    link.told.pop()(True)
    assert not jobs.at_rest
    assert await reader == {"n": 1}
    reader = await reads(jobs)
    assert jobs.at_rest
    reader.cancel()


@dialogue
async def test_as_many_as_wait():
    jobs = listening()
    assert jobs.wanted() == 0
    tasks = [await reads(jobs) for _ in range(3)]
    assert jobs.wanted() == 3
    jobs.taking = 1
    assert jobs.wanted() == 2, "one is on its way"
    tasks[0].cancel()
    assert jobs.wanted() == 1, "and one reader has left, even before it knows"
    jobs.leaving = True
    assert jobs.wanted() == jobs.wanted(lingering=True) == 0
    for task in tasks:
        task.cancel()


@dialogue
async def test_a_reader_that_was_here_a_moment_ago_is_waited_for():
    jobs = listening()
    reader = await reads(jobs)
    comes(jobs, 1)
    assert await reader == {"n": 1}
    assert (jobs.wanted(), jobs.wanted(lingering=True)) == (0, 1)
    comes(jobs, 2)
    assert (jobs.inbox.back, jobs.wanted(lingering=True)) == ([], 0), "it is kept, and no more is wanted"
    assert await jobs.take() == {"n": 2}
    jobs.inbox.advance(LINGER)
    assert (jobs.wanted(lingering=True), jobs.idle) == (0, True)


@dialogue
async def test_what_was_kept_goes_back_when_the_reader_does_not_come():
    jobs = listening()
    reader = await reads(jobs)
    comes(jobs, 1)
    await reader
    comes(jobs, 2)
    assert len(jobs.inbox.timers) == 1 and not jobs.idle
    jobs.inbox.advance(LINGER)
    assert (jobs.inbox.back, jobs.idle) == ([2], True)
    comes(jobs, 3)
    assert jobs.inbox.back == [2, 3], "and what comes later goes back at once"


@dialogue
async def test_what_a_cancelled_reader_was_given_goes_to_the_next_one_or_back():
    jobs = listening()
    first, second = await reads(jobs), await reads(jobs)
    comes(jobs, 1)
    first.cancel()                                       # in the turn in which it was given the message
    assert await second == {"n": 1}
    third = await reads(jobs)
    comes(jobs, 2)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert (jobs.inbox.back, list(jobs.ready), jobs.idle) == ([2], [], True)


@dialogue
async def test_a_stock_worker_holds_few():
    jobs, held = listening(), 0
    jobs.queued = lambda: held
    assert jobs.wanted() == 8
    held = 3
    assert jobs.wanted() == 5
    held = 6
    assert jobs.wanted() == 0, "more is asked for when half of it has gone"
    reader = await reads(jobs)
    assert jobs.wanted() == 2, "or when somebody waits"
    held = 8
    assert jobs.wanted() == 1
    reader.cancel()


@dialogue
async def test_an_application_gets_as_many_as_it_has_slots():
    hosting, begun = RedisHosting("http.request", Desk(), 2), []
    assert hosting.wanted() == 0, "not before it has been read from"
    reader = await reads(hosting)
    assert hosting.wanted() == 1
    comes(hosting, 1)
    assert await reader == {"n": 1}
    hosting.activate(begun.append)
    assert hosting.wanted() == 1
    comes(hosting, 2, 3)
    assert (begun, hosting.wanted(), hosting.inbox.back) == ([{"n": 2}], -1, []), "what two servers brought waits"
    hosting.finish()
    hosting.settle()
    assert begun == [{"n": 2}, {"n": 3}]
    hosting.finish()
    hosting.withdraw()
    assert hosting.wanted() == 0


def test_a_body_has_eight_parts_out():
    held = 3
    body = RedisBody("http.request.body.x", Desk(), lambda message: None, lambda: held)
    body.taking = 2
    assert body.wanted() == PARTS - 5
    body.ended = True
    assert body.wanted() == 0

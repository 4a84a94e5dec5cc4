"""Sockets that outlive their workers: deploys, crashes and no worker at all, under traffic, with stock consumers."""
import asyncio
import contextlib
import signal
import socket
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.sockets.conftest import staffed
from tests.sockets.crowd import Crowd
from tests.sockets.processes import until

SOCKETS = 50


@pytest.fixture
def served(hub):
    yield from staffed(hub, lambda: hub.sockets(hub.server))


@pytest.fixture
def opens(served):
    def to(path, **more):
        return connect(served.ws + path, proxy=None, **more)
    return to


async def ends(worker, number=signal.SIGTERM) -> float:
    """Seconds it took, with status 0."""
    began = time.monotonic()
    assert await asyncio.to_thread(worker.ends, number) in (0, -signal.SIGKILL)
    return time.monotonic() - began


def test_nobody_notices_that_workers_are_replaced(served):
    async def dialogue():
        async with (Crowd(f"{served.ws}/echo?replaced", SOCKETS // 2) as one,
                    Crowd(f"{served.ws}/sync?replaced", SOCKETS // 2) as other):
            worker = served.first
            for _ in range(2):
                for crowd in (one, other):
                    await crowd.goes_on("before")
                fresh = await asyncio.to_thread(served.sockets, served.server)
                assert await ends(worker) < 5
                assert worker.process.returncode == 0
                worker = fresh
                pauses = await asyncio.gather(one.goes_on("after", 1), other.goes_on("after", 1))
                assert max(pauses) < 5, "what the project asks for"
            for crowd in (one, other):
                await crowd.falls_silent()
                assert (crowd.dropped, crowd.doubled, crowd.disordered, sum(map(len, crowd.lost))) == (0, 0, 0, 0)
            return worker

    def left():
        return [line for line in served.noted if line.endswith(" replaced")]
    last = asyncio.run(dialogue())
    until(lambda: len(left()) >= SOCKETS, "their consumers hear of the end")
    assert last.ends() == 0
    assert len(left()) == SOCKETS, "once, and of no other end before"


def test_a_worker_is_killed_and_the_other_one_takes_over_what_was_its(served):
    second = served.sockets(served.server)

    async def dialogue():
        async with Crowd(f"{served.ws}/echo", SOCKETS) as crowd:
            await crowd.goes_on("before")
            answered = [client.heard[-1] for client in crowd.clients]
            await ends(served.first, signal.SIGKILL)
            said = [client.sent for client in crowd.clients]
            assert await crowd.goes_on("after", 1) < 1
            await crowd.falls_silent()
            assert (crowd.dropped, crowd.doubled, crowd.disordered) == (0, 0, 0)
            for lost, before, after in zip(crowd.lost, answered, said, strict=True):
                assert all(before < number <= after for number in lost), "in flight when it was killed, or just then"
            assert not all(crowd.lost), "the other half lost nothing"
            crowd.clients[0].said.clear()
            await crowd.clients[0].socket.send("all: again")
            await crowd.until(lambda client: "again" in client.said, "groups reach everybody")
    asyncio.run(dialogue())
    served.stays = second


def test_what_is_said_without_a_worker_arrives_later(served, opens):
    with opens("/echo") as one, opens("/sync") as other:
        assert served.first.ends() == 0
        for number in range(100):                # more than a window
            one.send(f"one {number}")
            other.send(f"other {number}")
        with pytest.raises(InvalidStatus) as refused, opens("/echo"):
            pass                                 # it takes 2 s: then the server knows that nobody will answer
        assert refused.value.response.status_code == 503
        second = served.sockets(served.server)
        assert [one.recv(10) for _ in range(100)] == [f"one {number}" for number in range(100)]
        assert [other.recv(10) for _ in range(100)] == [f"other {number}" for number in range(100)]
    served.stays = second


def test_groups_and_state_survive_a_hand_over(served, opens):
    with opens("/echo") as one, opens("/echo") as other, opens("/count") as counter:
        for count in (1, 2, 3):
            counter.send("more")
            assert counter.recv(5) == f"{count} {served.first.process.pid}"
        second = served.sockets(served.server)
        assert served.first.ends() == 0
        for count in (4, 5):
            counter.send("more")
            assert counter.recv(5) == f"{count} {second.process.pid}"
        one.send("all: still together")
        assert one.recv(5) == other.recv(5) == "still together"
        with opens("/echo") as newcomer:
            other.send("all: of us")
            assert one.recv(5) == other.recv(5) == newcomer.recv(5) == "of us"
    served.stays = second


def test_a_client_that_leaves_during_the_change_over(served, opens):
    def left():
        return sorted(line for line in served.noted if line.endswith(("-goes", "-vanishes")))
    with contextlib.ExitStack() as clients:
        went, vanished = ([clients.enter_context(opens(f"/{path}?{path}-{how}")) for path in ("echo", "sync")]
                          for how in ("goes", "vanishes"))
        for client in (*went, *vanished):
            client.send("here")
            assert client.recv(5) == "here"
        assert served.first.ends() == 0
        for client in vanished:
            client.socket.shutdown(socket.SHUT_RDWR)
        for client in went:
            client.protocol.send_close(4000, "bye")     # and waits for nobody: there is no worker to read it
            client.socket.sendall(b"".join(client.protocol.data_to_send()))
        second = served.sockets(served.server)
        until(lambda: len(left()) >= 4, "their consumers are told")
    said = [f"left {second.process.pid} {end}" for end in (
        "1006 echo-vanishes", "1006 sync-vanishes", "4000 echo-goes", "4000 sync-goes")]
    assert left() == said
    assert second.ends() == 0
    assert left() == said, "and once"


def test_a_consumer_that_blocks_its_lane_stops_no_other_connection(house):
    house.sockets(house.twistd(), "two_lanes")
    with connect(f"{house.ws}/sync", proxy=None) as sleeps, connect(f"{house.ws}/sync", proxy=None) as wakes:
        began = time.monotonic()
        sleeps.send("sleep: 0.6")
        for number in range(5):
            wakes.send(f"{number}")
            assert wakes.recv(5) == f"{number}"
        assert time.monotonic() - began < 0.5
        assert sleeps.recv(5) == "sleep: 0.6" and time.monotonic() - began >= 0.6


def test_a_worker_leaves_while_one_of_its_consumers_is_busy(served, opens):
    """What it has begun it finishes; what comes after is the next one's."""
    with opens("/sync") as client:
        client.send("sleep: 0.6")
        client.send("after")
        second = served.sockets(served.server)
        assert served.first.ends() == 0
        assert [client.recv(5), client.recv(5)] == ["sleep: 0.6", "after"]
        client.send("close: 4002 done")
        until(lambda: f"left {second.process.pid} 4002 " in served.noted, "the second has it")
    served.stays = second


def test_the_newest_of_many_workers_that_come_and_go_has_all_of_them(served):
    """A deploy that is broken off and begun again: workers that leave before the sockets have come to rest with them."""
    async def dialogue():
        async with Crowd(f"{served.ws}/echo", SOCKETS) as crowd:
            await crowd.goes_on("before", 2)
            others = [await asyncio.to_thread(served.sockets, served.server) for _ in range(2)]
            await asyncio.gather(*[ends(worker) for worker in (served.first, others[0])])
            await crowd.goes_on("after", 2)
            await crowd.falls_silent()
            assert (crowd.dropped, crowd.doubled, crowd.disordered, sum(map(len, crowd.lost))) == (0, 0, 0, 0)
            return others[1]
    served.stays = asyncio.run(dialogue())


def test_what_is_new_goes_to_the_newest_release_and_the_rest_when_the_old_one_leaves(house):
    def counted(client):
        client.send("more")
        return client.recv(5)
    server = house.twistd("--prefer-release")
    old = house.sockets(server, "released", SITE_RELEASE="v9")
    with connect(f"{house.ws}/count", proxy=None) as stays:
        assert counted(stays) == f"1 {old.process.pid}"
        new = house.sockets(server, "released", SITE_RELEASE="v10")

        def newest_answers():
            with connect(f"{house.ws}/count", proxy=None) as comes:
                return counted(comes) == f"1 {new.process.pid}"
        until(newest_answers, "it is not only here, but listens")
        for _ in range(5):
            with connect(f"{house.ws}/count", proxy=None) as comes:
                assert counted(comes) == f"1 {new.process.pid}"
        assert counted(stays) == f"2 {old.process.pid}"
        assert old.ends() == 0
        assert counted(stays) == f"3 {new.process.pid}"
        assert new.ends(signal.SIGKILL) == -signal.SIGKILL
        last = house.sockets(server, "released", SITE_RELEASE="v9")        # a roll back
        assert counted(stays).endswith(f" {last.process.pid}")

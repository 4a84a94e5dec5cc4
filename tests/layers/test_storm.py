"""Seeded storms of workers that come, take, begin, withdraw and die. Replay one by its seed."""
import random

import pytest

from interfaces.contract import ChannelFull
from interfaces.layers.conformance import run

CHANNELS = ("http.request", "mqtt.receive")
NAMES = "abcd"


class Storm:
    """What must be true, kept beside the layer: `free` is what nobody has, `held` what was pushed and not begun."""

    def __init__(self, seed, layer, harness):
        self.rng, self.layer, self.harness = random.Random(seed), layer, harness
        self.workers, self.held, self.credit = {}, {}, {}
        self.free = {channel: [] for channel in CHANNELS}
        self.started, self.sent, self.number = set(), 0, 0

    async def step(self):
        await self.rng.choice((self.send, self.send, self.send, self.listen, self.listen, self.begin, self.begin,
                               self.withdraw, self.die, self.come))()
        await self.harness.settle()
        self.receive()

    async def send(self):
        channel = self.rng.choice(CHANNELS)
        try:
            await self.layer.send(channel, {"n": self.number})
        except ChannelFull:
            assert len(self.free[channel]) + sum(len(held.get(channel, ())) for held in self.held.values()) == 20
        else:
            self.free[channel].append(self.number)
        self.number += 1

    async def come(self):
        name = self.rng.choice(NAMES)
        if name not in self.workers:
            self.workers[name] = await self.harness.worker(name)
            self.held[name], self.credit[name] = {}, {}

    def one(self):
        return self.rng.choice(sorted(self.workers)) if self.workers else None

    async def listen(self):
        if name := self.one():
            channel, n = self.rng.choice(CHANNELS), self.rng.randrange(4)
            await self.workers[name].listen(channel, n)
            self.credit[name][channel] = self.credit[name].get(channel, 0) + n

    async def begin(self):
        name = self.one()
        channels = [channel for channel, held in self.held[name].items() if held] if name else ()
        if channels:
            channel = self.rng.choice(channels)
            n = self.rng.randrange(1, len(self.held[name][channel]) + 1)
            await self.workers[name].started(channel, n, self.rng.choice(("", f"specific.{name}!owner")))
            begun, self.held[name][channel] = self.held[name][channel][:n], self.held[name][channel][n:]
            assert not self.started.intersection(begun)
            self.started.update(begun)

    async def withdraw(self):
        if name := self.one():
            channel = self.rng.choice(CHANNELS)
            await self.workers[name].withdraw(channel)
            self.give_back(channel, self.held[name].pop(channel, []))
            self.credit[name].pop(channel, None)

    async def die(self):
        if name := self.one():
            await self.workers.pop(name).die()
            for channel, held in self.held.pop(name).items():
                self.give_back(channel, held)
            del self.credit[name]

    def give_back(self, channel, held):
        self.free[channel] = sorted(self.free[channel] + held)

    def receive(self):
        for channel in CHANNELS:
            got = {name: [message["n"] for message in worker.got(channel)] for name, worker in self.workers.items()}
            pushed = sorted(n for found in got.values() for n in found)
            assert pushed == self.free[channel][:len(pushed)]           # the oldest that nobody has, each to one worker
            self.free[channel] = self.free[channel][len(pushed):]
            for name, found in got.items():
                assert found == sorted(found)
                self.held[name].setdefault(channel, []).extend(found)
                self.credit[name][channel] = self.credit[name].get(channel, 0) - len(found)
                assert self.credit[name][channel] >= 0
            waits = any(credit.get(channel, 0) for credit in self.credit.values())
            assert not (self.free[channel] and waits)                   # nobody who has room waits for what is there

    async def end(self):
        """All go; one comes and gets the rest, in order."""
        while self.workers:
            await self.die()
        last = await self.harness.worker("last")
        for channel in CHANNELS:
            await last.listen(channel, 1000)
            await self.harness.settle()
            assert [message["n"] for message in last.got(channel)] == self.free[channel]
            await last.started(channel, len(self.free[channel]))
            await last.withdraw(channel)
        assert self.layer.statistics()["bytes"] == 0


@pytest.mark.parametrize("seed", range(60))
def test_storm(harness, seed):
    async def storm():
        layer = await harness.make(capacity=20)
        found = Storm(seed, layer, harness)
        for _ in range(200):
            await found.step()
        await found.end()
        assert found.started
    run(storm())

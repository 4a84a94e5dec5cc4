"""Traffic on thousands of WebSockets, counted message by message, while their worker is replaced. Standard library only."""
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clients import CLOSE, PATIENCE, Sockets
from processes import START, Failed, stat

CALM = 3.0              # seconds of traffic before and after what is measured; a guess
EACH = 1.0              # seconds from one message of a socket to its next
STEP = 0.002            # seconds that traffic waits for something to hear before it speaks again


class Traffic:
    """Every socket says a number each second, with its own name and the time, and hears it again. `homes`: in which process it
    is, and since when."""

    def __init__(self, sockets: Sockets):
        self.sockets, self.count = sockets, len(sockets.all)
        self.said, self.heard = (dict.fromkeys(sockets.all, 0) for _ in range(2))
        self.homes: dict[int, tuple[int, float]] = {}
        self.lost = self.doubled = self.dropped = 0
        self.longest = 0.0                              # seconds that an echo took
        self.turn, self.began, self.spoken = self.turns(), time.monotonic(), 0

    def turns(self) -> Iterator[int]:
        while self.sockets.all:
            yield from tuple(self.sockets.all)

    def until(self, over: Callable[[], bool], patience: float, silent: bool = False) -> bool:
        """Go on until that, or for so many seconds: then it gives False. `over` is asked ten times a second."""
        end, asked = time.monotonic() + patience, 0.0
        while (now := time.monotonic()) < end:
            if now > asked + 0.1:
                asked = now
                if over():
                    return True
            self.listen()
            if not silent:
                self.speak(int((time.monotonic() - self.began) / EACH * self.count))
        return over()

    def speak(self, due: int):
        while self.spoken < due and (number := next(self.turn, None)) is not None:
            if number in self.sockets.all:
                self.said[number] += 1
                self.sockets.say(number, b"%d %d %.4f" % (number, self.said[number], time.monotonic()))
            self.spoken += 1

    def listen(self):
        for number, kind, text in self.sockets.frames(STEP):
            if kind == CLOSE:
                self.dropped += 1
                continue
            name, told, *when = text.split()
            if name == b"here":
                self.homes[number] = int(told), time.monotonic()
                continue
            if int(name) != number:
                raise Failed(f"socket {number} hears what {name} said")
            self.count_one(number, int(told))
            self.longest = max(self.longest, time.monotonic() - float(when[0]))

    def count_one(self, number: int, told: int):
        heard = self.heard[number]
        if told <= heard:
            self.doubled += 1
        else:
            self.lost += told - heard - 1
            self.heard[number] = told

    def settled(self) -> bool:
        return all(self.heard[number] == self.said[number] for number in self.sockets.all)


@dataclass(frozen=True)
class Replaced:
    traffic: Traffic
    before: float                       # longest echo, seconds, before the new worker was started; from then on
    after: float
    taken: float                        # seconds from SIGTERM until the last socket has heard from the new worker
    here: int                           # sockets that have
    left: float                         # seconds until the old one had ended


def replace(site, sockets: Sockets) -> Replaced:
    """Start a new worker on `site` (of sockets.py), and then ask the one that has all these sockets to leave."""
    old, traffic = site.house.programs[-1][1], Traffic(sockets)
    traffic.until(lambda: False, CALM)
    before, traffic.longest = traffic.longest, 0.0
    new = site.worker("room_named")
    if not traffic.until(lambda: site.workers() >= 2, START):
        raise Failed(f"the new worker is not ready\n{site.house.logs()}")
    traffic.until(lambda: False, CALM)
    began = time.monotonic()
    old.send_signal(signal.SIGTERM)
    moved = {}

    def over() -> bool:
        if "left" not in moved and stat(old.pid)[0] == "Z":       # it isn't waited for: its CPU is still to be read
            moved["left"] = time.monotonic() - began
        return "left" in moved and all(traffic.homes.get(number, (0,))[0] == new.pid for number in sockets.all)

    traffic.until(over, PATIENCE)
    traffic.until(lambda: False, CALM)
    traffic.until(traffic.settled, PATIENCE, silent=True)
    traffic.lost += sum(traffic.said[number] - traffic.heard[number] for number in traffic.said)
    times = [when - began for process, when in traffic.homes.values() if process == new.pid]
    return Replaced(traffic, before, traffic.longest, max(times, default=0.0), len(times), moved.get("left", PATIENCE))

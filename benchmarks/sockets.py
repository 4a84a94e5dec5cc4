"""WebSockets: what an idle one costs, how fast they open, a message to all of them, and a worker that is replaced under them.

    python benchmarks/sockets.py [--layer redis] [--rounds 3] [--only idle group restart] [--write docs/performance.md]

Standard library only, one process of plain Python for all clients. The second table says how much CPU that took.
"""
import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import on_redis
from clients import Sockets
from held import settled, too_many
from processes import LEAVE, House, machine_seconds
from run import machine, told, versions
from traffic import replace

HELD, SUBSCRIBED = 10_000, 5_000        # the project's requirements
WARM = 20               # opened and closed before memory is measured, so that a serving process is what it is compared with
SENDS, COUNTED = 24, 16 # messages to all; the last of them count. The first took up to five times as long on a virtual machine,
                        # whose host has still to find the memory: a site that has served for a while has it
LENGTH = 64             # bytes of each
# No pings to a client that is to be idle, nor limits: all clients have a few addresses.
OPTIONS = ("--ws-ping-interval", "3600", "--http-max-connections", "0", "--http-max-per-address", "0")
PLAIN = ("websocket.connect", "websocket.receive", "websocket.disconnect")
KINDS = {               # attributes of site/workers.py
    "echo": "stock `AsyncWebsocketConsumer`",
    "room": "stock `AsyncWebsocketConsumer`, each in a group",
    "echo_asgi": "ASGI function in `over_channels`",
    "room_plain": "plain consumer, each socket in a group",
}
BEGIN = {"local": "<!-- measured by benchmarks/sockets.py: begin -->",
         "redis": "<!-- measured by benchmarks/sockets.py --layer redis: begin -->"}


class Site:
    """A server and its workers on one layer. A context manager."""

    def __init__(self, layer: str):
        self.house, self.layer = House(), layer

    def __enter__(self):
        self.house.__enter__()
        return self

    def __exit__(self, *end):
        self.house.__exit__(*end)

    def start(self, kind: str, count: int) -> Sockets:
        if self.layer == "redis":
            self.redis = on_redis.redis(self.house)
            on_redis.serve(self.house, self.redis, "channels_redis", *OPTIONS)
        else:
            self.log = self.house.serve(*OPTIONS)
        for _ in range(count):
            self.worker(kind)
        self.house.until(lambda: self.workers() == count, f"{count} workers are known to the server")
        return Sockets(self.house.port)

    def worker(self, kind: str):
        """One more; gives its process."""
        layer = {"SITE_LAYER": on_redis.LAYERS["ours"]} if self.layer == "redis" else {}
        channels = PLAIN if kind == "room_plain" else PLAIN[:1]
        self.house.start("worker", [sys.executable, "manage.py", "runworker", *channels], SITE_WORKER=kind, **layer)
        return self.house.programs[-1][1]

    def workers(self) -> int:
        """How many have been ready, ever (local), or wait in a blocking pop (Redis)."""
        if self.layer == "redis":
            return sum(" flags=b " in line and " name= " in line for line in on_redis.clients(self.redis))
        return self.log.read_text(errors="replace").count(" is here")


class Watch:
    """What was used since it was made."""

    def __init__(self, house: House):
        self.house, self.before, self.machine = house, house.cpu(), machine_seconds()
        self.mine, self.began = time.process_time(), time.monotonic()

    def read(self) -> tuple[float, dict[str, float], float]:
        """(seconds, CPU seconds by label with ours as `client`, what the rest of the machine used in % of a core)."""
        took = time.monotonic() - self.began
        used = {label: now - self.before.get(label, 0.0) for label, now in self.house.cpu().items()}
        used["client"] = time.process_time() - self.mine
        return took, used, max(machine_seconds() - self.machine - sum(used.values()), 0.0) / took * 100


# Idle, and opened

def idle(layer: str, kind: str, count: int) -> str:
    with Site(layer) as site:
        warm = site.start(kind, 1)
        warm.open(WARM)
        warm.close()
        before, sockets, watch = settled(site.house), Sockets(site.house.port), Watch(site.house)
        try:
            sockets.open(count)
            took, used, other = watch.read()
            after = settled(site.house)
        finally:
            sockets.close()
    each = {label: f"{(after[label] - before[label]) / count / 1024:.2f}" for label in after}
    cpu = {label: f"{seconds / count * 1e6:.0f}" for label, seconds in used.items()}
    row = f"| {KINDS[kind]} | {count:,} | {each['server']} | {each['worker']} | {count / took:,.0f} | " + " | ".join(
        cpu[label] for label in labels(layer))
    return f"{row} | {other:.0f} |" + (f" {each['redis']} |" if layer == "redis" else "")


def labels(layer: str) -> tuple[str, ...]:
    return ("server", "worker", "redis", "client") if layer == "redis" else ("server", "worker", "client")


# One message to all

def group(layer: str, kind: str, workers: int, count: int) -> str:
    with Site(layer) as site:
        sockets = site.start(kind, workers)
        try:
            sockets.open(count)
            settled(site.house)
            for number in range(SENDS - COUNTED):
                to_all(sockets, number)
            watch = Watch(site.house)
            took = [to_all(sockets, number) for number in range(SENDS - COUNTED, SENDS)]
            _, used, other = watch.read()
        finally:
            sockets.close()
    rates = sorted(count / seconds for seconds in took)
    cpu = {label: f"{seconds / count / COUNTED * 1e6:.1f}" for label, seconds in used.items()}
    return (f"| {KINDS[kind]} | {workers} | {count:,} | **{statistics.median(rates):,.0f}** | {rates[0]:,.0f} to "
            f"{rates[-1]:,.0f} | " + " | ".join(cpu[label] for label in labels(layer)) + f" | {other:.0f} |")


def to_all(sockets: Sockets, number: int) -> float:
    """Seconds from one socket's word until all have heard it."""
    text = b"to all: %d " % number
    text, began = text.ljust(LENGTH, b"."), time.monotonic()
    sockets.say(next(iter(sockets.all)), text)
    sockets.hear(text)
    return time.monotonic() - began


# A worker that is replaced

def restart(layer: str, count: int) -> str:
    with Site(layer) as site:
        sockets = site.start("room_named", 1)
        try:
            sockets.open(count)
            watch = Watch(site.house)
            found = replace(site, sockets)
            took, used, other = watch.read()
        finally:
            sockets.close()
        code = site.house.programs.pop(-2)[1].wait(LEAVE)
    traffic = found.traffic
    return (f"| {count:,} | {sum(traffic.said.values()):,} | {traffic.dropped} | {traffic.lost} | {traffic.doubled} "
            f"| **{found.taken:.2f}**{'' if found.here == count else f' ({found.here:,} of them)'} | {found.left:.2f} ({code}) "
            f"| {found.before * 1e3:.0f} | {found.after * 1e3:.0f} | " + " | ".join(
                f"{used[label] / took * 100:.0f}" for label in labels(layer)) + f" | {other:.0f} |")


# What is printed

def heads(layer: str) -> dict[str, str]:
    cpu, rule = " | ".join(labels(layer)), "---|" * len(labels(layer))
    more = (" KiB each, Redis |", "---|") if layer == "redis" else ("", "")
    return {
        "idle": f"| worker | sockets | KiB each, server | worker | connects/s | CPU us a connect: {cpu} | others % |{more[0]}\n"
                f"|---|---|---|---|---|{rule}---|{more[1]}",
        "group": f"| worker | workers | sockets | deliveries/s | lowest to highest | CPU us a delivery: {cpu} | others % |\n"
                 f"|---|---|---|---|---|{rule}---|",
        "restart": "| sockets | messages | dropped | lost | doubled | all taken over in s | old worker gone in s (rc) "
                   f"| longest echo ms, before | from then on | CPU %: {cpu} | others % |\n{'|---' * 9}|{rule}---|",
    }


def rows(arguments) -> dict[str, list[Callable[[], str]]]:
    layer, held, subscribed = arguments.layer, arguments.connections, arguments.subscribers
    return {
        "idle": [lambda kind=kind: idle(layer, kind, held) for kind in KINDS],
        "group": [lambda: group(layer, "room_plain", 1, subscribed), lambda: group(layer, "room", 2, subscribed)],
        "restart": [lambda: restart(layer, subscribed)],
    }


def tables(arguments) -> Iterator[str]:
    """Lines, each as soon as it is known. Raises Failed."""
    layer = arguments.layer
    yield f"{time.strftime('%Y-%m-%d')}, {machine()}; {', '.join(versions((), layer))}."
    for part, found in rows(arguments).items():
        if part in arguments.only:
            yield f"\n{heads(layer)[part]}"
            for row in found:
                for _ in range(arguments.rounds):
                    yield row()


def main() -> int:
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--layer", choices=BEGIN, default="local")
    found.add_argument("--connections", type=int, default=HELD, help="that are idle")
    found.add_argument("--subscribers", type=int, default=SUBSCRIBED, help="that hear a message to all, or change their worker")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--only", nargs="*", choices=("idle", "group", "restart"), default=("idle", "group", "restart"))
    found.add_argument("--write", type=Path, metavar="FILE", help="put the tables into the marked block of this file, too")
    arguments = found.parse_args()
    if lacking := too_many(arguments.connections) or (on_redis.missing() if arguments.layer == "redis" else ""):
        print(lacking, file=sys.stderr)
        return 2
    return told(tables(arguments), arguments.write, BEGIN[arguments.layer])


if __name__ == "__main__":
    sys.exit(main())

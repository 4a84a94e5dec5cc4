"""MQTT: messages to a worker, from device to device and to thousands; what an idle device costs, how fast they are let in, and
10,000 that come back at once. Beside mosquitto and amqtt.

    python benchmarks/mqtt.py [--layer redis] [--rounds 3] [--seconds 4] [--only ingest relay] [--write docs/performance.md]

Standard library only, one process of plain Python for all devices. A column of each table says how much CPU that took.
"""
import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import brokers
import on_redis
from brokers import Broker, name
from fleet import IN_FLIGHT, PATIENCE, Fleet, Talk, Talks, asked, news, publish, relayed
from held import settled, too_many
from processes import Failed
from run import machine, told, versions
from sockets import Watch, labels

HELD, SUBSCRIBED, LET_IN = 10_000, 5_000, 3_000     # the project's requirements; LET_IN, a guess: a second or more of each
DJANGO, HASHING = 40, 16 # CONNECTs that Django's own hasher checks, a third of a second each; at once: threads of a worker
WARM = 1.0              # seconds of messages before any is counted
WARMERS = 20            # devices before memory is measured, so that a serving process is what it is compared with
SENDS, COUNTED = 24, 16 # messages to all; the last of them count: sockets.py
LENGTH = 64             # bytes of each payload
TOPIC = b"devices/7/up"
SPEAKERS, MANY, BLOCKS = 8, 100, 2      # QoS 0: devices, messages in front of a PINGREQ, and such blocks that each has out
ASKERS = 64             # QoS 1: devices, each with one message out
AHEAD = 4               # blocks that one device is ahead of another who hears it: less than a queue of ours (1,000) holds
PEERS = tuple(brokers.PEERS)
BEGIN = {"local": "<!-- measured by benchmarks/mqtt.py: begin -->",
         "redis": "<!-- measured by benchmarks/mqtt.py --layer redis: begin -->"}


Found = tuple[str, float]               # a row, and the figure in it that is compared


def apiece(used: dict[str, float], count: int, layer: str) -> str:
    """Microseconds of CPU, as columns."""
    return " | ".join(f"{used[label] / count * 1e6:.1f}" if label in used else "" for label in labels(layer))


# Messages

def ingest(qos: int, who: str, arguments) -> Found:
    with Broker(who, arguments.layer) as broker:
        fleet = broker.fleet()
        fleet.open(ASKERS if qos else SPEAKERS)
        turns, out = (asked(TOPIC, LENGTH), 1) if qos else (news(TOPIC, LENGTH, MANY), BLOCKS)
        talks = Talks(fleet, [Talk(sock, sock, turns, out) for sock in fleet.all.values()])
        messages, times, took, used, other = talked(broker, talks, arguments)
        if who not in PEERS:
            heard_all(fleet, talks.end())
        fleet.close()
    shown = milliseconds(times) if qos else " | "       # with QoS 0 only of hundreds together
    return (f"| {name(who)} | {qos} | {len(talks.talks)} | **{messages / took:,.0f}** | {shown} | "
            f"{apiece(used, messages, arguments.layer)} | {other:.0f} |"), messages / took


def talked(broker: Broker, talks: Talks, arguments) -> tuple:
    """(messages, seconds of each turn, seconds in all, CPU seconds, what others used in %)."""
    talks.begin()
    talks.go_on(WARM)
    watch = Watch(broker.house)
    messages, times = talks.go_on(arguments.seconds)
    return messages, times, *watch.read()


def heard_all(fleet: Fleet, said: int):
    """Raises Failed where the worker has not heard of every message, once."""
    number, end = next(iter(fleet.all)), time.monotonic() + PATIENCE
    while (heard := fleet.counted(number)) != said:
        if heard > said or time.monotonic() > end:
            raise Failed(f"{said} messages were said, the worker has heard {heard}")


def milliseconds(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"{cuts[49] * 1e3:.1f} | {cuts[98] * 1e3:.1f}"


def relay(who: str, arguments) -> Found:
    with Broker(who, arguments.layer) as broker:
        fleet = broker.fleet()
        fleet.open(2)
        (_, mouth), (number, ear) = fleet.all.items()
        fleet.subscribe(TOPIC, [number])
        talks = Talks(fleet, [Talk(mouth, ear, relayed(TOPIC, LENGTH, MANY), AHEAD)])
        messages, _, took, used, other = talked(broker, talks, arguments)
        talks.end()
        fleet.close()
    return (f"| {name(who)} | **{messages / took:,.0f}** | {apiece(used, messages, arguments.layer)} | {other:.0f} |",
            messages / took)


def fanout(who: str, arguments) -> Found:
    count = arguments.subscribers
    with Broker(who, arguments.layer) as broker:
        fleet = broker.fleet()
        fleet.open(count + 1)
        fleet.subscribe(TOPIC, list(fleet.all)[1:])
        settled(broker.house)
        for number in range(SENDS - COUNTED):
            fleet.tell(numbered(number))
        watch = Watch(broker.house)
        took = [fleet.tell(numbered(number)) for number in range(SENDS - COUNTED, SENDS)]
        _, used, other = watch.read()
        fleet.close()
    rates = sorted(count / seconds for seconds in took)
    rate = statistics.median(rates)
    return (f"| {name(who)} | {count:,} | **{rate:,.0f}** | {rates[0]:,.0f} to {rates[-1]:,.0f} | "
            f"{apiece(used, count * COUNTED, arguments.layer)} | {other:.0f} |"), rate


def numbered(number: int) -> bytes:
    return publish(TOPIC, (b"to all: %d " % number).ljust(LENGTH, b"."))


# Devices

def idle(who: str, arguments) -> Found:
    with Broker(who, arguments.layer) as broker:
        warm = broker.fleet()
        warm.open(WARMERS)
        warm.close()
        before, fleet = settled(broker.house), broker.fleet()
        fleet.open(arguments.devices)
        after = settled(broker.house)
        fleet.silent()
        fleet.close()
    found = {label: (after[label] - before[label]) / arguments.devices / 1024 for label in after}
    return f"| {name(who)} | {arguments.devices:,} | " + " | ".join(
        f"{found[label]:.2f}" if label in found else "" for label in labels(arguments.layer)[:-1]) + " |", found["server"]


def connects(who: str, arguments) -> Found:
    count, at_once = (DJANGO, HASHING) if who == "django" else (LET_IN, IN_FLIGHT)
    with Broker(who, arguments.layer) as broker:
        warm = broker.fleet()
        warm.open(1 if who == "django" else WARMERS)
        warm.close()
        settled(broker.house)
        fleet, watch = broker.fleet(), Watch(broker.house)
        fleet.open(count, at_once)
        took, used, other = watch.read()
        fleet.close()
    return (f"| {name(who)} | {count:,} | **{count / took:,.{int(who == 'django')}f}** | "
            f"{apiece(used, count, arguments.layer)} | {other:.0f} |"), count / took


def restart(who: str, arguments) -> Found:
    """All devices connect, the server is stopped and started again, and all of them come at the same moment."""
    count = arguments.devices
    with Broker(who, arguments.layer) as broker:
        first = broker.fleet(clean=False)
        first.open(count)
        settled(broker.house)
        held = broker.house.memory()["server"]
        broker.restart()
        first.close()
        fleet, watch = broker.fleet(clean=False, address=102), Watch(broker.house)
        fleet.open(count, at_once=count, again=True)
        took, used, other = watch.read()
        after = settled(broker.house)["server"]
        peak = broker.peak()
        fleet.silent()
        fleet.close()
    half, sizes = statistics.median(fleet.taken), " | ".join(f"{size / 2**20:.0f}" for size in (held, after, peak))
    return (f"| {name(who)} | {count:,} | **{took:.1f}** | {half:.1f} | {fleet.refused:,} | {fleet.found:,} | {sizes} | "
            f"{apiece(used, count, arguments.layer)} | {other:.0f} |"), took


# What is printed

def heads(layer: str) -> dict[str, str]:
    cpu = " | ".join(labels(layer)) + " | others % |"
    kept = " | ".join(labels(layer)[:-1]) + " |"
    found = {
        "ingest": f"| worker | QoS | devices | messages/s | p50 ms | p99 ms | CPU us a message: {cpu}",
        "relay": f"| broker | messages/s, 1 device to 1 | CPU us a message: {cpu}",
        "fanout": f"| broker | subscribers | deliveries/s | lowest to highest | CPU us a delivery: {cpu}",
        "idle": f"| worker | devices | KiB each: {kept}",
        "connects": f"| worker | CONNECTs | connects/s | CPU us a connect: {cpu}",
        "restart": f"| worker | devices | all in after s | half of them | refused, and came again | sessions that were kept "
                   f"| MiB of the server, before | after | at most | CPU us a device: {cpu}",
    }
    return {part: f"{head}\n|{'---|' * (head.count('|') - 1)}" for part, head in found.items()}


PARTS: dict[str, tuple[tuple[Callable, tuple[str, ...]], ...]] = {
    "ingest": tuple((lambda who, arguments, qos=qos: ingest(qos, who, arguments), ("bare", "plain", "async", "token", *PEERS))
                    for qos in (0, 1)),
    "relay": ((relay, ("relay", *PEERS)),),
    "fanout": ((fanout, ("relay", *PEERS)),),
    "idle": ((idle, ("bare", "plain", "async", "token", *PEERS)),),
    "connects": ((connects, ("bare", "plain", "async", "token", "django", *PEERS)),),
    "restart": ((restart, ("bare", "token", "mosquitto")),),
}


def tables(arguments, there: set[str]) -> Iterator[str]:
    """Lines, each as soon as it is known: rounds go through all brokers before the next begins. Raises Failed."""
    layer = arguments.layer
    yield f"{time.strftime('%Y-%m-%d')}, {machine()}; {', '.join(versions((), layer) + brokers.versions(there))}."
    for part, measures in PARTS.items():
        if part not in arguments.only:
            continue
        yield f"\n{heads(layer)[part]}"
        for measure, those in measures:
            those = [who for who in those if (who in there or who not in PEERS) and who in (arguments.brokers or those)]
            figures = {who: [] for who in those}
            for who in those * arguments.rounds:
                text, figure = found(measure, who, arguments)
                figures[who].append(figure)
                yield text
            yield from ratios({who: statistics.median(each) for who, each in figures.items()})


def found(measure: Callable, who: str, arguments) -> Found:
    try:
        return measure(who, arguments)
    except Failed as failed:
        raise Failed(f"{who}: {failed}") from None


def ratios(figures: dict[str, float]) -> Iterator[str]:
    """Where brokers do the same work: from device to device."""
    if "relay" in figures and len(figures) > 1:
        yield "\n- ours: " + ", ".join(f"{figures['relay'] / figures[who]:.2f} times {who}" for who in figures if who in PEERS)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    found.add_argument("--layer", choices=BEGIN, default="local", help="on Redis no peers are measured: they have none")
    found.add_argument("--devices", type=int, default=HELD, help="that are idle, and come back at once")
    found.add_argument("--subscribers", type=int, default=SUBSCRIBED, help="that hear a message to all")
    found.add_argument("--seconds", type=float, default=4.0, help="of messages")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--only", nargs="*", choices=tuple(PARTS), default=tuple(PARTS))
    found.add_argument("--brokers", nargs="*", choices=(*brokers.OURS, *PEERS), help="only these")
    found.add_argument("--write", type=Path, metavar="FILE", help="put the tables into the marked block of this file, too")
    return found


def main() -> int:
    arguments = parser().parse_args()
    if lacking := too_many(arguments.devices) or (on_redis.missing() if arguments.layer == "redis" else ""):
        print(lacking, file=sys.stderr)
        return 2
    there = set() if arguments.layer == "redis" else brokers.prepare()
    return told(tables(arguments, there), arguments.write, BEGIN[arguments.layer])


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: our server and its peers on one small Django site, side by side in one run, as a Markdown table.

Each round starts each server afresh, warms it, and puts wrk on it; rounds are interleaved, so that what disturbs the
machine disturbs all alike. Figures are medians of the rounds. Needs wrk. Nothing in the tree is written but with --write.
`--layer redis` measures what runs on Redis, beside the stock layers and the servers of its own, and then a group send.
"""
import argparse
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import held
import load
import on_redis
import peers
from processes import ROOT, Failed, House
from rows import PAIRS, ROWS, Row, possible

WARM = 1              # seconds of load before anything is measured, a guess: caches and branch counters fill at once
QUIET = 20.0            # % of one core used by others: above it a figure is marked. The maintainers' own limit
EVEN = 1.2              # how much slower than at its best the machine itself may be, a guess: above it a figure is marked
BEGIN = {"local": "<!-- measured by make bench: begin -->", "redis": "<!-- measured by make bench LAYER=redis: begin -->"}
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Measured:
    busy: list[load.Run]                # many connections
    alone: list[load.Run]               # one connection

    @property
    def all(self) -> list[load.Run]:
        return self.busy + self.alone

    def disturbed(self, best: float) -> bool:
        """Was the machine not ours alone, or slower than its `best` pace?"""
        return any(run.other > QUIET or run.pace > EVEN * best for run in self.all)


def main() -> int:
    arguments = parser().parse_args()
    if lacking := missing(arguments):
        print(lacking, file=sys.stderr)
        return 2
    rows = possible([row for row in ROWS[arguments.layer] if not arguments.rows or row.name in arguments.rows])
    if not rows:
        return 1
    measured = {row: Measured([], []) for row in rows}
    try:
        for number in range(arguments.rounds):
            for row in rows:
                take(row, measured[row], arguments)
                report(number, row, measured[row].busy[-1])
        text = document(measured, arguments)
        if arguments.layer == "redis" and not arguments.rows:
            print(f"{held.HELD:,} held requests, {arguments.rounds} rounds ...", file=sys.stderr, flush=True)
            text += "\n\n" + "\n".join(held.table(held.HELD, arguments.rounds, "redis"))
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    print(text)
    if arguments.write:
        fill(arguments.write, text, BEGIN[arguments.layer])
    return 0


def missing(arguments) -> str:
    """A sentence about what can't be measured here, or nothing."""
    known = [row.name for row in ROWS[arguments.layer]]
    if unknown := [name for name in arguments.rows or () if name not in known]:
        return f"there is no row {unknown[0]} on {arguments.layer}; there are {', '.join(known)}"
    if shutil.which("wrk") is None:
        return "make bench needs wrk, the load generator (Debian: apt-get install wrk)"
    if arguments.layer == "redis":
        return on_redis.missing() or ("" if arguments.rows else held.too_many(held.HELD))
    return ""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--layer", choices=ROWS, default="local")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=int, default=5, help="of load on each server in each round")
    found.add_argument("--connections", type=int, default=64)
    found.add_argument("--path", choices=("/hello", "/big", "/slow"), default="/hello", help="the view; bare and the consumers "
                       "answer 20 bytes to all of them")
    found.add_argument("--rows", nargs="*", metavar="ROW", help="only these: " + "; ".join(
        f"{layer}: {', '.join(row.name for row in rows)}" for layer, rows in ROWS.items()))
    found.add_argument("--write", type=Path, metavar="FILE", help="put the table into the marked block of this file, too")
    return found


def take(row: Row, measured: Measured, arguments):
    try:
        with House() as house:
            row.start(house)
            house.until(lambda: house.answers(arguments.path), f"{row.name} answers")
            load.wrk(house.url + arguments.path, arguments.connections, WARM)
            measured.busy.append(load.measure(house, arguments.path, arguments.connections, arguments.seconds))
            measured.alone.append(load.measure(house, arguments.path, 1, max(arguments.seconds // 2, 1)))
    except Failed as failed:
        raise Failed(f"{row.name}: {failed}") from None


def report(number: int, row: Row, run: load.Run):
    print(f"round {number + 1}: {row.name:16} {run.rate:8.0f}/s  others {run.other:3.0f} %, yardstick {run.pace:.0f} ms",
          file=sys.stderr, flush=True)


# What is printed

def document(measured: dict[Row, Measured], arguments) -> str:
    best = min(run.pace for row in measured.values() for run in row.all)
    marked = [row for row, runs in measured.items() if runs.disturbed(best)]
    kinds = ("server", "worker", "redis") if arguments.layer == "redis" else ("server", "worker")
    lines = [f"{time.strftime('%Y-%m-%d')}, `{arguments.path}`, {arguments.rounds} rounds of {arguments.seconds} s, "
             f"{machine()}; {', '.join(versions(measured, arguments.layer))}.", "",
             f"| | workers | requests/s, {arguments.connections} connections | lowest to highest | p50 ms | p99 ms "
             f"| CPU us a request: server | all workers {'| Redis ' if 'redis' in kinds else ''}| p50 ms, 1 connection |",
             "|---|" + "---|" * (6 + len(kinds))]
    lines += [line(row, runs, row in marked, kinds) for row, runs in measured.items()]
    if marked:
        lines += ["", f"\\* in some round other programs used more than {QUIET:.0f} % of a core, or the machine itself was "
                  f"{EVEN:g} times slower than at its best: read it with care."]
    rates = {row.name: load.median(runs.busy).rate for row, runs in measured.items()}
    if found := ratios(rates, PAIRS[arguments.layer], {row.name for row in marked}):
        lines += ["", *found]
    return "\n".join(lines)


def line(row: Row, measured: Measured, marked: bool, kinds: tuple[str, ...]) -> str:
    busy, alone = load.median(measured.busy), load.median(measured.alone)
    rates = [run.rate for run in measured.busy]
    mark = " \\*" if marked else ""
    used = " | ".join(f"{busy.cpu[kind]:.0f}" if kind in busy.cpu else "" for kind in kinds)
    return (f"| {row.text} | {row.workers or ''} | **{busy.rate:,.0f}**{mark} | {min(rates):,.0f} to {max(rates):,.0f} "
            f"| {busy.p50:.2f} | {busy.p99:.2f} | {used} | {alone.p50:.2f} |")


def ratios(rates: dict[str, float], pairs: tuple[tuple[str, str, str], ...], marked: set[str]) -> list[str]:
    """A ratio is no better than its two rows: where one is marked, so is it."""
    return [f"- {text}: {rates[ours] / rates[theirs]:.2f}" + (" \\*" if {ours, theirs} & marked else "")
            for ours, theirs, text in pairs if ours in rates and theirs in rates]


def machine() -> str:
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {platform.system()} {platform.release()}"


def versions(measured, layer: str) -> list[str]:
    found = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in ("twisted", "channels", "django"))]
    if layer == "redis":
        found += on_redis.versions(any(row.classic for row in measured))
    others = [row.name for row in measured if row.peer]
    return found + (peers.versions(others) if others else [])


def told(lines: Iterable[str], write: Path | None, mark: str) -> int:
    """Print the tables as they come, and put them into a file; gives the status to end with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = []
    try:
        for line in lines:
            print(line, flush=True)
            found.append(line)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    if write:
        fill(write, "\n".join(found), mark)
    return 0


def fill(path: Path, text: str, mark: str):
    """Put `text` between the marks. Whatever else the file says stays."""
    whole = path.read_text()
    before, begin, rest = whole.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no line {mark!r} with {END!r} after it")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    shown = path.resolve()
    print(f"written to {shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

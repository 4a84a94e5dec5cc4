"""`make bench`: our server and its peers on one small Django site, side by side in one run, as a Markdown table.

Each round starts each server afresh, warms it, and puts wrk on it; rounds are interleaved, so that what disturbs the
machine disturbs all alike. Figures are medians of the rounds. Needs wrk. Nothing in the tree is written but with --write.
"""
import argparse
import os
import platform
import re
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import load
import peers
from processes import ROOT, Failed, House

WARM = 1              # seconds of load before anything is measured, a guess: caches and branch counters fill at once
QUIET = 20.0            # % of one core used by others: above it a figure is marked. The maintainers' own limit
EVEN = 1.2              # how much slower than at its best the machine itself may be, a guess: above it a figure is marked
BEGIN, END = "<!-- measured by make bench: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Row:
    name: str
    text: str
    worker: str = ""                    # attribute of site/workers.py; empty for a peer
    workers: int = 0

    @property
    def peer(self) -> bool:
        return not self.worker

    def start(self, house: House):
        if self.peer:
            peers.start(house, self.name)
        else:
            house.interfaces(self.worker, self.workers)


ROWS = (
    Row("bare", "ours, a plain ASGI function as consumer", "bare", 1),
    Row("async-consumer", "ours, stock `AsyncConsumer`", "async_consumer", 1),
    Row("sync-consumer", "ours, stock `SyncConsumer`", "sync_consumer", 1),
    Row("wsgi", "ours, `Wsgi`, Django view", "wsgi", 1),
    Row("wsgi-2", "ours, `Wsgi`, Django view", "wsgi", 2),
    Row("asgi", "ours, ASGI Django, the same view", "asgi", 1),
    Row("uvicorn", "Uvicorn, 1 process, Django view"),
    Row("gunicorn", "gunicorn, 2 sync workers, Django view"),
    Row("daphne", "Daphne, Django view"),
)


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
    if shutil.which("wrk") is None:
        print("make bench needs wrk, the load generator (Debian: apt-get install wrk)", file=sys.stderr)
        return 2
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    if any(row.peer for row in rows) and not peers.prepare():
        rows = [row for row in rows if not row.peer]
    measured = {row: Measured([], []) for row in rows}
    try:
        for number in range(arguments.rounds):
            for row in rows:
                take(row, measured[row], arguments)
                report(number, row, measured[row].busy[-1])
    except Failed as failed:
        print(f"{row.name}: {failed}", file=sys.stderr)
        return 1
    text = document(measured, arguments)
    print(text)
    if arguments.write:
        fill(arguments.write, text)
    return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=int, default=5, help="of load on each server in each round")
    found.add_argument("--connections", type=int, default=64)
    found.add_argument("--path", choices=("/hello", "/big", "/slow"), default="/hello", help="the view; bare and the consumers "
                       "answer 20 bytes to all of them")
    found.add_argument("--rows", nargs="*", choices=[row.name for row in ROWS], help="only these")
    found.add_argument("--write", type=Path, metavar="FILE", help="put the table into the marked block of this file, too")
    return found


def take(row: Row, measured: Measured, arguments):
    with House() as house:
        row.start(house)
        house.until(lambda: house.answers(arguments.path), f"{row.name} answers")
        load.wrk(house.url + arguments.path, arguments.connections, WARM)
        measured.busy.append(load.measure(house, arguments.path, arguments.connections, arguments.seconds))
        measured.alone.append(load.measure(house, arguments.path, 1, max(arguments.seconds // 2, 1)))


def report(number: int, row: Row, run: load.Run):
    print(f"round {number + 1}: {row.name:15} {run.rate:8.0f}/s  others {run.other:3.0f} %, yardstick {run.pace:.0f} ms",
          file=sys.stderr, flush=True)


# What is printed

def document(measured: dict[Row, Measured], arguments) -> str:
    best = min(run.pace for row in measured.values() for run in row.all)
    marked = [row for row, runs in measured.items() if runs.disturbed(best)]
    lines = [f"{time.strftime('%Y-%m-%d')}, `{arguments.path}`, {arguments.rounds} rounds of {arguments.seconds} s, "
             f"{machine()}; {', '.join(versions(measured))}.", "",
             f"| | workers | requests/s, {arguments.connections} connections | lowest to highest | p50 ms | p99 ms "
             "| CPU us a request: server | all workers | p50 ms, 1 connection |", "|---|---|---|---|---|---|---|---|---|"]
    lines += [line(row, runs, row in marked) for row, runs in measured.items()]
    if marked:
        lines += ["", f"\\* in some round other programs used more than {QUIET:.0f} % of a core, or the machine itself was "
                  f"{EVEN:g} times slower than at its best: read it with care."]
    if found := ratios({row.name: load.median(runs.busy).rate for row, runs in measured.items()}):
        lines += ["", *found]
    return "\n".join(lines)


def line(row: Row, measured: Measured, marked: bool) -> str:
    busy, alone = load.median(measured.busy), load.median(measured.alone)
    rates = [run.rate for run in measured.busy]
    mark = " \\*" if marked else ""
    worker = f"{busy.cpu['worker']:.0f}" if "worker" in busy.cpu else ""
    return (f"| {row.text} | {row.workers or ''} | **{busy.rate:,.0f}**{mark} | {min(rates):,.0f} to {max(rates):,.0f} "
            f"| {busy.p50:.2f} | {busy.p99:.2f} | {busy.cpu['server']:.0f} | {worker} | {alone.p50:.2f} |")


def ratios(rates: dict[str, float]) -> list[str]:
    pairs = (("wsgi", "uvicorn", "`Wsgi` with 1 worker to Uvicorn with 1 process"),
             ("wsgi-2", "gunicorn", "`Wsgi` with 2 workers to gunicorn with 2 sync workers"))
    return [f"- {text}: {rates[ours] / rates[theirs]:.2f}" for ours, theirs, text in pairs if ours in rates and theirs in rates]


def machine() -> str:
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {platform.system()} {platform.release()}"


def versions(measured) -> list[str]:
    found = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in ("twisted", "channels", "django"))]
    return found + (peers.versions() if any(row.peer for row in measured) else [])


def fill(path: Path, text: str):
    """Put `text` between the marks. Whatever else the file says stays."""
    whole = path.read_text()
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no line {BEGIN!r} with {END!r} after it")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    shown = path.resolve()
    print(f"written to {shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

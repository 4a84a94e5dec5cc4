"""One measured run of wrk against one server."""
import re
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass

from processes import Failed, House, machine_seconds

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Run:
    rate: float                         # requests/s
    p50: float                          # milliseconds
    p99: float
    cpu: dict[str, float]               # label -> microseconds of CPU per request
    other: float                        # what the rest of the machine used meanwhile, in % of one core
    pace: float                         # milliseconds of CPU that `yardstick` took right after it


def wrk(url: str, connections: int, seconds: int) -> str:
    """What wrk prints. One thread of it: the servers need the other core. It takes whole seconds only."""
    return subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", url],
                          capture_output=True, text=True, check=True).stdout


def read(printed: str) -> tuple[int, float, float, float]:
    """(requests, requests/s, p50 ms, p99 ms) of wrk's output. Raises Failed where a request failed."""
    for pattern in (r"Non-2xx or 3xx responses: \d+", r"Socket errors: .*"):
        if failed := re.search(pattern, printed):
            raise Failed(failed[0])
    requests = int(re.search(r"(\d+) requests in", printed)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])
    p50, p99 = (float(value) * UNITS[unit] for value, unit in
                (re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", printed, re.M).groups() for percent in (50, 99)))
    return requests, rate, p50, p99


def measure(house: House, path: str, connections: int, seconds: int) -> Run:
    before, mine, machine, began = house.cpu(), children_seconds(), machine_seconds(), time.monotonic()
    printed = wrk(house.url + path, connections, seconds)
    took = time.monotonic() - began
    used = {label: now - before[label] for label, now in house.cpu().items()}
    other = machine_seconds() - machine - sum(used.values()) - (children_seconds() - mine)
    requests, rate, p50, p99 = read(printed)
    cpu = {label: each / requests * 1e6 for label, each in used.items()}
    return Run(rate, p50, p99, cpu, max(other / took * 100, 0.0), yardstick())


def yardstick() -> float:
    """Milliseconds of CPU for always the same work, at the best of five attempts. A virtual machine whose host is busy, or
    whose cores are halves of one, gets slower without any sign of it in its own /proc: the same server was seen to cost twice
    as much a request for minutes."""
    def once() -> float:
        began = time.process_time()
        counts: dict[int, str] = {}
        for number in range(100_000):
            counts[number & 4095] = str(number)
        return time.process_time() - began

    return min(once() for _ in range(5)) * 1e3


def children_seconds() -> float:
    """CPU seconds of the programs that have ended: wrk's."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(runs: list[Run]) -> Run:
    """Each figure's own median."""
    middle = statistics.median
    return Run(middle(run.rate for run in runs), middle(run.p50 for run in runs), middle(run.p99 for run in runs),
               {label: middle(run.cpu[label] for run in runs) for label in runs[0].cpu}, middle(run.other for run in runs),
               middle(run.pace for run in runs))

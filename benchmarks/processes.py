"""The processes of a measurement: started, ready, their CPU and memory by /proc, ended. Standard library only."""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))      # behind our own folder: nothing is shadowed

from redis_server import free_port

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(__file__).resolve().parent / "site"
TICK = os.sysconf("SC_CLK_TCK")
START = 30.0            # seconds for a process to be ready, a guess
LEAVE = 15.0            # seconds for one to end: more than a worker's and the server's own grace


class Failed(Exception):
    """A server did not do what a measurement needs. The text is for the user."""


class House:
    """The processes of one server, in order of their start. A context manager: none of them outlives it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = tempfile.TemporaryDirectory(prefix="channels-interfaces-bench-")
        self.programs: list[tuple[str, subprocess.Popen, Path]] = []
        self.lasting = ExitStack()          # what the programs stand on: closed after they have ended
        self.environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT), "PYTHONUNBUFFERED": "1",
                            "CHANNELS_INTERFACES_SOCKET": f"{self.folder.name}/hub.sock"}

    def __enter__(self):
        signal.signal(signal.SIGTERM, signal.default_int_handler)       # whoever ends us so, ends all that we started
        return self

    def __exit__(self, *_):
        for _, process, _ in reversed(self.programs):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(LEAVE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self.lasting.close()
        self.folder.cleanup()

    def start(self, label: str, command, **environment) -> Path:
        """Start one; gives its log."""
        log = Path(self.folder.name) / f"{label}-{len(self.programs)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([str(word) for word in command], cwd=SITE, env={**self.environment, **environment},
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.programs.append((label, process, log))
        return log

    def interfaces(self, worker: str, count: int, *options):
        """Our own on its local layer, and `count` stock runworkers with this attribute of site/workers.py."""
        log = self.serve(*options)
        for _ in range(count):
            self.worker(worker)
        self.until(lambda: log.read_text(errors="replace").count(" is here") == count,
                   f"{count} workers are known to the server")

    def serve(self, *options) -> Path:
        """Our own twistd, listening; gives its log."""
        log = self.start("server", [Path(sys.executable).parent / "twistd", "-n", "--pidfile=", "channels-interfaces",
                                    "--http", f"tcp:{self.port}:interface=127.0.0.1", *options])
        self.until(self.listening, "the server listens")
        return log

    def worker(self, name: str, **environment):
        self.start("worker", [sys.executable, "manage.py", "runworker", "http.request"], SITE_WORKER=name, **environment)

    def listening(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def answers(self, path: str) -> bool:
        try:
            return urllib.request.urlopen(self.url + path, timeout=START).status == 200
        except urllib.error.HTTPError as error:
            raise Failed(f"{path} answers {error.code}\n{self.logs()}") from None
        except OSError:
            return False

    def until(self, condition, what: str):
        end = time.monotonic() + START
        while not condition():
            if any(process.poll() is not None for _, process, _ in self.programs):
                raise Failed(f"a process ended before {what}\n{self.logs()}")
            if time.monotonic() > end:
                raise Failed(f"not within {START:g} s: {what}\n{self.logs()}")
            time.sleep(0.05)

    def logs(self) -> str:
        return "".join(f"--- {label}\n{log.read_text(errors='replace')[-2000:]}" for label, _, log in self.programs)

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, by label, children counted."""
        used: dict[str, float] = {}
        for label, process, _ in self.programs:
            used[label] = used.get(label, 0.0) + sum(map(cpu_seconds, tree(process.pid)))
        return used

    def memory(self) -> dict[str, int]:
        """Resident bytes, by label."""
        held: dict[str, int] = {}
        for label, process, _ in self.programs:
            held[label] = held.get(label, 0) + sum(map(resident_bytes, tree(process.pid)))
        return held


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold spaces; none when it is gone. proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_seconds(pid: int) -> float:
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK if fields else 0.0


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def machine_seconds() -> float:
    """Seconds that all cores were busy or taken by a hypervisor. proc(5), /proc/stat: all but idle and iowait."""
    fields = [int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK

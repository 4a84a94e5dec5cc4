"""The servers we are measured beside: their own environments, made once in var/benchmarks (which git ignores)."""
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from processes import ROOT

FOLDER = ROOT / "var" / "benchmarks"
BIN = FOLDER / "peers" / "bin"
NAMES = ("uvicorn", "gunicorn", "daphne")
UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--no-access-log", "--log-level", "warning",
           "--lifespan", "off", "--loop", "uvloop", "--http", "httptools", "asgi:application")
COMMANDS = {
    "uvicorn": UVICORN,
    "uvicorn-2": (*UVICORN, "--workers", "2"),
    "gunicorn": ("gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "wsgi:application"),
    "daphne": ("daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}", "asgi:application"),
}


def requirements() -> list[str]:
    """The newest of each, with our own Django."""
    return ["uvicorn[standard]", "gunicorn", "daphne", f"django=={version('django')}"]


def prepare() -> bool:
    """Make their environment if it is not there. False, and a sentence, where that can't be done."""
    return install("peers", requirements(), NAMES)


def install(name: str, requirements: list[str], programs: tuple[str, ...]) -> bool:
    """The same, of any environment."""
    folder, made, wanted = FOLDER / name, FOLDER / f"{name}.txt", "\n".join(requirements)
    if made.exists() and made.read_text() == wanted and all((folder / "bin" / each).exists() for each in programs):
        return True
    print(f"installing {', '.join(requirements)} into {folder} (once) ...", file=sys.stderr, flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    venv.create(folder, clear=True, with_pip=True)
    done = subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                           *requirements], capture_output=True, text=True)
    if done.returncode:
        print(f"{name} can't be installed, so what needs it is left out: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return False
    made.write_text(wanted)
    return True


def start(house, name: str):
    # Their own packages only: PYTHONPATH would show them ours.
    program, *words = COMMANDS[name]
    house.start("server", [BIN / program, *(word.format(port=house.port) for word in words)], PYTHONPATH="")
    house.until(house.listening, f"{name} listens")


def versions(rows: list[str]) -> list[str]:
    """`name version` of those behind these keys of COMMANDS."""
    return installed(BIN, list(dict.fromkeys(COMMANDS[row][0] for row in rows)))


def installed(programs: Path, names: list[str]) -> list[str]:
    """`name version` of these packages; `programs`: the folder of the environment's python."""
    code = "import importlib.metadata as m, sys; print(*[f'{n} {m.version(n)}' for n in sys.argv[1:]], sep='\\n')"
    said = subprocess.run([programs / "python", "-c", code, *names], capture_output=True, text=True, check=True).stdout
    return said.splitlines()

"""Virtual environments of stock workers, each with what a project of its time has installed and nothing of ours.

They are kept outside the tree, in the user's cache folder (XDG_CACHE_HOME), under a hash of what they hold: making one takes
10 to 30 seconds, once. `rm -r ~/.cache/channels-interfaces/workers` forgets them."""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "channels-interfaces" / "workers"
MODERN = ("django==5.2.19", "channels==4.3.2", "channels_redis==4.3.0", "msgpack==1.2.4", "cryptography==50.0.2")


class Unavailable(Exception):
    """It can't be made here; the text says why, in a sentence."""


@dataclass(frozen=True)
class Environment:
    name: str
    requirements: tuple[str, ...]
    version: str = ""           # of Python, if only one will do

    @property
    def interpreter(self) -> str:
        """Raises Unavailable."""
        if self.version in ("", f"{sys.version_info[0]}.{sys.version_info[1]}"):
            return sys.executable
        found = shutil.which(f"python{self.version}")
        if found is None:
            raise Unavailable(f"the {self.name} worker needs python{self.version}")
        return found

    @property
    def folder(self) -> Path:
        said = subprocess.run([self.interpreter, "-c", "import sys; print(sys.version, sys.base_prefix)"], check=True,
                              capture_output=True, text=True).stdout
        digest = hashlib.sha256("\n".join((said, *self.requirements)).encode()).hexdigest()
        return CACHE / f"{self.name}-{digest[:16]}"

    def python(self) -> str:
        """Its interpreter; the environment is made if need be. Raises Unavailable."""
        folder = self.folder
        python, ready = folder / "bin" / "python", folder / "ready"
        if ready.exists():
            return str(python)
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)        # two test runs at once: the second waits and finds it ready
            if not ready.exists():
                self.run(self.interpreter, "-m", "venv", "--clear", "--without-pip", str(folder))
                self.run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-input",
                         "--disable-pip-version-check", *self.requirements)
                ready.touch()       # last: what was broken off is begun again
        return str(python)

    def run(self, *command: str):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode:
            raise Unavailable(f"the environment of the {self.name} worker can't be made:\n{done.stdout[-3000:]}")


CLASSIC = Environment("classic", (
    "django==2.2.28", "channels==1.1.8", "asgi_redis==1.4.3", "asgiref==1.1.2", "daphne==1.4.2",
    # msgpack-python is what asgi_redis names; it is a shell around an older msgpack of the same import name
    "msgpack-python==0.5.6", "msgpack<1", "cryptography==50.0.2"), version="3.11")
STOCK = Environment("stock", (*MODERN, "redis==7.4.0"))
# redis-py 8 has a time-out of 5 s for every read, and a blocking pop of channels_redis waits as long: channels_redis#422
STOCK8 = Environment("stock8", (*MODERN, "redis==8.1.0"))

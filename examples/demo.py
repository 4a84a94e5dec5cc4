"""`make demo`: an interface server and a stock Django worker, side by side on this machine, until Ctrl-C.
`make demo LAYER=redis`: the same with a Redis of its own between the two."""
import argparse
import http.client
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from redis_server import NoRedis, RedisServer

HERE = Path(__file__).resolve().parent
CHAT = HERE / "chat"
START = 60.0        # seconds for both to come up, a guess for a slow machine
STOP = 12.0         # seconds: a worker's own grace is 8


class Failed(Exception):
    """The demo can't go on; the text says why."""


class Demo:
    def __init__(self, folder: str, port: int, layer: str):
        self.folder, self.port, self.layer, self.redis = Path(folder), port, layer, None
        self.environment = dict(
            os.environ, DJANGO_SETTINGS_MODULE="chat.settings",
            CHANNELS_INTERFACES_SOCKET=str(self.folder / "hub.sock"), CHAT_REDIS="",       # never anybody else's
            CHAT_DATABASE=str(self.folder / "chat.sqlite3"), CHAT_SECRET_KEY=secrets.token_urlsafe(32))
        self.running = {}

    def migrate(self):
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=CHAT, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        if done.returncode:
            raise Failed(f"manage.py migrate failed:\n{done.stdout}")

    def start(self, name: str, *command: str):
        with open(self.folder / f"{name}.log", "wb") as log:
            # A session of its own: Ctrl-C reaches this process only, which then stops the worker before the server.
            self.running[name] = subprocess.Popen(command, cwd=CHAT, env=self.environment, stdin=subprocess.DEVNULL,
                                                  stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def start_redis(self) -> str:
        try:
            self.redis = RedisServer()
        except NoRedis as error:
            raise Failed(str(error)) from None
        self.running["redis-server"] = self.redis.process
        self.environment["CHAT_REDIS"] = self.redis.url         # chat/settings.py
        return self.redis.url

    def start_all(self):
        layer = self.start_redis() if self.layer == "redis" else "local:"
        twistd = str(Path(sys.executable).with_name("twistd"))
        self.start("server", twistd, "--nodaemon", "--pidfile=", "channels-interfaces", "--layer", layer,
                   "--grace=1", "--http", f"tcp:{self.port}:interface=127.0.0.1")
        self.start("worker", sys.executable, "manage.py", "runworker", "http.request")

    def check(self):
        for name, process in self.running.items():
            if process.poll() is not None:
                raise Failed(f"the {name} ended with status {process.returncode}:\n{self.log(name)}")

    def wait_until_ready(self):
        until = time.monotonic() + START
        while time.monotonic() < until:
            self.check()
            if self.answers():
                return
            time.sleep(0.1)
        logs = "\n".join(f"the {name}:\n{self.log(name)}" for name in self.running)
        raise Failed(f"no page after {START:.0f} seconds\n{logs}")

    def log(self, name: str) -> str:
        if name == "redis-server":
            return self.redis.log
        return (self.folder / f"{name}.log").read_text(errors="replace")[-20_000:]

    def answers(self) -> bool:
        page = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            page.request("GET", "/")
            return page.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            page.close()

    def stop(self):
        for name in ("worker", "server"):
            process = self.running.get(name)
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.redis is not None:
            self.redis.close()

    def run(self):
        self.migrate()
        self.start_all()
        self.wait_until_ready()
        print(f"The chat is at   http://127.0.0.1:{self.port}/   Open it in two windows and talk to yourself.\n"
              "One process has the sockets (twistd), another has Django (manage.py runworker)"
              f"{', and a redis-server is all they share' if self.redis else ''}. Ctrl-C stops them.", flush=True)
        while True:
            self.check()
            time.sleep(0.5)


def port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=port, default=os.environ.get("PORT", "8000"))
    parser.add_argument("--layer", choices=["local", "redis"], default="local", help="where the two processes meet")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):      # explicitly: a background shell hands SIGINT down ignored
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="channels-interfaces-demo-") as folder:
        demo = Demo(folder, chosen.port, chosen.layer)
        try:
            demo.run()
        except KeyboardInterrupt:
            print("\nstopping ...", flush=True)
            return 0
        except Failed as failed:
            print(failed, file=sys.stderr)
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)   # what was started is stopped, however often somebody asks
            demo.stop()


if __name__ == "__main__":
    sys.exit(main())

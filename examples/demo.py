"""`make demo`: an interface server, a stock Django worker and a device, side by side on this machine, until Ctrl-C.
`make demo LAYER=redis`: the same with a Redis of its own between the two. In a terminal keys change the worker."""
import argparse
import contextlib
import http.client
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from pathlib import Path

from redis_server import NoRedis, RedisServer

HERE = Path(__file__).resolve().parent
CHAT = HERE / "chat"
START = 60.0        # seconds for both to come up, a guess for a slow machine
STOP = 12.0         # seconds: a worker's own grace is 8
LOOK = 0.5          # seconds between looks at what runs
MQTT = 1883         # IANA's "mqtt"
TOKEN = "demo"      # of all devices: in README.md, and good on this machine only
KEYS = "Press r to restart the worker, k to kill it, q to end. The page's sockets stay."


class Failed(Exception):
    """The demo can't go on; the text says why."""


class Demo:
    def __init__(self, folder: str, chosen: argparse.Namespace):
        self.folder, self.port, self.layer, self.redis = Path(folder), chosen.port, chosen.layer, None
        self.mqtt, self.has_device = chosen.mqtt_port or mqtt_port(), not chosen.no_device
        self.environment = dict(
            os.environ, DJANGO_SETTINGS_MODULE="chat.settings",
            CHANNELS_INTERFACES_SOCKET=str(self.folder / "hub.sock"), CHAT_REDIS="",       # never anybody else's
            CHAT_DATABASE=str(self.folder / "chat.sqlite3"), CHAT_SECRET_KEY=secrets.token_urlsafe(32),
            CHAT_DEVICE_TOKEN=TOKEN)
        self.running, self.workers = {}, 0

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
                   "--grace=1", "--http", f"tcp:{self.port}:interface=127.0.0.1",
                   "--mqtt", f"tcp:{self.mqtt}:interface=127.0.0.1",
                   "--owner-ping=1")        # for Redis, where the death of a worker is sure only after some silence: 3 s, not 6
        self.start_worker()

    def start_worker(self):
        self.workers += 1
        self.worker = f"worker {self.workers}"
        self.start(self.worker, sys.executable, "manage.py", "runworker", "websocket.connect", "http.request", "mqtt.connect")

    def wait_for_worker(self):
        until = time.monotonic() + START
        while "Running worker for channels" not in self.log(self.worker):       # channels.management.commands.runworker
            self.check()
            if time.monotonic() > until:
                raise Failed(f"the {self.worker} does not begin:\n{self.log(self.worker)}")
            time.sleep(0.02)

    def restart(self) -> str:
        """As a deploy does it: a new one begins before the old one is told to leave."""
        old = self.worker
        process = self.running[old]
        self.start_worker()
        self.wait_for_worker()
        begun = time.monotonic()
        self.terminate(old)
        return (f"worker {self.running[self.worker].pid} is here, worker {process.pid} was told to leave: it left after "
                f"{time.monotonic() - begun:.1f} s, status {process.returncode}")

    def kill(self) -> str:
        process = self.running.pop(self.worker)
        process.kill()
        process.wait()
        begun = time.monotonic()
        self.start_worker()
        self.wait_for_worker()
        return (f"worker {process.pid} was killed, worker {self.running[self.worker].pid} is here "
                f"{time.monotonic() - begun:.1f} s later")

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

    def terminate(self, name: str):
        process = self.running[name]
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        del self.running[name]

    def stop(self):
        for name in sorted(self.running, key=lambda name: (name != "device", name == "server")):    # it goes last
            if name != "redis-server":
                self.terminate(name)
        if self.redis is not None:
            self.redis.close()

    def what_there_is(self) -> str:
        device = " A simulated kettle is there: switch it on in the page." if self.has_device else ""
        return (f"The chat is at   http://127.0.0.1:{self.port}/   Open it in two windows and talk to yourself.\n"
                f"MQTT is at       127.0.0.1:{self.mqtt}   README.md says how to be a device.{device}\n"
                "One process has the sockets (twistd), another has Django (manage.py runworker)"
                f"{', and a redis-server is all they share' if self.redis else ''}. Ctrl-C stops them.")

    def run(self):
        self.migrate()
        self.start_all()
        self.wait_until_ready()
        if self.has_device:
            self.start("device", sys.executable, "device.py", "kettle", str(self.mqtt))
        print(self.what_there_is(), flush=True)
        with keys() as pressed:
            while True:
                self.check()
                match pressed():
                    case "r":
                        print(self.restart(), flush=True)
                    case "k":
                        print(self.kill(), flush=True)
                    case "q":
                        raise KeyboardInterrupt


@contextlib.contextmanager
def keys():
    """A function that waits a while for a key, "" for none."""
    if not foreground():
        yield lambda: time.sleep(LOOK) or ""
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)            # keys come one by one, unseen; Ctrl-C still interrupts
    print(KEYS, flush=True)
    try:
        yield pressed
    finally:
        with contextlib.suppress(termios.error):        # the terminal may be gone
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def pressed() -> str:
    if not select.select([sys.stdin], [], [], LOOK)[0]:
        return ""
    try:
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q"
    except OSError:                     # a terminal that was closed
        return "q"


def foreground() -> bool:
    """There is a terminal, and whatever is typed there is for us: a background job that reads from it is stopped."""
    if not sys.stdin or not sys.stdin.isatty():
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:                     # not the terminal that controls us: nobody else reads from it
        return True


def port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise ValueError
    return number


def mqtt_port() -> int:
    """1883, or any that is free: a machine with Mosquitto's clients often runs Mosquitto."""
    for number in (MQTT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", number)) as found:
            return found.getsockname()[1]
    return MQTT         # the server will say what is wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=port, default=os.environ.get("PORT", "8000"))
    parser.add_argument("--mqtt-port", type=port, help=f"by default {MQTT}, or where that is taken any other")
    parser.add_argument("--no-device", action="store_true", help="without the kettle")
    parser.add_argument("--layer", choices=["local", "redis"], default="local", help="where the two processes meet")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):      # explicitly: a background shell hands SIGINT down ignored
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:       # with nohup it stays
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="channels-interfaces-demo-") as folder:
        demo = Demo(folder, chosen)
        try:
            demo.run()
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):          # its terminal may be gone
                print("\nstopping ...", flush=True)
            return 0
        except Failed as failed:
            print(failed, file=sys.stderr)
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)   # what was started is stopped, however often somebody asks
            demo.stop()


if __name__ == "__main__":
    sys.exit(main())

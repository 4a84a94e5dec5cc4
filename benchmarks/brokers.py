"""The brokers of a measurement: ours with its workers on one layer, mosquitto, and amqtt."""
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import on_redis
import peers
from fleet import Fleet
from processes import LEAVE, SITE, House, free_port

AMQTT = peers.FOLDER / "amqtt" / "bin"
PEERS = {"mosquitto": "mosquitto, no worker", "amqtt": "amqtt, no worker"}
TOKEN = b"for measurements on loopback only"       # site/devices.py
# No limits: all devices have a few addresses.
OPTIONS = ("--mqtt-max-connections", "0", "--mqtt-max-per-address", "0")
CHANNELS = {            # of plain consumers; the others host mqtt.connect alone
    "plain": ("mqtt.connect", "mqtt.receive", "mqtt.disconnect"), "relay": ("mqtt.connect",),
}
OURS = {                # attributes of site/workers.py, less their mqtt_
    "bare": "ASGI function in `over_channels`",
    "plain": "plain consumer, by channel name",
    "async": "`AsyncMqttConsumer`",
    "token": "`MqttConsumer`",
    "django": "`MqttConsumer`, password of `django.contrib.auth`",
    "relay": "ours, `relay`",
}
UNHEARD = 3.0           # seconds: a server sends no messages any more where nobody has listened for 2 (docs/messages.md)
USER, PASSWORD = "device", "correct horse battery staple"
MAKE_USER = f"from django.contrib.auth.models import User; User.objects.create_user({USER!r}, password={PASSWORD!r})"
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_dest none
set_tcp_nodelay true
max_queued_messages 0
"""
AMQTT_YAML = """listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
    max_connections: 50000
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


def mosquitto() -> str | None:
    """Debian has it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def prepare() -> set[str]:
    """The peers that are there or can be made; for the others a sentence is said."""
    found = set()
    if mosquitto():
        found.add("mosquitto")
    else:
        print("mosquitto is left out (Debian: apt-get install mosquitto)", file=sys.stderr)
    if peers.install("amqtt", ["amqtt"], ("amqtt",)):
        found.add("amqtt")
    return found


def versions(there: set[str]) -> list[str]:
    """`name version` of the peers."""
    found = []
    if "mosquitto" in there:
        said = subprocess.run([mosquitto(), "-h"], capture_output=True, text=True).stdout
        found.append(said.partition("\n")[0].replace(" version", ""))
    return found + (peers.installed(AMQTT, ["amqtt"]) if "amqtt" in there else [])


def name(who: str) -> str:
    return PEERS.get(who) or OURS[who]


class Broker:
    """`who`: of PEERS, or of OURS, then with one worker. A context manager."""

    def __init__(self, who: str, layer: str):
        self.who, self.layer, self.house, self.port = who, layer, House(), free_port()

    def __enter__(self):
        self.house.__enter__()
        if self.who in PEERS:
            self.serve()
            return self
        if self.layer == "redis":
            self.redis = on_redis.redis(self.house)
        log = self.serve()
        self.worker()
        if self.layer == "redis":
            on_redis.ready(self.house, self.redis, 1)
        else:
            self.here(log)
        if self.who == "relay" and self.layer == "local":
            time.sleep(UNHEARD)
        return self

    def __exit__(self, *end):
        self.house.__exit__(*end)

    def serve(self) -> Path | None:
        """The server; of ours on the local layer its log."""
        house = self.house
        if self.who in PEERS:
            self.peer()
        elif self.layer == "redis":
            on_redis.serve(house, self.redis, "channels_redis", *self.endpoint, *OPTIONS)
        else:
            return house.serve(*self.endpoint, *OPTIONS)
        return None

    @property
    def endpoint(self) -> tuple[str, str]:
        return "--mqtt", f"tcp:{self.port}:interface=127.0.0.1"

    def here(self, log: Path):
        self.house.until(lambda: " is here" in log.read_text(errors="replace"), "its worker is known to the server")

    def peer(self):
        house = self.house
        house.port = self.port                          # what `listening` asks
        config = Path(house.folder.name) / f"{self.who}.conf"
        config.write_text({"mosquitto": MOSQUITTO, "amqtt": AMQTT_YAML}[self.who].format(port=self.port))
        # Their own packages only: PYTHONPATH would show them ours.
        house.start("server", [mosquitto() if self.who == "mosquitto" else AMQTT / "amqtt", "-c", config], PYTHONPATH="")
        house.until(house.listening, f"{self.who} listens")

    def worker(self):
        more = {"SITE_LAYER": on_redis.LAYERS["ours"]} if self.layer == "redis" else {}
        if self.who == "django":
            more["SITE_DATABASE"] = self.database()
        channels = CHANNELS.get(self.who, ("mqtt.connect",))
        if self.who == "relay" and self.layer == "redis":
            channels = CHANNELS["plain"]                # Redis can't tell that nobody listens: messages would pile up there
        more["SITE_WORKER"] = f"mqtt_{self.who}"
        self.house.start("worker", [sys.executable, "manage.py", "runworker", *channels], **more)

    def database(self) -> str:
        """One with a user whose password has Django's default hash."""
        path = f"{self.house.folder.name}/users.sqlite3"
        environment = {**self.house.environment, "SITE_DATABASE": path, "SITE_WORKER": ""}
        for words in (("migrate", "-v", "0"), ("shell", "-v", "0", "-c", MAKE_USER)):
            subprocess.run([sys.executable, "manage.py", *words], cwd=SITE, env=environment, check=True)
        return path

    def restart(self):
        """The server ends as by a deploy, and is started again; its worker stays."""
        process = self.server[1]
        process.send_signal(signal.SIGTERM)
        process.wait(LEAVE)
        self.house.programs.remove(self.server)
        log = self.serve()
        if self.layer == "redis":
            on_redis.ready(self.house, self.redis, 1)
        elif log is not None:
            self.here(log)

    @property
    def server(self) -> tuple:
        return next(each for each in self.house.programs if each[0] == "server")

    def peak(self) -> int:
        """Bytes of memory that the server has had at most. proc(5), VmHWM."""
        status = Path(f"/proc/{self.server[1].pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def fleet(self, **settings) -> Fleet:
        password = None if self.who in PEERS else PASSWORD.encode() if self.who == "django" else TOKEN
        return Fleet(self.port, password, **settings)

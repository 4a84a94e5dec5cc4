"""MQTT.js in a process of Node, and clients of it that remember what they were told.

The package is kept outside the tree, where the environments of stock workers are: `rm -r ~/.cache/channels-interfaces/node`
forgets it. npm gets it, once, in three seconds."""
import base64
import fcntl
import json
import shutil
import subprocess
import threading
from itertools import count
from pathlib import Path

import pytest

from tests.sockets.processes import until
from tests.workers.environments import CACHE

PACKAGE = "mqtt@5.16.0"
PROGRAM = Path(__file__).with_suffix(".mjs")


def package() -> Path:
    """The folder with its node_modules; made if need be, and where it can't be made the test is skipped."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (make ci-deps)")
    folder = CACHE.with_name("node") / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)            # two test runs at once: the second waits and finds it ready
        if not (folder / "ready").exists():
            done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock",
                                   "--ignore-scripts", "--loglevel=error", "--prefix", folder, PACKAGE],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            if done.returncode:
                pytest.skip(f"npm can't install {PACKAGE}:\n{done.stdout[-3000:]}")
            (folder / "ready").touch()              # last: what was broken off is begun again
    return folder


class Node:
    """`seen`: by the name of a client, its events [(event, value)] in order."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(["node", PROGRAM, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seen, self.numbers = {}, count(1)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            name, event, value = json.loads(line)
            self.seen[name].append((event, value))

    def tell(self, name: str, *words) -> int:
        number = next(self.numbers)
        print(json.dumps([number, name, *words]), file=self.process.stdin, flush=True)
        return number

    def close(self):
        """It ends when nobody speaks to it any more."""
        self.process.stdin.close()
        assert self.process.wait(10) == 0


class Client:
    """Connected, or refused, when made. It does not come back by itself.

    `answer`: 0 or the code of the refusal; `present`: of each CONNACK, whether there was a session."""

    def __init__(self, node: Node, url: str, name: str, version: int, **more):
        self.node, self.name = node, name
        node.seen[name] = []
        username, password = more.get("user", ("bob", "pw"))
        keeps = more.get("keeps", False)
        modern = {"autoAssignTopicAlias": True, "properties": {"sessionExpiryInterval": 300 * keeps}}
        self.waits("connect", url, {
            "clientId": name, "protocolVersion": int(version), "username": username, "password": password, "clean": not keeps,
            "reconnectPeriod": 0, **(modern if version == 5 else {})})
        until(lambda: self.present or self.of("error"), f"{name} has its CONNACK")
        self.answer = 0 if self.present else self.of("error")[0]

    def of(self, event: str) -> list:
        return [value for each, value in self.node.seen[self.name] if each == event]

    @property
    def present(self) -> list[bool]:
        return self.of("connect")

    @property
    def ended(self) -> list:
        return self.of("close")

    @property
    def heard(self) -> list:
        return [(topic, base64.b64decode(payload), qos, retain) for topic, payload, qos, retain in self.of("message")]

    def waits(self, *words):
        """What its callback is given: 0 or the QoS that is granted, or an error's code."""
        return self.answered(self.node.tell(self.name, *words))

    def answered(self, number: int):
        [(_, value)] = until(lambda: [each for each in self.of("done") if each[0] == number], f"{self.name} is answered")
        return value

    def subscribes(self, topic_filter, qos=1) -> int:
        return self.waits("subscribe", topic_filter, qos)

    def publishes(self, topic, payload: bytes, qos=1, retain=False) -> int:
        """When it is acknowledged."""
        return self.answered(self.begins(topic, payload, qos, retain))

    def begins(self, topic, payload: bytes, qos=1, retain=False) -> int:
        words = {"qos": qos, "retain": retain}
        return self.node.tell(self.name, "publish", topic, base64.b64encode(payload).decode(), words)

    def hears(self, *messages):
        """These, in this order, and nothing else, since it was made."""
        until(lambda: len(self.heard) >= len(messages), f"{self.name} hears {messages}, but {self.node.seen[self.name]}")
        assert self.heard == list(messages)

    def vanishes(self):
        """Without DISCONNECT."""
        self.waits("vanish")

    def comes_back(self):
        before = len(self.present)
        self.waits("comeBack")
        until(lambda: len(self.present) > before, f"{self.name} is back")

    def leaves(self):
        self.waits("end")

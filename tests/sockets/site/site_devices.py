"""Consumers of devices, as a project writes them. What they are told goes to the file SITE_TRACE."""
import os
import time
from pathlib import Path

from django.contrib.auth.models import Group
from site_consumers import trace

from interfaces.worker.consumers import MqttConsumer, mqtt_path


class Device(MqttConsumer):
    """`up/held` is busy until the file GATE is there; `up/group` is kept in the database; `up/fail` fails. Others are noted."""
    relay = atomic = True
    subscribe_acl = ["down/#", "between/#"]

    def authenticate(self, username, password, client_id, **rest):
        if username == "ann":
            return super().authenticate(username, password, client_id, **rest)      # a hash takes long: that of one is enough
        return username if password == b"pw" else None

    def held(self, topic, payload, **rest):
        trace("held", payload.decode())
        while not Path(os.environ["SITE_GATE"]).exists():
            time.sleep(0.02)            # the test is another process

    def group(self, topic, payload, **rest):
        Group.objects.create(name=payload.decode())

    def fail(self, topic, payload, **rest):
        Group.objects.create(name="of one that fails")
        raise RuntimeError("a consumer that fails")

    def received(self, topic, payload, *, qos, dup, **rest):
        trace("got", self.scope["client_id"], topic, qos, int(dup), payload.decode(errors="backslashreplace"))

    def disconnected(self, *, reason_code, clean, **rest):
        trace("left", self.scope["client_id"], f"{reason_code:#04x}", clean)

    routes = [mqtt_path("up/held", held), mqtt_path("up/group", group), mqtt_path("up/fail", fail)]

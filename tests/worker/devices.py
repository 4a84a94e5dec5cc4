"""The server's side of MQTT connections that a worker hosts."""
import contextlib
import secrets
import time

from tests.worker import hosting
from tests.worker.hub import SERVER
from tests.worker.sockets import Server, Socket

ACCEPT = {"type": "mqtt.accept", "relay": False}


def mqtt_connect(client_id: str = "lamp", **keys) -> dict:
    """A `mqtt.connect` as messages.md 4 has it."""
    return {"type": "mqtt.connect", "reply_channel": f"{SERVER}!{secrets.token_urlsafe(16)}", "order": 0,
            "deadline": time.time() + 10, "client": ["192.0.2.7", 50123], "server": ["192.0.2.1", 1883], "tls": None,
            "client_id": client_id, "protocol_version": 5, "clean_start": True, "keep_alive": 60, "username": "ann",
            "password": b"secret", "will": None, "session_present": False, "properties": {}} | keys


class Device(Socket):
    def tells(self, kind: str, **keys) -> None:
        self.order += 1
        self.server.tells({"type": kind, "reply_channel": self.reply_channel, "order": self.order} | keys)

    def publishes(self, topic: str, payload: bytes = b"", qos: int = 0, **keys) -> None:
        """`id`: 7 unless said otherwise."""
        self.tells("mqtt.receive", **{"topic": topic, "payload": payload, "qos": qos, "retain": False, "dup": False,
                                      "id": 7 if qos else 0, "properties": {}} | keys)

    def subscribes(self, *filters: str, qos: int = 1) -> None:
        self.tells("mqtt.subscribe", id=9, subscriptions=[
            {"filter": each, "qos": qos, "no_local": False, "retain_as_published": False, "retain_handling": 0}
            for each in filters])

    def leaves(self, reason_code: int = 0, clean: bool = True) -> None:
        self.tells("mqtt.disconnect", reason_code=reason_code, clean=clean, will_published=not clean)

    async def accepted(self) -> "Device":
        assert (await self.hears())["type"] == "mqtt.accept"
        return self

    async def acked(self, id: int = 7, reason_code: int = 0) -> None:
        assert await self.hears() == {"type": "mqtt.ack", "id": id, "reason_code": reason_code}

    async def refused(self, reason_code: int) -> None:
        assert await self.hears() == {"type": "mqtt.close", "reason_code": reason_code}


class Broker(Server):
    """As the Server of sockets.py."""
    channel, peer = "mqtt.connect", Device

    async def opens(self, client_id: str = "lamp", **keys) -> Device:
        await self.until(lambda: self.credit > 0)
        before = self.started
        device = self.announces(mqtt_connect(client_id, **keys))
        await self.until(lambda: self.started > before)
        return device


@contextlib.asynccontextmanager
async def hosted(path, application, **options):
    """A stock worker that hosts `application` for mqtt.connect, as the server sees it."""
    async with hosting.hosted(path, {"mqtt": application}, channels=("mqtt.connect",), **options) as worker:
        yield Broker(worker, worker.stock.application)

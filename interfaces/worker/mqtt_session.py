"""MQTT connections of an ASGI application: scope, events and replies.

There is no ASGI standard for MQTT; servers of the field (mqttasgi) are clients of somebody else's broker, and only the names
`mqtt`, `mqtt.connect` and `mqtt.disconnect` are theirs too. An event is the message of messages.md 4 without the keys that
are the layer's business, and what an application sends is the reply of the same section."""
import asyncio

from interfaces.worker.asgi import address
from interfaces.worker.exchange import Window
from interfaces.worker.session import BEGUN, CLOSED, OPEN, Session

ASGI = {"version": "3.0"}
FAILED = 0x80                # MQTT 5.0, 2.4: unspecified error
UNAVAILABLE = 0x88           # MQTT 5.0, 2.4: server unavailable; the safe answer of messages.md 1 to a CONNECT
SECRET = "authentication_data"       # the property of CONNECT: what it is for is as secret as a password
LAYERS = frozenset(("reply_channel", "order", "deadline", "epoch"))       # keys that no event has


def scope_of(message: dict) -> dict:
    """The scope of a `mqtt.connect`. No secret is in it: a scope lives as long as its connection, and people log it.

    A connection that another worker had has the extension `interface.resumed`, {"state": what a Resumable left, "user": what
    `Mqtt.carry` was given}."""
    extensions = {}
    if message.get("resumed"):
        extensions["interface.resumed"] = {"state": None, "user": None} | (message.get("state") or {})
    return {
        "type": "mqtt", "asgi": ASGI, "client_id": message["client_id"], "username": message.get("username"),
        "client": address(message.get("client")), "server": address(message.get("server")), "tls": message.get("tls"),
        "protocol_version": message["protocol_version"], "clean_start": bool(message.get("clean_start")),
        "keep_alive": message.get("keep_alive") or 0, "session_present": bool(message.get("session_present")),
        "will": message.get("will"), "state": {}, "extensions": extensions,
        "properties": {name: value for name, value in (message.get("properties") or {}).items() if name != SECRET},
    }


class Mqtt(Session):
    """`unacknowledged`: ids of publishes that the application has had and not answered. `user`: what is carried beside the
    state from worker to worker."""
    __slots__ = ("unacknowledged", "user")
    disconnect = "mqtt.disconnect"
    lost = {"type": "mqtt.disconnect", "reason_code": FAILED, "clean": False, "will_published": False}

    def __init__(self, sessions, message: dict):
        super().__init__(sessions, message)
        self.path = f"the MQTT client {message['client_id']!r}"          # in the log; repr, since the client chose it
        self.queue[0] |= {"password": message.get("password"), "properties": message.get("properties") or {}}
        self.unacknowledged: set[int] | None = None      # made with the first: many devices never use QoS 1
        self.user = (message.get("state") or {}).get("user")

    def event(self, message: dict) -> dict:
        event = {key: value for key, value in message.items() if key not in LAYERS}
        if message["type"] == "mqtt.receive":
            self.weight += len(message["payload"])
            if message.get("qos"):
                if self.unacknowledged is None:
                    self.unacknowledged = set()
                self.unacknowledged.add(message["id"])
        return event

    async def send(self, event: dict) -> None:
        """Raises OSError when the connection has ended and the application knows it; RuntimeError for what has no place."""
        if asyncio.get_running_loop() is not (home := self.sessions.loop):       # async_to_sync in a thread of its own
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.send(event), home))
        kind = event["type"]
        if self.since:
            # An acknowledgement may be late, by on_commit: the device comes back and gets another one.
            return None if kind == "mqtt.ack" else self.speak_to_nobody()
        speak = SPEAK.get((kind, self.stage))
        if speak is None:
            known = any(kind == found for found, _ in SPEAK)
            raise RuntimeError(f"{kind} is not for this moment of a connection" if known else f"MQTT knows no {kind!r}")
        await speak(self, event)             # what goes out is a copy: `reply` adds keys, and an application may keep the event

    async def accept(self, event: dict) -> None:
        self.reply({key: value for key, value in event.items() if value is not None})
        self.verdict(OPEN)

    async def acknowledge(self, event: dict) -> None:
        """The second answer to a publish changes nothing."""
        if self.unacknowledged and event["id"] in self.unacknowledged:
            self.unacknowledged.discard(event["id"])
            self.reply(dict(event))

    async def answer(self, event: dict) -> None:
        self.reply(dict(event))

    async def publish(self, event: dict) -> None:
        size = len(event["payload"])
        if self.out is None or self.out.full(size):
            if not await self.room(size):
                return
        self.reply(dict(event))
        self.out.add(size)

    async def close(self, event: dict) -> None:
        self.reply({key: value for key, value in event.items() if value is not None})
        self.verdict(CLOSED)                             # the server says mqtt.disconnect then, of one that it refused too
        self.silence()

    def fail(self) -> None:
        opened = self.stage == OPEN or self.was_open
        self.reply({"type": "mqtt.close", "reason_code": FAILED if opened else UNAVAILABLE})

    def push(self, message: dict) -> None:
        """Of `interface.send` the text or the bytes, on its topic. Nobody can wait here: the server bounds what waits."""
        topic, payload = message.get("topic"), message.get("bytes")
        if payload is None and message.get("text").__class__ is str:
            payload = message["text"].encode()
        if self.stage != OPEN or self.since or topic.__class__ is not str or payload.__class__ is not bytes:
            return
        self.reply({"type": "mqtt.send", "topic": topic, "payload": payload})
        if self.out is None:
            self.out = Window()
        self.out.add(len(payload))                       # the server counts it too

    # From worker to worker

    @property
    def at_rest(self) -> bool:
        """Not while an answer is due: the next owner would be given that publish again."""
        return not self.unacknowledged and super().at_rest

    def carry(self, user) -> None:
        """For the next owner, beside the application's state: who the client is. A killed worker leaves it too."""
        self.user = user
        super().keep({"state": {"user": user}})

    def keep(self, state: dict) -> None:
        super().keep(self.with_user(state))

    def give_back(self, state: dict) -> None:
        super().give_back(self.with_user(state))

    def with_user(self, state: dict) -> dict:
        """{}: the next owner gets what this one was left, or left before."""
        return state and {"state": {"user": self.user, "state": state["state"]}}


SPEAK = {
    ("mqtt.accept", BEGUN): Mqtt.accept,
    ("mqtt.close", BEGUN): Mqtt.close,
    ("mqtt.close", OPEN): Mqtt.close,
    ("mqtt.auth", BEGUN): Mqtt.answer,
    ("mqtt.auth", OPEN): Mqtt.answer,
    ("mqtt.suback", OPEN): Mqtt.answer,
    ("mqtt.ack", OPEN): Mqtt.acknowledge,
    ("mqtt.send", OPEN): Mqtt.publish,
}

"""What a consumer of either kind does with the events of its device. Its own methods are called by `run`: awaited, or in the
lane of the connection; here all runs on the loop of the runworker."""
import functools
import inspect
import logging

from channels.consumer import AsyncConsumer, get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer

from interfaces.worker import mqtt_users
from interfaces.worker.mqtt import publication
from interfaces.worker.mqtt_routes import MqttRouter
from interfaces.worker.session import current

logger = logging.getLogger("interfaces.worker")
# Reason codes (MQTT 5.0, 2.4); for a device of an earlier version the server has that version's own.
CONTINUE, UNSPECIFIED, BAD_CREDENTIALS, NOT_AUTHORIZED, UNAVAILABLE, BAD_METHOD = 0x18, 0x80, 0x86, 0x87, 0x88, 0x8C
HEARD = {f"mqtt.{name}": f"mqtt_{name}" for name in
         ("connect", "receive", "subscribe", "unsubscribe", "auth", "disconnect", "send")}
TOLD = ("protocol_version", "clean_start", "keep_alive", "will", "properties", "client", "tls")     # of the scope


@database_sync_to_async
def in_lane(call, *args, **kwargs):
    """One wrapper for all calls: making one costs as much as using it."""
    return call(*args, **kwargs)


class MqttRefused(Exception):
    """Raised by a consumer's method: the device is refused what it wants, with this reason code (MQTT 5.0, 2.4)."""

    def __init__(self, reason_code: int = NOT_AUTHORIZED):
        if not 0x80 <= reason_code <= 0xFF:
            raise ValueError(f"a reason code that refuses is from 0x80 to 0xFF, not {reason_code:#x}")
        super().__init__(f"refused with {reason_code:#x}")
        self.reason_code = reason_code


class Conversation(AsyncConsumer):
    """The attributes are what `mqtt.accept` says (docs/messages.md); None leaves it to the server. They are read from the
    instance when the device is let in, so they may be properties, or set by `authenticate`. `groups` are joined again in the
    next worker, where `authenticate` is not called: those of one device's own are a property (docs/mqtt.md)."""
    relay = False
    publish_acl = subscribe_acl = session_expiry = keep_alive = assigned_client_id = properties = None
    groups = ()
    auto_ack = True
    routes = ()
    router: MqttRouter | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "routes" in cls.__dict__:
            cls.router = MqttRouter(cls.routes) if cls.routes else None

    async def __call__(self, scope, receive, send):
        self.say, self.session = send, current.get(None)         # no session where something else hosts it
        self.welcome, self.joined = False, ()                    # it was let in, into these groups
        self.handlers: dict = {}                                 # what the classes in `routes` have made
        await super().__call__(scope, receive, send)

    async def dispatch(self, message):
        heard = HEARD.get(message["type"])
        if heard is not None:
            return await getattr(self, heard)(message)
        # A group message. One that is wrong must not throw thousands of devices out, who would all come back at once.
        await self.reason(self.for_group(message), UNSPECIFIED)

    async def for_group(self, message: dict) -> None:
        method = getattr(self, get_handler_name(message), None)
        if method is None:
            raise ValueError(f"{type(self).__name__} has no method for the message type {message['type']!r}")
        await self.run(method, message)

    async def reason(self, doing, failed: int) -> int:
        """0 when what is awaited was done; else why not. `failed`: when it raised."""
        try:
            return await doing or 0
        except StopConsumer:
            raise
        except MqttRefused as refused:
            return refused.reason_code
        except Exception as error:
            if not (isinstance(error, ConnectionResetError) and self.session is not None and self.session.since):
                logger.exception("%s failed with its device %r", type(self).__name__, self.scope["client_id"])
            return failed                                # else it spoke to a device that has left

    # CONNECT and AUTH

    async def mqtt_connect(self, event):
        await self.refuse(await self.reason(self.admit(event), UNAVAILABLE))

    async def mqtt_auth(self, event):
        step = self.step(event["method"], event.get("data"), event.get("properties") or {})
        await self.refuse(await self.reason(step, UNSPECIFIED))

    async def refuse(self, reason_code: int) -> None:
        if reason_code:
            await self.say({"type": "mqtt.close", "reason_code": reason_code})

    async def admit(self, event) -> int:
        scope = self.scope
        resumed = scope["extensions"].get("interface.resumed")
        if resumed is not None and resumed["user"] is not None:
            # Asking again for thousands of devices at each deploy would be thousands of password hashes at once.
            user = await in_lane(mqtt_users.unpacked, resumed["user"])
            return await self.enter(user) if user else NOT_AUTHORIZED
        rest = {name: scope[name] for name in TOLD}
        if (method := scope["properties"].get("authentication_method")) is not None:
            return await self.step(method, event["properties"].get("authentication_data"), scope["properties"])
        username, password = scope["username"], event["password"]
        user = await self.run(self.authenticate, username, password, scope["client_id"], **rest)
        if user:
            return await self.enter(user)
        return NOT_AUTHORIZED if username is None and password is None else BAD_CREDENTIALS

    async def step(self, method: str, data: bytes | None, properties: dict) -> int:
        answer = await self.run(self.authenticate_step, method, data, properties=properties)
        if isinstance(answer, bytes):
            await self.say({"type": "mqtt.auth", "reason_code": CONTINUE, "properties": {"authentication_data": answer}})
        elif not answer:
            return NOT_AUTHORIZED
        elif not self.welcome:
            return await self.enter(answer)
        else:
            self.know(answer)
            await self.say({"type": "mqtt.auth", "reason_code": 0})
        return 0

    async def enter(self, user) -> int:
        self.scope["user"] = user
        self.joined = tuple(self.groups)                 # a property may say something else when it leaves
        for group in self.joined:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.say({"type": "mqtt.accept", "relay": self.relay, "publish_acl": self.publish_acl,
                        "subscribe_acl": self.subscribe_acl, "session_expiry": self.session_expiry,
                        "keep_alive": self.keep_alive, "client_id": self.assigned_client_id, "properties": self.properties})
        self.welcome = True
        self.know(user)
        resumed = "interface.resumed" in self.scope["extensions"]
        await self.run(self.connected, resumed=resumed, session_present=self.scope["session_present"])
        return 0

    def know(self, user) -> None:
        """Who it is, here and in the next worker."""
        self.scope["user"] = user
        packed = mqtt_users.packed(user)
        if self.session is not None and packed is not None and packed != self.session.user:
            self.session.carry(packed)

    # PUBLISH

    async def mqtt_receive(self, event):
        due: list[int] = []
        if refused := await self.reason(self.run(self.take, event, due), UNSPECIFIED):
            due = [refused]
        if due and event["qos"]:
            await self.say({"type": "mqtt.ack", "id": event["id"], "reason_code": due[0]})

    def handler_of(self, event: dict):
        """What `event` is for, and its keyword arguments."""
        rest = {"qos": event["qos"], "retain": event.get("retain", False), "dup": event.get("dup", False),
                "id": event.get("id", 0), "properties": event.get("properties") or {}}
        found = self.router.match(event["topic"]) if self.router is not None else None
        if found is None:
            return self.received, rest
        route, kwargs = found
        if not inspect.isclass(route.handler):
            return functools.partial(route.handler, self), rest | kwargs
        made = self.handlers.get(route.handler)
        if made is None:
            made = self.handlers[route.handler] = route.handler(self)
        return made.received, rest | kwargs

    async def mqtt_send(self, message):
        """A group message for the device itself: `group_send("lamps", {"type": "mqtt.send", "topic": ..., "payload": ...})`."""
        await self.reason(self.pass_on(message), UNSPECIFIED)

    async def pass_on(self, message: dict) -> None:
        await self.say(publication(message["topic"], message["payload"], message.get("qos") or 0, bool(message.get("retain")),
                                   message.get("properties") or {}))

    # SUBSCRIBE, and the end

    async def mqtt_subscribe(self, event):
        subscriptions, codes = event["subscriptions"], []
        if failed := await self.reason(self.run(self.decide, subscriptions, codes), UNSPECIFIED):
            codes = [failed] * len(subscriptions)
        await self.say({"type": "mqtt.suback", "id": event["id"], "reason_codes": codes})

    async def mqtt_unsubscribe(self, event):
        await self.reason(self.run(self.unsubscribed, event["filters"]), UNSPECIFIED)

    async def mqtt_disconnect(self, event):
        if self.welcome:
            for group in self.joined:
                await self.channel_layer.group_discard(group, self.channel_name)
            rest = {name: value for name, value in event.items() if name != "type"}
            await self.reason(self.run(self.disconnected, **rest), UNSPECIFIED)
        raise StopConsumer()


def asked(subscription: dict) -> tuple[str, dict]:
    """The topic filter and what else `authorize_subscribe` is told. A filter never has its `$share/name/` (MQTT 5.0, 4.8.2):
    one who looks at how it begins must not be deceived."""
    rest = {key: value for key, value in subscription.items() if key != "filter"}
    topic_filter, rest["share_name"] = subscription["filter"], None
    if topic_filter.startswith("$share/"):
        _, rest["share_name"], topic_filter = topic_filter.split("/", 2)
    return topic_filter, rest


def granted(answer, subscription: dict) -> int:
    """A reason code of SUBACK (MQTT 5.0, 3.9.3)."""
    if answer is True:
        return subscription["qos"]
    if answer is None or answer is False:
        return NOT_AUTHORIZED
    return min(answer, subscription["qos"]) if answer <= 2 else answer

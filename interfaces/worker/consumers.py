"""Consumers for MQTT: `over_channels({"mqtt": Device.as_asgi()})`, and `manage.py runworker mqtt.connect`. docs/mqtt.md
tells of them by examples."""
import contextlib
import functools
import inspect

from channels.db import aclose_old_connections
from django.contrib import auth
from django.db import connections, transaction

from interfaces.worker.mqtt import publication
from interfaces.worker.mqtt_conversation import BAD_METHOD, NOT_AUTHORIZED, Conversation, MqttRefused, asked, granted, in_lane
from interfaces.worker.mqtt_routes import MqttRouter, mqtt_path

__all__ = ["AsyncMqttConsumer", "MqttConsumer", "MqttRefused", "MqttRouter", "mqtt_path"]


class MqttConsumer(Conversation):
    """Of one device. Its methods run in the connection's lane, one after the other, and may use the ORM.

    `atomic`: True, or the alias of a database: `received` runs in a transaction, and the device gets its acknowledgement when
    that is committed."""
    _sync = True                         # for Channels, and Resumable: methods run in a thread
    atomic: bool | str = False

    async def run(self, call, *args, **kwargs):
        if getattr(call, "__func__", None) not in NOTHING:           # no thread is needed for it
            return await in_lane(call, *args, **kwargs)

    # What a project overrides

    def authenticate(self, username: str | None, password: bytes | None, client_id: str, **rest):
        """Whoever is let in; what it returns becomes scope["user"]. What is falsy refuses. `rest`: keys of the scope."""
        return of_django(username, password)

    def authenticate_step(self, method: str, data: bytes | None, **rest):
        """MQTT 5.0, 4.12, for a device that names an authentication method: bytes are the next challenge; whatever else is true
        is the user; what is falsy refuses."""
        raise MqttRefused(BAD_METHOD)

    def connected(self, **rest) -> None:
        """The device was let in; or, with `resumed`, it was another worker's before."""

    def authorize_subscribe(self, topic_filter: str, **rest) -> bool | int:
        """True, or the QoS that is granted at most. `rest`: qos, no_local, retain_as_published, retain_handling, share_name.
        Not asked where there is a `subscribe_acl`. Nothing is granted unless a project says so."""
        return False

    def authorize_publish(self, topic: str, **rest) -> bool:
        """Asked before `received` (`rest` is the same), of what the server's `publish_acl` has let through."""
        return True

    def received(self, topic: str, payload: bytes, **rest) -> None:
        """The device has published what no route is for. `rest`: qos, retain, dup, id, properties."""

    def unsubscribed(self, topic_filters: list[str]) -> None:
        """The device has unsubscribed."""

    def disconnected(self, **rest) -> None:
        """The last call for a device that was let in. `rest`: reason_code, clean, will_published."""

    # What a project calls

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, **properties) -> None:
        """To this device alone, whatever it has subscribed to. To all: `interfaces.worker.mqtt.publish`. Waits while the device
        is behind; raises as that does, and OSError when the device has been gone for a while."""
        self.base_send(publication(topic, payload, qos, retain, properties))

    def ack(self, id: int, reason_code: int = 0) -> None:
        """For `auto_ack = False`: the publish with this `id` is taken over. In a transaction: when that is committed."""
        when_committed(functools.partial(self.base_send, {"type": "mqtt.ack", "id": id, "reason_code": reason_code}))

    def close(self, reason_code: int | None = None) -> None:
        """End the connection (MQTT 5.0, 3.14.2.1; None: an administrative action). `disconnected` is called then."""
        self.base_send({"type": "mqtt.close", "reason_code": reason_code})

    # In the lane

    def take(self, event: dict, due: list[int]) -> None:
        """A publish. Its reason code is put into `due` when it is to be acknowledged."""
        with self.transaction():
            handler, rest = self.handler_of(event)
            if not self.authorize_publish(event["topic"], **rest):
                raise MqttRefused(NOT_AUTHORIZED)
            result = handler(event["topic"], event["payload"], **rest)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"{handler!r} is async, {type(self).__name__} is not: use AsyncMqttConsumer")
            if event["qos"] and self.auto_ack:
                when_committed(functools.partial(due.append, 0))

    def transaction(self):
        if not self.atomic:
            return contextlib.nullcontext()
        return transaction.atomic(using=None if self.atomic is True else self.atomic)

    def decide(self, subscriptions: list[dict], codes: list[int]) -> None:
        for subscription in subscriptions:
            topic_filter, rest = asked(subscription)
            try:
                codes.append(granted(self.authorize_subscribe(topic_filter, **rest), subscription))
            except MqttRefused as refused:
                codes.append(refused.reason_code)


NOTHING = (MqttConsumer.connected, MqttConsumer.unsubscribed, MqttConsumer.disconnected)


class AsyncMqttConsumer(Conversation):
    """As MqttConsumer, but its methods are `async def`, and are awaited on the loop of the worker. One that must not wait for
    anything may be a plain `def`."""

    async def run(self, call, *args, **kwargs):
        if self.session is None or self.session.lane.has_database:
            await aclose_old_connections()
        result = call(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    # What a project overrides

    async def authenticate(self, username: str | None, password: bytes | None, client_id: str, **rest):
        return await in_lane(of_django, username, password)

    async def authenticate_step(self, method: str, data: bytes | None, **rest):
        raise MqttRefused(BAD_METHOD)

    async def connected(self, **rest) -> None:
        pass

    async def authorize_subscribe(self, topic_filter: str, **rest) -> bool | int:
        return False

    async def authorize_publish(self, topic: str, **rest) -> bool:
        return True

    async def received(self, topic: str, payload: bytes, **rest) -> None:
        pass

    async def unsubscribed(self, topic_filters: list[str]) -> None:
        pass

    async def disconnected(self, **rest) -> None:
        pass

    # What a project calls

    async def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, **properties) -> None:
        await self.say(publication(topic, payload, qos, retain, properties))

    async def ack(self, id: int, reason_code: int = 0) -> None:
        await self.say({"type": "mqtt.ack", "id": id, "reason_code": reason_code})

    async def close(self, reason_code: int | None = None) -> None:
        await self.say({"type": "mqtt.close", "reason_code": reason_code})

    # On the loop

    async def take(self, event: dict, due: list[int]) -> None:
        handler, rest = self.handler_of(event)
        topic = event["topic"]
        if not await self.answer(self.authorize_publish(topic, **rest)):
            raise MqttRefused(NOT_AUTHORIZED)
        await self.answer(handler(topic, event["payload"], **rest))
        if self.auto_ack:
            due.append(0)

    async def answer(self, found):
        return await found if inspect.isawaitable(found) else found

    async def decide(self, subscriptions: list[dict], codes: list[int]) -> None:
        for subscription in subscriptions:
            topic_filter, rest = asked(subscription)
            try:
                codes.append(granted(await self.answer(self.authorize_subscribe(topic_filter, **rest)), subscription))
            except MqttRefused as refused:
                codes.append(refused.reason_code)


def of_django(username: str | None, password: bytes | None):
    try:
        return auth.authenticate(username=username, password=None if password is None else password.decode())
    except UnicodeDecodeError:
        return None                      # MQTT's passwords are any bytes, Django's are text


def when_committed(call) -> None:
    """Now, or when no transaction of this thread is open any more. One that is rolled back forgets it."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            return connection.on_commit(functools.partial(when_committed, call))
    call()

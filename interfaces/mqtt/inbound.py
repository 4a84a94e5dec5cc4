"""What a client that was let in says, and what the application says to it: one function for each."""
from interfaces.contract import ProtocolError
from interfaces.mqtt.delivery import Message
from interfaces.mqtt.messages import Ack, AuthReply, MqttAuth, MqttReceive, MqttSubscribe, MqttUnsubscribe, SubscribeReply
from interfaces.mqtt.packets import (
    Auth, Disconnect, Pingreq, Pingresp, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback, Subscribe, Unsuback, Unsubscribe,
)
from interfaces.mqtt.topics import split_share

FAILED, UNSPECIFIED, PROTOCOL_ERROR, IMPLEMENTATION, NOT_AUTHORIZED = 0x80, 0x80, 0x82, 0x83, 0x87      # MQTT 5, 2.4
NO_SUBSCRIPTION, ID_IN_USE, NO_PACKET, TOO_MANY, ALIAS_INVALID, QUOTA = 0x11, 0x91, 0x92, 0x93, 0x94, 0x97
CONTINUE, AGAIN = 0x18, 0x19
UNTIL_RELEASED = 16         # times the receive maximum: PUBRECs without PUBREL of a client that knows no such maximum; a guess
# Refusals that sending again would not change. A client of 3.x can only be told that all is well, or be cut [MQTT-3.3.5-2 of
# 3.1.1]: it is cut where Django may want the message another time.
FINAL = frozenset((NOT_AUTHORIZED, 0x90, 0x99))


class Over(Exception):
    """The connection ends. `said`: with a DISCONNECT; `clean`: by the client's own, so that its will is void."""

    def __init__(self, code: int, reason: str, said: bool = True, clean: bool = False):
        super().__init__(reason)
        self.code, self.reason, self.said, self.clean = code, reason, said, clean
        self.properties: dict | None = None     # of the DISCONNECT


class Pending:
    """What the worker is asked, and until when."""
    __slots__ = ("packet", "until")

    def __init__(self, packet, until: float):
        self.packet, self.until = packet, until


def asked(packet: Publish | Subscribe, again: bool = False) -> MqttReceive | MqttSubscribe:
    """The message that tells the application of it."""
    if packet.__class__ is Publish:
        return MqttReceive(packet.topic, packet.payload, packet.qos, packet.retain, packet.dup or again, packet.packet_id,
                           packet.properties or {})
    return MqttSubscribe(packet.packet_id, [
        {"filter": wish.filter, "qos": wish.qos, "no_local": wish.no_local, "retain_as_published": wish.retain_as_published,
         "retain_handling": wish.retain_handling} for wish in packet.subscriptions])


# PUBLISH and what follows it

async def publish(client, packet):
    if packet.properties:
        unalias(client, packet)
    qos = packet.qos
    if qos and not numbered(client, packet):
        return
    if forbidden(client, packet.topic):
        return acknowledge(client, packet, NOT_AUTHORIZED) if qos else None
    if not client.link.heeded(MqttReceive):
        if qos:
            raise Over(IMPLEMENTATION, "no worker takes what it publishes")
        return relay(client, packet)
    if not qos:
        relay(client, packet)
    await client.give(asked(packet), packet if qos else None)


def unalias(client, packet: Publish):
    """A topic alias (3.3.2.3.4) lasts as long as the connection."""
    alias = packet.properties.pop("topic_alias", None)
    if alias is None:
        return
    if alias > client.options.topic_aliases:
        raise ProtocolError("a topic alias over the maximum", ALIAS_INVALID)        # [MQTT-3.3.2-9]
    if client.aliases is None:
        client.aliases = {}
    if packet.topic:
        client.aliases[alias] = packet.topic
    elif alias in client.aliases:
        packet.topic = client.aliases[alias]
    else:
        raise ProtocolError("an unknown topic alias", PROTOCOL_ERROR)               # 3.3.4


def numbered(client, packet: Publish) -> bool:
    """Whether a PUBLISH with QoS 1 or 2 is a new one. Raises ProtocolError for one too many."""
    number, pending, received = packet.packet_id, client.pending or (), client.session.received or ()
    if number in pending:
        if pending[number].packet.__class__ is not Publish:
            acknowledge(client, packet, ID_IN_USE)
        return False                                    # else it is sent again, and its answer is on the way
    if packet.qos == 2 and number in received:
        client.link.write(Pubrec(number))               # [MQTT-4.3.3-10]: the worker has it
        return False
    most = client.options.receive_maximum * (1 if client.modern else UNTIL_RELEASED)
    if (len(pending) if client.modern else 0) + len(received) >= most + client.stale:
        raise ProtocolError("more messages at a time than the receive maximum", TOO_MANY)       # [MQTT-3.3.4-9]
    return True


def forbidden(client, topic: str) -> bool:
    """Whether the client may not publish to it, whatever a worker says."""
    if topic[:1] == "$" and topic.split("/", 1)[0] == "$SYS" and not client.options.allow_sys:
        return True
    return client.publish_acl is not None and not client.publish_acl.allows(topic)


def relay(client, packet: Publish):
    if client.relay:
        client.broker.relay(Message(packet, client.link.now(), client.session))


def acknowledge(client, packet: Publish, code: int):
    """PUBACK or PUBREC. Raises Over."""
    if code >= FAILED and not client.modern and code not in FINAL:
        raise Over(code, "what it published was not taken")
    if packet.qos == 1:
        client.link.write(Puback(packet.packet_id, code))
        return
    if code < FAILED:
        client.session.receives(packet.packet_id)
    client.link.write(Pubrec(packet.packet_id, code))


async def acked(client, ack: Ack):
    packet = answered(client, ack.id, Publish)
    if packet is None:
        return
    code = ack.reason_code
    if code not in (0, 0x10) and not FAILED <= code <= 0xFF:
        client.link.log(f"mqtt.ack with {code}, which is no reason code of PUBACK")
        code = UNSPECIFIED
    acknowledge(client, packet, code)
    if code < FAILED:
        relay(client, packet)


def answered(client, number: int, kind: type):
    """The packet that the worker has answered; None: no such one waits (any more)."""
    pending = client.pending.get(number) if client.pending else None
    if pending is None or pending.packet.__class__ is not kind:
        return None
    del client.pending[number]
    client.pending = client.pending or None
    return pending.packet


def undecided(client, packet):
    """No answer came in time. Raises Over where the client can only come back and say it again."""
    if packet.__class__ is Subscribe:
        granted(client, packet, [UNSPECIFIED] * len(packet.subscriptions))
    else:
        raise Over(IMPLEMENTATION, "no worker took what it published")


async def released(client, packet: Pubrel):
    known = client.session.released(packet.packet_id)
    client.link.write(Pubcomp(packet.packet_id, 0 if known else NO_PACKET))


async def delivered(client, packet):
    """PUBACK, PUBCOMP."""
    client.session.acked(packet.packet_id)
    await client.confirm()


async def recorded(client, packet: Pubrec):
    client.session.recorded(packet.packet_id, packet.reason_code)
    await client.confirm()


# Subscriptions

async def subscribe(client, packet: Subscribe):
    codes = [refusal(client, wish) for wish in packet.subscriptions]
    if client.pending and packet.packet_id in client.pending:
        codes = [ID_IN_USE] * len(codes)
    if client.subscribe_acl is not None or None not in codes:
        granted(client, packet, [wish.qos if code is None else code
                                 for wish, code in zip(packet.subscriptions, codes, strict=True)])
    elif not client.link.heeded(MqttSubscribe):
        undecided(client, packet)
    else:
        await client.give(asked(packet), packet)


def refusal(client, wish) -> int | None:
    """The code with which the server refuses it, whatever a worker says."""
    inner = split_share(wish.filter)[1]
    if inner[:1] == "$" and inner.split("/", 1)[0] == "$SYS" and not client.options.allow_sys:
        return NOT_AUTHORIZED
    if client.subscribe_acl is not None and not client.subscribe_acl.grants(wish.filter):
        return NOT_AUTHORIZED
    return None


def granted(client, packet: Subscribe, codes: list[int]):
    """`codes`: what is granted, or why not."""
    session, said = client.session, []
    identifier = (packet.properties or {}).get("subscription_identifier", (None,))[0]
    for wish, code in zip(packet.subscriptions, codes, strict=True):
        if code < FAILED:
            kept = session.subscriptions or ()
            if wish.filter not in kept and len(kept) >= client.options.max_subscriptions:
                code = QUOTA
            else:
                code = min(code, wish.qos)
                client.broker.subscribe(session, wish, code, identifier)
        said.append(code)
    client.link.write(Suback(packet.packet_id, said))
    session.flush()


async def suback(client, reply: SubscribeReply):
    packet = answered(client, reply.id, Subscribe)
    if packet is None:
        return
    codes, wishes = reply.reason_codes, packet.subscriptions
    if len(codes) != len(wishes) or not all(code in (0, 1, 2) or code.__class__ is int and FAILED <= code <= 0xFF
                                            for code in codes):
        client.link.log(f"mqtt.suback with {codes} for {len(wishes)} subscriptions")
        return undecided(client, packet)
    own = [refusal(client, wish) for wish in wishes]
    granted(client, packet, [int(code) if mine is None else mine for code, mine in zip(codes, own, strict=True)])


async def unsubscribe(client, packet: Unsubscribe):
    codes = [0 if client.broker.unsubscribe(client.session, filter) else NO_SUBSCRIPTION for filter in packet.filters]
    client.link.write(Unsuback(packet.packet_id, codes))
    if client.link.owner is None and not client.vacant:
        # Nobody need hear it: plain workers may not listen, and Redis can't tell.
        await client.link.tell(MqttUnsubscribe(packet.filters))
    else:
        await client.give(MqttUnsubscribe(packet.filters))


# The rest

async def ping(client, packet):
    client.link.write(Pingresp())


async def disconnect(client, packet: Disconnect):
    """Raises Over."""
    expiry = (packet.properties or {}).get("session_expiry_interval")
    if expiry is not None:
        if expiry and not client.session.expiry:
            raise ProtocolError("a session that was to end with the connection is to be kept", PROTOCOL_ERROR)  # 3.14.2.2.2
        client.session.expiry = min(expiry, client.options.session_expiry_maximum)
    raise Over(packet.reason_code, "", said=False, clean=not packet.reason_code)    # [MQTT-3.14.4-3]


async def authenticate(client, packet: Auth):
    """Of an open connection: again (4.12.1), or the next step of it."""
    properties = dict(packet.properties or {})
    method = properties.pop("authentication_method", None)
    begins = packet.reason_code == AGAIN
    if client.method is None or method != client.method or begins == (client.authenticating is not None) or (
            not begins and packet.reason_code != CONTINUE):
        raise ProtocolError("AUTH that nobody waits for", PROTOCOL_ERROR)       # [MQTT-4.12.1-1]
    if not client.link.heeded(MqttAuth):
        raise Over(NOT_AUTHORIZED, "no worker authenticates it")
    client.authenticating = client.link.now() + client.options.decision_timeout
    await client.give(MqttAuth(method, properties.pop("authentication_data", None), packet.reason_code, properties))


async def authenticated(client, reply: AuthReply):
    if client.authenticating is None:
        return
    client.say_auth(reply)
    # the next step is the client's, or there is none
    client.authenticating = client.link.now() + client.options.connect_timeout if reply.reason_code else None


PACKETS = {
    Publish: publish, Puback: delivered, Pubcomp: delivered, Pubrec: recorded, Pubrel: released, Subscribe: subscribe,
    Unsubscribe: unsubscribe, Pingreq: ping, Disconnect: disconnect, Auth: authenticate,
}
REPLIES = {Ack: acked, SubscribeReply: suback, AuthReply: authenticated}

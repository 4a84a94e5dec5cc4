"""How a client is let in: CONNECT, what the application says to it, CONNACK."""
from secrets import token_hex

from interfaces.contract import ChannelFull, Closed, Elapsed, HalfClosed, MessageTooLarge, NoVerdict, ProtocolError, Stopping
from interfaces.mqtt.acl import Acl
from interfaces.mqtt.broker import TooMany
from interfaces.mqtt.inbound import forbidden
from interfaces.mqtt.messages import Accept, AuthReply, Close, MqttAuth, MqttConnect
from interfaces.mqtt.packets import V5, Auth, Connack, Connect, Disconnect

UNSPECIFIED, PROTOCOL_ERROR, CLIENT_ID_INVALID, NOT_AUTHORIZED, UNAVAILABLE = 0x80, 0x82, 0x85, 0x87, 0x88      # MQTT 5, 2.4
BAD_METHOD, TOO_LARGE, QUOTA, CONTINUE = 0x8C, 0x95, 0x97, 0x18
RETURN_CODES = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}        # 3.1.1, table 3.1, for who knows those
EXPIRY = "session_expiry_interval"
LONGEST = 65_535            # bytes of a string, 1.5.4
OF_WORKERS = ("user_property", "reason_string", "response_information", "server_reference", "authentication_data")
NAME_BYTES = 11             # of a client id that the server makes; with hex digits no longer than 3.1's 23 characters


class Refused(Exception):
    """With this code. `heard`: the application knows of the client, and is owed its end; `gone`: the client has left."""

    def __init__(self, code: int, reason: str, heard: bool = False, gone: bool = False, properties: dict | None = None):
        super().__init__(reason)
        self.code, self.heard, self.gone, self.properties = code or PROTOCOL_ERROR, heard, gone, properties

    def said(self, client) -> None:
        link = client.link
        if not self.gone:
            try:
                link.write(Connack(False, self.code, self.properties))
            except ValueError as error:
                link.log(f"a refusal that can't be given so: {error}")
                link.write(Connack(False, self.code if self.properties else UNSPECIFIED))
        link.close("" if self.gone or not str(self) else f"{self.code:#04x}: {self}", linger=not self.gone)


async def admit(client, packet: Connect) -> None:
    """Until CONNACK has said that it is let in. Raises Refused, ProtocolError."""
    client.modern = packet.protocol_version == V5
    if not packet.client_id and not packet.clean_start and not client.modern:
        raise Refused(CLIENT_ID_INVALID, "a session to be kept, without a client id")       # [MQTT-3.1.3-8]
    client.username, client.will = packet.username, packet.will
    client.method = packet.properties.get("authentication_method")
    client_id = packet.client_id or token_hex(NAME_BYTES)
    verdict = await asked(client, await question(client, packet, client_id))
    until = client.link.now() + client.options.decision_timeout
    while not isinstance(verdict, Accept):
        match verdict:
            case Close(code, properties):
                raise Refused(refusal(code), "refused", True, properties=properties or None)
            case Closed() | HalfClosed():
                raise Refused(UNSPECIFIED, "left", True, gone=True)
            case Elapsed():
                raise Refused(UNAVAILABLE, "no worker decided", True)
            case AuthReply() if client.method is not None and verdict.reason_code == CONTINUE:
                verdict = await step(client, verdict)
                until = client.link.now() + client.options.decision_timeout
            case _:                                     # for one that is not here yet; a deploy, a window
                verdict = await client.link.reply(max(until - client.link.now(), 0.0))
    await accept(client, packet, verdict, client_id)


async def question(client, packet: Connect, client_id: str) -> MqttConnect:
    link, will = client.link, packet.will
    try:
        kept = not packet.clean_start and await client.broker.keeps(client_id, packet.username)
    except ChannelFull as error:
        raise Refused(UNAVAILABLE, f"its session can't be had: {error}") from None
    told = None if will is None else {"topic": will.topic, "payload": will.payload, "qos": will.qos, "retain": will.retain,
                                      "properties": will.properties}
    return MqttConnect(client_id, packet.protocol_version, packet.clean_start, packet.keep_alive, packet.username,
                       packet.password, told, kept, packet.properties, link.peer, link.server, link.tls)


async def asked(client, question: MqttConnect):
    try:
        return await client.link.open(question, client.options.decision_timeout)
    except NoVerdict as why:
        code = UNSPECIFIED if str(why) == "Unreadable" else UNAVAILABLE
        raise Refused(code, "the application gave no verdict", why.heard) from None
    except ChannelFull:
        raise Refused(UNAVAILABLE, "") from None        # ten thousand at a time: exchange.behind says it, but not so often
    except MessageTooLarge:
        raise Refused(TOO_LARGE, "larger than the application takes") from None


def refusal(code: int | None) -> int:
    """What a worker says in 3.1.1's words is read too."""
    code = NOT_AUTHORIZED if code is None else RETURN_CODES.get(code, code)
    return code if 0x80 <= code <= 0xFF else UNSPECIFIED


async def step(client, reply: AuthReply):
    """One of an enhanced authentication (4.12): the server's AUTH, the client's, the application's next verdict."""
    link = client.link
    client.say_auth(reply)
    try:
        packet = await link.event(client.options.connect_timeout)
    except ProtocolError as error:
        raise Refused(error.code, error.reason, True) from None
    match packet:
        case Auth(reason_code=0x18, properties=properties):
            if properties.get("authentication_method") != client.method:
                raise Refused(BAD_METHOD, "another authentication method", True)       # [MQTT-4.12.0-5]
        case Closed() | HalfClosed() | Disconnect():
            return Closed()
        case Elapsed():
            return packet
        case Stopping():
            raise Refused(UNAVAILABLE, "the server is going down", True)
        case _:
            raise Refused(PROTOCOL_ERROR, "not the AUTH that was waited for", True)    # 3.15.1, [MQTT-3.1.2-30]
    rest = {name: value for name, value in properties.items() if not name.startswith("authentication_")}
    try:
        return await link.ask(MqttAuth(client.method, properties.get("authentication_data"), CONTINUE, rest),
                              client.options.decision_timeout)
    except (NoVerdict, ChannelFull, MessageTooLarge):
        raise Refused(UNAVAILABLE, "the application gave no verdict", True) from None


async def accept(client, packet: Connect, verdict: Accept, client_id: str) -> None:
    options = client.options
    if verdict.client_id and "\0" not in verdict.client_id and len(verdict.client_id.encode()) <= LONGEST:
        client_id = verdict.client_id
    expiry = lasting(options, packet, verdict)
    keep_alive = alive(options, packet, verdict)
    client.relay, client.silence, client.heard = verdict.relay, keep_alive * 1.5, client.link.now()     # [MQTT-3.1.2-22]
    if verdict.publish_acl is not None:
        client.publish_acl = Acl(verdict.publish_acl, client_id, client.username)
    if verdict.subscribe_acl is not None:
        client.subscribe_acl = Acl(verdict.subscribe_acl, client_id, client.username)
    if packet.will is not None and forbidden(client, packet.will.topic):
        raise Refused(NOT_AUTHORIZED, "a will that it may not publish", True)
    client.window = min(packet.properties.get("receive_maximum", options.max_inflight), options.max_inflight)
    client.largest = packet.properties.get("maximum_packet_size")
    client.shortened = min(packet.properties.get("topic_alias_maximum", 0), options.topic_aliases)
    client.short = {} if client.shortened else None
    try:
        session, present = await client.broker.take(client_id, client, packet.clean_start, expiry)
    except TooMany:
        raise Refused(QUOTA, "there are too many sessions", True) from None
    except ChannelFull as error:
        raise Refused(UNAVAILABLE, f"its session can't be had: {error}", True) from None
    client.session, client.stale = session, len(session.received or ())
    for filter in list(session.subscriptions or ()):    # what it was granted once, it may not be any more
        if client.subscribe_acl is not None and not client.subscribe_acl.grants(filter):
            client.broker.unsubscribe(session, filter)
    properties = answer(options, packet, (client_id, expiry, keep_alive)) if client.modern else {}
    try:
        given = {name: verdict.properties[name] for name in OF_WORKERS if name in verdict.properties}
        client.link.write(Connack(present, 0, {**given, **properties} if client.modern else None))
    except (ValueError, TypeError, AttributeError) as error:
        client.link.log(f"properties that CONNACK can't have: {error}")
        client.link.write(Connack(present, 0, properties))


def lasting(options, packet: Connect, verdict: Accept) -> int:
    """Seconds for which the session is kept. 3.x knows only whether it is."""
    if packet.protocol_version == V5:
        wanted = packet.properties.get(EXPIRY, 0)
    else:
        wanted = 0 if packet.clean_start else options.session_expiry_maximum
    if verdict.session_expiry is not None and (wanted or packet.protocol_version == V5):
        wanted = max(verdict.session_expiry, 0)
    return min(wanted, options.session_expiry_maximum)


def alive(options, packet: Connect, verdict: Accept) -> int:
    """Seconds; a client of 3.x can't be told another number than its own."""
    if packet.protocol_version != V5:
        return packet.keep_alive
    wanted, most = packet.keep_alive, options.keep_alive_maximum
    if verdict.keep_alive is not None and 0 <= verdict.keep_alive <= 65_535:
        return verdict.keep_alive
    return most if most and not 0 < wanted <= most else wanted


def answer(options, packet: Connect, given: tuple) -> dict:
    """What CONNACK tells a client of MQTT 5 (3.2.2.3): what differs from what it asked for, or from what it may assume."""
    client_id, expiry, keep_alive = given
    properties = {"receive_maximum": options.receive_maximum, "maximum_packet_size": options.max_packet,
                  "topic_alias_maximum": options.topic_aliases}
    if packet.properties.get(EXPIRY, 0) != expiry:
        properties[EXPIRY] = expiry
    if packet.keep_alive != keep_alive:
        properties["server_keep_alive"] = keep_alive                    # [MQTT-3.1.2-21]
    if not packet.client_id:
        properties["assigned_client_identifier"] = client_id            # [MQTT-3.1.3-7], [MQTT-3.2.2-16]
    if "authentication_method" in packet.properties:
        properties["authentication_method"] = packet.properties["authentication_method"]        # [MQTT-4.12.0-5]
    return properties

"""A client's session (MQTT 5.0, 4.1): what is kept of it between its connections. Pure."""
from collections import deque

from interfaces.mqtt.delivery import ENTRY, Message, Outgoing, Wanted
from interfaces.mqtt.packets import Publish, Pubrel
from interfaces.mqtt.protocol import Prepared

NO_PACKET = 0x92        # packet identifier not found
FAILED = 0x80           # from here on reason codes are refusals


class Session:
    """`client`: its connection, or None (session.Client: link, window, largest, out, rouse, overflow). `expiry`: seconds for
    which it is kept afterwards; `ending`: the number of its entry in Broker.ends; `will`, and when it is `due`, while its
    client is gone. `subscriptions` is {filter: Wanted}, `inflight` {packet id: Outgoing} in the order in which they were sent,
    `queue` what waits for room, `received` the client's QoS 2 packet ids between PUBREC and PUBREL. Containers are made when
    they are needed: most devices are idle."""
    __slots__ = ("broker", "client_id", "username", "client", "expiry", "ending", "will", "due", "subscriptions", "inflight",
                 "queue", "queued", "received", "last_id", "again", "retained")

    def __init__(self, broker, client_id: str, username: str | None):
        self.broker, self.client_id, self.username, self.client = broker, client_id, username, None
        self.expiry, self.ending, self.will, self.due = 0, 0, None, 0.0
        self.subscriptions: dict[str, Wanted] | None = None
        self.inflight: dict[int, Outgoing] | None = None
        self.queue: deque | None = None             # (message, qos, retain, identifiers, its number)
        self.queued, self.last_id = 0, 0            # bytes; packet id
        self.received: set[int] | None = None
        self.again: deque[int] | None = None        # packet ids to be sent again, once for each connection
        self.retained: dict | None = None           # {filter: (iterator of (topic, message), Wanted, since which number)}

    def note(self, kind: str, number: int, value) -> None:
        """What is kept of it has changed: `value` is None where it is no more (store.Memory.note)."""
        if self.expiry and self.broker.store.lasting:
            self.broker.store.note(self, f"{kind}{number}", value)

    def among(self, sessions: set) -> bool:
        return self in sessions

    # To the client

    def deliver(self, message: Message, wanted: Wanted, stored: bool = False) -> None:
        """`stored`: a retained message for a new subscription [MQTT-3.3.1-8]."""
        if wanted.no_local and message.sender is self:
            return                                                          # [MQTT-3.8.3-3]
        qos = message.qos if message.qos < wanted.qos else wanted.qos
        retain = stored or message.retain and wanted.retain_as_published    # [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        client = self.client
        if client is None:
            if qos and self.expiry:
                self.enqueue(message, qos, retain, wanted.identifiers)
        elif self.queue or self.again or not client.link.drained or qos and client.out >= client.window:
            self.enqueue(message, qos, retain, wanted.identifiers)
        else:
            self.send(message, qos, retain, wanted.identifiers)

    def enqueue(self, message, qos, retain, identifiers) -> None:
        if self.queue is None:
            self.queue = deque()
        if qos and self.client is not None and self.full(message):
            self.lighten()
        if self.full(message):
            self.broker.dropped += 1
            if qos and self.client is not None:
                self.client.overflow()
            return
        number = self.broker.number()
        entry = message, qos, retain, identifiers, number
        self.queue.append(entry)
        self.queued += message.size + ENTRY
        if qos:
            self.note("q", number, entry)
        if self.client is not None and not self.client.link.drained:
            self.client.rouse()

    def full(self, message) -> bool:
        limits = self.broker.options
        return len(self.queue) >= limits.max_queued or self.queued + message.size + ENTRY > limits.max_queued_bytes

    def lighten(self) -> None:
        """Drop what has QoS 0: it was promised to nobody."""
        kept = deque(entry for entry in self.queue if entry[1])
        self.broker.dropped += len(self.queue) - len(kept)
        self.queue, self.queued = kept, sum(entry[0].size + ENTRY for entry in kept)

    def send(self, message, qos, retain, identifiers) -> None:
        client, now = self.client, self.broker.now()
        if message.expires is not None and message.expires <= now:
            return                                                          # [MQTT-3.3.2-5]
        if qos:
            return self.promise(message, qos, retain, identifiers)
        packet = message.form(retain, now, identifiers)
        if client.largest is None or self.fits(packet):
            client.link.write(packet if client.short is None else self.shortened(packet))

    def promise(self, message, qos, retain, identifiers) -> None:
        """QoS 1 and 2: remembered until the client has it."""
        outgoing = Outgoing(message, qos, retain, identifiers, self.broker.number())
        number = self.fresh()
        packet = self.packet(number, outgoing, False)
        if self.client.largest is not None and not self.fits(packet):
            return                                                          # as if it had been sent [MQTT-3.1.2-25]
        if self.inflight is None:
            self.inflight = {}
        self.inflight[number] = outgoing
        self.note("f", number, outgoing)
        outgoing.sent = True
        self.client.out += 1
        self.client.link.write(packet if self.client.short is None else self.shortened(packet))

    def packet(self, number: int, outgoing: Outgoing, dup: bool) -> Publish:
        message = outgoing.message
        properties = message.outgoing(self.broker.now(), outgoing.identifiers)
        return Publish(message.topic, message.payload, outgoing.qos, outgoing.retain, dup, number, properties)

    def shortened(self, packet: Publish | Prepared) -> Publish | Prepared:
        """With an alias in place of the topic (3.3.2.3.4): the first topics have one each, as many as the client takes."""
        plain, client = packet if packet.__class__ is Publish else packet.publish, self.client
        known = client.short.get(plain.topic)
        alias = known or len(client.short) + 1
        if alias > client.shortened:
            return packet
        short = Publish("" if known else plain.topic, plain.payload, plain.qos, plain.retain, plain.dup, plain.packet_id,
                        {**(plain.properties or {}), "topic_alias": alias})
        if not known:
            if client.largest is not None and self.broker.size(short) > client.largest:
                return packet
            client.short[plain.topic] = alias
        return short

    def fits(self, packet) -> bool:
        if self.broker.size(packet) <= self.client.largest:
            return True
        self.broker.dropped += 1
        return False                                                        # [MQTT-3.1.2-24]

    def fresh(self) -> int:
        """A packet id that is not in use [MQTT-2.2.1-3]. There is one: the window is smaller than their number."""
        number = self.last_id
        while True:
            number = number % 65_535 + 1
            if not self.inflight or number not in self.inflight:
                self.last_id = number
                return number

    def flush(self) -> None:
        """Send what has waited, as far as there is room."""
        client = self.client
        while client.link.drained and (self.again or self.queue or self.retained):
            if self.again:
                if client.out >= client.window:
                    return
                self.repeat(self.again.popleft())
            elif self.queue:
                message, qos, retain, identifiers, number = self.queue[0]
                if qos and client.out >= client.window:
                    return
                self.queue.popleft()
                self.queued -= message.size + ENTRY
                self.queue = self.queue or None     # an empty deque takes 600 bytes
                if qos:
                    self.note("q", number, None)
                self.send(message, qos, retain, identifiers)
            elif not self.recall():
                return
        if not client.link.drained and (self.again or self.queue or self.retained):
            client.rouse()

    def repeat(self, number: int) -> None:
        """After a reconnect, as it was sent before [MQTT-4.4.0-1]."""
        outgoing = self.inflight.get(number) if self.inflight else None
        if outgoing is None:
            return
        packet = Pubrel(number) if outgoing.message is None else self.packet(number, outgoing, True)
        if self.client.largest is not None and not self.fits(packet):
            del self.inflight[number]
            self.inflight = self.inflight or None
            self.note("f", number, None)
            return
        outgoing.sent = True
        self.client.out += 1
        self.client.link.write(packet if self.client.short is None or packet.__class__ is Pubrel else self.shortened(packet))

    def recall(self) -> bool:
        """Send the next of the retained messages that a subscription was to get; False: its turn has not come."""
        filter, (messages, wanted, since) = next(iter(self.retained.items()))
        if self.client.out >= self.client.window:
            return False
        topic, message = next(messages, (None, None))
        if topic is None:
            del self.retained[filter]
            self.retained = self.retained or None
        elif message.number <= since and self.broker.lasts(message):    # a newer one was delivered when it came
            self.deliver(message, wanted, stored=True)
        return True

    # What the client says to it

    def acked(self, number: int) -> bool:
        """PUBACK, PUBCOMP, or a PUBREC that refuses. False: nobody waits for it."""
        outgoing = self.inflight.pop(number, None) if self.inflight else None
        if outgoing is None:
            return False
        self.note("f", number, None)
        if outgoing.sent:
            self.client.out -= 1
        if not self.inflight:
            self.inflight = None
        self.flush()
        return True

    def recorded(self, number: int, code: int) -> None:
        """PUBREC."""
        outgoing = self.inflight.get(number) if self.inflight else None
        if code >= FAILED:
            self.acked(number)
        elif outgoing is None or outgoing.qos != 2:
            self.client.link.write(Pubrel(number, NO_PACKET))
        else:
            outgoing.message = None                                         # [MQTT-4.3.3-4]
            self.note("f", number, outgoing)
            self.client.link.write(Pubrel(number))

    def ids(self) -> set[str | None]:
        """Of the messages that it has for the client."""
        return {entry[0].id for entry in self.queue or ()} | {
            each.message.id for each in (self.inflight or {}).values() if each.message is not None}

    def receives(self, number: int) -> None:
        """PUBREC has been said."""
        if self.received is None:
            self.received = set()
        self.received.add(number)
        self.note("r", number, True)

    def released(self, number: int) -> bool:
        """PUBREL. False: no such message was received."""
        if self.received is None or number not in self.received:
            return False
        self.received.discard(number)
        self.received = self.received or None
        self.note("r", number, None)
        return True

    # Connections come and go

    def attach(self, client) -> None:
        self.client = client
        for outgoing in (self.inflight or {}).values():
            outgoing.sent = False
        self.again = deque(self.inflight) if self.inflight else None

    def detach(self) -> None:
        """Nothing with QoS 0 is kept [MQTT-4.1.0-1 lists what is]."""
        self.client, self.again, self.retained = None, None, None
        if self.queue:
            self.lighten()
        self.queue = self.queue or None

"""What the MQTT connections of one process share: sessions, subscriptions, retained messages, wills. Pure, on a clock that
its desk gives it (contract.Desk)."""
from heapq import heappop

from interfaces.mqtt.delivery import DIRECT, GROUP, WILL_DELAY, Message, Wanted
from interfaces.mqtt.messages import Inherited, Send, Yield, Yielded
from interfaces.mqtt.packets import V5, Publish, Subscription, Will
from interfaces.mqtt.protocol import MqttWire
from interfaces.mqtt.redis import Redis
from interfaces.mqtt.shares import Share
from interfaces.mqtt.state import Session
from interfaces.mqtt.store import Memory
from interfaces.mqtt.topics import Tree, check_topic, split_share
from interfaces.mqtt.wills import Wills, push
from interfaces.schema import Neutral

SYSTEM = "$SYS"             # names that are the server's own, 4.7.2


class TooMany(Exception):
    """There is no room for another session."""


class Broker:
    """`take` and `leave` begin and end a connection; `subscribe`, `unsubscribe` and `publish` are what it does between."""

    def __init__(self, options):
        self.options, self.store = options, Memory()
        self.tree, self.shares = Tree(), {}             # shares: {(name, filter): Share}
        self.ends, self.count = [], 0                   # a heap of (when, count, session)
        self.wills = Wills(self)
        self.desk = None
        self.roused, self.probe = None, None            # clients to be woken in the next turn; a wire that checks
        self.dropped = 0                                # messages that found no room on their way to a client

    # The frame

    def open(self, desk) -> None:
        self.desk, self.now = desk, desk.now
        if desk.storage is not None:
            self.store = Redis(self, desk)
            self.store.open()
        desk.join(GROUP)

    async def close(self) -> None:
        await self.store.close()

    async def settled(self) -> None:
        await self.store.settled()

    def hear(self, event) -> None:
        """What a worker sent to the group, or another server."""
        if event.__class__ in (Yield, Yielded, Inherited):
            return self.store.hear(event)
        former = event.former if event.__class__ is Send else None
        if former is None and event.__class__ is Send and event.origin == self.desk.channel:
            return
        message = self.said(event)
        if message is not None:
            self.publish(message) if former is None else self.store.late(message, former)

    def said(self, event) -> Message | None:
        """A worker's words as a message; None, and a line in the log, where no wire could say it. Checked here, so that a
        fault of the application never shows in the story of a device."""
        if event.__class__ is Neutral:
            if event.topic is None:
                return None                             # meant for others
            payload = event.bytes if event.bytes is not None else (event.text or "").encode("utf-8", "replace")
            event = Send(event.topic, payload)
        try:
            if event.__class__ is not Send or event.qos not in (0, 1, 2):
                raise ValueError(f"{event.__class__.__name__} to the group {GROUP}, or a QoS that is none")
            check_topic(event.topic)
            message = Message(event, self.now())
            message.id = event.id
            self.checked(message)
        except (ValueError, TypeError, AttributeError) as error:
            self.desk.log(f"a message that can't be published: {error}")
            return None
        return message

    def checked(self, message: Message) -> None:
        """Raises ValueError for properties that can't be encoded."""
        if message.properties:
            self.size(Publish(message.topic, b"", 1, False, False, 1, message.properties))

    def size(self, packet) -> int:
        """Bytes that it has in MQTT 5, without what carries it (WebSocket). Raises ValueError."""
        if self.probe is None:
            self.probe = MqttWire(self.options)
            self.probe.version = V5
        return len(self.probe.encode(packet))

    def rouse(self, client) -> None:
        """In the next turn: now another story, or this one, may be in the middle of a fan-out."""
        if self.roused is None:
            self.roused = {}
            self.desk.later(0, self.wake)
        self.roused[client] = None

    def wake(self) -> None:
        roused, self.roused = self.roused, None
        for client in roused:
            client.woken()

    # Connections come and go

    async def keeps(self, client_id: str, username: str | None) -> bool:
        """Whether there is a session that this client would go on with."""
        self.sweep()
        kept = await self.store.kept(client_id)
        return kept is not None and kept[0] == username and kept[1] > 0

    async def take(self, client_id: str, client, clean: bool, expiry: float) -> tuple[Session, bool]:
        """(its session, whether it was kept). Another connection with this client id is ended [MQTT-3.1.4-3]. Raises TooMany,
        LayerDown."""
        self.sweep()
        if client_id not in self.store.sessions and len(self.store.sessions) >= self.options.max_sessions:
            raise TooMany
        session = await self.store.session(client_id)
        session = session and self.supplant(session)
        if session is not None and (clean or session.username != client.username):      # never to somebody else
            self.end(session)
            session = None
        kept = session is not None
        if not kept:
            session = Session(self, client_id, client.username)
        session.will, session.expiry = None, expiry
        session.attach(client)
        self.store.keep(session)
        return session, kept

    def supplant(self, session: Session) -> Session | None:
        """End its connection, if it has one: its client is elsewhere. None: the session has ended with it."""
        former = session.client
        if former is not None:
            former.taken_over(self.leave(session, former.will, former.relay))
        return self.store.sessions.get(session.client_id)

    def leave(self, session: Session, will: Will | None, relay: bool) -> bool:
        """Its connection is over. Whether `will` is due at once; otherwise it is after its delay, or when the session ends
        (3.1.3.2.2). It is published where the client's messages are relayed."""
        session.detach()
        delay = 0 if will is None else min(will.properties.get(WILL_DELAY, 0), session.expiry)
        if will is not None and relay:
            message = Message(will, self.now(), session)
            if delay:
                self.wills.delay(session, message, self.now() + delay)
            else:
                self.relay(message)
        if session.expiry:
            self.expire(session, session.expiry)
            self.store.keep(session)
        else:
            self.end(session)
        return will is not None and not delay

    def expire(self, session: Session, seconds: float) -> None:
        session.ending = self.number()
        push(self.ends, (self.now() + seconds, session.ending, session), len(self.store.sessions), stands)

    def number(self) -> int:
        self.count += 1
        return self.count

    def end(self, session: Session) -> None:
        """Nothing of it is kept."""
        self.store.drop(session)
        will = session.will
        self.forget(session)
        if will is not None:
            self.relay(will)

    def forget(self, session: Session) -> None:
        """It is not here any more."""
        self.store.forget(session)
        session.will, session.expiry = None, 0
        for filter in list(session.subscriptions or ()):
            self.unsubscribe(session, filter)

    def sweep(self) -> None:
        """End the sessions whose time is up. No timer is needed: until somebody comes or goes they harm nobody."""
        now = self.now()
        while self.ends and self.ends[0][0] <= now:
            entry = heappop(self.ends)
            if stands(entry):
                self.end(entry[2])

    # Subscriptions

    def subscribe(self, session: Session, wish: Subscription, qos: int, identifier: int | None) -> None:
        """`qos`: what is granted. Retained messages follow as 3.3.1.3 says."""
        wanted = Wanted(qos, wish.no_local, wish.retain_as_published, (identifier,) if identifier else None)
        name, inner = split_share(wish.filter)
        if session.subscriptions is None:
            session.subscriptions = {}
        new = wish.filter not in session.subscriptions
        session.subscriptions[wish.filter] = wanted
        self.place(session, wish.filter, wanted)
        if not name and (wish.retain_handling == 0 or wish.retain_handling == 1 and new) and len(self.store.messages):
            found = self.store.messages.match(inner), wanted, self.number()     # with shares none are sent (4.8.2)
            session.retained = {**(session.retained or {}), wish.filter: found}
        self.store.note(session, f"s{wish.filter}", wanted)

    def place(self, session: Session, filter: str, wanted: Wanted) -> None:
        """Where messages find it."""
        name, inner = split_share(filter)
        if not name:
            return self.tree.subscribe(inner, session, wanted)
        share = self.shares.get((name, inner))
        if share is None:
            share = self.shares[name, inner] = Share(filter, self.store)
            self.tree.subscribe(inner, share, DIRECT)
        share.add(session, wanted)

    def unsubscribe(self, session: Session, filter: str) -> bool:
        """Whether there was such a subscription."""
        if not session.subscriptions or session.subscriptions.pop(filter, None) is None:
            return False
        session.subscriptions = session.subscriptions or None
        self.store.note(session, f"s{filter}", None)
        if session.retained:
            session.retained.pop(filter, None)
        name, inner = split_share(filter)
        if not name:
            self.tree.unsubscribe(inner, session)
            return True
        share = self.shares[name, inner]
        share.remove(session)
        if not share.members:
            del self.shares[name, inner]
            self.tree.unsubscribe(inner, share)
        return True

    # Messages

    def relay(self, message: Message) -> None:
        """What a client publishes: to matching subscriptions of all servers."""
        if not self.desk.alone:
            message.id = f"{self.desk.channel}-{self.number()}"
            self.desk.group_send(GROUP, {
                "type": "mqtt.send", "topic": message.topic, "payload": message.payload, "qos": message.qos,
                "retain": message.retain, "properties": message.properties or {}, "origin": self.desk.channel,
                "id": message.id}, others=True)
        self.publish(message)

    def publish(self, message: Message) -> None:
        """To every subscription that matches, on this server."""
        if message.retain:
            self.retain(message)
        if message.qos and self.store.listening:
            self.store.heard(message)
        self.spread(message)

    def spread(self, message: Message, only=None) -> None:
        """`only`: to these sessions, and no others."""
        matched = self.tree.match(message.topic)
        if len(matched) == 1 and only is None:
            for receiver, wanted in tuple(matched[0].items()):
                receiver.deliver(message, wanted)
            return
        receivers = {}
        for subscribers in matched:
            for receiver, wanted in subscribers.items():
                if wanted.no_local and message.sender is receiver:
                    continue
                before = receivers.get(receiver)
                receivers[receiver] = wanted if before is None else before.joined(wanted)
        for receiver, wanted in receivers.items():
            if only is None or receiver.among(only):
                receiver.deliver(message, wanted)

    def retain(self, message: Message) -> None:
        if not message.payload:
            self.store.release(message.topic)           # [MQTT-3.3.1-6]
        elif self.store.crowded(message, self.options):
            self.dropped += 1                           # no line in the log for each: a client could fill the disk
        else:
            message.number = self.number()
            self.store.retain(message)

    def lasts(self, message: Message) -> bool:
        """False: it is retained no longer (3.3.2.3.3)."""
        if message.expires is None or message.expires > self.now():
            return True
        self.store.release(message.topic)
        return False


def stands(entry: tuple) -> bool:
    """Its client is not back since."""
    _, number, session = entry
    return session.client is None and session.ending == number

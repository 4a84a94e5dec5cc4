"""What becomes of the sessions of a server that is gone: killed, stopped, or cut off from Redis. Pure.

Each server says every few seconds that it lives. Of one that has not for a while another becomes the heir: it gives the
sessions a home, so that messages are queued for them again and wills are published, and hands on what the dead one was
sent and never read. That is meant for the sessions which the dead one had, wherever they are by now, and each of these has
heard for itself what came since it got its new home: the messages' ids tell."""
from interfaces.contract import LayerDown
from interfaces.mqtt import records, scripts
from interfaces.mqtt.delivery import GROUP, Message
from interfaces.mqtt.state import Session

SIGNS = 3               # of life in a lease; a guess, as the next three
LOCKED = 30.0           # seconds that an heir has to hand on
MOURNED = 120.0         # seconds after which nothing is expected any more of one that is gone
BATCH = 20              # sessions in one answer: with full queues 20 MiB


class Heirs:
    """`orphans` is {server that is gone: {session that it had: the broker's number when it began to come}}, `since` when there
    were the first. `seen` is {id of a message: number}, of what came meanwhile; `heard` {server: when it last spoke}."""

    def __init__(self, store):
        self.store, self.desk, self.broker = store, store.desk, store.broker
        self.orphans: dict[str, dict[Session, int]] = {}
        self.since: dict[str, float] = {}
        self.seen: dict[str, int] = {}
        self.heard: dict[str, float] = {}
        self.known, self.cancel, self.closed = False, None, False
        self.lease = self.broker.options.server_lease

    async def renew(self) -> None:
        """Say that this server lives, and look for those who do not."""
        store, now = self.store, self.store.storage.now()
        if not self.closed:
            self.cancel = self.desk.later(self.lease / SIGNS, lambda: self.desk.begin(self.renew()))
        self.forget_the_dead()
        try:
            known, gone = await store.run(scripts.RENEW, (store.homes,), (store.me, repr(now + self.lease), repr(now)))
            if self.known and not known:
                await self.look()
            self.known = True
            for home in {each.decode() for each in gone} - {store.me}:
                await self.inherit(home)        # meanwhile the next sign of life is given, and finds this one's lock
        except LayerDown:
            pass

    def close(self) -> None:
        self.closed = True
        if self.cancel is not None:
            self.cancel()

    async def look(self) -> None:
        """Redis lost its data, or this server was thought dead: which sessions are still ours?"""
        store = self.store
        ids = list(store.sessions)
        for start in range(0, len(ids), 1000):
            some = ids[start:start + 1000]
            homes = await store.run(scripts.HOMES, (), (store.root, *some))
            for session, home in zip(map(store.sessions.get, some), homes, strict=True):
                if session is not None and home == b"-":
                    store.write(session)
                elif session is not None and home.decode() != store.me:
                    store.lost(session)
        store.topics = {**store.messages.values, **store.topics}
        store.soon(0.0)

    # The heir

    async def inherit(self, home: str) -> None:
        store, lock = self.store, f"{self.store.homes}:{home}"
        if not await store.run(scripts.LOCK, (store.homes,), (store.me, round(LOCKED * 1000), home, lock)):
            return
        while found := await store.run(scripts.INHERIT, (store.homes,), (
                store.me, home, store.members, store.root, repr(store.storage.now()), BATCH, lock, round(LOCKED * 1000))):
            for client_id, fields in records.pairs(found):
                self.take_in(client_id, records.read(fields), home)
        for message in await store.storage.inherit(home):
            if message.get("type") == "mqtt.send" and message.get("former") is None:
                await self.desk.group_send(GROUP, {**message, "former": home})
        self.desk.group_send(GROUP, {"type": "mqtt.inherited", "home": home})
        await store.run(scripts.BURY, (store.homes,), (home, lock))

    def take_in(self, client_id: str, fields: dict, home: str) -> None:
        """A session whose client is elsewhere, or nowhere."""
        store, now = self.store, self.store.storage.now()
        session = None if client_id in store.sessions else store.restore(client_id, fields)
        if session is None:
            return
        self.adopted(session, home, self.broker.number())
        ends = fields.get("t", b"")
        session.will, session.due = self.will(fields, now)
        left = (float(ends) if ends else now + session.expiry) - now
        if left <= 0:
            return self.broker.end(session)
        if session.will is not None:
            self.broker.wills.delay(session, session.will, session.due)
        self.broker.expire(session, left)

    def will(self, fields: dict, now: float) -> tuple[Message | None, float]:
        if "w" not in fields:
            return None, 0.0
        try:
            return records.unpack_will(self.store.storage.unseal(fields["w"]), now)
        except (ValueError, TypeError):
            return None, 0.0

    # Those who wait for what the dead one was sent

    def adopted(self, session: Session, home: str, number: int) -> None:
        if home:
            self.orphans.setdefault(home, {})[session] = number
            self.since.setdefault(home, self.desk.now())

    def note(self, message: Message) -> None:
        if message.id is not None:
            self.seen[message.id] = self.broker.number()

    def late(self, message: Message, home: str) -> None:
        """A copy that was the dead one's. It may have had time to queue it."""
        before = self.seen.get(message.id, 0) if message.id is not None else 0
        waiting = {session for session, came in self.orphans.get(home, {}).items() if before <= came}
        if message.id is not None:
            waiting = {session for session in waiting if message.id not in session.ids()}
        self.broker.spread(message, waiting)
        known = self.store.messages.get(message.topic)
        if message.retain and not before and (known is None or not known.number):
            self.broker.retain(message)         # nobody has heard of a newer one since this process began

    def forget_the_dead(self) -> None:
        for home, since in list(self.since.items()):
            if home not in self.orphans or since + MOURNED < self.desk.now():
                del self.since[home]
                self.orphans.pop(home, None)
        if not self.store.listening:
            self.seen.clear()

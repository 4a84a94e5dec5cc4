"""Sessions and retained messages in the layer's Redis, so that they outlast this process and go where their clients go. Pure.

Each session is at home with one server: where its client is, or was last. That server has it in memory, queues what comes
for it, and writes each change in the turn in which it happens. A client that comes to another server takes its session
along (`session`): its former home is asked to give it up, or passed over when it does not answer. The sessions of a server
that is gone get another home (heirs.py)."""
from interfaces.contract import DONE, LayerDown
from interfaces.mqtt import records, scripts
from interfaces.mqtt.delivery import Message
from interfaces.mqtt.heirs import Heirs
from interfaces.mqtt.messages import Inherited, Yield
from interfaces.mqtt.redis_retained import AGAIN, MOST, RetainedInRedis
from interfaces.mqtt.state import Session

ANSWER = 2.0            # seconds in which a server says that it lives; a guess
SILENT = 30.0           # seconds for which one that did not is not asked again; a guess
LOADING = 10.0          # seconds that a client waits while the retained messages are read; a guess
CHANGES = 2000          # of a session that wait for Redis: more are not worth being told apart; a guess
ALWAYS = ("m", "w")     # fields that are written even if the session ends with its connection
WHOLE = "*"             # in their place: all of it
YIELDING = 1.0          # seconds in which a server with sessions whose clients are there takes a shared message; a guess
REMEMBERED = 90         # seconds; a copy waits in a server's box for 60, Channels' default
SPARE = 60              # seconds that a session is stored longer than it is kept


class Redis(RetainedInRedis):
    def __init__(self, broker, desk):
        super().__init__(broker, desk)
        self.root, self.homes, self.members, self.shares = (
            f"{self.storage.prefix}:mqtt:{kind}" for kind in ("session:", "homes", "home:", "share:"))
        self.silent: dict[str, float] = {}              # servers that did not answer -> until when that counts
        self.arriving: dict[int, list] = {}             # messages that came since a session is on its way here
        self.heirs = Heirs(self)

    def open(self) -> None:
        self.desk.begin(self.start())

    async def start(self) -> None:
        await self.load()
        await self.heirs.renew()

    # Sessions come

    async def kept(self, client_id: str):
        """Raises LayerDown."""
        session = self.sessions.get(client_id)
        if session is not None:
            return session.username, session.expiry
        about, ends = await self.run(scripts.PEEK, (self.root + client_id,), ())
        if about is None or ends and float(ends) <= self.storage.now():
            return None
        try:
            return records.about(self.storage.unseal(about))
        except (ValueError, TypeError):
            return None

    async def session(self, client_id: str) -> Session | None:
        """Raises LayerDown."""
        if not self.ready and not await self.desk.wait(self, LOADING):
            raise LayerDown("the retained messages can't be read")
        if client_id in self.sessions:
            return self.sessions[client_id]
        since, missed = self.broker.number(), []
        self.arriving[since] = missed
        try:
            former, fields = await self.claim(client_id)
        finally:
            del self.arriving[since]
        if client_id not in self.sessions:          # else another connection with this client id was faster
            session = self.restore(client_id, fields)
            if session is not None:
                self.catch_up(session, missed)
                self.heirs.adopted(session, former, since)
        return self.sessions.get(client_id)

    async def claim(self, client_id: str) -> tuple[str, dict]:
        """(the server that is gone and had it, or "", its fields)."""
        dead = ""
        while True:
            done, found = await self.run(scripts.CLAIM, (self.root + client_id, self.homes), (
                self.me, client_id, self.members, repr(self.storage.now()), dead))
            if done:
                fields = records.read(found)
                home = fields.get("h", b"").decode()
                return home if home != self.me else "", fields
            home = found.decode()
            dead = "" if await self.gives_up(home, client_id) else home

    async def gives_up(self, home: str, client_id: str) -> bool:
        """False: it does not answer."""
        if self.silent.get(home, 0.0) > self.desk.now():
            return False
        self.desk.send(home, {"type": "mqtt.yield", "client_id": client_id, "home": self.me})
        if await self.desk.wait((home, client_id), ANSWER):
            return True
        if self.heirs.heard.get(home, 0.0) > self.desk.now() - ANSWER:
            return True             # it lives, but has thousands to give up
        self.silent[home] = self.desk.now() + SILENT
        return False

    def restore(self, client_id: str, fields: dict) -> Session | None:
        if "m" not in fields:
            return None
        try:
            opened = {field: self.storage.unseal(data) for field, data in fields.items() if field[0] in "mwsqf"}
            opened |= {field: b"" for field in fields if field[0] == "r"}
            session = records.restored(self.broker, client_id, opened)
        except (ValueError, TypeError, KeyError) as error:
            self.desk.log(f"a session that can't be read: {error}")
            return None
        self.sessions[client_id] = session
        for filter, wanted in (session.subscriptions or {}).items():
            self.broker.place(session, filter, wanted)
        return session

    def catch_up(self, session: Session, missed: list) -> None:
        """Some of it its former home has queued."""
        known = session.ids()
        for message in missed:
            if message.id is None or message.id not in known:
                self.broker.spread(message, {session})

    @property
    def listening(self) -> bool:
        return bool(self.arriving or self.heirs.orphans)

    def heard(self, message: Message) -> None:
        for missed in self.arriving.values():
            missed.append(message)
        self.heirs.note(message)

    # Sessions change

    def keep(self, session: Session) -> None:
        super().keep(session)
        self.note(session, "m", True)
        self.note(session, "w", True)

    def note(self, session: Session, field: str, value) -> None:
        if self.sessions.get(session.client_id) is not session or not session.expiry and field not in ALWAYS:
            return
        changes = self.dirty.setdefault(session, {})
        if len(changes) < CHANGES and WHOLE not in changes:
            changes[field] = value
        else:
            self.dirty[session] = {WHOLE: True}
        self.soon(0.0)

    def flush(self) -> None:
        self.cancel, self.round = None, self.round + 1
        dirty, self.dirty = self.dirty, {}
        for session, changes in dirty.items():
            self.begin(self.put(session, changes))
        self.flush_retained()

    async def put(self, session: Session, changes: dict) -> None:
        """All its calls go out before the next change does."""
        calls = [self.call(*call) for call in self.calls(session, changes)]
        results = [await call for call in calls]
        if self.sessions.get(session.client_id) is not session:
            return
        if None in results:
            newer = self.dirty.get(session, {})
            self.dirty[session] = {WHOLE: True} if WHOLE in newer else {**changes, **newer}
            self.soon(AGAIN)
        elif 0 in results:
            self.lost(session)
        elif 2 in results and WHOLE not in changes:                 # Redis has lost it, or it is new
            self.write(session)

    def calls(self, session: Session, changes: dict):
        """The arguments of `run`, for each call; not more than MOST fields in one."""
        whole = WHOLE in changes
        if whole:
            changes = records.all_of(session)
        said = {field: records.pack(session, field, value) for field, value in changes.items() if value is not None}
        fields = [(field, self.storage.seal(data)) for field, data in said.items() if data is not None]
        gone = [field for field in changes if said.get(field) is None]
        here = session.client is not None
        fields.append(("t", "" if here else repr(self.storage.now() + session.expiry)))
        lasts = -1 if here else session.expiry + SPARE
        while fields or gone:
            some, fields, less, gone = fields[:MOST], fields[MOST:], gone[:MOST], gone[MOST:]
            yield scripts.PUT, (self.root + session.client_id,), (
                self.me, session.client_id, self.members, lasts, int(whole), len(some), *sum(some, ()), *less)
            whole = False

    def call(self, *call):
        """None where it failed."""
        try:
            return self.run(*call).addErrback(lambda failure: failure.trap(LayerDown) and None)
        except LayerDown:
            return DONE

    def write(self, session: Session) -> None:
        self.dirty[session] = {WHOLE: True}
        self.soon(0.0)

    def forget(self, session: Session) -> None:
        super().forget(session)
        self.dirty.pop(session, None)

    def drop(self, session: Session) -> None:
        if self.sessions.get(session.client_id) is session:
            self.desk.begin(self.end(scripts.DROP, session.client_id))

    async def end(self, script: str, client_id: str) -> None:
        try:
            await self.run(script, (self.root + client_id,), (self.me, client_id, self.members))
        except LayerDown:
            pass                    # it ends by its time; the next home of its client finds what is left

    # Sessions go

    def hear(self, event) -> None:
        """What another server says."""
        self.heirs.heard[event.home] = self.desk.now()
        self.silent.pop(event.home, None)
        if event.__class__ is Yield:
            self.desk.begin(self.give_up(event.client_id, event.home))
        elif event.__class__ is Inherited:
            self.heirs.orphans.pop(event.home, None)
        else:
            self.desk.wake((event.home, event.client_id))

    async def give_up(self, client_id: str, to: str) -> None:
        self.broker.sweep()
        session = self.sessions.get(client_id)
        session = session and self.broker.supplant(session)
        if session is not None:
            changes = self.dirty.pop(session, {})
            self.desk.begin(self.put(session, changes or {"m": True}))
            self.broker.forget(session)
        await self.end(scripts.RELEASE, client_id)
        self.desk.send(to, {"type": "mqtt.yielded", "client_id": client_id, "home": self.me})

    def lost(self, session: Session) -> None:
        """It was taken while we were thought dead."""
        if self.sessions.get(session.client_id) is session:
            if session.client is not None:
                session.client.taken_over(False)
                session.detach()
            self.broker.forget(session)

    def late(self, message: Message, former: str) -> None:
        self.heirs.late(message, former)

    # Shared subscriptions

    def arbitrate(self, share, message: Message) -> None:
        self.begin(self.win(share, message))

    async def win(self, share, message: Message) -> None:
        """Answers come in order, and so do messages. Who has only absent sessions waits for others."""
        if not share.present:
            await self.desk.wait(object(), YIELDING)
        try:
            won = await self.run(scripts.WIN, (f"{self.shares}{share.name}:{message.id}",), (self.me, REMEMBERED))
        except LayerDown:
            won = True                  # twice rather than never
        if won:
            share.give(message)

    async def close(self) -> None:
        """All connections are over: what they left is written, and somebody else may have it."""
        self.heirs.close()
        if self.cancel is not None:
            self.cancel()
            self.flush()
        try:
            await self.run(scripts.RETIRE, (self.homes,), (self.me,))
        except LayerDown:
            pass                        # then they are inherited when our time is up

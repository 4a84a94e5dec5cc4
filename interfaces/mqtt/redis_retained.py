"""Retained messages in the layer's Redis. Every server has and writes all of them, since each hears of all. Pure."""
from interfaces.contract import LayerDown
from interfaces.mqtt import records, scripts
from interfaces.mqtt.delivery import Message
from interfaces.mqtt.state import Session
from interfaces.mqtt.store import Memory

AGAIN = 1.0             # seconds until what Redis did not take is written again; a guess
WRITTEN = "written"     # what desk.wait waits for
MOST = 500              # fields in one call: some 0.5 ms of the server; a guess


class RetainedInRedis(Memory):
    """What changes is written in the turn in which it does: `flush`, which redis.Redis has."""
    lasting = True

    def __init__(self, broker, desk):
        super().__init__()
        self.broker, self.desk, self.storage, self.me = broker, desk, desk.storage, desk.channel
        self.retained = f"{self.storage.prefix}:mqtt:retained"
        self.topics: dict[str, Message | None] = {}     # what has changed; None: it is no more
        self.ready = False                              # all that was kept has been read
        self.cancel = None                              # of the timer for `flush`
        self.dirty: dict[Session, dict] = {}            # of sessions: {field: value}; None: it is no more
        self.round, self.writing = 0, {}                # how often it was flushed; {round: how much of it is not answered for}

    def run(self, script: str, keys: tuple, args: tuple):
        return self.storage.run(script, keys, args)

    def soon(self, seconds: float) -> None:
        if self.cancel is None:
            self.cancel = self.desk.later(seconds, self.flush)

    def begin(self, work) -> None:
        """`work` is waited for by `settled`."""
        self.writing[self.round] = self.writing.get(self.round, 0) + 1
        self.desk.begin(self.counted(self.round, work))

    async def counted(self, number: int, work) -> None:
        try:
            await work
        finally:
            self.writing[number] -= 1
            if not self.writing[number]:
                del self.writing[number]
                self.desk.wake(WRITTEN)

    async def settled(self) -> None:
        """Twice: what is decided with Redis (a shared subscription) is then written."""
        for _ in range(2):
            last = self.round + bool(self.dirty or self.topics)
            while (self.dirty or self.topics) and self.round < last or any(number <= last for number in self.writing):
                await self.desk.wait(WRITTEN, AGAIN)

    async def load(self) -> None:
        cursor = b"0"
        while not self.ready:
            try:
                cursor, found = await self.run(scripts.RETAINED, (self.retained,), (cursor,))
            except LayerDown:
                await self.desk.wait(object(), AGAIN)
                continue
            for topic, data in records.pairs(found):
                self.load_one(topic, data)
            self.ready = cursor == b"0"
        self.desk.wake(self)

    def load_one(self, topic: str, data: bytes) -> None:
        try:
            message = records.unpack_message(self.storage.unseal(data))
        except (ValueError, TypeError) as error:
            self.desk.log(f"a retained message that can't be read: {error}")
            return
        if topic not in self.messages.values and topic == message.topic and not self.crowded(message, self.broker.options):
            super().retain(message)

    def retain(self, message: Message) -> None:
        super().retain(message)
        self.topics[message.topic] = message
        self.soon(0.0)

    def release(self, topic: str) -> None:
        if topic in self.messages.values:
            super().release(topic)
        self.topics[topic] = None
        self.soon(0.0)

    def flush_retained(self) -> None:
        topics, self.topics = self.topics, {}
        if topics:
            self.begin(self.put_retained(topics))

    async def put_retained(self, topics: dict) -> None:
        changes = list(topics.items())
        try:
            for start in range(0, len(changes), MOST):
                said = [(topic, b"" if message is None else self.storage.seal(records.pack_message(message)))
                        for topic, message in changes[start:start + MOST]]
                await self.run(scripts.RETAIN, (self.retained,), sum(said, ()))
        except LayerDown:
            self.topics = {**topics, **self.topics}
            self.soon(AGAIN)

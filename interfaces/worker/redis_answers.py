"""What a worker says to interface servers: to each in order, many messages in one call, one call at a time."""
import asyncio
import logging
from collections import deque

from hiredis import ReplyError

from interfaces.worker.home import PATIENCE
from interfaces.worker.redis_connection import ConnectionLost

logger = logging.getLogger("interfaces.worker")
CALL = 200                   # messages of one call, a guess: Redis runs them in a millisecond, and nothing else meanwhile
CALL_BYTES = 1024 * 1024     # of one call, a guess: half a largest message
LATE = 10_000                # messages held while there is no Redis, a guess; credit bounds what each connection has out
RETRY = 0.02                 # seconds until a server that held all it may is tried again, a guess


class Answers:
    """For one server, by the key where it reads. Only one call is out at a time: a later one could find room where an earlier
    one found none, and overtake it. It is gone when nothing is left to say."""

    def __init__(self, home, shard, key: str):
        self.home, self.shard, self.key = home, shard, key
        self.waiting: deque[tuple[float, str, bytes]] = deque()     # until when it is worth trying, channel, body
        self.out: asyncio.Future | None = None
        self.due = False                                 # `send` will be called

    def put(self, channel: str, body: bytes) -> None:
        if len(self.waiting) >= LATE and self.shard.commands is None:
            self.waiting.popleft()
        self.waiting.append((self.home.loop.time() + PATIENCE, channel, body))
        self.soon()

    def soon(self) -> None:
        if not self.due and self.out is None:
            self.due = True
            self.home.loop.call_soon(self.send)

    def send(self) -> None:
        """As much as fits into one call. While there is no Redis all waits."""
        self.due, waiting, connection = False, self.waiting, self.shard.commands
        if self.out is not None or connection is None:
            return
        now, taken, size = self.home.loop.time(), [], 0
        while waiting and len(taken) < CALL and (not taken or size + len(waiting[0][2]) <= CALL_BYTES):
            entry = waiting.popleft()
            if entry[0] > now:
                taken.append(entry)
                size += len(entry[2])
            else:
                self.home.layer.unsent(entry[1], "there was no Redis, or no room, for too long")
        if not taken:
            return self.rest()
        form = self.home.layer.format
        self.call(connection, form.send_all([(channel, body) for _, channel, body in taken], self.shard.clock.now()), taken)

    def call(self, connection, call, taken: list, whole: bool = False) -> None:
        """`whole`: with the script's text."""
        self.out = connection.execute(*(call.eval() if whole else call.evalsha()))
        self.out.add_done_callback(lambda future: self.sent(future, connection, call, taken))

    def sent(self, future: asyncio.Future, connection, call, taken: list) -> None:
        self.out = None
        if future.cancelled() or isinstance(future.exception(), ConnectionLost):
            return self.rest()                           # they may have arrived: nothing is said twice
        reply = future.result()
        if isinstance(reply, ReplyError):
            if str(reply).startswith("NOSCRIPT"):
                return self.call(connection, call, taken, whole=True)
            if self.shard.judge(connection, reply):      # it was refused by a server that is none for us now
                self.waiting.extendleft(reversed(taken))
                return
            for _, channel, _ in taken:
                self.home.layer.unsent(channel, str(reply))
            return self.rest()
        skipped = self.home.layer.format.sent(reply).skipped
        if skipped:
            self.waiting.extendleft(reversed(taken[-skipped:]))
            self.due = True
            self.home.loop.call_later(RETRY, self.send)
            return
        self.rest()

    def rest(self) -> None:
        """What comes next, if there is anything."""
        if self.waiting:
            self.soon()
        elif self.home.answers.get(self.key) is self:
            del self.home.answers[self.key]

"""Who still reads from a Redis server. Where a process is killed, the kernel closes its connections, and Redis knows that
at once; pings need half a minute to tell it from one that is busy. So workers say the number of the connection on which
they read (CLIENT ID), and one that is closed raises a doubt (decision 20)."""
from collections.abc import Callable

from twisted.logger import Logger

from interfaces.contract import LayerDown
from interfaces.layers.redis_client import Refused

LOOK = 1.0                      # seconds; decision 20
log = Logger(namespace="interfaces.layers")


class Readers:
    """Of one shard. `doubt(process)`: its connection is closed; it may have a new one."""

    def __init__(self, reactor, shard, doubt: Callable[[str], None]):
        self.reactor, self.shard, self.doubt = reactor, shard, doubt
        self.numbers: dict[str, int] = {}
        self.looking = None
        self.blind = False

    def watch(self, process: str, number) -> None:
        if number.__class__ is int and number > 0 and not self.blind:
            self.numbers[process] = number
            self.look_later()

    def look_later(self) -> None:
        if self.looking is None and self.numbers:
            self.looking = self.reactor.callLater(LOOK, self.look)

    def look(self) -> None:
        self.looking, connection = None, self.shard.client.connection
        if connection is not None and self.numbers:
            asked = dict(self.numbers)
            answer = connection.execute_command("CLIENT", "LIST", "ID", *asked.values())
            answer.addCallbacks(self.looked, self.failed, callbackArgs=(asked,))

    def looked(self, lines: bytes, asked: dict[str, int]) -> None:
        there = {line.split(b" ", 1)[0] for line in lines.splitlines()}
        for process, number in asked.items():
            if b"id=%d" % number not in there and self.numbers.get(process) == number:
                del self.numbers[process]
                self.doubt(process)
        self.look_later()

    def failed(self, failure) -> None:
        if failure.check(Refused):
            self.blind = True
            log.info("Redis {place} does not say who reads ({error}): only pings tell of a worker that was killed",
                     place=self.shard.place, error=failure.value)
        failure.trap(LayerDown)
        self.forget()

    def forget(self) -> None:
        """What we know may be of another Redis: a number means something while the connection stands."""
        self.numbers.clear()
        if self.looking is not None:
            self.looking.cancel()
            self.looking = None

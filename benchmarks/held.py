"""Open thousands of long-polls, see what they cost, answer them all by one group send. Standard library only.

    python benchmarks/held.py [--layer redis] [--connections 10000] [--rounds 3]

On Redis it also counts what Redis was asked for that one group send.
"""
import argparse
import resource
import select
import socket
import sys
import time
from dataclasses import dataclass

import on_redis
from processes import Failed, House

HELLO, HOLD, ANSWER, MARKED = (b"GET /%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path
                               for path in (b"hello", b"held", b"answer", b"marked"))
HELD = 10_000           # the project's requirement
OPTIONS = ("--http-timeout", "3600", "--http-max-connections", "0", "--http-max-per-address", "0")
BODY = b"Hello, channels! 20b"
GREETING = 256          # connections not answered yet: the server's backlog is 1024, and beyond it SYNs are lost for seconds
PORTS = 20_000          # of one source address: below Linux's 28,232 ephemeral ports and the server's --http-max-per-address
IP_BIND_ADDRESS_NO_PORT = 24        # linux/in.h; in Python's socket module from 3.12
SPARE = 200             # descriptors for everything else
WARM = 20               # held once before memory is measured, so that a serving process is what it is compared with
PATIENCE = 60.0         # seconds for all to connect, or to be answered


class Clients:
    """Many connections of one process. Each first asks for what is answered at once, because only then it is sure that the
    server has accepted it; then it asks for what is held."""

    def __init__(self, port: int):
        self.port, self.epoll = port, select.epoll()
        self.waiting: dict[int, socket.socket] = {}         # to connect, or for an answer
        self.answered: list[socket.socket] = []
        self.heard: dict[int, bytes] = {}

    def hold(self, count: int):
        """Open `count` and leave a request held on each."""
        begun, greeting, end = 0, set(), time.monotonic() + PATIENCE
        while begun < count or greeting:
            while begun < count and len(greeting) < GREETING:
                greeting.add(self.connect(begun))
                begun += 1
            for number, events in self.poll(end):
                if events & select.EPOLLOUT:
                    self.epoll.modify(number, select.EPOLLIN)
                    self.waiting[number].send(HELLO)        # so few bytes always fit into an empty buffer
                elif self.read(number):
                    self.waiting[number].send(HOLD)
                    greeting.discard(number)

    def connect(self, index: int) -> int:
        sock = socket.socket()
        sock.setblocking(False)
        # The kernel then chooses the port at connect, where one may be used towards several servers. bind would search for
        # one that nobody uses at all: half a minute in the second round, when those of the first are in TIME_WAIT.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + index // PORTS}", 0))
        sock.connect_ex(("127.0.0.1", self.port))
        self.waiting[sock.fileno()] = sock
        self.epoll.register(sock, select.EPOLLOUT)
        return sock.fileno()

    def poll(self, end: float) -> list[tuple[int, int]]:
        found = self.epoll.poll(max(end - time.monotonic(), 0.0), 1024)
        if not found:
            raise Failed(f"{len(self.waiting)} connections still wait after {PATIENCE:g} s")
        if any(events & (select.EPOLLERR | select.EPOLLHUP) for _, events in found):
            raise Failed("a connection was refused or ended")
        return found

    def hear(self):
        """Until every one has its answer."""
        end = time.monotonic() + PATIENCE
        while self.waiting:
            for number, _ in self.poll(end):
                if self.read(number):
                    self.epoll.unregister(number)
                    self.answered.append(self.waiting.pop(number))

    def read(self, number: int) -> bool:
        """Is the answer complete?"""
        data = self.waiting[number].recv(4096)
        said = self.heard.pop(number, b"") + data
        if not data or not said.startswith(b"HTTP/1.1 200 "[:len(said)]):
            raise Failed(f"an answer that is none: {said[:200]!r}")
        if said.endswith(BODY):
            return True
        self.heard[number] = said
        return False

    def close(self):
        for sock in (*self.waiting.values(), *self.answered):
            sock.close()
        self.epoll.close()


def settled(house: House) -> dict[str, int]:
    """Memory once the processes have nothing to do: what was just asked is then taken in."""
    used = house.cpu()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(0.3)
        before, used = used, house.cpu()
        if sum(used.values()) - sum(before.values()) < 0.02:
            return house.memory()
    raise Failed(f"the servers are still busy after {PATIENCE:g} s")


def answer_all(port: int, clients: Clients, question: bytes = ANSWER) -> float:
    """Seconds from asking for the group send until the last answer."""
    with socket.create_connection(("127.0.0.1", port)) as asker:
        began = time.monotonic()
        asker.sendall(question)
        clients.hear()
        took = time.monotonic() - began
        asker.settimeout(PATIENCE)
        if not asker.recv(4096).startswith(b"HTTP/1.1 200 "):       # it is sent when the group send is over
            raise Failed("who asked for the group send was not answered")
        return took


@dataclass(frozen=True)
class Once:
    memory: dict[str, float]            # bytes per connection, by process
    opened: float                       # seconds
    took: float                         # seconds until all were answered
    asked: list[str]                    # commands that the group send gave to Redis: round trips, unless some went together
    server: list[str]                   # what the server asked Redis meanwhile


def once(connections: int, layer: str = "local") -> Once:
    with House() as house:
        redis = None
        if layer == "redis":
            redis = on_redis.interfaces(house, "held", 1, *OPTIONS)
        else:
            house.interfaces("held", 1, *OPTIONS)
        warm = Clients(house.port)
        warm.hold(WARM)
        settled(house)
        answer_all(house.port, warm)
        warm.close()
        before, clients, began = settled(house), Clients(house.port), time.monotonic()
        try:
            clients.hold(connections)
            opened = time.monotonic() - began
            after = settled(house)
            took, asked, server = watched(house.port, clients, redis) if redis else (answer_all(house.port, clients), [], [])
        finally:
            clients.close()
    return Once({label: (after[label] - before[label]) / connections for label in after}, opened, took, asked, server)


def watched(port: int, clients: Clients, redis: on_redis.RedisServer) -> tuple[float, list[str], list[str]]:
    """answer_all, and what Redis was asked: by the group send itself, and by the server from then on."""
    with on_redis.Monitor(redis) as monitor:
        took = answer_all(port, clients, MARKED)
        told = monitor.told()
    return took, on_redis.between(told, b"mark.first", b"mark.last"), on_redis.from_server(redis, told, b"mark.first")


def table(connections: int, rounds: int, layer: str):
    """The lines of a Markdown table, one as soon as each round is over. Raises Failed."""
    redis = layer == "redis"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield ("| held | KiB each, server | KiB each, worker | opened in s | all answered in s |"
           + (" KiB each, Redis | round trips of the group send, at most | of the server, to take it |" if redis else ""))
    yield "|---|---|---|---|---|" + ("---|---|---|" if redis else "")
    for _ in range(rounds):
        found = once(connections, layer)
        size = {label: f"{each / 1024:.2f}" for label, each in found.memory.items()}
        more = f" {size['redis']} | {named(found.asked)} | {named(found.server)} |" if redis else ""
        yield f"| {connections:,} | {size['server']} | {size['worker']} | {found.opened:.2f} | {found.took:.2f} |{more}"


def named(commands: list[str]) -> str:
    return f"{len(commands)} ({', '.join(commands)})" if commands else "0"


def too_many(connections: int) -> str:
    """A sentence, where so many descriptors aren't allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < connections + SPARE:
        return f"{connections} connections need as many descriptors, and ulimit -Hn is {hard}"
    return ""


def main() -> int:
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--layer", choices=("local", "redis"), default="local")
    found.add_argument("--connections", type=int, default=HELD)
    found.add_argument("--rounds", type=int, default=3)
    arguments = found.parse_args()
    if lacking := too_many(arguments.connections) or (on_redis.missing() if arguments.layer == "redis" else ""):
        print(lacking, file=sys.stderr)
        return 2
    try:
        for line in table(arguments.connections, arguments.rounds, arguments.layer):
            print(line, flush=True)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

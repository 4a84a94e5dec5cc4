"""Thousands of MQTT devices of one process, and what they say and hear. MQTT 3.1.1, which every broker speaks. Standard library
only.

A message costs this process next to nothing, so that it isn't what is measured: what is said, and what must come back, are the
same bytes over and over, made once, written and compared many messages at a time."""
import select
import socket
import time
from collections import deque

from processes import Failed

IN_FLIGHT = 40          # CONNECTs at once where the rate is measured: clients.py
PORTS = 20_000          # of one source address: below Linux's 28,232 ephemeral ports
IP_BIND_ADDRESS_NO_PORT = 24        # linux/in.h; in Python's socket module from 3.12. held.py says what it is good for
PATIENCE = 120.0        # seconds for all to connect, or to hear something
AGAIN = 1.0             # seconds after which who was refused comes again; paho's first delay
READ = 65536            # bytes
KEEP_ALIVE = 3600       # seconds: who is idle is silent
PINGREQ, PINGRESP = b"\xc0\0", b"\xd0\0"
CONNACK = b"\x20\x02"   # then whether a session was there, and the return code
PERIOD = 256            # turns after which the bytes of a Talk repeat; a power of two, and above what is ever out
COUNT = b"count"        # site/devices.py


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def packet(first: int, body: bytes) -> bytes:
    length, size = len(body), bytearray((first,))
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes(size) + bytes((length,)) + body


def connect(name: bytes, clean: bool, password: bytes | None) -> bytes:
    flags, user = 2 * clean, b""
    if password is not None:
        flags, user = flags | 0xC0, text(b"device") + text(password)
    return packet(0x10, text(b"MQTT") + bytes((4, flags)) + KEEP_ALIVE.to_bytes(2, "big") + text(name) + user)


def publish(topic: bytes, payload: bytes, number: int = 0) -> bytes:
    """With QoS 1 where it has a `number`."""
    return packet(0x32 if number else 0x30, text(topic) + (number.to_bytes(2, "big") if number else b"") + payload)


class Fleet:
    """`all`: the open connections, by descriptor. `refused`: CONNECTs that were not answered well; `found`: sessions that the
    broker had kept; `taken`: seconds from the first CONNECT on, by device."""

    def __init__(self, port: int, password: bytes | None = None, clean: bool = True, address: int = 2):
        self.port, self.password, self.clean, self.address = port, password, clean, address
        self.epoll, self.all = select.epoll(), {}
        self.asked: dict[int, tuple[int, socket.socket]] = {}       # by descriptor: which device it is
        self.later: deque[tuple[float, int]] = deque()              # when it comes again, which one
        self.refused = self.found = 0
        self.taken: list[float] = []

    def open(self, count: int, at_once: int = IN_FLIGHT, again: bool = False):
        """`count` more. `again`: who is refused comes once more. Raises Failed."""
        began, first = time.monotonic(), len(self.all)
        waiting = deque(range(first, first + count))
        while len(self.all) < first + count:
            now = time.monotonic()
            if now > began + PATIENCE:
                raise Failed(f"{len(self.all) - first} of {count} devices are connected after {PATIENCE:g} s")
            while self.later and self.later[0][0] <= now:
                waiting.append(self.later.popleft()[1])
            while waiting and len(self.asked) < at_once:
                self.begin(waiting.popleft())
            for number, events in self.epoll.poll(0.1, 1024):
                self.step(number, events, began, again)

    def begin(self, device: int):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((f"127.0.0.{self.address + device // PORTS}", 0))
        sock.connect_ex(("127.0.0.1", self.port))
        self.asked[sock.fileno()] = device, sock
        self.epoll.register(sock, select.EPOLLOUT)

    def step(self, number: int, events: int, began: float, again: bool):
        device, sock = self.asked[number]
        try:
            if events & select.EPOLLOUT and not events & select.EPOLLERR:
                sock.send(connect(b"device-%d" % device, self.clean, self.password))       # so little always fits
                return self.epoll.modify(number, select.EPOLLIN)
            said = sock.recv(4)         # a CONNACK comes whole: it is the first that is sent
        except OSError as error:
            said = str(error).encode()
        del self.asked[number]
        if said[:2] == CONNACK and said[3:] == b"\0":
            self.all[number] = sock
            self.found += said[2]
            return self.taken.append(time.monotonic() - began)
        self.epoll.unregister(number)
        sock.close()
        if not again:
            raise Failed(f"a CONNECT was answered {said!r}")
        self.refused += 1
        self.later.append((time.monotonic() + AGAIN, device))

    def subscribe(self, topic: bytes, numbers: list[int]):
        """Each of these, with QoS 0."""
        for number in numbers:
            self.all[number].send(packet(0x82, b"\0\1" + text(topic) + b"\0"))
        self.hear(b"\x90\x03\0\1\0", numbers)

    def hear(self, said: bytes, numbers):
        """Until each of these has heard this, once, and nobody anything else. Raises Failed."""
        missing, end, poll, every = set(numbers), time.monotonic() + PATIENCE, self.epoll.poll, self.all
        while missing:
            for number, _ in poll(1.0, 1024):
                data = every[number].recv(READ)
                while 0 < len(data) < len(said) and (more := later(every[number])):
                    data += more
                if data != said or number not in missing:
                    raise Failed(f"{said!r} was to be heard once, not {data[:200]!r}")
                missing.discard(number)
            if missing and time.monotonic() > end:
                raise Failed(f"{len(missing)} devices heard nothing for {PATIENCE:g} s")

    def silent(self):
        """Raises Failed where somebody has heard something, or was ended."""
        if heard := self.epoll.poll(0):
            raise Failed(f"{len(heard)} devices were not left alone, one by {self.all[heard[0][0]].recv(READ)!r}")

    def tell(self, said: bytes) -> float:
        """Seconds until everybody but the first has heard what the first says."""
        first, *others = self.all
        began = time.monotonic()
        self.all[first].send(said)
        self.hear(said, others)
        return time.monotonic() - began

    def counted(self, number: int) -> int:
        """How much the worker has heard of all devices."""
        sock = self.all[number]
        sock.send(publish(COUNT, b""))
        said = sock.recv(READ) if select.select([sock], [], [], PATIENCE)[0] else b""
        head = packet(0x30, text(COUNT))
        if said[:1] != b"\x30" or said[2:len(head)] != head[2:]:
            raise Failed(f"the count was told so: {said!r}")
        return int(said[len(head):])

    def close(self):
        for sock in (*self.all.values(), *(sock for _, sock in self.asked.values())):
            sock.close()
        self.epoll.close()
        self.all.clear()


def later(sock: socket.socket) -> bytes:
    """What comes next, soon."""
    return sock.recv(READ) if select.select([sock], [], [], 1.0)[0] else b""


class Turns:
    """What devices say and must hear, over and over: `said` and `heard` have PERIOD turns twice, so that any few in a row are
    one piece. `worth`: messages of a turn."""

    def __init__(self, said: list[bytes], heard: list[bytes], worth: int):
        self.width, self.each, self.worth = len(said[0]), len(heard[0]), worth
        self.said, self.heard = (b"".join(each * (PERIOD // len(each))) * 2 for each in (said, heard))


def news(topic: bytes, length: int, many: int) -> Turns:
    """QoS 0: `many`, and a PINGREQ, whose answer says that the broker has read them."""
    return Turns([publish(topic, b"n" * length) * many + PINGREQ], [PINGRESP], many)


def asked(topic: bytes, length: int) -> Turns:
    """QoS 1, each to be acknowledged, in order [MQTT-4.6.0-2]."""
    numbers = range(1, PERIOD + 1)
    return Turns([publish(topic, b"q" * length, number) for number in numbers],
                 [b"\x40\x02" + number.to_bytes(2, "big") for number in numbers], 1)


def relayed(topic: bytes, length: int, many: int) -> Turns:
    """QoS 0, to be heard by another device."""
    turn = publish(topic, b"r" * length) * many
    return Turns([turn], [turn], many)


class Talk:
    """One device says its turns, `out` of them at a time, and the next when it is heard of them, where `ear` hears."""

    def __init__(self, mouth: socket.socket, ear: socket.socket, turns: Turns, out: int):
        self.mouth, self.ear, self.turns, self.out = mouth, ear, turns, out
        self.spoken = self.answered = self.bytes = 0
        self.since: deque[float] = deque()              # of each turn that is out
        self.times: list[float] = []                    # seconds, of each that was answered
        self.over = False

    def say(self, count: int, now: float):
        turns = self.turns
        at = self.spoken % PERIOD * turns.width
        said = turns.said[at:at + count * turns.width]
        if self.mouth.send(said) != len(said):          # there is room for hundreds of them
            raise Failed("the broker does not read")
        self.spoken += count
        self.since.extend((now,) * count)

    def hear(self):
        data, turns = self.ear.recv(READ), self.turns
        at = self.bytes % (PERIOD * turns.each)
        if not data or data != turns.heard[at:at + len(data)]:
            raise Failed(f"not what was to be heard: {data[:200]!r}")
        self.bytes += len(data)
        count, now = self.bytes // turns.each - self.answered, time.monotonic()
        self.answered += count
        for _ in range(count):
            self.times.append(now - self.since.popleft())
        if count and not self.over:
            self.say(count, now)


class Talks:
    """Of some devices of a fleet."""

    def __init__(self, fleet: Fleet, talks: list[Talk]):
        self.fleet, self.talks = fleet, {talk.ear.fileno(): talk for talk in talks}

    def begin(self):
        for talk in self.talks.values():
            talk.say(talk.out, time.monotonic())

    def go_on(self, seconds: float) -> tuple[int, list[float]]:
        """For so long. (messages that were answered, seconds of each turn)"""
        for talk in self.talks.values():
            talk.times = []
        poll, talks, end = self.fleet.epoll.poll, self.talks, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _ in poll(left, 1024):
                talks[number].hear()
        return sum(len(talk.times) * talk.turns.worth for talk in talks.values()), [
            each for talk in talks.values() for each in talk.times]

    def end(self) -> int:
        """When all is answered that was said. Messages, all in all. Raises Failed for a lost one."""
        for talk in self.talks.values():
            talk.over = True
        end = time.monotonic() + PATIENCE
        while any(talk.since for talk in self.talks.values()):
            if time.monotonic() > end:
                raise Failed(f"{sum(len(talk.since) for talk in self.talks.values())} turns were not answered")
            for number, _ in self.fleet.epoll.poll(0.1, 1024):
                self.talks[number].hear()
        return sum(talk.spoken * talk.turns.worth for talk in self.talks.values())

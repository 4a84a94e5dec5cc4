"""Thousands of WebSockets of one process, and what it hears on them. Standard library only."""
import select
import socket
import time
from collections.abc import Iterator

from processes import Failed

HELLO = (b"GET /sockets HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nUser-Agent: benchmarks/clients.py\r\n"
         b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="          # by that key: RFC 6455 1.3
IN_FLIGHT = 40          # handshakes at once: below Twisted's default backlog of 50, above which a SYN is lost for a second
PORTS = 20_000          # of one source address: below Linux's 28,232 ephemeral ports
IP_BIND_ADDRESS_NO_PORT = 24        # linux/in.h; in Python's socket module from 3.12. held.py says what it is good for
PATIENCE = 60.0         # seconds for all to connect, or to hear something
TEXT, CLOSE = 1, 8      # RFC 6455 5.2
SHORT = 125             # bytes of a frame whose length is in its second byte: there are only such here
READ = 65536            # bytes; a socket that is read once in a while has some hundred waiting
MASK = b"\0\0\0\0"      # RFC 6455 5.3 wants one that nobody can guess, against proxies. The server unmasks with any


class Sockets:
    """`all`: the open ones, by descriptor."""

    def __init__(self, port: int):
        self.port, self.epoll = port, select.epoll()
        self.all: dict[int, socket.socket] = {}
        self.rest: dict[int, bytes] = {}                    # what was read and is no whole frame yet, or not asked for yet

    def open(self, count: int):
        """`count` more."""
        asked, end = set(), time.monotonic() + PATIENCE
        for left in range(count, -1, -1):
            while asked and (not left or len(asked) >= IN_FLIGHT):
                self.greet(asked, end)
            if left:
                asked.add(self.connect())

    def connect(self) -> int:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + len(self.all) // PORTS}", 0))
        sock.connect(("127.0.0.1", self.port))              # at once, while the server's backlog has room
        sock.setblocking(False)
        sock.send(HELLO)
        self.all[sock.fileno()] = sock
        self.epoll.register(sock, select.EPOLLIN)
        return sock.fileno()

    def greet(self, asked: set[int], end: float):
        """Read what has come; those whose handshake is over are `asked` no more."""
        for number in self.ready(end):
            said = self.rest.pop(number, b"") + self.all[number].recv(READ)
            if number in asked:
                head, blank, said = said.partition(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101 "[:len(head) or 1]) or blank and ACCEPTED not in head:
                    raise Failed(f"a handshake was answered {head[:200]!r}")
                if blank:
                    asked.discard(number)
                else:
                    said = head
            if said:
                self.rest[number] = said

    def ready(self, end: float) -> list[int]:
        """Those that have something to read, at the latest at `end`. Raises Failed."""
        found = self.epoll.poll(max(end - time.monotonic(), 0.0), 1024)
        if not found:
            raise Failed(f"nothing came for {PATIENCE:g} s")
        return [number for number, _ in found]

    def frames(self, timeout: float) -> Iterator[tuple[int, int, bytes]]:
        """(descriptor, opcode, payload) of what has come. A socket that ended has a CLOSE, and is no more among `all`."""
        for number, _ in self.epoll.poll(timeout, 1024):
            try:
                said = self.all[number].recv(READ)
            except ConnectionError:
                said = b""
            if not said:
                yield self.drop(number)
                continue
            if number in self.rest:
                said = self.rest.pop(number) + said
            while len(said) > 1 and len(said) >= (end := 2 + said[1]):
                if said[1] > SHORT:
                    raise Failed(f"a frame that is longer than any that was asked for: {said[:20]!r}")
                yield number, said[0] & 15, said[2:end]
                if said[0] & 15 == CLOSE:
                    self.drop(number)
                    said = b""
                    break
                said = said[end:]
            if said:
                self.rest[number] = said

    def drop(self, number: int) -> tuple[int, int, bytes]:
        self.epoll.unregister(number)
        self.all.pop(number).close()
        return number, CLOSE, b""

    def say(self, number: int, text: bytes):
        if len(text) > SHORT:
            raise ValueError("only short texts are said here")
        frame = b"\x81%c%b%b" % (0x80 | len(text), MASK, text)
        if self.all[number].send(frame) != len(frame):      # there is room for hundreds of them
            raise Failed("the server does not read")

    def hear(self, text: bytes):
        """Until everyone has heard this, once, and nothing else."""
        missing, end = set(self.all), time.monotonic() + PATIENCE
        while missing:
            for number, kind, said in self.frames(max(end - time.monotonic(), 0.0)):
                if said != text or kind != TEXT or number not in missing:
                    raise Failed(f"{text!r} was to be heard once, not {said!r} (opcode {kind})")
                missing.discard(number)
            if missing and time.monotonic() > end:
                raise Failed(f"{len(missing)} sockets heard nothing for {PATIENCE:g} s")

    def close(self):
        for sock in self.all.values():
            sock.close()
        self.epoll.close()
        self.all.clear()

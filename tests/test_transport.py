"""What an idle socket takes is sent by `write` itself; the rest goes Twisted's way, in order."""
import socket
from pathlib import Path

import pytest
from twisted.internet import main, protocol, tcp, unix
from twisted.internet.testing import MemoryReactor

from interfaces.transport import TCPServer, UNIXServer, send_at_once


class Ends(protocol.Protocol):
    """Notes what it is told."""

    def __init__(self):
        self.lost = 0

    def connectionLost(self, reason=protocol.connectionDone):
        self.lost += 1


class Line:
    """A server's transport, and the client's end of its socket."""

    def __init__(self):
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.client.setblocking(False)
        self.reactor, self.protocol = MemoryReactor(), Ends()
        self.transport = UNIXServer(ours, self.protocol, "client", None, 1, self.reactor)
        self.protocol.makeConnection(self.transport)

    @property
    def waits(self) -> bool:
        """For the loop to say that it can be written to."""
        return self.transport in self.reactor.getWriters()

    def heard(self) -> bytes:
        found = b""
        while True:
            try:
                data = self.client.recv(1 << 20)
            except BlockingIOError:
                return found
            if not data:
                return found
            found += data

    def close(self):
        self.client.close()
        self.transport.socket.close()


@pytest.fixture
def line():
    line = Line()
    yield line
    line.close()


def test_a_small_answer_is_there_when_write_returns(line):
    line.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert line.heard() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert not line.waits


def test_what_the_kernel_does_not_take_follows_in_order(line):
    said = [bytes([65 + number]) * 300_000 for number in range(20)]
    for data in said:
        line.transport.write(data)
    assert line.waits
    heard = line.heard()
    assert 0 < len(heard) < 6_000_000
    while line.waits:
        assert line.transport.doWrite() is None
        heard += line.heard()
    assert heard == b"".join(said)


def test_it_sends_at_once_again_when_all_has_gone(line):
    line.transport.write(b"x" * 3_000_000)
    while line.waits:
        line.heard()
        line.transport.doWrite()
    line.heard()
    line.transport.write(b"again")
    assert line.heard() == b"again"


def test_a_producer_is_paused_where_something_stays_and_only_there(line):
    class Producer:
        paused = 0

        def pauseProducing(self):
            self.paused += 1

        def resumeProducing(self):
            self.paused -= 1

        stopProducing = pauseProducing

    producer = Producer()
    line.transport.registerProducer(producer, True)
    line.transport.write(b"small")
    assert producer.paused == 0
    line.transport.write(b"x" * 3_000_000)
    assert producer.paused == 1
    while line.waits:
        line.heard()
        line.transport.doWrite()
    assert producer.paused == 0


def test_a_lost_client_is_for_the_loop_to_see(line):
    line.client.close()
    line.transport.write(b"too late")
    assert line.protocol.lost == 0
    assert line.transport.doWrite() is main.CONNECTION_LOST


def test_a_close_after_a_write_loses_nothing(line):
    line.transport.write(b"goodbye")
    line.transport.loseConnection()
    assert line.transport.doWrite() is main.CONNECTION_DONE
    assert line.heard() == b"goodbye"


@pytest.mark.parametrize(("port", "kind"), [
    (tcp.Port(0, protocol.ServerFactory(), reactor=MemoryReactor()), TCPServer),
    (unix.Port(str(Path("unused")), protocol.ServerFactory(), reactor=MemoryReactor()), UNIXServer)])
def test_ports_of_both_kinds_get_it(port, kind):
    send_at_once(port)
    assert port.transport is kind


def test_a_port_of_a_strangers_kind_stays_as_it_is():
    stranger = object()
    send_at_once(stranger)

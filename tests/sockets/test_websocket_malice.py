"""Clients that mean no good, on real sockets: they end alone, and the server's memory stays where it was."""
import os
import shutil
import socket
import struct
import zlib

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.sockets.processes import House, until

MIB = 1024 * 1024
REQUEST = (b"GET /echo?%b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
FIN, RSV1, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x40, 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (make ci-deps)")
    house = House(tmp_path_factory.mktemp("malice"))
    house.server = house.twistd("--ws-compression", "--http-head-timeout", "1.5", "--ws-write-timeout", "1.5")
    house.first = house.sockets(house.server)
    yield house
    house.close()
    for program in house.programs:
        assert "Unhandled" not in program.text and "Traceback" not in program.text, program.text[-3000:]


def frame(first: int, data: bytes = b"", masked=True, size: int | None = None) -> bytes:
    """`first`: flags and opcode. The mask is 0: the data are as they are."""
    size, mask = len(data) if size is None else size, 0x80 * masked
    if size < 126:
        head = bytes((first, mask | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + bytes(4 * masked) + data


@pytest.fixture
def raw(house):
    """A socket whose handshake is done, for what no library would send."""
    socks = []

    def opens(name=b"", extra=b""):
        sock = house.connect()
        socks.append(sock)
        sock.sendall(REQUEST % name + extra + b"\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return sock
    yield opens
    for sock in socks:
        sock.close()


def rest(sock) -> bytes:
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def still_well(house):
    with connect(f"{house.ws}/echo", proxy=None) as client:
        client.send("well?")
        assert client.recv(5) == "well?"


def grown(house, since: int) -> float:
    """MiB, at most so far."""
    return (house.server.memory(peak=True) - since) / MIB


BAD = {
    "a reserved opcode": (1002, frame(FIN | 3)),
    "a reserved bit": (1002, frame(FIN | 0x20 | TEXT)),
    "no mask": (1002, frame(FIN | TEXT, b"bare", masked=False)),
    "nothing to continue": (1002, frame(FIN, b"more")),
    "begun twice": (1002, frame(TEXT, b"a") + frame(TEXT, b"b")),
    "a ping in fragments": (1002, frame(PING, b"a")),
    "a long ping": (1002, frame(FIN | PING, b"x" * 126)),
    "half a code": (1002, frame(FIN | CLOSE, b"x")),
    "a code that is never sent": (1002, frame(FIN | CLOSE, struct.pack("!H", 1005))),
    "a reason that is no text": (1007, frame(FIN | CLOSE, struct.pack("!H", 1000) + b"\xff")),
    "a surrogate": (1007, frame(FIN | TEXT, b"\xed\xa0\x80")),
    "half a character": (1007, frame(TEXT, b"\xce") + frame(FIN, b"\xff")),
    "a length of 62 bits": (1009, frame(FIN | BINARY, size=2 ** 62)),
    "a byte too many": (1009, frame(FIN | BINARY, size=MIB + 1)),
    "fragments without end": (1009, frame(TEXT, b"a") + frame(0, b"b") * 2000),
}


@pytest.mark.parametrize("name", BAD)
def test_frames_that_are_none_end_their_connection_and_no_other(house, raw, name):
    code, sent = BAD[name]
    sock = raw(b"bad")
    sock.sendall(sent)
    said = rest(sock)
    assert said[0] == FIN | CLOSE and struct.unpack("!H", said[2:4])[0] == code, said
    still_well(house)


def test_noise(house, raw):
    for _ in range(20):
        sock = raw(b"noise")
        sock.sendall(os.urandom(5000))
        sock.shutdown(socket.SHUT_WR)
        rest(sock)
    still_well(house)


def test_a_flood_of_pings_from_a_client_that_reads_nothing(house, raw):
    still_well(house)
    house.server.forget_peak()
    idle, sock = house.server.memory(), raw(b"pings")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(0.5)
    flood, sent = frame(FIN | PING, b"x" * 125) * 8000, 0           # 1 MiB
    with pytest.raises((TimeoutError, ConnectionError)):            # nobody takes it any more
        for _ in range(100):
            sent += sock.send(flood)
    assert sent < 50 * MIB and grown(house, idle) < 8
    still_well(house)


def test_a_flood_of_messages_to_a_client_that_reads_nothing(house, raw):
    """The echoes wait for the client: its consumer waits then, and its socket is read no further. After a while it is cut."""
    still_well(house)
    house.server.forget_peak()
    house.first.forget_peak()
    idle, worker, sock = house.server.memory(), house.first.memory(), raw(b"deaf")
    sock.settimeout(0.5)
    flood = frame(FIN | BINARY, b"x" * 60_000) * 16
    with pytest.raises((TimeoutError, ConnectionError)):
        for _ in range(100):
            sock.sendall(flood)
    still_well(house)
    assert grown(house, idle) < 16 and (house.first.memory(peak=True) - worker) / MIB < 16
    house.server.says("slow: the client does not read")
    until(lambda: any(line.endswith(" 1006 deaf") for line in house.noted), "its consumer hears of it")


def test_a_bomb_is_not_inflated(house, raw):
    still_well(house)
    house.server.forget_peak()
    idle = house.server.memory()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = b"".join(deflate.compress(bytes(MIB)) for _ in range(300)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < MIB
    for sent in (frame(FIN | RSV1 | BINARY, bomb[:-4]), frame(FIN | RSV1 | TEXT, bomb[:60_000])):
        sock = raw(b"bomb", DEFLATE)
        try:
            sock.sendall(sent)
        except ConnectionError:
            pass            # it did not want the rest
        assert struct.unpack("!H", rest(sock)[2:4])[0] == 1009
    assert grown(house, idle) < 8
    still_well(house)


def test_five_hundred_handshakes_that_stop_in_the_middle(house):
    still_well(house)
    house.server.forget_peak()
    idle, socks = house.server.memory(), []
    try:
        for _ in range(500):
            socks.append(house.connect())
            socks[-1].sendall(REQUEST % b"half")
        still_well(house)
        assert grown(house, idle) < 16
        answers = [rest(sock) for sock in socks]
    finally:
        for sock in socks:
            sock.close()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    still_well(house)


def test_a_storm_of_connects_without_a_worker(house):
    """Each gets its 503, and leaves nothing behind. The first one takes 2 s, until the server knows that nobody is there."""
    assert house.first.ends() == 0
    with pytest.raises(InvalidStatus) as refused, connect(f"{house.ws}/echo", proxy=None):
        pass
    assert refused.value.response.status_code == 503 and refused.value.response.headers["retry-after"]

    def storm(size):
        for _ in range(size):
            with house.connect() as sock:
                sock.sendall(REQUEST % b"storm" + b"\r\n")
                assert rest(sock).startswith(b"HTTP/1.1 503 ")
    storm(500)
    idle = house.server.memory()
    storm(1500)
    assert house.server.memory() - idle < MIB, "flat"
    noted = len(house.noted)
    house.first = house.sockets(house.server)
    still_well(house)
    assert not any("storm" in line for line in house.noted[noted:])

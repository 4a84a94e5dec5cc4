"""The hub's socket: its path, its mode, who may have it; and workers that break the rules, stall, or are killed."""
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from interfaces.contract import ChannelFull, Lost, Taken
from interfaces.layers import open_layer
from interfaces.layers import wire_local as wire
from interfaces.layers.conformance import run
from interfaces.layers.door import NO_FILES, Door, Place, Refused, Stream
from interfaces.layers.local import BOX, LocalLayer, Worker
from interfaces.layers.memory import MemoryLayer

REACTOR = EPollReactor()        # our own, turned by hand: no test waits longer than it must


@pytest.fixture
def folder():
    """A short path: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.fixture
def path(folder):
    return os.path.join(folder, "hub.sock")


@pytest.fixture
def layer(path):
    layer = LocalLayer(REACTOR, path)
    layer.listen()
    yield layer
    layer.close()
    turn(lambda: not layer.workers)


@pytest.fixture
def lines():
    """What is logged, as text."""
    found = []
    observer = lambda event: found.append(event["log_format"].format(**event))      # noqa: E731
    globalLogPublisher.addObserver(observer)
    yield found
    globalLogPublisher.removeObserver(observer)


def turn(until):
    """Turn the reactor until this is true."""
    for _ in range(2000):
        if until():
            return
        REACTOR.iterate(0.005)
    raise AssertionError("it never came")


class Peer:
    """A worker at the other end of a real socket."""

    def __init__(self, sock, process="specific.a"):
        self.sock, self.frames, self.heard = sock, wire.Frames(), []
        sock.setblocking(False)
        if process:
            self.say(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": process, "pid": os.getpid()}))
            self.expect(wire.WELCOME)

    @classmethod
    def at(cls, path, process="specific.a"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return cls(sock, process)

    def say(self, kind, name="", payload=b""):
        self.sock.sendall(wire.frame(kind, name, payload))

    def read(self):
        try:
            while data := self.sock.recv(65536):
                self.heard.extend(self.frames.feed(data))
        except BlockingIOError:
            return True
        except ConnectionResetError:
            pass
        return False

    def expect(self, kind):
        """The payload of the next frame, which is of this kind."""
        turn(lambda: self.heard or not self.read() or self.heard)
        heard, name, payload = self.heard.pop(0)
        assert heard == kind
        return payload

    def messages(self, count):
        return [wire.unpack(self.expect(wire.MESSAGE))["n"] for _ in range(count)]

    def is_cut_off(self):
        turn(lambda: not self.read())
        self.sock.close()


# The path


@pytest.fixture
def temporary(folder, monkeypatch):
    monkeypatch.delenv("CHANNELS_INTERFACES_SOCKET", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    return os.path.join(folder, f"channels-interfaces-{os.geteuid()}")


def mode_of(path):
    return os.lstat(path).st_mode & 0o7777


def test_the_default_socket_is_ours_alone(temporary):
    layer = open_layer("local:", REACTOR)
    before = os.umask(0)
    try:
        layer.listen()
    finally:
        assert os.umask(before) == 0
    assert mode_of(temporary) == 0o700
    assert mode_of(os.path.join(temporary, "default.sock")) == 0o600
    assert wire.distrust(wire.default_path()) is None
    layer.close()
    assert os.listdir(temporary) == ["default.sock.lock"]


def test_a_folder_that_others_can_enter_is_refused(temporary):
    os.mkdir(temporary, 0o755)
    with pytest.raises(Refused, match="has mode 0755, not 0700"):
        open_layer("local:", REACTOR).listen()


def test_a_link_instead_of_the_folder_is_refused(temporary, folder):
    os.mkdir(os.path.join(folder, "elsewhere"), 0o700)
    os.symlink(os.path.join(folder, "elsewhere"), temporary)
    with pytest.raises(Refused, match="is not a directory"):
        open_layer("local:", REACTOR).listen()


def test_a_folder_of_another_user_is_refused(temporary, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(Refused, match=f"belongs to user {owner}, not to {owner + 1}"):
        open_layer("local:", REACTOR).listen()


@pytest.mark.parametrize("looser", [{"mode": 0o660}, {"group": str(os.getgid())}])
def test_the_default_socket_is_never_for_others(temporary, looser):
    with pytest.raises(Refused, match="choose a path with --layer local:/path"):
        open_layer("local:", REACTOR, **looser).listen()


def test_a_chosen_socket_may_be_for_a_group(path):
    layer = open_layer(f"local:{path}", REACTOR, mode=0o660, group=str(os.getgid()))
    layer.listen()
    assert mode_of(path) == 0o660
    layer.close()


def test_the_socket_is_closed_to_others_from_its_first_moment(path, monkeypatch):
    monkeypatch.setattr(os, "chmod", lambda *arguments: None)       # as if nothing came after bind
    before = os.umask(0)
    place = Place(path, 0o666)
    place.take()
    os.umask(before)
    assert mode_of(path) == 0o600
    place.release()


@pytest.mark.parametrize(("spoil", "sentence"), [
    (lambda path: open(path, "w").close(), "is there already and is no socket"),
    (lambda path: os.mkdir(path), "is there already and is no socket"),
    (lambda path: os.rmdir(os.path.dirname(path)), "can't be made: No such file"),
    (lambda path: os.symlink("/etc/passwd", path), "is there already and is no socket"),
    (lambda path: os.symlink("/etc/passwd", path + ".lock"), "can't be made: Too many levels of symbolic links"),
])
def test_a_path_that_is_no_place_for_a_socket(path, spoil, sentence):
    os.mkdir(path + ".d")
    path = os.path.join(path + ".d", "hub.sock")
    spoil(path)
    with pytest.raises(Refused, match=sentence):
        LocalLayer(REACTOR, path).listen()
    assert sentence.startswith("can't") or os.path.lexists(path)


def test_a_path_longer_than_the_kernel_takes(folder):
    with pytest.raises(Refused, match="can't be made: AF_UNIX path too long"):
        LocalLayer(REACTOR, os.path.join(folder, "x" * 200)).listen()


def test_an_unknown_group(path):
    with pytest.raises(Refused, match="there is no group nobody.of.this.name"):
        LocalLayer(REACTOR, path, group="nobody.of.this.name").listen()
    assert not os.path.exists(path)


# One server per path


def test_a_second_server_is_refused_with_one_sentence(layer, path):
    with pytest.raises(Refused) as refused:
        LocalLayer(REACTOR, path).listen()
    assert str(refused.value) == (f"another interface server (pid {os.getpid()}) already has {path}: stop it, or "
                                  "choose another path with --layer local:/path/of/a.sock")
    Peer.at(path)


HOLD = """
import sys, time
from interfaces.layers.door import Place
Place(sys.argv[1]).take()
print("ready", flush=True)
sys.stdin.read()
"""


def child(script, *arguments):
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_socket_of_a_killed_server_is_taken_over(path):
    server = child(HOLD, path)
    with pytest.raises(Refused, match=rf"\(pid {server.pid}\)"):
        LocalLayer(REACTOR, path).listen()
    kill(server)
    assert os.path.exists(path)
    layer = LocalLayer(REACTOR, path)
    layer.listen()
    Peer.at(path)
    layer.close()
    assert not os.path.exists(path)


def test_another_programs_socket_is_left_alone(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(Refused, match="another program listens"):
            LocalLayer(REACTOR, path).listen()
        assert os.path.exists(path)


def test_closing_removes_only_its_own_socket(path):
    layer = LocalLayer(REACTOR, path)
    layer.listen()
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        layer.close()
        assert os.path.exists(path)


def test_a_closed_place_can_be_taken_again(path):
    for _ in range(2):
        layer = LocalLayer(REACTOR, path)
        layer.listen()
        layer.close()


def test_closing_cuts_workers_off(path):
    layer = LocalLayer(REACTOR, path)
    layer.listen()
    peer = Peer.at(path)
    closed = []
    layer.close().addCallback(closed.append)
    peer.is_cut_off()
    assert closed == [None]


def test_no_descriptors_left_is_no_busy_loop(path, lines):
    reactor = MemoryReactorClock()
    entered = []
    door = Door(reactor, Place(path), entered.append)

    class Exhausted:
        def accept(self):
            raise OSError(NO_FILES[0], os.strerror(NO_FILES[0]))

    listening, door.socket = door.socket, Exhausted()
    door.doRead()
    assert door not in reactor.readers
    assert lines == ["no worker can be accepted for a second: Too many open files"]
    door.socket = listening
    reactor.advance(1)
    assert door in reactor.readers
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    door.doRead()
    assert len(entered) == 1
    entered[0].close()
    peer.close()
    door.close()


# Layers by URL


def test_layers_by_url(path, temporary):
    assert open_layer("memory:", REACTOR, mode=0o600, group=None).place is None
    assert open_layer("local:", REACTOR).place.path == os.path.join(temporary, "default.sock")
    layer = open_layer(f"local:{path}", REACTOR, capacity=7)
    assert (layer.place.path, layer.limits.capacity) == (path, 7)


@pytest.mark.parametrize("url", ["", "local", "memory", "memory:x", "local:relative", "redi", "locale:"])
def test_an_unknown_url_names_the_known_ones(url):
    with pytest.raises(ValueError, match="layers are local: .* local:/path/of/a.sock, memory: .* or django:mysite.settings"):
        open_layer(url, REACTOR)


def test_a_message_must_fit_into_a_frame(path):
    with pytest.raises(ValueError, match="must fit into a frame"):
        LocalLayer(REACTOR, path, max_message=wire.MAX_FRAME)


# Frames


def test_frames_are_the_same_however_they_are_cut():
    rng = random.Random(7)
    frames = [(rng.randrange(1, 40), "n" * rng.randrange(99), rng.randbytes(rng.choice((0, 3, 70_000))))
              for _ in range(30)]
    data = b"".join(wire.frame(*frame) for frame in frames)
    for longest in (7, 1000, 200_000):
        cutter, found, at = wire.Frames(), [], 0
        while at < len(data):
            size = rng.randrange(1, longest)
            found += cutter.feed(data[at:at + size])
            at += size
        assert found == frames
        assert not cutter.held


def test_a_worker_is_welcomed(layer, path):
    peer = Peer.at(path, None)
    address = opened(layer, lambda connection, item: None)
    peer.say(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": "specific.a", "pid": 1}))
    welcome = wire.unpack(peer.expect(wire.WELCOME))
    now = welcome.pop("now")
    assert welcome == {"version": wire.VERSION, "server": address.prefix, "max_message": wire.MAX_MESSAGE}
    assert abs(now - REACTOR.seconds()) < 60


def opened(layer, deliver):
    opening = layer.open("interface", deliver).__await__()
    try:
        next(opening)
    except StopIteration as stop:
        return stop.value


HELLO = wire.frame(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": "specific.bad", "pid": 1}))
GROUP, NONE = wire.GROUP_HEAD.pack(1, 0), wire.CREDIT.pack(0)
LISTEN = wire.frame(wire.LISTEN, "http.request", wire.CREDIT.pack(1))
BAD = {
    "no frames": b"GET / HTTP/1.1\r\n\r\n",
    "a huge frame": wire.HEAD.pack(wire.MAX_FRAME + 1, wire.HELLO, 0),
    "a name longer than its frame": wire.HEAD.pack(2, wire.HELLO, 9),
    "a frame before HELLO": wire.frame(wire.LISTEN, "http.request", wire.CREDIT.pack(1)),
    "HELLO without msgpack": wire.frame(wire.HELLO, "", b"\xc1"),
    "HELLO of another type": wire.frame(wire.HELLO, "", wire.pack([1])),
    "a name that is not ASCII": HELLO + wire.HEAD.pack(3, wire.LISTEN, 1) + b"\xff",
    "a second HELLO": HELLO + HELLO,
    "an unknown kind": HELLO + wire.frame(99),
    "the hub's own kind": HELLO + wire.frame(wire.MESSAGE, "http.request", b"\x80"),
    "LISTEN without credit": HELLO + wire.frame(wire.LISTEN, "http.request"),
    "LISTEN to a process": HELLO + wire.frame(wire.LISTEN, "specific.b!x", wire.CREDIT.pack(1)),
    "LISTEN to nothing": HELLO + wire.frame(wire.LISTEN, "", wire.CREDIT.pack(1)),
    "LISTEN to a long name": HELLO + wire.frame(wire.LISTEN, "x" * 100, wire.CREDIT.pack(1)),
    "STARTED what was not sent": HELLO + wire.frame(wire.STARTED, "http.request", wire.CREDIT.pack(1)),
    "STARTED for another owner": HELLO + LISTEN + wire.frame(wire.STARTED, "http.request", NONE + b"specific.b!x"),
    "STARTED with a bad owner": HELLO + LISTEN + wire.frame(wire.STARTED, "http.request", NONE + b"\xff!"),
    "SEND without a head": HELLO + wire.frame(wire.SEND, "http.request", b"123"),
    "GROUP_ADD without a head": HELLO + wire.frame(wire.GROUP_ADD, "group", b"123"),
    "GROUP_ADD of no ASCII": HELLO + wire.frame(wire.GROUP_ADD, "group", GROUP + b"\xff"),
    "FLUSH with more": HELLO + wire.frame(wire.FLUSH, "", GROUP + b"x"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_frame_ends_its_worker_only(layer, path, data, lines):
    good, bad = Peer.at(path, "specific.good"), Peer.at(path, None)
    lines.clear()
    bad.sock.sendall(data)
    bad.is_cut_off()
    turn(lambda: len(layer.workers) == 1)
    assert len([line for line in lines if "is cut off" in line]) == 1
    good.say(wire.LISTEN, "http.request", wire.CREDIT.pack(1))
    layer.send("http.request", {"n": 1})
    assert good.messages(1) == [1]


NO_MESSAGES = [b"\xc1", b"", b"\x81\x01\x02", b"\x93\x01\x02\x03", b"\x80\x80", b"\xdf\xff\xff\xff\xff", b"\x91" * 5000]


@pytest.mark.parametrize("payload", NO_MESSAGES)
def test_what_is_no_message_never_reaches_a_connection(layer, path, payload, lines):
    delivered = []
    address = opened(layer, lambda connection, item: delivered.append(item))
    peer = Peer.at(path)
    peer.say(wire.SEND, f"{address.prefix}!c", wire.SEND_HEAD.pack(0, 0, 0) + payload)
    peer.is_cut_off()
    assert delivered == []
    assert len([line for line in lines if "is cut off" in line]) == 1


@pytest.mark.parametrize(("kind", "name", "payload"), [
    (wire.SEND, "no channel", wire.SEND_HEAD.pack(7, 0, 0) + b"\x80"),
    (wire.SEND, "", wire.SEND_HEAD.pack(7, 0, 0) + b"\x80"),
    (wire.GROUP_ADD, "no group", wire.GROUP_HEAD.pack(7, 0) + b"http.request"),
    (wire.GROUP_ADD, "group", wire.GROUP_HEAD.pack(7, 0) + b"no channel"),
    (wire.GROUP_ADD, "group", wire.GROUP_HEAD.pack(7, 0) + b"specific.a!x!y"),
])
def test_a_bad_name_is_answered(layer, path, kind, name, payload):
    peer = Peer.at(path)
    peer.say(kind, name, payload)
    assert wire.RESULT_HEAD.unpack(peer.expect(wire.RESULT)) == (7, wire.BAD_NAME)


@pytest.mark.parametrize("hello", [
    {"version": 1, "process": "specific.a", "pid": 1}, {"process": "specific.a"},
    {"version": wire.VERSION, "pid": 1}, {"version": wire.VERSION, "process": "a!b", "pid": 1},
    {"version": wire.VERSION, "process": "x" * 91, "pid": 1},
])
def test_a_worker_that_is_refused_is_told_why(layer, path, hello, lines):
    peer = Peer.at(path, None)
    peer.say(wire.HELLO, "", wire.pack(hello))
    refused = wire.unpack(peer.expect(wire.WELCOME))["refused"]
    ours = hello.get("version") == wire.VERSION
    assert ("no name" if ours else "install the same channels-interfaces on both sides") in refused
    peer.is_cut_off()
    assert len([line for line in lines if refused in line]) == 1


def test_a_worker_cannot_be_the_server(layer, path):
    address = opened(layer, lambda connection, item: None)
    peer = Peer.at(path, None)
    peer.say(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": address.prefix, "pid": 1}))
    assert "refused" in wire.unpack(peer.expect(wire.WELCOME))


# Workers that go

WORK = """
import os, socket, sys
from interfaces.layers import wire_local as wire
from interfaces.layers.conformance import run
hub = socket.socket(socket.AF_UNIX)
hub.connect(sys.argv[1])
hub.sendall(wire.frame(wire.HELLO, "", wire.pack({"version": wire.VERSION, "process": "specific.killed", "pid": os.getpid()})))
hub.sendall(wire.frame(wire.LISTEN, "http.request", wire.CREDIT.pack(3)))
print("ready", flush=True)
frames, found = wire.Frames(), []
while len(found) < 4:
    found += frames.feed(hub.recv(65536))
hub.sendall(wire.frame(wire.STARTED, "http.request", wire.CREDIT.pack(1) + b"specific.killed!owner"))
print("started", flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_loses_what_it_began_and_nothing_else(layer, path):
    delivered = []
    address = opened(layer, lambda connection, item: delivered.append((connection, item)))
    worker = child(WORK, path)
    turn(lambda: layer.listening("http.request"))
    for n in range(3):
        layer.send("http.request", {"n": n, "reply_channel": f"{address.prefix}!c{n}"})
    REACTOR.iterate(0.01)
    assert worker.stdout.readline() == "started\n"
    kill(worker)
    turn(lambda: not layer.workers)
    assert delivered == [("c0", Taken("specific.killed!owner")), ("", Lost("specific.killed"))]
    other = Peer.at(path)
    other.say(wire.LISTEN, "http.request", wire.CREDIT.pack(9))
    assert other.messages(2) == [1, 2]
    assert layer.statistics()["waiting"] == {}


def test_the_last_words_of_a_worker_count_even_if_a_write_met_its_death():
    layer = LocalLayer(MemoryReactorClock(), None)
    hub, far = socket.socketpair()
    stream = Stream(layer.clock, hub, Worker(layer))
    far.sendall(HELLO + wire.frame(wire.LISTEN, "http.request", wire.CREDIT.pack(3)))
    stream.doRead()
    for n in range(3):
        layer.send("http.request", {"n": n})
    message = wire.SEND_HEAD.pack(0, 0, 0) + wire.pack({"content": "x" * 900})      # more than one read of them
    far.sendall(wire.frame(wire.SEND, "mqtt.receive", message) * 100)
    far.sendall(wire.frame(wire.STARTED, "http.request", wire.CREDIT.pack(2)))
    far.close()
    lost = stream.doWrite()
    assert isinstance(lost, ConnectionLost)
    stream.connectionLost(Failure(lost))
    assert layer.statistics()["waiting"] == {"mqtt.receive": 100, "http.request": 1}


def test_nothing_comes_back_from_a_worker_that_broke_the_rules(layer, path):
    peer = Peer.at(path)
    peer.say(wire.LISTEN, "http.request", wire.CREDIT.pack(2))
    turn(lambda: layer.listening("http.request"))
    for n in range(3):
        layer.send("http.request", {"n": n})
    assert peer.messages(2) == [0, 1]
    peer.say(wire.STARTED, "http.request", wire.CREDIT.pack(3))
    peer.is_cut_off()
    other = Peer.at(path, "specific.b")
    other.say(wire.LISTEN, "http.request", wire.CREDIT.pack(9))
    assert other.messages(1) == [2]
    assert layer.statistics()["dropped"] == 2


def test_a_worker_that_comes_again_takes_its_own_place(layer, path):
    before = Peer.at(path)
    before.say(wire.LISTEN, "http.request", wire.CREDIT.pack(3))
    turn(lambda: layer.listening("http.request"))
    for n in range(3):
        layer.send("http.request", {"n": n})
    assert before.messages(3) == [0, 1, 2]
    before.say(wire.STARTED, "http.request", wire.CREDIT.pack(1))       # not read before the next one is there
    after = Peer.at(path)
    before.is_cut_off()
    after.say(wire.LISTEN, "http.request", wire.CREDIT.pack(9))
    assert after.messages(2) == [1, 2]
    assert len(layer.workers) == 1


def test_one_end_of_a_socketpair_is_served(path):
    layer = open_layer("memory:", REACTOR)
    hub, far = socket.socketpair()
    layer.attach_socket(hub)
    peer = Peer(far)
    peer.say(wire.LISTEN, "http.request", wire.CREDIT.pack(1))
    layer.send("http.request", {"n": 1})
    assert peer.messages(1) == [1]
    layer.close()
    peer.is_cut_off()


def test_who_asks_is_told_the_figures_while_it_reads(frames):
    async def story():
        layer = await frames.make()
        visitor, worker = await frames.worker("visitor"), await frames.worker("a")
        await worker.listen("http.request", 3)
        layer.send("http.disconnect", {"n": 1})
        visitor.say(wire.STATISTICS, "")
        [(kind, _, payload)] = visitor.frames.feed(visitor.transport.value())
        figures = wire.unpack(payload)
        assert kind == wire.FIGURES and figures == layer.statistics()
        assert figures["waiting"] == {"http.disconnect": 1}
        assert figures["readers"] == {"specific.visitor": {}, "specific.a": {"http.request": {"credit": 3, "unstarted": 0}}}
        visitor.transport.clear()
        visitor.protocol.pauseProducing()
        visitor.say(wire.STATISTICS, "")
        assert visitor.transport.value() == b""
    run(story())


# Workers that don't read


def test_a_worker_that_does_not_read_is_given_nothing_more(frames):
    async def story():
        layer = await frames.make()
        slow, other = await frames.worker("slow"), await frames.worker("other")
        await slow.listen("http.request", 100)
        layer.send("http.request", {"n": 0})
        slow.protocol.pauseProducing()
        for n in range(1, 4):
            layer.send("http.request", {"n": n})
        assert [message["n"] for message in slow.got("http.request")] == [0]
        await other.listen("http.request", 1)
        assert [message["n"] for message in other.got("http.request")] == [1]
        slow.protocol.resumeProducing()
        assert [message["n"] for message in slow.got("http.request")] == [2, 3]
    run(story())


def test_the_boxes_of_a_worker_that_does_not_read_are_bounded(frames):
    async def story():
        layer = await frames.make(max_message=BOX // 2 + 100)
        slow = await frames.worker("slow")
        await slow.group_add("group", "specific.slow!talkative")
        await slow.group_add("group", "specific.slow!quiet")
        slow.protocol.pauseProducing()
        part = {"content": b"x" * (BOX // 4)}
        for _ in range(3):
            layer.send("specific.slow!talkative", part)
        with pytest.raises(ChannelFull):
            layer.send("specific.slow!talkative", part)
        layer.send("specific.slow!quiet", part)
        layer.group_send("group", {"content": b"y" * (BOX // 2)})
        slow.protocol.resumeProducing()
        assert len(slow.got("specific.slow!talkative")) == 3
        assert len(slow.got("specific.slow!quiet")) == 2
        layer.send("specific.slow!talkative", part)
        assert layer.statistics()["full"] == 2
    run(story())


def test_ten_thousand_small_messages_fill_a_box(frames):
    async def story():
        layer = await frames.make()
        slow = await frames.worker("slow")
        slow.protocol.pauseProducing()
        for _ in range(10_000):
            layer.send("specific.slow!x", {})
        with pytest.raises(ChannelFull):
            layer.send("specific.slow!x", {})
    run(story())


def test_a_real_worker_that_does_not_read_costs_bounded_memory(layer, path):
    peer = Peer.at(path)
    peer.say(wire.LISTEN, "http.request", wire.CREDIT.pack(5000))
    turn(lambda: layer.listening("http.request"))
    for n in range(200):
        layer.send("http.request", {"n": n, "body": b"x" * 65536})
        REACTOR.iterate(0)
    [worker] = layer.workers
    assert worker.paused
    assert layer.statistics()["waiting"]["http.request"] > 180
    assert peer.messages(200) == list(range(200))
    assert not worker.paused


def test_a_worker_that_asks_and_never_reads_is_not_read(layer, path):
    peer = Peer.at(path)
    [worker] = layer.workers
    ask = wire.frame(wire.GROUP_DISCARD, "group", wire.GROUP_HEAD.pack(1, 0) + b"x") * 1000
    for _ in range(2000):
        try:
            peer.sock.send(ask)
        except BlockingIOError:
            if worker.deaf:
                break
        REACTOR.iterate(0)
    assert worker.deaf
    peer.read()
    turn(lambda: peer.read() and not worker.deaf)


def test_memory_layers_take_only_known_limits():
    with pytest.raises(TypeError):
        MemoryLayer(REACTOR, capicity=3)

"""The `local:` layer: the memory layer with a hub, a Unix socket at which the workers of this machine meet it.

Frames are those of wire_local. Payloads pass through unopened; only what is for a connection of the server is decoded.
"""
import re

from twisted.internet import defer, interfaces, protocol
from twisted.logger import Logger
from zope.interface import implementer

from interfaces.contract import ChannelFull, MessageTooLarge
from interfaces.layers import wire_local as wire
from interfaces.layers.door import Door, Place, Stream
from interfaces.layers.memory import MemoryLayer
from interfaces.layers.presence import Said
from interfaces.layers.releases import Releases
from interfaces.layers.shared import MIB, BadName

PROCESS = re.compile(r"[a-zA-Z\d\-_.]{1,90}", re.ASCII)     # channel names are under 100 characters
BOX = 16 * MIB              # bytes for one channel of a worker that doesn't read: messages.md, --max-buffer
BOXES = 64 * MIB            # for all of them, as for a shared channel
BOX_MESSAGES = 10_000       # messages.md, Sizes: the capacity of a process-local channel
UNREAD_RESULTS = 4 * MIB    # a worker that goes on asking and never reads is not read either: a guess
NAMES = 2000                # channels in one MESSAGES frame: 200 KB of names beside the message
log = Logger(namespace="interfaces.layers")


@implementer(interfaces.IPushProducer)
class Worker(protocol.Protocol):
    """A worker's connection: shared.Reader for the layer. The transport's buffer says when it doesn't read."""

    def __init__(self, layer: "LocalLayer"):
        self.layer, self.frames = layer, wire.Frames()
        self.process, self.pid, self.release, self.rank = "", 0, None, 0
        self.paused = self.failed = self.deaf = False
        self.boxes: dict[str, list[int]] = {}       # while paused: channel -> [messages, bytes]
        self.boxed = 0
        self.actions = {wire.LISTEN: self.listen, wire.STARTED: self.started, wire.WITHDRAW: self.withdraw,
                        wire.SEND: self.send, wire.GROUP_ADD: self.group_add, wire.GROUP_DISCARD: self.group_discard,
                        wire.GROUP_SEND: self.group_send, wire.FLUSH: self.flush, wire.STATISTICS: self.statistics,
                        wire.PRESENT: self.present, wire.ABSENT: self.absent, wire.MEMBERS: self.members}

    def connectionMade(self):
        self.layer.workers.add(self)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data):
        if self.failed:
            return
        try:
            for kind, name, payload in self.frames.feed(data):
                if not self.process:
                    self.hello(kind, payload)
                elif kind in self.actions:
                    self.actions[kind](name, payload)
                else:
                    raise wire.FrameError(f"a frame of unknown kind {kind}")
                if self.failed:
                    return
        except (wire.FrameError, wire.struct.error, ValueError) as reason:
            self.fail(reason)

    def fail(self, reason) -> None:
        self.failed = True
        log.warn("worker {process} (pid {pid}) is cut off: {reason}",
                 process=self.process or "?", pid=self.pid, reason=reason)
        self.transport.abortConnection()

    def connectionLost(self, reason):
        self.layer.part(self)

    # From the worker

    def hello(self, kind: int, payload: bytes) -> None:
        said = wire.unpack(payload) if kind == wire.HELLO else None
        if not isinstance(said, dict):
            raise wire.FrameError("it did not begin with HELLO")
        process, version, pid = said.get("process"), said.get("version"), said.get("pid")
        self.pid = pid if isinstance(pid, int) else 0
        self.release = said.get("release") if isinstance(said.get("release"), str) else None
        if version != wire.VERSION:
            self.refuse(f"it speaks version {version!r} of the hub's frames, and the server version {wire.VERSION}: "
                        "install the same channels-interfaces on both sides")
        elif not isinstance(process, str) or not PROCESS.fullmatch(process) or process in self.layer.addresses:
            self.refuse("it has no name that a worker can have")
        else:
            self.layer.greet(self, process)

    def refuse(self, reason: str) -> None:
        self.failed = True
        log.warn("worker (pid {pid}) is refused: {reason}", pid=self.pid, reason=reason)
        self.welcome(refused=reason)
        self.transport.loseConnection()

    def welcome(self, **more) -> None:
        layer = self.layer
        self.transport.write(wire.frame(wire.WELCOME, "", wire.pack({
            "version": wire.VERSION, "server": next(iter(layer.addresses), ""), "now": layer.clock.seconds(),
            "max_message": layer.limits.max_message, **more})))

    def listen(self, channel: str, payload: bytes) -> None:
        self.layer.credit(self, channel, wire.CREDIT.unpack(payload)[0])

    def started(self, channel: str, payload: bytes) -> None:
        self.layer.started(self, channel, wire.CREDIT.unpack_from(payload)[0], payload[4:].decode("ascii"))

    def withdraw(self, channel: str, payload: bytes) -> None:
        self.layer.withdraw(self, channel)

    def send(self, channel: str, payload: bytes) -> None:
        number, capacity, expiry = wire.SEND_HEAD.unpack_from(payload)
        try:
            self.layer.put(channel, payload[12:], capacity, expiry / 1000)
            code = wire.OK
        except ChannelFull:
            code = wire.FULL
        except MessageTooLarge:
            code = wire.TOO_LARGE
        except BadName:
            code = wire.BAD_NAME
        if number:
            self.result(number, code)

    def group_add(self, group: str, payload: bytes) -> None:
        number, expiry = wire.GROUP_HEAD.unpack_from(payload)
        try:
            self.layer.join(group, payload[8:].decode("ascii"), expiry)
            code = wire.OK
        except BadName:
            code = wire.BAD_NAME
        if number:
            self.result(number, code)

    def group_discard(self, group: str, payload: bytes) -> None:
        number, expiry = wire.GROUP_HEAD.unpack_from(payload)
        self.layer.groups.discard(group, payload[8:].decode("ascii"))
        if number:
            self.result(number, wire.OK)

    def group_send(self, group: str, payload: bytes) -> None:
        number, capacity, expiry = wire.SEND_HEAD.unpack_from(payload)
        try:
            self.layer.spread(group, payload[12:], capacity, expiry / 1000)
            code = wire.OK
        except MessageTooLarge:
            code = wire.TOO_LARGE
        if number:
            self.result(number, code)

    def flush(self, name: str, payload: bytes) -> None:
        number, nothing = wire.GROUP_HEAD.unpack(payload)
        self.layer.clear()
        if number:
            self.result(number, wire.OK)

    def statistics(self, name: str, payload: bytes) -> None:
        if not self.paused:         # else what is written would grow without bounds; who asks reads
            self.transport.write(wire.frame(wire.FIGURES, "", wire.pack(self.layer.statistics())))

    def present(self, group: str, payload: bytes) -> None:
        member, channel, info, notify = wire.fields(payload[4:], str, str, bytes, bool)
        try:
            found = wire.pack([self.layer.presence.join(self.process, group, (member, channel), Said(info, notify))])
            code = wire.OK
        except ChannelFull:
            code, found = wire.FULL, b""
        except BadName:
            code, found = wire.BAD_NAME, b""
        self.result(wire.CREDIT.unpack_from(payload)[0], code, found)

    def absent(self, group: str, payload: bytes) -> None:
        member, channel = wire.fields(payload[4:], str, str)
        last = self.layer.presence.leave(group, member, channel)
        self.result(wire.CREDIT.unpack_from(payload)[0], wire.OK, wire.pack([last]))

    def members(self, group: str, payload: bytes) -> None:
        after, most = wire.fields(payload[4:], int, int)
        page = self.layer.presence.page(group, after, most)
        self.result(wire.CREDIT.unpack_from(payload)[0], wire.OK, wire.pack(page))

    def result(self, number: int, code: int, found: bytes | None = None) -> None:
        """`found`: of a PRESENCE."""
        kind = wire.RESULT if found is None else wire.PRESENCE
        if kind == wire.PRESENCE and not number:
            return
        frame = wire.frame(kind, "", wire.RESULT_HEAD.pack(number, code) + (found or b""))
        self.transport.write(frame)
        if self.paused:
            self.boxed += len(frame)
            if self.boxed > UNREAD_RESULTS and not self.deaf:
                self.deaf = True
                self.transport.stopReading()

    # To the worker: shared.Reader

    def push(self, channel: str, payload: bytes) -> bool:
        if self.paused and not self.fits(channel, len(payload)):
            return False
        self.transport.write(wire.frame(wire.MESSAGE, channel, payload))
        return True

    def push_many(self, channels: list[str], payload: bytes) -> int:
        taken = channels
        if self.paused:
            taken = [channel for channel in channels if self.fits(channel, len(payload) // len(channels))]
        for at in range(0, len(taken), NAMES):
            self.transport.write(wire.frame(wire.MESSAGES, "", wire.pack(taken[at:at + NAMES]) + payload))
        return len(channels) - len(taken)

    def withdrawn(self, channel: str) -> None:
        self.transport.write(wire.frame(wire.WITHDRAWN, channel))

    def fits(self, channel: str, size: int) -> bool:
        """May this wait in the transport? One talkative channel must not use up the place of all."""
        box = self.boxes.setdefault(channel, [0, 0])
        if box[0] >= BOX_MESSAGES or box[1] + size > BOX or self.boxed + size > BOXES:
            return False
        box[0] += 1
        box[1] += size
        self.boxed += size
        return True

    # What the transport calls

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused, self.boxed = False, 0
        self.boxes.clear()
        if self.deaf:
            self.deaf = False
            self.transport.startReading()
        self.layer.resumed(self)

    def stopProducing(self):
        self.paused = True      # it is gone: what it still said is read, but it is given nothing


class LocalLayer(MemoryLayer):
    """A memory layer that workers reach: at `path` after `listen()`, over `attach_socket(sock)`, or both."""

    def __init__(self, reactor, path: str | None, mode: int = 0o600, group: str | None = None, prefer_release: bool = False,
                 **limits):
        super().__init__(reactor, **limits)
        self.releases = Releases(prefer_release)
        if self.limits.max_message > wire.MAX_FRAME - MIB:
            raise ValueError(f"a message can't be larger than {wire.MAX_FRAME - MIB} bytes: it must fit into a frame")
        self.place = Place(path, mode, group) if path else None
        self.door, self.workers, self.closing = None, set(), None

    def open(self, prefix: str, deliver):
        """Listens first, if that was not done: the reply channels are there before a worker can ask for them."""
        opened = super().open(prefix, deliver)
        self.listen()
        return opened

    def listen(self) -> None:
        """Make the socket: after privileges were dropped, so that it is the workers' user's. Raises door.Refused."""
        if self.place is not None and self.door is None:
            self.door = Door(self.clock, self.place, self.attach_socket)

    def attach_socket(self, sock) -> None:
        """Serve a worker at the other end of a connected stream socket (one half of a socketpair, say)."""
        Stream(self.clock, sock, Worker(self))

    def greet(self, worker: Worker, process: str) -> None:
        before = self.processes.get(process)
        if before is not None:                      # it comes back before we saw it go: what it said before counts
            before.transport.abortConnection()
        worker.process, worker.rank = process, self.releases.arrived(worker.release, self.clock.seconds())
        self.attach(worker)
        worker.welcome()
        log.info("worker {process} (pid {pid}) is here", process=process, pid=worker.pid)

    def part(self, worker: Worker) -> None:
        self.workers.discard(worker)
        if worker.process:
            log.info("worker {process} (pid {pid}) is gone", process=worker.process, pid=worker.pid)
            self.releases.left(worker.release, self.clock.seconds())
            self.detach(worker, doubtful=worker.failed)
        if self.closing is not None and not self.workers:
            closing, self.closing = self.closing, None
            closing.callback(None)

    def close(self):
        """No more workers, and the socket is gone. A Deferred."""
        if self.door is not None:
            self.door.close()
            self.door = None
        super().close()
        if not self.workers:
            return defer.succeed(None)
        self.closing = closing = defer.Deferred()
        for worker in list(self.workers):
            worker.failed = True                    # what it still says finds nothing here
            worker.transport.abortConnection()
        return closing

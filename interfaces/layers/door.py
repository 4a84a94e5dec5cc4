"""The Unix socket of a `local:` hub: one server per path, never open to others, taken over from one that was killed."""
import errno
import fcntl
import grp
import os
import socket
import stat

from twisted.internet import abstract, error, main
from twisted.logger import Logger
from twisted.python.failure import Failure

from interfaces.layers import wire_local

BACKLOG = 1024          # workers reconnect all at once after a restart; Twisted's 50 loses some for a second (house.md)
READ = 64 * 1024        # twisted.internet.tcp's bufferSize
EARLY = 16              # frames that wait for the end of the turn: whoever is sent them works on another core meanwhile
REST = 256              # reads of READ: the kernel holds far less of a socket that nobody writes to any more
NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
log = Logger(namespace="interfaces.layers")


class Refused(OSError):
    """Why the hub can't be opened, in a sentence."""


class Place:
    """A path that belongs to this process until `release`."""

    def __init__(self, path: str, mode: int = 0o600, group: str | None = None):
        self.path, self.mode, self.group = path, mode, group
        self.lock = self.socket = self.identity = None

    def take(self) -> socket.socket:
        """A listening socket. Raises Refused."""
        try:
            self.check_folder()
            self.take_lock()
            self.remove_stale()
            self.bind()
        except OSError as reason:
            self.release()
            if isinstance(reason, Refused):
                raise
            raise Refused(f"the workers' socket {self.path} can't be made: {reason.strerror or reason}") from reason
        return self.socket

    def check_folder(self) -> None:
        if self.path != wire_local.default_path() or os.environ.get("CHANNELS_INTERFACES_SOCKET"):
            return                              # a path that somebody chose is in a folder that somebody made
        if self.mode & 0o077 or self.group is not None:
            raise Refused("workers of other users can't reach the default socket, which is in a folder of mode 0700: "
                          "choose a path with --layer local:/path/of/a.sock")
        try:
            os.mkdir(os.path.dirname(self.path), 0o700)
        except FileExistsError:
            pass
        reason = wire_local.distrust(self.path)
        if reason is not None:
            raise Refused(f"the workers' socket can't be made: {reason}")

    def take_lock(self) -> None:
        """flock ends with the process, however it ends. The file stays: removed, two servers could lock two files."""
        self.lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self.lock, 20).decode("ascii", "replace").strip() or "unknown"
            raise Refused(f"another interface server (pid {pid}) already has {self.path}: stop it, or choose another "
                          "path with --layer local:/path/of/a.sock") from None
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, b"%d\n" % os.getpid(), 0)

    def remove_stale(self) -> None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise Refused(f"{self.path} is there already and is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)            # a program that doesn't accept must not hold us
            try:
                probe.connect(self.path)
            except ConnectionRefusedError:
                os.unlink(self.path)
                return
            except BlockingIOError:
                pass
        raise Refused(f"another program listens on {self.path}")

    def bind(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        # A chmod after bind would leave a moment in which anybody may connect.
        before = os.umask(0o177)
        try:
            self.socket.bind(self.path)
        finally:
            os.umask(before)
        found = os.lstat(self.path)
        self.identity = found.st_dev, found.st_ino
        if self.group is not None:
            os.chown(self.path, -1, group_id(self.group))
        os.chmod(self.path, self.mode)
        self.socket.listen(BACKLOG)

    def release(self) -> None:
        """Remove the socket, if it still is ours, and let others have the path."""
        if self.socket is not None:
            self.socket.close()
        if self.identity is not None:
            try:
                found = os.lstat(self.path)
                if (found.st_dev, found.st_ino) == self.identity:
                    os.unlink(self.path)
            except FileNotFoundError:
                pass
        if self.lock is not None:
            os.close(self.lock)
        self.lock = self.socket = self.identity = None


def group_id(group: str) -> int:
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise Refused(f"there is no group {group} for the workers' socket") from None


class Door(abstract.FileDescriptor):
    """Accepts workers. `enter(socket)` is called for each."""

    def __init__(self, reactor, place: Place, enter):
        super().__init__(reactor)
        self.place, self.enter = place, enter
        self.socket = place.take()
        self.fileno = self.socket.fileno
        self.waiting = None
        self.startReading()

    def doRead(self):
        try:
            accepted, address = self.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as reason:
            if reason.errno not in NO_FILES:
                raise
            # The listener stays readable: without a pause this would spin.
            log.warn("no worker can be accepted for a second: {reason}", reason=reason.strerror)
            self.stopReading()
            self.waiting = self.reactor.callLater(1.0, self.startReading)
            return
        self.enter(accepted)

    def logPrefix(self):
        return "local"

    def close(self) -> None:
        if self.waiting is not None and self.waiting.active():
            self.waiting.cancel()
        self.stopReading()
        self.place.release()


class Stream(abstract.FileDescriptor):
    """A worker's socket. Unlike Twisted's own transport it reads to its end what a lost worker had still said, even if
    the loss was met by a write: a STARTED among it decides whether a message may be given to another."""

    def __init__(self, reactor, sock: socket.socket, protocol):
        super().__init__(reactor)
        sock.setblocking(False)
        self.socket, self.protocol, self.fileno = sock, protocol, sock.fileno
        self.connected, self.reading, self.aborting = 1, False, False
        protocol.makeConnection(self)
        self.startReading()

    def doRead(self):
        try:
            data = self.socket.recv(READ)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.reading = True
        self.protocol.dataReceived(data)
        self.reading = False
        return main.CONNECTION_LOST if self.aborting else None

    def write(self, data):
        super().write(data)
        if len(self._tempDataBuffer) >= EARLY and not (self.dataBuffer or self.producerPaused or self.disconnecting):
            self.doWrite()                  # what it meets the loop will meet again: `write` must not call connectionLost

    def writeSomeData(self, data):
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return main.CONNECTION_LOST

    def abortConnection(self):
        """End it now; if what is being read asked for that, right after it."""
        self.aborting = True
        if not self.reading and self.connected:
            self.connectionLost(Failure(error.ConnectionAborted()))

    def connectionLost(self, reason):
        if not self.connected:
            return
        super().connectionLost(reason)
        self.read_rest()        # BSD's shutdown throws away what came before it
        try:
            # From here on a living worker's STARTED fails, and then it must not begin.
            self.socket.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        self.read_rest()        # Linux keeps what came before the shutdown
        self.socket.close()
        self.protocol.connectionLost(reason)

    def read_rest(self) -> None:
        for _ in range(REST):
            try:
                data = self.socket.recv(READ)
            except OSError:
                return
            if not data:
                return
            self.protocol.dataReceived(data)

    def logPrefix(self):
        return "local"

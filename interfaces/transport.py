"""Server-side transports that send at once what an idle socket takes."""
from twisted.internet import tcp, unix

AT_ONCE = 128 * 1024        # twisted.internet.abstract's SEND_LIMIT


class SendsAtOnce:
    """Twisted's transports send from the loop only: write, epoll_ctl, the next turn, send, epoll_ctl. An answer mostly fits
    into the socket's buffer as a whole, so `write` itself sends it (6 us less each); what the kernel does not take goes
    Twisted's way, and so does all that is written while something waits there."""

    def write(self, data):
        if (self.dataBuffer or self._tempDataLen or self.TLS or self.disconnecting or self._writeDisconnected
                or not self.connected or not data):
            super().write(data)
            return
        try:
            sent = self.socket.send(data if len(data) <= AT_ONCE else memoryview(data)[:AT_ONCE])
        except OSError:
            sent = 0                    # full; or lost, which the loop will see: `write` must not call connectionLost
        if sent < len(data):
            super().write(data[sent:] if sent else data)


class TCPServer(SendsAtOnce, tcp.Server):
    pass


class UNIXServer(SendsAtOnce, unix.Server):
    pass


KINDS = {tcp.Server: TCPServer, unix.Server: UNIXServer}


def send_at_once(port):
    """Let the connections that this listening port accepts from now on send at once. A port of another kind stays as it is."""
    kind = KINDS.get(getattr(port, "transport", None))
    if kind is not None:
        port.transport = kind

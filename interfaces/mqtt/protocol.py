"""MQTT on one connection, the server's side of it (OASIS MQTT 5.0 and 3.1.1, IBM's 3.1): the Wire. Pure.

Events are those of packets.py. From the client, by `next_event()`: Connect, which is the first and only once; Publish, Puback,
Pubrec, Pubrel, Pubcomp, Subscribe, Unsubscribe, Pingreq, Disconnect, Auth. Each is well-formed and keeps what the standard
says of it alone; what it says of several is the story's (packet identifiers in use, aliases up to a maximum, quotas,
what may come after Disconnect). ProtocolError comes after everything that stood in front of the fault, and then always again;
its `code` is the reason code that MQTT 5 has for it.

To the client, for `encode()`: Connack, Publish, Prepared, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Pingresp,
Disconnect, Auth. It is b"" where the client's version has no such packet (3.x: Disconnect; Connack to a CONNECT that
is malformed), and for everything to a peer that has not said that it speaks MQTT. `encode` raises ValueError, naming the
fault, for what can't be said."""
import struct
from dataclasses import dataclass

from interfaces.contract import ProtocolError
from interfaces.mqtt.reading_connect import UNSUPPORTED_VERSION, connect, read_version
from interfaces.mqtt.packets import V5
from interfaces.mqtt.properties import CONNECT, malformed
from interfaces.mqtt.reading import NONE, READERS, refuse
from interfaces.mqtt.writing import WRITERS, Prepared, encode_publish

__all__ = ["Limits", "MqttWire", "Prepared", "encode_publish"]

PACKET_TOO_LARGE = 0x95
LEAST = 2                                  # bytes of the smallest packet
MAX_CONNECT = 256 * 1024                   # bytes of a CONNECT, whose sender nobody knows yet. A guess: of its fields only the
                                           # will's payload and the password are ever long, and those have 64 KiB at most


@dataclass(frozen=True, slots=True)
class Limits:
    """What MqttWire needs of its options. `max_packet`: bytes of a packet, its fixed header too (MQTT 5, 2.1.4)."""
    max_packet: int = (1024 + 128) * 1024  # a payload of 1 MiB (messages.md), a topic and its properties: 64 KiB each, a guess


DEFAULTS = Limits()


class MqttWire:
    """`options` has the attributes of `Limits`. `version` is that of packets.py; 0 until CONNECT has told it, and where its
    level is unknown (code 0x84) the one to answer in."""
    streams = False
    __slots__ = ("options", "version", "readers", "short", "buffer", "at", "more", "need", "failure")

    def __init__(self, options=DEFAULTS):
        self.options = options
        self.version, self.readers = NONE, READERS[NONE]
        self.short = 0                                  # remaining lengths below it need no second look
        self.buffer, self.at = b"", 0                   # what is being read, and from where on
        self.more: bytearray | None = None              # what came after that
        self.need = LEAST                               # bytes from `at` on without which there is nothing to do
        self.failure: tuple[str, int] | None = None

    def receive(self, data: bytes) -> bytes:
        if self.more is not None:
            self.more += data
        elif self.at < len(self.buffer):
            self.more = bytearray(data)
        elif self.failure is None:
            self.buffer, self.at = data, 0
        return b""

    def unread(self) -> bytes:
        data = self.buffer[self.at:] + (self.more or b"")
        self.forget()
        return data

    def forget(self) -> None:
        self.buffer, self.at, self.more, self.need = b"", 0, None, LEAST

    def next_event(self):
        """An event of packets.py, or None. Raises ProtocolError."""
        buffer = self.buffer
        start = self.at + 2
        if start <= len(buffer):
            length = buffer[start - 1]
            end = start + length
            if length < self.short and end <= len(buffer):           # small and all there: most packets
                first = buffer[self.at]
                self.at = end
                try:
                    return self.readers[first](self.version, buffer, start, end, first)
                except ProtocolError as error:
                    self.fail(error)
                    raise
        return self.looked_for()

    def looked_for(self):
        """The same, of any length, in pieces or not there at all."""
        if self.failure is not None:
            raise ProtocolError(*self.failure)
        try:
            while self.gathered():
                start, end = self.header(self.buffer, self.at)
                if end <= len(self.buffer):
                    self.need = LEAST
                    return self.packet(start, end)
                self.need = end - self.at
        except ProtocolError as error:
            self.fail(error)
            raise
        return None

    def gathered(self) -> bool:
        """Whether what is needed is in the buffer; then it is in one piece. Every byte is moved twice at most, however small
        the pieces are that it came in."""
        have = len(self.buffer) - self.at
        if have >= self.need:
            return True
        enough = self.more is not None and have + len(self.more) >= self.need
        if self.at or enough:                           # an idle connection keeps nothing of what it has read
            self.buffer, self.at = self.buffer[self.at:], 0
        if enough:
            self.buffer, self.more = self.buffer + self.more, None
        return enough

    def header(self, buffer: bytes, at: int) -> tuple[int, int]:
        """(where the body begins, where it ends). What can't be is refused here, before it is waited for."""
        first = buffer[at]
        if self.version != NONE or first != CONNECT << 4:
            if self.readers[first] is refuse:
                refuse(self.version, buffer, at, at, first)
        length = 0
        for place in range(4):                          # 2.1.4: four bytes at most
            if at + 1 + place == len(buffer):
                return at, len(buffer) + 1
            byte = buffer[at + 1 + place]
            length |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                break
        else:
            raise malformed("a remaining length of more than four bytes")
        if not byte and place and self.version == V5:   # [MQTT-1.5.5-1]; 3.1.1 does not forbid it
            raise malformed("a remaining length of more bytes than it needs")
        if 2 + place + length > self.most():
            raise ProtocolError(f"a packet of {2 + place + length} bytes", PACKET_TOO_LARGE)        # [MQTT-3.2.2-15]
        return at + 2 + place, at + 2 + place + length

    def most(self) -> int:
        most = self.options.max_packet
        return min(most, MAX_CONNECT) if self.version == NONE else most

    def packet(self, start: int, end: int):
        first, buffer = self.buffer[self.at], self.buffer
        self.at = end
        if self.version != NONE:
            return self.readers[first](self.version, buffer, start, end, first)
        version, known, at = read_version(buffer, start, end)
        self.version, self.readers = version, READERS[version]
        if not known:
            raise ProtocolError("an unknown version of the protocol", UNSUPPORTED_VERSION)
        self.short = min(0x80, self.options.max_packet - 2)
        return connect(version, buffer, at, end)

    def fail(self, error: ProtocolError) -> None:
        self.failure = error.reason, error.code
        self.forget()

    def encode(self, event) -> bytes:
        if self.version == NONE:
            return b""
        try:
            return WRITERS[event.__class__](self.version, event)
        except (TypeError, AttributeError, KeyError, struct.error) as error:       # of a wrong type
            raise ValueError(f"{event.__class__.__name__} can't be said: {error}") from None

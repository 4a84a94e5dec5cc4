"""permessage-deflate (RFC 7692): what is agreed on, and the two directions of it. Pure.

Both sides forget their context after each message, which a server may always ask for (7.1.1). So a connection keeps no
zlib state between messages (with contexts it would be 42 KB an idle connection), and what is compressed once can be
sent to many.
"""
import re
import zlib
from typing import NamedTuple

from interfaces.contract import ProtocolError

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = TCHAR + "++"                       # RFC 9110 5.6.2. Possessive, here and below: 64 KiB of a malformed list are
# read once, and `(x+)+` over an open quote would take longer than the universe has. RFC 6455 9.1:
PARAMETER = rf'[ \t]*+;[ \t]*+({TOKEN})(?:[ \t]*+=[ \t]*+(?:({TOKEN})|"((?:\\?{TCHAR})++)"))?+'
PARAMETERS = re.compile(PARAMETER)
EXTENSION = re.compile(rf"[ \t]*+(?:({TOKEN})((?:{PARAMETER})*+)[ \t]*+)?+(?:,|\Z)")
BITS = re.compile("[89]|1[0-5]")           # RFC 7692 7.1.2: no leading zeros
SMALLEST, LARGEST = 9, 15                  # window bits. zlib can't write a raw stream with 8 (its ChangeLog, 1.2.9)
WORTH = 128        # bytes from which a message is compressed. Measured: JSON of 64 bytes shrinks by 6 %, of 128 by 24 %
LEVEL = 1          # nginx's gzip_comp_level. Measured: half the time of level 6, for JSON 13 % more bytes
MEMORY = 5         # zlib's memLevel; 32 KiB while a message is compressed. Measured: larger ones save 1 %
TAIL = b"\0\0\xff\xff"                     # RFC 7692 7.2.1: taken away by the sender
LAST_BLOCK = b"\x03\0"                     # RFC 1951 3.2.6: final, fixed codes, nothing but its end


class Agreement(NamedTuple):
    """Windows in bits. `answer`: the value of Sec-WebSocket-Extensions."""
    server: int
    client: int
    answer: str


def extensions(value: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """[(name, [(parameter, value or None), ...]), ...]. ProtocolError 400, as RFC 6455 9.1 asks for a malformed list."""
    found, at = [], 0
    while at < len(value):
        match = EXTENSION.match(value, at)
        if match is None:
            raise ProtocolError("malformed Sec-WebSocket-Extensions", 400)
        at = match.end()
        if match[1]:
            parameters = [(name, token or (quoted.replace("\\", "") if quoted else None))
                          for name, token, quoted in PARAMETERS.findall(match[2])]
            found.append((match[1], parameters))
    return found


def agree(value: str, window: int) -> Agreement | None:
    """The first offer of permessage-deflate that can be met, within `window` bits; None where there is none."""
    for name, parameters in extensions(value):
        if name.lower() == "permessage-deflate":
            agreement = answer(parameters, max(window, SMALLEST))
            if agreement is not None:
                return agreement
    return None


def answer(parameters: list[tuple[str, str | None]], window: int) -> Agreement | None:
    """None: declined, because an offer that RFC 7692 7 doesn't know must be (its words: MUST decline)."""
    offer = dict(parameters)
    if len(offer) < len(parameters):
        return None
    for context in ("server_no_context_takeover", "client_no_context_takeover"):
        if offer.pop(context, None) is not None:
            return None
    server, client = offer.pop("server_max_window_bits", ""), offer.pop("client_max_window_bits", "")
    if offer or server is None or (server and not BITS.fullmatch(server)) or (client and not BITS.fullmatch(client)):
        return None
    if server and int(server) < SMALLEST:
        return None
    said = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    ours, theirs = min(window, int(server or LARGEST)), LARGEST
    if server:
        said += f"; server_max_window_bits={ours}"
    if client != "":                       # RFC 7692 7.1.2.2: only a client that offered it can be asked for it
        theirs = min(window, int(client or LARGEST))
        said += f"; client_max_window_bits={theirs}"
    return Agreement(ours, theirs, said)


def deflate(data: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -window, MEMORY)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]


class Inflater:
    """One compressed message, as it comes. `most`: bytes that it may have inflated; never is more than that made.

    ProtocolError: 1009 for more, 1007 for what is no DEFLATE stream or an incomplete one (guess: RFC 7692 has no code)."""
    __slots__ = ("stream", "left", "compressed")

    def __init__(self, window: int, most: int):
        self.stream, self.left = zlib.decompressobj(-window), most
        # Empty blocks inflate to nothing, so the compressed bytes need a bound too: what DEFLATE may add to data that it
        # can't shrink (5 bytes to a block; zlib's shortest hold 127, at memLevel 1), and to short messages (a guess).
        self.compressed = most + most // 16 + 1024

    def fragment(self, length: int):
        """`length` compressed bytes are to come."""
        self.compressed -= length
        if self.compressed < 0:
            raise too_large()

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(inflated, whether that is too much). What was in front of the limit is given, for faults in it come first."""
        try:
            inflated = self.stream.decompress(data, self.left + 1)      # with `left` alone the rest would stay, unnoticed
        except zlib.error:
            raise ProtocolError("compressed data that is corrupt", 1007) from None
        self.left -= len(inflated)
        if self.left < 0:
            return inflated[:-1], True
        if self.stream.eof and self.stream.unused_data not in (b"", b"\0"):       # RFC 7692 7.2.3.4: 0x00 is appended
            raise ProtocolError("compressed data behind its last block", 1007)
        return inflated, False

    def finish(self):
        """A whole message inflates to no more now, and is between two blocks: what is cut short is never taken for one."""
        if self.stream.eof:
            return
        try:
            rest = self.stream.decompress(TAIL + LAST_BLOCK, 1)
        except zlib.error:
            raise ProtocolError("compressed data that is corrupt", 1007) from None
        if rest or not self.stream.eof or self.stream.unused_data:
            raise ProtocolError("compressed data that is incomplete", 1007)


def too_large() -> ProtocolError:
    return ProtocolError("a message that is too large", 1009)

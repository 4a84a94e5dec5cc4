"""The frames between the hub of a `local:` layer and its workers, and the path where they meet. Pure: no Twisted, no
asyncio.

A frame is `length, kind, name length, name, payload`: an unsigned 32-bit length of all that follows it (network order),
one byte of kind, one byte of name length, the name (a channel, ASCII, under 100 bytes, or empty), and a payload that
the kind explains. The hub forwards message payloads without decoding them.

From a worker                      payload
  HELLO                            msgpack {"version": 2, "process": "specific.<random>", "pid": int}; the first frame
  LISTEN    channel                CREDIT: n more messages of this channel may be pushed (n may be 0)
  STARTED   channel                CREDIT + owner: the n oldest pushed ones begin to run now; `owner` is the channel
                                   that owns their connections from now on, or empty (a plain consumer owns nothing)
  WITHDRAW  channel                empty: push no more; what is not STARTED goes to another worker; WITHDRAWN answers
  SEND      channel                SEND_HEAD (id, capacity, expiry in ms) + message; id 0 wants no RESULT, 0 = the hub's
                                   own value
  GROUP_ADD, GROUP_DISCARD  group  GROUP_HEAD (id, expiry in s) + channel
  GROUP_SEND  group                SEND_HEAD + message (capacity and expiry for its channels)
  FLUSH                            GROUP_HEAD (id, 0)
  STATISTICS                       empty: FIGURES answers (for `--check`; no worker needs it)
  PRESENT   group                  CREDIT (id) + msgpack [member, channel, info, notify]: PRESENCE answers [first]
  ABSENT    group                  CREDIT (id) + msgpack [member, channel]: PRESENCE answers [last]
  MEMBERS   group                  CREDIT (id) + msgpack [after, most]: PRESENCE answers [count, next, [[member, info,
                                   channels], ...]]; `next` is the `after` of the next page, or 0 where none follows
From the hub
  WELCOME                          msgpack {"version": 2, "server": prefix of the server's reply channels, "now": float,
                                   "max_message": int}; a hub that refuses the worker adds "refused": why, and closes
  MESSAGE   channel                message
  MESSAGES                         msgpack [channel, ...] + message: one group message for several of its channels
  WITHDRAWN channel                empty: nothing more comes on this channel until the next LISTEN
  RESULT                           RESULT_HEAD (id, code)
  FIGURES                          msgpack of memory.MemoryLayer.statistics()
  PRESENCE                         RESULT_HEAD + msgpack, or nothing where the code is not OK; id 0 wants none

A worker writes STARTED before it runs anything (so a message that may have run is never given to another), and when
that write fails it runs nothing; it reads its socket in order. At most once rests on these.
"""
import os
import stat
import struct
import tempfile

import msgpack

VERSION = 2
(HELLO, LISTEN, STARTED, WITHDRAW, SEND, GROUP_ADD, GROUP_DISCARD, GROUP_SEND, FLUSH, STATISTICS,
 PRESENT, ABSENT, MEMBERS) = range(1, 14)
(WELCOME, MESSAGE, MESSAGES, WITHDRAWN, RESULT, FIGURES, PRESENCE) = range(32, 39)
OK, FULL, TOO_LARGE, BAD_NAME = range(4)

HEAD = struct.Struct("!IBB")
CREDIT = struct.Struct("!I")
SEND_HEAD = struct.Struct("!III")
GROUP_HEAD = struct.Struct("!II")
RESULT_HEAD = struct.Struct("!IB")
MAX_MESSAGE = 2 * 1024 * 1024        # messages.md, Sizes: what a sender may send
MAX_FRAME = 16 * 1024 * 1024         # messages.md, Sizes: what a reader accepts

# Presence, the same on Redis. All are guesses.
MEMBER_BYTES = INFO_BYTES = 1024     # of a member's name in UTF-8, and of its info in msgpack
PAGE = 1000                          # members in one answer, and
PAGE_BYTES = 512 * 1024              # after how many bytes it ends: far below MAX_FRAME
GRACE = 5.0                          # seconds before a leave is told: a page is loaded anew, a worker is replaced
MANY = 100                           # changes of a group at once: more are told as one, or each costs all a message

pack = msgpack.Packer(autoreset=True).pack


def unpack(data: bytes) -> dict:
    return msgpack.unpackb(data, strict_map_key=True)


def frame(kind: int, name: str = "", payload: bytes = b"") -> bytes:
    encoded = name.encode("ascii")
    return HEAD.pack(2 + len(encoded) + len(payload), kind, len(encoded)) + encoded + payload


def changed(group: str, members: list[str], joined: bool, count: int) -> list[dict]:
    """The messages that tell a group who has come, or gone; `count` are there now. A `member` of None: more than MANY."""
    return [{"type": "presence.changed", "group": group, "member": member, "joined": joined, "count": count}
            for member in (members if len(members) <= MANY else [None])]


class FrameError(Exception):
    """What came isn't a frame. The connection can't go on."""


def fields(data: bytes, *kinds: type) -> list:
    """A msgpack list of values of these types. Raises ValueError."""
    found = msgpack.unpackb(data)
    if type(found) is not list or [type(value) for value in found] != list(kinds):
        raise ValueError(f"in place of {', '.join(kind.__name__ for kind in kinds)}: {str(found)[:100]}")
    return found


class Frames:
    """Cuts a byte stream into frames: `for kind, name, payload in frames.feed(data)`. Raises FrameError."""

    def __init__(self):
        self.parts: list[bytes] = []        # of an unfinished frame; joined once, however many pieces it comes in
        self.held = 0
        self.wanted = 0                     # bytes with which the next frame may be complete

    def feed(self, data: bytes) -> list[tuple[int, str, bytes]]:
        if self.parts:
            self.parts.append(data)
            self.held += len(data)
            if self.held < self.wanted:
                return []
            data = b"".join(self.parts)
        found, at, end, wanted = [], 0, len(data), 6
        while end - at >= 6:
            length, kind, name = HEAD.unpack_from(data, at)
            if length > MAX_FRAME or length < 2 + name:
                raise FrameError(f"a frame of {length} bytes with a name of {name}")
            stop = at + 4 + length
            if stop > end:
                wanted = 4 + length
                break
            start = at + 6 + name
            try:
                found.append((kind, data[at + 6:start].decode("ascii"), data[start:stop]))
            except UnicodeDecodeError as error:
                raise FrameError("a name that is not ASCII") from error
            at = stop
        self.parts = [data[at:]] if at < end else []
        self.held, self.wanted = end - at, wanted
        return found


def default_path() -> str:
    """Where hub and workers meet if nobody says otherwise: CHANNELS_INTERFACES_SOCKET, or a file in our folder."""
    chosen = os.environ.get("CHANNELS_INTERFACES_SOCKET")
    return chosen or os.path.join(tempfile.gettempdir(), f"channels-interfaces-{os.geteuid()}", "default.sock")


def distrust(path: str) -> str | None:
    """Why the folder of a default socket can't be trusted, in a sentence, or None. In a world-writable temporary folder
    another user may have made the folder first and put a socket of his own into it; a link could point anywhere."""
    folder = os.path.dirname(path)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is not a directory"
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to user {found.st_uid}, not to {os.geteuid()}"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}, not 0700"
    return None

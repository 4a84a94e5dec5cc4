"""Finger, RFC 1288: a whole interface in one file. docs/write-a-protocol.md walks through it."""
from dataclasses import dataclass

from interfaces.contract import ChannelFull, Elapsed, Interface, NoVerdict, ProtocolError, option
from interfaces.schema import Address, Neutral, Spelling, key, message

LONGEST = 512       # a guess: RFC 1288 sets no limit; it is the longest line of SMTP (RFC 5321 4.5.3.1.4)


@dataclass(frozen=True, slots=True)
class Query:
    """The one line that a client says, RFC 1288 2.3."""
    user: str
    verbose: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """All that a server says; then it closes."""
    text: str


class FingerWire:
    """Bytes <-> Query and Reply."""

    def __init__(self, options):
        self.held = b""

    def receive(self, data: bytes) -> bytes:
        self.held += data
        return b""

    def next_event(self) -> Query | None:
        line, newline, rest = self.held.partition(b"\n")
        if len(line) > LONGEST:
            raise ProtocolError("a query that is too long")
        if not newline:
            return None
        words = line.removesuffix(b"\r").split()
        verbose = bool(words) and words[0].upper() == b"/W"
        user = b" ".join(words[verbose:])
        if b"@" in user:        # RFC 1288 3.2.1: forwarding makes this server the mask of somebody else's scan
            raise ProtocolError("Finger forwarding service denied")
        if not user.isascii() or not user.decode("ascii").isprintable():
            raise ProtocolError("a query that is not printable ASCII")
        self.held = rest
        return Query(user.decode("ascii"), verbose)

    def encode(self, event: Reply) -> bytes:
        # RFC 1288 3.3: nothing but text may reach the terminal of who asks; an escape sequence could program it.
        lines = event.text.splitlines()
        clean = ("".join(c for c in line if c.isprintable() or c == "\t") for line in lines)
        return "".join(f"{line}\r\n" for line in clean).encode()

    def unread(self) -> bytes:
        held, self.held = self.held, b""
        return held


@message("finger.query", question=True)
class FingerQuery:
    """Somebody asks who is here."""
    user: str = key("the name asked for; empty for everybody")
    verbose: bool = key("`/W`: the long form is wanted")
    client: Address | None = key("who asks, or None on a Unix socket", None)


@message("finger.answer")
class FingerAnswer:
    """What is known."""
    text: str = key("any number of lines")


ANSWER = Spelling("finger.answer", FingerAnswer, {"text": "text"}, classic=True)


@dataclass(frozen=True)
class Options:
    idle: float = option(30.0, "seconds a client may take for its line (a guess)")
    timeout: float = option(10.0, "seconds the application may take for its answer (messages.md, Asking and deciding)")


async def session(link, options, shared):
    """One connection from first to last."""
    try:
        match await link.event(timeout=options.idle):
            case Query(user, verbose):
                match await link.ask(FingerQuery(user, verbose, link.peer), timeout=options.timeout):
                    case FingerAnswer(text) | Neutral(text=str(text)):
                        link.write(Reply(text))
            case Elapsed():
                link.close("silent")
            case _:             # Closed, HalfClosed or Stopping: nobody asked; and when a story ends, it hangs up
                pass
    except ProtocolError as error:
        link.write(Reply(f"{error.reason}."))
        link.close(error.reason, linger=True)
    except (NoVerdict, ChannelFull):
        link.write(Reply("Nobody can say now. Please ask again."))


finger = Interface(
    name="finger", summary="Finger (RFC 1288): who is here.", wire=FingerWire, session=session,
    sends=(FingerQuery,), replies=(ANSWER,), options=Options)

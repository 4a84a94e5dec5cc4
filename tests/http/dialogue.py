"""Talking to the wire of HTTP/1."""
from interfaces.contract import ProtocolError
from interfaces.http.protocol import Data, End, HttpWire, Request
from tests.http.corpus import Case


def events(wire: HttpWire, said: bytes = b"") -> list:
    """What comes of it. A fault is the last item."""
    assert wire.receive(said) == b""
    found = []
    try:
        while (event := wire.next_event()) is not None:
            found.append(event)
    except ProtocolError as error:
        found.append(error)
    return found


def read(pieces, wire=None) -> Case:
    """What comes of a conversation, however it was cut, in the words of the corpus."""
    wire, requests, now, code = wire or HttpWire(), [], None, None
    for piece in pieces:
        for event in events(wire, piece):
            match event:
                case Request():
                    assert now is None
                    now = (event.method, event.path, b"")
                case Data(data):
                    assert 0 < len(data) <= 65536
                    now = (*now[:2], now[2] + data)
                case End():
                    requests.append(now)
                    now = None
                case ProtocolError():
                    code = event.code
    return Case("", "", b"", tuple(requests), now, code)


def outcome(case: Case) -> tuple:
    return case.requests, case.cut, case.code


def asked(said: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", **settings) -> HttpWire:
    """A wire that has given out all of what was said."""
    wire = HttpWire(server=b"s", **settings)
    events(wire, said)
    return wire


def only(said: bytes) -> Request:
    first, end = events(HttpWire(), said)
    assert end == End()
    return first

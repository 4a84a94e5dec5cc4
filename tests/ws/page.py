"""A page whose WebSocket is carried by requests: each has a connection of its own."""
import json

from twisted.internet.error import ConnectionLost

from tests.ws.client import Client

FIELDS = {"Host": b"example.test", "Origin": b"https://example.test"}
JSON = {"Content-Type": b"application/json"}
EVENTS = {"Accept": b"text/event-stream"}


class Answer:
    """What comes to one request."""

    def __init__(self, page):
        self.page, self.transport, self.data = page, page.transport, b""

    def heard(self) -> bytes:
        """All of it so far, as it came."""
        self.data += self.transport.read()
        self.page.settle()
        return self.data

    @property
    def status(self) -> int | None:
        data = self.heard()
        return int(data.split(b" ", 2)[1]) if data else None

    @property
    def fields(self) -> dict[bytes, bytes]:
        lines = self.heard().partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}

    @property
    def body(self) -> bytes:
        """Chunks undone."""
        body = self.heard().partition(b"\r\n\r\n")[2]
        if b"transfer-encoding" not in self.fields:
            return body
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            size = int(size, 16)
            whole, body = whole + body[:size], body[size + 2:]
        return whole

    @property
    def entries(self):
        assert self.status == 200, self.heard()
        return json.loads(self.body)

    @property
    def whole(self) -> bool:
        """The answer is complete."""
        data = self.heard()
        if b"transfer-encoding" in self.fields:
            return data.endswith(b"0\r\n\r\n")
        return bool(data) and len(self.body) == int(self.fields.get(b"content-length", b"0"))

    def events(self) -> list[tuple]:
        """(number, value) of messages, ("ping",), ("comment",), as they came since the last time."""
        body, found = self.body, []
        for block in body[getattr(self, "seen", 0):].split(b"\n\n")[:-1]:
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
            if b"id" in fields:
                found.append((int(fields[b"id"]), json.loads(fields[b"data"])))
            else:
                found.append(("ping",) if fields.get(b"event") == b"ping" else ("comment",))
        self.seen = len(body)
        return found

    def says(self, data: bytes):
        self.transport.unread += data
        self.transport.feed()
        self.page.settle()

    def leaves(self):
        self.transport.lost(ConnectionLost())
        self.page.settle()


class Page(Client):
    """`page.opens()`; `page.polls()`, `page.streams()`; `page.posts("x")`. `session`, `acknowledged`, `number`: its own."""
    session, acknowledged, number = "", 0, 0

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.answers = []

    @property
    def carrier(self):
        return self.factory.siblings["ws"].carriers.live.get(self.session)

    def requests(self, method, query="", body=None, path="/chat", **fields) -> Answer:
        """`fields`: a None takes one out."""
        wanted = FIELDS | (JSON if body is not None else {}) | {k.replace("_", "-"): v for k, v in fields.items()}
        if body is not None:
            wanted["Content-Length"] = b"%d" % len(body)
        head = f"{method} {path}{'?' + query if query else ''} HTTP/1.1\r\n".encode()
        head += b"".join(k.encode() + b": " + v + b"\r\n" for k, v in wanted.items() if v is not None)
        self.connects()
        self.says(head + b"\r\n" + (body or b""))
        self.answers.append(Answer(self))
        return self.answers[-1]

    def asks_for_session(self, body=b"", query="ws-session=new", **fields) -> Answer:
        return self.requests("POST", query, body, **fields)

    def opens(self, body=b"", **accept):
        answer = self.asks_for_session(body)
        self.connect = self.app.got("websocket.connect")
        assert answer.heard() == b"", "nothing is answered before the verdict"
        self.app.replies(type_="websocket.accept", **accept)
        assert answer.status == 200, answer.heard()
        self.session = answer.fields[b"ws-session"].decode()
        self.opened = answer
        return self

    def query(self, **more) -> str:
        return "&".join([f"ws-session={self.session}", *(f"{key}={value}" for key, value in more.items())])

    def polls(self, ack=None, **fields) -> Answer:
        return self.requests("GET", self.query(**({} if ack is None else {"ack": ack})), Origin=None, **fields)

    def streams(self, ack=None, **fields) -> Answer:
        return self.polls(ack, **EVENTS, **fields)

    def posts(self, *values, ack=None, **fields) -> Answer:
        """These entries, numbered on."""
        entries = []
        for value in values:
            self.number += 1
            entries.append([self.number, value])
        return self.posts_body(json.dumps(entries).encode(), ack, **fields)

    def posts_body(self, body, ack=None, **fields) -> Answer:
        return self.requests("POST", self.query(**({} if ack is None else {"ack": ack})), body, **fields)

    def leaves_all(self):
        for answer in self.answers:
            answer.leaves()

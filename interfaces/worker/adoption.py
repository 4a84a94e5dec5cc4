"""Telling the server whose a request is, where its layer doesn't (messages.md, Ownership; decision 0010).

A quick answer needs no claim and costs no second message. A request that is still uploaded is claimed at once, one that
takes long when it has taken ADOPT seconds, and an answer in many pieces with its first piece. Now and then a quick answer
is a claim too: so each server knows which workers there are, and notices when one is killed (decision 20)."""
import asyncio
import time
from collections import deque

ADOPT = 0.2                  # seconds, a guess: what is quicker is over before its client could leave
SHOW = 10.0                  # seconds between two quick answers that are claims, for each server; as its pings
SERVERS = 1000               # that are remembered, a guess


class Adoption:
    def __init__(self, layer):
        self.layer, self.needed = layer, layer.adopts or layer.reads_bodies
        self.young: deque[tuple[float, object]] = deque()
        self.shown: dict[str, float] = {}                # server -> when it was last shown who we are
        self.timer: asyncio.TimerHandle | None = None

    def begin(self, request) -> None:
        """On the loop."""
        message = request.message
        if message.get("more_body") and message.get("body_channel"):
            request.body = self.layer.inbox.open_body(message["body_channel"], request.hear, lambda: len(request.parts))
        if not self.layer.adopts:
            return
        if message.get("more_body"):
            return self.adopt(request)
        loop = asyncio.get_running_loop()
        self.young.append((loop.time() + ADOPT, request))
        if self.timer is None:
            self.timer = loop.call_at(self.young[0][0], self.grown, loop)

    def grown(self, loop: asyncio.AbstractEventLoop) -> None:
        while self.young and self.young[0][0] <= loop.time():
            _, request = self.young.popleft()
            if not request.complete and not request.is_gone:
                self.adopt(request)
        self.timer = loop.call_at(self.young[0][0], self.grown, loop) if self.young else None

    def adopt(self, request) -> None:
        if keys := self.claim(request):
            self.layer.reply(request.reply_channel, {"type": "interface.credit", "handled": 0} | keys)

    def claim(self, request, more: bool = True) -> dict:
        """What a reply carries that claims the request, the first time. `more`: it isn't the last. From any thread."""
        if request.adopted or not self.layer.adopts:
            return {}
        now, server = time.monotonic(), request.reply_channel.partition("!")[0]
        if not more and now < self.shown.get(server, -SHOW) + SHOW:
            return {}
        if len(self.shown) >= SERVERS:
            self.shown.clear()
        self.shown[server] = now
        request.adopted = True
        return {"receive_channel": self.layer.inbox.owner, "epoch": request.message.get("epoch") or 0}

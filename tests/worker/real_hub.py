"""The real hub in a process of its own: `python -m tests.worker.real_hub PATH COUNT PATHNAME`.

Says "ready", asks COUNT requests of whoever listens, 32 at a time, and prints what became of them as JSON."""
import json
import sys
import time

from twisted.internet import defer, reactor

from interfaces.layers.local import LocalLayer
from tests.worker.hub import http_request


class Asker:
    def __init__(self, path, count, pathname):
        self.layer = LocalLayer(reactor, path)
        self.left, self.pathname, self.asked = count, pathname, {}
        self.answers, self.twice, self.owned, self.lost = {}, 0, set(), 0

    async def begin(self):
        self.address = await self.layer.open("reply", self.deliver)
        print("ready", flush=True)
        for _ in range(32):
            self.ask()

    def ask(self):
        if self.left:
            self.left -= 1
            message = http_request(self.pathname, deadline=time.time() + 30)
            connection = message["reply_channel"].partition("!")[2]
            message["reply_channel"] = f"{self.address.prefix}!{connection}"
            self.asked[connection] = True
            self.layer.send("http.request", message)
        elif not self.asked:
            self.end()

    def deliver(self, connection, item):
        if not isinstance(item, dict):
            if getattr(item, "owner", None):
                self.owned.add(connection)
            elif connection == "":
                self.lose()
        elif connection in self.answers:
            self.twice += 1
        elif "status" in item:
            self.answers[connection] = item["status"]
            self.forget(connection)

    def lose(self):
        """An owner died: as the HTTP session does, what it had begun is over, what it had not goes on."""
        for connection in [c for c in self.asked if c in self.owned]:
            self.lost += 1
            self.forget(connection)

    def forget(self, connection):
        self.asked.pop(connection, None)
        self.address.forget(connection)
        if len(self.answers) == 100:
            print("hundred", flush=True)
        self.ask()

    def end(self):
        print(json.dumps({"answered": len(self.answers), "statuses": sorted(set(self.answers.values())),
                          "twice": self.twice, "lost": self.lost}), flush=True)
        reactor.stop()


if __name__ == "__main__":
    asker = Asker(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    defer.ensureDeferred(asker.begin())
    reactor.run()

"""All protocols at once while their workers, each of which serves all of them, are replaced or killed, and what must hold then.

    make soak ARGS="--layer redis --signal KILL --seconds 600"

Ends with 1 and says what did not hold. `test_deploys.py` does the same for a few seconds."""
import argparse
import asyncio
import contextlib
import hashlib
import http.client
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from redis_server import RedisServer

from tests.sockets.crowd import Crowd
from tests.sockets.device import VERSIONS, Talker
from tests.sockets.processes import House, until

CHANNELS = ("http.request", "websocket.connect", "mqtt.connect")
SOCKETS, BROWSERS = 20, 6
NOTICED = 6.0           # seconds until a killed worker is missed on Redis; decision 20
SLACK = 6.0             # seconds, a guess: what the next one may take to begin and to answer
BROKEN = (http.client.HTTPException, ConnectionError)


class Browser(threading.Thread):
    """It asks for one page after the other. `statuses`; `wrong`: answers that were not to what was asked; `broken`: those that
    ended in the middle; `longest`: seconds for one."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.stopped = port, False
        self.statuses, self.wrong, self.broken, self.longest = Counter(), [], 0, 0.0

    def run(self):
        while not self.stopped:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
                with contextlib.suppress(http.client.NotConnected):      # it was closed after the last answer
                    connection.auto_open = False
                    connection.connect()
                    while not self.stopped:
                        self.asks(connection)

    def asks(self, connection):
        number, body = random.getrandbits(32), random.randbytes(random.choice((0, 300_000)))
        path, body, wanted = random.choice([
            (f"/hello?name={number}", None, f"hello {number}".encode()),
            ("/digest", body, hashlib.sha256(body).hexdigest().encode()),
            ("/stream?n=500", None, b"".join(b"%d\n" % line for line in range(500))),
            ("/slow?s=0.3", None, b"slept")])
        began = time.monotonic()
        try:
            connection.request("GET" if body is None else "POST", path, body)
            answer = connection.getresponse()
            said = answer.read()
        except http.client.NotConnected:
            raise
        except BROKEN:
            self.broken += 1
            connection.close()
        else:
            self.statuses[answer.status] += 1
            if answer.status == 200 and wanted not in said:
                self.wrong.append((path, said[:100]))
        self.longest = max(self.longest, time.monotonic() - began)
        time.sleep(random.random() * 0.05)


class Soak:
    """A server, two workers for everything, and those who use them. `layer`: "local" or "redis"."""

    def __init__(self, house: House, layer: str):
        self.house, self.lasting, self.options = house, contextlib.ExitStack(), []
        if layer == "redis":
            redis = self.lasting.enter_context(RedisServer())
            house.environment |= {"SITE_REDIS": redis.url, "SITE_LAYER": "redis"}
            self.options = ["--layer", redis.url]
        self.layer = layer

    def __enter__(self):
        self.house.manage("migrate", "-v0")
        self.server = self.house.broker(*self.options)
        self.workers = [self.begins(), self.begins()]
        self.browsers = [Browser(self.house.port) for _ in range(BROWSERS)]
        self.talkers = [Talker(self.house.mqtt, f"talker{version}{qos}", version, qos)
                        for version in VERSIONS for qos in (1, 2)]
        for browser in self.browsers:
            browser.start()
        return self

    def __exit__(self, *error):
        for browser in self.browsers:
            browser.stopped = True
        for talker in self.talkers:
            talker.leaves()
        self.lasting.close()

    def begins(self):
        worker = self.house.worker("all", CHANNELS, server=None if self.layer == "redis" else self.server)
        if self.layer == "redis":
            until(lambda: "connected to Redis" in worker.text, "it is there", 20)
        return worker

    async def replaced(self, seconds: float, number: int):
        """One worker after the other, or both at once, after the new ones have come or before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count, late = random.choice((1, 1, 2)), random.random() < 0.5
            leaving, self.workers = self.workers[:count], self.workers[count:]
            for begin in (late, not late):
                if begin:
                    done = await asyncio.gather(*[asyncio.to_thread(worker.ends, number) for worker in leaving])
                    assert number == signal.SIGKILL or done == [0] * count, f"they ended with {done}: {leaving[0].text[-2000:]}"
                else:
                    for _ in range(count):
                        self.workers.append(await asyncio.to_thread(self.begins))

    async def holds(self, seconds: float, number: int) -> str:
        """Raises AssertionError; a line of what was done."""
        killed = number == signal.SIGKILL
        async with Crowd(f"{self.house.ws}/echo", SOCKETS) as crowd:
            await self.replaced(seconds, number)
            await crowd.goes_on("after", 1, 30)
            await crowd.falls_silent()
            lost = sum(map(len, crowd.lost))
            assert (crowd.dropped, crowd.doubled, crowd.disordered) == (0, 0, 0) and (killed or not lost), (
                crowd.dropped, crowd.doubled, crowd.disordered, lost)
            said = sum(client.sent for client in crowd.clients)
        for browser in self.browsers:
            browser.stopped = True
        for browser in self.browsers:
            await asyncio.to_thread(browser.join, 60)
        statuses = sum((browser.statuses for browser in self.browsers), Counter())
        assert not any(browser.wrong for browser in self.browsers), [browser.wrong for browser in self.browsers]
        assert set(statuses) <= ({200, 502} if killed else {200}), statuses
        assert killed or not any(browser.broken for browser in self.browsers), "an answer was cut"
        longest = max(browser.longest for browser in self.browsers)
        assert longest < NOTICED + SLACK, f"{longest:.1f} s for an answer"
        for talker in self.talkers:
            await asyncio.to_thread(talker.falls_silent)
            assert not talker.ended, f"{talker.name} was ended"
            talker.was_heard(self.house.noted)
        assert "Traceback" not in self.server.text and "Unhandled" not in self.server.text, self.server.text[-3000:]
        told = sum(talker.sent for talker in self.talkers)
        return (f"{len(self.house.programs) - 1} workers; {said} messages by {SOCKETS} sockets, {lost} lost; {told} by "
                f"devices; {dict(statuses)} for {BROWSERS} browsers, the slowest {longest:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer", choices=["local", "redis"], default="local")
    parser.add_argument("--signal", choices=["TERM", "KILL"], default="TERM")
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, contextlib.closing(House(Path(folder))) as house:
        with Soak(house, asked.layer) as soak:
            try:
                print(asyncio.run(soak.holds(asked.seconds, signal.Signals[f"SIG{asked.signal}"])))
            except AssertionError as error:
                sys.exit(f"does not hold: {error}")


if __name__ == "__main__":
    main()

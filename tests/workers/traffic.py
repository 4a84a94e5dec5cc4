"""What the tests of bad days share: a site under traffic, and what must be true of it whatever happens."""
import contextlib
import http.client
import itertools
import threading
from collections import Counter

from tests.sockets.processes import until

PACE = 0.02     # seconds between two requests of a client, a guess: a refused one comes back in one, and is to leave some air
LINES = 60      # of a log after a bad day: a line per change of state; one per request would be hundreds. A guess


class Traffic:
    """Four clients that ask again and again until they are stopped. Each request has a number, which the view notes."""

    def __init__(self, site):
        self.site, self.stopped, self.numbers, self.heard = site, threading.Event(), itertools.count(), []
        self.asked: set[int] = set()        # and not yet answered
        self.clients = [threading.Thread(target=self.ask) for _ in range(4)]

    def ask(self):
        while not self.stopped.is_set():
            self.asked.add(number := next(self.numbers))
            self.heard.append((self.status(f"/note?id={number}"), number))
            self.asked.discard(number)
            self.stopped.wait(PACE)

    def status(self, path) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=30)) as client:
            client.request("GET", path, headers={"Connection": "close"})
            response = client.getresponse()
            response.read()
            return response.status

    @property
    def statuses(self) -> Counter:
        """How often each was heard."""
        return Counter(status for status, _ in self.heard)

    @property
    def unanswered(self) -> int:
        """How often a client was told that nobody answers."""
        return self.statuses[503] + self.statuses[504]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *error):
        self.stopped.set()
        for client in self.clients:
            client.join(40)

    def goes_on(self, more=20):
        """So many requests are answered with 200 from now on."""
        before = self.statuses[200]
        until(lambda: self.statuses[200] >= before + more, f"traffic flows; so far {self.statuses}", 60)

    def refused(self):
        """From now on a client is told 503."""
        before = self.statuses[503]
        until(lambda: self.statuses[503] > before, f"clients are told; so far {self.statuses}", 20)


    def settles(self):
        """Whatever was asked before has come to its end."""
        before = set(self.asked)
        until(lambda: not before & self.asked, "all of them have ended", 40)


@contextlib.contextmanager
def terse(*programs):
    """A bad day, and no more than a few lines about it."""
    before = [len(program.text.splitlines()) for program in programs]
    yield
    for program, lines in zip(programs, before, strict=True):
        assert len(program.text.splitlines()) - lines < LINES, program.text


def twice(site) -> dict[str, int]:
    """What was run more than once."""
    return {number: count for number, count in Counter(site.noted).items() if count > 1}


@contextlib.contextmanager
def flowing(site, patience=4, doubled=0):
    """A server that waits `patience` seconds for an answer, and a stock runworker on our layer, under traffic. Nothing ends,
    no client hears anything but 200, 503 and 504, what was answered was run, no more than `doubled` were run twice. How much
    is logged is for each day to say (`terse`)."""
    site.server = site.twistd("--http-timeout", patience)
    site.worker_ = site.modern("wsgi", "ours")
    until(lambda: site.status("/hello") == 200, "all is well")
    with Traffic(site) as traffic:
        traffic.goes_on()
        yield traffic
    assert set(traffic.statuses) <= {200, 503, 504}, traffic.statuses
    for program in (site.server, site.worker_):
        assert program.process.poll() is None, f"{program.name} ended:\n{program.text[-3000:]}"
        assert "Traceback" not in program.text, program.text[-5000:]
    noted = set(site.noted)
    assert {str(number) for status, number in traffic.heard if status == 200} <= noted, "answered and not run"
    assert len(twice(site)) <= doubled, f"run more than once: {twice(site)}"

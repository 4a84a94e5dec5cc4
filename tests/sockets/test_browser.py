"""The chat's page in real browsers, while the worker behind it is changed by the keys of `make demo`."""
import re

import pytest

from tests.sockets.demos import demos

pytestmark = pytest.mark.slow
STATE = r"connected for (\d+ min )?\d+ s by {by}, worker pid {workers}"
# As behind a proxy that knows no WebSocket.
NO_WEBSOCKET = """WebSocket = class {
    constructor() { setTimeout(() => this.onclose({code: 1006, reason: ""})); }
    close() {}
}"""


@pytest.fixture
def demo():
    with demos() as start:
        yield start(keys=True)


class Visitor:
    """Somebody who looks at the page and types."""

    def __init__(self, chromium, demo, name: str, first: str = ""):
        self.tab, self.name = chromium.visits(demo.url, first), name
        self.tab.until("document.querySelector('#state')?.className === 'live'")
        self.tab.types("[name=name]", name)

    def says(self, text: str):
        self.tab.types("[name=text]", text, "Enter")

    @property
    def lines(self) -> list[list[str]]:
        return self.tab.value("Array.from(document.querySelectorAll('#lines li'),"
                              " line => [line.children[0].innerText, line.children[1].innerText])")

    def reads(self, text: str):
        self.tab.until(f"Array.from(document.querySelectorAll('#lines span')).some(span => span.innerText === {text!r})")

    def sees(self, *names: str):
        present = "Array.from(document.querySelectorAll('#present li'), one => one.innerText).join()"
        self.tab.until(f"{present} === {','.join(names)!r}")

    def sees_worker(self, pid: str):
        self.tab.until(f"document.querySelector('#state').dataset.workers.split(' ').at(-1) === {pid!r}")

    @property
    def sockets(self) -> tuple[str, str]:
        """How many were opened, and closed, by the page's own counters."""
        return tuple(self.tab.value("(({opened, closed}) => [opened, closed])(document.querySelector('#state').dataset)"))

    @property
    def state(self) -> str:
        return self.tab.value("document.querySelector('#state').innerText")


def test_pages_talk_while_the_worker_is_changed_and_no_socket_is_closed(demo, chromium):
    demo.is_ready()
    ann, bob = Visitor(chromium, demo, "ann"), Visitor(chromium, demo, "bob")
    eve = Visitor(chromium, demo, "eve", NO_WEBSOCKET)
    everybody, said, workers = (ann, bob, eve), [], [str(demo.children()["runworker"])]
    for one in everybody:
        one.says(f"{one.name} is here")
        said.append([one.name, f"{one.name} is here"])
    for one in everybody:
        one.sees("ann", "bob", "eve")

    for key, line in (("r", r"worker (\d+) is here, .*"), ("k", r"worker \d+ was killed, worker (\d+) is here .*")):
        demo.press(key)
        for one in everybody:
            one.says(f"{one.name} says {key}")          # while it happens
            said.append([one.name, f"{one.name} says {key}"])
        workers.append(re.fullmatch(line, demo.says().strip())[1])
        for one in everybody:
            one.sees_worker(workers[-1])
    for one in everybody:
        for _, text in said:
            one.reads(text)
        assert sorted(one.lines) == sorted(said)        # each once
        assert one.sockets == ("1", "0")
        by = "requests" if one is eve else "a WebSocket"
        assert re.fullmatch(STATE.format(by=by, workers=" → ".join(workers)), one.state)
        one.sees("ann", "bob", "eve")
    demo.press("q")
    assert demo.ends()[0] == 0
    ann.tab.until("document.querySelector('#state').innerText.startsWith('away')")
    assert ann.sockets == ("1", "1")

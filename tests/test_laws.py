"""The laws over every interface that is installed: thousands of storms, each replayable by its seed."""
import os
import re
from pathlib import Path

import pytest

from interfaces.laws import chunking, storm
from interfaces.registry import find

SEEDS = int(os.environ.get("CHANNELS_INTERFACES_SEEDS", "4000"))
INTERFACES = find()[0]


def corpus(name: str) -> list[bytes]:
    """The bytes of tests/<room>/corpus.py, good and bad."""
    scope = {}
    source = Path(__file__).parent / name / "corpus.py"
    exec(compile(source.read_text(), str(source), "exec"), scope)   # tests/ is no package
    return list(scope["storm_corpus"]())


@pytest.mark.parametrize("name", [name for name in INTERFACES if (Path(__file__).parent / name).exists()])
def test_whatever_happens_the_laws_hold(name):
    entries = corpus(name)
    for seed in range(SEEDS):
        storm(INTERFACES[name], entries, seed)


@pytest.mark.parametrize("name", [name for name in INTERFACES if (Path(__file__).parent / name).exists()])
def test_how_bytes_are_cut_changes_nothing(name):
    def answer(message):
        return {"status": 200, "content": b"ok"} if message["type"] == "http.request" else None
    for seed, entry in enumerate(corpus(name)):
        if len(entry) < 5000:       # each byte is a step of its own
            chunking(INTERFACES[name], entry, answer, seed)


def test_every_room_has_a_corpus():
    rooms = {path.parent.name for path in (Path(__file__).parent.parent / "interfaces").glob("*/plugin.py")}
    assert rooms == {path.parent.name for path in Path(__file__).parent.glob("*/corpus.py")} & rooms
    assert rooms <= set(INTERFACES) and all(re.fullmatch("[a-z-]+", name) for name in rooms)

"""The laws over every interface that is installed: thousands of storms, each replayable by its seed."""
import importlib
import os
import re
from pathlib import Path

import pytest

from interfaces.laws import chunking, storm
from interfaces.registry import find

SEEDS = int(os.environ.get("CHANNELS_INTERFACES_SEEDS", "2000"))
INTERFACES = find()[0]


def corpus(name: str) -> tuple[list[bytes], tuple | None]:
    """The bytes of tests/<room>/corpus.py, good and bad; what leads to a room that is reached by an upgrade."""
    module = importlib.import_module(f"tests.{name}.corpus")
    through = (INTERFACES["http"], module.OPENING) if INTERFACES[name].role == "upgrade" else None
    return list(module.storm_corpus()), through


def answer(message):
    return {"http.request": {"status": 200, "content": b"ok"}, "websocket.connect": {"accept": True},
            "mqtt.connect": {"type_": "mqtt.accept", "relay": True, "subscribe_acl": ["#"]}}.get(message["type"])


@pytest.mark.parametrize("name", [name for name in INTERFACES if (Path(__file__).parent / name).exists()])
def test_whatever_happens_the_laws_hold(name):
    entries, through = corpus(name)
    for seed in range(SEEDS):
        storm(INTERFACES[name], entries, seed, through)


@pytest.mark.parametrize("name", [name for name in INTERFACES if (Path(__file__).parent / name).exists()])
def test_how_bytes_are_cut_changes_nothing(name):
    entries, through = corpus(name)
    for seed, entry in enumerate(dict.fromkeys(entries)):       # a corpus repeats what it wants to happen often
        if len(entry) < 5000:       # each byte is a step of its own
            chunking(INTERFACES[name], entry, answer, seed, through)


def test_every_room_has_a_corpus():
    rooms = {path.parent.name for path in (Path(__file__).parent.parent / "interfaces").glob("*/plugin.py")}
    assert rooms == {path.parent.name for path in Path(__file__).parent.glob("*/corpus.py")} & rooms
    assert rooms <= set(INTERFACES) and all(re.fullmatch("[a-z-]+", name) for name in rooms)

import os
import subprocess
import zipfile

import pytest

from tests.workers import environments
from tests.workers.environments import Environment, Unavailable


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "CACHE", tmp_path / "cache")
    return tmp_path / "tiny-1-py3-none-any.whl"


def write(wheel):
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\n"
                         "Root-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "")


def test_one_that_was_broken_off_is_made_again_and_a_finished_one_is_kept(wheel):
    tiny = Environment("tiny", (str(wheel),))
    with pytest.raises(Unavailable, match="(?s)the tiny worker can't be made.*tiny-1-py3"):
        tiny.python()
    assert tiny.folder.exists()
    write(wheel)
    python = tiny.python()
    assert subprocess.run([python, "-c", "import tiny"]).returncode == 0
    wheel.unlink()
    assert tiny.python() == python


def test_what_it_holds_decides_where_it_is(wheel):
    folders = {Environment(name, held).folder for name in "ab" for held in (("x==1",), ("x==2",), ("x==1", "x==2"))}
    assert len(folders) == 6 and {folder.parent for folder in folders} == {environments.CACHE}


def test_without_its_python_it_says_so(wheel, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(Unavailable, match=r"^the old worker needs python2\.7$"):
        Environment("old", (), version="2.7").python()

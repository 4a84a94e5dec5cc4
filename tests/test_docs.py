"""What the documents say is so: generated pages are fresh, links lead somewhere, options exist, code compiles."""
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from interfaces.options import methods

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
# Options of twistd, pip and pytest that our pages name.
FOREIGN = {"pidfile", "logfile", "uid", "gid", "umask", "reactor", "version", "help", "no-deps", "ignore"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCED.findall(page.read_text()) if kind == language]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(page)))
    return {title.strip().replace(" ", "-") for title in titles}


def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def known_options() -> set[str]:
    """Every option of twistd channels-interfaces, with the names that the interfaces of this tree add."""
    found = {interface.name: interface for interface in generate().ours()}
    return {name.removeprefix("opt_").replace("_", "-") for name in methods(found)}


def test_the_messages_page_is_what_the_generator_makes():
    assert (ROOT / "docs" / "messages.md").read_text() == generate().text(), "make docs"


def test_the_messages_page_names_every_message_and_every_key():
    page = (ROOT / "docs" / "messages.md").read_text()
    for interface in generate().ours():
        for sent in interface.sends:
            assert f"`{sent.__message__.name}`" in page
            assert all(f"| {key} |" in page for key in sent.__dataclass_fields__)
        for spelling in interface.replies:
            assert f"`{spelling.name}`" in page
            assert all(f"| {key} |" in page for key in spelling.keys.values())


def run_generator(folder: Path, *arguments, **environment):
    """A copy of the generator, which writes its page beside itself."""
    copy = folder / "generate.py"
    copy.write_bytes((ROOT / "docs" / "generate.py").read_bytes())
    return subprocess.run([sys.executable, copy, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True,
                          text=True, timeout=60)


def test_the_generator_says_when_the_page_is_out_of_date(tmp_path):
    assert run_generator(tmp_path, "--check").returncode == 1
    assert run_generator(tmp_path).returncode == 0 and run_generator(tmp_path, "--check").returncode == 0
    with (tmp_path / "messages.md").open("a") as page:
        page.write("by hand\n")
    late = run_generator(tmp_path, "--check")
    assert late.returncode == 1 and "make docs" in late.stderr


def test_a_strangers_interface_is_left_out(tmp_path):
    stranger = tmp_path / "stranger-1.dist-info"
    stranger.mkdir()
    (stranger / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (stranger / "entry_points.txt").write_text("[channels_interfaces]\nfinger = finger:finger\n")
    path = os.pathsep.join([str(ROOT), str(ROOT / "examples" / "finger"), str(tmp_path)])
    installed = subprocess.run([sys.executable, "-c", "from interfaces.registry import find; print(*find()[0])"],
                               env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert installed.stdout.split() == ["finger", "http", "mqtt", "ws"], installed.stderr
    assert run_generator(tmp_path, PYTHONPATH=path).returncode == 0
    assert (tmp_path / "messages.md").read_text() == (ROOT / "docs" / "messages.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{named(page)} links to {target}"
        assert found == ROOT or ROOT in found.parents, f"{target} leads out of the tree"
        assert not anchor or anchor in anchors(found), f"{named(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_option_that_is_named_exists(page):
    known = known_options() | FOREIGN
    if page.name == "write-a-protocol.md":
        known |= {"finger", "finger-idle", "finger-timeout"}
    text = page.read_text()
    for option in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])", text):
        assert option in known, f"{named(page)} names --{option}"


def test_the_operations_page_names_every_option():
    page = (ROOT / "docs" / "operations.md").read_text()
    assert {option for option in known_options() if f"--{option}" not in page} == set()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_python_blocks_compile(page):
    for code in blocks(page, "python"):
        compile(code, named(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page):
    """`interfaces/http/session.py` and the like, wherever they stand in code marks."""
    for path in re.findall(r"`((?:interfaces|tests|examples|docs|benchmarks)/[\w./-]+\.(?:py|md))`", prose(page)):
        assert (ROOT / path).exists(), f"{named(page)} names {path}"


@pytest.fixture
def project(tmp_path):
    """A new Django project with the settings that the README asks for. Gives a function that runs a script in it."""
    settings, asgi, consumer, _, counter = blocks(ROOT / "README.md", "python")

    def run(*command):
        kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=kept, capture_output=True, text=True,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    run("-m", "django", "startproject", "mysite", ".")
    with (tmp_path / "mysite" / "settings.py").open("a") as file:
        file.write(settings)
    (tmp_path / "mysite" / "asgi.py").write_text(asgi)
    (tmp_path / "mysite" / "held.py").write_text(consumer)
    (tmp_path / "mysite" / "counter.py").write_text(counter)
    return run


@pytest.mark.slow
def test_the_settings_and_the_asgi_file_of_the_readme_make_a_project(project):
    assert "no issues" in project("manage.py", "check")
    assert project("-c", "from mysite.asgi import application as made; "
                         "print(type(made).__name__, type(made.layer).__name__); "
                         "print(made.layer.inbox.hostings['http.request'].slots)") == "OverChannels LocalChannelLayer\n16"
    assert "channels" in project("manage.py", "runworker", "--help")


@pytest.mark.slow
def test_the_counter_of_the_readme_counts_on_in_the_next_worker(project):
    assert project("-c", """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
django.setup()
from mysite.counter import Counter

one, two = Counter(), Counter()
one.send_json = lambda content: print(content)
one.receive_json({})
one.receive_json({})
two.restore(one.get_state())
print(two.count)
""").split("\n") == ["{'count': 1}", "{'count': 2}", "2"]


@pytest.mark.slow
def test_the_long_poll_of_the_readme_holds_a_request_and_its_group_message_answers_it(project):
    answer = blocks(ROOT / "README.md", "python")[3].splitlines()
    sent = next(line for line in answer if line.startswith("answer = ")).removeprefix("answer = ")
    assert project("-c", f"""
import asyncio, os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from mysite.held import LongPoll

class Layer:
    async def group_add(self, *names):
        print(*names)

poll = LongPoll()
poll.channel_layer = Layer()
asyncio.run(poll.http_request({{"type": "http.request", "reply_channel": "interface.a!b"}}))
from interfaces.http.messages import REPLIES
from interfaces.schema import Replies
print(Replies(REPLIES).read({sent}).body.decode())
""").split("\n") == ["news interface.a!b", "It is Saturday."]

"""Who may import whom (ARCHITECTURE.md). Read from the sources, so that nothing need be imported."""
import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "interfaces"
ROOMS = [path.parent.name for path in HOUSE.glob("*/plugin.py")]
FILES = sorted(path for path in HOUSE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules a file imports; with `everywhere` also inside functions."""
    tree, found = ast.parse(path.read_text()), set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {part for part in parts if (HOUSE.parent / part.replace(".", "/")).with_suffix(".py").exists()}
            found |= modules or {node.module}
    return found


def ours(path: Path) -> set[str]:
    return {module for module in imports(path) if module.split(".")[0] == "interfaces"}


def foreign(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)} - {"interfaces"}


@pytest.mark.parametrize("name", ["contract", "schema"])
def test_the_shared_words_import_nothing_of_ours(name):
    assert ours(HOUSE / f"{name}.py") == set()
    assert not foreign(HOUSE / f"{name}.py") & {"twisted", "django", "channels", "asyncio"}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_their_own_files_the_contract_and_the_schema(room):
    for path in (HOUSE / room).glob("*.py"):
        own = {f"interfaces.{room}.{other.stem}" for other in (HOUSE / room).glob("*.py")}
        assert ours(path) <= own | {"interfaces.contract", "interfaces.schema"}, path
        assert not foreign(path) & {"twisted", "zope", "django", "channels", "asyncio"}, path
    assert "interfaces.schema" not in ours(HOUSE / room / "protocol.py"), "a wire knows no messages"


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name != "worker"], ids=name_of)
def test_only_the_worker_imports_django_and_asyncio(path):
    allowed = {"asyncio"} if path.name == "foreign.py" else set()      # layers that are not ours run on asyncio
    assert foreign(path) & {"django", "channels", "asyncio"} <= allowed, path
    if path.name != "service.py":           # the single-process mode, when it is asked for
        assert not any(module.startswith("interfaces.worker") for module in ours(path)), path


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "worker"], ids=name_of)
def test_the_worker_never_imports_twisted(path):
    assert not foreign(path) & {"twisted", "zope"}, path
    pure = {"interfaces.schema", "interfaces.layers.redis_settings", "interfaces.layers.redis_url", "interfaces.layers.shared"}
    pure |= {f"interfaces.layers.wire_{name}" for name in ("local", "redis", "channels", "classic", "values", "presence")}
    assert all(module in pure or module.startswith("interfaces.worker") for module in ours(path)), ours(path)


@pytest.mark.parametrize("path", [path for path in FILES if HOUSE / "layers" in path.parents], ids=name_of)
def test_layers_know_the_contract_and_one_another(path):
    assert all(module == "interfaces.contract" or module.startswith("interfaces.layers") for module in ours(path)), ours(path)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nobody_imports_the_reactor_before_twistd_has_chosen_it(path):
    assert "twisted.internet.reactor" not in imports(path)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
            assert "reactor" not in {alias.name for alias in node.names}, path


def test_files_are_small():
    long = {name_of(path): count for path in FILES if (count := len(path.read_text().splitlines())) > 320}
    assert not long, f"over 320 lines: {long}"

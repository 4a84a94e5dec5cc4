"""The command line: which layers, and who listens for which."""
import sys

import pytest
from twisted.python.usage import UsageError

from interfaces.layers.configured import Configured
from interfaces.layers.redis_settings import RedisSettings
from interfaces.options import options_class

Options = options_class()
PROJECT = """
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [("redis.example", 6379)]}},
    "hub": {"BACKEND": "interfaces.worker.layers.LocalChannelLayer"},
    "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
}
"""


def parsed(*arguments) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


def refused(*arguments) -> str:
    with pytest.raises(UsageError) as error:
        parsed(*arguments)
    return str(error.value)


def test_without_a_layer_it_is_local():
    options = parsed("--http", "8000")
    assert options.layers == {"": "local:"} and options.listen == [("http", "8000", "")]


def test_listeners_name_their_layer_and_the_others_have_the_one_without_a_name():
    options = parsed("--layer", "redis://a/?format=asgi_redis", "--layer", "new=redis://b/1?prefix=a=b", "--http", "8000",
                     "--http", "new@tcp:8001:interface=127.0.0.1", "--http", "unix:/run/a@b.sock")
    assert options.layers == {"": "redis://a/?format=asgi_redis", "new": "redis://b/1?prefix=a=b"}
    assert options.listen == [("http", "8000", ""), ("http", "tcp:8001:interface=127.0.0.1", "new"),
                              ("http", "unix:/run/a@b.sock", "")]


def test_where_all_layers_have_names_the_first_is_the_usual_one():
    options = parsed("--layer", "old=local:/a", "--layer", "new=local:/b", "--http", "8000", "--http", "new@8001")
    assert [layer for _, _, layer in options.listen] == ["old", "new"]


@pytest.mark.parametrize(("arguments", "said"), [
    (["--layer", "local:/a", "--layer", "local:/b", "--http", "1"], "two layers without a name"),
    (["--layer", "a=local:/a", "--layer", "a=local:/b", "--http", "1"], "two layers have this name"),
    (["--layer", "a=local:/a", "--http", "b@8000"], "there is no --layer b=URL"),
    (["--layer", "local:/a", "--layer", "b=local:/b", "--http", "8000"], "nothing listens for the layer b: --http b@8001"),
    (["--layer", "local:/a", "--layer", "b=local:/b", "--http", "b@8000"], "nothing listens for the layer without a name"),
    (["--layer", "local:/a", "--http", "8000", "--app", "a:b"], "leave --layer out"),
    (["--layer", "local:/a"], "nothing to listen on"),
])
def test_layers_that_do_not_fit_are_one_sentence(arguments, said):
    assert said in refused(*arguments)


def test_an_application_in_this_process_has_a_layer_of_its_own():
    assert parsed("--http", "8000", "--app", "a:b").layers == {"": "memory:"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The name of a settings module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")
    (tmp_path / "settings_of_options.py").write_text(PROJECT)
    monkeypatch.delitem(sys.modules, "settings_of_options", raising=False)
    return "settings_of_options"


def test_a_django_project_says_which_layer(project):
    options = parsed("--layer", f"django:{project}", "--layer", "hub=django:#hub", "--http", "8000", "--http", "hub@8001")
    default, hub = options.layers.values()
    assert isinstance(default, Configured) and isinstance(default.native, RedisSettings)
    assert hub.native == "local:" and hub.where == f"{project}#hub"


@pytest.mark.parametrize(("layer", "said"), [
    ("django:", "needs a settings module"), ("django:no.such.settings", "can't be imported"),
    ("django:{}#no", "it has default, hub, memory"),
])
def test_a_project_that_does_not_say_is_one_sentence(project, layer, said):
    assert said in refused("--layer", layer.format(project), "--http", "8000")

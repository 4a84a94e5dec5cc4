"""What CHANNEL_LAYERS says, read as the stock layers read it."""
import sys

import pytest

from interfaces.layers.configured import configured, read
from interfaces.layers.redis_settings import TLS, Host
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat

STOCK = "channels_redis.core.RedisChannelLayer"


def redis(backend=STOCK, **config):
    return configured("mysite.settings#default", {"BACKEND": backend, "CONFIG": config}).native


@pytest.fixture
def project(tmp_path, monkeypatch):
    """`project(name, text)`: a settings module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    return write


def test_the_settings_are_found_in_the_current_folder_or_by_the_environment(project, monkeypatch):
    project("settings_of_one", "CHANNEL_LAYERS = {'default': {'BACKEND': 'interfaces.worker.layers.LocalChannelLayer'},"
                               " 'other': {'BACKEND': 'some.Layer', 'CONFIG': {'a': 1}}}")
    found = read("settings_of_one")
    assert (found.where, found.native) == ("settings_of_one#default", "local:")
    other = read("settings_of_one#other")
    assert (other.where, other.native, other.backend, other.config) == ("settings_of_one#other", None, "some.Layer", {"a": 1})
    assert read("#other") == other       # DJANGO_SETTINGS_MODULE is set by now
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")
    with pytest.raises(ValueError, match="needs a settings module"):
        read("")


@pytest.mark.parametrize(("text", "said"), [
    ("", "has no 'default'"), ("CHANNEL_LAYERS = None", "has no 'default'"),
    ("CHANNEL_LAYERS = {'a': {}, 'b': {}}", "it has a, b"), ("import nowhere", "ModuleNotFoundError"),
    ("CHANNEL_LAYERS = {'default': 7}", "a BACKEND is a dotted name"), ("1 / 0", "ZeroDivisionError"),
    ("CHANNEL_LAYERS = {'default': {'BACKEND': 'a.B', 'CONFIG': [1]}}", "a CONFIG is a dict"),
])
def test_settings_that_will_not_do_are_one_sentence(project, text, said):
    project("settings_of_two", text)
    with pytest.raises(ValueError, match=said) as error:
        read("settings_of_two")
    assert "\n" not in str(error.value)


def test_our_own_local_layer():
    assert redis("interfaces.worker.layers.LocalChannelLayer") == "local:"
    assert redis("interfaces.worker.layers.LocalChannelLayer", path="/run/hub.sock", capacity=7) == "local:/run/hub.sock"


@pytest.mark.parametrize("backend", [STOCK, "interfaces.worker.layers.RedisChannelLayer"])
def test_redis_of_channels_4(backend):
    settings = redis(backend, hosts=[("redis.example", 6380)], prefix="p", expiry=30, capacity=200, group_expiry=60,
                     channel_capacity={"http.*": 500}, serializer_format="json", random_prefix_length=4)
    assert settings.hosts == (Host("tcp", "redis.example", 6380),)
    wire = settings.wire()
    assert isinstance(wire, ChannelsFormat)
    assert (wire.prefix, wire.expiry, wire.group_expiry, wire.capacity, wire.serializer, wire.random_prefix_length) == \
        ("p", 30, 60, 200, "json", 4)
    assert wire.capacity_of("http.request") == 500


@pytest.mark.parametrize("backend", ["asgi_redis.RedisChannelLayer", "asgi_redis.core.RedisChannelLayer"])
def test_redis_of_channels_1(backend):
    settings = redis(backend, hosts=["redis://redis.example/3", ("b", 1)], stats_prefix="s:", connection_kwargs={})
    wire = settings.wire()
    assert isinstance(wire, ClassicFormat) and (wire.prefix, wire.hosts, wire.stats_prefix) == ("asgi:", 2, "s:")
    assert settings.hosts == (Host("tcp", "redis.example", db=3), Host("tcp", "b", 1))


@pytest.mark.parametrize(("host", "found"), [
    ("redis://", Host("tcp", "localhost")),
    ("redis://:p%40ss@a:7/2", Host("tcp", "a", 7, db=2, password="p@ss")),
    ("redis://u:p@a?db=4", Host("tcp", "a", db=4, username="u", password="p")),
    ("valkey://a", Host("tcp", "a")),
    ("unix:///run/redis.sock?db=1", Host("unix", port=0, path="/run/redis.sock", db=1)),
    ({"address": "redis://a/1", "password": "x"}, Host("tcp", "a", db=1, password="x")),
    ({"host": "a", "port": "7", "db": 5, "username": "u", "password": "x"},
     Host("tcp", "a", 7, db=5, username="u", password="x")),
    ({"path": "/run/redis.sock"}, Host("unix", port=0, path="/run/redis.sock")),
    (["a", "9"], Host("tcp", "a", 9)),
])
def test_a_host_in_each_of_its_spellings(host, found):
    assert redis(hosts=[host]).hosts == (found,)


def test_without_hosts_it_is_the_stock_layers_default():
    assert redis().hosts == (Host("tcp", "localhost"),)


def test_tls():
    settings = redis(hosts=["rediss://a:7?ssl_ca_certs=/ca.pem"])
    assert settings.hosts == (Host("tls", "a", 7),) and settings.tls == TLS("/ca.pem")
    assert redis(hosts=[{"host": "a", "ssl": True, "ssl_certfile": "c", "ssl_keyfile": "k"}]).tls == TLS(None, "c", "k")


def test_sentinels():
    entry = {"sentinels": [("s1", 26379), ("s2", 26380)], "master_name": "m", "password": "x", "db": 2,
             "sentinel_kwargs": {"password": "y"}}
    settings = redis(hosts=[entry, entry | {"master_name": "n"}])
    assert settings.masters == ("m", "n") and settings.master == Host("tcp", "localhost", db=2, password="x")
    assert settings.sentinels == (Host("tcp", "s1", 26379, password="y"), Host("tcp", "s2", 26380, password="y"))
    assert settings.wire().hosts == 2
    classic = redis("asgi_redis.RedisSentinelChannelLayer", hosts=[("s1", 26379)], services=["m"])
    assert (classic.masters, classic.sentinels, classic.format) == (("m",), (Host("tcp", "s1", 26379),), "asgi_redis")


def test_keys_encrypt_and_are_never_shown():
    settings = redis(symmetric_encryption_keys=["hush", "old"])
    wire = settings.wire()
    call = wire.send("http.request", wire.pack({"n": 1}), 1_700_000_000)
    assert wire.decode(call.args[-1], "http.request", 1_700_000_000)[0] == {"n": 1}
    assert "hush" not in repr(settings)
    found = configured("s", {"BACKEND": STOCK, "CONFIG": {"hosts": ["redis://:hush@a"], "symmetric_encryption_keys": ["hush"]}})
    assert "hush" not in repr(found) and "hush" not in str(found.native.hosts[0])


@pytest.mark.parametrize(("config", "said"), [
    ({"hosts": "redis://a"}, "hosts is a list"), ({"hosts": [7]}, "a URL, a pair"), ({"hosts": ["http://a"]}, "begins with"),
    ({"hosts": [("a",)]}, "index"), ({"hosts": [("a", "x")]}, "invalid literal"), ({"hosts": ["redis://a:99999"]}, "ort"),
    ({"hosts": ["redis://a", "rediss://b"]}, "with and without TLS"), ({"symmetric_encryption_keys": "k"}, "a list"),
    ({"hosts": [{"sentinels": [("a", 1)], "master_name": "m"}, "redis://a"]}, "Sentinels and servers"),
    ({"hosts": ["rediss://a?ssl_cert_reqs=none"]}, "always checks"), ({"serializer_format": "xml"}, "no serializer"),
    ({"expiry": 0}, "above 0"), ({"expiry": "60"}, "not supported"), ({"nonsense": 1}, "nonsense"),
])
def test_a_config_that_will_not_do_is_one_sentence(config, said):
    with pytest.raises(ValueError, match=said) as error:
        redis(**config)
    assert str(error.value).startswith("CHANNEL_LAYERS, mysite.settings#default: ")


def test_classic_sentinels_need_their_services():
    with pytest.raises(ValueError, match="services"):
        redis("asgi_redis.RedisSentinelChannelLayer", hosts=[("s1", 26379)])

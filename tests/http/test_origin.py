"""Who the client is behind trusted proxies: what they say is believed, what others say is not."""
from types import SimpleNamespace

import pytest

from interfaces.contract import ProtocolError
from interfaces.http.origin import networks, origin

TRUSTED = networks("192.0.2.0/24, 2001:db8:1::/48, unix")


def told(peer="192.0.2.7", tls=None, trusted=TRUSTED, **fields):
    link = SimpleNamespace(peer=peer and [peer, 4711], server=["192.0.2.1", 80], tls=tls)
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return origin(link, headers, trusted)


@pytest.mark.parametrize(("fields", "client"), [
    ({"x_forwarded_for": "203.0.113.9"}, ["203.0.113.9", 0]),
    ({"x_forwarded_for": "6.6.6.6, 203.0.113.9, 192.0.2.8"}, ["203.0.113.9", 0]),       # to the left anybody writes
    ({"x_forwarded_for": "203.0.113.9:1234"}, ["203.0.113.9", 1234]),
    ({"x_forwarded_for": "2001:db8::1"}, ["2001:db8::1", 0]),
    ({"x_forwarded_for": "unknown"}, ["192.0.2.7", 4711]),
    ({"x_forwarded_for": "garbage, 192.0.2.9"}, ["192.0.2.9", 0]),
    ({"forwarded": "for=203.0.113.9;proto=https;by=192.0.2.1"}, ["203.0.113.9", 0]),
    ({"forwarded": 'for="[2001:db8::1]:99"'}, ["2001:db8::1", 99]),
    ({"forwarded": 'For=6.6.6.6, for=203.0.113.9, for="192.0.2.9"'}, ["203.0.113.9", 0]),
    ({"forwarded": "for=_hidden"}, ["192.0.2.7", 4711]),
    ({"forwarded": "for=203.0.113.9", "x_forwarded_for": "203.0.113.9"}, ["203.0.113.9", 0]),
    ({}, ["192.0.2.7", 4711]),
])
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(fields, client):
    assert told(**fields)[0] == client


@pytest.mark.parametrize(("fields", "scheme", "port"), [
    ({"x_forwarded_proto": "https"}, "https", 80), ({"x_forwarded_proto": "http, https"}, "https", 80),
    ({"x_forwarded_proto": "gopher"}, "http", 80), ({"forwarded": "proto=https"}, "https", 80),
    ({"x_forwarded_port": "443"}, "http", 443), ({"x_forwarded_port": "0"}, "http", 80),
    ({"x_forwarded_port": "99999"}, "http", 80), ({"x_forwarded_port": "x"}, "http", 80),
])
def test_scheme_and_port_are_what_the_nearest_proxy_says(fields, scheme, port):
    assert told(**fields)[1:] == (["192.0.2.1", port], scheme)


def test_nobody_else_is_believed():
    fields = {"x_forwarded_for": "203.0.113.9", "x_forwarded_proto": "https", "x_forwarded_port": "443"}
    assert told("198.51.100.1", **fields) == (["198.51.100.1", 4711], ["192.0.2.1", 80], "http")
    assert told(trusted=(), **fields) == (["192.0.2.7", 4711], ["192.0.2.1", 80], "http")


def test_a_peer_on_a_unix_socket_and_a_mapped_address_can_be_trusted():
    assert told(None, x_forwarded_for="203.0.113.9")[0] == ["203.0.113.9", 0]
    assert told(None, trusted=networks("192.0.2.0/24"), x_forwarded_for="203.0.113.9")[0] is None
    assert told("::ffff:192.0.2.7", x_forwarded_for="203.0.113.9")[0] == ["203.0.113.9", 0]


def test_a_proxy_that_passes_on_the_kind_it_does_not_write_lets_nobody_forge():
    with pytest.raises(ProtocolError) as raised:
        told(x_forwarded_for="203.0.113.9", forwarded="for=127.0.0.1;proto=https")
    assert raised.value.code == 400


def test_networks_are_checked():
    assert networks(" 10.0.0.0/8,::1 ,unix,")[2] == "unix" and len(networks("")) == 0
    with pytest.raises(ValueError):
        networks("10.0.0.0/99")

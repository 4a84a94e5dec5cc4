"""Who the client is and how it reached us, where trusted proxies stand between (RFC 7239 and the X-Forwarded-* habit). Pure."""
import ipaddress
import re

from interfaces.contract import ProtocolError

FIELDS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port")
ELEMENT = re.compile(r'([A-Za-z]+)="?([^;,"]*)"?')      # RFC 7239 4: forwarded-pair, values mostly quoted for IPv6


def networks(text: str) -> tuple:
    """`10.0.0.0/8,::1,unix` as networks; `unix` is a peer on a Unix socket. Raises ValueError."""
    return tuple(part if part == "unix" else ipaddress.ip_network(part, strict=False)
                 for part in filter(None, (part.strip() for part in text.split(","))))


def origin(link, headers, trusted: tuple) -> tuple:
    """(client, server, scheme) of a request: the socket's own facts, unless its peer is a trusted proxy."""
    scheme = "https" if link.tls is not None else "http"
    if not trusted or not is_trusted(link.peer[0] if link.peer else None, trusted):
        return link.peer, link.server, scheme
    said = {}
    for name, value in headers:
        if name in FIELDS:
            said[name] = f"{said[name]},{value.decode('latin-1')}" if name in said else value.decode("latin-1")
    facts = [forwarded(said, trusted)] if b"forwarded" in said else []
    facts.append(x_forwarded(said, trusted))
    return (agreed([client for client, _ in facts]) or link.peer, server(link.server, said),
            agreed([proto for _, proto in facts]) or scheme)


def agreed(told: list):
    """What is told, by whichever kind of field. A proxy writes one kind and passes the other on as the client sent it:
    where they disagree, believing either would let the client choose. Raises ProtocolError."""
    found = [value for value in told if value is not None]
    if any(value != found[0] for value in found):
        raise ProtocolError("Forwarded and X-Forwarded-* disagree; let the proxy remove the kind it does not write", 400)
    return found[0] if found else None


def forwarded(said: dict, trusted: tuple) -> tuple:
    """(client, scheme) of a Forwarded field, RFC 7239; None for what it does not tell."""
    pairs = [(name.lower(), value) for name, value in ELEMENT.findall(said[b"forwarded"])]
    return (client([split(value) for name, value in pairs if name == "for"], trusted),
            proto([value for name, value in pairs if name == "proto"]))


def x_forwarded(said: dict, trusted: tuple) -> tuple:
    hops = [split(hop.strip()) for hop in said.get(b"x-forwarded-for", "").split(",") if hop.strip()]
    return client(hops, trusted), proto(said.get(b"x-forwarded-proto", "").split(","))


def is_trusted(host: str | None, trusted: tuple) -> bool:
    if host is None:
        return "unix" in trusted
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(part != "unix" and address in part for part in trusted)


def client(hops: list, trusted: tuple) -> list | None:
    """The last address that no trusted proxy has. Further to the left anybody may have written anything."""
    found = None
    for host, port in reversed(hops):
        try:
            ipaddress.ip_address(host)
        except ValueError:              # "unknown" or an obfuscated name (RFC 7239 6.2, 6.3): nothing beyond it can be told
            return found
        found = [host, port]
        if not is_trusted(host, trusted):
            return found
    return found


def split(node: str) -> tuple:
    """RFC 7239 6: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`; and a bare IPv6 address, as is usual."""
    if node.startswith("["):
        host, _, rest = node[1:].partition("]")
        port = rest[1:]
    elif node.count(":") == 1:
        host, _, port = node.partition(":")
    else:
        host, port = node, ""
    return host, int(port) if port.isdigit() and len(port) < 6 else 0


def proto(values: list) -> str | None:
    """`http` or `https`, as the proxy nearest to us says."""
    value = values[-1].strip().lower() if values else ""
    return value if value in ("http", "https") else None


def server(own: list | None, said: dict) -> list | None:
    port = said.get(b"x-forwarded-port", "").rpartition(",")[2].strip()
    if own is not None and port.isdigit() and 0 < int(port) < 65536:
        return [own[0], int(port)]
    return own

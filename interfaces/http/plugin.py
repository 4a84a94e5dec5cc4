"""What the house knows of HTTP: the Interface value and its options."""
from dataclasses import dataclass

from interfaces.contract import Interface, option
from interfaces.http.heads import Limits
from interfaces.http.messages import REPLIES, SENDS
from interfaces.http.origin import networks
from interfaces.http.protocol import HttpWire
from interfaces.http.session import session


@dataclass(frozen=True)
class HttpOptions:
    timeout: float = option(120.0, "seconds a worker has for the start of an answer (504); longer for long-polls")
    idle: float = option(75.0, "seconds a connection may be idle between requests")         # nginx's keepalive_timeout
    head_timeout: float = option(20.0, "seconds for the head of a request (408)")           # Apache's RequestReadTimeout
    body_timeout: float = option(20.0, "seconds a body may keep us waiting beyond 500 bytes/s (408)")   # likewise
    write_timeout: float = option(60.0, "seconds in which a client must read something of its answer")  # nginx's send_timeout
    max_head: int = option(64 * 1024, "bytes of a request's line and header fields (431)")
    max_fields: int = option(100, "header fields of a request (431)")
    max_target: int = option(16 * 1024, "bytes of a request's target (414)")
    max_body: int = option(512 * 1024 * 1024, "bytes of a request's body (413)")
    root_path: str = option("", "path the application is mounted at, SCRIPT_NAME; never taken from a header", flag="root-path")
    trusted_proxies: tuple = option(
        (), "addresses and networks whose X-Forwarded-For, -Proto, -Port and Forwarded are believed, comma-separated; "
        "`unix` for a peer on a Unix socket", networks, "trusted-proxies")
    server_name: str = option("channels-interfaces", "the Server field of answers; empty for none")

    def __post_init__(self):
        flat = tuple(part for item in self.trusted_proxies for part in (item if isinstance(item, tuple) else (item,)))
        object.__setattr__(self, "trusted_proxies", flat)
        object.__setattr__(self, "limits", Limits(self.max_head, self.max_fields, self.max_target, self.max_body))
        object.__setattr__(self, "server", self.server_name.encode("ascii", "ignore"))
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ValueError("--root-path begins with a slash and ends without one")


http = Interface(
    name="http", summary="HTTP/1.0 and 1.1, long-polls and event streams.",
    wire=lambda options: HttpWire(options.limits, options.server), session=session,
    sends=SENDS, replies=REPLIES, options=HttpOptions, alpn=(b"http/1.1", b"http/1.0"))

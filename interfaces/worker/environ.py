"""The WSGI environ (PEP 3333) of an `http.request` message."""
import sys

from interfaces.worker.upload import FileBlocks, Parts

KNOWN_NAMES = 1000           # a guess: header names remembered; hostile ones beyond it are made anew each time
PORTS = {"http": "80", "https": "443"}


def wide(text: str) -> str:
    """UTF-8 bytes in a latin-1 string, as PEP 3333 has all of its strings."""
    return text if text.isascii() else text.encode("utf-8").decode("latin-1")


class EnvironMaker:
    """`maker(message, parts)` gives the environ of one request. From any thread."""

    def __init__(self, multithread: bool):
        self.base = {
            "wsgi.version": (1, 0), "wsgi.errors": sys.stderr, "wsgi.multithread": multithread,
            "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileBlocks, "SERVER_SOFTWARE": "channels-interfaces",
        }
        self.names: dict[bytes, str | None] = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}

    def __call__(self, message: dict, parts: Parts) -> dict:
        environ = self.base.copy()
        self.add_request(environ, message)
        self.add_addresses(environ, message)
        self.add_headers(environ, message["headers"])
        if "CONTENT_LENGTH" in environ or parts.whole and not parts.part:
            environ["wsgi.input"] = parts.file()
        else:
            environ["wsgi.input"], length = parts.spooled()
            environ["CONTENT_LENGTH"] = str(length)
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        return environ

    def add_request(self, environ: dict, message: dict) -> None:
        path, root = message["path"], message.get("root_path") or ""
        raw, query = message.get("raw_path") or b"", message.get("query_string") or b""
        query = query.decode("latin-1")
        if root and (path == root or path.startswith(root.rstrip("/") + "/")):
            path = path[len(root.rstrip("/")):]
        environ["REQUEST_METHOD"] = message["method"]
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = wide(root), wide(path)
        environ["QUERY_STRING"] = query
        uri = raw.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = f"{uri}?{query}" if query else uri
        environ["SERVER_PROTOCOL"] = f"HTTP/{message['http_version']}"
        environ["wsgi.url_scheme"] = scheme = message.get("scheme") or "http"
        if scheme == "https":
            environ["HTTPS"] = "on"

    def add_addresses(self, environ: dict, message: dict) -> None:
        client, server = message.get("client"), message.get("server")
        # A Unix socket has neither; PEP 3333 wants SERVER_NAME and SERVER_PORT never to be empty.
        host, port = server or ("localhost", None)
        environ["SERVER_NAME"] = str(host)
        environ["SERVER_PORT"] = PORTS.get(environ["wsgi.url_scheme"], "80") if port is None else str(port)
        if client:
            environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = str(client[0])
            environ["REMOTE_PORT"] = str(client[1])
        else:
            environ["REMOTE_ADDR"] = ""

    def add_headers(self, environ: dict, headers) -> None:
        names = self.names
        for name, value in headers:
            key = names.get(name, "")
            if key == "":
                key = self.learn(name)
            if key is None:
                continue
            value = value.decode("latin-1")
            if key in environ:
                environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + value      # RFC 9110 5.3; RFC 9113 8.2.3
            else:
                environ[key] = value

    def learn(self, name: bytes) -> str | None:
        # `x_forwarded_for` would become the same key as `x-forwarded-for`, which a proxy has checked (CVE-2015-0219).
        key = None if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self.names) < KNOWN_NAMES:
            self.names[name] = key
        return key

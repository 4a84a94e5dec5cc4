"""What a request and the server say to each other beyond the first message and a short answer, and what both kinds of
application need for it."""
import logging

PIECE = 64 * 1024            # messages.md, Credit: bodies are cut into pieces of 64 KiB
WINDOW = 256 * 1024          # messages.md, Credit: an owner's unconfirmed bytes
MESSAGES = 64                # messages.md, Credit: an owner's unconfirmed messages
CONFIRM = 4                  # messages.md, Credit: half of the 8 parts that a server keeps out

failed = logging.getLogger("django.request")
ERROR = b"<!doctype html>\n<title>Server Error (500)</title>\n<h1>Server Error (500)</h1>\n"
GONE = ("http.disconnect", "interface.gone")     # the client left; it had left before the request was taken
ABORT = {"type": "http.response.abort"}


class LostPart(Exception):
    """Between two parts of a request's body one is missing (messages.md 2, `part`): what follows it is no body."""


class Window:
    """What was given to the server and isn't confirmed: at most WINDOW bytes of body in at most MESSAGES messages."""
    __slots__ = ("written", "sent", "ends")

    def __init__(self):
        self.written = self.sent = 0        # bytes of body: given to the server, confirmed by it
        self.ends: list[int] = []           # for each message that isn't confirmed, `written` after it; a deque takes 600 bytes

    def full(self, size: int) -> bool:
        return bool(self.ends) and (self.written + size - self.sent > WINDOW or len(self.ends) >= MESSAGES)

    def add(self, size: int) -> None:
        self.written += size
        self.ends.append(self.written)

    def confirm(self, sent) -> None:
        """The server has written `sent` bytes. Raises TypeError for what is no number."""
        self.sent = max(self.sent, sent or 0)
        if self.ends and self.ends[0] <= self.sent:
            self.ends = [end for end in self.ends if end > self.sent]


def server_error() -> dict:
    return {"status": 500, "headers": [[b"content-type", b"text/html; charset=utf-8"]], "content": ERROR,
            "more_content": False}


def log_failure(message: dict, error: BaseException) -> None:
    """To Django's logger, as Django's own handlers do for a view that raised."""
    path = message.get("path", "")
    text = "Internal Server Error: %s"
    failed.error(text, path, exc_info=(type(error), error, error.__traceback__), extra={"status_code": 500})


def pieces(data: bytes):
    """`data` in pieces that a message may carry; one, empty, of nothing."""
    if len(data) <= PIECE:
        return (data,)
    view = memoryview(data)
    return [bytes(view[at:at + PIECE]) for at in range(0, len(data), PIECE)]

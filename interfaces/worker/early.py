"""What overtook the beginning of its request or connection. The first message of a worker goes the runworker's way, which
takes longer than what comes straight from the socket: on `local:` the server knows the owner by then, and sends the rest."""
MOST = 1000                  # requests or connections that are still to begin, a guess


class Early:
    """Of one shared channel. Beyond MOST the oldest are forgotten."""

    def __init__(self):
        self.messages: dict[str, list[dict]] = {}        # by reply channel

    def __bool__(self) -> bool:
        return bool(self.messages)

    def keep(self, message: dict) -> None:
        self.messages.setdefault(message["reply_channel"], []).append(message)
        if len(self.messages) > MOST:
            del self.messages[next(iter(self.messages))]

    def taken(self, reply_channel: str | None) -> list[dict]:
        """What came for it, in order; it begins now."""
        return self.messages.pop(reply_channel, [])

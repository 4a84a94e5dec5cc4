"""The body of a request as a file, for a thread: `wsgi.input`."""
import io
import tempfile
from collections.abc import Callable

IN_MEMORY = 1024 * 1024      # messages.md, Sizes: a body without a length is spooled, 1 MiB in memory, then disk


class Parts(io.RawIOBase):
    """Reads a body that comes in parts; `next_part()` waits for (content, more) and raises when the client has gone."""

    def __init__(self, message: dict, next_part: Callable[[], tuple[bytes, bool]]):
        self.part, self.more = message.get("body") or b"", bool(message.get("more_body"))
        self.next_part, self.at = next_part, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while self.at >= len(self.part):
            if not self.more:
                return 0
            self.part, self.more = self.next_part()
            self.at = 0
        taken = self.part[self.at:self.at + len(buffer)] if self.at or len(self.part) > len(buffer) else self.part
        buffer[:len(taken)] = taken
        self.at += len(taken)
        return len(taken)

    @property
    def whole(self) -> bool:
        """All of the body came with the request."""
        return not self.more and self.at == 0

    def file(self):
        """For an application that knows the length."""
        return io.BytesIO(self.part) if self.whole else io.BufferedReader(self, 64 * 1024)

    def spooled(self) -> tuple[object, int]:
        """The whole body and its length. PEP 3333 knows no end of a body but its CONTENT_LENGTH, and Django reads no
        further, so a chunked one is taken in before the application runs."""
        if self.whole:
            return io.BytesIO(self.part), len(self.part)
        spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)
        try:
            while data := self.read(64 * 1024):
                spool.write(data)
            length = spool.tell()
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool, length


class FileBlocks:
    """`wsgi.file_wrapper`. Reads larger blocks than Django's 4 KiB: a piece of the layer's size for each message."""

    def __init__(self, file, block_size: int = 64 * 1024):
        self.file, self.block_size = file, max(block_size, 64 * 1024)
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return iter(lambda: self.file.read(self.block_size), b"")

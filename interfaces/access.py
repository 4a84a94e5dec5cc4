"""The access log. Lines are joined and written once a second: a write of its own for each would be a system call each."""
import sys

FLUSH = 1.0         # seconds; what nginx's access_log flush= is mostly set to
HELD = 1000         # lines before an early write: a guess


class AccessLog:
    """Lines to a file, or to standard output for `-`, or nowhere for ''. `write(line)` never blocks on more than a page."""

    def __init__(self, path: str, clock):
        self.path, self.clock = path, clock
        self.lines, self.timer, self.file = [], None, None

    def start(self):
        """Open the file. Called when privileges have been dropped; raises OSError."""
        if self.path == "-":
            self.file = sys.__stdout__          # sys.stdout is twistd's log, which puts a time before each line
        elif self.path:
            self.file = open(self.path, "a", encoding="ascii", errors="backslashreplace")   # append: logrotate's copytruncate

    def write(self, line: str):
        if self.file is None:
            return
        self.lines.append(line)
        if len(self.lines) >= HELD:
            self.flush()
        elif self.timer is None:
            self.timer = self.clock.callLater(FLUSH, self.tick)

    def tick(self):
        self.timer = None
        self.flush()

    def flush(self):
        lines, self.lines = self.lines, []
        if lines and self.file is not None:
            self.file.write("\n".join(lines) + "\n")
            self.file.flush()

    def close(self):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.flush()
        if self.file is not None and self.file is not sys.__stdout__:
            self.file.close()
        self.file = None

"""Which release of the application is the newest: the one whose workers began to come last (`--prefer-release`). Pure."""

GONE = 60.0         # seconds without a worker after which a release that comes back is new again (a rollback); a guess
MOST = 1000         # releases that are remembered; a guess


class Releases:
    """A worker's rank: shared channels give messages only to readers of the highest rank that listens."""

    def __init__(self, prefer: bool = False):
        self.prefer, self.newest = prefer, 0
        self.known: dict[str, list] = {}        # release -> [rank, workers, when the last one left]

    def arrived(self, release: str | None, now: float) -> int:
        """0 for a worker that names none, and for all where nobody is preferred."""
        if not self.prefer or release is None:
            return 0
        found = self.known.get(release)
        if found is None or not found[1] and now - found[2] > GONE:
            if len(self.known) >= MOST:
                self.known = {name: entry for name, entry in self.known.items() if entry[1]}
            self.newest += 1
            found = self.known[release] = [self.newest, 0, now]
        found[1] += 1
        return found[0]

    def left(self, release: str | None, now: float) -> None:
        found = self.known.get(release)
        if found is not None:
            found[1] -= 1
            found[2] = now

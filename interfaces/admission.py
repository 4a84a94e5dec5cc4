"""How many connections an interface may have, on all layers and listeners together."""
from twisted.logger import Logger


class Admission:
    """Every connection is let in by `admit(host)` and let go by `left(host)`. `host`: None on a Unix socket. 0: no limit."""

    def __init__(self, name: str, most: int = 0, most_per_address: int = 0):
        self.most, self.most_per_address = most, most_per_address
        self.count, self.addresses, self.refused = 0, {}, 0
        self.log = Logger(namespace=f"interfaces.{name}")

    def admit(self, host: str | None) -> bool:
        if self.most and self.count >= self.most:
            return self.refuse(host, f"over {self.most} connections")
        if self.most_per_address and host and self.addresses.get(host, 0) >= self.most_per_address:
            return self.refuse(host, f"over {self.most_per_address} connections of one address")
        self.count += 1
        if host:
            self.addresses[host] = self.addresses.get(host, 0) + 1
        return True

    def left(self, host: str | None) -> None:
        self.count -= 1
        if host:
            count = self.addresses.pop(host) - 1
            if count:
                self.addresses[host] = count

    def refuse(self, host, why: str) -> bool:
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:      # the 1st, 2nd, 4th, 8th ...: a flood must not fill the disk
            self.log.warn("{host}: refused, {why} ({count} so far)", host=host, why=why, count=self.refused)
        return False

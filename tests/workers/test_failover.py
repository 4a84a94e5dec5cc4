"""Sentinels move the master under traffic: told to, and because it was killed."""
import contextlib

import pytest
from redis_server import RedisError, RedisServer

from tests.sockets.processes import until
from tests.workers.traffic import flowing, terse

pytestmark = pytest.mark.slow
DOWN = 1500     # ms without an answer, a guess: longer than a busy machine keeps a master that is well from answering


class Sentinel(RedisServer):
    """Of one master, `mymaster`. It decides by itself that a server is down."""

    def __init__(self, master: RedisServer):
        self.master = master
        super().__init__()
        # Since Redis 7: an old master is made a replica in 0.4 s instead of 8, and a busy machine's pause of 2 s does not make
        # the Sentinel do nothing for 30 s.
        with contextlib.suppress(RedisError):
            self("SENTINEL", "DEBUG", "PUBLISH-PERIOD", "100", "INFO-PERIOD", "100", "TILT-PERIOD", "1000")

    @property
    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        config.write_text(f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\n"
                          f"sentinel down-after-milliseconds mymaster {DOWN}\nsentinel failover-timeout mymaster 1000\n")
        return [self.program, str(config), "--sentinel", "--bind", "127.0.0.1", "--port", str(self.port),
                "--unixsocket", self.socket]

    @property
    def named(self) -> int:
        """The port of the master."""
        return int(self("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1])

    def replicas(self) -> list[dict]:
        found = self("SENTINEL", "REPLICAS", "mymaster")
        return [dict(zip(pairs[::2], pairs[1::2], strict=True)) for pairs in found]

    def notice(self):
        """It has seen a replica that is well and follows the master."""
        def good(replica):
            return replica[b"flags"] == b"slave" and replica[b"master-link-status"] == b"ok"
        until(lambda: any(map(good, self.replicas())), "the Sentinel sees a good replica", 60)

    def moves(self, port: int, *told):
        """The master is no longer there. What it is told, it is told until it obeys."""
        def obeys():
            with contextlib.suppress(RedisError):       # NOGOODSLAVE: what it knows of the replica is too old for a moment
                return self(*told)
        until(lambda: not told or self.named != port or obeys(), "the Sentinel obeys", 30)
        until(lambda: self.named != port, "the Sentinel names the other one", 60)


def test_a_failover_that_was_asked_for_and_then_a_killed_master(site, start_redis):
    [master] = site.servers
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    servers = {server.port: server for server in (master, replica)}
    for server in servers.values():
        server("CONFIG", "SET", "repl-diskless-sync-delay", 0)      # by default 5 s, for more replicas to come
    with Sentinel(master) as sentinel:
        sentinel.notice()
        # the first that both ask is not there, as after a bad night
        site.lives(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/0?master=mymaster",
                   {"sentinels": [("127.0.0.1", 1), ("127.0.0.1", sentinel.port)], "master_name": "mymaster"})
        # Replication is asynchronous: a new master may hold messages that the old one had already given away. Of the four
        # clients each has one on its way, at each of the two.
        with flowing(site, doubled=8) as traffic, terse(site.server, site.worker_):
            old = sentinel.named
            sentinel.moves(old, "SENTINEL", "FAILOVER", "mymaster")
            until(lambda: b"role:slave" in servers[old]("INFO", "replication"), "the old master follows", 60)
            traffic.goes_on()
            sentinel.notice()
            new = sentinel.named
            servers[new].kill()
            # That a client is refused is not asked for: it waits for 2 s, and the other one may be the master by then.
            sentinel.moves(new)
            traffic.goes_on()

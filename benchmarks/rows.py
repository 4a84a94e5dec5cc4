"""What `make bench` compares: the servers and workers of each row, and which rows belong together."""
from dataclasses import dataclass
from typing import Literal

import on_redis
import peers
from processes import House


@dataclass(frozen=True)
class Row:
    name: str
    text: str
    worker: str = ""                    # attribute of site/workers.py; empty where the workers aren't ours, or there are none
    workers: int = 0
    stands: Literal["local", "redis", "stock", "classic", "daphne", "peer"] = "local"      # on which layer, or as what

    @property
    def peer(self) -> bool:
        return self.stands == "peer"

    @property
    def classic(self) -> bool:
        return self.stands in ("classic", "daphne")

    def start(self, house: House):
        match self.stands:
            case "local":
                house.interfaces(self.worker, self.workers)
            case "redis":
                on_redis.interfaces(house, self.worker, self.workers)
            case "stock":
                on_redis.interfaces(house, self.worker, self.workers, layer="stock")
            case "classic":
                on_redis.classic(house, self.workers)
            case "daphne":
                on_redis.daphne(house, self.workers)
            case "peer":
                peers.start(house, self.name)


LOCAL = (
    Row("bare", "ours, a plain ASGI function as consumer", "bare", 1),
    Row("async-consumer", "ours, stock `AsyncConsumer`", "async_consumer", 1),
    Row("sync-consumer", "ours, stock `SyncConsumer`", "sync_consumer", 1),
    Row("wsgi", "ours, `Wsgi`, Django view", "wsgi", 1),
    Row("wsgi-2", "ours, `Wsgi`, Django view", "wsgi", 2),
    Row("asgi", "ours, ASGI Django, the same view", "asgi", 1),
    Row("uvicorn", "Uvicorn, 1 process, Django view", stands="peer"),
    Row("gunicorn", "gunicorn, 2 sync workers, Django view", stands="peer"),
    Row("daphne", "Daphne, Django view", stands="peer"),
)
REDIS = (
    Row("bare", "ours, a plain ASGI function as consumer on our layer", "bare", 1, "redis"),
    Row("bare-stock", "ours, the same on stock channels_redis", "bare", 1, "stock"),
    Row("wsgi-2", "ours, `Wsgi`, Django view, on our layer", "wsgi", 2, "redis"),
    Row("uvicorn-2", "Uvicorn, 2 processes, Django view, no Redis", stands="peer"),
    Row("classic-2", "ours, stock workers of Channels 1.1, Django view", workers=2, stands="classic"),
    Row("daphne-classic-2", "Daphne 1.4, the same workers", workers=2, stands="daphne"),
)
ROWS = {"local": LOCAL, "redis": REDIS}
PAIRS = {
    "local": (("wsgi", "uvicorn", "`Wsgi` with 1 worker to Uvicorn with 1 process"),
              ("wsgi-2", "gunicorn", "`Wsgi` with 2 workers to gunicorn with 2 sync workers")),
    "redis": (("bare", "bare-stock", "our layer to channels_redis, the same worker"),
              ("wsgi-2", "uvicorn-2", "`Wsgi` with 2 workers on our layer to Uvicorn with 2 processes"),
              ("classic-2", "daphne-classic-2", "ours to Daphne 1.4, the same two workers of Channels 1.1")),
}


def possible(rows: list[Row]) -> list[Row]:
    """Those whose environments are there or can be made; for the others a sentence is said."""
    if any(row.peer for row in rows) and not peers.prepare():
        rows = [row for row in rows if not row.peer]
    if any(row.classic for row in rows) and not on_redis.prepare():
        rows = [row for row in rows if not row.classic]
    return rows

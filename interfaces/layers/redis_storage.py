"""What the server keeps in Redis beside messages: contract.Storage."""
from twisted.internet.defer import ensureDeferred

from interfaces.layers.redis_lost import leave_all_groups
from interfaces.layers.wire_values import BadValue


class Storage:
    """On one of the layer's servers, where what belongs together can be changed by one script."""

    def __init__(self, layer, shard):
        self.layer, self.shard, self.prefix = layer, shard, layer.wire.prefix

    def now(self) -> float:
        return self.shard.clock.now()

    def run(self, script: str, keys: tuple, args: tuple):
        """The text and not its hash: what NOSCRIPT refuses would be done behind later ones, or never."""
        return self.shard.execute("EVAL", script, len(keys), *keys, *args)

    def seal(self, data: bytes) -> bytes:
        seal = self.layer.wire.seal
        return data if seal is None else seal.encrypt(data, self.now())

    def unseal(self, data: bytes) -> bytes:
        seal = self.layer.wire.seal
        return data if seal is None else seal.reopen(data)

    def open(self, deliver, settled):
        """Gives the address of a box whose messages are kept until `settled()`, an awaitable, is done after them."""
        from interfaces.layers.redis_safely import SafeReader       # imports the reactor
        address = self.layer.open("interface", deliver, SafeReader if self.layer.wire.safe else None).result
        address.settled = settled
        return address

    def inherit(self, channel: str):
        return ensureDeferred(self.taken_from(channel))

    async def taken_from(self, channel: str) -> list[dict]:
        """Out of the groups first: what comes after that would be found by nobody."""
        layer, wire = self.layer, self.layer.wire
        box = f"{channel.partition('!')[0]}!"
        await leave_all_groups(layer, box)
        shard = layer.shards[wire.shard(channel)]
        found = []
        for key in wire.boxes(channel):
            for value in await layer.quietly(shard, ("ZRANGE", key, 0, -1)) or ():
                try:
                    message, names = wire.decode(value, box, shard.clock.now())
                except BadValue:
                    continue
                if channel in names and await layer.quietly(shard, ("ZREM", key, value)) == 1:
                    found.append(message)
        return found

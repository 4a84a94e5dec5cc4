"""What a worker that is lost leaves in Redis: messages that it never took, and its names in groups."""
from twisted.internet.defer import DeferredList, ensureDeferred

from interfaces.layers.wire_values import BadValue

# KEYS: a group. ARGV: what the names begin with.
LEAVE = """
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(name, 1, #ARGV[1]) == ARGV[1] then redis.call('ZREM', KEYS[1], name) end
end
"""


async def recover(layer, owner: str) -> dict[str, set[int]]:
    """layers.contract.ChannelLayer.recover. Whatever can't be had or done expires."""
    box = f"{owner.partition('!')[0]}!"
    ensureDeferred(leave_all_groups(layer, box))
    shard = layer.shards[layer.wire.shard(owner)]
    key, found = layer.wire.key(owner), {}
    sent = [(value, *whose) for value in await layer.quietly(shard, ("ZRANGE", key, 0, -1)) or ()
            if (whose := from_here(layer, value, box, shard.clock.now())) is not None]
    # One by one: what is not there any more its reader has taken after all, and may run.
    results = await DeferredList([layer.quietly(shard, ("ZREM", key, value)) for value, _, _ in sent])
    for (_, reply_channel, order), (_, removed) in zip(sent, results, strict=True):
        if removed == 1:
            found.setdefault(reply_channel, set()).add(order)
    return found


def from_here(layer, value: bytes, box: str, now: float) -> tuple[str, int] | None:
    """The reply channel and the order of a message of ours. The box has those of other servers too."""
    try:
        message, _ = layer.wire.decode(value, box, now)
    except BadValue:
        return None
    reply_channel, order = message.get("reply_channel"), message.get("order")
    if order.__class__ is not int or reply_channel.__class__ is not str:
        return None
    return (reply_channel, order) if any(reply_channel.startswith(address.box) for address in layer.addresses) else None


async def leave_all_groups(layer, box: str) -> None:
    await DeferredList([ensureDeferred(leave_groups(layer, shard, box)) for shard in layer.shards])


async def leave_groups(layer, shard, box: str) -> None:
    """Its memberships would last a day, and each message to such a group would be written for nobody."""
    cursor = b"0"
    while True:
        answer = await layer.quietly(shard, layer.wire.scan(f"{layer.wire.prefix}:group:", cursor))
        if answer is None:
            return
        cursor, keys = answer
        for key in keys:
            await layer.quietly(shard, ("EVAL", LEAVE, 1, key, box))
        if cursor == b"0":
            return

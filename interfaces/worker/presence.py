"""Who is in a group: how many, and who, over all workers, machines and protocols.

    class Chat(PresenceMixin, AsyncWebsocketConsumer):
        async def connect(self):
            await self.channel_layer.group_add("room", self.channel_name)
            await self.enter("room", self.scope["user"].username, info={"avatar": ...}, notify=True)
            await self.accept()

        async def presence_changed(self, event):    # {"group": "room", "member": "ann", "joined": True, "count": 3}
            await self.send(json.dumps(event))

    def page(request):
        return render(request, "room.html", {"present": presence.sync.members("room")})

A member is anything with a name, by one or more channels: two tabs of one user are one member with two channels. It is
there until its last channel leaves, and a worker that is killed takes its channels along: on `local:` at once, on Redis
when their lease ends (LEASE). A member of a server's reply channel (a plain consumer's) goes on `local:` with its
connection; on Redis it is there as long as the process that joined it.

The functions are coroutine functions; `sync` has the same ones for synchronous code. All raise TypeError for names that
channels and groups can't have, ConnectionError when there was no server or Redis for 5 s, and NotImplementedError where
the default channel layer is not one of interfaces.worker.layers. They use the default channel layer, the mixin that of
its consumer.

With `notify` a change is a message to the channel layer's group of the same name, `presence.changed`: for a member's first
channel at once, after its last one 5 s later, and only if the member has not come back by then. More than 100 changes at
once are told as one, with a `member` of None: ask `members` then. In a group of thousands do without: each change costs
each of them a message. Who joins a member in different ways counts as who joined it last.
"""
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgpack
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from interfaces.layers.wire_local import INFO_BYTES, MEMBER_BYTES, PAGE

LISTED = 10_000              # members that `members` gives at most, a guess: nobody reads a longer list


class Member(NamedTuple):
    member: str
    info: Any                # what the latest join said
    channels: int            # by how many it is there


async def join(group: str, member: str, channel: str, info: Any = None, notify: bool = False) -> bool:
    """`member` (str, at most 1 KiB) is in `group` by `channel`, again or anew. `info`: plain values, at most 1 KiB in
    msgpack. True: it was not there before. ValueError: too long; ChannelFull: the layer holds all it may."""
    return await joined(default_layer(), group, (member, channel), (info, notify))


async def leave(group: str, member: str, channel: str) -> bool:
    """`member` is no longer there by `channel`. True: it was the last one."""
    layer = default_layer()
    check(layer, group, member, channel)
    return await layer.presence_leave(group, member, channel)


async def members(group: str) -> list[Member]:
    """Who is there, in the order they came: the first 10,000. `count` knows how many there are."""
    layer, found, after = default_layer(), {}, 0
    layer.require_valid_group_name(group)
    while len(found) < LISTED:
        _, after, rows = await layer.presence_page(group, after, min(PAGE, LISTED - len(found)))
        for name, info, channels in rows:       # who left and came back between two pages is in both
            found[name] = Member(name, msgpack.unpackb(info, strict_map_key=False), channels)
        if not after:
            break
    return list(found.values())


async def count(group: str) -> int:
    """How many members are there."""
    layer = default_layer()
    layer.require_valid_group_name(group)
    return (await layer.presence_page(group, 0, 0))[0]


sync = SimpleNamespace(join=async_to_sync(join), leave=async_to_sync(leave),
                       members=async_to_sync(members), count=async_to_sync(count))


class PresenceMixin:
    """For a consumer, before its base class. What `enter` joined leaves when the consumer ends, however it ends: stock
    consumers are told no disconnect when they fail, and none when another worker takes their connection over."""
    entered: tuple[tuple[str, str], ...] = ()

    def enter(self, group: str, member: str, info: Any = None, notify: bool = False):
        """`join` by the consumer's own channel: awaitable in an asynchronous consumer, done in a synchronous one."""
        self.entered += ((group, member),)
        call = async_to_sync(joined) if self._sync else joined
        return call(self.channel_layer, group, (member, self.channel_name), (info, notify))

    async def __call__(self, scope, receive, send):
        try:
            return await super().__call__(scope, receive, send)
        finally:
            for group, member in self.entered:
                if hasattr(self.channel_layer, "presence_end"):
                    self.channel_layer.presence_end(group, member, self.channel_name)


async def joined(layer, group: str, entry: tuple[str, str], said: tuple[Any, bool]) -> bool:
    check(layer, group, *entry)
    info = msgpack.packb(said[0])
    if len(info) > INFO_BYTES:
        raise ValueError(f"an info of {len(info)} bytes; at most {INFO_BYTES} are kept")
    return await layer.presence_join(group, entry, info, bool(said[1]))


def default_layer():
    return able(get_channel_layer())


def able(layer):
    if not hasattr(layer, "presence_join"):
        kind = "no channel layer" if layer is None else f"a {type(layer).__name__}, which doesn't know presence"
        raise NotImplementedError(f"there is {kind}: use LocalChannelLayer or RedisChannelLayer of interfaces.worker.layers")
    return layer


def check(layer, group: str, member: str, channel: str) -> None:
    able(layer).require_valid_group_name(group)
    layer.require_valid_channel_name(channel)
    if not isinstance(member, str):
        raise TypeError(f"a member is a str, not a {type(member).__name__}: str(user.pk), say")
    if not 0 < len(member.encode()) <= MEMBER_BYTES:
        raise ValueError(f"a member of {len(member.encode())} bytes; there are 1 to {MEMBER_BYTES}")

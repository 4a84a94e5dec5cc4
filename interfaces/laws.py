"""What must hold for every interface, whatever happens, and a storm of everything that can happen. Public: add your own
interface to tests/test_laws.py, or run `check(interface, corpus, seeds)` in your tests.

    a story always ends after Closed                            nothing is left: no timer, no address, no membership
    only declared errors                                        every message fits its format
    `order` counts without a gap                                who is told that a connection ended is told once, and last
    nothing is written after a close                            what waits anywhere is bounded
    how bytes are cut changes nothing (`chunking`)

A storm is made of a seed alone: `storm(interface, corpus, 4711)` does the same thing every time.
"""
import random
from dataclasses import MISSING, fields

from interfaces.bridge import READ_AHEAD
from interfaces.contract import Gap
from interfaces.schema import NEUTRAL, Address, BadMessage, Closing, Headers, kind
from interfaces.testing import ONE_READ, App, Peer

ACTIONS = 30            # of one storm: enough for several requests and their bad days
NASTY = ("", "text", "a\r\nb", "\0", "ünï", "x" * 300, "a" * 70_000)
NASTY_NAMES = (b"x-name", b"content-length", b"connection", b"x y", b"x:", b"", b"x\r\ny")


def example(spelling, dice: random.Random) -> dict:
    """A reply in this spelling: mostly right, sometimes with a key of a wrong type or none at all."""
    message = {} if spelling.classic and dice.random() < 0.5 else {"type": spelling.name}
    for f in fields(spelling.event):
        if f.name in spelling.keys and (f.default is MISSING or dice.random() < 0.8):
            message[spelling.keys[f.name]] = value(kind(f.type), dice) if dice.random() < 0.97 else object_of_no_kind(dice)
    return message


def object_of_no_kind(dice):
    return dice.choice((None, 3.5, "x", b"x", [1], {"a": 1}, True, -1))


def value(wanted, dice):
    if wanted is str:
        return dice.choice(NASTY)
    if wanted is bytes:
        return dice.choice(NASTY).encode()
    if wanted is bool:
        return dice.random() < 0.5
    if wanted in (int, float):
        return dice.choice((200, 200, 200, 204, 304, 404, 500, 0, 1, 99, 600, -1, 2**40))
    if wanted is Closing:
        return dice.choice((True, True, False, 1000, 4000, 1006, 0))
    if wanted is Headers:
        return [[dice.choice(NASTY_NAMES), str(dice.choice((3, "a", "close", "x\r\ny"))).encode()]
                for _ in range(dice.randrange(4) * (dice.random() < 0.3))]
    if wanted is Address:
        return ["192.0.2.9", 1]
    return [] if wanted is list or wanted == list[str] else {}


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """The same bytes, cut anywhere."""
    if len(data) < 2 or dice.random() < 0.5:
        return [data]
    cuts = sorted({dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 8))} | {0, len(data)})
    return [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


class Storm:
    """One peer, one application and one clock, at random. `through`: (the interface whose upgrade leads here, what a peer
    says to it first)."""

    def __init__(self, interface, corpus, seed, through=None):
        self.dice = dice = random.Random(seed)
        self.corpus = corpus
        self.spellings = (*interface.replies, NEUTRAL)
        first, opening = through or (interface, b"")
        self.peer = Peer(first, adopts=dice.random() < 0.5, capacity=dice.choice((1, 5000)),
                         siblings=[interface] if through else [])
        self.peer.says(opening)
        self.taken = []         # reply channels the application may still reply to
        self.apps = [self.peer.app]
        self.lossy = False      # an application died, or the layer lost messages: `order` may have gaps

    def run(self):
        doings = (self.says, self.says, self.says, self.takes, self.takes, self.replies, self.replies, self.replies,
                  self.waits, self.reads, self.rarely)
        for _ in range(ACTIONS):
            self.dice.choice(doings)()
            self.bounded()
        self.peer.leaves()
        self.peer.waits(0)
        while not self.peer.app.nothing():
            self.peer.app.got()
        self.peer.waits(1000.0)

    def says(self):
        for piece in pieces(self.dice.choice(self.corpus), self.dice):
            self.peer.says(piece)

    def takes(self):
        if not self.peer.app.nothing():
            self.peer.app.got()
            if self.peer.app.current:
                self.taken.append(self.peer.app.current)

    def replies(self):
        if self.taken:
            message = example(self.dice.choice(self.spellings), self.dice)
            to = self.dice.choice(self.taken[-3:])
            if self.dice.random() < 0.1:
                message = {"type": "interface.credit", "handled": self.dice.randrange(-2, 9)}
            self.peer.layer.send(to, message)
            self.peer.settle()

    def waits(self):
        self.peer.waits(self.dice.choice((0.01, 0.5, 2.0, 16.0, 100.0)))

    def reads(self):
        self.peer.transport.peer_reads = self.dice.random() < 0.8
        if self.peer.transport.peer_reads:
            self.peer.heard()

    def rarely(self):
        happens = self.dice.random()
        if happens < 0.1:
            self.peer.shuts()
        elif happens < 0.2:
            self.peer.connection.stop()
            self.peer.settle()
        elif happens < 0.3:
            self.peer.app.dies()
            self.lossy = True
            self.peer.app = App(self.peer.layer, self.peer.sends, self.dice.random() < 0.5)
            self.apps.append(self.peer.app)
        elif happens < 0.4:
            self.peer.leaves()
        elif happens < 0.5:
            self.peer.exchange.deliver("", Gap(self.dice.random() < 0.5))
            self.lossy = True
            self.peer.settle()

    def bounded(self):
        connection = self.peer.connection
        assert connection.unpulled <= READ_AHEAD + ONE_READ, "more was read than a story asked for"
        for link in connection.links.values():
            assert link.boxed <= self.peer.exchange.max_buffer, "more waits for the peer than --max-buffer"


def storm(interface, corpus, seed: int, through=None):
    """Run one storm and check every law. Raises AssertionError, with the seed."""
    found = Storm(interface, corpus, seed, through)
    try:
        found.run()
        lawful(found.peer, [message for app in found.apps for message in app.heard], (interface, *(through or ())[:1]),
               found.lossy)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error


def lawful(peer: Peer, heard: list, interfaces, lossy: bool):
    assert not peer.log.faults, "".join(peer.log.faults)
    assert not traces(peer), f"left behind: {traces(peer)}"
    assert not peer.transport.late, f"{peer.transport.late} bytes were written after a close"
    formats = {sent.__message__.name: sent.__message__ for interface in interfaces for sent in interface.sends}
    orders, over = {}, set()
    for message in heard:
        channel = message["reply_channel"]
        if not message["type"].startswith("interface."):
            try:
                formats[message["type"]].decode(message)
            except BadMessage as error:
                raise AssertionError(f"a message that does not fit its format: {error}") from error
        if "order" in message:
            follows = message["order"] - orders.get(channel, -1)
            assert follows == 1 or lossy and follows > 1, f"order {message['order']} after {orders.get(channel)}"
            orders[channel] = message["order"]
            assert channel not in over, f"{message['type']} after the connection was said to be over"
        if message["type"].endswith(".disconnect"):
            over.add(channel)


def traces(peer: Peer) -> list[str]:
    """What is left of connections that are gone: nothing may be."""
    left = [f"links: {peer.exchange.links}"] if peer.exchange.links else []
    if peer.exchange.owned:
        left.append(f"owned: {peer.exchange.owned}")
    if peer.factory.connections or any(sibling.connections for sibling in peer.factory.siblings.values()):
        left.append("connections that the factory still counts")
    if peer.connection.links:
        left.append(f"stories that have not ended: {peer.connection.links}")
    desks = peer.exchange.desks.values()                # they last as long as the process
    timers = [str(call) for call in peer.clock.getDelayedCalls() if call not in [desk.timer for desk in desks]]
    if timers:
        left.append(f"timers: {timers}")
    groups = {group: set(members) - {desk.channel for desk in desks} for group, members in peer.layer.groups.members.items()}
    if any(groups.values()):
        left.append(f"groups: {groups}")
    return left


def dialogue(interface, cut: list[bytes], answer, through=None) -> tuple:
    """What the peer hears and the application gets when these pieces are said and `answer(message)` answers."""
    first, opening = through or (interface, b"")
    peer, got = Peer(first, siblings=[interface] if through else []), []
    cut = [opening, *cut] if opening else cut
    for piece in cut:
        peer.says(piece)
        while not peer.app.nothing():
            message = peer.app.got()
            got.append({k: v for k, v in message.items() if k not in ("reply_channel", "deadline", "body_channel")})
            reply = answer(message)
            if reply is not None:
                peer.app.replies(**reply)
    return peer.heard(), got, peer.ended


def chunking(interface, data: bytes, answer, seed: int, through=None):
    """However the bytes are cut, the same is heard and got."""
    whole = dialogue(interface, [data], answer, through)
    for cut in ([data[i:i + 1] for i in range(len(data))], pieces(data, random.Random(seed))):
        assert dialogue(interface, cut, answer, through) == whole, f"cut into {len(cut)}: another dialogue for {data[:60]!r}"


def check(interface, corpus, seeds, through=None):
    for seed in seeds:
        storm(interface, corpus, seed, through)

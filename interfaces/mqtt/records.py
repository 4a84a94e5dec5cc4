"""A session as it is stored: a field for each thing that changes by itself, so that a change writes no more than that.

    h            the channel of the server that it is at home with; "" while it moves
    t            until when it is kept, seconds since the epoch; "" while its client is there
    m            [user name, expiry in seconds]
    w            [message, delay, when it is due or None]: its will
    s<filter>    [qos, no local, retain as published, identifiers]: a subscription
    q<number>    [message, qos, retain, identifiers]: what waits for it, in the order of the numbers
    f<id>        [order, message or None, qos, retain, identifiers]: in flight under this packet id; None: only PUBREL is left
    r<id>        a packet id of the client's between PUBREC and PUBREL

`h`, `t` are text that scripts read, the rest is msgpack, sealed. Pure."""
from collections import deque

import msgpack

from interfaces.mqtt.delivery import ENTRY, WILL_DELAY, Message, Outgoing, Wanted
from interfaces.mqtt.messages import Send
from interfaces.mqtt.state import Session


def message_data(message: Message) -> list:
    return [message.topic, message.payload, message.qos, message.retain, message.properties, message.at, message.id]


def message_from(data: list) -> Message:
    topic, payload, qos, retain, properties, at, id = data
    message = Message(Send(topic, payload, qos, retain, properties or {}), at)
    message.id = id
    return message


def pack_message(message: Message) -> bytes:
    return msgpack.packb(message_data(message))


def unpack_message(data: bytes) -> Message:
    """Raises ValueError, TypeError."""
    return message_from(msgpack.unpackb(data))


def pack(session: Session, field: str, value) -> bytes | None:
    """`value`: a Wanted, an entry of the queue, an Outgoing; what m and w say is in the session. None: it has none."""
    kind = field[0]
    if kind == "m":
        return msgpack.packb([session.username, session.expiry])
    if kind == "w":
        will = will_of(session)
        return None if will is None else msgpack.packb(will)
    if kind == "s":
        return msgpack.packb([value.qos, value.no_local, value.retain_as_published, value.identifiers])
    if kind == "q":
        message, *rest, _ = value
        return msgpack.packb([message_data(message), *rest])
    if kind == "f":
        message = None if value.message is None else message_data(value.message)
        return msgpack.packb([value.order, message, value.qos, value.retain, value.identifiers])
    return b""


def will_of(session: Session) -> list | None:
    """What is to be published if this server dies."""
    client = session.client
    if client is None:
        return None if session.will is None else [message_data(session.will), 0, session.due]
    if client.will is None or not client.relay:
        return None
    return [message_data(Message(client.will, session.broker.now())), client.will.properties.get(WILL_DELAY, 0), None]


def unpack_will(data: bytes, now: float) -> tuple[Message, float]:
    """(it, when it is due), where its client was lost at `now`. Raises ValueError, TypeError."""
    message, delay, due = msgpack.unpackb(data)
    return message_from(message), now + delay if due is None else due


def all_of(session: Session) -> dict:
    """{field: value}, of everything that is kept."""
    found = {"m": True, "w": True}
    if session.expiry:
        found |= {f"s{filter}": wanted for filter, wanted in (session.subscriptions or {}).items()}
        found |= {f"q{entry[4]}": entry for entry in session.queue or () if entry[1]}
        found |= {f"f{id}": outgoing for id, outgoing in (session.inflight or {}).items()}
        found |= {f"r{id}": True for id in session.received or ()}
    return found


def pairs(found: list):
    """Of names and what belongs to each, as scripts give them in one list."""
    return ((name.decode("utf-8", "replace"), data) for name, data in zip(found[::2], found[1::2], strict=True))


def read(found: list) -> dict[str, bytes]:
    """The answer to HGETALL."""
    return dict(pairs(found))


def about(data: bytes) -> tuple[str | None, int]:
    """(user name, expiry). Raises ValueError, TypeError."""
    username, expiry = msgpack.unpackb(data)
    return username, expiry


def restored(broker, client_id: str, fields: dict[str, bytes]) -> Session:
    """Raises ValueError, TypeError, KeyError for what is no record."""
    username, expiry = about(fields["m"])
    session = Session(broker, client_id, username)
    session.expiry = expiry
    queue, inflight = [], []
    for field, data in fields.items():
        kind, rest = field[0], field[1:]
        if kind == "s":
            qos, no_local, as_published, identifiers = msgpack.unpackb(data)
            session.subscriptions = session.subscriptions or {}
            session.subscriptions[rest] = Wanted(qos, no_local, as_published, tuple(identifiers) if identifiers else None)
        elif kind == "q":
            message, qos, retain, identifiers = msgpack.unpackb(data)
            queue.append((message_from(message), qos, retain, tuple(identifiers) if identifiers else None, int(rest)))
        elif kind == "f":
            order, message, qos, retain, identifiers = msgpack.unpackb(data)
            inflight.append((int(rest), Outgoing(None if message is None else message_from(message), qos, retain,
                                                 tuple(identifiers) if identifiers else None, order)))
        elif kind == "r":
            session.received = session.received or set()
            session.received.add(int(rest))
    fill(session, sorted(queue, key=lambda entry: entry[4]), sorted(inflight, key=lambda entry: entry[1].order))
    return session


def fill(session: Session, queue: list, inflight: list) -> None:
    """In their order; what is numbered from now on comes after them."""
    if queue:
        session.queue, session.queued = deque(queue), sum(entry[0].size + ENTRY for entry in queue)
    if inflight:
        session.inflight, session.last_id = dict(inflight), inflight[-1][0]
    last = max([entry[4] for entry in queue[-1:]] + [each.order for _, each in inflight[-1:]], default=0)
    session.broker.count = max(session.broker.count, last)

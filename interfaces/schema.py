"""Declare a message format once; check, convert, document and make examples from it.

    @message("finger.query", question=True)
    class Query:
        '''Somebody asks who is here.'''
        user: str = key("the name asked for, empty for everybody")

Values are None, bool, int, float, str, bytes, list and dict with str keys: what every layer carries. One function per class
and direction is compiled when the class is made, because generic conversion would cost more than the parsing of a request
(`dataclasses.asdict` 56 us for 16 keys, a compiled literal under 1).
"""
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin

Headers = NewType("Headers", list)        # [[name bytes, value bytes], ...]
Address = NewType("Address", list)        # [host, port]
Closing = NewType("Closing", object)      # bool or int: ASGI 1's `close`
Octets = bytes                            # for a class with a field named `bytes`, which hides the type from then on


class BadMessage(Exception):
    """A message fits no format: the application's fault, never the peer's."""


class NotOurs(BadMessage):
    """It has no key that this protocol knows. A group message may be meant for other protocols; each takes its own."""


def key(help: str, default: Any = MISSING) -> Any:
    """A key of a message. Without a default it must be there."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata={"help": help})
    return field(default=default, metadata={"help": help})


def headers_fit(value) -> bool:
    if value.__class__ not in (list, tuple):
        return False
    for pair in value:
        if pair.__class__ not in (list, tuple) or len(pair) != 2:
            return False
        if pair[0].__class__ is not bytes or pair[1].__class__ is not bytes:
            return False
    return True


def address_fits(value) -> bool:
    return value.__class__ in (list, tuple) and len(value) == 2 and value[0].__class__ is str and value[1].__class__ is int


def texts_fit(value) -> bool:
    return value.__class__ in (list, tuple) and all(item.__class__ is str for item in value)


# type -> (expression that holds for a fitting value, what the docs call it)
KINDS = {
    str: ("{0}.__class__ is str", "str"),
    bytes: ("{0}.__class__ is bytes", "bytes"),
    bool: ("{0}.__class__ is bool", "bool"),
    int: ("{0}.__class__ is int", "int"),
    Closing: ("{0}.__class__ is bool or {0}.__class__ is int", "bool or int"),
    float: ("{0}.__class__ is float or {0}.__class__ is int", "float"),
    dict: ("{0}.__class__ is dict", "dict"),
    list: ("{0}.__class__ is list", "list"),
    list[str]: ("texts_fit({0})", "[str]"),
    Headers: ("headers_fit({0})", "[[bytes, bytes]]"),
    Address: ("address_fits({0})", "[str, int]"),
}


def optional(annotation) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def kind(annotation):
    """The type of a key without its `| None`."""
    if optional(annotation):
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    if annotation not in KINDS:
        raise TypeError(f"no layer carries {annotation!r}; a key is one of {', '.join(text for _, text in KINDS.values())}")
    return annotation


def compiled(name: str, source: list[str], **known) -> Callable:
    scope = dict(known, headers_fit=headers_fit, address_fits=address_fits, texts_fit=texts_fit, BadMessage=BadMessage)
    exec("\n    ".join(source), scope)
    return scope[name]


def encoder(cls, name: str) -> Callable[[Any], dict]:
    """`encode(instance) -> dict`, `type` first."""
    pairs = [f"'type': {name!r}"] + [f"{f.name!r}: m.{f.name}" for f in fields(cls)]
    return compiled("encode", ["def encode(m):", "return {" + ", ".join(pairs) + "}"])


@dataclass(frozen=True)
class Spelling:
    """One way to write an event in a message: `keys` maps the event's fields to the message's keys, `fixed` gives fields
    that this spelling implies. A classic spelling is also read where a message has no `type`, or an unknown one together
    with all the keys named in `complete` (messages.md, From the workers)."""
    name: str
    event: type
    keys: dict = field(default_factory=dict)
    required: tuple = ()
    fixed: dict = field(default_factory=dict)
    complete: tuple = ()
    classic: bool = False
    help: str = ""


def decoder(spelling: Spelling) -> Callable[[dict], Any]:
    """`decode(message) -> event`; raises BadMessage. A key whose value is None equals an absent key."""
    source, arguments, known = ["def decode(d):", "get = d.get"], [], {"event": spelling.event}
    for number, f in enumerate(fields(spelling.event)):
        slot = f"v{number}"
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if f.name in spelling.fixed or f.name not in spelling.keys:
            default = spelling.fixed.get(f.name, default)
            if default is MISSING:
                raise TypeError(f"{spelling.name} gives no {f.name}, which {spelling.event.__name__} needs")
            known["default" + slot] = default
            arguments.append("default" + slot)
            continue
        named = spelling.keys[f.name]
        needed = named in spelling.required or default is MISSING
        known["default" + slot] = default
        missing = f"raise BadMessage({f'{spelling.name} without {named}'!r})" if needed else f"{slot} = default{slot}"
        expression, text = KINDS[kind(f.type)]
        wrong = f"{spelling.name}: {named} is no {text}"
        source += [f"{slot} = get({named!r})", f"if {slot} is None: {missing}",
                   f"elif not ({expression.format(slot)}): raise BadMessage({wrong!r})"]
        arguments.append(slot)
    source.append(f"return event({', '.join(arguments)})")
    return compiled("decode", source, **known)


@dataclass(frozen=True, slots=True)
class Format:
    """What `message` makes of a class: found as `cls.__message__`, so that no key can hide it (IRC has one called channel)."""
    name: str                                   # its `type`
    question: bool                              # the client waits for the verdict
    channel: str                                # the shared channel it is sent on
    encode: Callable[[Any], dict]
    decode: Callable[[dict], Any]               # raises BadMessage


def message(name: str, question: bool = False, channel: str | None = None):
    """Class decorator: a frozen message of type `name`, sent on the shared channel of the same name (or `channel`)."""
    def declare(cls):
        cls = dataclass(frozen=True, slots=True)(cls)
        own = {f.name: f.name for f in fields(cls)}
        cls.__message__ = Format(name, question, channel or name, encoder(cls, name), decoder(Spelling(name, cls, own)))
        return cls
    return declare


@message("interface.send")
class Neutral:
    """The protocol-neutral form: one group message that reaches browsers, devices and chat users, each in its own way."""
    text: str | None = key("what people read", None)
    bytes: Octets | None = key("what machines read", None)
    topic: str | None = key("MQTT: where to publish it", None)
    target: str | None = key("IRC: the channel or nick it goes to", None)
    sender: str | None = key("who says so", None)


@message("interface.credit")
class Credit:
    """So much of what the owner sent has been written to the socket."""
    sent: int = key("bytes of body since the connection (the request, in HTTP) began")


NEUTRAL = Spelling("interface.send", Neutral, {f.name: f.name for f in fields(Neutral)})


class Replies:
    """The spellings of one protocol, ready to read: `replies.read(message) -> event`, or BadMessage."""

    def __init__(self, spellings):
        self.spellings = (*spellings, NEUTRAL)
        self.typed = {spelling.name: decoder(spelling) for spelling in self.spellings}
        self.classic = [(spelling, decoder(spelling)) for spelling in spellings if spelling.classic]

    def read(self, message: dict):
        name = message.get("type")
        if name.__class__ is str:
            decode = self.typed.get(name)
            if decode is not None:
                return decode(message)
        elif name is not None:
            raise BadMessage("type is no str")
        for spelling, decode in self.classic:
            needed = spelling.complete if name else ()
            if all(message.get(k) is not None for k in needed) and (
                    name is None or needed) and any(message.get(k) is not None for k in spelling.keys.values()):
                return decode(message)
        raise NotOurs(f"no known keys in a message of type {name!r}: {sorted(map(str, message))[:8]}")


# What the bridge adds to what a room sends (messages.md, To the workers)
COMMON = (
    ("type", "str", "the message's own name, equal to its channel"),
    ("reply_channel", "str", "where replies go; the identity of the connection (of the request, in HTTP)"),
    ("order", "int", "0 for the first message, +1 for each further one; a gap means loss"),
    ("deadline", "float", "seconds since the epoch: later than this the server has answered by itself (questions only)"),
)


def document(interface) -> str:
    """The formats of one interface, in Markdown."""
    lines = [f"## {interface.name}", "", interface.summary, ""]
    for sent in interface.sends:
        form = sent.__message__
        lines += [f"### To the workers: `{form.name}`" + (" (a question)" if form.question else ""), "",
                  (sent.__doc__ or "").strip(), "", "| key | type | |", "|---|---|---|"]
        lines += [f"| {f.name} | {described(f.type)} | {f.metadata.get('help', '')} |" for f in fields(sent)] + [""]
    for spelling in (*interface.replies, NEUTRAL):
        title = f"### From the workers: `{spelling.name}`" + (" (classic: `type` may be left out)" if spelling.classic else "")
        lines += [title, "", spelling.help or (spelling.event.__doc__ or "").strip(), ""]
        lines += ["| key | type | |", "|---|---|---|"] if spelling.keys else []
        for f in fields(spelling.event):
            if f.name in spelling.keys:
                named = spelling.keys[f.name]
                text = KINDS[kind(f.type)][1] if named in spelling.required else described(f.type)
                lines.append(f"| {named} | {text} | {f.metadata.get('help', '')} |")
        lines.append("")
    return "\n".join(lines)


def described(annotation) -> str:
    text = KINDS[kind(annotation)][1]
    return f"{text} or None" if optional(annotation) else text

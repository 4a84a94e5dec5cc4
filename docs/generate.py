"""`make docs` writes docs/messages.md: the rules below, and the formats that the interfaces of this tree declare."""
import sys
from pathlib import Path

from interfaces.registry import find
from interfaces.schema import COMMON, document

TARGET = Path(__file__).resolve().parent / "messages.md"

RULES = """\
# The messages

What an interface server and the workers say to each other: channel names, keys and types. This page is the contract.
It is made from the declarations in `interfaces/*/messages.py` by `make docs`; the rules that come first are kept in
`docs/generate.py`.

Messages are dicts. Values are None, bool, int (64 bit), float, str, bytes, list, and dict with str keys; nothing
else. A key whose value is None equals a key that is absent.

## To the workers

A message goes to the shared channel of its own name, until the connection has an owner (below); from then on to the
owner's own channel. Each has these keys beside its own:

{common}

- A reply channel is `interface.<22 characters>!<22 characters>`, each part 128 random bits: it can't be guessed, and
  who knows it may answer. In HTTP each request has a new one, so that a late answer never reaches the next request.
- `order` counts the messages of one reply channel, whatever their type, without a gap. What goes to a body channel,
  and `interface.credit`, have none.
- `deadline` is on questions: messages whose client waits for a verdict. A layer drops a message whose deadline is
  past, and `over_channels` does too, so that a POST whose client was refused long ago does not run in secret.
- `http.disconnect` goes to the owner, who also gets it when the server has ended the request by itself (504, 500). Of
  a request without an owner it goes to the shared channel, if anybody listens there; otherwise it is dropped.

## From the workers

Answers are sent to the reply channel, by any process that knows it, at any time.

- A message with a `type` that is known is read as that. Without a `type`, or with an unknown one beside all of a
  protocol's classic keys, it is read by its classic keys.
- What can't be read (a value of a wrong type, a header with a newline, status 99) never reaches the client. It is
  logged with the client's address and counted, and the client gets the protocol's internal error: in HTTP 500, or a
  cut connection if its answer had begun.
- A reply to a connection that is gone is dropped and counted. It is never an error.

## Ownership

A connection (a request, in HTTP) belongs to nobody until a worker says that it has begun to run it and names a
channel of its own. On the `local:` layer that is the STARTED frame, and `over_channels` sends it by itself for every
request.

- What nobody owns waits for its deadline, whatever happens to the worker that took its message. A plain consumer
  never owns: it may answer at once, later, or leave the request to a group, and may be restarted meanwhile.
- An owner gets all further messages of the connection on its own channel, in order, sorted by `reply_channel`.
- Elsewhere a reply claims it, with `receive_channel` (the owner's channel) and `epoch` (of the announcement that it
  answers; 0, or absent, of the first). `receive_channel: None` gives the connection back. A message with a claim that
  answers an older announcement is dropped whole: who was replaced must not come back.
- When the owner's process is lost, its HTTP clients are told at once: 502, or a cut connection if the answer had begun.
  What it had been sent but had not begun goes to another worker. Nothing is ever run twice.
- `interface.gone` (only `reply_channel`) tells an owner that the connection had ended before it was taken, or belongs
  to another by now.

## Change-over

A long-lived connection (a WebSocket) stays when its owner goes. It is announced again on the channel of its first
message, with all keys of that and `resumed: True`, `epoch` (1, 2, ...) and `state`, when

- its owner gave it back, as `over_channels` does with all of its connections on SIGTERM;
- its owner is lost. The `local:` layer tells at once; elsewhere the server sends `interface.ping` (`id`,
  `reply_channel`) to the owner, at once and every 10 s (`--owner-ping`), to be answered with `interface.pong` (`id`,
  `reader`), and three misses are a loss; whoever says what it has `handled` lives too. `reader` is the number (CLIENT ID)
  of the connection on which it reads from Redis, or 0. Once that is closed it is asked each second, and lost after 5.
  With it goes what it had taken and not claimed ([decision 20](decisions/0020-a-closed-connection-raises-a-doubt.md));
- the layer has lost its data, so that groups are joined again. Of workers that own nothing the message is the same,
  and nothing need be claimed. In the format of Channels 1 there are no announcements: there the connection is ended.

`state` is what the last owner left by `{"type": "interface.state", "state": ...}`, or by the key `state` of any reply:
up to 64 KiB, or None. What the last owner was sent and had not `handled` is sent again, in order, numbered afresh, once
a new owner has claimed the connection. After a crash only what the owner had never taken is (on Redis the server takes
that back out of its box), for the rest may have run. What the client says meanwhile waits. An `accept` on an open
connection changes nothing, so that a consumer that knows nothing of all this survives: its `connect()` runs again. If
the client leaves meanwhile the new owner is told the connect, what waited, and the disconnect. Where nobody claims the
connection within `--resume-timeout` (60 s) it is ended: WebSocket 1012.

## Credit

*Server to owner.* A window of messages may be out: 64 (`--credit`) and 256 KiB of a long-lived connection, 8 for an HTTP
request whose body is under way. The owner
opens it again with `handled`, the `order` of the last message it has dealt with, on any reply, or by itself as
`{"type": "interface.credit", "handled": N}`. While the window is closed the client's socket is not read.

*Owner to server.* An owner keeps at most 256 KiB of body unconfirmed for each connection and cuts it into pieces of
64 KiB, at most 64 of them. After each 128 KiB or 32 pieces the server confirms with `interface.credit`, whose key
`sent` (int) says how many bytes of
body it has written since the request began.

Plain consumers know nothing of credit. What they send to a client that does not read waits in a box of `--max-buffer`
bytes; over that the connection is ended ("slow").

## Questions and safe answers

| question | no verdict until the deadline | channel full, or the layer is down | owner lost |
|---|---|---|---|
| `http.request` | 504 | 503 with `Retry-After` | 502 |
| `websocket.connect` | 503 | 503 with `Retry-After` | it is asked again |
| `mqtt.connect` | CONNACK 3, in MQTT 5 0x88 | the same | it is asked again |
| `mqtt.auth` | the same; on an open connection the end, 0x87 | it is read no further, after 30 s the end, 0x97 | no verdict |
| `mqtt.subscribe` | SUBACK 0x80 for each filter | as above | it is asked again |
| `mqtt.receive`, QoS 1, 2 | the end, 0x83, so that the device sends it again | as above | it is asked again, with `dup` |

Another protocol's question (`link.ask`) is refused as soon as nobody has listened to its channel for 2 seconds. HTTP
waits: a deploy must pause browsers and not fail them. The deadline of an HTTP request is `--http-timeout` (120 s)
after the message was sent; while its body is still passed on, each part that comes begins the time anew.

## Groups

A worker adds a reply channel to a layer group, and one group message reaches every connection in it, each once. A
connection leaves all groups when it ends; a membership also ends after the layer's group expiry. Keep what is meant
for clients in groups of their own: a message that HTTP can't read ends a held request with 500.

`interface.send` (below) is the form that belongs to no protocol. It answers a held HTTP request with its text, is one
event on an event stream, and is ignored by any other answer that has begun. A WebSocket sends it as a message.

## Sizes, capacities, expiry

| what | how much | changed by |
|---|---|---|
| a message, encoded | 2 MiB; `MessageTooLarge` at the send | `--max-message` |
| a frame that a reader of the hub's socket accepts | 16 MiB | |
| a part of a request's body | 64 KiB; 8 out at a time | |
| a shared channel | 5,000 messages and 64 MiB; `ChannelFull` at the send | a worker's `capacity`, for its own sends |
| all shared channels together | 1 GiB | |
| a body channel | 8 messages | |
| a channel of a worker's own | 10,000 messages; the newest are dropped | a worker's `capacity` |
| the same, in the hub, while the worker does not read | 16 MiB; 64 MiB for all of its channels | |
| how long a message waits | 60 s, or until its deadline | a worker's `expiry` for its own sends |
| a group membership | 86,400 s | a worker's `group_expiry` |

A body channel is named `http.request.body.<22 characters>` and is only used for what a plain consumer took. What is
left of it when the request ends is dropped; if the client left in the middle, a last part with `closed: True` takes
its place.

## In this page

The heading *To the workers* names a message that the server sends, *From the workers* one that it understands.
"Classic" forms are those of ASGI 1 and may leave `type` out; typed ones are those of ASGI 3.
"""


def table(rows) -> str:
    return "\n".join(["| key | type | |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def ours() -> list:
    """The interfaces of this tree. An installed stranger's has documents of its own."""
    found, faults = find()
    if faults:
        raise SystemExit("\n".join(faults))
    return [found[name] for name in sorted(found) if found[name].session.__module__.startswith("interfaces.")]


def text() -> str:
    """All of docs/messages.md."""
    rules = RULES.replace("{common}", table(COMMON))
    return "\n\n".join([rules.rstrip(), *(document(each).rstrip() for each in ours())]) + "\n"


def main(arguments: list[str]) -> str | None:
    """What went wrong, or None."""
    if arguments == ["--check"]:
        fresh = TARGET.exists() and TARGET.read_text() == text()
        return None if fresh else f"{TARGET.name} is out of date: make docs"
    if arguments:
        return "usage: docs/generate.py [--check]"
    TARGET.write_text(text())
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The two requests that are held open: a long-poll and an event stream. Plain ASGI: a held one costs no thread."""
import asyncio
import contextlib
import json
from urllib.parse import parse_qs

from channels.layers import get_channel_layer

GROUP = "room"
PATIENCE = 25.0     # seconds; below the 30 after which the most impatient proxies in common use give up
NEWEST = 50         # lines that somebody new gets to see (a guess)


async def lines_after(number):
    """The newest lines with a number above `number`, oldest first."""
    from room.models import Line
    newest = Line.objects.filter(id__gt=number).order_by("-id")[:NEWEST]
    lines = [{"id": line.id, "name": line.name, "text": line.text, "at": line.at.isoformat()} async for line in newest]
    return lines[::-1]


async def batches(number):
    """Lists of the lines after `number`, each as soon as there is one, or [] when there was nothing for a while.

    A group message only says that there is something new; what it is, the database says. So neither a lost message nor
    two that overtook each other can ever lose a line."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)       # before the first look: nothing falls between the two
    try:
        while True:
            lines = await lines_after(number)
            if not lines:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(layer.receive(channel), PATIENCE)
                    continue
            yield lines
            if lines:
                number = lines[-1]["id"]
    finally:
        await layer.group_discard(GROUP, channel)


def start(content_type):
    headers = [(b"content-type", content_type), (b"cache-control", b"no-store")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def first_line(scope):
    """The number after which the browser wants to hear: what it saw last when a stream broke, or `?after=`."""
    again = dict(scope["headers"]).get(b"last-event-id", b"")
    after = parse_qs(scope["query_string"]).get(b"after", [b""])[-1]
    number = again or after
    return int(number) if number.isdigit() and len(number) < 19 else 0      # below 2**63, what SQLite can compare


async def poll(scope, receive, send):
    async with contextlib.aclosing(batches(first_line(scope))) as found:
        lines = await anext(found)
    await send(start(b"application/json"))
    await send({"type": "http.response.body", "body": json.dumps(lines).encode()})


async def stream(scope, receive, send):
    await send(start(b"text/event-stream"))
    await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
    async with contextlib.aclosing(batches(first_line(scope))) as found:
        async for lines in found:
            events = "".join(f"id: {line['id']}\ndata: {json.dumps(line)}\n\n" for line in lines)
            if events:
                await send({"type": "http.response.body", "body": events.encode(), "more_body": True})

"""`send_numbers.py 0 20000`: a process beside the workers, which sends through the layer of the settings."""
import asyncio
import sys

import manage  # noqa: F401  names the settings
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer


async def send(first: int, last: int):
    layer = get_channel_layer()
    for number in range(first, last):
        while True:
            try:
                await layer.send("number.add", {"type": "number.add", "number": number})
                break
            except ChannelFull:
                await asyncio.sleep(0.01)


asyncio.run(send(int(sys.argv[1]), int(sys.argv[2])))

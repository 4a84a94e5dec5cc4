"""A process beside servers and workers, which puts messages into Redis and takes them out by hand."""
import time

from interfaces.layers.wire_channels import ChannelsFormat
from interfaces.layers.wire_classic import ClassicFormat
from tests.sockets.processes import until

FORMATS = {"channels_redis": ChannelsFormat(prefix="asgi"), "asgi_redis": ClassicFormat(prefix="asgi:")}


class Post:
    def __init__(self, redis, form="channels_redis"):
        self.redis, self.form = redis, FORMATS[form]

    def put(self, channel: str, message: dict):
        self.redis("EVAL", *self.form.send(channel, self.form.pack(message), time.time()).eval()[1:])

    def waits(self, channel: str) -> bool:
        length = {b"zset": "ZCARD", b"list": "LLEN"}.get(self.redis("TYPE", self.form.key(channel)))
        return length is not None and self.redis(length, self.form.key(channel)) > 0

    def take(self, channel: str) -> dict:
        until(lambda: self.waits(channel), f"there is a message on {channel}")
        batch = self.form.taken(self.redis(*self.form.take([channel], [1]).eval()), [channel])
        [(_, value)] = batch.found
        return self.form.decode(value, channel, batch.time)[0]

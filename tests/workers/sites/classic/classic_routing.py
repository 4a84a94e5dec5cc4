"""What no view can do: keep a request for later, and hear that a client left. All else goes to the views, by default."""
import os

import classic_devices
import classic_sockets
from channels import Group, route


def hold(message):
    Group("held").add(message.reply_channel)


def answer(message):
    Group("held").send({"status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"at last"})
    message.reply_channel.send({"status": 200, "headers": [], "content": b"answered"})


def left(message):
    with open(os.environ["SITE_TRACE"], "a") as trace:
        trace.write(f"left {message.content['path']}\n")


channel_routing = [
    route("http.request", hold, path=r"^/held$"),
    route("http.request", answer, path=r"^/answer$"),
    route("http.disconnect", left),
    *classic_sockets.routing,
    *classic_devices.routing,
]

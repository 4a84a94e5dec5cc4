"""WebSockets as a project of 2017 has them. The chat is DEP 0006's example."""
import json
import os

from channels import Group, route, route_class
from channels.auth import http_session_user
from channels.generic.websockets import JsonWebsocketConsumer
from channels.sessions import channel_session, enforce_ordering


def trace(*words):
    with open(os.environ["SITE_TRACE"], "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


# A chat of the kind that DEP 0006 shows: a room from the path, kept in the channel session

@channel_session
def chat_connect(message):
    label = message["path"].strip("/").split("/")[1]
    Group("chat-" + label).add(message.reply_channel)
    message.channel_session["room"] = label
    message.reply_channel.send({"accept": True})        # since Channels 1.0


@channel_session
def chat_receive(message):
    label, said = message.channel_session["room"], json.loads(message["text"])
    Group("chat-" + label).send({"text": json.dumps({"room": label, "handle": said["handle"], "message": said["message"]})})


@channel_session
def chat_disconnect(message):
    label = message.channel_session["room"]
    Group("chat-" + label).discard(message.reply_channel)
    trace("left", label)


# Sessions, one after the other

@enforce_ordering
@channel_session
def ordered_connect(message):
    query = message.content["query_string"]             # text of Daphne 1.4, bytes of ASGI 1.0
    message.channel_session["name"] = (query if isinstance(query, str) else query.decode()).partition("=")[2]
    message.channel_session["seen"] = 0
    message.reply_channel.send({"accept": True, "text": "hello " + message.channel_session["name"]})


@enforce_ordering
@channel_session
def ordered_receive(message):
    message.channel_session["seen"] += 1
    message.reply_channel.send({"text": "{name} {seen} ".format(**message.channel_session) + message.content["text"]})


@enforce_ordering
@channel_session
def ordered_disconnect(message):
    trace("left ordered", message.channel_session["name"], message.channel_session["seen"])


# Who is logged in, and what a reply can ask for

@http_session_user
def user_connect(message):
    message.reply_channel.send({"accept": True, "text": json.dumps({
        "user": str(message.user), "count": (message.http_session or {}).get("count"), "path": message.content["path"]})})


def user_disconnect(message):
    trace("left user", message.content["path"])


def replies_connect(message):
    if message.content["path"].startswith("/replies/refused"):
        return message.reply_channel.send({"accept": False})
    if message.content["path"].startswith("/replies/closed"):
        return message.reply_channel.send({"close": True})
    message.reply_channel.send({"accept": True})


def replies_receive(message):
    """The text is the reply, in JSON; bytes come back."""
    if message.content.get("bytes") is not None:
        return message.reply_channel.send({"bytes": message.content["bytes"]})
    message.reply_channel.send(json.loads(message.content["text"]))


class Json(JsonWebsocketConsumer):
    http_user = True
    strict_ordering = True

    def connection_groups(self, **kwargs):
        return ["json"]

    def receive(self, content, **kwargs):
        if content.get("to") == "all":
            return self.group_send("json", content)
        self.send({"you": str(self.message.user), "said": content})

    def disconnect(self, message, **kwargs):
        trace("left json", message.content["code"])


routing = [
    route("websocket.connect", chat_connect, path=r"^/chat/"),
    route("websocket.receive", chat_receive, path=r"^/chat/"),
    route("websocket.disconnect", chat_disconnect, path=r"^/chat/"),
    route("websocket.connect", ordered_connect, path=r"^/ordered/"),
    route("websocket.receive", ordered_receive, path=r"^/ordered/"),
    route("websocket.disconnect", ordered_disconnect, path=r"^/ordered/"),
    route("websocket.connect", user_connect, path=r"^/user/"),
    route("websocket.disconnect", user_disconnect, path=r"^/(?:user|replies)/"),
    route("websocket.connect", replies_connect, path=r"^/replies/"),
    route("websocket.receive", replies_receive, path=r"^/replies/"),
    route_class(Json, path=r"^/json/"),
]

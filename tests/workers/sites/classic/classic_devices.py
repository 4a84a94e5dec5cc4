"""Devices as a project of 2017 might have had them. MQTT came after that time, so that replies have a `type`."""
import os
import time

from channels import Group, route
from channels.sessions import channel_session, enforce_ordering
from classic_sockets import trace


def say(message, kind, **reply):
    """When the consumer is done: Channels 1 sends nothing before, so an acknowledgement means that it came to its end."""
    message.reply_channel.send({"type": kind, **reply})


@enforce_ordering
@channel_session
def connect(message):
    if message["password"] != b"pw":
        return say(message, "mqtt.close", reason_code=0x86)
    message.channel_session["client_id"] = message["client_id"]
    Group("devices").add(message.reply_channel)
    patterns = ["down/%c", "news/#"] if message["username"] == "patterns" else None
    say(message, "mqtt.accept", relay=True, subscribe_acl=patterns)


@enforce_ordering
@channel_session
def subscribe(message):
    codes = [0x87 if wish["filter"].startswith("secret/") else wish["qos"] for wish in message["subscriptions"]]
    say(message, "mqtt.suback", id=message["id"], reason_codes=codes)


def note(message, *more):
    trace("got", message.channel_session["client_id"], message["topic"], message["qos"], message["payload"].hex(), *more)


@enforce_ordering
@channel_session
def up(message, serial):
    note(message, serial)
    say(message, "mqtt.send", topic=f"down/{serial}", payload=message["payload"], qos=message["qos"])
    if message["qos"]:
        say(message, "mqtt.ack", id=message["id"])


@enforce_ordering
@channel_session
def held(message):
    note(message)
    while not os.path.exists(os.environ["SITE_GATE"]):
        time.sleep(0.02)            # the test is another process
    say(message, "mqtt.ack", id=message["id"])


@enforce_ordering
@channel_session
def received(message):
    note(message)
    if message["topic"] == "all":
        Group("devices").send({"type": "mqtt.send", "topic": "down/all", "payload": message["payload"]})
    if message["qos"]:
        say(message, "mqtt.ack", id=message["id"], reason_code=0x87 if message["topic"] == "refused" else 0)


@enforce_ordering
@channel_session
def disconnect(message):
    Group("devices").discard(message.reply_channel)
    trace("left", message.channel_session.get("client_id"), f"{message['reason_code']:#04x}", message["clean"])


routing = [
    route("mqtt.connect", connect),
    route("mqtt.subscribe", subscribe),
    route("mqtt.receive", up, topic=r"^devices/(?P<serial>\w+)/up$"),
    route("mqtt.receive", held, topic=r"^held$"),
    route("mqtt.receive", received),
    route("mqtt.disconnect", disconnect),
]

"""The room, by a stock consumer. The two mixins are what lets a visitor not notice that the worker has changed.

    the page says      {"name": "ann"}    {"text": "hello", "key": "..."}    {"who": true}
                       {"switch": "kettle", "to": "on"}
    the page hears     {"worker": 4711, "name": "ann"}    {"lines": [...]}    {"present": [...]}    {"joined": "ann"}
                       {"left": "ann"}    {"refused": "...", "why": {...}}
                       {"devices": [{"name": "kettle", "temperature": 21.5, "power": "off"}]}
"""
import json
import os

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from interfaces.worker import Resumable, mqtt, presence
from room.forms import LineForm, NameForm, SwitchForm
from room.models import Device, Line

GROUP = "room"
NEWEST = 50         # lines, and devices, that somebody new gets to see (a guess)
MALFORMED = 1008    # RFC 6455 7.4.1: a policy is violated, and no other code fits


class Room(Resumable, presence.PresenceMixin, AsyncJsonWebsocketConsumer):
    groups = [GROUP]
    state_on_every_message = True       # so that the state outlives a worker that is killed
    name, last = "", 0                  # the visitor's; the number of the newest line that was sent

    def get_state(self):
        return {"name": self.name, "last": self.last}

    def restore(self, state):
        self.name, self.last = state["name"], state["last"]

    async def connect(self):
        """Again in each worker that takes the connection over. Of that the page only sees another `worker`."""
        name = self.name or self.scope["user"].get_username()
        await self.accept()
        await self.call(name)
        await self.send_json({"worker": os.getpid(), "name": self.name})
        await self.room_changed()
        if devices := [device.said() async for device in Device.objects.order_by("-at")[:NEWEST]]:
            await self.send_json({"devices": devices})

    async def receive_json(self, said):
        match said:
            case {"name": _}:
                form = NameForm(said)
                await (self.call(form.cleaned_data["name"]) if form.is_valid() else self.refuse(form, "name"))
            case {"text": _, "key": _}:
                form = LineForm(said)
                await (self.say(**form.cleaned_data) if form.is_valid() and self.name else self.refuse(form, said["key"]))
            case {"switch": _, "to": _}:
                form = SwitchForm(said)
                await (self.switch(**form.cleaned_data) if form.is_valid() else self.refuse(form, "switch"))
            case {"who": _}:
                await self.list_present()
            case _:
                await self.close(MALFORMED)

    async def call(self, name):
        if self.name and name != self.name:
            await presence.leave(GROUP, self.name, self.channel_name)
        self.name = name
        if name:
            await self.enter(GROUP, name, notify=True)

    async def say(self, text, key):
        """A page says a line again when the worker changed before it heard it: the one that was killed may have lost it."""
        await Line.objects.aget_or_create(key=key, defaults={"name": self.name, "text": text})
        await self.channel_layer.group_send(GROUP, {"type": "room.changed"})

    async def switch(self, switch, to):
        """To the device. That it has been done the page hears from the device itself."""
        await mqtt.apublish(f"devices/{switch}/set", to.encode(), qos=1)

    async def device_changed(self, event):
        """A reading that was lost is not missed: the next is a second away, and whoever comes gets what the database has."""
        await self.send_json({"devices": [event["device"]]})

    async def refuse(self, form, what):
        await self.send_json({"refused": what, "why": form.errors or "say who you are first"})

    async def room_changed(self, event=None):
        """A group message only says that there is something new; what it is, the database says. So neither a lost message
        nor two that overtook each other can ever lose a line."""
        newest = Line.objects.filter(id__gt=self.last).order_by("-id")[:NEWEST]
        lines = [{"id": line.id, "key": line.key, "name": line.name, "text": line.text, "at": line.at.isoformat()}
                 async for line in newest][::-1]
        if lines:
            await self.send_json({"lines": lines})
            self.last = lines[-1]["id"]

    async def presence_changed(self, event):
        if event["member"] is None:     # too many at once to name them
            return await self.list_present()
        await self.send_json({"joined" if event["joined"] else "left": event["member"]})

    async def list_present(self):
        await self.send_json({"present": [member.member for member in await presence.members(GROUP)]})

    async def receive(self, text_data=None, bytes_data=None, **kwargs):
        await super().receive(text_data=text_data or "null", **kwargs)      # it fails where there is no text, as decoding does

    @classmethod
    async def decode_json(cls, text_data):
        try:
            return json.loads(text_data)
        except (ValueError, RecursionError):        # a stranger's nonsense is no error of ours
            return None

"""Devices, by MQTT: who is let in, and what becomes of what they say.

    devices/kettle/temperature    21.5         the kettle says how warm it is, in degrees Celsius
    devices/kettle/power          on | off     the kettle says what it is
    devices/kettle/set            on | off     the kettle is told what to be; by consumers.py
"""
from hmac import compare_digest

from asgiref.sync import async_to_sync
from django.conf import settings

from interfaces.worker.consumers import MqttConsumer, MqttRefused, mqtt_path
from room.consumers import GROUP
from room.forms import DeviceForm, PowerForm, TemperatureForm
from room.models import Device

PAYLOAD_FORMAT_INVALID = 0x99       # MQTT 5.0, 2.4


class DeviceConsumer(MqttConsumer):
    relay = True                                # whoever has subscribed hears it as well
    publish_acl = ["devices/%u/temperature", "devices/%u/power"]        # each speaks for itself
    subscribe_acl = ["devices/#"]

    def authenticate(self, username, password, client_id, **rest):
        """By a token that all of them have. Without one in the settings nobody is let in."""
        token = settings.DEVICE_TOKEN.encode()
        known = token and compare_digest(password or b"", token) and DeviceForm({"name": username}).is_valid()
        return username if known else None

    def tells(self, topic, payload, *, name, form, **rest):
        """It has its acknowledgement when the database has what it says."""
        said = form({form.key: payload.decode(errors="replace")})
        if not said.is_valid():
            raise MqttRefused(PAYLOAD_FORMAT_INVALID)
        device, _ = Device.objects.update_or_create(name=name, defaults=said.cleaned_data)
        async_to_sync(self.channel_layer.group_send)(GROUP, {"type": "device.changed", "device": device.said()})

    routes = [
        mqtt_path("devices/<slug:name>/temperature", tells, {"form": TemperatureForm}),
        mqtt_path("devices/<slug:name>/power", tells, {"form": PowerForm}),
    ]

"""A simulated kettle, by paho-mqtt: it says how warm it is, and does what it is told. `python device.py NAME PORT`; its
password is in CHAT_DEVICE_TOKEN. What its topics mean is in room/devices.py."""
import os
import random
import signal
import sys
import time

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5

COLD, HOT = 20.0, 100.0     # degrees Celsius
EVERY = 1.0                 # seconds between what it says
STEP = 0.1                  # of the way to where the temperature goes, each time
NOISE = 0.05                # degrees: what a cheap sensor is wrong by


class Kettle:
    def __init__(self, name: str, port: int, password: str):
        self.topic, self.power, self.temperature = f"devices/{name}", "off", COLD
        self.client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        self.client.username_pw_set(name, password)
        self.client.on_connect, self.client.on_message = self.connected, self.told
        self.client.connect_async("127.0.0.1", port)

    def connected(self, client, userdata, flags, reason_code, properties):
        """Again whenever the server was away."""
        if reason_code.is_failure:
            return print(f"not let in: {reason_code}", file=sys.stderr)     # paho tries again
        client.subscribe(f"{self.topic}/set", qos=1)
        self.says("power", self.power)

    def told(self, client, userdata, message):
        if message.payload in (b"on", b"off"):
            self.power = message.payload.decode()
            self.says("power", self.power)

    def says(self, what: str, value: str):
        self.client.publish(f"{self.topic}/{what}", value, qos=1, retain=True)

    def run(self):
        self.client.loop_start()        # paho's thread; it connects again by itself
        try:
            while True:
                self.temperature += STEP * ((HOT if self.power == "on" else COLD) - self.temperature)
                self.says("temperature", f"{random.gauss(self.temperature, NOISE):.1f}")
                time.sleep(EVERY)
        finally:
            self.client.disconnect()
            self.client.loop_stop()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    Kettle(sys.argv[1], int(sys.argv[2]), os.environ["CHAT_DEVICE_TOKEN"]).run()

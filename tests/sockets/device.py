"""A device of another hand, paho's, that remembers what it was told."""
from contextlib import ExitStack, contextmanager

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5, MQTTv311
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.sockets.processes import until

VERSIONS = (MQTTv311, MQTTv5)


class Device:
    """Connected, or refused, when made. It does not come back by itself."""

    def __init__(self, port, name, version=MQTTv5, user=("bob", "pw"), **more):
        self.name, self.heard, self.ended, self.subscribed = name, [], [], 0
        self.answer = self.present = None
        keeps, modern = more.get("keeps", False), version == MQTTv5
        own = {} if modern else {"clean_session": not keeps}
        own["transport"] = more.get("transport", "tcp")
        self.client = Client(CallbackAPIVersion.VERSION2, name, protocol=version, reconnect_on_failure=False, **own)
        self.client.username_pw_set(*user)
        self.client.on_connect, self.client.on_message = self.answered, self.told
        self.client.on_subscribe, self.client.on_disconnect = self.granted, self.gone
        if "will" in more:
            self.client.will_set(*more["will"])
        if modern:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 300 if keeps else 0
            own = {"clean_start": not keeps, "properties": properties}
        if "tls" in more:
            self.client.tls_set(more["tls"])
        self.client.connect("localhost" if "tls" in more else "127.0.0.1", port, **(own if modern else {}))
        self.client.loop_start()
        until(lambda: self.answer is not None, f"{name} has its CONNACK")

    # On paho's thread

    def answered(self, client, userdata, flags, reason_code, properties):
        self.present, self.answer = flags.session_present, reason_code.value

    def told(self, client, userdata, message):
        self.heard.append((message.topic, message.payload, message.qos, message.retain))

    def granted(self, client, userdata, mid, codes, properties):
        self.codes, self.subscribed = [code.value for code in codes], mid

    def gone(self, client, userdata, flags, reason_code, properties):
        self.ended.append(reason_code.value)

    # On the test's

    def subscribes(self, topic_filter, qos=1) -> int:
        """The code in SUBACK. What the server had written before has been read then."""
        _, mid = self.client.subscribe(topic_filter, qos)
        until(lambda: self.subscribed == mid, f"{self.name} has its SUBACK")
        return self.codes[0]

    def publishes(self, topic, payload, qos=1, retain=False):
        """When it is acknowledged."""
        self.begins(topic, payload, qos, retain).wait_for_publish(10)

    def begins(self, topic, payload, qos=1, retain=False):
        return self.client.publish(topic, payload, qos, retain)

    def hears(self, *messages, seconds=10):
        """These, in this order, and nothing else."""
        until(lambda: len(self.heard) >= len(messages), f"{self.name} hears {messages}, but {self.heard}", seconds)
        assert self.heard == list(messages)
        self.heard.clear()

    def vanishes(self):
        """Without DISCONNECT."""
        self.client.socket().shutdown(2)
        until(lambda: self.ended, f"{self.name} is gone")
        self.client.loop_stop()

    def leaves(self):
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def devices(port=None, **given):
    """`to("lamp")`: a Device, gone at the end; without a port it is the first argument. `given`: what each is made with."""
    with ExitStack() as made:
        def to(*arguments, **more):
            device = Device(*(() if port is None else (port,)), *arguments, **{**given, **more})
            made.callback(device.leaves)
            return device
        yield to


class Talker(Device):
    """It publishes one number after the other, a few at a time, until it is told to stop. All of that on paho's thread, which
    holds paho's locks where it calls us: a lock of ours that another thread has while it publishes would wait for ever."""
    AT_A_TIME = 5

    def __init__(self, port, name, version, qos):
        self.qos, self.sent, self.acked, self.numbers, self.silent = qos, 0, set(), {}, False
        super().__init__(port, name, version)

    def answered(self, client, userdata, flags, reason_code, properties):
        client.on_publish = self.taken
        super().answered(client, userdata, flags, reason_code, properties)
        for _ in range(self.AT_A_TIME):
            self.more()

    def more(self):
        self.sent += 1
        self.numbers[self.begins("up/number", str(self.sent), self.qos).mid] = self.sent

    def taken(self, client, userdata, mid, reason_code, properties):
        self.acked.add(self.numbers.pop(mid))
        if not self.silent:
            self.more()

    def goes_on(self, times=30):
        """So many more are acknowledged."""
        before = len(self.acked)
        until(lambda: len(self.acked) >= before + times, f"{self.name} goes on, after {before}; {self.ended}")

    def falls_silent(self):
        self.silent = True
        until(lambda: len(self.acked) == self.sent, f"all of {self.name} is acknowledged")

    def was_heard(self, lines):
        """Consumers have noted all of it, in order, and what they were given again was marked."""
        given = [line.split()[4:] for line in lines if line.startswith(f"got {self.name} ")]
        firsts = list(dict.fromkeys(int(number) for _, number in given))
        assert firsts == list(range(1, self.sent + 1)) and set(firsts) == self.acked
        seen = set()
        for dup, number in given:
            assert number not in seen or dup == "1", f"{number} again, and not as a duplicate"
            seen.add(number)

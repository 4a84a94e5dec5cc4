"""Several devices, workers that answer late, wrongly, twice or die, and time: at random, each storm replayable by its seed.
What tests/test_laws.py asks of one connection is asked of a broker here, of devices that were mostly let in."""
import os
import random
from collections import Counter

from interfaces.laws import lawful, traces
from interfaces.mqtt.plugin import mqtt
from interfaces.testing import App
from tests.mqtt.corpus import GOODBYES, WRONG
from tests.mqtt.devices import PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, World, packet

SEEDS = int(os.environ.get("CHANNELS_INTERFACES_SEEDS", "4000")) // 10
ACTIONS = 60
NAMES = ("a", "b", "c")
FILTERS = ("t/#", "t/+", "t/1", "#", "$share/g/t/#", "$share/g/t/1", "$SYS/#", "w")


class Storm:
    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.world = World(adopts=self.dice.random() < 0.7, max_queued=20, max_queued_bytes=20_000, receive_maximum=5,
                           max_inflight=4, max_retained=3, max_sessions=3, session_expiry_maximum=300, max_subscriptions=4)
        self.apps, self.acked, self.heard = [self.world.app], set(), Counter()
        self.open = []                              # devices that may still be spoken to
        self.taken = []                             # messages that the application has had, and may answer

    def run(self):
        for _ in range(ACTIONS):
            self.dice.choices((self.comes, self.says, self.answers, self.publishes, self.hears, self.waits, self.rarely),
                              (3, 8, 8, 3, 4, 2, 1))[0]()
            self.bounded()
        for device in self.world.devices:
            device.leaves()
        while not self.world.app.nothing():
            self.world.app.got()
        self.world.waits(1000)

    def comes(self):
        dice, version = self.dice, self.dice.choice((3, 4, 5, 5))
        given = {}
        if version == 5:
            given = {"session_expiry_interval": dice.choice((0, 20, 500)), "receive_maximum": dice.choice((1, 3, 100))}
        will = dice.choice((None, ("t/w", b"will", dice.randrange(3), dice.random() < 0.3,
                                   {"will_delay_interval": dice.choice((0, 10))} if version == 5 else {})))
        device = self.world.comes().connects(dice.choice(NAMES), version, clean=dice.random() < 0.4, will=will,
                                             keep_alive=dice.choice((0, 10)), **given)
        self.open.append(device)
        if dice.random() < 0.9:
            while not self.world.app.nothing():
                self.takes()
                if self.taken[-1]["type"] == "mqtt.connect":
                    return self.accepts(self.taken[-1])

    def accepts(self, message):
        accept = {"relay": self.dice.random() < 0.8, "session_expiry": self.dice.choice((None, 0, 100)),
                  "subscribe_acl": self.dice.choice((None, ["#"], ["t/+"])), "publish_acl": self.dice.choice((None, ["t/#"]))}
        self.world.app.replies(message["reply_channel"], type_="mqtt.accept", **accept)

    def says(self):
        if not self.open:
            return
        dice, device = self.dice, self.dice.choice(self.open)
        number, topic = dice.randrange(1, 8), dice.choice(("t/1", "t/2", "w", "$SYS/a"))
        match dice.randrange(12):
            case 0 | 1 | 2 | 3:
                payload = b"x" * dice.choice((0, 10, 3000))
                device.publishes(topic, payload, dice.randrange(3), number, dice.random() < 0.3, False)
            case 4 | 5:
                device.subscribes((dice.choice(FILTERS), dice.randrange(3)), (dice.choice(FILTERS), 0), id=number)
            case 6:
                device.unsubscribes(dice.choice(FILTERS), id=number)
            case 7 | 8 | 9:
                device.acks(dice.choice((PUBACK, PUBREC, PUBCOMP, PUBREL)), number, 0x80 if dice.random() < 0.05 else 0)
            case 10:
                device.says(packet(PINGREQ))
            case 11 if dice.random() < 0.3:
                device.says(dice.choice((*GOODBYES, *WRONG)))

    def takes(self):
        self.taken.append(self.world.app.got())

    def answers(self):
        if not self.world.app.nothing():
            self.takes()
        if not self.taken:
            return
        dice, message = self.dice, self.dice.choice(self.taken[-4:])
        to, kind, wrong = message.get("reply_channel"), message["type"], dice.random() < 0.05
        if kind == "mqtt.connect":
            self.accepts(message)
        elif kind == "mqtt.receive" and message["qos"]:
            code = dice.choice((0, 0, 0, 0, 0x10, 0x80, 0x87))
            self.acked.add((to, message["id"]))
            self.world.app.replies(to, type_="mqtt.ack", id=message["id"] + wrong * 70_000, reason_code=code)
        elif kind == "mqtt.subscribe":
            codes = [dice.choice((0, 1, 2, 0x80)) for _ in range(len(message["subscriptions"]) + wrong)]
            self.world.app.replies(to, type_="mqtt.suback", id=message["id"], reason_codes=codes)
        elif to is not None:
            self.world.app.replies(to, type_="mqtt.send", topic="t/1", payload=b"direct", qos=dice.randrange(3 + wrong))
        if self.world.app.adopts and dice.random() < 0.5 and "order" in message:
            self.world.app.replies(to, type_="interface.credit", handled=message["order"])

    def publishes(self):
        dice = self.dice
        self.world.publishes(dice.choice(("t/1", "t/2", "w")), b"y" * dice.choice((0, 10, 5000)), qos=dice.randrange(3),
                             retain=dice.random() < 0.3)

    def hears(self):
        for device in self.open:
            if self.dice.random() < 0.6 and device.transport.peer_reads:
                for came in device.hears():
                    self.heard[came.kind] += 1
                    if came.kind == PUBLISH and came.qos and self.dice.random() < 0.8:
                        device.acks(PUBACK if came.qos == 1 else PUBREC, came.id)
                    elif came.kind == PUBREC:
                        device.acks(PUBREL, came.id)
                    elif came.kind == PUBREL:
                        device.acks(PUBCOMP, came.id)
        self.open = [device for device in self.open if not device.ended]

    def waits(self):
        self.world.waits(self.dice.choice((0.1, 1, 3, 12, 25)))

    def rarely(self):
        happens = self.dice.random()
        if happens < 0.25 and self.open:
            self.dice.choice(self.open).leaves()
        elif happens < 0.6 and self.open:
            device = self.dice.choice(self.open)
            device.transport.peer_reads = not device.transport.peer_reads
        elif happens < 0.9:
            self.world.app.dies()
            self.world.app = App(self.world.layer, self.world.sends, self.dice.random() < 0.7)
            self.apps.append(self.world.app)

    def bounded(self):
        broker = self.world.broker
        assert len(broker.store.sessions) <= 3 and len(broker.store.messages) <= 3
        for session in broker.store.sessions.values():
            queue = session.queue or ()
            assert len(queue) <= 20 and session.queued <= 20_000 and queue != []
            assert session.queued == sum(entry[0].size + 100 for entry in queue), "what waits is counted wrongly"
            assert len(session.subscriptions or ()) <= 4
            if session.client is not None:
                assert session.client.out == sum(each.sent for each in (session.inflight or {}).values())
                assert session.client.out <= session.client.window and len(session.client.pending or ()) <= 5


def test_devices_in_storms():
    together = Counter()
    for seed in range(SEEDS):
        storm = Storm(seed)
        world = storm.world
        try:
            storm.run()
            everything = [message for app in storm.apps for message in app.heard]
            # what a dead plain worker had not begun comes to the next one channel by channel
            everything.sort(key=lambda message: message.get("order", -1))
            for device in world.devices:
                assert not device.transport.late and not device.connection.links
            lawful(world, everything, (mqtt,), lossy=True)
            assert not traces(world)
            world.broker.sweep()
            world.waits(400)
            world.broker.sweep()
            assert not world.broker.store.sessions and not world.broker.shares, "a session outlives its time"
            assert not world.broker.tree.exact and world.broker.tree.root.bare(), "a subscription outlives its session"
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        together += storm.heard
        together.update(message["type"] for message in everything)
    assert all(together[each] for each in (PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, "mqtt.receive", "mqtt.subscribe",
                                          "mqtt.disconnect", "mqtt.unsubscribe")), "storms that say nothing prove nothing"

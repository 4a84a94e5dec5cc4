"""Several interface servers on one layer and one real Redis, on a clock."""
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed

from interfaces.contract import DONE, LayerDown
from interfaces.layers.memory import MemoryLayer
from tests.mqtt.devices import World


class Stored:
    """contract.Storage in a real redis-server. Answers come in the next turn; what a dead server was sent is in `left`."""
    prefix = "asgi"

    def __init__(self, clock, client):
        self.clock, self.client, self.down, self.left, self.calls = clock, client, False, {}, []
        self.layer, self.settled = None, []

    def now(self):
        return self.clock.seconds()

    def run(self, script, keys, args):
        if self.down:
            return fail(LayerDown("away"))
        self.calls.append(script)
        answer = Deferred()
        self.clock.callLater(0, answer.callback, self.client("EVAL", script, len(keys), *keys, *args))
        return answer

    def seal(self, data):
        return b"sealed" + data

    def unseal(self, data):
        if not data.startswith(b"sealed"):
            raise ValueError("not sealed")
        return data[6:]

    def open(self, deliver, settled):
        """As a box of one's own: it is asked after each message."""
        def told(name, item):
            deliver(name, item)
            ensureDeferred(settled()).addCallback(lambda nothing: self.settled.append(item))
        return self.layer.open("interface", told).value

    def inherit(self, channel):
        return succeed(self.left.pop(channel, []))


class Between(MemoryLayer):
    """As on Redis, where other servers may be."""
    tells_taken = tells_lost = False


class Server(World):
    """`Server(client)` is the first; `first.another()` one beside it."""

    def __init__(self, client, beside=None, **options):
        self.client, self.first = client, beside.first if beside else self

        def layer(clock, **limits):
            made = Between(clock, **limits)
            made.storage = Stored(clock, client)
            made.storage.layer = made
            return made
        super().__init__(adopts=False, layer=beside.layer if beside else layer, beside=beside, **options)
        self.settle()

    @property
    def storage(self):
        return self.layer.storage

    def another(self, **options):
        return Server(self.client, self.first, **options)

    @property
    def channel(self):
        return self.factory.desk.channel

    def dies(self):
        """As by kill -9: its connections end without a word, and its box fills."""
        left = self.storage.left.setdefault(self.channel, [])
        name = self.channel.partition("!")[2]

        def deliver(connection, item):
            if connection == name:
                left.append(item)
        self.layer.addresses[self.channel.partition("!")[0]].deliver = deliver
        broker = self.broker
        broker.store.heirs.close()
        broker.store.run = broker.store.call = lambda *call: fail(LayerDown("dead"))
        broker.desk.group_send = broker.desk.send = lambda *said, **more: DONE
        for device in self.devices:
            device.connection.factory = None
            device.transport.gone = True

    def stops(self):
        """As by SIGTERM."""
        self.factory.drain()
        self.settle()
        self.broker.desk.begin(self.factory.close())
        self.settle()
        self.storage.left[self.channel] = []
        self.dies()

"""MQTT 3.1, 3.1.1 and 5 (OASIS): to devices a broker, whose promises workers keep: PUBACK follows their `mqtt.ack`.

packets.py    the control packets as values
protocol.py   bytes <-> packets; reading.py, reading_connect.py, writing.py and properties.py are parts of it; topics.py
              names and filters, and what is found by them
messages.py   mqtt.connect, .auth, .subscribe, .unsubscribe, .receive, .disconnect; mqtt.accept, .ack, .send ...
session.py    one connection from first to last; admission.py how it is let in, inbound.py what the client says then,
              asking.py how the application hears it
broker.py     what connections share: subscriptions, retained messages, wills; state.py a session, shares.py shared
              subscriptions, delivery.py a message
store.py      where sessions and retained messages are kept; redis.py and redis_retained.py in the layer's Redis, records.py
              and scripts.py how, heirs.py what becomes of those of a server that is gone
websocket.py  where it is spoken inside WebSocket
acl.py        what a client may publish and subscribe to
plugin.py     the Interface value and its options

Left out: server redirection, messages under $SYS of our own.
"""

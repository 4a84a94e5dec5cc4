"""MQTT with several servers and one Redis, on a clock: sessions go where their clients go, and outlast their servers."""
import pytest
from redis_server import NoRedis, RedisServer
from twisted.internet.defer import Deferred

from interfaces.mqtt import scripts
from tests.layers.real_redis import Client
from tests.mqtt.devices import CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK
from tests.mqtt.servers import Server

LASTS = {"clean": False, "session_expiry_interval": 3600}
LEASE = 21          # seconds after which a server that died is noticed: its lease of 15, and the next look


@pytest.fixture(scope="module")
def real(pytestconfig):
    try:
        server = RedisServer()
    except NoRedis as error:
        pytest.skip(str(error))
    client = Client(server.socket)
    yield client
    client.close()
    server.close()


@pytest.fixture
def first(real):
    real("FLUSHALL")
    server = Server(real)
    yield server
    assert not server.log.faults, server.log.faults


def subscribed(server, client_id="dev", *filters, **more):
    device = server.member(client_id, **{**LASTS, **more})
    device.kept = []
    device.subscribes(*(filters or (("t/#", 2),))).hears_one(SUBACK)
    return device


def back(server, client_id="dev", **more):
    device = server.member(client_id, **{**LASTS, **more})
    device.present = device.connack.present
    return device


def payloads(device):
    return [each.payload for each in device.hears() if each.kind == PUBLISH]


# A client that comes to another server

def test_a_session_is_found_by_another_server(first):
    second = first.another()
    device = subscribed(first, "dev", ("t/#", 1), ("u/+", 2))
    device.leaves()
    first.publishes("t/1", b"a", qos=1, id="1")
    first.publishes("u/1", b"b", qos=2, id="2", properties={"content_type": "x", "user_property": [["k", "v"]]})
    first.publishes("t/1", b"none: QoS 0 is not kept")
    device = back(second)
    assert device.told["session_present"] and device.present
    a, b = device.hears()
    assert (a.topic, a.payload, a.qos, b.topic, b.payload, b.qos) == ("t/1", b"a", 1, "u/1", b"b", 2)
    assert b.properties == {"content_type": "x", "user_property": [["k", "v"]]}
    assert "dev" not in first.broker.store.sessions and not first.broker.tree.match("t/1")
    second.publishes("t/1", b"c", qos=1)
    assert payloads(device) == [b"c"]


def test_another_connection_with_its_client_id_is_ended_on_another_server_too(first):
    second, third = first.another(), first.another()
    one = first.member("dev", clean=True, will=("w", b"gone", 0, False, {}))
    watcher = third.member("watcher").subscribes(("w", 0))
    watcher.hears()
    two = second.member("dev", clean=True)
    assert [each.code for each in one.hears() if each.kind == DISCONNECT] == [0x8E] and one.ended
    assert payloads(watcher) == [b"gone"] and not two.connack.present
    assert "dev" not in first.broker.store.sessions
    three = third.member("dev", clean=False)
    assert two.ended and not three.ended and not three.connack.present


def test_a_clean_start_forgets_what_another_server_kept(first):
    second = first.another()
    subscribed(first).leaves()
    first.publishes("t/1", b"x", qos=1)
    device = second.member("dev", clean=True)
    assert not device.connack.present and payloads(device) == []
    second.publishes("t/1", b"y", qos=1)
    assert payloads(device) == []
    device.leaves()
    assert not back(first).present


def test_nobody_gets_the_session_of_somebody_else(first):
    second = first.another()
    subscribed(first, username="ann").leaves()
    first.publishes("t/1", b"for ann", qos=1)
    thief = back(second, username="eve")
    assert not thief.told["session_present"] and not thief.present and payloads(thief) == []


def test_messages_in_flight_are_sent_again_by_another_server_in_their_order(first):
    second = first.another()
    device = subscribed(first)
    for number in range(4):
        first.publishes("t/1", b"%d" % number, qos=1 + number % 2, id=str(number))
    came = device.hears()
    device.acks(PUBACK, came[0].id).acks(PUBREC, came[1].id)
    assert device.hears_one(PUBREL).id == came[1].id
    device.leaves()
    device = back(second)
    again = device.hears()
    assert [(each.kind, each.id) for each in again] == [(PUBREL, came[1].id), (PUBLISH, came[2].id), (PUBLISH, came[3].id)]
    assert [each.dup for each in again[1:]] == [True, True] and [each.payload for each in again[1:]] == [b"2", b"3"]
    device.acks(PUBCOMP, again[0].id).acks(PUBACK, again[1].id).acks(PUBREC, again[2].id)
    device.hears()
    device.acks(PUBCOMP, again[2].id)
    device.leaves()
    assert payloads(back(first)) == []


def test_a_qos_2_message_that_a_worker_had_is_not_asked_again_by_another_server(first):
    second = first.another()
    device = subscribed(first)
    device.publishes("t/x", b"once", 2, 7)
    first.acked()
    assert [each.kind for each in device.hears()] == [PUBREC, PUBLISH]
    device.leaves()
    device = back(second)
    device.hears()
    device.publishes("t/x", b"once", 2, 7, dup=True)
    assert device.hears_one(PUBREC).id == 7
    while not first.app.nothing():
        assert first.app.got()["type"] != "mqtt.receive"
    device.acks(PUBREL, 7)
    assert (device.hears_one(PUBCOMP)).code == 0
    device.leaves()
    device = back(first)
    device.hears()
    device.acks(PUBREL, 7)
    assert device.hears_one(PUBCOMP).code == 0x92


def test_what_is_published_while_a_session_moves_comes_once(first):
    second = first.another()
    subscribed(first).leaves()
    answers = first.storage.run
    turn = iter(range(1000))

    def run(script, keys, args):        # something is published with each thing that is asked of Redis
        number = next(turn)
        if number < 8:
            second.layer.group_send("mqtt", {"type": "mqtt.send", "topic": "t/1", "payload": b"%d" % number, "qos": 1,
                                             "id": str(number)})
        return answers(script, keys, args)
    first.storage.run = run
    device = back(second)
    first.storage.run = answers
    assert sorted(payloads(device)) == [b"%d" % number for number in range(min(next(turn), 8))]


def test_an_expired_session_is_not_found(first):
    second = first.another()
    subscribed(first, session_expiry_interval=60).leaves()
    second.waits(61)
    device = back(second)
    assert not device.told["session_present"] and not device.present


def test_a_session_that_ends_with_its_connection_leaves_nothing(first, real):
    first.member("dev", will=("w", b"", 0, False, {})).leaves()
    first.settle()
    assert [key for key in real("KEYS", "asgi:mqtt:*") if key != b"asgi:mqtt:homes"] == []


def test_subscriptions_that_were_given_up_are_gone_elsewhere_too(first):
    second = first.another()
    device = subscribed(first, "dev", ("t/#", 1), ("u", 1))
    device.unsubscribes("u").hears()
    device.leaves()
    device = back(second)
    second.publishes("u", b"no", qos=1)
    second.publishes("t/1", b"yes", qos=1)
    assert payloads(device) == [b"yes"]


# A server that is gone

def test_after_a_stop_another_server_queues_for_its_sessions(first):
    second = first.another()
    device = subscribed(first)
    first.publishes("t/1", b"in flight", qos=1, id="1")
    device.hears()
    first.stops()
    second.waits(6)
    assert "dev" in second.broker.store.sessions
    second.publishes("t/1", b"queued", qos=1, id="2")
    assert payloads(back(second)) == [b"in flight", b"queued"]


def test_what_came_for_a_dead_server_is_handed_on_and_nothing_comes_twice(first):
    second, third = first.another(), first.another()
    subscribed(first, "early").leaves()
    subscribed(first, "late").leaves()
    subscribed(first, "other").leaves()
    first.publishes("t/1", b"before", qos=1, id="1")
    first.dies()
    second.publishes("t/1", b"after", qos=1, id="2")
    early = second.comes().connects("early", **LASTS)
    while second.app.got()["type"] != "mqtt.connect":
        pass
    second.app.replies(type_="mqtt.accept", subscribe_acl=["#"])
    second.waits(1)                                         # the dead one is asked, and does not answer
    second.publishes("t/1", b"meanwhile", qos=1, id="4")
    second.waits(2)
    came = early.hears()
    assert [each.kind for each in came] == [CONNACK, PUBLISH, PUBLISH] and came[0].present
    assert [each.payload for each in came[1:]] == [b"before", b"meanwhile"]
    second.publishes("t/1", b"alive", qos=1, id="3")
    assert payloads(early) == [b"alive"]
    second.waits(LEASE)
    third.settle()
    assert payloads(early) == [b"after"]
    assert payloads(back(third, "late")) == payloads(back(second, "other")) == [
        b"before", b"after", b"meanwhile", b"alive"]


def test_a_server_that_starts_again_takes_over_what_it_left(first):
    subscribed(first).leaves()
    first.publishes("t/1", b"queued", qos=1, id="1", retain=True)
    first.stops()
    first.publishes("t/1", b"nobody was there", qos=1, id="2")
    again = first.another()
    assert "dev" in again.broker.store.sessions
    again.settle()
    assert payloads(back(again)) == [b"queued", b"nobody was there"]
    assert payloads(again.member("new").subscribes(("t/1", 0))) == [b"queued"]


def test_the_will_of_a_killed_server_s_client_is_published(first):
    second = first.another()
    watcher = subscribed(second, "watcher", ("w/#", 0))
    first.member("a", will=("w/a", b"a", 0, False, {}))
    first.member("b", will=("w/b", b"b", 0, False, {"will_delay_interval": 100}), **LASTS)
    first.member("c", will=("w/c", b"c", 0, False, {"will_delay_interval": 100}), **LASTS)
    first.dies()
    second.waits(LEASE)
    assert payloads(watcher) == [b"a"]
    back(second, "c")
    second.waits(101)
    assert payloads(watcher) == [b"b"]


def test_the_session_of_a_server_that_does_not_answer_is_taken_from_it(first):
    second = first.another()
    one = subscribed(first)
    first.publishes("t/1", b"x", qos=1)
    first.factory.desk.shared = type("Deaf", (), {"hear": lambda self, event: None})()
    two = second.comes().connects("dev", **LASTS)
    while second.app.got()["type"] != "mqtt.connect":
        pass
    second.app.replies(type_="mqtt.accept", subscribe_acl=["#"])
    second.waits(3)
    came = two.hears()
    assert [each.kind for each in came] == [CONNACK, PUBLISH] and came[0].present
    one.subscribes(("more", 1))                 # and as soon as it writes, it learns that it has lost it
    first.settle()
    assert one.ended and "dev" not in first.broker.store.sessions
    assert second.broker.store.sessions["dev"].subscriptions.keys() == {"t/#"}


def test_thousands_of_messages_are_handed_on(first):
    second = first.another()
    subscribed(first, session_expiry_interval=600).leaves()
    first.dies()
    for number in range(1100):
        second.publishes("u", b"%d" % number, qos=1, id=str(number))
    second.publishes("t/1", b"last", qos=1, id="last")
    send = second.layer.group_send

    def slowly(group, message, but):
        sent = Deferred()
        second.clock.callLater(0, sent.callback, send(group, message, but))
        return sent
    second.layer.group_send = slowly
    second.waits(LEASE)
    assert payloads(back(second)) == [b"last"]


def test_a_message_is_settled_when_redis_has_what_became_of_it(first):
    subscribed(first).leaves()
    first.member("shares", **LASTS).subscribes(("$share/g/s", 1)).leaves()
    run, waiting = first.storage.run, []

    def slowly(*call):
        if call[0] not in (scripts.PUT, scripts.WIN):
            return run(*call)
        waiting.append((Deferred(), call))
        return waiting[-1][0]

    def answered():
        answer, call = waiting.pop(0)
        run(*call).chainDeferred(answer)
        first.settle()
    for topic, calls in (("t/1", 1), ("nobody", 0), ("s", 2)):
        first.storage.run = slowly
        first.publishes(topic, topic.encode(), qos=1, id=topic)
        first.waits(2)
        for _ in range(calls):
            assert first.storage.settled == []
            answered()
            first.waits(2)
        assert not waiting and [item["topic"] for item in first.storage.settled] == [topic]
        first.storage.settled.clear()
        first.storage.run = run


# Redis that is away, or empty

def test_without_redis_nobody_is_let_in_and_what_changed_is_written_later(first):
    second = first.another()
    device = subscribed(first)
    first.storage.down = True
    first.publishes("t/1", b"x", qos=1)
    device.leaves()
    first.publishes("t/1", b"y", qos=1)
    stranger = first.comes().connects("other", **LASTS)
    assert stranger.hears_one(CONNACK).code == 0x88 and stranger.ended
    first.storage.down = False
    first.waits(2)
    assert payloads(back(second)) == [b"x", b"y"]


def test_after_redis_was_emptied_everything_is_written_again(first, real):
    second = first.another()
    device = subscribed(first)
    first.publishes("t/r", b"kept", qos=1, retain=True, id="1")
    device.leaves()
    real("FLUSHALL")
    first.waits(6)
    assert payloads(back(second)) == [b"kept"]
    again = first.another()
    assert payloads(again.member("new").subscribes(("t/r", 0))) == [b"kept"]


def test_a_queue_that_changes_while_redis_is_away_is_written_whole(first):
    second = first.another()
    device = subscribed(first)
    first.storage.down = True
    for number in range(1500):
        first.publishes("t/1", b"%d" % number, qos=1)
        (came,) = device.hears()
        device.acks(PUBACK, came.id)
    first.publishes("t/1", b"last", qos=1)
    device.leaves()
    assert len(first.broker.store.dirty) == 1 and len(next(iter(first.broker.store.dirty.values()))) <= 2000
    first.storage.down = False
    first.waits(2)
    assert payloads(back(second)) == [b"last"]


def test_what_can_not_be_read_is_no_session_and_harms_nobody(first, real):
    second = first.another()
    device = subscribed(first)
    device.leaves()
    first.settle()
    real("HSET", "asgi:mqtt:session:dev", "q99", "garbage", "m", "sealed\xff")
    real("HSET", "asgi:mqtt:retained", "t/1", "garbage")
    assert not back(second).present
    third = first.another()
    assert payloads(third.member("x").subscribes(("t/1", 0))) == []


# Retained messages

def test_retained_messages_are_there_after_a_restart_and_on_every_server(first):
    second = first.another()
    for server, topic in ((first, "t/1"), (second, "t/2")):
        server.member(f"at {topic}").publishes(topic, topic.encode(), retain=True)
    first.publishes("t/3", b"t/3", retain=True)
    first.publishes("t/1", b"", retain=True)
    for server in (first, second, first.another()):
        found = server.member("new").subscribes(("t/#", 0))
        assert sorted(payloads(found)) == [b"t/2", b"t/3"]


# Shared subscriptions

def test_of_all_who_share_on_all_servers_one_gets_each_message(first):
    second = first.another()
    one, two = first.member("one"), second.member("two")
    for device in (one, two):
        device.subscribes(("$share/g/t/#", 1)).hears_one(SUBACK)
    for number in range(20):
        first.publishes("t/1", b"%d" % number, qos=number % 2, id=str(number))
    one.publishes("t/2", b"20")
    second.settle()
    assert sorted(map(int, payloads(one) + payloads(two))) == list(range(21))


def test_of_those_who_share_one_that_is_there_comes_first_on_all_servers(first):
    second = first.another()
    first.member("sleeper", **LASTS).subscribes(("$share/g/t", 1)).leaves()
    there = second.member("there").subscribes(("$share/g/t", 1))
    there.hears()
    first.publishes("t", b"x", qos=1, id="1")
    first.waits(2)
    assert payloads(there) == [b"x"]
    there.leaves()
    first.publishes("t", b"y", qos=1, id="2")
    first.waits(2)
    assert payloads(back(second, "sleeper")) == [b"y"]


def test_without_redis_a_shared_message_comes_twice_rather_than_never(first):
    second = first.another()
    one, two = first.member("one"), second.member("two")
    for device in (one, two):
        device.subscribes(("$share/g/t/#", 1)).hears_one(SUBACK)
    first.storage.down = True
    first.publishes("t/1", b"x", qos=1, id="1")
    assert payloads(one) == payloads(two) == [b"x"]


def test_what_came_for_a_dead_server_goes_to_one_of_those_who_share(first):
    second = first.another()
    first.member("sleeper", **LASTS).subscribes(("$share/g/t", 1)).leaves()
    first.dies()
    second.publishes("t", b"x", qos=1, id="1")
    second.waits(LEASE)
    second.waits(2)
    assert payloads(back(second, "sleeper")) == [b"x"]

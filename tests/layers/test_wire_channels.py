"""The format of channels_redis, against what its 4.3.0 wrote and what a real server makes of our scripts."""
import json
import re

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisError

from interfaces.layers.shared import BadName
from interfaces.layers.wire_channels import AHEAD, ChannelsFormat
from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_redis import GROUP_NAMES, TAKE_BYTES, Call, Script, ServerClock
from interfaces.layers.wire_values import BadValue, Json, Msgpack

NOW = 1795238785.0
SERVER = "specific." + "c" * 32 + "!"
ONE, TWO = SERVER + "a" * 32, SERVER + "b" * 32
# Captured from channels_redis 4.3.0, less the 12 random bytes:
CAPTURED = {"type": "http.request", "body": b"\x00\xff", "n": 5, "text": "hé", "none": None, "ok": True,
            "l": [1, b"x", "y"], "f": 1.5}
CAPTURED_BYTES = (b"\x88\xa4type\xachttp.request\xa4body\xc4\x02\x00\xff\xa1n\x05\xa4text\xa3h\xc3\xa9\xa4none\xc0\xa2ok\xc3"
                  b"\xa1l\x93\x01\xc4\x01x\xa1y\xa1f\xcb?\xf8\x00\x00\x00\x00\x00\x00")
plain = st.recursive(st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | st.floats(allow_nan=False) | st.text()
                     | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
messages = st.dictionaries(st.text().filter(lambda key: key != "__asgi_channel__"), plain, max_size=20)    # the layer's own


def wire(**settings) -> ChannelsFormat:
    return ChannelsFormat(**settings)


def send(redis, form, channel, n, **more):
    return form.sent(redis.run(form.send(channel, form.pack({"n": n, **more}), NOW)))


def taken(redis, form, *channels, limit=100):
    """[(channel, n)] of what waits."""
    batch = form.taken(redis.run(form.take(channels, [limit] * len(channels))), channels)
    return [(channel, form.decode(value, channel, NOW)[0]["n"]) for channel, value in batch.found]


# Bytes

def test_a_message_is_what_channels_redis_wrote_behind_twelve_random_bytes():
    form = wire()
    call = form.send("http.request", form.pack(CAPTURED), NOW)
    assert call.keys == ("asgihttp.request",)
    expiry, ttl, capacity, member = call.args
    assert (expiry, ttl, capacity) == ("60", 60, 100)
    assert (len(member), member[12:]) == (82, CAPTURED_BYTES)
    assert form.decode(member, "http.request", NOW) == (CAPTURED, ["http.request"])
    assert form.send("http.request", form.pack(CAPTURED), NOW).args[3][:12] != member[:12]


def test_a_process_local_message_names_its_channel():
    form = wire()
    call = form.send(ONE, form.pack({"type": "websocket.send", "text": "hi"}), NOW)
    member = call.args[3]
    assert call.keys == (f"asgi{SERVER}",)
    assert member[12:] == b"\x83\xa4type\xaewebsocket.send\xa4text\xa2hi\xb0__asgi_channel__\xd9J" + ONE.encode()
    assert len(member) == 134
    assert form.decode(member, SERVER, NOW) == ({"type": "websocket.send", "text": "hi"}, [ONE])


def test_a_group_message_names_all_channels_of_a_process():
    form = wire()
    [(shard, call)] = form.group_send([ONE, "plain-one", TWO], form.pack({"type": "chat.message", "text": "yo"}), NOW)
    assert (shard, call.keys) == (0, [f"asgi{SERVER}", "asgiplain-one"])
    _, _, _, many, capacity, single = call.args
    head = b"\x83\xa4type\xacchat.message\xa4text\xa2yo\xb0__asgi_channel__"
    assert many[12:] == head + b"\x92\xd9J" + ONE.encode() + b"\xd9J" + TWO.encode()
    assert single[12:] == head + b"\x91\xa9plain-one"
    assert capacity == 100
    assert form.decode(many, SERVER, NOW)[1] == [ONE, TWO]
    assert form.decode(single, "plain-one", NOW) == ({"type": "chat.message", "text": "yo"}, ["plain-one"])


def test_a_very_large_group_is_several_messages_that_a_reader_still_accepts():
    form = wire()
    names = [f"{SERVER}{n:053}" for n in range(GROUP_NAMES + 1)]
    [(_, call)] = form.group_send(names, form.pack({"n": 1}), NOW)
    assert call.keys == [f"asgi{SERVER}"] * 2
    assert form.decode(call.args[3], SERVER, NOW)[1] + form.decode(call.args[5], SERVER, NOW)[1] == names


def test_json_is_what_channels_redis_writes():
    form = wire(serializer="json", random_prefix_length=3)
    value = form.value(form.pack({"type": "x", "text": "hé"}), ONE, NOW)
    assert value[3:] == json.dumps({"type": "x", "text": "hé", "__asgi_channel__": ONE}).encode()
    assert form.decode(value, SERVER, NOW) == ({"type": "x", "text": "hé"}, [ONE])
    assert form.value(form.pack({}), [ONE], NOW)[3:] == json.dumps({"__asgi_channel__": [ONE]}).encode()
    with pytest.raises(TypeError):
        form.pack({"body": b"x"})
    with pytest.raises(ValueError, match="no serializer 'pickle'"):
        wire(serializer="pickle")


@settings(max_examples=100, deadline=None)
@given(messages, st.sampled_from([None, ONE, [ONE, TWO]]))
def test_every_message_comes_back(message, names):
    form = wire()
    value = form.value(form.pack(message), names, NOW)
    expected = [names] if isinstance(names, str) else names
    assert form.decode(value, SERVER if names else "x", NOW) == (message, expected or ["x"])


@pytest.mark.parametrize("size", [0, 1, 14, 15, 16, 65534, 65535, 65536])
@pytest.mark.parametrize("codec", [Msgpack, Json])
def test_names_are_added_as_if_they_had_been_packed_with_the_message(codec, size):
    message = {f"k{n}": n for n in range(size)}
    assert codec.opened(codec.pack(message)) + codec.tag(ONE) == codec.pack({**message, "__asgi_channel__": ONE})


# Encryption

def test_an_encrypted_message_keeps_its_random_bytes_and_any_key_decrypts():
    old, new = wire(encryption_keys=["k1"]), wire(encryption_keys=["k2", "k1"])
    value = old.value(old.pack(CAPTURED), None, NOW)
    assert value[12:].startswith(b"gAAAAA")
    assert new.decode(value, "x", NOW + 69)[0] == CAPTURED
    with pytest.raises(BadValue, match="not in the last 70 s"):
        new.decode(value, "x", NOW + 71)
    with pytest.raises(BadValue, match="not encrypted with our keys"):
        old.decode(new.value(new.pack(CAPTURED), None, NOW), "x", NOW)


def test_keys_are_a_list_and_never_shown():
    with pytest.raises(ValueError, match="a list"):
        wire(encryption_keys="k1")
    assert "topsecret" not in repr(wire(encryption_keys=["topsecret"]))


# What foreign writers leave

GARBAGE = [b"", b"r" * 11, b"r" * 12] + [b"r" * 12 + payload for payload in (
    b"\xc1", b"\x93\x01", b"\x01", b"\x90", b"\x80\x80", b"\x81\x01\x02", b"\x81\xa1a\xa1\xff", b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff", b"\x81\x90\x01", b"\x81\xa1a\xc7\x01\x05x", b"\x91" * 5000, b'{"a": 1}', b"gAAAAABrAS2H",
    b"\x81\xa1a\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"x" * (16 * 1024 * 1024))]


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value[12:30]))
def test_garbage_is_a_bad_value(value):
    for form in wire(), wire(serializer="json"), wire(encryption_keys=["k"]):
        if form.codec is Json and value.endswith(b"}"):
            continue
        with pytest.raises(BadValue):
            form.decode(value, "http.request", NOW)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"9" * 5000, b"\xff", b'"a"', b"{"])
def test_garbage_in_json_is_a_bad_value(text):
    with pytest.raises(BadValue):
        wire(serializer="json").decode(b"r" * 12 + text, "x", NOW)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_is_read_is_a_message_or_a_bad_value(data):
    for form in wire(random_prefix_length=0), wire(serializer="json", random_prefix_length=0):
        try:
            message, channels = form.decode(data, "x", NOW)
        except BadValue:
            continue
        assert type(message) is dict and channels == ["x"]


def test_a_timestamp_of_msgpack_becomes_a_plain_value():
    assert wire().decode(b"r" * 12 + b"\x81\xa1t\xd6\xff\x00\x00\x00\x05", "x", NOW) == ({"t": 5.0}, ["x"])


def test_names_of_other_processes_and_repeated_ones_are_not_delivered():
    form = wire()
    foreign = lambda names: b"r" * 12 + msgpack.packb({"n": 1, "__asgi_channel__": names})       # noqa: E731
    assert form.decode(foreign([ONE, "other!x", 5, None, ONE, TWO, b"x"]), SERVER, NOW) == ({"n": 1}, [ONE, TWO])
    for names in (None, 5, [], "other!x", ["other!x"], {"a": 1}, [[ONE]]):
        with pytest.raises(BadValue, match="names none"):
            form.decode(foreign(names), SERVER, NOW)
    assert form.decode(foreign("other!x"), "jobs", NOW) == ({"n": 1}, ["jobs"])


def test_what_is_no_message_is_not_sent():
    with pytest.raises(TypeError, match="a dict"):
        wire().pack(["x"])
    with pytest.raises(ValueError, match="__asgi_channel__"):
        wire().pack({"__asgi_channel__": "x"})
    for bad in (object(), {1, 2}):
        with pytest.raises(TypeError):
            wire().pack({"a": bad})


# Names, places, capacities

def test_channel_names():
    form = wire()
    for good in ("http.request", "a", "A-b_c.9", "x!", ONE, "y" * 99):
        assert form.check_channel(good) == good
    for bad in ("", "!x", "a!b!c", "a?b", "a b", "a\n", "a!b\n", "é", "x" * 100, "a:b", None, b"http.request"):
        with pytest.raises(BadName):
            form.check_channel(bad)
    for bad in ("", "a!b", "room\n", "é", "x" * 100, None):
        with pytest.raises(BadName):
            form.check_group(bad)
    assert form.check_group("room-1") == "room-1"


def test_a_bad_name_reaches_no_key():
    form = wire()
    for attempt in (lambda: form.send(":group:room", b"\x80", NOW), lambda: form.group_add("room", "a\n"),
                    lambda: form.group_add("a:b", "x"), lambda: form.members(""), lambda: form.group_discard("!", "x")):
        with pytest.raises(BadName):
            attempt()


@pytest.mark.parametrize("name, hosts", [
    ("http.response.AbCdEfGh!", {1: 0, 2: 0, 3: 1}), ("room", {1: 0, 2: 0, 3: 0}), ("asgi__group__room", {1: 0, 2: 1, 3: 2}),
    ("specific." + "c" * 32 + "!", {1: 0, 2: 0, 3: 0})])
def test_shards_are_where_the_stock_layers_look(name, hosts):
    for n, index in hosts.items():
        assert wire(hosts=n).index(name) == index


def test_process_local_channels_have_one_server_and_shared_ones_all():
    form = wire(hosts=3)
    assert {form.shard(f"http.response.AbCdEfGh!{n}") for n in range(20)} == {1}
    assert [form.shard("http.request") for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    assert form.group_shard("room") == 0
    assert [shard for shard, _ in form.group_send(["http.response.AbCdEfGh!1", "room"], b"\x80", NOW)] == [1, 0]
    assert wire().shard("http.request") == 0


def test_the_first_pattern_that_matches_the_full_name_is_the_capacity():
    form = wire(capacity=7, channel_capacity={"http.*": 5, re.compile(r"^http\.request$"): 6, "*!special*": 9})
    assert [form.capacity_of(name) for name in ("http.request", "mqtt.receive", "a!special1", "a!b")] == [5, 7, 9, 10_000]


def test_keys():
    form = wire(prefix="p")
    assert (form.key("a"), form.key("a!b"), form.group_key("g")) == ("pa", "pa!", "p:group:g")
    assert form.delete("a!b") == ("UNLINK", "pa!", "pa!$inflight")


@pytest.mark.parametrize("wrong", [{"expiry": 0}, {"group_expiry": -1}, {"hosts": 0}])
def test_settings_that_can_not_work_are_refused(wrong):
    with pytest.raises(ValueError):
        wire(**wrong)


# A real server

def test_a_send_is_one_call_that_pushes_and_expires(redis):
    form, before = wire(), redis.now()
    sent = send(redis, form, "http.request", 1)
    assert sent.skipped == 0 and before <= sent.time <= redis.now()
    [member, score] = redis("ZRANGE", "asgihttp.request", 0, -1, "WITHSCORES")
    assert float(score) == pytest.approx(sent.time, abs=1e-6)
    assert form.decode(member, "http.request", NOW)[0] == {"n": 1}
    assert redis("TTL", "asgihttp.request") == 60
    assert redis("TYPE", "asgihttp.request").decode() == form.kind


def test_a_stock_reader_gets_it(redis):
    """Its cleanup, pop, backup and confirmation, as channels_redis 4.3.0 sends them."""
    form = wire()
    send(redis, form, "http.request", 1)
    first = form.waited(redis("BZPOPMIN", "asgihttp.request", 5))
    redis("ZADD", "asgihttp.request$inflight", repr(first.expires - 60), first.value)
    assert redis("ZPOPMIN", "asgihttp.request$inflight")[0] == first.value
    assert msgpack.unpackb(first.value[12:]) == {"n": 1}


def test_a_full_channel_is_told_and_nothing_is_written(redis):
    form = wire(capacity=2)
    assert [send(redis, form, "x", n).skipped for n in range(4)] == [0, 0, 1, 1]
    assert taken(redis, form, "x") == [("x", 0), ("x", 1)]
    assert send(redis, form, "x", 5).skipped == 0


def test_expired_messages_make_room_and_are_never_delivered(redis):
    form, now = wire(capacity=2), redis.now()
    for age in (60.001, 61, 3600):
        redis("ZADD", "asgix", now - age, form.value(form.pack({"n": age}), None, NOW))
    assert send(redis, form, "x", 1).skipped == 0
    assert redis("ZCARD", "asgix") == 1
    redis("ZADD", "asgix", now - 60, form.value(form.pack({"n": 60}), None, NOW))
    redis("ZADD", "asgix", now - 50, form.value(form.pack({"n": 50}), None, NOW))
    batch = form.taken(redis.run(form.take(["x"], [9])), ["x"])
    assert [form.decode(value, "x", NOW)[0]["n"] for _, value in batch.found] == [50, 1]
    assert batch.expired == 1


def test_what_a_blocking_pop_gave_says_when_it_expires(redis):
    form, now = wire(), redis.now()
    redis("ZADD", "asgiy", now - 70, b"r" * 12 + b"\x80")
    first = form.waited(redis(*form.wait(["x", "y"], 0.1)))
    assert (first.channel, first.value, first.claim) == ("y", b"r" * 12 + b"\x80", b"")
    assert first.expires == pytest.approx(now - 10, abs=1e-3)
    assert form.wait(["x", "a!b"], 4.2) == ("BZPOPMIN", "asgix", "asgia!", 5)
    assert form.wait(["x"], 0) == ("BZPOPMIN", "asgix", 1), "0 would wait for ever"
    assert form.waited(None) is None
    assert form.waited([b"asgix", b"member", now]) == ("x", b"member", now + 60, b""), "RESP 3 has numbers"


def test_order_holds_when_the_clock_stands_or_steps_back(redis):
    form, now = wire(), redis.now()
    redis("ZADD", "asgix", repr(now + 3), form.value(form.pack({"n": 0}), None, NOW))      # the clock was 3 s ahead
    for n in range(1, 50):
        send(redis, form, "x", n)
    scores = [float(score) for score in redis("ZRANGE", "asgix", 0, -1, "WITHSCORES")[1::2]]
    assert all(earlier < later for earlier, later in zip(scores, scores[1:], strict=False))
    assert scores[-1] < now + 3.001
    assert [n for _, n in taken(redis, form, "x")] == list(range(50))


def test_a_peer_from_the_far_future_does_not_take_us_there(redis):
    form, now = wire(), redis.now()
    for score in (repr(now + AHEAD + 60), "+inf"):
        redis("ZADD", "asgix", score, form.value(form.pack({"n": score}), None, NOW))
    for n in range(3):
        send(redis, form, "x", n)
    ours = redis("ZRANGE", "asgix", 0, 2, "WITHSCORES")
    assert [msgpack.unpackb(member[12:])["n"] for member in ours[::2]] == [0, 1, 2]
    assert all(float(score) < now + AHEAD for score in ours[1::2])


def test_two_senders_in_one_pipeline_each_keep_their_order(connect, redis):
    form, second = wire(local_capacity=1000), connect()
    redis.many([script.load for script in form.scripts])
    for start in range(0, 200, 50):
        for client, name in ((redis, ONE), (second, TWO)):
            calls = [form.send(name, form.pack({"n": n}), NOW).evalsha() for n in range(start, start + 50)]
            assert not any(form.sent(result).skipped for result in client.many(calls))
    batch = form.taken(redis.run(form.take([ONE], [1000])), [SERVER])
    heard = {ONE: [], TWO: []}
    for channel, value in batch.found:
        message, [name] = form.decode(value, channel, NOW)
        heard[name].append(message["n"])
    assert heard == {ONE: list(range(200)), TWO: list(range(200))}


def test_several_readers_get_each_message_once_and_in_order(connect, redis):
    form, readers, got = wire(capacity=1000), [connect() for _ in range(4)], []
    for n in range(300):
        send(redis, form, "x", n)
    for reader in readers * 5:
        first = form.waited(reader(*form.wait(["x"], 1)))
        got.append(form.decode(first.value, "x", NOW)[0]["n"])
        got += [n for _, n in taken(reader, form, "x", limit=14)]
    assert got == list(range(300))


def test_the_rest_comes_from_several_channels_within_their_limits(redis):
    form = wire()
    for n in range(5):
        send(redis, form, "x", n)
        send(redis, form, ONE, n)
    batch = form.taken(redis.run(form.take(["x", SERVER, "nothing"], [2, 4, 9])), ["x", SERVER, "nothing"])
    assert [channel for channel, _ in batch.found] == ["x"] * 2 + [SERVER] * 4
    assert taken(redis, form, "x", SERVER) == [("x", 2), ("x", 3), ("x", 4), (SERVER, 4)]
    assert taken(redis, form, "x", limit=0) == []


def test_a_batch_is_bounded_in_bytes(redis):
    form = wire()
    for n in range(4):
        send(redis, form, "x", n, body=b"x" * (TAKE_BYTES // 2))
    send(redis, form, "y", 9)
    assert taken(redis, form, "x", "y") == [("x", 0), ("x", 1)]
    assert taken(redis, form, "y", "x") == [("y", 9), ("x", 2), ("x", 3)]


def test_a_group_is_reached_in_two_round_trips_and_full_members_are_counted(redis):
    form, now = wire(channel_capacity={"jobs": 1}), redis.now()
    for channel in (ONE, "jobs", TWO):
        assert redis.run(form.group_add("room", channel)) / 1e6 >= now - 0.001
    redis("ZADD", "asgi:group:room", now - 86401, "expired!x", now, b"\xff bad", now, "a!b!c", now, "x" * 100)
    members = form.named(redis.run(form.members("room")))
    assert members == [ONE, "jobs", TWO]
    assert redis("ZSCORE", "asgi:group:room", "expired!x") is None and redis("TTL", "asgi:group:room") == 86400
    for n, skipped in (1, 0), (2, 1):
        [(_, call)] = form.group_send(members, form.pack({"n": n}), NOW)
        assert form.sent(redis.run(call)).skipped == skipped
    assert taken(redis, form, SERVER, "jobs") == [(SERVER, 1), (SERVER, 2), ("jobs", 1)]
    redis(*form.group_discard("room", ONE))
    assert form.named(redis.run(form.members("room"))) == ["jobs", TWO]
    assert form.named(redis.run(form.members("nobody"))) == [] and form.group_send([], b"\x80", NOW) == []


def test_a_key_of_another_type_stops_nobody_else(redis):
    form = wire()
    redis("RPUSH", "asgijobs", "of another format")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        send(redis, form, "jobs", 1)
    [(_, call)] = form.group_send(["jobs", ONE], form.pack({"n": 1}), NOW)
    assert form.sent(redis.run(call)).skipped == 1
    assert taken(redis, form, "jobs", SERVER) == [(SERVER, 1)]
    assert redis("LLEN", "asgijobs") == 1


def test_a_foreign_giant_is_not_even_brought(redis):
    form = wire()
    redis("ZADD", "asgix", redis.now(), b"g" * (MAX_FRAME + 2000))
    send(redis, form, "x", 1)
    batch = form.taken(redis.run(form.take(["x"], [1])), ["x"])
    assert (batch.expired, len(batch.found)) == (1, 1), "it is dropped, and costs no place"
    assert form.decode(batch.found[0][1], "x", NOW)[0]["n"] == 1 and redis("EXISTS", "asgix") == 0


def test_deleting_and_flushing_leave_what_is_not_ours(redis):
    form = wire()
    send(redis, form, "x", 1)
    redis("ZADD", "asgix$inflight", 1, "m")
    assert redis(*form.delete("x")) == 2
    send(redis, form, "x", 1)
    send(redis, form, ONE, 1)
    redis.run(form.group_add("room", ONE))
    foreign = [b"asgi:http.request", b"asgi::group:room", b"asgi-meta:x:messages_count", b"another"]
    for key in foreign:
        redis("SET", key, 1)
    cursor, found = 0, []
    while cursor != b"0":
        cursor, keys = redis(*form.scan("asgi", cursor))
        found += form.ours(keys)
    assert sorted(found) == sorted([b"asgix", b"asgi" + SERVER.encode(), b"asgi:group:room"])
    redis("UNLINK", *found)
    assert sorted(redis("KEYS", "*")) == sorted(foreign)
    assert form.scan("a*[x]")[3] == r"a\*\[x\]*"


def test_a_script_that_was_forgotten_still_runs(redis):
    form = wire()
    redis("SCRIPT", "FLUSH")
    call = form.send("x", form.pack({"n": 1}), NOW)
    with pytest.raises(RedisError, match="NOSCRIPT"):
        redis(*call.evalsha())
    assert form.sent(redis(*call.eval())).skipped == 0
    for script in form.scripts:
        assert redis(*script.load).decode() == script.sha


def test_a_call_is_a_command():
    script = Script(" return 1 ")
    assert Call(script, ["a", "b"], [1, b"x"]).evalsha() == (
        "EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 2, "a", "b", 1, b"x")


# Time

class Local:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


def test_the_server_clock_believes_the_quickest_answer_of_the_last_minute():
    local = Local()
    clock = ServerClock(local, lambda: 5000.0)
    assert clock.now() == 5000.0, "our own clock, until the server spoke"
    local.at = 1000.4
    clock.read([b"7000", b"200000"], asked=1000.0)
    assert clock.now() == pytest.approx(7000.4)
    local.at = 1002.0
    clock.learn(9999.0, asked=1001.0)               # slower, so it knows less
    assert clock.now() == pytest.approx(7002.0)
    clock.learn(7003.0, asked=1001.9)               # quicker
    assert clock.now() == pytest.approx(7003.05)
    local.at = 1070.0
    clock.learn(8000.0, asked=1060.0)               # slow, but what was known is old
    assert clock.now() == pytest.approx(8005.0)

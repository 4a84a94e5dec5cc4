"""The format of asgi_redis, against what its 1.4.3 wrote and what a real server makes of our scripts."""
import re
from base64 import urlsafe_b64encode
from hashlib import sha256

import msgpack
import pytest
from cryptography.fernet import Fernet
from redis_server import RedisError

from interfaces.layers.shared import BadName
from interfaces.layers.wire_classic import GROUP_CALL, STATS_PREFIX, ClassicFormat
from interfaces.layers.wire_local import MAX_FRAME
from interfaces.layers.wire_redis import TAKE_BYTES, First
from interfaces.layers.wire_values import BadValue

NOW = 1795239302.0
SERVER = "http.response.AbCdEfGh!"
# Captured from asgi_redis 1.4.3:
CAPTURED = {"path": "/", "body": b"\x00\xff", "headers": [[b"host", b"a"]], "reply_channel": SERVER + "q1", "n": 5, "t": "hé"}
CAPTURED_BYTES = (b"\x86\xa4path\xa1/\xa4body\xc4\x02\x00\xff\xa7headers\x91\x92\xc4\x04host\xc4\x01a"
                  b"\xadreply_channel\xb9http.response.AbCdEfGh!q1\xa1n\x05\xa1t\xa3h\xc3\xa9")
TOKEN = (b"gAAAAABrAS2HmKhAoCRJyZMRzaYp4g5RQa9o8svSGWFxcWQu6zOTxKjNixN-LA3gquXEHPnkhYO6zaGePVkXR6aqUwKEqX2BNGGtB4SZSfxepWtOhBMi"
         b"yzj1KR3jNg1BSeIJzlcBI9-f9G75gXNanH7-4C35NINr2IQPlSjSVrb5N0ADCjNRfMfFw-aorInTlkpsroVZYT2P")


def wire(**settings) -> ClassicFormat:
    return ClassicFormat(**settings)


def send(redis, form, channel, n, **more):
    return form.sent(redis.run(form.send(channel, form.pack({"n": n, **more}), NOW)))


def take(redis, form, *channels, limit=100, first=None):
    return form.taken(redis.run(form.take(channels, [limit] * len(channels), first)), channels)


def taken(redis, form, *channels, **more):
    found = take(redis, form, *channels, **more).found
    return [(channel, form.decode(value, channel, NOW)[0]["n"]) for channel, value in found]


def numbers(form, batch):
    """Of a batch of one channel, the claim first."""
    return [form.decode(value, "x", NOW)[0]["n"] for value in (batch.claimed, *(value for _, value in batch.found)) if value]


def push(redis, form, channel, value, key=None):
    """As a foreign writer; a value of None has expired."""
    key = key or form.prefix + sha256(repr(value).encode()).hexdigest()[:32]
    if value is not None:
        redis("SET", key, value)
    redis("RPUSH", form.key(channel), key)


# Bytes

def test_a_message_is_what_asgi_redis_wrote():
    form = wire()
    call = form.send("http.request", form.pack(CAPTURED), NOW)
    assert call.keys == ["asgi:http.request"]
    identity, ttl, stats, skip, head, capacity, tail = call.args
    assert re.fullmatch("asgi:[0-9a-f]{32}", identity)
    assert (ttl, stats, skip, capacity, head + tail) == (60, "", 5, 100, CAPTURED_BYTES)
    assert len(CAPTURED_BYTES) == 85
    assert form.decode(head + tail, "http.request", NOW) == (CAPTURED, ["http.request"])


def test_a_process_local_message_names_its_channel():
    form = wire()
    call = form.send(SERVER + "q1", form.pack({"status": 200, "content": b"ok"}), NOW)
    value = b"\x83\xa6status\xcc\xc8\xa7content\xc4\x02ok\xb0__asgi_channel__\xb9http.response.AbCdEfGh!q1"
    assert (call.keys, call.args[4] + call.args[6]) == (["asgi:http.response.AbCdEfGh!"], value)
    assert form.decode(value, SERVER, NOW) == ({"status": 200, "content": b"ok"}, [SERVER + "q1"])
    assert form.send("http.request.body?abc", b"\x80", NOW).keys == ["asgi:http.request.body?abc"]


def test_a_token_of_asgi_redis_decrypts():
    form = wire(encryption_keys=["other", "k1"])
    written = int.from_bytes(b"\x6b\x01\x2d\x87")           # the date in the token
    assert form.decode(TOKEN, "http.request", written + 60)[0] == CAPTURED
    with pytest.raises(BadValue, match="not in the last 70 s"):
        form.decode(TOKEN, "http.request", written + 71)


def test_a_token_of_ours_decrypts_as_asgi_redis_would():
    key = urlsafe_b64encode(sha256(b"k1").digest())
    assert key == b"arnx6499M4j0-dWG9m6Z_VQIDfLERvDlhmiwnAihbdA="
    form = wire(encryption_keys=["k1"])
    value = form.value(form.pack(CAPTURED), None, NOW)
    assert Fernet(key).decrypt_at_time(value, 70, int(NOW)) == CAPTURED_BYTES


def test_names_in_a_list_are_read_too():
    value = msgpack.packb({"n": 1, "__asgi_channel__": [SERVER + "a", SERVER + "b", "other!c"]})
    assert wire().decode(value, SERVER, NOW) == ({"n": 1}, [SERVER + "a", SERVER + "b"])


# Names and places

def test_channel_names():
    form = wire()
    for good in ("http.request", "a?b", "http.request.body?abc", "a!b", "a!"):
        assert form.check_channel(good) == good
    for bad in ("", "a?", "?a", "a?b!c", "a!b?c", "a?b\n", "a:b", "é?a", "x" * 100):
        with pytest.raises(BadName):
            form.check_channel(bad)
        with pytest.raises(BadName):
            form.send(bad, b"\x80", NOW)


def test_keys():
    form = wire()
    assert [form.key(name) for name in ("a", "a!b", "a?b")] == ["asgi:a", "asgi:a!", "asgi:a?b"]
    assert form.group_key("room") == "asgi::group:room"


def test_single_reader_channels_have_one_server_and_shared_ones_all():
    form = wire(hosts=2)
    assert {form.shard(SERVER + str(n)) for n in range(9)} == {form.index(SERVER)} == {0}
    assert {form.shard("a?xyz") for _ in range(9)} == {form.index("a?xyz")}
    assert [form.shard("http.request") for _ in range(4)] == [0, 1, 0, 1]


def test_capacity_goes_by_the_name_without_what_follows_the_mark():
    form = wire(channel_capacity={re.compile(r"http\.response\..*!$"): 5, "*[?]*": 6})
    assert [form.capacity_of(name) for name in (SERVER + "q1", "a?b", "a", "d!x")] == [5, 6, 100, 10_000]


# A real server

def test_a_send_is_one_call(redis):
    form, before = wire(), redis.now()
    sent = send(redis, form, "http.request", 1)
    assert sent.skipped == 0 and before <= sent.time <= redis.now()
    [key] = redis("LRANGE", "asgi:http.request", 0, -1)
    assert key.startswith(b"asgi:") and redis("GET", key) == msgpack.packb({"n": 1})
    assert (redis("TTL", key), redis("TTL", "asgi:http.request")) == (60, 61)
    assert redis("TYPE", "asgi:http.request").decode() == form.kind
    assert len(redis("KEYS", "*")) == 2, "no statistics, unless they are wanted"


def test_a_stock_reader_gets_it_and_we_get_what_a_stock_writer_sent(redis):
    form = wire()
    send(redis, form, "http.request", 1)
    list_key, key = redis("BLPOP", "asgi:http.request", 5)
    assert (list_key, redis("GET", key), redis("DEL", key)) == (b"asgi:http.request", msgpack.packb({"n": 1}), 1)
    push(redis, form, "http.request", CAPTURED_BYTES)
    [(channel, value)] = take(redis, form, "http.request").found
    assert form.decode(value, channel, NOW)[0] == CAPTURED
    assert redis("KEYS", "*") == []


def test_a_blocking_pop_claims_a_message_that_comes_with_the_rest(redis):
    form = wire()
    for n in range(3):
        send(redis, form, "x", n)
    first = form.waited(redis(*form.wait(["y", "x"], 1)))
    assert (first.channel, first.value) == ("x", None)
    batch = take(redis, form, "y", "x", first=first)
    assert numbers(form, batch) == [0, 1, 2]
    assert redis("KEYS", "*") == [] and batch.time <= redis.now()
    assert form.waited(None) is None
    assert form.wait(["x", "a!b"], 0.5) == ("BLPOP", "asgi:x", "asgi:a!", 1)


def test_a_claim_that_expired_is_nothing(redis):
    form = wire()
    batch = take(redis, form, first=First("x", None, 0.0, b"asgi:gone"))
    assert (batch.claimed, batch.expired, batch.found) == (None, 1, [])
    assert take(redis, form).claimed is None and take(redis, form).expired == 0


def test_a_full_channel_is_told_and_nothing_is_written(redis):
    form = wire(capacity=2)
    assert [send(redis, form, "x", n).skipped for n in range(3)] == [0, 0, 1]
    assert len(redis("KEYS", "*")) == 3
    assert taken(redis, form, "x") == [("x", 0), ("x", 1)]


def test_expired_messages_make_room_and_are_never_delivered(redis):
    form = wire(capacity=3)
    for n in range(2):
        push(redis, form, "x", None, f"asgi:gone{n}")
    send(redis, form, "x", 1)
    assert send(redis, form, "x", 2).skipped == 0
    push(redis, form, "x", None, "asgi:gone3")
    batch = take(redis, form, "x")
    assert numbers(form, batch) == [1, 2]
    assert batch.expired == 2, "the one at the front had gone already: the channel was full"


def test_expired_messages_do_not_use_up_a_limit(redis):
    form = wire()
    for n in range(5):
        push(redis, form, "x", None, f"asgi:gone{n}")
    send(redis, form, "x", 1)
    assert taken(redis, form, "x", limit=1) == [("x", 1)]


def test_statistics_count_where_asgi_redis_looks(redis):
    form = wire(capacity=1, local_capacity=1, stats_prefix=STATS_PREFIX)
    for n in range(3):
        send(redis, form, "x", n)
    send(redis, form, SERVER + "q", 1)
    counted = {key.decode(): int(redis("GET", key)) for key in redis("KEYS", "asgi-meta:*")}
    assert counted == {"asgi-meta:x:messages_count": 1, "asgi-meta:x:channel_full_count": 2,
                       f"asgi-meta:{SERVER}:messages_count": 1, "asgi-meta:#global#:messages_count": 2,
                       "asgi-meta:#global#:channel_full_count": 2}
    assert redis("TTL", "asgi-meta:x:messages_count") == 3600
    assert redis("TTL", "asgi-meta:#global#:channel_full_count") == 86400


def test_several_readers_get_each_message_once_and_in_order(connect, redis):
    form, readers, got = wire(), [connect() for _ in range(4)], []
    for n in range(100):
        send(redis, form, "x", n)
    for reader in readers * 5:
        first = form.waited(reader(*form.wait(["x"], 1)))
        got += numbers(form, take(reader, form, "x", limit=4, first=first))
    assert got == list(range(100))


def test_the_rest_comes_from_several_channels_within_limits_of_number_and_bytes(redis):
    form = wire()
    for n in range(4):
        send(redis, form, "x", n, body=b"x" * (TAKE_BYTES // 2))
        send(redis, form, "y", n)
    assert taken(redis, form, "y", "x", limit=3) == [("y", 0), ("y", 1), ("y", 2), ("x", 0), ("x", 1)]
    assert taken(redis, form, "x", "y", limit=9) == [("x", 2), ("x", 3)]
    assert taken(redis, form, "x", "y", limit=9) == [("y", 3)]
    assert taken(redis, form, "x", limit=0) == []


@pytest.mark.parametrize("keys", [(), ("k1",)], ids=["plain", "encrypted"])
def test_a_group_gets_a_message_for_each_channel(redis, keys):
    form, now = wire(channel_capacity={"jobs": 1}, encryption_keys=keys), redis.now()
    for channel in (SERVER + "a", "jobs", "body?x", SERVER + "b"):
        redis.run(form.group_add("room", channel))
    redis("ZADD", "asgi::group:room", now - 86401, "expired!x", now, "a?", now, b"\xff")
    members = form.named(redis.run(form.members("room")))
    assert members == [SERVER + "a", "jobs", "body?x", SERVER + "b"]
    for n, skipped in (1, 0), (2, 1):
        [(shard, call)] = form.group_send(members, form.pack({"n": n}), NOW)
        assert (shard, form.sent(redis.run(call)).skipped) == (0, skipped)
    batch = take(redis, form, SERVER, "jobs", "body?x")
    heard = [(form.decode(value, channel, NOW)) for channel, value in batch.found]
    assert heard == [({"n": n}, [SERVER + name]) for n in (1, 2) for name in "ab"] + [
        ({"n": 1}, ["jobs"]), ({"n": 1}, ["body?x"]), ({"n": 2}, ["body?x"])]
    redis(*form.group_discard("room", "jobs"))
    assert "jobs" not in form.named(redis.run(form.members("room")))


def test_what_a_group_gets_is_what_a_stock_reader_understands(redis):
    form = wire()
    [(_, call)] = form.group_send([SERVER + "a"], form.pack({"text": "yo"}), NOW)
    redis.run(call)
    key = redis("BLPOP", "asgi:" + SERVER, 1)[1]
    assert redis("GET", key) == b"\x82\xa4text\xa2yo\xb0__asgi_channel__\xb8http.response.AbCdEfGh!a"


def test_a_very_large_group_is_several_calls_without_a_wait(redis):
    form = wire()
    calls = form.group_send([f"{SERVER}{n}" for n in range(2 * GROUP_CALL + 1)], form.pack({"n": 1}), NOW)
    assert [len(call.keys) for _, call in calls] == [GROUP_CALL, GROUP_CALL, 1]
    assert [form.sent(redis.run(call)).skipped for _, call in calls] == [0, 0, 0]
    batch = take(redis, form, SERVER, limit=9999)
    assert [form.decode(value, SERVER, NOW)[1] for _, value in batch.found] == [
        [f"{SERVER}{n}"] for n in range(2 * GROUP_CALL + 1)]


def test_groups_of_several_servers_are_sent_to_each():
    form = wire(hosts=3)
    calls = form.group_send([SERVER + "a", "room?x", SERVER + "b"], b"\x80", NOW)
    assert {shard: call.keys for shard, call in calls} == {
        1: ["asgi:" + SERVER] * 2, form.index("room?x"): ["asgi:room?x"]}


def test_a_foreign_entry_makes_us_read_and_delete_nothing_else(redis):
    form = wire()
    redis("SET", "precious", "of somebody else")
    redis("HSET", "asgi:hash", "a", "b")
    for key in ("precious", "asgi:hash", "asgi:x", ""):
        push(redis, form, "x", None, key or "empty")
    send(redis, form, "x", 1)
    batch = take(redis, form, "x", first=First("x", None, 0.0, b"precious"))
    assert (len(batch.found), batch.claimed, batch.expired) == (1, None, 5)
    assert sorted(redis("KEYS", "*")) == [b"asgi:hash", b"precious"]


def test_a_key_of_another_type_stops_nobody_else(redis):
    form = wire()
    redis("ZADD", "asgi:jobs", 1, "of another format")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        send(redis, form, "jobs", 1)
    [(_, call)] = form.group_send(["jobs", SERVER + "a"], form.pack({"n": 1}), NOW)
    assert form.sent(redis.run(call)).skipped == 1
    assert taken(redis, form, "jobs", SERVER) == [(SERVER, 1)]


def test_deleting_drops_the_messages_too(redis):
    form = wire(capacity=5000)
    redis.run(form.send("y", b"\x80", NOW))
    redis.many([form.send("x", b"\x80", NOW).evalsha() for _ in range(1500)])
    push(redis, form, "x", None, "precious")
    redis("SET", "precious", 1)
    redis(*form.delete("x"))
    left = [key for key in redis("KEYS", "*") if key not in (b"precious", b"asgi:y")]
    assert len(left) == 1 and redis("EXISTS", "precious", "asgi:y") == 2
    assert redis(*form.delete("nothing")) == 0


def test_a_foreign_giant_is_not_even_brought(redis):
    form = wire()
    redis("SET", "asgi:giant", b"g" * (MAX_FRAME + 1))
    redis("RPUSH", "asgi:x", "asgi:giant")
    send(redis, form, "x", 1)
    batch = form.taken(redis.run(form.take(["x"], [1])), ["x"])
    assert (batch.expired, len(batch.found)) == (1, 1), "it is dropped, and costs no place"
    assert form.decode(batch.found[0][1], "x", NOW)[0]["n"] == 1 and redis("EXISTS", "asgi:giant", "asgi:x") == 0


def test_flushing_leaves_what_is_not_ours(redis):
    form = wire(stats_prefix=STATS_PREFIX)
    for channel in ("x", SERVER + "a", "body?x"):
        send(redis, form, channel, 1)
        redis.run(form.group_add("room", channel))
    foreign = [b"asgi:group:room", b"asgix", b"other", b"asgi:a:b"]
    for key in foreign:
        redis("SET", key, 1)
    found = []
    for prefix in ("asgi:", "asgi-meta:"):
        cursor = 0
        while cursor != b"0":
            cursor, keys = redis(*form.scan(prefix, cursor))
            found += form.ours(keys)
    redis("UNLINK", *found)
    assert sorted(redis("KEYS", "*")) == sorted(foreign)

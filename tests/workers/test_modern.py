"""Stock runworkers of Channels 4.3, on channels_redis as it is and on our layer, behind a real twistd on a real Redis."""
import hashlib
import json
import signal
import time
from collections import Counter

import pytest

from tests.sockets.processes import until
from tests.workers.conftest import interpreter

pytestmark = pytest.mark.slow
NUMBERS = 20_000


def upload(site, size: int, path="/digest") -> str:
    """What the site says to a body of so many bytes; `site.body` is that body."""
    site.body = (bytes(range(32, 127)) * (size // 95 + 1))[:size]
    (site.folder / "body").write_bytes(site.body)
    return site.curl(path, "-T", f"{site.folder}/body", seconds=60)


@pytest.fixture(scope="module")
def served(shared):
    shared.twistd()
    return shared


@pytest.mark.parametrize("environment", ["stock", "ours"])
def test_a_plain_consumer_answers_at_once_or_later_and_reads_a_body(front, environment):
    [redis] = front.servers
    redis("DEL", "asgi:group:held")
    front.modern("plain", environment)
    assert front.curl("/hello") == "/hello "
    assert upload(front, 1_000_000, "/echo") == "/echo " + front.body.decode()
    polls = [front.start("curl", ["curl", "-sS", f"{front.url}/held"]) for _ in range(3)]
    until(lambda: redis("ZCARD", "asgi:group:held") == 3, "all three are held")
    assert front.curl("/answer") == "/answer "
    for poll in polls:
        assert poll.process.wait(10) == 0 and poll.text == "at last"
    poll = front.start("curl", ["curl", "-sS", f"{front.url}/held"])
    until(lambda: redis("ZCARD", "asgi:group:held") == 4, "it is held")
    poll.ends()
    until(lambda: front.noted == ["left /held"], "the worker hears that its client left")


def views(site):
    """They answer as they do behind any server."""
    assert site.curl("/hello?name=you") == "hello you"
    facts = json.loads(site.curl("/facts?x=1", "-H", "X-Tag: one", "-H", "X-Tag: two"))
    assert facts["host"] == f"127.0.0.1:{site.port}" and facts["client"] == "127.0.0.1" and facts["get"] == {"x": "1"}
    assert facts["tag"].replace(" ", "") == "one,two"
    assert site.status("/nowhere") == 404 and site.status("/fail") == 500
    answer = json.loads(upload(site, 5_000_000))
    assert (answer["size"], answer["sha256"]) == (len(site.body), hashlib.sha256(site.body).hexdigest())
    assert site.curl("/big?n=80", seconds=60) == "x" * 65536 * 80


@pytest.mark.parametrize("application, environment", [("wsgi", "stock"), ("asgi", "stock"), ("asgi", "ours")])
def test_django_views_by_over_channels(front, application, environment):
    front.modern(application, environment)
    views(front)


def test_two_servers_share_the_channels_encrypted(site_on):
    site = site_on(servers=2, keys="a secret")
    site.twistd()
    site.modern("wsgi", "ours")
    for number in range(8):
        assert site.curl(f"/hello?name={number}") == f"hello {number}"
    views(site)
    began = time.monotonic()
    for _ in range(4):
        upload(site, 1_500_000)
    assert time.monotonic() - began < 5, "no part of a body waits until a blocking pop is over, which takes 5 s"


def test_encrypted_for_channels_redis(site_on):
    site = site_on(keys="a secret")
    site.twistd()
    site.modern("plain", "stock")
    for number in range(6):
        assert site.curl(f"/{number}") == f"/{number} "


def test_each_of_many_messages_is_run_once_by_one_of_four_workers(site):
    workers = [site.modern("count", "ours", ["number.add"]) for _ in range(4)]
    site.run(interpreter("ours"), "send_numbers.py", 0, NUMBERS, SITE_BACKEND="interfaces.worker.layers.RedisChannelLayer")
    until(lambda: len(site.noted) >= NUMBERS, "all have run", 60)
    pids, numbers = zip(*(line.split() for line in site.noted), strict=True)
    assert Counter(map(int, numbers)) == Counter(range(NUMBERS))
    assert set(pids) == {str(worker.process.pid) for worker in workers}, "all four worked"


def test_a_worker_that_is_told_to_leave_finishes_and_leaves_the_rest_to_another(front):
    first = front.modern("wsgi", "ours")
    clients = [front.start("curl", ["curl", "-sS", f"{front.url}/slow?s=0.3&id={number}"]) for number in range(12)]
    until(lambda: len(front.noted) >= 4, "its four threads are at work")
    first.process.send_signal(signal.SIGTERM)
    front.modern("wsgi", "ours")
    for client in clients:
        assert client.process.wait(20) == 0 and client.text == "slept"
    assert first.process.wait(10) == 0
    assert sorted(front.noted) == sorted(f"began {number}" for number in range(12)), "each ran once"


def test_what_a_killed_worker_had_taken_is_answered_within_seconds_and_what_waits_goes_to_the_next_one(front):
    """Killed as soon as it has begun: it has claimed nothing of that yet."""
    first = front.modern("wsgi", "ours")
    assert front.curl("/hello") == "hello world"
    asks = ["curl", "-sS", "-m", "30", "-w", "%{http_code} %{time_total}"]
    asked = [front.start("curl", [*asks, f"{front.url}/slow?s=60&id={number}"]) for number in range(4)]
    until(lambda: len(front.noted) == 4, "all have begun")
    first.ends(signal.SIGKILL)
    assert front.start("curl", ["curl", "-sS", "-m", "0.5", f"{front.url}/hello"]).process.wait(10) == 28, "nobody is there"
    waits = front.start("curl", ["curl", "-sS", "-m", "30", f"{front.url}/hello?name=you"])
    second = front.modern("wsgi", "ours")
    assert waits.process.wait(10) == 0 and waits.text == "hello you"
    for each in asked:
        assert each.process.wait(30) == 0
        body, status, seconds = each.text.rsplit(maxsplit=2)
        assert body + status == "the worker was lost502" and float(seconds) < 12, each.text
    assert len(front.noted) == 4 and second.process.poll() is None, "nothing is run twice"


def test_what_channels_redis_sends_our_layer_receives_and_goes_on_where_redis_py_8_ends(shared):
    """channels_redis#422: redis-py 8 gives up a read after 5 s, as long as a blocking pop of channels_redis takes."""
    with shared.visit():
        idle = shared.modern("plain", "stock8", ["held.answer"])
        ours = shared.modern("count", "ours", ["number.add"])
        shared.run(interpreter("stock"), "send_numbers.py", 0, 300, SITE_BACKEND="channels_redis.core.RedisChannelLayer")
        until(lambda: len(shared.noted) >= 300, "all have run", 30)
        assert [int(line.split()[1]) for line in shared.noted] == list(range(300)), "in order"
        assert idle.process.wait(20) == 1 and "Timeout" in idle.text
        shared.run(interpreter("ours"), "send_numbers.py", 300, 301, SITE_BACKEND="interfaces.worker.layers.RedisChannelLayer")
        until(lambda: shared.noted[300:] == [f"{ours.process.pid} 300"], "ours still works")

"""Ordinary Django views behind the stock runworker of Channels 1.1 and asgi_redis, which know nothing of us.

Dialogues are held with Daphne 1.4 too, beside our server: what it answers is what such a project relies on. Both ask the same
worker on the same Redis."""
import hashlib
import json

import pytest

from tests.sockets.processes import until

pytestmark = pytest.mark.slow
BINARY = "Content-Type: application/octet-stream"


def test_views_sessions_and_errors(ask, tmp_path):
    assert ask.curl("/hello?name=you") == "hello you"
    facts = json.loads(ask.curl("/facts?x=1&y=%C3%BC", "-H", "X-Tag: one", "-b", "a=1; b=2"))
    assert facts["method"] == "GET" and facts["path"] == "/facts" and facts["get"] == {"x": "1", "y": "ü"}
    assert facts["host"] == f"127.0.0.1:{ask.port}" and facts["port"] == str(ask.port)
    assert facts["client"] == "127.0.0.1" and facts["tag"] == "one" and facts["cookies"] == {"a": "1", "b": "2"}
    assert ask.status("/nowhere") == 404 and ask.status("/fail") == 500
    assert ask.curl("/hello", "-I").startswith("HTTP/1.1 200 OK")
    assert ask.curl("/hello", "--http1.0") == "hello world"
    jar = str(tmp_path / "jar")
    for count in (1, 2):
        assert json.loads(ask.curl("/remember", "-b", jar, "-c", jar)) == {"count": count, "notes": [f"note {count}"]}
    assert ask.status("/remember", "-b", jar, "-d", "x=1") == 403
    token = ask.curl("/token", "-b", jar, "-c", jar)
    assert json.loads(ask.curl("/remember", "-b", jar, "-d", "x=1", "-H", f"X-CSRFToken: {token}"))["count"] == 3


def test_a_body_over_the_message_size_comes_through_the_body_channel(ask):
    data = bytes(range(256)) * 4 * 1024 * 3         # 3 MiB: over --max-message
    (ask.folder / "body").write_bytes(data)
    for arguments in (["--data-binary", f"@{ask.folder}/body", "-H", BINARY], ["-F", f"file=@{ask.folder}/body"]):
        answer = json.loads(ask.curl("/digest", *arguments, seconds=60))
        assert (answer["size"], answer["sha256"]) == (len(data), hashlib.sha256(data).hexdigest()), arguments


def test_a_streaming_response_comes_whole_and_in_order(ask):
    assert ask.curl("/stream?n=300") == "".join(f"{number}\n" for number in range(300))
    # more pieces than asgi_redis lets wait in one channel: the worker tries again until they are read
    assert ask.curl("/big?n=200", seconds=60) == "x" * 65536 * 200


def test_a_held_requests_client_leaves_or_a_group_answers_it(ask):
    [redis] = ask.servers
    redis("DEL", "asgi::group:held")
    poll = ask.start("curl", ["curl", "-sS", f"{ask.url}/held"])
    until(lambda: redis("ZCARD", "asgi::group:held") == 1, "it is held")
    poll.ends()
    until(lambda: ask.noted.count("left /held") == 1, "the worker heard of it")
    polls = [ask.start("curl", ["curl", "-sS", f"{ask.url}/held"]) for _ in range(3)]
    until(lambda: redis("ZCARD", "asgi::group:held") == 4, "all three are held")
    assert ask.curl("/answer") == "answered"
    for poll in polls:
        assert poll.process.wait(10) == 0 and poll.text == "at last"


def test_sharded_and_encrypted(site_on):
    site = site_on(2, "a secret")
    site.twistd(form="asgi_redis")
    site.classic()
    data = b"some bytes " * 100_000
    (site.folder / "body").write_bytes(data)
    for number in range(8):
        assert site.curl(f"/hello?name={number}") == f"hello {number}"
    # At once: a worker of asgi_redis waits 5 s at one of several servers, however many requests there are at the next.
    clients = [site.start("curl", ["curl", "-sS", f"{site.url}/digest", "--data-binary", f"@{site.folder}/body"])
               for _ in range(4)]
    for client in clients:
        assert client.process.wait(30) == 0
        assert json.loads(client.text)["sha256"] == hashlib.sha256(data).hexdigest()
    assert site.curl("/stream") == "0\n1\n2\n3\n4\n"


def test_a_client_that_leaves_in_the_middle_of_its_body_holds_no_worker(ask):
    with ask.connect() as client:
        client.sendall(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 200_000)
    assert ask.curl("/hello", seconds=10) == "hello world"


def test_requests_wait_for_a_worker_and_two_workers_share_them(doors):
    if doors.first is not None:
        doors.first.ends()
    with doors.visit():
        clients = [doors.start("curl", ["curl", "-sS", f"http://127.0.0.1:{port}/facts?x={number}"])
                   for number, port in enumerate([*doors.ports.values()] * 10)]
        [redis] = doors.servers
        until(lambda: redis("LLEN", "asgi:http.request") == 20, "all wait")
        workers = [doors.classic(), doors.classic()]
        for number, client in enumerate(clients):
            assert client.process.wait(20) == 0 and json.loads(client.text)["get"] == {"x": str(number)}
        for worker in workers:
            assert worker.ends() == 0


def test_the_requests_of_one_connection_follow_one_another(ask):
    with ask.connect() as client, client.makefile("rb") as answers:
        for number in range(5):
            client.sendall(b"GET /hello?name=%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert answers.read(length) == b"hello %d" % number


def test_redis_is_killed_and_restarted_empty(site):
    """The stock worker ends with its Redis, as it always did; whatever starts it again does its part. The server stays."""
    server = site.twistd(form="asgi_redis")
    worker = site.classic()
    assert site.curl("/hello") == "hello world"
    [redis] = site.servers
    redis.kill()
    assert site.status("/hello") == 503
    assert worker.process.wait(20) != 0
    redis.restart()
    site.classic()
    until(lambda: site.status("/hello") == 200, "it works again", 30)
    assert server.process.poll() is None and server.text.count("Traceback") == 0


@pytest.mark.parametrize("ask", ["twistd"], indirect=True)
def test_messages_that_are_none_are_passed_over(ask):
    [redis] = ask.servers
    redis("DEL", "asgi::group:held")
    poll = ask.start("curl", ["curl", "-sS", f"{ask.url}/held"])
    until(lambda: redis("ZCARD", "asgi::group:held") == 1, "it is held")
    [channel] = redis("ZRANGE", "asgi::group:held", 0, -1)
    box = b"asgi:" + channel.partition(b"!")[0] + b"!"
    redis("SET", "asgi:foreign", b"\xff\x00 no message")
    redis("RPUSH", box, "asgi:foreign", "asgi:expired", "")
    assert ask.curl("/answer") == "answered"
    assert poll.process.wait(10) == 0 and poll.text == "at last"

"""Stock Django behind a stock runworker behind a real twistd, asked by curl: the front door of the house."""
import hashlib
import json
import re
import socket

import pytest

MIB = 1024 * 1024


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


@pytest.fixture
def hosts(unstaffed):
    """`hosts("asgi")`: the house with one worker, which has this application."""
    def application(name):
        unstaffed.first = unstaffed.worker(name, server=unstaffed.server)
        return unstaffed
    return application


@pytest.mark.parametrize("application", ["wsgi", "asgi", "router"])
def test_a_django_view_is_answered_in_each_way_of_hosting_it(hosts, patience, application):
    house = hosts(application)
    assert house.curl("/hello?name=you") == "hello you"
    facts = json.loads(house.curl("/facts?x=1", "-H", "X-Tag: one", "-H", "X-Tag: two", "-b", "a=1; b=2"))
    assert facts["method"] == "GET" and facts["get"] == {"x": "1"} and facts["cookies"] == {"a": "1", "b": "2"}
    assert facts["headers"]["X-Tag"].replace(" ", "") == "one,two"
    assert facts["host"] == f"127.0.0.1:{house.port}" and facts["client"] == "127.0.0.1"
    assert facts["port"] == str(house.port)
    assert house.curl("/stream") == "0\n1\n2\n3\n4\n"
    assert house.curl("/events") == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert "def hello(request)" in house.curl("/file")
    assert house.curl("/hello", "-I").startswith("HTTP/1.1 200 OK")
    assert house.status("/nowhere") == 404 and house.status("/fail") == 500
    assert house.curl("/hello", "--http1.0") == "hello world"
    data = b"some bytes " * 9000
    (house.folder / "body").write_bytes(data)
    for arguments in (["--data-binary", f"@{house.folder}/body"], ["-F", f"file=@{house.folder}/body"],
                      ["--data-binary", f"@{house.folder}/body", "-H", "Transfer-Encoding: chunked"]):
        answer = json.loads(house.curl("/digest", *arguments))
        assert (answer["size"], answer["sha256"]) == (len(data), hashlib.sha256(data).hexdigest()), arguments
        if application == "wsgi":
            assert answer["length"], "a chunked upload gets its length before the view runs"
    if application == "asgi":
        a_client_that_leaves_cancels_an_asynchronous_view(house, patience)
    if application == "wsgi":
        house.stays = house.first


def a_client_that_leaves_cancels_an_asynchronous_view(house, patience):
    with house.connect() as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(TimeoutError):
            sock.settimeout(0.5)
            sock.recv(1)
    patience(lambda: house.trace.exists() and "cancelled" in house.trace.read_text(), "the view is cancelled", 6)


def test_sessions_logins_csrf_and_messages_are_stock_django(front):
    front.manage("shell", "-v0", "-c", "from django.core.management import call_command; "
                 "call_command('migrate', verbosity=0); from django.contrib.auth.models import User; "
                 "User.objects.create_user('ada', '', 'pw')")
    jar = str(front.folder / "jar")
    for count in (1, 2):
        assert json.loads(front.curl("/remember", "-b", jar, "-c", jar)) == {"count": count, "notes": [f"note {count}"]}
    token = front.curl("/token", "-b", jar, "-c", jar)
    assert front.status("/remember", "-b", jar, "-X", "POST", "-d", "x=1") == 403
    assert front.status("/remember", "-b", jar, "-H", f"X-CSRFToken: {token}", "-d", "x=1") == 200
    assert front.status("/private", "-b", jar, "-c", jar) == 403 and front.status("/enter?name=ada&password=no") == 401
    assert front.curl("/enter?name=ada&password=pw", "-b", jar, "-c", jar) == "welcome ada"
    assert front.curl("/private", "-b", jar) == "you are ada"


def test_a_traceback_goes_to_the_log_and_not_to_the_client(front):
    assert "a view that fails" not in front.curl("/fail")
    front.first.says("RuntimeError: a view that fails")


def test_one_hundred_megabytes_go_up_and_down_in_bounded_memory(front):
    path, sha = front.folder / "big", hashlib.sha256()
    with path.open("wb") as file:
        for number in range(100):
            piece = number.to_bytes(2, "big") * (MIB // 2)
            file.write(piece)
            sha.update(piece)
    front.curl("/digest", "-d", "warm up")
    programs = front.server, front.first
    idle = [program.memory() for program in programs]
    with front.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(b"GET /big?n=1600 HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.recv(100)
        assert front.curl("/hello") == "hello world", "others are served while a reader has stopped reading"
        assert all(program.memory() - before < 16 * MIB for program, before in zip(programs, idle, strict=True))
    for program in programs:
        program.forget_peak()
    for arguments in (["-F", f"file=@{path}"], ["-T", str(path), "-X", "POST", "-H", "Transfer-Encoding: chunked"]):
        answer = json.loads(front.curl("/digest", *arguments, seconds=60))
        assert (answer["size"], answer["sha256"]) == (100 * MIB, sha.hexdigest())
    assert int(front.curl("/big?n=1600", "-o", "/dev/null", "-w", "%{size_download}", seconds=60)) == 100 * MIB
    for program, before in zip(programs, idle, strict=True):
        grown = program.memory(peak=True) - before
        assert grown < 32 * MIB, f"{program.name} grew by {grown / MIB:.1f} MiB"


def test_keep_alive_and_pipelining_on_one_socket(front):
    with front.connect() as sock:
        sock.sendall(b"GET /hello?name=%d HTTP/1.1\r\nHost: a\r\n\r\n" * 3 % (1, 2, 3)
                     + b"GET /hello?name=4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert re.findall(rb"hello (\d)", read_all(sock)) == [b"1", b"2", b"3", b"4"]


def test_a_client_that_shuts_its_sending_side_gets_its_answer(front):
    with front.connect() as sock:
        sock.sendall(b"GET /slow?s=0.3 HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"slept")


def test_a_plain_consumer_answers_at_once_or_later_from_another_process_when_its_worker_is_gone(hosts):
    house = hosts("plain")
    assert house.curl("/now") == "/now"
    with house.connect() as sock:
        sock.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert house.curl("/other") == "/other", "one held request stops nobody"
        assert house.first.ends() == 0, "and no worker has a claim on it"
        house.worker("plain", server=house.server)
        house.manage("shell", "-v0", "-c", "from asgiref.sync import async_to_sync as s; from channels.layers import *; "
                     "s(get_channel_layer().group_send)('held', {'status': 200, 'content': b'at last'})")
        assert read_all(sock).endswith(b"at last")


def test_a_plain_sync_consumer_answers(hosts):
    assert hosts("plain_sync").curl("/x") == "sync"

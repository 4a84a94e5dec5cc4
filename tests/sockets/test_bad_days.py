"""Workers and servers that are killed, restarted, missing or stuck, and clients that mean no good, on real processes."""
import json
import signal
import socket
import struct
import threading
import time

import pytest

from interfaces.worker.leaving import GRACE
from tests.sockets.processes import TWISTD


def ask(house, request: bytes, shut=False) -> bytes:
    with house.connect() as sock:
        sock.sendall(request)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        data = b""
        try:
            while piece := sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data


def begun(house, patience, number=1):
    patience(lambda: house.trace.exists() and house.trace.read_text().count("began") >= number, "the view began")


def test_without_a_worker_a_request_waits_and_is_answered_when_one_starts(unstaffed):
    with unstaffed.connect() as sock:
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        unstaffed.stays = unstaffed.worker()
        assert b"hello world" in sock.recv(65536)


def test_a_worker_killed_in_the_middle_of_a_request_is_502_at_once_and_the_next_request_works(served, patience):
    with served.connect() as sock:
        sock.sendall(b"GET /slow?s=30 HTTP/1.1\r\nHost: a\r\n\r\n")
        begun(served, patience)
        began = time.monotonic()
        served.first.ends(signal.SIGKILL)
        assert sock.recv(65536).startswith(b"HTTP/1.1 502 ") and time.monotonic() - began < 2
    served.stays = served.worker(server=served.server)
    assert served.curl("/hello") == "hello world"


def test_requests_that_a_killed_worker_had_not_begun_go_to_another_and_none_runs_twice(served, patience):
    answers, lock = [], threading.Lock()

    def one(number):
        answer = ask(served, b"GET /slow?s=0.1&id=%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
        with lock:
            answers.append(answer)
    clients = [threading.Thread(target=one, args=(number,)) for number in range(30)]
    for client in clients:
        client.start()
    begun(served, patience, 4)
    served.first.ends(signal.SIGKILL)
    served.stays = served.worker(server=served.server)
    for client in clients:
        client.join(30)
    ran = served.trace.read_text().split("began ")[1:]
    assert len(ran) == len(set(ran)), "none ran twice"
    lost = [answer for answer in answers if answer.startswith(b"HTTP/1.1 502 ")]
    done = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"slept")]
    assert len(lost) <= 4, "only what the killed worker had taken, as many as it has threads"
    assert len(done) == 30 - len(lost) and len(ran) >= 30 - len(lost)


def test_a_deploy_under_load_fails_no_request(served):
    stop, statuses = threading.Event(), []

    def client():
        while not stop.is_set():
            statuses.append(ask(served, b"GET /slow?s=0.02 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[:13])
    clients = [threading.Thread(target=client) for _ in range(6)]
    for one in clients:
        one.start()
    worker = served.first
    for _ in range(2):
        fresh = served.worker(server=served.server)
        assert worker.ends() == 0
        worker = fresh
    stop.set()
    for one in clients:
        one.join(20)
    assert len(statuses) > 20 and set(statuses) == {b"HTTP/1.1 200 "}
    served.stays = worker


def test_a_killed_server_is_found_again_by_its_workers_and_one_that_is_told_to_stop_finishes_what_runs(house, patience):
    server = house.twistd()
    worker = house.worker(server=server)
    assert house.curl("/hello") == "hello world"
    server.ends(signal.SIGKILL)
    server = house.twistd()
    server.says(rf"\(pid {worker.process.pid}\) is here")
    assert house.curl("/hello") == "hello world" and worker.process.poll() is None
    with house.connect() as sock:
        sock.sendall(b"GET /slow?s=0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        begun(house, patience)
        server.process.send_signal(signal.SIGTERM)
        answer = sock.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"slept")
    server.process.wait(15)


def test_sigterm_with_a_stuck_view_exits_0_within_its_grace(unstaffed, patience):
    assert GRACE == 8.0         # below the 10 s after which container runtimes send SIGKILL; here it is 2
    worker = unstaffed.worker("brief", server=unstaffed.server)
    with unstaffed.connect() as sock:
        sock.sendall(b"GET /slow?s=60 HTTP/1.1\r\nHost: a\r\n\r\n")
        begun(unstaffed, patience)
        began = time.monotonic()
        assert worker.ends(seconds=6) == 0 and 1.5 < time.monotonic() - began < 5
        assert sock.recv(65536).startswith(b"HTTP/1.1 502 ")


def test_a_second_server_on_the_same_path_refuses_with_one_sentence(front):
    second = front.start("second", [TWISTD, "-n", "--pidfile=", "channels-interfaces",
                                    "--http", "tcp:0:interface=127.0.0.1"])
    assert second.process.wait(15) == 1
    last = second.text.strip().splitlines()[-1]
    assert last.startswith("channels-interfaces: another interface server") and "Traceback" not in second.text
    assert front.curl("/hello") == "hello world"


def test_a_port_that_is_taken_is_said_in_one_sentence(front):
    second = front.start("second", [TWISTD, "-n", "--pidfile=", "channels-interfaces",
                                    "--layer", f"local:{front.folder}/other.sock",
                                    "--http", f"tcp:{front.port}:interface=127.0.0.1"])
    assert second.process.wait(15) == 1
    assert "Address already in use" in second.text.strip().splitlines()[-1] and "Traceback" not in second.text


SMUGGLED = b"GET /slow?id=smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("request_", [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    b"GET / HTTP/1.1\nHost: a\n\n" + SMUGGLED, b"GET /\r\nHost: a\r\n\r\n" + SMUGGLED, b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n" + SMUGGLED, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + SMUGGLED,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n" + SMUGGLED, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SMUGGLED,
])
def test_smuggled_requests_reach_no_worker(front, request_):
    answer = ask(front, request_, shut=True)
    assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5") and answer.count(b"HTTP/1.1 ") == 1
    assert front.curl("/hello") == "hello world"
    assert not front.trace.exists()


def test_a_flood_of_heads_that_never_end_holds_little(house):
    """In a server of its own, whose heap no other test has stretched; so the application is in it too."""
    server = house.twistd("--app", "site_asgi:wsgi")
    house.curl("/hello")
    idle, sockets = server.memory(), []
    try:
        for _ in range(500):
            sock = house.connect()
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 8000)
            sockets.append(sock)
        assert house.curl("/hello") == "hello world"
        assert (server.memory() - idle) / 500 < 24 * 1024
    finally:
        for sock in sockets:
            sock.close()


def test_resets_in_the_middle_of_everything_hurt_nobody(front):
    before, head = len(front.server.text), b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"
    for number in range(60):
        sock = front.connect()
        sock.sendall(head[:20 + number] if number % 2 else head + b"x" * 4000 * number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert front.curl("/hello") == "hello world"
    assert not any(word in front.server.text[before:] for word in ("Traceback", "Unhandled"))


def test_garbage_on_the_hub_cuts_off_only_that_worker(front):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(front.environment["CHANNELS_INTERFACES_SOCKET"])
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert sock.recv(100) == b""
    assert front.curl("/hello") == "hello world"


def test_a_management_command_sends_from_a_process_of_its_own(front):
    pid = front.manage("shell", "-v0", "-c", "import os; from asgiref.sync import async_to_sync as s; "
                       "from channels.layers import *; s(get_channel_layer().send)('nobody', {'type': 'x'}); "
                       "print(os.getpid())")
    front.server.says(rf"\(pid {int(pid)}\) is gone")


def test_two_workers_share_the_load(front):
    front.worker(server=front.server)
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(json.loads(front.curl("/facts?s=0.3")))) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    assert len({answer["pid"] for answer in answers}) == 2 and len(answers) == 8

"""Requests of WSGI applications: environ, bodies, answers, failures, and a stock Django project."""
import asyncio
import hashlib
import logging
import os
import threading

import pytest
from django.core.wsgi import get_wsgi_application

from interfaces.layers import wire_local as wire
from interfaces.worker.environ import EnvironMaker
from interfaces.worker.upload import Parts
from interfaces.worker.wsgi import Wsgi
from tests.worker import site
from tests.worker.hosting import hosted, quiet_wsgi, started
from tests.worker.hub import dialogue, http_request
from tests.worker.test_asgi import part

KIB = 1024


@pytest.fixture(scope="module")
def project():
    return {"http": Wsgi(get_wsgi_application(), threads=3)}


def environ_of(**keys) -> dict:
    message = http_request(**keys)
    return EnvironMaker(multithread=True)(message, Parts(message, None))


def test_the_environ_is_complete():
    environ = environ_of(path="/app/caf\u00e9 1", raw_path=b"/app/caf%C3%A9%201", query_string=b"q=%FF&r", root_path="/app",
                         scheme="https", http_version="1.0", method="PUT", headers=[
                             [b"host", b"example.com"], [b"content-type", b"text/x"], [b"content-length", b"3"],
                             [b"x-list", b"a"], [b"x-list", b"b"], [b"cookie", b"a=1"], [b"cookie", b"b=2"],
                             [b"x-latin", b"\xe9"], [b"x_list", b"forged"]], body=b"abc")
    assert environ.pop("wsgi.input").read() == b"abc"
    assert {key: value for key, value in environ.items() if not key.startswith("wsgi.")} == {
        "REQUEST_METHOD": "PUT", "SCRIPT_NAME": "/app", "PATH_INFO": "/caf\u00c3\u00a9 1", "QUERY_STRING": "q=%FF&r",
        "REQUEST_URI": "/app/caf%C3%A9%201?q=%FF&r", "RAW_URI": "/app/caf%C3%A9%201?q=%FF&r",
        "SERVER_PROTOCOL": "HTTP/1.0", "SERVER_NAME": "192.0.2.1", "SERVER_PORT": "8000", "HTTPS": "on",
        "REMOTE_ADDR": "192.0.2.7", "REMOTE_HOST": "192.0.2.7", "REMOTE_PORT": "50123", "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "3", "HTTP_HOST": "example.com", "HTTP_X_LIST": "a,b", "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_LATIN": "\u00e9", "SERVER_SOFTWARE": "channels-interfaces"}
    assert environ["wsgi.url_scheme"] == "https" and environ["wsgi.version"] == (1, 0)


@pytest.mark.parametrize("path, root, script, info", [
    ("/x", "", "", "/x"), ("/app", "/app", "/app", ""), ("/application", "/app", "/app", "/application"),
    ("/x", "/app", "/app", "/x"), ("/app/", "/app/", "/app/", "/")])
def test_the_root_path_is_cut_at_a_whole_segment(path, root, script, info):
    environ = environ_of(path=path, root_path=root)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)


def test_hostile_header_names_are_not_remembered_without_end():
    maker = EnvironMaker(multithread=False)
    for n in range(5000):
        message = http_request(headers=[[b"x-%d" % n, b"v"]])
        assert maker(message, Parts(message, None))[f"HTTP_X_{n}"] == "v"
    assert len(maker.names) <= 1000


def test_a_unix_socket_has_a_server_name_all_the_same():
    environ = environ_of(client=None, server=["/run/x.sock", None])
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("/run/x.sock", "80", "")


@dialogue
async def test_django_answers_in_one_message(path, project):
    async with hosted(path, project) as worker:
        request = http_request("/hello")
        await started(worker, request)
        name, reply = await worker.replies()
        assert name == request["reply_channel"]
        assert (reply["status"], reply["content"], reply["more_content"]) == (200, b"hello", False)
        assert [b"Content-Type", b"text/plain"] in reply["headers"]


@pytest.mark.parametrize("view", ["/boom", "/ending"])
@dialogue
async def test_a_view_that_fails_costs_a_500_and_no_thread(path, project, view, caplog):
    caplog.set_level(logging.CRITICAL, "django.request")
    async with hosted(path, project) as worker:
        for _ in range(5):
            await started(worker, http_request(view))
            assert (await worker.replies())[1]["status"] == 500
        await started(worker, http_request("/hello"))
        assert (await worker.replies())[1]["status"] == 200


def body_of(size):
    return hashlib.shake_256(b"body").digest(size)


async def upload(worker, view, body, headers=()):
    """Send `body` in parts of 64 KiB, eight out at most; give the answer and the most that was out."""
    request = http_request(view, method="POST", headers=[[b"host", b"example.com"], *headers],
                           body=body[:64 * KIB], more_body=True)
    owner = await started(worker, request)
    rest = [body[at:at + 64 * KIB] for at in range(64 * KIB, len(body), 64 * KIB)] + [b""]
    handled = 0
    for order, content in enumerate(rest, 1):
        worker.gets(owner, part(request, order, content, order < len(rest)))
        while order - handled >= 8 and order < len(rest):
            reply = (await worker.replies())[1]
            assert reply["type"] == "interface.credit" and handled < reply["handled"] <= order
            handled = reply["handled"]
    while "status" not in (reply := (await worker.replies())[1]):
        assert reply["type"] == "interface.credit"
    return request, owner, reply


@pytest.mark.parametrize("length", [True, False], ids=["content-length", "chunked"])
@dialogue
async def test_a_large_upload_arrives_whole(path, project, length):
    body = body_of(3 * 1024 * KIB + 5)
    headers = [[b"content-length", b"%d" % len(body)]] if length else [[b"transfer-encoding", b"chunked"]]
    async with hosted(path, project) as worker:
        _, _, reply = await upload(worker, "/size", body, headers)
        assert reply["content"] == b"%d" % len(body)


@dialogue
async def test_an_upload_with_a_hole_is_500_and_frees_the_thread(path, project, caplog):
    caplog.set_level(logging.CRITICAL, "django.request")
    async with hosted(path, project) as worker:
        request = http_request("/size", method="POST", body=b"a", more_body=True,
                               headers=[[b"host", b"example.com"], [b"content-length", b"4"]])
        owner = await started(worker, request)
        worker.gets(owner, part(request, 1, b"b", part=1))
        worker.gets(owner, part(request, 3, b"d", False, part=3))
        while "status" not in (reply := (await worker.replies())[1]):
            assert reply["type"] == "interface.credit"
        assert reply["status"] == 500
        await started(worker, http_request("/hello"))
        while "status" not in (reply := (await worker.replies())[1]):      # the thread may confirm what it had read
            assert reply["type"] == "interface.credit"
        assert reply["status"] == 200


@dialogue
async def test_what_is_uploaded_comes_back_the_same(path, project):
    body = body_of(200 * KIB)
    async with hosted(path, project) as worker:
        _, _, reply = await upload(worker, "/echo", body, [[b"content-length", b"%d" % len(body)]])
        got, more = reply["content"], reply["more_content"]
        while more:
            reply = (await worker.replies())[1]
            got, more = got + reply["content"], reply["more_content"]
        assert got == body


@dialogue
async def test_a_client_that_leaves_its_upload_frees_the_thread(path, project):
    async with hosted(path, project) as worker:
        for how in ({"type": "http.disconnect"}, {"type": "http.request.body", "closed": True, "content": b""}):
            for headers in ([[b"content-length", b"1000"]], []):
                request = http_request("/size", method="POST", headers=headers, body=b"abc", more_body=True)
                owner = await started(worker, request)
                worker.gets(owner, how | {"reply_channel": request["reply_channel"]})
        await started(worker, http_request("/hello"))
        assert (await worker.replies())[1]["content"] == b"hello"


@dialogue
async def test_a_stream_goes_out_piece_by_piece_and_is_closed(path, project):
    site.closed.clear()
    async with hosted(path, project) as worker:
        await started(worker, http_request("/stream"))
        replies = [(await worker.replies())[1] for _ in range(4)]
        assert [(r["content"], r["more_content"]) for r in replies] == [(b"tick", True)] * 3 + [(b"", False)]
        assert replies[0]["status"] == 200
        while worker.layer.inbox.running:
            await worker.says()
    assert len(site.closed) == 1


@dialogue
async def test_an_endless_stream_is_held_by_the_window_and_ends_with_its_client(path, project):
    site.closed.clear()
    async with hosted(path, project) as worker:
        request = http_request("/endless")
        owner = await started(worker, request)
        total = 0
        while total < 256 * KIB:
            total += len((await worker.replies())[1]["content"])
        worker.gets(owner, {"type": "interface.credit", "sent": 128 * KIB, "reply_channel": request["reply_channel"]})
        while total < 384 * KIB:
            total += len((await worker.replies())[1]["content"])
        assert total == 384 * KIB and not site.closed
        worker.gets(owner, {"type": "http.disconnect", "reply_channel": request["reply_channel"]})
        while worker.layer.inbox.running:
            await worker.says()
    assert len(site.closed) == 1


@dialogue
async def test_head_of_an_endless_stream_has_an_end(path, project):
    async with hosted(path, project) as worker:
        await started(worker, http_request("/endless", method="HEAD"))
        assert (await worker.replies())[1]["status"] == 200
        assert (await worker.replies())[1] == {"content": b"", "more_content": False}


@dialogue
async def test_a_stream_that_breaks_is_aborted(path, project, caplog):
    async with hosted(path, project) as worker:
        await started(worker, http_request("/broken"))
        assert (await worker.replies())[1]["content"] == b"begun"
        assert (await worker.replies())[1] == {"type": "http.response.abort"}
    assert "/broken" in caplog.text


@dialogue
async def test_a_file_is_sent_in_large_pieces(path, project):
    async with hosted(path, project) as worker:
        await started(worker, http_request("/file"))
        got, more = b"", True
        while more:
            reply = (await worker.replies())[1]
            got, more = got + reply["content"], reply["more_content"]
        with open(site.__file__, "rb") as file:
            assert got == file.read()


def writes(environ, start_response):
    write = start_response("200 OK", [])
    write(b"one")
    return iter([b"two"])


def changes_its_mind(environ, start_response):
    start_response("200 OK", [])
    try:
        raise ValueError("late")
    except ValueError:
        import sys
        start_response("503 Later", [("Retry-After", "1")], sys.exc_info())
    return [b"sorry"]


def starts_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def never_starts(environ, start_response):
    return [b"body"]


def starts_late(environ, start_response):
    def body():
        start_response("201 Made", [])
        yield b""
        yield b"x"
    return body()


@pytest.mark.parametrize("application, status, content", [
    (writes, 200, b"onetwo"), (changes_its_mind, 503, b"sorry"), (starts_twice, 500, None), (never_starts, 500, None),
    (starts_late, 201, b"x")])
@dialogue
async def test_start_response(path, application, status, content, caplog):
    async with hosted(path, {"http": Wsgi(application)}) as worker:
        await started(worker, http_request())
        reply = (await worker.replies())[1]
        got, more = reply["content"], reply["more_content"]
        while more:
            message = (await worker.replies())[1]
            got, more = got + message["content"], message["more_content"]
        assert reply["status"] == status and (content is None or got == content)


@dialogue
async def test_as_many_views_run_as_there_are_threads(path):
    meeting = threading.Barrier(4)

    def application(environ, start_response):
        meeting.wait(10)
        return quiet_wsgi()(environ, start_response)

    async with hosted(path, {"http": Wsgi(application, threads=4)}) as worker:
        await started(worker, http_request())
        await started(worker, *[http_request() for _ in range(3)])
        assert [(await worker.replies())[1]["status"] for _ in range(4)] == [200] * 4


@dialogue
async def test_many_requests_are_all_answered_once(path):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    async with hosted(path, {"http": Wsgi(application, threads=8)}) as worker:
        credit, waiting, answered = 0, [http_request(f"/{n}") for n in range(2000)], {}
        expected = {request["reply_channel"]: request["path"].encode() for request in waiting}
        while len(answered) < 2000:
            kind, name, payload = await worker.says()
            if kind == wire.LISTEN:
                credit += wire.CREDIT.unpack(payload)[0]
            elif kind == wire.SEND:
                assert name not in answered
                answered[name] = wire.unpack(payload[12:])["content"]
            now, waiting = waiting[:credit], waiting[credit:]
            credit -= len(now)
            worker.gets("http.request", *now)
        assert answered == expected


def test_a_body_without_a_length_goes_to_disk_not_to_memory():
    pieces = iter([(bytes(64 * KIB), True)] * 40 + [(b"end", False)])
    spool, length = Parts({"body": b"", "more_body": True}, lambda: next(pieces)).spooled()
    assert length == 40 * 64 * KIB + 3 and spool._rolled
    spool.seek(-3, os.SEEK_END)
    assert spool.read() == b"end"


def test_wsgi_needs_a_thread():
    with pytest.raises(ValueError):
        Wsgi(quiet_wsgi(), threads=0)


def test_hosted_directly_it_is_an_asgi_application():
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "http_version": "1.1"}
    asyncio.run(Wsgi(quiet_wsgi(b"direct"))(scope, receive, send))
    assert sent[0]["status"] == 200 and b"direct" in [event.get("body") for event in sent]

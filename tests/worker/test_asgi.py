"""Requests of ASGI applications: scope, body, answers, credit both ways, disconnects, failures."""
import asyncio
import logging
import time

import pytest

from interfaces.layers import wire_local as wire
from tests.worker.hosting import granted, hosted, started
from tests.worker.hub import dialogue, http_request

KIB = 1024


async def hello(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


@dialogue
async def test_a_short_answer_is_one_message_and_its_slot_is_granted_again(path):
    async with hosted(path, {"http": hello}, concurrency=5) as worker:
        assert await worker.says_credit() == (wire.LISTEN, "http.request", 1)
        request = http_request("/")
        worker.gets("http.request", request)
        kind, name, payload = await worker.says()
        assert (kind, name, payload[:4]) == (wire.STARTED, "http.request", wire.CREDIT.pack(1))
        assert payload[4:].decode().startswith(worker.process + "!")
        await granted(worker, 4)
        assert await worker.replies() == (request["reply_channel"], {
            "status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"hello", "more_content": False})
        assert await worker.says_credit() == (wire.LISTEN, "http.request", 1)


@dialogue
async def test_no_more_is_begun_than_there_are_slots(path):
    release = asyncio.Event()

    async def waiting(scope, receive, send):
        await release.wait()
        await hello(scope, receive, send)

    async with hosted(path, waiting, concurrency=3) as worker:
        await started(worker, http_request())
        await granted(worker, 2)
        await started(worker, http_request(), http_request())
        assert worker.layer.inbox.running == 3
        release.set()
        for _ in range(3):
            assert (await worker.replies())[1]["status"] == 200
        await granted(worker, 3)
        assert worker.layer.inbox.running == 0


@dialogue
async def test_the_scope_is_complete(path):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await hello(scope, receive, send)

    tls = {"version": "TLSv1.3", "cipher": "X", "sni": "a.example", "peer_subject": None, "peer_fingerprint_sha256": None}
    async with hosted(path, {"http": application}) as worker:
        await started(worker, http_request(
            "/app/caf\u00e9", raw_path=b"/app/caf%C3%A9", query_string=b"a=1", root_path="/app", scheme="https", tls=tls,
            headers=[[b"a", b"1"], [b"a", b"2"]], server=None))
        await worker.replies()
    scope = scopes[0]
    assert scope.pop("extensions")["tls"]["sni"] == "a.example"
    assert scope == {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "https", "path": "/app/caf\u00e9", "raw_path": b"/app/caf%C3%A9", "query_string": b"a=1",
        "root_path": "/app", "headers": [(b"a", b"1"), (b"a", b"2")], "client": ("192.0.2.7", 50123), "server": None,
        "state": {}}


def part(request, order, content, more=True, **keys):
    return {"type": "http.request.body", "content": content, "more_content": more, "closed": False,
            "reply_channel": request["reply_channel"], "order": order} | keys


@dialogue
async def test_a_long_body_is_confirmed_as_it_is_read(path):
    async def counting(scope, receive, send):
        total, more = 0, True
        while more:
            message = await receive()
            total, more = total + len(message["body"]), message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"%d" % total})

    async with hosted(path, counting) as worker:
        request = http_request(method="POST", body=bytes(10), more_body=True)
        owner = await started(worker, request)
        handled, last = 0, 20
        for order in range(1, last + 1):
            worker.gets(owner, part(request, order, bytes(100), order < last))
            while order - handled >= 8 and order < last:             # the server keeps at most 8 out
                handled = (await worker.replies())[1]["handled"]
        while "content" not in (reply := (await worker.replies())[1]):
            assert reply["type"] == "interface.credit"
        assert reply["content"] == b"2010"


@dialogue
async def test_a_body_with_a_hole_reaches_no_application_as_a_whole(path, caplog):
    heard = []

    async def reading(scope, receive, send):
        heard.append(await receive())
        while heard[-1]["type"] != "http.disconnect":
            heard.append(await receive())

    caplog.set_level(logging.CRITICAL, "django.request")
    async with hosted(path, reading) as worker:
        request = http_request(method="POST", body=b"a", more_body=True)
        owner = await started(worker, request)
        worker.gets(owner, part(request, 1, b"b", part=1))
        worker.gets(owner, part(request, 3, b"d", False, part=3))
        while "status" not in (reply := (await worker.replies())[1]):
            assert reply["type"] == "interface.credit"
        assert reply["status"] == 500
        while not heard or heard[-1]["type"] != "http.disconnect":
            await asyncio.sleep(0)
    assert [message.get("body") for message in heard] == [b"a", b"b", None]


@dialogue
async def test_a_long_answer_waits_for_the_servers_credit(path):
    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(1000 * KIB)})

    async with hosted(path, long) as worker:
        request = http_request()
        owner = await started(worker, request)
        got = confirmed = 0
        more = True
        while more:
            message = (await worker.replies())[1]
            assert len(message["content"]) <= 64 * KIB
            got, more = got + len(message["content"]), message["more_content"]
            assert got - confirmed <= 256 * KIB
            if got - confirmed > 192 * KIB:                          # it has said all it may: now it waits
                assert wire.SEND not in [kind for kind, _, _ in worker.heard]
                confirmed = got
                worker.gets(owner, {"type": "interface.credit", "sent": got, "reply_channel": request["reply_channel"]})
        assert got == 1000 * KIB


@dialogue
async def test_a_client_that_goes_is_heard_in_receive(path):
    heard = asyncio.get_running_loop().create_future()

    async def listening(scope, receive, send):
        await receive()
        heard.set_result(await receive())

    async with hosted(path, listening) as worker:
        request = http_request()
        owner = await started(worker, request)
        await granted(worker, 99)
        worker.gets(owner, {"type": "http.disconnect", "reply_channel": request["reply_channel"]})
        assert await heard == {"type": "http.disconnect"}
        assert await worker.says_credit() == (wire.LISTEN, "http.request", 1)


@pytest.mark.parametrize("way", ["sleeps", "sends"])
@dialogue
async def test_a_client_that_goes_ends_an_application_that_does_not_listen(path, way):
    ended = asyncio.get_running_loop().create_future()

    async def deaf(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200})
            while True:
                if way == "sleeps":
                    await asyncio.sleep(3600)
                await send({"type": "http.response.body", "body": bytes(64 * KIB), "more_body": True})
        finally:
            ended.set_result(True)

    async with hosted(path, deaf) as worker:
        request = http_request()
        owner = await started(worker, request)
        await granted(worker, 99)
        worker.gets(owner, {"type": "http.disconnect", "reply_channel": request["reply_channel"]})
        assert await ended
        while (await worker.says())[0] != wire.LISTEN:
            pass
        assert worker.layer.inbox.running == 0


async def raises(scope, receive, send):
    raise RuntimeError("boom")


async def raises_late(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise RuntimeError("boom")


async def returns(scope, receive, send):
    pass


@pytest.mark.parametrize("application, answers", [
    (raises, [{"status": 500}]), (returns, [{"status": 500}]),
    (raises_late, [{"content": b"begun"}, {"type": "http.response.abort"}])])
@dialogue
async def test_a_failure_is_the_clients_500_and_djangos_log(path, caplog, application, answers):
    async with hosted(path, application) as worker:
        for _ in range(2):                                           # and the next request is run
            await started(worker, http_request("/where"))
            for answer in answers:
                assert answer.items() <= (await worker.replies())[1].items()
    logged = [record for record in caplog.records if record.name == "django.request"]
    assert len(logged) == 2 and "/where" in logged[0].getMessage() and logged[0].exc_info


@dialogue
async def test_a_request_past_its_deadline_is_not_run(path):
    ran = []

    async def application(scope, receive, send):
        ran.append(scope["path"])
        await hello(scope, receive, send)

    async with hosted(path, application) as worker:
        await started(worker, http_request("/late", deadline=time.time() - 1))
        await started(worker, http_request("/later", deadline=time.time() - 1), http_request("/now"))
        assert (await worker.replies())[1]["status"] == 200
    assert ran == ["/now"]


@pytest.mark.parametrize("rubbish", [{}, {"reply_channel": "x!y"}, {"reply_channel": 5, "path": []},
                                     http_request(headers=7), http_request(deadline="soon")])
@dialogue
async def test_a_message_that_is_no_request_costs_nothing(path, rubbish, caplog):
    caplog.set_level(logging.CRITICAL, "interfaces.worker")
    async with hosted(path, hello, concurrency=1) as worker:
        await started(worker, {"type": "http.request"} | rubbish)
        for _ in range(3):
            await started(worker, {"type": "http.request"} | rubbish)
            request = http_request()
            await started(worker, request)
            while (reply := await worker.replies())[0] != request["reply_channel"]:
                pass
            assert reply[1]["status"] == 200


@dialogue
async def test_a_lost_server_ends_what_runs_and_a_new_one_is_served(path):
    ended = asyncio.get_running_loop().create_future()

    async def holding(scope, receive, send):
        if scope["path"] == "/hold":
            await receive()
            ended.set_result(await receive())
        else:
            await hello(scope, receive, send)

    async with hosted(path, holding, concurrency=4) as worker:
        await started(worker, http_request("/hold"))
        await granted(worker, 3)
        worker.leaves()
        assert await ended == {"type": "http.disconnect"}
        again = await worker.hub.worker()
        await granted(again, 4)
        await started(again, http_request("/"))
        assert (await again.replies())[1]["status"] == 200


@dialogue
async def test_a_scope_of_another_kind_goes_straight_through(path):
    async with hosted(path, {"http": hello}) as worker:
        sent = []

        async def send(event):
            sent.append(event["type"])

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        await worker.stock.application({"type": "http"}, receive, send)
        assert sent == ["http.response.start", "http.response.body"]
        with pytest.raises(ValueError, match="lifespan"):
            await worker.stock.application({"type": "lifespan"}, receive, send)

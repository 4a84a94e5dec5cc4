"""over_channels on Redis: requests, bodies, adoption, pings; and on a stock channels_redis layer."""
import asyncio
import threading

import pytest
from channels_redis.core import RedisChannelLayer as StockLayer
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from interfaces.worker.application import over_channels
from interfaces.worker.wsgi import Wsgi
from tests.worker.hosting import quiet_wsgi
from tests.worker.hub import dialogue
from tests.worker.redis_hosting import hosted
from tests.worker.test_redis_layer import until

BODY = "http.request.body.abcdefghijklmnopqrstuv"


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event["body"], event["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi_echo(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


async def parts(server, contents, **last):
    """A body on its channel, as much out at a time as an interface server allows."""
    for n, content in enumerate(contents):
        part = {"type": "http.request.body", "content": content, "more_content": n < len(contents) - 1, "closed": False}
        await server.layer.send(BODY, part | (last if n == len(contents) - 1 else {}))


def is_claim(message) -> bool:
    return message.get("type") == "interface.credit" and "!" in message["receive_channel"] and message["handled"] == 0


@dialogue
async def test_a_quick_answer_is_one_message(redis_server):
    async with hosted(redis_server.url, {"http": Wsgi(quiet_wsgi())}) as server:
        for number in range(3):
            answer = await server.hears(await server.asks())
            assert (answer["status"], answer["content"]) == (200, b"ok")
            assert ("receive_channel" in answer) == (number == 0), "now and then it says who it is"


@pytest.mark.parametrize("application", [Wsgi(wsgi_echo), echo], ids=["wsgi", "asgi"])
@dialogue
async def test_a_body_comes_on_its_channel_and_claims_the_request(redis_server, application):
    async with hosted(redis_server.url, {"http": application}) as server:
        contents = [bytes([n]) * 1000 for n in range(30)]
        request = await server.asks(method="POST", body=b"first", more_body=True, body_channel=BODY, epoch=3,
                                    headers=[[b"content-length", b"30005"]])
        claim = await server.hears(request)
        assert is_claim(claim) and claim["epoch"] == 3
        await parts(server, contents)
        answer = await server.hears(request)
        assert answer["content"] == b"first" + b"".join(contents)
        assert redis_server("EXISTS", f"asgi{BODY}") == 0


@pytest.mark.parametrize("application", [Wsgi(wsgi_echo), echo], ids=["wsgi", "asgi"])
@dialogue
async def test_an_upload_that_breaks_off_frees_its_slot(redis_server, application):
    async with hosted(redis_server.url, {"http": application}) as server:
        await server.asks(method="POST", more_body=True, body_channel=BODY, headers=[[b"content-length", b"99"]])
        await parts(server, [b"x", b""], closed=True)
        await until(lambda: server.worker_layer.inbox.hostings["http.request"].finished == 1
                    or server.worker_layer.inbox.running == 0 and redis_server("EXISTS", f"asgi{BODY}") == 0)
        assert (await server.hears(await server.asks()))["status"] == 200


@dialogue
async def test_an_answer_in_pieces_claims_with_the_first_and_waits_for_credit(redis_server):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [bytes(1024 * 1024)]

    async with hosted(redis_server.url, {"http": Wsgi(application)}) as server:
        request = await server.asks(epoch=1)
        first = await server.hears(request)
        assert (first["status"], first["epoch"]) == (200, 1) and first["receive_channel"].startswith(
            server.worker_layer.process + "!")
        size, messages = len(first["content"]), 1
        while messages < 4:
            size, messages = size + len((await server.hears(request))["content"]), messages + 1
        assert size == 256 * 1024 and redis_server("EXISTS", f"asgi{server.layer.process}!") == 0
        while True:
            await server.layer.send(first["receive_channel"], {"type": "interface.credit", "sent": size,
                                                               "reply_channel": request["reply_channel"]})
            message = await server.hears(request)
            size += len(message["content"])
            if not message["more_content"]:
                break
        assert size == 1024 * 1024


@dialogue
async def test_a_long_request_is_claimed_and_hears_that_its_client_left(redis_server, monkeypatch):
    monkeypatch.setattr("interfaces.worker.adoption.ADOPT", 0.01)
    left = asyncio.Event()

    async def waits(scope, receive, send):
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with hosted(redis_server.url, {"http": waits}) as server:
        request = await server.asks()
        claim = await server.hears(request)
        assert is_claim(claim)
        await server.layer.send(claim["receive_channel"], {"type": "http.disconnect", "path": "/", "order": 1,
                                                           "reply_channel": request["reply_channel"]})
        await asyncio.wait_for(left.wait(), 10)


@dialogue
async def test_a_ping_is_answered(redis_server):
    async with hosted(redis_server.url, {"http": Wsgi(quiet_wsgi())}) as server:
        await server.hears(await server.asks())
        own = await server.layer.new_channel()
        await server.layer.send(server.worker_layer.inbox.owner, {"type": "interface.ping", "id": "x", "reply_channel": own})
        pong = await server.hears({"reply_channel": own})
        assert (pong["type"], pong["id"]) == ("interface.pong", "x")
        assert b"cmd=bzpopmin" in redis_server("CLIENT", "LIST", "ID", pong["reader"]), "what is gone when this process is"


@dialogue
async def test_no_more_are_taken_than_have_a_thread(redis_server):
    go = threading.Event()

    def application(environ, start_response):
        go.wait(10)
        start_response("200 OK", [])
        return [b""]

    async with hosted(redis_server.url, {"http": Wsgi(application, threads=2)}) as server:
        requests = [await server.asks() for _ in range(10)]
        await until(lambda: redis_server("ZCARD", "asgihttp.request") == 8)
        await server.layer.group_send("nobody", {})
        assert redis_server("ZCARD", "asgihttp.request") == 8
        go.set()
        for request in requests:
            while is_claim(answer := await server.hears(request)):
                pass
            assert answer["status"] == 200


@dialogue
async def test_past_its_deadline_nothing_runs(redis_server):
    async with hosted(redis_server.url, {"http": Wsgi(quiet_wsgi())}) as server:
        late = await server.asks(deadline=1.0)
        assert (await server.hears(await server.asks()))["status"] == 200
        waiting = asyncio.ensure_future(server.hears(late))
        assert (await server.hears(await server.asks()))["status"] == 200
        assert not waiting.done()
        waiting.cancel()


@dialogue
async def test_django_over_a_redis_that_is_restarted(redis_server):
    async with hosted(redis_server.url, {"http": Wsgi(get_wsgi_application())}) as server:
        assert (await server.hears(await server.asks("/hello")))["content"] == b"hello"
        [shard] = server.layer.home.shards
        before = shard.commands
        redis_server.restart()
        await until(lambda: shard.commands not in (None, before))
        assert (await server.hears(await server.asks("/hello")))["content"] == b"hello"


# A stock layer

@dialogue
async def test_a_stock_layer_hosts_http(redis_server, caplog):
    layer = StockLayer(hosts=[redis_server.url])
    async with hosted(redis_server.url, {"http": Wsgi(wsgi_echo)}, layer=layer) as server:
        assert (await server.hears(await server.asks()))["content"] == b""
        request = await server.asks(method="POST", body=b"first", more_body=True, body_channel=BODY,
                                    headers=[[b"content-length", b"25"]])
        await parts(server, [bytes([n]) for n in range(20)])
        assert (await server.hears(request))["content"] == b"first" + bytes(range(20))
    assert "channels_redis#163" in caplog.text


@dialogue
async def test_a_stock_layer_carries_a_large_answer_in_order(redis_server):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [bytes([n]) * 1024 * 32 for n in range(100)]

    layer = StockLayer(hosts=[redis_server.url])
    async with hosted(redis_server.url, {"http": Wsgi(lambda e, s: iter(application(e, s)))}, layer=layer) as server:
        request, content, more = await server.asks(), b"", True
        while more:
            message = await server.hears(request)
            content, more = content + message["content"], message["more_content"]
        assert content == b"".join(bytes([n]) * 1024 * 32 for n in range(100))


def test_a_stock_layer_with_several_hosts_is_refused(monkeypatch):
    layer = StockLayer(hosts=[("127.0.0.1", 1), ("127.0.0.1", 2)])
    monkeypatch.setattr("interfaces.worker.application.get_channel_layer", lambda name: layer)
    with pytest.raises(ImproperlyConfigured, match="one host"):
        over_channels({"http": Wsgi(quiet_wsgi())})

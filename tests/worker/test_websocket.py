"""WebSocket connections of ASGI applications: scope, events, replies, credit both ways, failures."""
import asyncio
import logging
import time

import pytest

from interfaces.worker import session, sessions
from tests.worker.hub import dialogue
from tests.worker.sockets import echo, hosted, websocket_connect

KIB = 1024


@dialogue
async def test_it_accepts_and_echoes_text_and_bytes(path):
    async with hosted(path, echo, release="v42") as server:
        socket = await (await server.opens()).accepted()
        socket.says("hello")
        socket.says(b"\x00\xff")
        assert await socket.hears() == {"type": "websocket.send", "text": "hello"}
        assert await socket.hears() == {"type": "websocket.send", "bytes": b"\x00\xff"}
        assert socket.claim == (server.owner, "v42") and server.owner.startswith(server.worker.process + "!")


@dialogue
async def test_the_scope_is_complete(path):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await echo(scope, receive, send)

    tls = {"version": "TLSv1.3", "cipher": "X", "sni": "a.example", "peer_subject": None, "peer_fingerprint_sha256": None}
    async with hosted(path, application) as server:
        await (await server.opens("/app/caf\u00e9", query_string=b"a=1", root_path="/app", scheme="wss", tls=tls, server=None,
                                  headers=[[b"a", b"1"], [b"a", b"2"]], subprotocols=["chat", "v2"])).accepted()
        await (await server.opens(epoch=3, resumed=True, state={"n": 1}, deadline=None, order=9)).accepted()
    extensions = scopes[0].pop("extensions")
    assert extensions["websocket.http.response"] == {} and extensions["tls"]["sni"] == "a.example"
    assert scopes[0] == {
        "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "scheme": "wss",
        "path": "/app/caf\u00e9", "raw_path": "/app/caf\u00e9".encode(), "query_string": b"a=1", "root_path": "/app",
        "headers": [(b"a", b"1"), (b"a", b"2")], "client": ("192.0.2.7", 50123), "server": None,
        "subprotocols": ["chat", "v2"], "state": {}}
    assert scopes[1]["extensions"] == {"websocket.http.response": {}, "interface.resumed": {"state": {"n": 1}}}


@dialogue
async def test_accept_and_close_carry_what_they_are_given(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x", b"1")]})
        await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        ended.append(await receive())
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "to nobody"})
        ended.append(scope["path"])

    ended = []
    async with hosted(path, application) as server:
        socket = await server.opens()
        assert await socket.hears() == {"type": "websocket.accept", "subprotocol": "chat", "headers": [[b"x", b"1"]]}
        socket.says("bye")
        assert await socket.hears() == {"type": "websocket.close", "code": 4000, "reason": "enough"}
        socket.leaves(4000)
        await server.settled()
    assert ended == [{"type": "websocket.disconnect", "code": 4000, "reason": ""}, "/chat"]


@dialogue
async def test_a_refusal_is_a_close_before_accept_and_the_application_hears_its_end(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})
        ended.append(await receive())

    ended = []
    async with hosted(path, application) as server:
        socket = await server.opens()
        assert await socket.hears() == {"type": "websocket.close"}
        await server.settled()
    assert ended == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@dialogue
async def test_a_refusal_may_have_a_status_and_a_long_body(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]})
        await send({"type": "websocket.http.response.body", "body": bytes(100 * KIB), "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"end"})

    async with hosted(path, application) as server:
        socket = await server.opens()
        assert await socket.hears() == {"type": "websocket.http.response.start", "status": 401, "headers": [[b"a", b"b"]]}
        bodies = [await socket.hears() for _ in range(3)]
        assert [(len(body["body"]), body["more_body"]) for body in bodies] == [(64 * KIB, True), (36 * KIB, True), (3, False)]
        await server.settled()


@pytest.mark.parametrize("events, error", [
    ([{"type": "websocket.send", "text": "early"}], "not for this moment"),
    ([{"type": "websocket.accept"}, {"type": "websocket.accept"}], "not for this moment"),
    ([{"type": "http.response.start", "status": 200}], "knows no"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send"}], "needs text or bytes"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send", "bytes": "text"}], "bytes-like"),
    ([{"type": "websocket.accept"}, {"type": "websocket.send", "text": "\ud800"}], "surrogates"),
])
@dialogue
async def test_what_asgi_forbids_is_raised_where_it_is_done(path, events, error, caplog):
    async def application(scope, receive, send):
        await receive()
        for event in events:
            await send(event)

    async with hosted(path, application) as server:
        socket = await server.opens()
        await server.settled()
        heard = [await socket.hears() for _ in range(len(events) + (len(events) == 1))]
        assert heard[-1] == {"type": "websocket.close", "code": 1011} or heard[0]["status"] == 500 and not heard[1]["more_body"]
    assert error in caplog.text


@pytest.mark.parametrize("ends", ["raises", "returns"])
@dialogue
async def test_an_application_that_fails_closes_with_1011(path, ends, caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        if ends == "raises":
            raise ValueError("of the application")

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("x")
        assert await socket.hears() == {"type": "websocket.close", "code": 1011}
        await server.settled()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "interfaces.worker" and "/chat" in record.getMessage() and bool(record.exc_info) == (ends == "raises")


@dialogue
async def test_one_that_was_open_before_is_closed_and_not_answered_by_http(path, caplog):
    async def application(scope, receive, send):
        raise ValueError

    caplog.set_level(logging.CRITICAL)
    async with hosted(path, application) as server:
        socket = await server.opens(epoch=1, resumed=True, deadline=None, order=4)
        assert await socket.hears() == {"type": "websocket.close", "code": 1011}


@dialogue
async def test_disconnect_is_the_last_event_and_ends_it_without_a_word(path, caplog):
    events = []

    async def application(scope, receive, send):
        while not events or events[-1]["type"] != "websocket.disconnect":
            events.append(await receive())
            if len(events) == 1:
                await send({"type": "websocket.accept"})

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        socket.leaves(1000, "bye")
        socket.tells("websocket.receive", text="after the end")
        mine = server.session_of(socket)
        await server.settled()
        assert not socket.heard and not mine.queue
    assert events == [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "a"},
                      {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}]
    assert not caplog.records


@dialogue
async def test_what_is_said_to_a_client_that_has_just_left_goes_nowhere_and_disconnect_still_comes(path, caplog):
    """A stock consumer whose handler was given an OSError would never run its disconnect()."""
    heard = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await there.wait()
        await send({"type": "websocket.send", "text": "to nobody"})
        heard.append((await receive())["type"])

    there = asyncio.Event()
    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        socket.leaves()
        await server.until_in_worker(lambda session: session.left)
        there.set()
        await server.settled()
    assert heard == ["websocket.disconnect"] and not socket.heard and not caplog.records


@dialogue
async def test_gone_cancels_without_a_disconnect(path, caplog):
    heard = []

    async def application(scope, receive, send):
        try:
            await receive()
            await send({"type": "websocket.accept"})
            heard.append(await receive())
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.gone()
        await server.settled()
        assert heard == ["cancelled"] and not socket.heard and not caplog.records


@dialogue
async def test_the_server_is_gone_and_with_it_its_clients(path):
    events = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        events.append(await receive())

    async with hosted(path, application) as server:
        await (await server.opens()).accepted()
        server.worker.leaves()
        while server.worker_sessions.all:
            await asyncio.sleep(0)
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@dialogue
async def test_one_that_does_not_end_is_cancelled(path, monkeypatch, caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await receive()                                  # there is nothing behind the last event

    monkeypatch.setattr(sessions, "CLOSE_TIME", 0.01)
    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.leaves()
        await server.settled()
        assert "did not end within" in caplog.text and not socket.heard


@dialogue
async def test_where_the_last_word_of_the_server_is_lost_the_application_hears_it_from_us(path, monkeypatch):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        events.append(await receive())

    events = []
    monkeypatch.setattr(sessions, "CLOSE_TIME", 0.01)
    async with hosted(path, application) as server:
        await (await server.opens()).accepted()
        await server.settled()
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@dialogue
async def test_one_that_never_listens_is_told_by_an_error_in_the_end(path, monkeypatch, caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "text": ""})
            await asyncio.sleep(0)

    monkeypatch.setattr(session, "LAST_WORDS", 0.01)
    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.leaves()
        await server.settled()
    assert not caplog.records


@dialogue
async def test_a_message_that_is_wrong_costs_nobody_else_his(path, caplog):
    async with hosted(path, echo) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        await socket.hears()
        socket.confirms("much")
        socket.says("b")
        assert (await socket.hears())["text"] == "b" and "could not be read" in caplog.text


# Credit

@dialogue
async def test_handled_goes_with_replies_and_by_itself_when_there_are_none(path):
    async with hosted(path, echo) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        await socket.hears()
        assert socket.handled == 0                       # the application asked for "a" when it had handled the connect
        await server.until(lambda: socket.handled == 1)
        for _ in range(5):
            socket.says("b")
        for _ in range(5):
            await socket.hears()
        assert socket.handled >= 5
        await server.until(lambda: socket.handled == 6)


@dialogue
async def test_no_credit_of_its_own_while_replies_carry_it(path, monkeypatch):
    monkeypatch.setattr(sessions, "TICK", 3600.0)        # the test ticks
    async with hosted(path, echo) as server:
        socket = await (await server.opens()).accepted()
        held = server.worker_sessions
        for _ in range(3):
            socket.says("a")
            await socket.hears()
            await server.until_in_worker(lambda session: session.waiter)
            held.tick()
        assert (socket.handled, socket.credits) == (2, 0)
        held.tick()
        await server.until(lambda: (socket.handled, socket.credits) == (3, 1))


@dialogue
async def test_half_a_window_is_told_at_once(path, monkeypatch):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    monkeypatch.setattr(sessions, "TICK", 3600.0)
    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        for _ in range(40):
            socket.says("a")
        await server.until(lambda: socket.handled == 31)
        socket.says(bytes(130 * KIB))
        await server.until(lambda: socket.handled == 41)


@dialogue
async def test_sends_wait_for_the_servers_word(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for number in range(200):
            await send({"type": "websocket.send", "text": f"{number:03}"})
        await receive()

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        mine = server.session_of(socket)
        heard = 0
        while heard < 200:
            limit = min(heard + 64, 200)
            while heard < limit:
                assert (await socket.hears())["text"] == f"{heard:03}"
                heard += 1
            assert len(mine.out.ends) == 64 or heard == 200
            socket.confirms(3 * heard)
        socket.leaves()
        await server.settled()


@dialogue
async def test_text_counts_as_its_bytes_and_a_window_holds_256_kib(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(4):
            await send({"type": "websocket.send", "text": "\u20ac" * 30_000})
        await receive()

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        for _ in range(2):
            await socket.hears()
        mine = server.session_of(socket)
        assert mine.out.written == 180_000 and mine.senders
        socket.confirms(90_000)
        await socket.hears()
        assert mine.out.written == 270_000 and mine.senders
        socket.leaves()
        await server.settled()


@dialogue
async def test_two_tasks_that_wait_to_send_are_both_woken(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        big = {"type": "websocket.send", "bytes": bytes(200 * KIB)}
        await asyncio.gather(send(big), send(big), send(big))
        await send({"type": "websocket.close"})

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        for sent in (200, 400, 600):
            assert (await socket.hears())["type"] == "websocket.send"
            socket.confirms(sent * KIB)
        assert (await socket.hears())["type"] == "websocket.close"


@dialogue
async def test_a_gap_is_counted_and_what_came_already_is_not_given_again(path, caplog):
    async with hosted(path, echo) as server:
        socket = await (await server.opens()).accepted()
        socket.says("a")
        socket.order += 2
        socket.says("d")
        socket.order -= 1
        socket.says("twice")
        assert [(await socket.hears())["text"] for _ in range(2)] == ["a", "d"]
        socket.says("e")
        assert (await socket.hears())["text"] == "e"
        assert server.worker_sessions.missed == 2 and "2 messages for /chat are lost" in caplog.text


@dialogue
async def test_a_cancelled_receive_loses_nothing(path):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        mine, waiting = session.current.get(), asyncio.ensure_future(receive())
        while not mine.queue and not (mine.waiter and mine.waiter.done()):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        socket.says("kept")
        assert (await socket.hears())["text"] == "kept"


# How many

@dialogue
async def test_a_slot_is_free_again_when_the_connection_is_accepted(path):
    async with hosted(path, echo, concurrency=1) as server:
        for _ in range(3):
            await (await server.opens()).accepted()
        assert len(server.worker_sessions.all) == 3 and server.worker_sessions.hosting.running == 0


@dialogue
async def test_no_slot_beyond_so_many_connections(path):
    async with hosted(path, echo, concurrency=2, connections=3) as server:
        sockets = [await (await server.opens()).accepted() for _ in range(3)]
        held = server.worker_sessions
        assert (held.opened, held.kept, server.credit) == (3, 2, 0)
        sockets[1].leaves()
        await server.until(lambda: server.credit == 1)
        await (await server.opens()).accepted()
        assert len(held.all) == 3 and server.credit == 0


@dialogue
async def test_one_that_is_too_late_is_not_begun(path):
    async with hosted(path, echo) as server:
        await (await server.opens()).accepted()
        late = await server.opens(deadline=time.time() - 1)
        await (await server.opens()).accepted()
        assert server.worker_sessions.late == 1 and not late.heard


@dialogue
async def test_a_message_that_is_no_connection_costs_no_slot(path, caplog):
    async with hosted(path, echo, concurrency=1) as server:
        broken = await server.opens()
        await broken.accepted()
        for missing in ("path", "headers", "reply_channel"):
            message = websocket_connect()
            del message[missing]
            await server.until(lambda: server.credit > 0)
            server.credit -= 1
            server.worker.gets("websocket.connect", message)
        await (await server.opens()).accepted()
        assert caplog.text.count("a connection could not be begun") == 3


@dialogue
async def test_announced_again_to_the_worker_that_has_it(path, caplog):
    events = []

    async def application(scope, receive, send):
        try:
            await echo(scope, receive, send)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async with hosted(path, application) as server:
        socket = await (await server.opens()).accepted()
        again = await server.opens(reply_channel=socket.reply_channel, epoch=1, resumed=True, deadline=None, order=1)
        await again.accepted()
        assert events == ["cancelled"] and again.claim
        again.says("x")
        assert (await again.hears())["text"] == "x"


@dialogue
async def test_a_last_word_that_comes_before_its_connection_has_begun(path):
    events = []

    async def application(scope, receive, send):
        events.append(await receive())
        events.append(await receive())

    async with hosted(path, application) as server:
        await server.until(lambda: server.credit > 0)
        server.owner = server.worker.layer.inbox.owner
        server.announces(websocket_connect()).leaves()   # with one read
        await server.until(lambda: server.started)
        await server.settled()
    assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]

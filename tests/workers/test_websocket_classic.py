"""WebSocket consumers of 2017 behind the stock runworker of Channels 1.1 and asgi_redis, which know nothing of us.

Dialogues are held with Daphne 1.4 too, beside our server, as in test_classic.py."""
import contextlib
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.sockets.processes import until
from tests.workers.conftest import interpreter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database(shared):
    """The tables of Django's own users."""
    migrates = shared.start("migrate", [interpreter("classic"), "manage.py", "migrate", "-v0"], site="classic", PYTHONPATH="")
    assert migrates.process.wait(60) == 0, migrates.text


@pytest.fixture
def opens(ask):
    with contextlib.ExitStack() as clients:
        yield lambda path, **more: clients.enter_context(connect(ask.ws + path, proxy=None, **more))


def code_of(client) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(10)
    return closed.value.rcvd.code


def test_a_chat_in_rooms(ask, opens):
    one, other, elsewhere = opens("/chat/lobby/"), opens("/chat/lobby/"), opens("/chat/bar/")
    one.send('{"handle": "ann", "message": "hi"}')
    said = {"room": "lobby", "handle": "ann", "message": "hi"}
    assert json.loads(one.recv(10)) == json.loads(other.recv(10)) == said
    elsewhere.send('{"handle": "bob", "message": "beer"}')
    assert json.loads(elsewhere.recv(10)) == {"room": "bar", "handle": "bob", "message": "beer"}
    one.close()
    until(lambda: "left lobby" in ask.noted, "the consumer hears of it")
    other.send('{"handle": "cy", "message": "alone"}')
    assert json.loads(other.recv(10))["message"] == "alone"


def test_sessions_of_channels_one_message_after_the_other(ask, opens):
    """Two workers, and `enforce_ordering`: what comes too early is put back until its turn. The replies may overtake each
    other: Channels 1.1 sends them after it has let the next one begin."""
    ask.classic()
    client = opens("/ordered/?name=ann")
    assert client.recv(10) == "hello ann"
    for number in range(1, 21):
        client.send(str(number))
    assert {client.recv(20) for _ in range(20)} == {f"ann {number} {number}" for number in range(1, 21)}
    client.close()
    until(lambda: "left ordered ann 20" in ask.noted, "the last one")


def test_who_is_logged_in(database, ask, opens, tmp_path):
    jar = tmp_path / "jar"
    assert ask.curl("/enter?name=ann", "-b", jar, "-c", jar) == "welcome"
    assert json.loads(ask.curl("/remember", "-b", jar, "-c", jar))["count"] == 1
    [cookie] = [line.split("\t")[-1] for line in jar.read_text().splitlines() if "sessionid" in line]
    client = opens("/user/x", additional_headers={"Cookie": f"sessionid={cookie}"})
    assert json.loads(client.recv(10)) == {"user": "ann", "count": 1, "path": "/user/x"}
    client = opens("/json/", additional_headers={"Cookie": f"sessionid={cookie}"})
    client.send('{"n": 1}')
    assert json.loads(client.recv(10)) == {"you": "ann", "said": {"n": 1}}
    assert json.loads(opens("/user/y").recv(10))["user"] == "AnonymousUser"


def test_a_class_of_ones_own(ask, opens):
    one, other = opens("/json/"), opens("/json/")
    one.send('{"n": 1}')
    assert json.loads(one.recv(10)) == {"you": "AnonymousUser", "said": {"n": 1}}
    one.send('{"to": "all"}')
    assert one.recv(10) == other.recv(10) == '{"to": "all"}'
    one.close(4003)
    until(lambda: "left json 4003" in ask.noted, "it hears of the end")


def test_what_a_reply_can_ask_for(ask, opens):
    for path in ("/replies/refused", "/replies/closed"):
        with pytest.raises(InvalidStatus) as refused:
            opens(path)
        assert refused.value.response.status_code == 403, path
    client = opens("/replies/")
    client.send(b"\0\xff")
    assert client.recv(10) == b"\0\xff"
    client.send('{"text": "goodbye", "close": true}')
    assert client.recv(10) == "goodbye" and code_of(client) == 1000
    client = opens("/replies/")
    client.send('{"close": 4000}')
    assert code_of(client) == 4000
    until(lambda: ask.noted.count("left user /replies/") == 2, "it is told of both ends")


def test_another_worker_goes_on_with_open_sockets(doors):
    doors.staffed()
    with doors.visit(), contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(f"ws://127.0.0.1:{port}/ordered/?name=bea", proxy=None))
                   for port in doors.ports.values()]
        for client in clients:
            assert client.recv(10) == "hello bea"
        assert doors.first.ends() == 0
        for client in clients:
            client.send("without a worker")
        doors.classic()
        for client in clients:
            assert client.recv(10) == "bea 1 without a worker"


@pytest.mark.parametrize("ask", ["twistd"], indirect=True)      # Daphne keeps sockets that no group knows any more
def test_a_flushed_redis_sheds_the_sockets(ask, opens):
    """Groups and sessions are gone, and nothing tells such a worker: ASGI 1 asks for it. The browser comes again."""
    client = opens("/chat/lobby/")
    client.send('{"handle": "ann", "message": "hi"}')
    client.recv(10)
    [redis] = ask.servers
    redis("FLUSHALL")
    assert code_of(client) == 1012
    again = opens("/chat/lobby/")
    again.send('{"handle": "ann", "message": "back"}')
    assert json.loads(again.recv(10))["message"] == "back"

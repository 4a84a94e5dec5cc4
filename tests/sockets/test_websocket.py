"""Stock Channels consumers behind a stock runworker behind a real twistd, asked by a stock client of another hand."""
import contextlib
import json
import os
import shutil
import signal
import ssl

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect, unix_connect

from tests.sockets.processes import House, free_port, until
from tests.sockets.test_twistd import certify

MIB = 1024 * 1024
OURS = "http://site.example"                    # an origin that the server and the site allow
UPGRADE = ("-H", "Connection: Upgrade", "-H", "Upgrade: websocket")
VERSION, KEY = ("-H", "Sec-WebSocket-Version: 13"), ("-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
HANDSHAKE = (*UPGRADE, *VERSION, *KEY)


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """One server on every kind of endpoint, one worker, one user."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (make ci-deps)")
    house = House(tmp_path_factory.mktemp("front"))
    house.tls, house.alone, house.unix = free_port(), free_port(), house.folder / "s"
    certify(house.folder / "pem", house.folder / "crt")
    house.environment["SITE_ALLOWED_HOSTS"] = "site.example,127.0.0.1,localhost"
    house.manage("migrate", "-v0")
    house.manage("shell", "-v0", "-c", "from django.contrib.auth.models import User; "
                 "User.objects.create_user('ada', '', 'pw')")
    house.server = house.twistd(
        "--http", f"ssl:{house.tls}:privateKey={house.folder}/pem:certKey={house.folder}/crt:interface=127.0.0.1",
        "--ws", f"tcp:{house.alone}:interface=127.0.0.1", "--http", f"unix:{house.unix}", "--ws-compression",
        "--ws-allowed-origins", f"{OURS}, http://other.example", "--ws-handshake-timeout", "1.5")
    house.first = house.sockets(house.server)
    yield house
    house.close()
    for program in house.programs:
        assert "Unhandled" not in program.text


@pytest.fixture
def opens(front):
    """`opens("/echo")`: a client, gone at the end of the test."""
    with contextlib.ExitStack() as clients:
        def to(where, url=None, **more):
            return clients.enter_context(connect((url or front.ws) + where, **{"proxy": None, "origin": OURS} | more))
        yield to


@pytest.fixture
def refused(opens):
    def by(path, **more):
        with pytest.raises(InvalidStatus) as raised:
            opens(path, **more)
        return raised.value.response
    return by


def end_of(client) -> tuple:
    """How the server closed: its code and its reason."""
    with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as raised:
        while True:
            client.recv(5)
    return raised.value.rcvd.code, raised.value.rcvd.reason


@pytest.mark.parametrize("path", ["/echo", "/sync"])
def test_stock_consumers_echo_text_and_bytes(opens, path):
    client = opens(path)
    for said in ("hello", "", "ü \U0001f600", b"\0\xff", b""):
        client.send(said)
        assert client.recv(5) == said
    client.send(["in ", "several ", "frames"])
    assert client.recv(5) == "in several frames"
    client.ping().wait(5)


def test_a_json_consumer_behind_the_whole_stack_knows_who_is_logged_in(front, opens):
    jar = str(front.folder / "jar")
    assert front.curl("/enter?name=ada&password=pw", "-b", jar, "-c", jar) == "welcome ada"
    [cookie] = [line.split("\t")[-1] for line in (front.folder / "jar").read_text().splitlines() if "sessionid" in line]
    headers = {"Cookie": f"sessionid={cookie}"}
    for total in (1, 3):
        client = opens("/json/caf%C3%A9", additional_headers=headers)
        client.send(json.dumps({"add": total}))
        assert json.loads(client.recv(5)) == {"user": "ada", "count": total if total == 1 else 4, "room": "café",
                                              "path": "/json/café", "client": "127.0.0.1", "scheme": "ws"}
    client = opens("/json/lobby")
    client.send('{"add": 1}')
    assert json.loads(client.recv(5))["user"] == "AnonymousUser"


def test_the_consumer_chooses_a_subprotocol_and_sets_headers(opens):
    client = opens("/chosen", subprotocols=["first", "second"])
    assert client.subprotocol == "second" and client.response.headers["x-from"] == "the consumer"
    assert client.recv(5) == "ws ['first', 'second']"
    assert opens("/chosen", subprotocols=["first"]).subprotocol is None


def test_a_consumer_refuses(front, opens, refused):
    assert refused("/refuse").status_code == 403
    answer = refused("/deny")
    assert (answer.status_code, answer.headers["x-price"], answer.body) == (402, "42", b"pay first")
    answer = refused("/fail")
    assert answer.status_code == 500 and b"a consumer that fails" not in answer.body
    front.first.says("RuntimeError: a consumer that fails")
    answer = refused("/held?nobody-decides")
    assert answer.status_code == 503
    until(lambda: "left undecided 1006" in front.noted, "the undecided consumer hears that it is over")
    assert refused("/nowhere").status_code == 500       # URLRouter raises


def test_who_is_refused_by_the_origin(front, opens, refused):
    evil = refused("/echo", origin="http://evil.example")
    assert evil.status_code == 403 and evil.body == b"this origin is not allowed\n"
    other = refused("/echo", origin="http://other.example")     # the server allows it, ALLOWED_HOSTS does not
    assert other.status_code == 403 and other.body != evil.body
    assert refused("/echo", origin=None).status_code == 403     # so has Channels' OriginValidator it
    assert front.curl("/hello", "-H", "Origin: http://evil.example") == "hello world", "HTTP is not concerned"


@pytest.mark.parametrize("path", ["/echo", "/sync"])
def test_codes_and_reasons_of_a_close_go_both_ways(front, opens, path):
    client = opens(f"{path}?by-the-server")
    client.send("close: 4001 that is all")
    assert end_of(client) == (4001, "that is all")
    for code, name in ((1000, "usual"), (4321, "own")):
        client = opens(f"{path}?{name}{path[1:]}")
        client.close(code, "goodbye")
        until(lambda code=code, name=name: f"left {front.first.process.pid} {code} {name}{path[1:]}" in front.noted, "heard")
    client = opens(f"{path}?lost{path[1:]}")
    client.socket.shutdown(2)
    until(lambda: f"left {front.first.process.pid} 1006 lost{path[1:]}" in front.noted, "it hears of a lost socket")
    assert sum(f"lost{path[1:]}" in line for line in front.noted) == 1


@pytest.mark.parametrize("path", ["/echo", "/sync"])
def test_one_mebibyte_goes_both_ways_and_no_more(opens, path):
    noise = os.urandom(MIB)
    client = opens(path, max_size=None)
    for said in (noise, "x" * MIB, "ü" * (MIB // 2)):
        client.send(said)
        assert client.recv(10) == said
    client.send(b"x" * (MIB + 1))
    assert end_of(client)[0] == 1009


def test_messages_are_deflated_for_who_asks(opens):
    client, plain = opens("/echo", max_size=None), opens("/echo", max_size=None, compression=None)
    assert client.protocol.extensions and not plain.protocol.extensions
    for one in (client, plain):
        one.send("again " * 1000)
        assert one.recv(5) == "again " * 1000
        one.send("again " * 1000)               # with what the window remembers
        assert one.recv(5) == "again " * 1000


def test_over_tls(front, opens):
    context = ssl.create_default_context(cafile=front.folder / "crt")
    client = opens("/chosen", url=f"wss://localhost:{front.tls}", ssl=context)
    assert client.recv(5) == "wss []"
    client = opens("/echo", url=f"wss://localhost:{front.tls}", ssl=context)
    client.send(noise := os.urandom(MIB))
    assert client.recv(10) == noise


def test_over_a_unix_socket(front, opens):
    with unix_connect(str(front.unix), "ws://site.example/echo", origin=OURS) as client:
        client.send("no network")
        assert client.recv(5) == "no network"
    assert f"left {front.first.process.pid} 1000 " in until(lambda: front.noted, "the consumer hears of the end")


def test_an_endpoint_of_its_own_speaks_nothing_else(front, opens):
    alone = f"127.0.0.1:{front.alone}"
    client = opens("/echo", url=f"ws://{alone}")
    client.send("alone")
    assert client.recv(5) == "alone"
    answer = front.curl("/hello", "-i", url=f"http://{alone}")
    assert answer.startswith("HTTP/1.1 426 ") and "upgrade: websocket" in answer.lower()


@pytest.mark.parametrize(("status", "arguments"), [
    (426, (*UPGRADE, *VERSION[:1], "Sec-WebSocket-Version: 8", *KEY)), (426, (*UPGRADE, *KEY)), (400, (*UPGRADE, *VERSION)),
    (400, (*UPGRADE, *VERSION, "-H", "Sec-WebSocket-Key: short")), (400, (*HANDSHAKE, "-X", "GET", "-d", "a body")),
    (400, (*HANDSHAKE, "-X", "POST", "-d", "")), (400, (*HANDSHAKE, "-H", "Sec-WebSocket-Extensions: ;;;")),
    (400, (*HANDSHAKE, "-H", "Sec-WebSocket-Protocol: a b")), (400, (*HANDSHAKE, "-H", "Sec-WebSocket-Protocol: a, a")),
])
def test_a_handshake_that_is_none(front, status, arguments):
    assert front.status("/fail", *arguments) == status      # 500 if the consumer were asked


def test_http_and_other_upgrades_go_on_beside_it(front, opens):
    client = opens("/echo")
    assert front.curl("/hello", "-H", "Connection: Upgrade", "-H", "Upgrade: h2c") == "hello world"
    assert front.curl("/hello", "--http1.0", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket") == "hello world"
    client.send("here")
    assert client.recv(5) == "here"


def test_groups_reach_every_member(opens):
    clients = [opens("/echo") for _ in range(5)]
    clients[0].send("all: to you")
    assert [client.recv(5) for client in clients] == ["to you"] * 5


def test_the_single_process_mode_speaks_websocket_too(house):
    house.twistd("--app", "site_asgi:sockets")
    with connect(f"{house.ws}/echo", proxy=None) as client:
        client.send("hello")
        assert client.recv(5) == "hello"


def test_the_server_is_told_to_stop(house):
    server = house.twistd()
    worker = house.sockets(server)
    with connect(f"{house.ws}/echo?stop", proxy=None) as client, connect(f"{house.ws}/sync?too", proxy=None) as other:
        server.process.terminate()
        assert end_of(client) == end_of(other) == (1001, "the server is going down")
    assert server.ends() in (0, -signal.SIGTERM)
    until(lambda: len(house.noted) == 2, "the consumers hear of it")
    assert set(house.noted) == {f"left {worker.process.pid} 1001 {name}" for name in ("stop", "too")}
    assert worker.process.poll() is None

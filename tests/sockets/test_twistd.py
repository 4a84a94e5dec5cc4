"""What twistd gives, and every kind of endpoint, on the real command."""
import datetime
import json
import os
import pwd
import re
import select
import signal
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from interfaces.layers import wire_local as wire
from tests.sockets.processes import free_port, until

TWISTD = Path(sys.executable).parent / "twistd"


def twistd(*arguments, **more) -> subprocess.CompletedProcess:
    return subprocess.run([TWISTD, *arguments], capture_output=True, text=True, timeout=60, **more)


def test_help_lists_the_plugin_and_every_interface_with_its_options():
    assert re.search(r"channels-interfaces\s+Turns HTTP", twistd("--help").stdout)
    text = " ".join(twistd("channels-interfaces", "--help").stdout.split())
    for option in ("--http=", "--http-timeout=", "--http-max-body=", "--http-max-connections=", "--trusted-proxies=",
                   "--root-path=", "--layer=", "--local-mode=", "--app=", "--access-log=", "--grace="):
        assert option in text, option
    assert "long-polls and event streams" in text and "tcp:8000:interface=127.0.0.1" in text


WRONG = (
    ([], "nothing to listen on"), (["--http", "8000", "--http-timeout", "soon"], "'soon' won't do"),
    (["--http", "8000", "--root-path", "app/"], "begins with a slash"), (["--http", "8000", "--local-mode", "9"], "octal"),
    (["--http", "8000", "--trusted-proxies", "10.0.0.0/99"], "won't do"), (["--nonsense"], "nonsense"),
    (["--http", "nonsense:8000"], "nonsense"), (["--http", "8000", "--layer", "carrier-pigeon:"], "there is no layer"),
    (["--http", "8000", "--app", "no_such_module:x"], "no_such_module"),
)
# What the command `twistd` is, in a fork for each line of arguments: most of its 0.8 s of CPU are imports. Prints how each
# ended. No reactor is chosen before the fork.
FORKS = """
import json, os, sys
import interfaces.service
from twisted.scripts.twistd import run

assert "twisted.internet.reactor" not in sys.modules
for number, arguments in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if not child:
        for output in (1, 2):
            os.dup2(os.open(str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND), output)
        sys.argv[1:] = ["-n", "--pidfile=", "channels-interfaces", *arguments]
        sys.exit(run())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_wrong_option_is_one_sentence(tmp_path):
    environment = dict(os.environ, CHANNELS_INTERFACES_SOCKET=str(tmp_path / "hub.sock"))
    done = subprocess.run([sys.executable, "-c", FORKS, json.dumps([arguments for arguments, _ in WRONG])], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.split() == ["1"] * len(WRONG), done.stdout + done.stderr
    for number, (arguments, said) in enumerate(WRONG):
        lines = (tmp_path / str(number)).read_text().strip().splitlines()
        assert said in lines[-1] and not any("Traceback" in line for line in lines), arguments


def test_it_daemonizes_with_a_pidfile_and_a_logfile_and_an_access_log_and_a_second_one_does_not_stay(house, patience):
    pidfile, logfile, access = (house.folder / name for name in ("pid", "log", "access"))

    def daemon(pidfile, logfile, *more):
        return twistd("--pidfile", pidfile, "--logfile", logfile, "channels-interfaces", *more, env=house.environment,
                      cwd=house.folder)
    done = daemon(pidfile, logfile, "--access-log", access, "--http", f"tcp:{house.port}:interface=127.0.0.1")
    assert done.returncode == 0, done.stderr
    pid = int(patience(lambda: pidfile.exists() and pidfile.read_text(), "the pidfile"))
    try:
        house.worker()
        assert house.curl("/hello?name=daemon", "-A", "test") == "hello daemon"
        line = patience(lambda: access.exists() and access.read_text(), "a line in the access log")
        assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /hello\?name=daemon HTTP/1\.1" 200 12\n', line)
        assert "is here" in logfile.read_text()
        others = house.folder / "second.pid", house.folder / "second.log"
        elsewhere = ["--layer", f"local:{house.folder}/other.sock"]
        for taken in (["--http", f"tcp:{house.port}:interface=127.0.0.1", *elsewhere], ["--http", "tcp:0:interface=127.0.0.1"]):
            done = daemon(*others, *taken)
            assert done.returncode == 1 and "An error has occurred" in done.stdout + done.stderr
            until(lambda: not others[0].exists(), "the daemon, which its parent does not wait for, is gone")
        assert house.curl("/hello") == "hello world"
    finally:
        os.kill(pid, signal.SIGTERM)
    patience(lambda: not pidfile.exists(), "the daemon removes its pidfile")
    assert not Path(house.environment["CHANNELS_INTERFACES_SOCKET"]).exists()


def test_it_runs_on_other_reactors(house):
    worker = house.worker()
    for reactor in ("asyncio", "poll", "select"):
        server = house.start(reactor, [TWISTD, "-n", "--pidfile=", f"--reactor={reactor}", "channels-interfaces",
                                       "--http", f"tcp:{house.port}:interface=127.0.0.1"])
        server.says(rf"\(pid {worker.process.pid}\) is here", 20)
        assert re.search(f"reactor class: .*{reactor}", server.text, re.I) and house.curl("/hello") == "hello world"
        assert server.ends() in (0, -signal.SIGTERM)


def another_user() -> pwd.struct_passwd:
    """Somebody to become: nobody, where the tests run as root; only root can become another."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def open_to_all(folder: Path):
    """pytest's temporary folders are closed to other users."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and stat.S_IMODE(each.stat().st_mode) == 0o700:
            each.chmod(0o755)


def test_the_hub_belongs_to_the_user_of_uid(house):
    user, home = another_user(), house.folder / "home"
    open_to_all(house.folder)
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    house.environment["CHANNELS_INTERFACES_SOCKET"] = str(home / "hub.sock")
    server = house.start("twistd", [TWISTD, "-n", "--pidfile=", "--uid", user.pw_uid, "--gid", user.pw_gid,
                                    "channels-interfaces", "--http", f"tcp:{house.port}:interface=127.0.0.1"])
    house.worker(server=server)         # root may use anybody's socket
    made = os.stat(home / "hub.sock")
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (user.pw_uid, 0o600)
    assert house.curl("/hello") == "hello world"


def test_workers_of_another_user_come_in_by_mode_and_group(house, patience):
    user = another_user()
    open_to_all(house.folder)
    house.twistd("--local-mode", "0660", "--local-group", user.pw_gid)
    hub = Path(house.environment["CHANNELS_INTERFACES_SOCKET"])
    patience(hub.exists, "the hub's socket")
    made = hub.stat()
    assert (made.st_gid, stat.S_IMODE(made.st_mode)) == (user.pw_gid, 0o660)
    child = os.fork()       # a program of that user's own could not read this environment
    if not child:
        welcomed = False
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(hub))
                hello = {"version": wire.VERSION, "process": "specific.other", "pid": 1}
                sock.sendall(wire.frame(wire.HELLO, "", wire.pack(hello)))
                welcomed = wire.Frames().feed(sock.recv(4096))[0][0] == wire.WELCOME
        finally:
            os._exit(0 if welcomed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_socket_that_systemd_has_opened(house):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", house.port))
        sock.listen()
        code = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), "
                "LISTEN_FDS='1', LISTEN_FDNAMES='http');"
                "os.execv(sys.argv[2], sys.argv[2:])")
        with (house.folder / "systemd.log").open("wb") as log:
            started = subprocess.Popen(
                [sys.executable, "-c", code, str(sock.fileno()), TWISTD, "-n", "--pidfile=", "channels-interfaces",
                 "--http", "systemd:domain=INET:index=0"],
                stdout=log, stderr=log, pass_fds=[sock.fileno()], env=house.environment, cwd=house.folder)
    try:
        house.worker()
        assert house.curl("/hello") == "hello world"
    finally:
        started.terminate()
        started.wait(15)


def test_several_endpoints_at_once_a_unix_socket_and_tls_with_alpn_which_is_told_to_the_application(house):
    pem, other, tls = house.folder / "pem", house.folder / "http.sock", free_port()
    certify(pem, house.folder / "crt")
    server = house.twistd("--http", f"unix:{other}", "--http",
                          f"ssl:{tls}:privateKey={pem}:certKey={house.folder}/crt:interface=127.0.0.1")
    house.worker(server=server)
    assert house.curl("/hello") == "hello world"
    assert house.curl("/hello", "--unix-socket", other) == "hello world"
    for offered in (["h2", "http/1.1"], []):
        context = ssl.create_default_context(cafile=house.folder / "crt")
        if offered:
            context.set_alpn_protocols(offered)
        data = over_tls(context, tls, b"GET /facts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 200 OK") and b'"scheme": "https"' in data and b'"secure": true' in data
    assert over_tls(context, tls, b"nonsense\r\n\r\n" + b"x" * 100_000).startswith(b"HTTP/1.1 400 ")
    assert house.curl("/hello", "--cacert", house.folder / "crt", "--resolve", f"localhost:{tls}:127.0.0.1",
                      url=f"https://localhost:{tls}") == "hello world"
    assert "Traceback" not in server.text and "Unhandled" not in server.text


def certify(key_file: Path, certificate_file: Path):
    """A certificate of its own for localhost."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
                   .sign(key, hashes.SHA256()))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def over_tls(context, port, said: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(said)
            data = sock.recv(65536)
            while b"\r\n\r\n" not in data or not data.partition(b"\r\n\r\n")[2]:
                data += sock.recv(65536)
            return data


def test_the_single_process_mode_needs_no_worker(house):
    house.twistd("--app", "site_asgi:wsgi")
    assert house.curl("/hello") == "hello world" and house.status("/nowhere") == 404
    assert not Path(house.environment["CHANNELS_INTERFACES_SOCKET"]).exists()


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), 10)
    except ConnectionRefusedError:
        return None


@pytest.mark.parametrize("limit", ["--http-max-connections", "--http-max-per-address"])
def test_limits_on_connections_count_all_listeners_and_close_what_is_over_them(house, limit):
    other = free_port()
    house.twistd(limit, "3", "--layer", f"local:{house.folder}/a", "--layer", f"b=local:{house.folder}/b",
                 "--http", f"b@tcp:{other}:interface=127.0.0.1")
    sockets = [until(lambda port=port: connected(port), "it listens") for port in (house.port, other, other, other, house.port)]
    try:
        until(lambda: len(select.select(sockets, [], [], 0.2)[0]) >= 2, "whichever came last are closed")
        closed = select.select(sockets, [], [], 0.2)[0]
        assert all(sock.recv(1) == b"" for sock in closed)
        assert len(closed) in (2, 3), "the connection that looked whether the port is open may count too"
    finally:
        for sock in sockets:
            sock.close()

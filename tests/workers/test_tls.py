"""Redis over TLS, server and worker each with a certificate; and an authority that is not the right one."""
import hashlib
import json

import pytest

from tests.sockets.processes import free_port
from tests.certificates import certify

pytestmark = pytest.mark.slow


@pytest.fixture
def tls_site(site, start_redis):
    """`site.trusts("authority")`: by whom the server's certificate must be. Clients need a certificate too."""
    folder = site.folder
    authority = certify(folder, "authority")
    certify(folder, "stranger")
    for name in ("127.0.0.1", "client"):
        certify(folder, name, authority)
    port = free_port()
    start_redis("--tls-port", str(port), "--tls-cert-file", f"{folder}/127.0.0.1.crt", "--tls-key-file",
                f"{folder}/127.0.0.1.key", "--tls-ca-cert-file", f"{folder}/authority.crt")

    def trusts(name):
        url, ca, own = f"rediss://127.0.0.1:{port}/0", f"{folder}/{name}.crt", f"{folder}/client"
        site.lives(f"{url}?tls_ca={ca}&tls_cert={own}.crt&tls_key={own}.key",
                   {"address": url, "ssl_ca_certs": ca, "ssl_certfile": f"{own}.crt", "ssl_keyfile": f"{own}.key"})
    site.trusts = trusts
    return site


def test_both_sides_over_tls_and_neither_talks_to_a_stranger(tls_site):
    site = tls_site
    site.trusts("stranger")
    server, worker = site.twistd(), site.modern("wsgi", "ours")
    assert {site.status("/hello") for _ in range(3)} == {503}
    worker.says("no connection to Redis at .*CERTIFICATE_VERIFY_FAILED")
    [line] = [line for line in server.text.splitlines() if "trying again" in line]
    assert "TLS: " in line and "certificate verify failed" in line
    assert worker.text.count("CERTIFICATE_VERIFY_FAILED") == 1
    for program in (server, worker):
        assert program.process.poll() is None and "Traceback" not in program.text
        program.ends()

    site.trusts("authority")
    server, worker = site.twistd(), site.modern("wsgi", "ours")
    assert site.curl("/hello?name=you") == "hello you"
    data = b"some bytes " * 300_000
    (site.folder / "body").write_bytes(data)
    answer = json.loads(site.curl("/digest", "--data-binary", f"@{site.folder}/body", seconds=60))
    assert (answer["size"], answer["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    for program in (server, worker):
        program.says("connected")
        assert program.process.poll() is None and "Traceback" not in program.text

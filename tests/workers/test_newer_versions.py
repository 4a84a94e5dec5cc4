"""Messages of a version that is yet to come: what is not known changes nothing."""
import pytest

from tests.workers.post import FORMATS, Post
from tests.workers.traffic import LINES

pytestmark = pytest.mark.slow
FUTURE = {"future": {"nested": [1, None, b"\xff", {"deeper": True}]}, "interface_version": 9, "deadline_of": None}


@pytest.fixture(params=FORMATS)
def posted(request, site):
    site.server = site.twistd(form=request.param)
    site.post = Post(site.servers[0], request.param)
    site.work = (lambda: site.modern("wsgi", "ours")) if request.param == "channels_redis" else site.classic
    return site


def asks(site, path):
    return site.start("curl", ["curl", "-sS", "-D-", f"{site.url}{path}"])


def test_what_is_not_known_changes_nothing(posted):
    site, post = posted, posted.post
    polls = [asks(site, f"/hello?name={number}") for number in range(3)]
    requests = [post.take("http.request") for _ in polls]
    for request in requests:
        post.put(request["reply_channel"], {"type": "interface.future", **FUTURE})
        post.put(request["reply_channel"], {"type": "interface.future.again", "id": request["reply_channel"], **FUTURE})

    answered = next(request for request in requests if request["query_string"] in (b"name=0", "name=0"))
    post.put(answered["reply_channel"], {"status": 200, "headers": [[b"X-Tag", b"one"]], "content": b"by hand", **FUTURE})
    assert polls[0].process.wait(10) == 0
    head, _, body = polls[0].text.replace("\r", "").partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK") and "X-Tag: one" in head and body == "by hand"
    assert polls[1].process.poll() is None and polls[2].process.poll() is None, "an unknown message answers nothing"

    for request in requests:
        if request is not answered:
            post.put("http.request", {**request, **FUTURE})
    worker = site.work()
    for number, poll in enumerate(polls[1:], 1):
        assert poll.process.wait(10) == 0 and poll.text.endswith(f"hello {number}"), poll.text
    for program in (site.server, worker):
        assert program.process.poll() is None and "Traceback" not in program.text
        assert len(program.text.splitlines()) < LINES

"""The application in a thread, over one end of a socket pair."""
import asyncio
import socket

import pytest
from channels.layers import channel_layers

from interfaces.worker.inprocess import serve_in_thread
from tests.worker.hosting import quiet_wsgi, started
from tests.worker.hub import Worker, dialogue, http_request


@pytest.fixture(autouse=True)
def configured_layer():
    before = channel_layers.backends.get("default")
    yield
    channel_layers.backends.pop("default", None)
    if before is not None:
        channel_layers.set("default", before)


def make():
    """What a project's asgi.py does at import."""
    from interfaces.worker import Wsgi, over_channels
    return over_channels({"http": Wsgi(quiet_wsgi(b"in process"), threads=2)})


class OnFirstUse:
    def __getattr__(self, name):
        if name != "made":
            raise AttributeError(name)
        self.made = make()
        return self.made


lazily = OnFirstUse()


@dialogue
async def test_it_answers_and_stops():
    ours, theirs = socket.socketpair()
    served = serve_in_thread("tests.worker.test_inprocess:lazily.made", theirs)
    worker = await Worker.behind(ours)
    await asyncio.wrap_future(served.ready)
    for _ in range(3):
        request = http_request()
        await started(worker, request)
        assert (await worker.replies()) == (request["reply_channel"], {
            "status": 200, "headers": [[b"Content-Type", b"text/plain"]], "content": b"in process", "more_content": False})
    await asyncio.to_thread(served.stop)
    assert not served.thread.is_alive()
    while (await worker.says())[0]:
        pass


@pytest.mark.parametrize("wrong, error", [("tests.worker.no_such:application", ModuleNotFoundError),
                                          ("tests.worker.site:application", AttributeError)])
@dialogue
async def test_an_application_that_cannot_be_imported_is_told(wrong, error):
    ours, theirs = socket.socketpair()
    with ours:
        served = serve_in_thread(wrong, theirs)
        with pytest.raises(error):
            await asyncio.wrap_future(served.ready)
        await asyncio.to_thread(served.thread.join)

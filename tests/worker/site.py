"""The URLs of a small Django project, for tests. No models, no templates."""
import itertools
import threading

from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

stuck = threading.Event()
closed = []                  # what streams had their close() called


def hello(request):
    return HttpResponse(b"hello", content_type="text/plain")


def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


def size(request):
    total = 0
    while data := request.read(65536):
        total += len(data)
    return HttpResponse(str(total))


def boom(request):
    raise RuntimeError("boom")


def ending(request):
    raise SystemExit(3)


class Numbers:
    def __init__(self, count, piece):
        self.count, self.piece = count, piece

    def __iter__(self):
        yield from itertools.repeat(self.piece, self.count)

    def close(self):
        closed.append(self)


def stream(request):
    return StreamingHttpResponse(Numbers(3, b"tick"), content_type="text/event-stream")


def endless(request):
    return StreamingHttpResponse(Numbers(10**9, bytes(32 * 1024)))


def broken(request):
    def pieces():
        yield b"begun"
        raise RuntimeError("in the middle")
    return StreamingHttpResponse(pieces())


def file(request):
    return FileResponse(open(__file__, "rb"))


def wait(request):
    stuck.wait()
    return HttpResponse(b"waited")


urlpatterns = [path(view.__name__, view) for view in
               (hello, echo, size, boom, ending, stream, endless, broken, file, wait)]

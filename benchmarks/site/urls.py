import time

from django.http import HttpResponse
from django.urls import path

HELLO = b"Hello, channels! 20b"
BIG = b"0123456789abcdef" * 640


def hello(request):
    return HttpResponse(HELLO, content_type="text/plain")


def big(request):
    """10,240 bytes."""
    return HttpResponse(BIG, content_type="text/plain")


def slow(request):
    """A view that waits 5 ms for something, as for a database."""
    time.sleep(0.005)
    return HttpResponse(HELLO, content_type="text/plain")


urlpatterns = [path("hello", hello), path("big", big), path("slow", slow)]

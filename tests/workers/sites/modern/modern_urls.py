import hashlib
import os
import time

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path


def hello(request):
    return HttpResponse(f"hello {request.GET.get('name', 'world')}", content_type="text/plain")


def facts(request):
    return JsonResponse({"method": request.method, "path": request.path, "host": request.get_host(),
                         "get": request.GET.dict(), "client": request.META.get("REMOTE_ADDR"), "pid": os.getpid(),
                         "tag": request.headers.get("X-Tag")})


def digest(request):
    sha, size = hashlib.sha256(), 0
    for piece in iter(lambda: request.read(65536), b""):
        sha.update(piece)
        size += len(piece)
    return JsonResponse({"size": size, "sha256": sha.hexdigest()})


def big(request):
    """`n` pieces of 64 KiB."""
    return StreamingHttpResponse((b"x" * 65536 for _ in range(int(request.GET["n"]))), content_type="text/plain")


def note(request):
    with open(os.environ["SITE_TRACE"], "a") as trace:
        trace.write(f"{request.GET['id']}\n")
    return HttpResponse("noted")


def slow(request):
    with open(os.environ["SITE_TRACE"], "a") as trace:
        trace.write(f"began {request.GET.get('id', '')}\n")
    time.sleep(float(request.GET.get("s", "1")))
    return HttpResponse("slept")


def fail(request):
    raise RuntimeError("a view that fails")


urlpatterns = [path(view.__name__, view) for view in (hello, facts, digest, big, note, slow, fail)]

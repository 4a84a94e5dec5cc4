import asyncio
import hashlib
import os
import time

from django.contrib import messages
from django.contrib.auth import authenticate, login
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def hello(request):
    return HttpResponse(f"hello {request.GET.get('name', 'world')}", content_type="text/plain")


def facts(request):
    """What reached Django of the request."""
    time.sleep(float(request.GET.get("s", "0")))
    return JsonResponse({
        "method": request.method, "path": request.path, "scheme": request.scheme, "host": request.get_host(),
        "secure": request.is_secure(), "get": request.GET.dict(), "cookies": request.COOKIES,
        "headers": dict(request.headers), "client": request.META.get("REMOTE_ADDR"), "pid": os.getpid(),
        "port": request.META.get("SERVER_PORT"), "protocol": request.META.get("SERVER_PROTOCOL")})


@csrf_exempt
def digest(request):
    """Size and SHA-256 of the body, or of an uploaded file."""
    sha, size = hashlib.sha256(), 0
    chunks = request.FILES["file"].chunks(65536) if request.FILES else iter(lambda: request.read(65536), b"")
    for chunk in chunks:
        sha.update(chunk)
        size += len(chunk)
    return JsonResponse({"size": size, "sha256": sha.hexdigest(), "length": request.META.get("CONTENT_LENGTH")})


def token(request):
    return HttpResponse(get_token(request))


def remember(request):
    """Session, CSRF and messages, with stock middleware."""
    request.session["count"] = request.session.get("count", 0) + 1
    messages.info(request, f"note {request.session['count']}")
    return JsonResponse({"count": request.session["count"], "notes": [str(note) for note in messages.get_messages(request)]})


def enter(request):
    user = authenticate(request, username=request.GET["name"], password=request.GET["password"])
    if user is None:
        return HttpResponse("who are you?", status=401)
    login(request, user)
    return HttpResponse(f"welcome {user}")


def private(request):
    return HttpResponse(f"you are {request.user}", status=200 if request.user.is_authenticated else 403)


def stream(request):
    return StreamingHttpResponse((f"{number}\n" for number in range(int(request.GET.get("n", 5)))), content_type="text/plain")


def big(request):
    """`n` pieces of 64 KiB."""
    return StreamingHttpResponse((b"x" * 65536 for _ in range(int(request.GET["n"]))), content_type="text/plain")


async def ticks():
    for number in range(3):
        yield f"data: {number}\n\n"
        await asyncio.sleep(0.05)


async def events(request):
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def sync_events(request):
    def beats():
        for number in range(3):
            yield f"data: {number}\n\n"
            time.sleep(0.05)
    return StreamingHttpResponse(beats(), content_type="text/event-stream")


def file(request):
    return FileResponse(open(__file__, "rb"), filename="site_urls.py")


def slow(request):
    with open(os.environ.get("SITE_TRACE", os.devnull), "a") as trace:
        trace.write(f"began {request.GET.get('id', '')}\n")
    time.sleep(float(request.GET.get("s", "1")))
    return HttpResponse("slept")


async def wait(request):
    """A held request of an asynchronous view; it notes when it is cancelled."""
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        with open(os.environ["SITE_TRACE"], "a") as trace:
            trace.write("cancelled\n")
        raise
    return HttpResponse("waited")


def fail(request):
    raise RuntimeError("a view that fails")


urlpatterns = [path(view.__name__, view) for view in (
    hello, facts, digest, token, remember, enter, private, stream, big, events, sync_events, file, slow, wait, fail)]

"""Ordinary views. They know nothing of channels."""
import hashlib
import os

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def hello(request):
    return HttpResponse("hello " + request.GET.get("name", "world"), content_type="text/plain")


def facts(request):
    return JsonResponse({
        "method": request.method, "path": request.path, "scheme": request.scheme, "host": request.get_host(),
        "get": request.GET.dict(), "cookies": request.COOKIES, "client": request.META["REMOTE_ADDR"],
        "port": request.META["SERVER_PORT"], "tag": request.META.get("HTTP_X_TAG"), "pid": os.getpid()})


@csrf_exempt
def digest(request):
    """Size and SHA-256 of the body, or of an uploaded file."""
    data = request.FILES["file"].read() if request.FILES else request.body
    return JsonResponse({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def token(request):
    return HttpResponse(get_token(request))


def remember(request):
    """Session, CSRF and messages, with stock middleware."""
    request.session["count"] = request.session.get("count", 0) + 1
    messages.info(request, f"note {request.session['count']}")
    notes = [str(note) for note in messages.get_messages(request)]
    return JsonResponse({"count": request.session["count"], "notes": notes})


def enter(request):
    login(request, User.objects.get_or_create(username=request.GET["name"])[0])
    return HttpResponse("welcome")


def stream(request):
    return StreamingHttpResponse(f"{number}\n" for number in range(int(request.GET.get("n", 5))))


def big(request):
    """`n` pieces of 64 KiB."""
    return StreamingHttpResponse(b"x" * 65536 for _ in range(int(request.GET["n"])))


def fail(request):
    raise RuntimeError("a view that fails")


urlpatterns = [path(view.__name__, view) for view in (hello, facts, digest, token, remember, enter, stream, big, fail)]

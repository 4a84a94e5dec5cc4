"""The plain pages. What is held open is in held.py."""
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django import forms
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_POST

from room.held import GROUP
from room.models import Line

LineForm = forms.modelform_factory(Line, fields=["name", "text"])


@require_GET
@ensure_csrf_cookie
def page(request):
    return render(request, "room.html")


@require_POST
def say(request):
    form = LineForm(request.POST)
    if not form.is_valid():
        return JsonResponse(form.errors, status=400)
    form.save()
    async_to_sync(get_channel_layer().group_send)(GROUP, {"type": "room.changed"})
    return HttpResponse(status=204)

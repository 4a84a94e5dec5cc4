"""The page. What it says and hears is in consumers.py."""
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def page(request):
    return render(request, "room.html")

from django.db import models


class Line(models.Model):
    """Something that somebody said. Its number grows in the order of the commits: SQLite has one writer at a time."""
    name = models.CharField(max_length=40)
    text = models.CharField(max_length=500)
    at = models.DateTimeField(auto_now_add=True)
    key = models.CharField(max_length=60, unique=True, null=True)       # the page's own: what is said twice is there once

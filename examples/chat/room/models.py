from django.db import models


class Line(models.Model):
    """Something that somebody said. Its number grows in the order of the commits: SQLite has one writer at a time."""
    name = models.CharField(max_length=40)
    text = models.CharField(max_length=500)
    at = models.DateTimeField(auto_now_add=True)
    key = models.CharField(max_length=60, unique=True, null=True)       # the page's own: what is said twice is there once


class Device(models.Model):
    """What a device has said last."""
    name = models.SlugField(max_length=40, primary_key=True)
    temperature = models.FloatField(null=True)                          # degrees Celsius
    power = models.CharField(max_length=3)                              # "on", "off"; "" of one that has no switch
    at = models.DateTimeField(auto_now=True)

    def said(self) -> dict:
        return {"name": self.name, "temperature": self.temperature, "power": self.power}

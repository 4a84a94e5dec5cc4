"""What pages and devices may say. Plain forms: those of a model would ask the database, which an asynchronous consumer may
not."""
from django import forms

POWER = [("on", "on"), ("off", "off")]


class Text(forms.CharField):
    def to_python(self, value):
        text = super().to_python(value)
        if any("\ud800" <= letter <= "\udfff" for letter in text):      # JSON can write halves of characters, UTF-8 can't
            raise forms.ValidationError("There is half a character in it.")
        return text


class NameForm(forms.Form):
    name = Text(max_length=40)


class LineForm(forms.Form):
    text = Text(max_length=500)
    key = Text(max_length=60)


class DeviceForm(forms.Form):
    name = forms.SlugField(max_length=40)


class TemperatureForm(forms.Form):
    key = "temperature"
    temperature = forms.FloatField(min_value=-273.15, max_value=10_000)     # absolute zero; a guess


class PowerForm(forms.Form):
    key = "power"
    power = forms.ChoiceField(choices=POWER)


class SwitchForm(forms.Form):
    switch = forms.SlugField(max_length=40)
    to = forms.ChoiceField(choices=POWER)

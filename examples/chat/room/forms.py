"""What a page may say. Plain forms: those of a model would ask the database, which an asynchronous consumer may not."""
from django import forms


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

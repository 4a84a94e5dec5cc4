"""Formats: what fits, what does not, and what a conversion may cost."""
import time

import pytest

from interfaces.http.messages import REPLIES, HttpRequest, HttpResponse
from interfaces.schema import BadMessage, Headers, Neutral, Replies, Spelling, document, key, message

READ = Replies(REPLIES).read


@message("test.thing", question=True)
class Thing:
    """A thing."""
    name: str = key("its name")
    size: int = key("in bytes", 7)
    tags: list[str] = key("none by default", [])
    more: dict | None = key("anything", None)


def test_a_message_goes_there_and_back():
    thing = Thing("x", 3, ["a"], {"k": 1})
    form = Thing.__message__
    encoded = form.encode(thing)
    assert encoded == {"type": "test.thing", "name": "x", "size": 3, "tags": ["a"], "more": {"k": 1}}
    assert form.decode(encoded) == thing and (form.name, form.channel, form.question) == ("test.thing", "test.thing", True)


def test_absent_and_none_are_the_same_and_defaults_are_not_shared():
    thing = Thing.__message__.decode({"name": "x", "size": None})
    assert thing == Thing("x", 7, [], None) and Thing("a").tags is not Thing("b").tags


@pytest.mark.parametrize("wrong", [{}, {"name": b"x"}, {"name": "x", "size": True}, {"name": "x", "size": "3"},
                                   {"name": "x", "tags": "ab"}, {"name": "x", "tags": [1]}, {"name": "x", "more": []}])
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(BadMessage):
        Thing.__message__.decode(wrong)


def test_a_key_of_a_type_that_no_layer_carries_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="no layer carries"):
        @message("test.bad")
        class Bad:
            when: complex = key("")


@pytest.mark.parametrize(("reply", "event"), [
    ({"status": 200, "headers": [[b"a", b"b"]], "content": b"x"}, HttpResponse(200, [[b"a", b"b"]], b"x", False)),
    ({"content": b"x", "more_content": True}, HttpResponse(None, [], b"x", True)),
    ({"type": "http.response", "status": 200}, HttpResponse(200, [], b"", False)),
    ({"type": "chat.answer", "status": 200, "content": b"x"}, HttpResponse(200, [], b"x", False)),
    ({"type": "http.response.start", "status": 200}, HttpResponse(200, [], b"", True)),
    ({"type": "http.response.body", "body": b"x"}, HttpResponse(None, [], b"x", False)),
    ({"type": None, "status": 200}, HttpResponse(200, [], b"", False)),
    ({"type": "interface.send", "text": "hi", "topic": "t"}, Neutral(text="hi", topic="t")),
])
def test_all_spellings_of_a_reply_become_the_same_event(reply, event):
    assert READ(reply) == event


@pytest.mark.parametrize("reply", [
    {}, {"type": "chat.answer"}, {"type": "chat.answer", "status": 200}, {"type": 3, "status": 200},
    {"type": "http.response.start"}, {"type": "http.response.start", "status": "200"}, {"status": True},
    {"status": 200, "headers": [[b"a"]]}, {"status": 200, "headers": [["a", b"b"]]}, {"content": "text"},
])
def test_what_is_no_reply_is_refused(reply):
    with pytest.raises(BadMessage):
        READ(reply)


def test_a_spelling_that_leaves_out_what_its_event_needs_is_refused():
    with pytest.raises(TypeError, match="gives no name"):
        Replies((Spelling("test.short", Thing, {"size": "size"}),))


def test_the_documents_name_every_key():
    class Interface:
        name, summary, sends, replies = "test", "For a test.", (Thing,), REPLIES
    text = document(Interface)
    assert "`test.thing` (a question)" in text and "| tags | [str] | none by default |" in text
    assert "| more_content | bool |" in text and "| text | str or None |" in text


def best(function, rounds=30, times=200) -> float:
    """Microseconds of one call, in the quietest of the rounds."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(times):
            function()
        found.append((time.perf_counter() - began) / times * 1e6)
    return min(found)


def test_a_conversion_stays_under_its_budget_of_eight_microseconds():
    headers: Headers = [[b"accept", b"*/*"]] * 12
    request = HttpRequest("1.1", "GET", "http", "/", b"/", b"", "", headers)
    encoded = HttpRequest.__message__.encode(request)
    assert best(lambda: HttpRequest.__message__.encode(request)) < 8
    assert best(lambda: HttpRequest.__message__.decode(encoded)) < 8
    reply = {"status": 200, "headers": headers, "content": b"x"}
    assert best(lambda: READ(reply)) < 8

"""Topics routed as URLs are: by Django's path converters."""
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.urls.resolvers import RoutePattern


@dataclass(frozen=True)
class Route:
    """`handler`: a function, called with the consumer, or a class, made once for each connection with the consumer."""
    pattern: RoutePattern
    handler: Callable
    kwargs: dict


def mqtt_path(route: str, handler, kwargs: dict | None = None) -> Route:
    """As `django.urls.path`: `mqtt_path("devices/<slug:id>/up", handler)`, for the whole of a topic.

    A function, or a method of the consumer, is called with (consumer, topic, payload, **kwargs). Of a class an instance is made
    with (consumer), once for each connection; its `received(topic, payload, **kwargs)` is called. The keyword arguments are
    those of `received`; over them `kwargs`; and over those what the converters found."""
    if isinstance(route, str) and not {"+", "#"}.isdisjoint(route):
        raise ImproperlyConfigured(f"{route!r} has a wildcard of MQTT: mqtt_path knows <str:name> and, for several levels, "
                                   "<path:name>")
    if not callable(handler) or inspect.isclass(handler) and not hasattr(handler, "received"):
        raise ImproperlyConfigured(f"{route!r} leads to a function, or a class with a method received, not to {handler!r}")
    return Route(RoutePattern(route, is_endpoint=True), handler, kwargs or {})


class MqttRouter:
    """The first route that matches counts. What is held by it are routes only: one serves all connections."""

    def __init__(self, routes):
        self.routes = tuple(routes)
        for route in self.routes:
            if not isinstance(route, Route):
                raise ImproperlyConfigured(f"routes are made by mqtt_path: {route!r}")

    def match(self, topic: str) -> tuple[Route, dict] | None:
        """The route, and the keyword arguments that it adds."""
        for route in self.routes:
            found = route.pattern.match(topic)
            if found is not None:
                return route, {**route.kwargs, **found[2]}
        return None

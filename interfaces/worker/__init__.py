"""What a Django project imports: a channel layer, and the application that a stock `manage.py runworker` hosts.

    from interfaces.worker import Wsgi, over_channels
    application = over_channels({"http": Wsgi(get_wsgi_application()), "websocket": URLRouter([...])})

and `manage.py runworker http.request websocket.connect`.
"""


def __getattr__(name: str):
    # Not imported above: `interfaces.worker.layers` is named in the settings, and imported before they are ready.
    if name == "over_channels":
        from interfaces.worker.application import over_channels
        return over_channels
    if name == "Wsgi":
        from interfaces.worker.wsgi import Wsgi
        return Wsgi
    if name == "Resumable":
        from interfaces.worker.resumable import Resumable
        return Resumable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Resumable", "Wsgi", "over_channels"]

"""What a Django project imports: a channel layer, and the application that a stock `manage.py runworker` hosts.

    from interfaces.worker import Wsgi, over_channels
    application = over_channels({"http": Wsgi(get_wsgi_application())})
"""


def __getattr__(name: str):
    # Not imported above: `interfaces.worker.layers` is named in the settings, and imported before they are ready.
    if name == "over_channels":
        from interfaces.worker.application import over_channels
        return over_channels
    if name == "Wsgi":
        from interfaces.worker.wsgi import Wsgi
        return Wsgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Wsgi", "over_channels"]

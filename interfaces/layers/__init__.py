"""Channel layers. A layer is chosen by a URL; nothing here imports a reactor."""
KNOWN = "local: (a hub for the workers of this machine), local:/path/of/a.sock, or memory: (this process only)"


def open_layer(url: str, reactor, **settings):
    """The layer that a URL names, not listening yet. Settings: `mode`, `group` of the hub's socket, and shared.Limits.
    Raises ValueError."""
    from interfaces.layers import wire_local
    from interfaces.layers.local import LocalLayer
    scheme, mark, path = url.partition(":")
    if scheme == "memory" and mark and not path:
        for name in ("mode", "group"):
            settings.pop(name, None)
        return LocalLayer(reactor, None, **settings)
    if scheme == "local" and mark and (not path or path.startswith("/")):
        return LocalLayer(reactor, path or wire_local.default_path(), **settings)
    raise ValueError(f"there is no layer {url!r}; layers are {KNOWN}")

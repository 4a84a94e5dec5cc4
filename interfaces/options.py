"""The command line `twistd channels-interfaces`: the common options, and those of every interface that is installed."""
import re
from dataclasses import MISSING, fields

from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from interfaces.layers.configured import Configured, read
from interfaces.registry import find

BACKLOG = 1024      # Twisted's 50 loses SYNs for a second in a burst of connects
LISTENER = (        # what every listening interface has, beside its own options
    ("max-connections", 50_000, "connections at one time in all; more are closed at once (0: no limit)"),
    ("max-per-address", 20_000, "connections at one time from one address (0: no limit)"),
)
COMMON = (
    ("local-mode", "0600", "mode of the hub's socket, octal (0660 with --local-group for workers of other users)"),
    ("local-group", "", "group of the hub's socket"),
    ("app", "", "module:name of an over_channels application to run in this process (development): no worker needed"),
    ("access-log", "", "file for access lines in the common log format; - for standard output"),
    ("max-message", 2 * 1024 * 1024, "bytes a message to the workers may have"),
    ("max-buffer", 16 * 1024 * 1024, "bytes that may wait for a peer that does not read, before its connection is ended"),
    ("prefer-release", False, "give what is new to the workers of the newest release alone (over_channels(..., release=...)), "
     "so that a deploy drains the old one by itself"),
    ("resume-timeout", 60.0, "seconds that a connection waits for a worker when its own is gone, before it is ended"),
    ("owner-ping", 10.0, "seconds between two questions whether the worker that owns a connection lives, where the layer does "
     "not tell (Redis): it is lost when it was silent at three of them"),
    ("credit", 64, "messages that may be out to the worker that owns a connection, before its socket is read no further"),
    ("grace", 10.0, "seconds that connections get to finish when the server is stopped"),
)
LAYER = ("a channel layer, as a URL: local: or local:/path/of/a.sock (a hub on a Unix socket), memory:, redis://..., "
         "or django:mysite.settings (what CHANNEL_LAYERS says there). name=URL names one of several, and --http name@8001 "
         "listens for it. May be given again. [default: local:]")
NAME = r"([a-zA-Z][a-zA-Z0-9_-]*)"      # of a layer: no URL has it before a =, and no endpoint string before an @


def endpoint(reactor, text: str):
    """A Twisted server endpoint from a bare port or an endpoint string. Raises ValueError."""
    if text.isdigit():
        text = f"tcp:{text}"
    if text.partition(":")[0] in ("tcp", "tcp6", "ssl", "unix") and ":backlog=" not in text:
        text += f":backlog={BACKLOG}"
    return serverFromString(reactor, text)


def parser(default, parse):
    """How the text of an option becomes its value: `parse`, or the type of its default."""
    return parse or (type(default) if default is not None else str)


def switch(key, help):
    def opt(self):
        self.chosen[key] = True
    opt.__doc__ = help
    return opt


def valued(key, parse, help, many=False):
    def opt(self, value):
        try:
            value = parse(value)
        except ValueError as error:
            raise UsageError(f"{value!r} won't do: {error}") from None
        self.chosen[key] = (*self.chosen.get(key, ()), value) if many else value
    opt.__doc__ = help
    return opt


def named(mark: str, text: str) -> tuple[str, str]:
    """(name, the rest) of `name=rest` or `name@rest`; ("", text) where there is no name."""
    found = re.fullmatch(f"{NAME}{mark}(.*)", text, re.DOTALL)
    return found.groups() if found else ("", text)


def default_of(f):
    return f.default if f.default_factory is MISSING else f.default_factory()


def methods(interfaces) -> dict:
    """One `opt_` method for each option, which is how usage.Options learns of them. camelCase and opt_ are Twisted's."""
    found = {}

    def add(name, method):
        found["opt_" + name.replace("-", "_")] = method

    add("layer", valued((None, "layer"), str, LAYER, many=True))
    add("check", switch((None, "check"), "Check the layers and their settings, print a line for each finding, and exit: "
                                         "with 1 when something is wrong."))
    for name, default, help in COMMON:
        add(name, switch((None, name), help) if default is False else
            valued((None, name), parser(default, None), f"{help} [default: {default}]" if default != "" else help))
    for interface in interfaces.values():
        if interface.role != "connect":
            add(interface.name, valued((interface.name, None), str,
                f"{interface.summary} Listen on a port, or on a Twisted endpoint such as tcp:8000:interface=127.0.0.1, "
                "unix:/run/x.sock, ssl:443:privateKey=...:certKey=..., systemd:domain=INET:index=0. May be given again.",
                many=True))
            for name, default, help in LISTENER:
                add(f"{interface.name}-{name}", valued((interface.name, name), int, f"{help} [default: {default}]"))
        for f in fields(interface.options) if interface.options else ():
            default, help, parse = default_of(f), f.metadata["help"], f.metadata["parse"]
            name = f.metadata["flag"] or f"{interface.name}-{f.name.replace('_', '-')}"
            if isinstance(default, bool):
                add(name, switch((interface.name, f.name), help))
            else:
                many = isinstance(default, tuple)
                shown = f" [default: {default}]" if default not in ("", (), None) else ""
                add(name, valued((interface.name, f.name), parser(default, parse), help + shown, many))
    return found


class CommandLine(UsageOptions):
    """Parsed options. `layers` is {layer name: URL or Configured}; `listen` is [(interface name, endpoint string, layer
    name), ...]; `common` and `listener` hold numbers and texts by option name; `settings` the frozen options value of
    each interface."""
    longdesc = ("Hosts protocol endpoints and answers them by Django workers behind a channel layer. "
                "Start workers with `python manage.py runworker http.request`.")

    def __init__(self):
        self.chosen = {}
        super().__init__()

    def opt_version(self):
        """Show the version and exit."""
        from interfaces import __version__
        print("channels-interfaces", __version__)
        raise SystemExit(0)

    def postOptions(self):
        for fault in self.faults:
            print(fault)
        chosen = self.chosen
        self.common = {name: chosen.get((None, name), default) for name, default, _ in COMMON}
        self.choose_layers(chosen.get((None, "layer"), ()))
        self.choose_listeners()
        self.settings, self.listener = {}, {}
        for name, interface in self.interfaces.items():
            self.listener[name] = {key: chosen.get((name, key), default) for key, default, _ in LISTENER}
            if interface.options is not None:
                own = {f.name: chosen[name, f.name] for f in fields(interface.options) if (name, f.name) in chosen}
                try:
                    self.settings[name] = interface.options(**own)
                except ValueError as error:
                    raise UsageError(f"--{name}: {error}") from None
        try:
            int(self.common["local-mode"], 8)
        except ValueError:
            raise UsageError(f"--local-mode {self.common['local-mode']}: an octal mode such as 0660 is needed") from None
        if any(isinstance(layer, Configured) and layer.native is None for layer in self.layers.values()):
            self.choose_reactor()
        if (None, "check") in chosen:
            from interfaces.check import main       # before twistd becomes a daemon: its words are for the terminal
            raise SystemExit(main(self))

    def choose_layers(self, given):
        """By name; the one without a name, or else the first, is for the listeners without one."""
        self.layers = {}
        for text in given or ("local:",):
            name, url = named("=", text)
            if name in self.layers:
                raise UsageError(f"--layer {name}=: two layers have this name" if name
                                 else "two layers without a name: --layer name=URL, and listeners name@8000")
            try:
                self.layers[name] = read(url.removeprefix("django:")) if url.startswith("django:") else url
            except ValueError as error:
                raise UsageError(f"--layer {text}: {error}") from None
        if self.common["app"]:
            if given and list(self.layers.values()) != ["memory:"]:
                raise UsageError("--app runs the application in this process, on a layer of its own: leave --layer out")
            self.layers = {"": "memory:"}

    def choose_listeners(self):
        usual = "" if "" in self.layers else next(iter(self.layers))
        self.listen = []
        for interface in self.interfaces:
            for text in self.chosen.get((interface, None), ()):
                name, text = named("@", text)
                if name and name not in self.layers:
                    raise UsageError(f"--{interface} {name}@{text}: there is no --layer {name}=URL")
                self.listen.append((interface, text, name or usual))
        if (None, "check") in self.chosen:
            return
        if not self.listen:
            raise UsageError("nothing to listen on: give at least one of "
                             + ", ".join(f"--{i.name}" for i in self.interfaces.values() if i.role != "connect"))
        for name in self.layers.keys() - {layer for _, _, layer in self.listen}:
            raise UsageError(f"nothing listens for the layer {name or 'without a name'}"
                             + (f": --http {name}@8001" if name else ""))

    def choose_reactor(self):
        from interfaces.layers.foreign import install_reactor
        try:
            install_reactor()
        except ValueError as error:
            raise UsageError(str(error)) from None


def options_class() -> type:
    interfaces, faults = find()
    return type("Options", (CommandLine,), dict(methods(interfaces), interfaces=interfaces, faults=faults,
                                                __module__=__name__, __doc__=CommandLine.__doc__))

"""Finds the interfaces that are installed. The built-in ones are found in the same way as a stranger's."""
from importlib.metadata import entry_points

from interfaces.contract import Interface

GROUP = "channels_interfaces"


def find() -> tuple[dict[str, Interface], list[str]]:
    """The installed interfaces by name, and a sentence for each one that can't be used."""
    found, faults = {}, []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            interface = entry.load()
        except Exception as error:      # a stranger's package: whatever it raises must not take the others with it
            faults.append(f"the interface {entry.name!r} ({entry.value}) can't be loaded: {type(error).__name__}: {error}")
            continue
        if not isinstance(interface, Interface):
            faults.append(f"{entry.value} is not an interfaces.Interface")
        elif interface.name in found and found[interface.name] is not interface:
            faults.append(f"two interfaces are called {interface.name!r}; the one of {entry.value} is not used")
        else:
            found[interface.name] = interface
    return found, faults

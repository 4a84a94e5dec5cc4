"""What every layer keeps. One suite, on a clock: give it a Harness, and run each of `checks(harness)`.

A check is a coroutine function of a Harness and raises AssertionError. It awaits whatever the layer gives, so it runs
under `ensureDeferred` as well as, where everything happens at the call, by hand (`run`). A layer that doesn't push by
credit (one whose readers pull, as from Redis) leaves `credit` False, and is spared the checks that speak of it; one that
keeps all messages of a channel equally long, whatever their deadline, leaves `expiries` False.

The checks are in a file for each subject. What a harness has to be is in harness.py; import from here.
"""
from interfaces.layers.conformance import addresses, channels, groups, messages, owners, readers
from interfaces.layers.conformance.harness import CREDIT, EVERY, EXPIRIES, Harness, Server, Worker
from interfaces.layers.conformance.harness import checks, numbers, opened, refused, run

__all__ = ["CREDIT", "EVERY", "EXPIRIES", "Harness", "Server", "Worker", "checks", "numbers", "opened", "refused", "run",
           "addresses", "channels", "groups", "messages", "owners", "readers"]

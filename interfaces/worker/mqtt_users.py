"""Who a client is, in a form that a channel layer carries: for the worker that has the connection next."""
from django.apps import apps
from django.db.models import Model

PLAIN = (type(None), bool, int, float, str, bytes)


def packed(user) -> list | None:
    """None if it can't be carried; then the next worker has to ask again."""
    if isinstance(user, Model) and user.pk is not None:
        return ["model", user._meta.label, user._meta.pk.value_to_string(user)]
    if isinstance(user, PLAIN):
        return ["value", user]
    return None


def unpacked(found: list):
    """What `packed` gave, as it is now. A row that is gone, and an account that is not active any more, are None."""
    kind, *rest = found
    if kind == "value":
        return rest[0]
    label, pk = rest
    user = apps.get_model(label)._default_manager.filter(pk=pk).first()
    return user if getattr(user, "is_active", True) else None

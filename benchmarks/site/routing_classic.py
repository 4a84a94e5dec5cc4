"""Nothing: what has no route of its own goes to the views."""
channel_routing = []

"""Consumers that keep what they know when their connection goes from one worker to the next."""
import logging
from inspect import iscoroutinefunction

from channels.db import database_sync_to_async

from interfaces.worker.session import current

logger = logging.getLogger("interfaces.worker")


class Resumable:
    """Before a consumer of Channels: `class Chat(Resumable, AsyncWebsocketConsumer)`. Both methods may be `async def`.

    `get_state()` gives what a layer carries (None, bool, int, float, str, bytes, lists and dicts of them, 64 KiB at most). It
    is called when this worker leaves, between two messages; with `state_on_every_message` after each of them, so that a
    worker that is killed loses nothing either. `restore(state)` is called in the next worker, before `connect()`; not if
    there is no state. A connection without this is begun anew by `connect()`: its peer notices neither."""
    state_on_every_message = False

    def get_state(self):
        raise NotImplementedError(f"{type(self).__name__} is Resumable and has no get_state()")

    def restore(self, state):
        raise NotImplementedError(f"{type(self).__name__} is Resumable and has no restore(state)")

    async def __call__(self, scope, receive, send):
        self.session = current.get(None)                 # None where something else hosts it
        if self.session is not None:
            self.session.resumable = self
        await super().__call__(scope, receive, send)

    async def dispatch(self, message):
        if message["type"] == f"{self.scope['type']}.connect":
            state = self.scope.get("extensions", {}).get("interface.resumed", {}).get("state")
            if state is not None:
                await self.in_turn(self.restore, state)
        await super().dispatch(message)
        if self.state_on_every_message and self.session is not None:
            self.session.keep(await self.last_state())

    async def in_turn(self, call, *args):
        """As the consumer's own handlers are run: those of a SyncConsumer in its thread."""
        if iscoroutinefunction(call):
            return await call(*args)
        return await database_sync_to_async(call)(*args) if self._sync else call(*args)

    async def last_state(self) -> dict:
        """{"state": ...}, or {} when it can't be got: then the next worker gets the one before."""
        try:
            return {"state": await self.in_turn(self.get_state)}
        except Exception:
            logger.exception("%s.get_state() failed", type(self).__name__)
            return {}

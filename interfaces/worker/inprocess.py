"""The single-process mode: the application of `over_channels` in a thread of the interface server's own process.

The channel layer's socket is one end of a socket pair; all else is as in a worker process: same messages, same code."""
import asyncio
import importlib
import logging
import socket
import threading
from concurrent.futures import Future

logger = logging.getLogger("interfaces.worker")
CHANNELS = ("http.request", "websocket.connect", "mqtt.connect")
STOP_TIME = 5.0              # seconds, a guess: how long `stop` waits for the thread
LAST_WORDS = 2.0             # seconds, a guess: how long consumers have to hear that their connections are over
LOOK = 0.02                  # seconds between looks at what still runs, a guess


def serve_in_thread(application_path: str, sock: socket.socket, channels=CHANNELS) -> "InProcess":
    """Run `module:attribute` as a stock runworker would, over `sock`. Returns at once; `ready` (a concurrent Future) is
    done when the application is imported, or has the exception that its import raised."""
    return InProcess(application_path, sock, tuple(channels))


class InProcess:
    def __init__(self, application_path: str, sock: socket.socket, channels: tuple[str, ...]):
        self.application_path, self.sock, self.channels = application_path, sock, channels
        self.ready: Future = Future()
        self.loop = asyncio.new_event_loop()
        self.task: asyncio.Task | None = None
        self.layer = self.leaving = None
        self.thread = threading.Thread(target=self.run, name="application", daemon=True)
        self.thread.start()

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.task = self.loop.create_task(self.serve())
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            if not self.ready.done():
                self.ready.set_exception(error)
            else:
                logger.exception("the application's thread has ended")
        finally:
            self.finish()

    async def serve(self) -> None:
        from channels.layers import channel_layers
        from channels.worker import Worker

        from interfaces.worker.layers import LocalChannelLayer

        module, _, attribute = self.application_path.partition(":")
        # In another thread: Django refuses some of what modules do at import where an event loop runs.
        layer = self.layer = LocalChannelLayer(sock=self.sock)
        layer.settle(receiving=True)

        def load():
            channel_layers.set("default", layer)         # in place of the configured one, before anything asks for it
            found = importlib.import_module(module)
            for name in (attribute or "application").split("."):
                found = getattr(found, name)
            return found

        application = await self.loop.run_in_executor(None, load)
        self.ready.set_result(application)
        hosted = getattr(application, "channels", self.channels)
        await Worker(application, [channel for channel in self.channels if channel in hosted], layer).arun()

    def finish(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()

    def stop(self) -> None:
        """End the application's thread. From another one; waits for it, but not for a view that is stuck."""
        if self.task is not None and not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(self.begin_to_leave)
            except RuntimeError:
                return
        self.thread.join(STOP_TIME)

    def begin_to_leave(self) -> None:
        self.leaving = self.loop.create_task(self.leave())

    async def leave(self) -> None:
        """Connections are over, but their consumers may not have heard of it yet."""
        until = self.loop.time() + LAST_WORDS
        while self.layer is not None and self.layer.inbox.hosted and self.loop.time() < until:
            await asyncio.sleep(LOOK)
        self.task.cancel()

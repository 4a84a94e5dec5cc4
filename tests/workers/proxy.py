"""A proxy before a Redis, for days that no real server has at a test's word: it loads, it is slow, its connections break."""
import asyncio
import contextlib
import threading

import hiredis

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
READ = 65536
AFTER = 0.05        # seconds, a guess: by then others have heard what the command did


class Proxy:
    """`with Proxy(redis.port) as proxy: proxy.port`. Its own thread serves; `delay` and `loading` may be set from any.

    `delay`: seconds that each answer is late. `loading`: every command is answered so, as by a Redis that has just been
    started and reads its file. `commands` counts those that came."""

    def __init__(self, port: int):
        self.redis, self.delay, self.loading, self.commands = port, 0.0, False, 0
        self.trap, self.broken = b"", threading.Event()
        self.writers: set[asyncio.StreamWriter] = set()
        self.serving: set[asyncio.Task] = set()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.run_until_complete(self.close())
        self.loop.close()

    async def close(self):
        self.server.close()
        await self.cut_now()
        await asyncio.wait(self.serving | {asyncio.ensure_future(self.server.wait_closed())})

    def begin_loading(self):
        self.loading = True
        self.cut()

    def cut(self):
        """Every connection at once, with what was on its way."""
        asyncio.run_coroutine_threadsafe(self.cut_now(), self.loop).result(10)

    def cut_after(self, command: bytes):
        """Every connection, soon after a command of this name has done something; its answer is lost."""
        self.broken.clear()
        self.trap = command
        assert self.broken.wait(20), f"nobody was answered to {command}"

    async def cut_now(self):
        self.broken.set()
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.serving.add(task := asyncio.current_task())
        task.add_done_callback(self.serving.discard)
        with contextlib.suppress(OSError):
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self.redis)
            self.writers |= {writer, to_redis}
            late, asked = asyncio.Queue(), []
            parts = [self.ask(reader, writer, to_redis, asked), self.answer(from_redis, late, asked), self.write(late, writer)]
            tasks = [asyncio.ensure_future(part) for part in parts]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)      # whoever leaves, the other is left
            finally:
                self.writers -= {writer, to_redis}
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                writer.transport.abort()
                to_redis.transport.abort()

    async def ask(self, reader, writer, to_redis, asked: list):
        """`asked`: the name of the newest command."""
        parser = hiredis.Reader()
        while data := await reader.read(READ):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                self.commands += 1
                asked[:] = command[:1]
                if self.loading:
                    writer.write(LOADING)
                else:
                    to_redis.write(hiredis.pack_command(tuple(command)))

    async def answer(self, from_redis, late: asyncio.Queue, asked: list):
        while data := await from_redis.read(READ):
            if self.trap and asked == [self.trap] and not data.startswith((b"*-1", b"$-1")):
                self.trap = b""
                await asyncio.sleep(AFTER)
                await self.cut_now()
                return
            late.put_nowait((self.loop.time() + self.delay, data))

    async def write(self, late: asyncio.Queue, writer):
        """In their order, also when the delay has become less."""
        while True:
            due, data = await late.get()
            await asyncio.sleep(due - self.loop.time())
            writer.write(data)

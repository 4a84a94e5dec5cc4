"""Many clients that talk all the time: numbered messages out, and the same ones back, each once and in order."""
import asyncio
import contextlib

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PACE = 0.05     # seconds between two messages of one client; 50 of them say 1,000 a second, which leaves the machine some air


class Client:
    """`sent`: so many, numbered from 0. `heard`: numbers that came back. `said`: what else came. `ended`: how it closed."""

    def __init__(self, socket):
        self.socket, self.sent, self.heard, self.said, self.ended = socket, 0, [], [], None

    async def talk(self):
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.sent += 1
                await self.socket.send(str(self.sent - 1))
                await asyncio.sleep(PACE)

    async def listen(self):
        try:
            while True:
                text = await self.socket.recv()
                if text.isdigit():
                    self.heard.append(int(text))
                else:
                    self.said.append(text)
        except ConnectionClosed as closed:
            self.ended = closed.rcvd


class Crowd:
    """`async with Crowd(url, 50) as crowd`: connected, and talking."""

    def __init__(self, url: str, size: int):
        self.url, self.size, self.clients, self.tasks = url, size, [], []

    async def __aenter__(self):
        opened = await asyncio.gather(*[connect(self.url, proxy=None, compression=None) for _ in range(self.size)])
        self.clients = [Client(socket) for socket in opened]
        self.listeners = [asyncio.create_task(client.listen()) for client in self.clients]
        self.talkers = [asyncio.create_task(client.talk()) for client in self.clients]
        return self

    async def __aexit__(self, *error):
        for task in (*self.talkers, *self.listeners):
            task.cancel()
        await asyncio.gather(*self.talkers, *self.listeners, return_exceptions=True)
        await asyncio.gather(*[client.socket.close() for client in self.clients])

    async def until(self, condition, what: str, seconds: float = 15.0):
        """Of every client. Returns the seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not all(map(condition, self.clients)):
            late = [(client.sent, len(client.heard), client.ended) for client in self.clients if not condition(client)]
            assert loop.time() < began + seconds, f"{what}: not within {seconds} s for {len(late)}, of which {late[:5]}"
            await asyncio.sleep(0.01)       # another process's time can't be injected
        return loop.time() - began

    async def goes_on(self, what: str, more: int = 10, seconds: float = 15.0) -> float:
        """Everybody hears `more` of what is said from now on."""
        wanted = {client: client.sent + more for client in self.clients}
        return await self.until(lambda client: client.heard and client.heard[-1] >= wanted[client], what, seconds)

    async def falls_silent(self):
        """All has been said; what was on its way has come back."""
        for task in self.talkers:
            task.cancel()
        await asyncio.gather(*self.talkers, return_exceptions=True)
        await self.until(lambda client: client.heard and client.heard[-1] == client.sent - 1, "the last word is answered")

    @property
    def doubled(self) -> int:
        """Answers that came twice."""
        return sum(len(client.heard) - len(set(client.heard)) for client in self.clients)

    @property
    def disordered(self) -> int:
        """Clients that heard answers out of turn."""
        return sum(client.heard != sorted(client.heard) for client in self.clients)

    @property
    def lost(self) -> list[list[int]]:
        """By client, what was never answered."""
        return [sorted(set(range(client.sent)) - set(client.heard)) for client in self.clients]

    @property
    def dropped(self) -> int:
        return sum(client.ended is not None for client in self.clients)

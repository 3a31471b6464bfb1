"""A TCP proxy that delays every byte by half a round trip in each direction, as a distant server
does, and counts the round trips.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

BURST = (
    0.002  # seconds of silence after which the next byte from the client begins another round trip
)


class Slow:
    """A proxy on 127.0.0.1.

    `round_trips` counts how often the client spoke after the server had.
    """

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self.host, self.port, self.half = host, port, seconds / 2
        self.listens_on = 0
        self.connections = 0
        self.round_trips = 0

    async def listen(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, backlog=200)
        self.listens_on = server.sockets[0].getsockname()[1]
        return server

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        spoke = {"server": True}
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pipe(reader, up_writer, spoke, "client"),
                self._pipe(up_reader, writer, spoke, "server"),
                return_exceptions=True,
            )

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        spoke: dict[str, bool],
        who: str,
    ) -> None:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        task = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if who == "client" and spoke["server"]:
                    self.round_trips += 1
                spoke["server"] = who == "server"
                queue.put_nowait((loop.time() + self.half, data))
        queue.put_nowait((loop.time() + self.half, b""))
        with contextlib.suppress(ConnectionError):
            await task


@contextlib.contextmanager
def slowed(servers: list[tuple[str, int]], seconds: float) -> Iterator[list[Slow]]:
    """Run a proxy for each server in a thread of its own, each with its port in `listens_on`."""
    proxies = [Slow(host, port, seconds) for host, port in servers]
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        listening = [await proxy.listen() for proxy in proxies]
        ready.set()
        await over.wait()
        for server in listening:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield proxies
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()

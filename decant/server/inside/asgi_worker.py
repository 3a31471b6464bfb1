"""What each of gunicorn's workers needs around an ASGI application, beside its settings.

`start(worker, application, prefix, drain)` returns the application to serve: it sees the visitor's
address and scheme (over the socket gunicorn only sees the proxy), is asked for health before the
worker accepts anything, and its connections without an end are closed when the worker stops.
https://asgi.readthedocs.io/en/latest/specs/. Standard library only.
"""

import asyncio
import contextlib
import runpy
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

# Not imported: the application may have a module of that name.
READY = runpy.run_path(str(Path(__file__).with_name("ready.py")))
POLL = 0.5  # seconds between two looks at whether the worker was told to stop
RESTARTS = 1012  # the WebSocket's code for a server that does (RFC 6455's registry)

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Around:
    """The application of one worker."""

    def __init__(self, worker: Any, application: Application, prefix: str, drain: float) -> None:
        self.worker, self.application, self.prefix, self.drain = worker, application, prefix, drain
        self.open: set[asyncio.Event] = set()  # of connections that have no end of their own
        self.state: dict[str, Any] = {}
        self.asked = False
        self.watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket, or start and stop with the worker."""
        if scope["type"] == "lifespan":
            return await self._live(scope, receive, send)
        visited = self._as_visited(scope)
        if visited is None:
            return await _not_found(scope["type"], send)
        await self._serve(visited, receive, send)

    def _as_visited(self, scope: Scope) -> Scope | None:
        """Return what the visitor asked for; None beside the prefix."""
        if self.prefix and not f"{scope['path']}/".startswith(f"{self.prefix}/"):
            return None
        headers = dict(scope["headers"])  # each of these is there once: the proxy has set it
        address = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        scheme = headers.get(b"x-forwarded-proto", b"http").decode("latin-1")
        if scope["type"] == "websocket":
            scheme = {"https": "wss"}.get(scheme, "ws")
        client = (address, 0) if address else None
        return {**scope, "client": client, "scheme": scheme, "root_path": self.prefix}

    # --- its life

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop the application, which is asked for health in between."""
        self.state = scope.get("state", {})
        self.watching = asyncio.ensure_future(self._watch())

        async def told(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._ask()
            await send(message)

        try:
            await self.application(scope, receive, told)
        except READY["Unwell"] as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except Exception:
            if not self.asked:  # it has no such life, and is well or not all the same
                try:
                    await self._ask()
                except READY["Unwell"] as error:
                    return await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

    async def _ask(self) -> None:
        """Ask the application for health, where a window waits for it, and tell."""
        self.asked = True
        loop = asyncio.get_running_loop()
        as_wsgi = self._as_wsgi(loop)
        await asyncio.to_thread(READY["worker"], as_wsgi, self.worker.cfg.workers)

    def _as_wsgi(self, loop: asyncio.AbstractEventLoop) -> Callable[..., Iterable[bytes]]:
        """Return the application as ready.py asks it: a WSGI callable for a request without a
        body, which a thread beside the loop may call.
        """

        def called(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            answer = asyncio.run_coroutine_threadsafe(self._answer(environ), loop).result()
            start_response(*answer)
            return ()

        return called

    async def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
        """Return the status line and the headers of the answer to one request."""
        headers = [
            (name[5:].lower().replace("_", "-").encode(), str(value).encode("latin-1"))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": environ["wsgi.url_scheme"],
            "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
            "raw_path": environ["RAW_URI"].partition("?")[0].encode("latin-1"),
            "query_string": environ["QUERY_STRING"].encode("latin-1"),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
            "state": dict(self.state),
        }
        over, said = asyncio.Event(), list[tuple[str, list[tuple[str, str]]]]()
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if message := next(asked, None):
                return message
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = [
                    (name.decode("latin-1"), text.decode("latin-1"))
                    for name, text in message.get("headers", ())
                ]
                said.append((f"{message['status']}", found))
            elif not message.get("more_body"):
                over.set()

        try:
            await self(scope, receive, send)
        finally:
            over.set()
        return said[0] if said else ("no status", [])

    # --- connections without an end: WebSockets and server-sent events

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed, socket = asyncio.Event(), scope["type"] == "websocket"

        async def received() -> Message:
            if not closed.is_set():
                message = asyncio.ensure_future(receive())
                closing = asyncio.ensure_future(closed.wait())
                try:
                    await asyncio.wait({message, closing}, return_when=asyncio.FIRST_COMPLETED)
                    if message.done():
                        return message.result()
                finally:
                    message.cancel()
                    closing.cancel()
                if socket:
                    with contextlib.suppress(Exception):
                        await send({"type": "websocket.close", "code": RESTARTS})
            return {"type": f"{scope['type']}.disconnect", "code": RESTARTS}

        async def sent(message: Message) -> None:
            if closed.is_set():
                raise OSError("the worker stops")
            if message["type"] == "http.response.start" and _is_stream(message):
                self.open.add(closed)
            await send(message)

        if socket:
            self.open.add(closed)
        try:
            await self.application(scope, received, sent)
        except OSError:
            if not closed.is_set():
                raise
        finally:
            self.open.discard(closed)

    async def _watch(self) -> None:
        """Close what has no end of its own when the worker was told to stop."""
        while self.worker.alive:
            await asyncio.sleep(POLL)
        await asyncio.sleep(self.drain)
        for closed in tuple(self.open):
            closed.set()


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and text.lower().startswith(b"text/event-stream")
        for name, text in message.get("headers", ())
    )


async def _not_found(kind: str, send: Send) -> None:
    if kind == "websocket":
        return await send({"type": "websocket.close", "code": 1000})
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"Not Found\n"})


def start(worker: Any, application: Application, prefix: str, drain: float) -> Application:
    """Return the application as the worker serves it.

    `prefix`: the path of the site below which it is; `drain`: seconds after which connections
    without an end are closed when the worker stops.
    """
    return Around(worker, application, prefix, drain)

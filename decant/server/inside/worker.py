"""What each of gunicorn's workers needs around the application, beside its settings.

`start(worker, application, drain)` returns the application to serve. Standard library only.
"""

import runpy
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# Not imported: the application may have a module of that name.
READY = runpy.run_path(str(Path(__file__).with_name("ready.py")))
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
POLL = 0.5  # seconds between two looks at whether the worker was told to stop


class Streams:
    """The connections that have no end of their own: WebSockets and server-sent events.

    A worker that was told to stop would wait for them as long as for a slow request.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.open: dict[object, socket.socket] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Serve a request, and remember its connection where it may stay open."""
        sock, key, returned = environ.get("gunicorn.socket"), object(), False

        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            streams = any(
                name.lower() == "content-type" and value.lower().startswith("text/event-stream")
                for name, value in headers
            )
            if streams and sock and not returned:
                self.open[key] = sock
            return start_response(status, headers, *rest)

        if "HTTP_UPGRADE" in environ and sock:
            self.open[key] = sock
        try:
            body = self.application(environ, started)
        except BaseException:
            self.open.pop(key, None)
            raise
        returned = True
        # A body as it is may be a file, which gunicorn sends in one call.
        return self._until_closed(body, key) if key in self.open else body

    def _until_closed(self, body: Iterable[bytes], key: object) -> Iterator[bytes]:
        try:
            yield from body
        finally:
            self.open.pop(key, None)
            getattr(body, "close", lambda: None)()

    def close(self) -> None:
        """Close every one of them."""
        for sock in tuple(self.open.values()):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Listener:
    """A listening socket that knows its name when it is closed."""

    def __init__(self, sock: Any, name: Any) -> None:
        self._sock, self._name = sock, name

    def getsockname(self) -> Any:
        """Return its name."""
        return self._name

    def __getattr__(self, name: str) -> Any:
        """Return what the socket has under any other name."""
        return getattr(self._sock, name)


def keep_names(worker: Any) -> None:
    """Have eventlet's workers answer what they have accepted.

    A worker that is told to stop closes its listener first, and what it has accepted but not begun
    fails then, as each request asks the listener for its name (gunicorn/workers/base_async.py,
    AsyncWorker.handle).
    """
    if type(worker).__name__ != "EventletWorker":
        return
    handle, name = worker.handle, worker.sockets[0].getsockname()  # the manager hands over one
    worker.handle = lambda sock, *words: handle(Listener(sock, name), *words)


def start(worker: Any, application: Application, drain: float) -> Application:
    """Return the application as the worker serves it, and tell the window that it is ready.

    `drain`: seconds after which the connections without an end are closed when the worker stops.
    """
    streams = Streams(application)

    def watch() -> None:
        while worker.alive:
            time.sleep(POLL)
        time.sleep(drain)
        streams.close()

    keep_names(worker)
    READY["worker"](application, worker.cfg.workers)
    threading.Thread(target=watch, daemon=True).start()
    return streams

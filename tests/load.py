"""Visitors: an open loop at a fixed rate with POSTs, a keep-alive connection, and one slow request
always under way.
"""

import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Load:
    """Visit a server while the block runs.

    Afterwards `lost` and `versions` say what visitors met.
    """

    address: str
    rate: float = 20
    slow_seconds: float = 2.0
    padding: int = 2000  # letters that an entry has beside its text
    timeout: float = 120
    host: str = ""
    # Where a proxy reloads meanwhile: it closes idle connections, and a client opens another one
    # for a GET (RFC 9112, 9.3.1).
    reopens: bool = False
    # Makes a connection; for a site behind HTTPS.
    connect: Callable[[], http.client.HTTPConnection] | None = None
    sent: int = 0
    posts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    longest: float = 0.0
    times: list[float] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads: list[threading.Thread] = []
        for body in (self._open_loop, self._keep_alive, self._slow):
            self._spawn(body)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in list(self._threads):
            thread.join(timeout=120)
        for thread in list(self._threads):
            thread.join(timeout=120)

    def _spawn(self, body: object, *words: object) -> None:
        thread = threading.Thread(target=body, args=words, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _open_loop(self) -> None:
        began = time.monotonic()
        number = 0
        while not self._stop.is_set():
            number += 1
            if number % 4 == 0:
                self._spawn(self._post, f"entry {number}")
            else:
                self._spawn(self._get, "/version" if number % 4 == 1 else "/")
            self._stop.wait(max(0.0, began + number / self.rate - time.monotonic()))

    def _keep_alive(self) -> None:
        connection = self._connection()
        while not self._stop.wait(0.1):
            self._ask(connection, "GET", "/up", (200,))
        connection.close()

    def _slow(self) -> None:
        while not self._stop.is_set():
            self._get(f"/slow?seconds={self.slow_seconds}")

    def _connection(self) -> http.client.HTTPConnection:
        return (
            self.connect()
            if self.connect
            else http.client.HTTPConnection(self.address, timeout=self.timeout)
        )

    def _get(self, path: str) -> None:
        connection = self._connection()
        body = self._ask(connection, "GET", path, (200,))
        connection.close()
        if body is not None and path != "/":
            with self._lock:
                self.versions[body] = self.versions.get(body, 0) + 1

    def _post(self, text: str) -> None:
        connection = self._connection()
        body = urllib.parse.urlencode({"text": text, "author": "x" * self.padding})
        if self._ask(connection, "POST", "/", (303,), body) is not None:
            with self._lock:
                self.posts.append(text)
        connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        good: tuple[int, ...],
        body: str | None = None,
    ) -> str | None:
        began, said, answer, idle = (
            time.monotonic(),
            "",
            None,
            self.reopens and method == "GET" and connection.sock is not None,
        )
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(
                method, path, body, {**headers, **({"Host": self.host} if self.host else {})}
            )
            response = connection.getresponse()
            answer = response.read().decode()
            if response.status not in good:
                said, answer = f"{response.status}", None
        except (OSError, http.client.HTTPException) as error:
            said = repr(error)
            connection.close()
            if idle and isinstance(
                error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
            ):
                return self._ask(connection, method, path, good, body)
        with self._lock:
            self.sent += 1
            self.times.append(time.monotonic() - began)
            self.longest = max(self.longest, self.times[-1])
            if answer is None:
                took = time.monotonic() - began
                when = time.strftime("%H:%M:%S", time.gmtime(time.time() - took))
                self.lost.append(f"{method} {path}: {said} after {took:.1f} s, begun {when}")
        return answer


@dataclass
class Visits:
    """Visit any application at a fixed rate while the block runs: one request after the other of a
    list, each (method, path, form, status). Afterwards `lost` says what visitors met instead, and
    `longest` how long one of them waited, in seconds.
    """

    address: str
    requests: tuple[tuple[str, str, dict[str, str], int], ...]
    host: str = ""
    rate: float = 20
    sent: int = 0
    longest: float = 0.0
    lost: list[str] = field(default_factory=list)

    def __enter__(self) -> "Visits":
        self._stop, self._threads = threading.Event(), list[threading.Thread]()
        self._loop = threading.Thread(target=self._visit)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._loop.join()
        for thread in self._threads:
            thread.join(timeout=120)

    def _visit(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            thread = threading.Thread(
                target=self.ask, args=self.requests[self.sent % len(self.requests)], daemon=True
            )
            thread.start()
            self._threads.append(thread)
            self.sent += 1
            self._stop.wait(max(0.0, began + self.sent / self.rate - time.monotonic()))

    def ask(self, method: str, path: str, form: dict[str, str], wanted: int) -> None:
        """Visit once."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        headers |= {"Host": self.host} if self.host else {}
        began = time.monotonic()
        try:
            connection.request(method, path, urllib.parse.urlencode(form) or None, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != wanted:
                self.lost.append(f"{method} {path}: {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(f"{method} {path}: {error!r}")
        finally:
            self.longest = max(self.longest, time.monotonic() - began)
            connection.close()

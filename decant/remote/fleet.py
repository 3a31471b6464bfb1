"""Several servers at a time, each in a thread of its own.

What fails on one does not stop the others, and a table tells at the end how each ended.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from invoke.util import debug

from decant.errors import DeployError
from decant.output import drawn, print_documents
from decant.remote.connection import ServerConnection, explained

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 10  # servers that are worked on at the same time
END_SECONDS = 5  # seconds that a thread has to end after Ctrl-C closed its connection


@dataclass
class HostResult:
    """How a command line went on one server; `error` is what stopped it there."""

    seconds: float = 0.0
    begun: bool = False
    result: str = "ok"
    error: BaseException | None = None
    last_line: str = ""  # its last line when Ctrl-C came


class Fleet:
    """The chosen servers of a command line.

    With one alone, everything runs in this thread, and its errors are raised.
    """

    def __init__(self, connections: Mapping[str, ServerConnection]) -> None:
        self.connections = dict(connections)
        self.results = {name: HostResult() for name in connections}
        self.interrupted = False

    @property
    def single_host(self) -> bool:
        """Whether there is one server only."""
        return len(self.connections) == 1

    @property
    def failed(self) -> list[str]:
        """The servers on which something failed."""
        return [name for name, result in self.results.items() if result.error]

    @property
    def dry(self) -> bool:
        """Whether nothing may be changed."""
        return bool(next(iter(self.connections.values())).config.run.dry)

    def map(
        self, work: Callable[[Item], Result], items: Mapping[str, Item], at_once: int = AT_ONCE
    ) -> dict[str, Result]:
        """Do the work on each server on which nothing has failed yet.

        `items` are what it is given, by the server's name.

        Returns the results by name. With several servers a failure is told, kept in `failed` and
        not raised. Raises KeyboardInterrupt
        after Ctrl-C, when every connection is closed.
        """
        if self.single_host:
            return {name: self._timed(name, work, item) for name, item in items.items()}
        results: dict[str, Result] = {}
        slots, done = threading.BoundedSemaphore(max(at_once, 1)), queue.SimpleQueue[None]()

        def one(name: str, item: Item) -> None:
            with contextlib.ExitStack() as stack:
                stack.callback(done.put, None)
                stack.enter_context(slots)
                if not self.interrupted:
                    self._one(name, work, item, results)

        threads = [
            threading.Thread(target=one, args=(name, items[name]), daemon=True)
            for name in items
            if not self.results[name].error
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                done.get()
        except KeyboardInterrupt:
            self.interrupt(threads)
            raise
        return {name: results[name] for name in items if name in results}

    def raise_if_failed(self, consequence: str, keep_going: bool = False) -> None:
        """Raise DeployError with the consequence where something failed on a server.

        With `keep_going`, on every one.
        """
        if len(self.failed) == len(self.connections) or (self.failed and not keep_going):
            raise DeployError(f"failed on {', '.join(self.failed)}; {consequence}")

    def fail(self, name: str, cause: str) -> None:
        """Tell that something failed on a server; raise DeployError where it is the only one."""
        if self.single_host:
            raise DeployError(f"{name}: {cause}")
        self.results[name].error = DeployError(cause)
        self.connections[name].output.line(f"failed: {cause}")

    def tell(self) -> None:
        """Print how each server ended, as a table and as the documents of a command with --json.

        Nothing for one alone.
        """
        if self.single_host or not any(result.begun for result in self.results.values()):
            return
        outputs = [connection.output for connection in self.connections.values()]
        rows = [
            (
                name,
                str(self.connections[name].output.changed),
                f"{result.seconds:.1f}",
                self._shown(result),
            )
            for name, result in self.results.items()
        ]
        stream = outputs[0].stream
        stream.write("\n" + drawn(("host", "changed", "seconds", "result"), rows, stream))
        stream.flush()
        print_documents(outputs)

    def _one(
        self, name: str, work: Callable[[Item], Result], item: Item, results: dict[str, Result]
    ) -> None:
        try:
            results[name] = self._timed(name, work, item)
        # Also a mistake of ours is a failure of that host, which in a thread nobody else would
        # notice
        except Exception as error:
            debug(f"{name}: {error!r}", exc_info=error)
            if not self.interrupted:
                self.fail(name, explained(error).removeprefix(f"{name}: "))

    def _timed(self, name: str, work: Callable[[Item], Result], item: Item) -> Result:
        result, since = self.results[name], time.monotonic()
        result.begun = True
        try:
            return work(item)
        finally:
            result.seconds += time.monotonic() - since

    def interrupt(self, threads: Sequence[threading.Thread] = ()) -> None:
        """After Ctrl-C.

        Note where each server is, and close the connections: the threads end, and what runs on the
        servers goes on to its end there.
        """
        if self.interrupted:
            return
        self.interrupted = True
        for name, result in self.results.items():
            result.last_line = self.connections[name].output.last
        for connection in self.connections.values():
            connection.close()
        deadline = time.monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _shown(self, result: HostResult) -> str:
        if result.error:
            return f"failed: {result.error}"
        if self.interrupted:
            return (
                "not begun"
                if not result.begun
                else (
                    f"interrupted after: {result.last_line.strip()}"
                    if result.last_line
                    else "interrupted before its first line"
                )
            )
        return result.result if result.begun else "not begun"

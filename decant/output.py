"""What a person reads: a line a step, and tables.

Several hosts tell at the same time, each line whole and under its host's name.
"""

import json
import sys
import threading
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any, TextIO

_whole = threading.Lock()
# Held by whoever asks something at the terminal: one host after the other
asking = threading.Lock()


class Output:
    """What one host says.

    `single_host`: no other host says anything; what a command prints needs no name before it.
    """

    def __init__(self, host: str, single_host: bool = True) -> None:
        self.host, self.single_host = host, single_host
        self.margin = 0  # the width of the longest name among several hosts
        self.stream: TextIO = sys.stdout
        self.verbose = False  # show also what needed no change
        self.changed = 0
        self.last = ""
        self.documents: list[Any] = []

    def line(self, text: str) -> None:
        """Print one line under the host's name."""
        self.last = text
        self._write(f"{self._name}{text}\n")

    def step(self, status: str, text: str, seconds: float = 0.0) -> None:
        """Print what became of a step."""
        self.changed += status == "changed"
        if status != "ok" or self.verbose:
            self.line(f"{status:8} {text}" + (f"  {seconds:.1f} s" if seconds >= 0.1 else ""))

    def text(self, text: str) -> None:
        """Print what a command printed.

        As it is, or each line under the host's name where other hosts print, too.
        """
        before = "" if self.single_host else self._name
        self._write(
            "".join(f"{before}{line}".rstrip() + "\n" for line in text.rstrip("\n").split("\n"))
        )

    def document(self, value: Any) -> None:
        """Print a value as one JSON document on standard output.

        With several hosts it becomes part of one list of theirs (`print_documents`).
        """
        if self.single_host:
            print(json.dumps(value, indent=1))
        self.documents.append(value)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table."""
        self.text(drawn(columns, rows, self.stream))

    @property
    def _name(self) -> str:
        return f"[{self.host}]".ljust(self.margin + 2) + " "

    def _write(self, text: str) -> None:
        with _whole:
            self.stream.write(text)
            self.stream.flush()


def print_documents(outputs: Iterable[Output]) -> None:
    """Print what several hosts told as documents as one JSON list, if they did."""
    found = [value for output in outputs if not output.single_host for value in output.documents]
    if found:
        print(json.dumps(found, indent=1))


def drawn(columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> str:
    """Return a table as text, as wide as the terminal.

    Into a file or a pipe goes every line whole.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    drawing = StringIO()
    console = Console(
        file=drawing,
        highlight=False,
        width=None if stream.isatty() else 1000,
        force_terminal=stream.isatty() or None,
    )
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in drawing.getvalue().splitlines())

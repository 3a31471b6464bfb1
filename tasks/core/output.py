"""What a person reads: a line a step, and tables."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO


class Output:
    """Print a host's lines to one stream; `verbose` also shows what needed no change."""

    def __init__(self, host: str, stream: TextIO | None = None, verbose: bool = False) -> None:
        self.host, self.stream, self.verbose = host, stream or sys.stdout, verbose

    def line(self, text: str) -> None:
        """Print one line under the host's name."""
        print(f"[{self.host}] {text}", file=self.stream, flush=True)

    def step(self, status: str, text: str, seconds: float = 0.0) -> None:
        """Print what became of a step."""
        if status != "ok" or self.verbose:
            self.line(f"{status:8} {text}" + (f"  {seconds:.1f} s" if seconds >= 0.1 else ""))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print a table."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        # Into a file or a pipe goes every line whole.
        width = None if self.stream.isatty() else 1000
        Console(file=self.stream, highlight=False, width=width).print(table)

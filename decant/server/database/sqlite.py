"""SQLite: a file of the application, which the application alone opens (inside/client.py).

Root moves and compresses bytes.
"""

from collections.abc import Mapping
from pathlib import Path

from engine import Engine, Measured


class Sqlite(Engine):
    """A file of the application."""

    suffix = ".sqlite3.gz"

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        super().__init__(root, conf)
        self.folder = str(root / "shared")

    def same(self) -> None:
        """Agree: the path of the file is in the release."""

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.measured().exists

    def found(self, action: str = "size") -> Measured:
        """Return what the client says of the file."""
        return self.measured(action)

    def load(self, file: Path, administrator: bool = False) -> None:  # noqa: ARG002  # there is none
        """Have a dump written into the live file."""
        self.pour(file, "load")

    def verify(self, file: Path, administrator: bool = False) -> None:  # noqa: ARG002  # there is none
        """Have a dump's structure checked."""
        self.pour(file, "verify")

    def put_away(self, id: str) -> None:
        """Have what a failed first migration left put away: there was no database before it."""
        self.ask("put_away", id)

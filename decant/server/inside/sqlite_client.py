"""SQLite, as the application: its file, with its journals."""

import contextlib
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from application_database import Database, Failure

JOURNALS = ("-journal", "-wal", "-shm")


class Sqlite(Database):
    """A file of the application.

    SQLite's backup API copies it, as a copy of the file would miss its WAL
    (https://www.sqlite.org/backup.html).
    """

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        super().__init__(root, conf)
        self.file = Path(conf["db_path"])

    def exists(self) -> bool:
        """Tell whether there is a database: opening it to read has made an empty file.

        Raises Failure where it, or a journal of it, is a link or somebody else's.
        """
        parent = self.file.parent
        # The way to the application's folder is the administrator's.
        if parent.exists() and parent.resolve() != self.root.resolve() / parent.relative_to(
            self.root
        ):
            raise Failure(
                f"{parent} leads through a symbolic link, to {parent.resolve()}; the database has"
                " to be in its folder itself"
            )
        for path in (self.file, *(Path(f"{self.file}{ending}") for ending in JOURNALS)):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISLNK(found.st_mode):
                raise Failure(
                    f"{path} is a symbolic link, to {path.readlink()}, and is not followed; put the"
                    " database itself there"
                )
            if not stat.S_ISREG(found.st_mode):
                raise Failure(f"{path} is no file")
            if found.st_uid != os.getuid():
                raise Failure(
                    f"{path} does not belong to the application; give it back: chown"
                    f" {self.conf['user']}: {path}"
                )
        journals = (Path(f"{self.file}{ending}") for ending in JOURNALS)
        return self.file.exists() and (
            self.file.stat().st_size > 0 or any(journal.exists() for journal in journals)
        )

    def measure(self) -> dict[str, Any]:
        """Return the size of the file and its WAL, and the rows of every table."""
        if not self.exists():
            return {"exists": False}
        size = sum(
            path.stat().st_size for path in (self.file, Path(f"{self.file}-wal")) if path.exists()
        )
        with contextlib.closing(self._open()) as connection:
            names = [
                row[0]
                for row in connection.execute(
                    "select name from sqlite_master where type = 'table' and name not like"
                    " 'sqlite_%' order by name"
                )
            ]
            tables = [
                (
                    name,
                    connection.execute(
                        'select count(*) from "{}"'.format(name.replace('"', '""'))
                    ).fetchone()[0],
                )
                for name in names
            ]
            journal = _journal(connection)
        return {"exists": True, "size": size, "tables": tables, "journal": journal}

    def journal(self) -> dict[str, Any]:
        """Return the journal mode (https://www.sqlite.org/pragma.html#pragma_journal_mode)."""
        if not self.exists():
            return {"exists": False}
        with contextlib.closing(self._open()) as connection:
            return {"exists": True, "journal": _journal(connection)}

    def size(self) -> dict[str, Any]:
        """Return the size alone, without a look at the tables."""
        there = self.exists()
        return {
            "exists": there,
            "size": sum(
                path.stat().st_size
                for path in (self.file, Path(f"{self.file}-wal"))
                if path.exists()
            ),
        }

    def dump(self) -> None:
        """Write a copy."""
        if not self.exists():
            raise Failure(f"there is no file {self.file}")
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as plain:
            with (
                contextlib.closing(self._open()) as source,
                contextlib.closing(sqlite3.connect(plain.name)) as target,
            ):
                source.backup(target)
            with Path(plain.name).open("rb") as whole:
                shutil.copyfileobj(whole, sys.stdout.buffer, 1 << 20)

    def load(self) -> None:
        """Write a dump into the live file.

        Owner and inode stay, and a crash in it can be repeated.
        """
        self.exists()
        with self._given() as source:
            target = sqlite3.connect(self.file, timeout=60)
            source.backup(target)
            target.close()
        for path in (self.file, self.file.parent):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def verify(self) -> None:
        """Check a dump's structure."""
        with self._given() as source:
            found = source.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise Failure(str(found))

    def put_away(self, id: str) -> None:
        """Put away what a failed first migration left, beside the place of the file.

        There was no database before it.
        """
        self.exists()
        for ending in ("", *JOURNALS):
            path = Path(f"{self.file}{ending}")
            if path.exists():
                path.rename(path.with_name(f"{self.file.name}-failed-{id}{ending}"))

    def shell(self) -> None:
        """Become sqlite3 on the file."""
        self.exists()
        if not shutil.which("sqlite3"):
            raise Failure("there is no sqlite3 on this server; run: fab db.install")
        os.execvpe(
            "sqlite3",
            ["sqlite3", "-header", "-box", str(self.file)],
            {**os.environ, "HOME": "/nonexistent"},
        )

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self.file))}?mode=rw", uri=True, timeout=60)

    @contextlib.contextmanager
    def _given(self) -> Iterator[sqlite3.Connection]:
        """Open the dump that comes on standard input."""
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as plain:
            shutil.copyfileobj(sys.stdin.buffer, plain, 1 << 20)
            plain.flush()
            source = sqlite3.connect(f"file:{quote(plain.name)}?mode=ro&immutable=1", uri=True)
            if source.execute("PRAGMA schema_version").fetchone()[0] == 0:
                raise Failure("the dump is empty")
            yield source
            source.close()


def _journal(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

"""SQLite: dumps and restores by its backup API, as a copy of the file would miss its WAL (https://www.sqlite.org/backup.html)."""

import gzip
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from engine import Engine, Failure, as_user, sync, unpacked


class Sqlite(Engine):
    """A file of the application."""

    suffix = ".sqlite3.gz"

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        super().__init__(root, conf)
        self.file = Path(conf["db_path"])
        self.folder = str(next(path for path in self.file.parents if path.is_dir()))

    def same(self) -> None:
        """Agree: the path of the file is in the release."""

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.file.is_file()

    def size(self) -> int:
        """Return the bytes of the file and its WAL."""
        return sum(path.stat().st_size for path in (self.file, Path(f"{self.file}-wal")) if path.exists())

    def tables(self) -> list[tuple[str, int]]:
        """Count the rows of every table."""
        connection = sqlite3.connect(f"file:{quote(str(self.file))}?mode=rw", uri=True)
        names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name")]
        found = [(name, int(connection.execute('select count(*) from "{}"'.format(name.replace('"', '""'))).fetchone()[0])) for name in names]
        connection.close()
        return found

    def write(self, file: Path) -> None:
        """Write a compressed copy."""
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".dump-") as plain:
            source = sqlite3.connect(f"file:{quote(str(self.file))}?mode=rw", uri=True)
            target = sqlite3.connect(plain.name)
            source.backup(target)
            target.close()
            source.close()
            with Path(plain.name).open("rb") as whole, gzip.open(file, "wb", compresslevel=1) as out:
                shutil.copyfileobj(whole, out, 1 << 20)

    def load(self, file: Path) -> None:
        """Write a dump into the live file, as the application's user: owner and inode stay, and a crash in it can be repeated."""
        with tempfile.NamedTemporaryFile(dir=self.root / "backups", prefix=".restore-") as plain:
            source = _opened(file, plain.name)
            child = os.fork()
            if not child:
                os._exit(self._load(source))
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                raise Failure(f"{self.file} could not be written; the line above says why")

    def _load(self, source: sqlite3.Connection) -> int:
        """Write the copy as the application's user; return the exit code."""
        try:
            as_user(self.conf["user"])
            target = sqlite3.connect(self.file, timeout=60)
            source.backup(target)
            target.close()
            sync(self.file)
            sync(self.file.parent)
        except (sqlite3.Error, OSError) as error:
            os.write(2, f"sqlite: {error}\n".encode())
            return 1
        return 0

    def prove(self, file: Path) -> None:
        """Check a dump's structure."""
        with tempfile.NamedTemporaryFile(dir=self.root / "backups", prefix=".prove-") as plain:
            found = _opened(file, plain.name).execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise Failure(f"{file.name}: {found}")

    def aside(self, id: str) -> None:
        """Put away what a failed first migration left: there was no database before it."""
        for ending in ("", "-wal", "-shm", "-journal"):
            path = Path(f"{self.file}{ending}")
            if path.exists():
                path.rename(self.root / "backups" / f"{id}-failed-{path.name}")

    def shell(self) -> None:
        """Become sqlite3 on the file, as the application's user."""
        if not shutil.which("sqlite3"):
            raise Failure("there is no sqlite3 on this server; run: fab db.install")
        as_user(self.conf["user"])
        os.execvpe("sqlite3", ["sqlite3", "-header", "-box", str(self.file)], {**os.environ, "HOME": "/nonexistent"})


def _opened(file: Path, plain: str) -> sqlite3.Connection:
    """Unpack a dump and open it; the file is open from here on, also for who may not read it by its name."""
    with unpacked(file) as packed, Path(plain).open("wb") as out:
        shutil.copyfileobj(packed, out, 1 << 20)
    source = sqlite3.connect(f"file:{quote(plain)}?mode=ro&immutable=1", uri=True)
    if source.execute("PRAGMA schema_version").fetchone()[0] == 0:
        raise Failure(f"{file.name} is empty")
    return source

"""Dump a SQLite database, or restore one into the live file, by SQLite's backup API (a copy of the file would miss its WAL).

`dump DATABASE FILE` writes a durable file with mode 0600. `restore FILE DATABASE USER` writes as USER into the file that is there, so that
owner and inode stay and a crash in it can be repeated. Standard library only. https://www.sqlite.org/backup.html
"""

import os
import pwd
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote


def dump(database: str, file: str) -> None:
    """Write the database to a new file, durable before it has its name."""
    unfinished = Path(f"{file}.part")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))
    source = sqlite3.connect(f"file:{quote(database)}?mode=rw", uri=True)
    target = sqlite3.connect(unfinished)
    source.backup(target)
    target.close()
    source.close()
    sync(unfinished)
    unfinished.rename(file)
    sync(unfinished.parent)


def restore(file: str, database: str, user: str) -> None:
    """Write a dump into the live file, as the application's user."""
    source = sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)
    source.execute("PRAGMA schema_version").fetchone()
    account = pwd.getpwnam(user)
    if os.getuid() != account.pw_uid:
        os.initgroups(user, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    target = sqlite3.connect(database, timeout=60)
    source.backup(target)
    target.close()
    sync(Path(database))
    sync(Path(database).parent)


def sync(path: Path) -> None:
    """Make a file or a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def main() -> None:
    """Do what the first word says."""
    action, *words = sys.argv[1:]
    try:
        dump(*words) if action == "dump" else restore(*words)
    except (sqlite3.Error, OSError) as error:
        sys.exit(f"sqlite: {error}")


if __name__ == "__main__":
    main()

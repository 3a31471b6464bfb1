"""Work on the application's database as the application.

Its own account at the server, its own file. Runs in the service's sandbox.

Arguments: the application's folder, the action, its words. database.py starts this, and does what
only the server's administrator may: it makes, renames and drops databases and accounts, and
never enters one of an application. Whatever a database contains (functions, triggers, a hostile
file) acts here, where it has nobody to become.

`measure` prints a JSON document: `exists`, `size`, `tables` (name, rows) and `strangers` (what this
account could not put back). `dump` writes a dump to standard output; `load` and `verify`
read one from standard input. `wants` (PostgreSQL) prints the extensions that a dump names. `put_away
ID` (SQLite), `shell`. Standard library only.
"""

import json
import os
import shlex
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from application_database import Failure
from mariadb_client import MariaDB
from postgresql_client import PostgreSQL
from sqlite_client import Sqlite


def main() -> int:
    """Do what the words say."""
    root, action, *words = Path(sys.argv[1]), *sys.argv[2:]
    pairs = (
        line.partition("=")
        for line in (root / "procedures/app.conf").read_text(encoding="utf-8").splitlines()
    )
    conf = {name: "".join(shlex.split(value)) for name, _, value in pairs}
    database = {"sqlite": Sqlite, "mariadb": MariaDB, "postgresql": PostgreSQL}[conf["db_kind"]](
        root, conf
    )
    try:
        answer = getattr(database, action)(*words)
    except (Failure, sqlite3.Error, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C.UTF-8"
    sys.exit(main())

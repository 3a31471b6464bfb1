"""Work on the application's database as the application.

Its own account at the server, its own file. Runs in the service's sandbox.

Arguments: the application's folder, the action, its words. database.py starts this, and does what
only the server's administrator may: it makes, renames and drops databases and accounts, and
never enters one of an application. Whatever a database contains (functions, triggers, a hostile
file) acts here, where it has nobody to become.

`measure` prints a JSON document: `exists`, `size`, `tables` (name, rows) and `strangers` (what this
account could not put back). `dump` writes a dump to standard output; `load` and `prove`
read one from standard input. `wants` (PostgreSQL) prints the extensions that a dump names. `aside
ID` (SQLite), `shell`. Standard library only.
"""

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, unquote, urlsplit

# Bytes; the rows of a smaller table are counted, as the servers know the numbers of others only
# about
COUNTED = 100_000_000
JOURNALS = ("-journal", "-wal", "-shm")
MARIADB = (
    "mariadb",
    "--batch",
    "--skip-column-names",
    "--binary-mode",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
DUMP = (
    *(
        "mariadb-dump",
        "--single-transaction",
        "--quick",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--no-tablespaces",
    ),
    *("--default-character-set=utf8mb4", "--max-allowed-packet=1G"),
)
# In pg_restore's list: `7; 3079 16389 EXTENSION - citext `, `3; 2615 2200 SCHEMA - tools owner`,
# `9; 0 16402 TABLE DATA public entry owner`.
ENTRY = re.compile(r"\d+; \d+ \d+ (?P<what>[A-Z][A-Z ]*?) (?P<schema>\S+) (?P<name>\S+)")
IN_SCHEMA = re.compile(
    r'CREATE EXTENSION IF NOT EXISTS (?P<name>"(?:[^"]|"")+"|\S+) WITH SCHEMA'
    r' (?P<schema>"(?:[^"]|"")+"|[^;\s]+);'
)


class Failure(Exception):
    """What cannot be done, in one line that says why."""


class Database:
    """The application's database."""

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        self.root, self.conf = root, conf
        self.name = conf["db_name"]

    def login(self) -> Any:
        """Return the parts of the URL in secrets.env."""
        found = ""
        for line in (self.root / "shared/secrets.env").read_text(encoding="utf-8").split("\n"):
            name, _, value = line.strip().partition("=")
            if name == self.conf["db_variable"]:
                found = str(json.loads(value))
        return urlsplit(found)


# --- SQLite
# ---------------------------------------------------------------------------------------------------------------------------


class Sqlite(Database):
    """A file of the application.

    SQLite's backup API copies it, as a copy of the file would miss its WAL
    (https://www.sqlite.org/backup.html).
    """

    def __init__(self, root: Path, conf: Mapping[str, str]) -> None:
        super().__init__(root, conf)
        self.file = Path(conf["db_path"])

    def exists(self) -> bool:
        """Tell whether the file is there.

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
        return self.file.exists()

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
        return {"exists": True, "size": size, "tables": tables}

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

    def prove(self) -> None:
        """Check a dump's structure."""
        with self._given() as source:
            found = source.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise Failure(str(found))

    def aside(self, id: str) -> None:
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


# --- MariaDB
# --------------------------------------------------------------------------------------------------------------------------


class MariaDB(Database):
    """The application's account at MariaDB, which has all rights to its own database and none
    beside.
    """

    def measure(self) -> dict[str, Any]:
        """Return the size, the tables with their rows, and what was defined in the name of another
        account.
        """
        # Names in hexadecimal: they may have any character, also a line break.
        query = (
            "SELECT HEX(table_name), COALESCE(table_rows, 0), COALESCE(data_length, 0),"
            " COALESCE(data_length + index_length, 0) FROM information_schema.tables "
        )
        rows = self._sql(
            query + f"WHERE table_schema = '{self.name}' AND table_type IN ('BASE TABLE', 'SYSTEM"
            " VERSIONED') ORDER BY table_name"
        )
        found = [
            (bytes.fromhex(name).decode("utf-8", "replace"), int(count), int(data), int(whole))
            for name, count, data, whole in (line.split("\t") for line in rows)
        ]
        few = [name for name, _, data, _ in found if data < COUNTED]
        counts = iter(
            self._sql(
                "".join(
                    "SELECT COUNT(*) FROM `{}`;\n".format(name.replace("`", "``")) for name in few
                )
            )
            if few
            else ()
        )
        tables = [
            (name, int(next(counts)) if data < COUNTED else rows) for name, rows, data, _ in found
        ]
        return {"exists": True, **self.size(), "tables": tables, "strangers": self._strangers()}

    def size(self) -> dict[str, Any]:
        """Return the bytes of tables and indexes."""
        query = (
            "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables"
            f" WHERE table_schema = '{self.name}'"
        )
        return {
            "exists": True,
            "size": int(float(self._sql(query)[0])),
            "strangers": self._strangers(),
        }

    def dump(self) -> None:
        """Write one consistent view of all tables (of InnoDB; others are locked by nobody, which
        only matters while the application writes).
        """
        # The history of versioned tables: since 10.11, mariadb.com/kb/en/mariadb-dump.
        history = (
            ["--dump-history"]
            if b"--dump-history"
            in subprocess.run(["mariadb-dump", "--help"], capture_output=True).stdout
            else []
        )
        program, *words = (*DUMP, *history, self.name)
        os.execvp(program, [program, self._options(), *words])

    def load(self) -> None:
        """Load a dump into the database.

        What a migration defined from another host of ours is this account's, too, and named so:
        nobody may define in another name.
        """
        program, *words = MARIADB
        process = subprocess.Popen(
            [program, self._options(), *words, self.name], stdin=subprocess.PIPE, close_fds=False
        )
        places = (
            b"|".join(
                re.escape(place.encode()) for place in self.conf.get("db_clients", "").split()
            )
            or b"(?!)"
        )
        definer = re.compile(rb"DEFINER=`%s`@`(%s)`" % (self.conf["db_user"].encode(), places))
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as out:
            for line in sys.stdin.buffer:
                out.write(
                    line
                    if line.startswith(b"INSERT ")
                    else definer.sub(
                        b"DEFINER=`%s`@`localhost`" % self.conf["db_user"].encode(), line
                    )
                )
        sys.exit(process.wait())

    def prove(self) -> None:
        """Load a dump into a throw-away server of this sandbox, as an account with the same name
        and the same rights: nothing of it reaches the real one.
        """
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="decant-prove-") as folder:
            socket = f"{folder}/socket"
            data = ["--no-defaults", f"--datadir={folder}/data"]
            _ran(
                [
                    "mariadb-install-db",
                    *data,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]
            )
            small = [
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=16M",
                "--innodb-use-native-aio=0",
                "--performance-schema=OFF",
                "--skip-log-bin",
            ]
            server = subprocess.Popen(
                [
                    "/usr/sbin/mariadbd",
                    *data,
                    *small,
                    f"--socket={socket}",
                    "--skip-networking",
                    "--max-allowed-packet=1G",
                    f"--pid-file={folder}/pid",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                admin = ["mariadb", "--no-defaults", f"--socket={socket}", "-u", "root"]
                _until(
                    lambda: (
                        subprocess.run([*admin, "-e", "SELECT 1"], capture_output=True).returncode
                        == 0
                    ),
                    server,
                )
                password, user = secrets.token_hex(16), self.conf["db_user"]
                _ran(
                    admin,
                    f"CREATE DATABASE `{self.name}` CHARACTER SET utf8mb4 COLLATE"
                    f" utf8mb4_unicode_ci; CREATE USER '{user}'@'localhost' IDENTIFIED BY"
                    f" '{password}'; GRANT ALL PRIVILEGES ON"
                    f" `{self.name.replace('_', chr(92) + '_')}`.* TO '{user}'@'localhost';",
                )
                options = _held(
                    f'[client]\nuser = {user}\npassword = "{password}"\nsocket = {socket}\n'
                )
                _ran(
                    ["mariadb", f"--defaults-file={options}", *MARIADB[1:], self.name],
                    stdin=sys.stdin.buffer,
                )
            finally:
                server.kill()
                server.wait()

    def shell(self) -> None:
        """Become mariadb."""
        os.execvp(
            "mariadb", ["mariadb", self._options(), "--default-character-set=utf8mb4", self.name]
        )

    def _strangers(self) -> list[str]:
        """Return what was defined in the name of another account, which this one could not put
        back.
        """
        user, places = self.conf["db_user"], self.conf.get("db_clients", "").split()
        # mariadb-dump shows routines and events to their definer alone; views and triggers of our
        # other hosts are renamed by `load`.
        own = dict.fromkeys(("routine", "event"), f"'{user}@localhost'") | dict.fromkeys(
            ("view", "trigger"), ", ".join(f"'{user}@{place}'" for place in ("localhost", *places))
        )
        kinds = {
            "view": ("views", "table_name", "table_schema"),
            "trigger": ("triggers", "trigger_name", "trigger_schema"),
        }
        kinds |= {
            "routine": ("routines", "routine_name", "routine_schema"),
            "event": ("events", "event_name", "event_schema"),
        }
        query = " UNION ALL ".join(
            f"SELECT '{kind}', HEX({name}), definer FROM information_schema.{table} WHERE {schema}"
            f" = '{self.name}' AND definer NOT IN ({own[kind]})"
            for kind, (table, name, schema) in kinds.items()
        )
        return [
            f"{kind} {bytes.fromhex(name).decode('utf-8', 'replace')} of {definer}"
            for kind, name, definer in (line.split("\t") for line in self._sql(query))
        ]

    def _sql(self, text: str) -> list[str]:
        program, *words = MARIADB
        return _ran([program, self._options(), *words, self.name], text).splitlines()

    def _options(self) -> str:
        login = self.login()
        password = unquote(login.password or "").replace("\\", "\\\\").replace('"', '\\"')
        port = f"port = {login.port}\n" if login.port else ""
        text = (
            f'[client]\nuser = {unquote(login.username or "")}\npassword = "{password}"\nhost ='
            f" {login.hostname or 'localhost'}\n{port}"
        )
        return f"--defaults-extra-file={_held(text)}"


# --- PostgreSQL
# -----------------------------------------------------------------------------------------------------------------------

TABLES = """
SELECT pg_catalog.json_build_array(n.nspname, c.relname, pg_catalog.pg_stat_get_live_tuples(c.oid), pg_catalog.pg_relation_size(c.oid),
    pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname
"""
# What belongs to another account and is no member of an extension. Schema public is the server's
# own.
STRANGERS = """
SELECT pg_catalog.format('%s %s of %s', kind, name, CASE WHEN owner = 0 THEN 'its own account' ELSE pg_catalog.pg_get_userbyid(owner) END) FROM (
    SELECT 'table' AS kind, c.oid, 'pg_catalog.pg_class'::pg_catalog.regclass AS class, n.nspname || '.' || c.relname AS name, c.relowner AS owner
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'S', 'p', 'f')
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'function', p.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass, n.nspname || '.' || p.proname, p.proowner
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'schema', n.oid, 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.nspname, n.nspowner
        FROM pg_catalog.pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'public')
    UNION ALL SELECT 'row level security forced on table', c.oid, 'pg_catalog.pg_class'::pg_catalog.regclass, n.nspname || '.' || c.relname, 0
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relforcerowsecurity
    UNION ALL SELECT 'event trigger', e.oid, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, e.evtname, e.evtowner FROM pg_catalog.pg_event_trigger e
) found WHERE owner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = found.class AND d.objid = found.oid AND d.deptype = 'e')
    AND NOT (kind = 'schema' AND EXISTS (SELECT 1 FROM pg_catalog.pg_extension x WHERE x.extnamespace = found.oid))
ORDER BY 1
"""


class PostgreSQL(Database):
    """The application's role at PostgreSQL, which owns its database.

    Names are looked up in pg_catalog alone, as the database's owner could make others of the same
    name.
    """

    def measure(self) -> dict[str, Any]:
        """Return the size, the tables with their rows, and what belongs to other roles."""
        found = [json.loads(line) for line in self._sql(TABLES)]
        few = [
            (schema, name)
            for schema, name, _, size, readable in found
            if size < COUNTED and readable
        ]
        counts = iter(
            self._sql(
                "".join(
                    f"SELECT pg_catalog.count(*) FROM {_ident(schema)}.{_ident(name)};\n"
                    for schema, name in few
                )
            )
            if few
            else ()
        )
        tables = []
        for schema, name, rows, size, readable in found:
            counted = int(next(counts)) if size < COUNTED and readable else int(rows)
            tables.append((name if schema == "public" else f"{schema}.{name}", counted))
        return {**self.size(), "tables": tables}

    def size(self) -> dict[str, Any]:
        """Return the bytes of the database, and what belongs to other roles."""
        size = int(
            self._sql("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")[0]
        )
        return {"exists": True, "size": size, "strangers": self._sql(STRANGERS)}

    def dump(self) -> None:
        """Write pg_dump's own compressed format."""
        self._become("pg_dump", "-Fc", "-Z1")

    def wants(self) -> None:
        """Print the extensions that a dump names, each with its schema."""
        listed = [
            line
            for line in self._contents()
            if (found := ENTRY.match(line)) and found["what"] == "EXTENSION"
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".list") as only:
            only.write("\n".join([*listed, ""]))
            only.flush()
            os.lseek(0, 0, os.SEEK_SET)
            text = _ran(
                ["pg_restore", "-f", "-", f"--use-list={only.name}"], stdin=sys.stdin.buffer
            )
        print(
            json.dumps(
                [
                    [_plain(found["name"]), _plain(found["schema"])]
                    for found in IN_SCHEMA.finditer(text)
                ]
            )
        )

    def load(self, database: str, role: str, made: str) -> None:
        """Restore a dump into a database: what is in it becomes this role's.

        `made` are the extensions (a JSON list) that the administrator has made in it already.
        """
        there = set(json.loads(made))
        schemas = set(self._sql("SELECT nspname FROM pg_catalog.pg_namespace", database, role))
        members = set(
            self._sql(
                MEMBERS.format(", ".join(f"'{name}'" for name in there) or "NULL"), database, role
            )
        )
        wanted = [
            line for line in self._contents() if not self._is_there(line, there, schemas, members)
        ]
        options = ("--no-owner", "--no-acl") if role != self.conf["db_user"] else ()
        with tempfile.NamedTemporaryFile("w", suffix=".list") as listed:
            listed.write("\n".join([*wanted, ""]))
            listed.flush()
            os.lseek(0, 0, os.SEEK_SET)
            command = [
                "pg_restore",
                "--exit-on-error",
                *options,
                f"--use-list={listed.name}",
                *self._connection(database, role),
            ]
            _ran(command, stdin=sys.stdin.buffer, environment=self._environment())

    def shell(self) -> None:
        """Become psql."""
        os.environ.pop("PGOPTIONS", None)
        os.execvpe(
            "psql",
            ["psql", *self._connection(), "-d", self.name],
            {**os.environ, "PGPASSFILE": self._environment()["PGPASSFILE"]},
        )

    def _is_there(
        self, line: str, extensions: set[str], schemas: set[str], members: set[str]
    ) -> bool:
        """Tell whether an entry of a dump's contents is made already, or is the administrator's.

        A comment on an extension.
        """
        found = ENTRY.match(line)
        if not found:
            return False
        what, schema, name = found["what"], found["schema"], found["name"]
        if what == "COMMENT" and (name == "EXTENSION" or line.endswith(" SCHEMA public postgres")):
            return True
        if what == "EXTENSION":
            return name in extensions
        if what == "TABLE DATA":
            return f"{schema}.{name}" in members
        return what == "SCHEMA" and name in schemas

    def _contents(self) -> list[str]:
        os.lseek(0, 0, os.SEEK_SET)
        return _ran(["pg_restore", "--list"], stdin=sys.stdin.buffer).splitlines()

    def _sql(self, text: str, database: str = "", role: str = "") -> list[str]:
        return _ran(
            [
                "psql",
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                *self._connection(database, role),
            ],
            text,
            environment=self._environment(),
        ).splitlines()

    def _become(self, *words: str) -> None:
        os.execvpe(words[0], [*words, *self._connection()], {**os.environ, **self._environment()})

    def _connection(self, database: str = "", role: str = "") -> list[str]:
        login = self.login()
        return [
            "-h",
            login.hostname or "localhost",
            "-p",
            str(login.port or 5432),
            "-U",
            role or unquote(login.username or ""),
            "-w",
            "-d",
            database or self.name,
        ]

    def _environment(self) -> dict[str, str]:
        password = unquote(self.login().password or "").replace("\\", "\\\\").replace(":", "\\:")
        return {
            "PGPASSFILE": _held(f"*:*:*:*:{password}\n"),
            "PGOPTIONS": "-c search_path=pg_catalog",
        }


# Tables of an extension that the administrator has made: their rows are his.
MEMBERS = """
SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON d.refobjid = x.oid AND d.deptype = 'e'
    JOIN pg_catalog.pg_class c ON d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.extname IN ({})
"""


def _ident(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


# --- programs
# -------------------------------------------------------------------------------------------------------------------------


def _ran(
    command: list[str],
    text: str = "",
    stdin: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a client and return what it prints; `text` is its standard input, or `stdin`.

    Raises Failure with the line of its complaint that tells most.
    """
    given = {**os.environ, **(environment or {})}
    if stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, close_fds=False, env=given)
    else:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, close_fds=False, env=given
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failure(
            next(
                (line for line in said if "error" in line.lower()),
                said[-1] if said else f"{command[0]}: exit code {done.returncode}",
            )
        )
    return done.stdout.decode("utf-8", "replace")


def _until(question: Any, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not question():
        if server.poll() is not None or time.monotonic() > deadline:
            raise Failure("the throw-away server for the trial did not start")
        time.sleep(0.1)


def _held(text: str) -> str:
    """Keep a text in memory as a file that ends with this process and what it becomes.

    Return its path.
    """
    descriptor = os.memfd_create("decant", 0)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"


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

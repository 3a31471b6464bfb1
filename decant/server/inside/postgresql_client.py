"""PostgreSQL, as the application: its own role, which owns its database."""

import json
import os
import re
import sys
import tempfile
from typing import Any
from urllib.parse import unquote

from application_database import COUNTED, Database, in_memory, ran

# In pg_restore's list: `7; 3079 16389 EXTENSION - citext `, `3; 2615 2200 SCHEMA - tools owner`,
# `9; 0 16402 TABLE DATA public entry owner`.
ENTRY = re.compile(r"\d+; \d+ \d+ (?P<what>[A-Z][A-Z ]*?) (?P<schema>\S+) (?P<name>\S+)")
IN_SCHEMA = re.compile(
    r'CREATE EXTENSION IF NOT EXISTS (?P<name>"(?:[^"]|"")+"|\S+) WITH SCHEMA'
    r' (?P<schema>"(?:[^"]|"")+"|[^;\s]+);'
)
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
# Tables of an extension that the administrator has made: their rows are his.
MEMBERS = """
SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON d.refobjid = x.oid AND d.deptype = 'e'
    JOIN pg_catalog.pg_class c ON d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.extname IN ({})
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
            text = ran(["pg_restore", "-f", "-", f"--use-list={only.name}"], stdin=sys.stdin.buffer)
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
            ran(command, stdin=sys.stdin.buffer, environment=self._environment())

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
        return ran(["pg_restore", "--list"], stdin=sys.stdin.buffer).splitlines()

    def _sql(self, text: str, database: str = "", role: str = "") -> list[str]:
        return ran(
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
            "PGPASSFILE": in_memory(f"*:*:*:*:{password}\n"),
            "PGOPTIONS": "-c search_path=pg_catalog",
        }


def _ident(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name

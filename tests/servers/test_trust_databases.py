"""No superuser enters an application's database.

What it put there makes it nobody else, and a dump that wants more than it may do is refused by
name.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booted import NO_SERVER, ServerFactory, why_not
from tests.hostile import Hostile

pytestmark = pytest.mark.full

LEFT = {
    "postgresql": (
        "select datname from pg_database where datname like '%decant%' union all select rolname"
        " from pg_roles where rolname like '%decant%'"
    ),
    "mariadb": (
        "select schema_name from information_schema.schemata where schema_name like '%decant%'"
        " union all select user from mysql.user where user like '%decant%'"
    ),
}


def deployed(booth: ServerFactory, suite: str, kind: str) -> Hostile:
    made = Hostile(booth.boot(suite, database=kind))
    made.configure(more=f'[db]\nkind = "{kind}"')
    made.server.fab("deploy")
    return made


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Hostile]:
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    booth = ServerFactory(tmp_path_factory.mktemp("postgresql"), repository, "pg")
    try:
        yield deployed(booth, "trixie", "postgresql")
    finally:
        booth.close()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Hostile]:
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    booth = ServerFactory(tmp_path_factory.mktemp("mariadb"), repository, "my")
    try:
        yield deployed(booth, "bookworm", "mariadb")
    finally:
        booth.close()


def as_application(evil: Hostile, *statements: str) -> str:
    """Run statements as the application, inside it."""
    driver = {"postgresql": "psycopg2", "mariadb": "pymysql"}[evil.server.database]
    return evil.python(f"""
        import os, {driver}, urllib.parse as u
        parts = u.urlsplit(os.environ["DATABASE_URL"])
        c = {driver}.connect(host="localhost", user=parts.username, password=u.unquote(parts.password), database=parts.path.strip("/"))
        {"c.autocommit = True" if driver == "psycopg2" else "c.autocommit(True)"}
        cursor = c.cursor()
        for statement in {statements!r}:
            cursor.execute(statement)
        print(cursor.fetchall() if cursor.description else "done")
    """)


def as_administrator(evil: Hostile, *statements: str, database: str = "") -> list[str]:
    command = {
        "postgresql": [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database or "postgres",
        ],
        "mariadb": ["mariadb", "--batch", "--skip-column-names", *([database] if database else [])],
    }[evil.server.database]
    text = "".join(f"{statement};\n" for statement in statements)
    return evil.server.ssh(f"{shlex.join(command)} <<'END'\n{text}END").splitlines()


def is_superuser(evil: Hostile) -> bool:
    return as_administrator(evil, "select rolsuper from pg_roles where rolname = 'evil'") == ["t"]


def newest_dump(evil: Hostile) -> str:
    return evil.server.ssh("ls -t /srv/evil/backups | head -n 1")


BECOME = (
    "begin if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then execute"
    " 'alter role evil superuser'; end if; "
)
RESET = (
    "begin begin execute 'reset role'; execute 'alter role evil superuser'; exception when others"
    " then null; end; "
)


def test_postgresql_of_an_application_makes_it_no_superuser(postgresql: Hostile) -> None:
    evil = postgresql
    # Functions that are a better match than the server's own, in every schema that is looked in,
    # and a search_path that leads to them.
    as_application(
        evil,
        "create table public.notes (x int)",
        f"create function public.quote_ident(n name) returns text language plpgsql as $$ {BECOME}"
        " return pg_catalog.quote_ident(n::text); end $$",
        "create function public.format(a text, b name) returns text language plpgsql as $$"
        f" {BECOME} return a; end $$",
        f"create function public.count() returns bigint language plpgsql as $$ {BECOME} return 0;"
        " end $$",
        "alter database evil set search_path = public, pg_catalog",
    )
    assert '"tables"' in evil.server.fab("db.status", "--json").stdout
    evil.server.fab("deploy")
    assert not is_superuser(evil)
    # A setting whose value is a statement.
    as_application(
        evil,
        "select set_config('search_path', 'x;ALTER/**/ROLE/**/evil/**/SUPERUSER', false)",
        "alter database evil set search_path from current",
    )
    evil.server.fab("db.dump")
    evil.server.fab("db.restore", newest_dump(evil), "--yes")
    assert not is_superuser(evil)
    as_application(
        evil,
        "alter database evil reset search_path",
        "alter database evil set work_mem = '8MB'",
        "alter database evil set application_name = 'it''s; drop'",
    )
    # A constraint that runs while rows are loaded: in a restore, in a trial, in a put-back that
    # nobody asked for, and from a file that was sent.
    for number, body in enumerate((BECOME, RESET)):
        as_application(
            evil,
            f"create function public.check_{number}(x int) returns bool language plpgsql as $$"
            f" {body} return true; end $$",
            f"create table public.checked_{number} (x int check (public.check_{number}(x)))",
            f"insert into public.checked_{number} values (1)",
        )
    local = evil.folder / "sent.dump"
    evil.server.fab("db.dump", "--to", str(local))
    evil.server.fab("db.restore", newest_dump(evil), "--yes")
    assert not is_superuser(evil)
    evil.server.fab("db.restore", str(local), "--yes")
    assert not is_superuser(evil)
    evil.configure(app='migrate = "exit 1"', more='[db]\nkind = "postgresql"')
    evil.write("NEWS", "better")
    assert "put back: code and database as before" in evil.server.fab("update", code=1).stdout
    assert not is_superuser(evil)
    assert as_application(evil, "select x from public.checked_1") == "[(1,)]"
    settings = as_administrator(
        evil,
        "select setconfig from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase"
        " where datname = 'evil' and setrole = 0",
    )
    assert settings == ['{work_mem=8MB,"application_name=it\'s; drop"}']
    assert as_administrator(evil, LEFT["postgresql"]) == []
    as_application(evil, "drop table public.checked_0, public.checked_1")


def test_extensions_come_back_with_the_database(postgresql: Hostile) -> None:
    evil = postgresql
    as_application(
        evil,
        "create extension pgcrypto",
        "create schema words",
        "create extension citext schema words",
        "create table public.names (name words.citext, secret bytea default public.digest('x',"
        " 'sha256'))",
        "insert into public.names values ('Ann')",
    )
    as_administrator(evil, "create extension pg_stat_statements", database="evil")
    extensions = (
        "select concat_ws(' ', extname, nspname, rolname) from pg_extension join pg_namespace n on"
        " n.oid = extnamespace join pg_roles r on r.oid = extowner order by 1"
    )
    before = as_administrator(evil, extensions, database="evil")
    assert before == [
        "citext words evil",
        "pg_stat_statements public postgres",
        "pgcrypto public evil",
        "plpgsql pg_catalog postgres",
    ]
    evil.configure(app='migrate = "exit 1"', more='[db]\nkind = "postgresql"')
    evil.write("NEWS", "better still")
    assert "put back: code and database as before" in evil.server.fab("update", code=1).stdout
    assert as_administrator(evil, extensions, database="evil") == before
    assert as_application(evil, "select name from public.names") == "[('Ann',)]"
    # What was made here is restored by hand, too; from another server it is refused by name.
    local = evil.folder / "with-extensions.dump"
    evil.server.fab("db.dump", "--to", str(local))
    evil.server.fab("db.restore", newest_dump(evil), "--yes")
    assert as_administrator(evil, extensions, database="evil") == before
    refused = evil.server.fab("db.restore", str(local), "--yes", code=1).stderr
    assert (
        "the dump wants the extension pg_stat_statements, which only the server's administrator may"
        " make"
        in refused
        and "--as-administrator" in refused
    )
    assert as_administrator(evil, LEFT["postgresql"]) == []
    evil.server.fab("db.restore", str(local), "--yes", "--as-administrator")
    assert as_application(evil, "select name from public.names") == "[('Ann',)]"
    as_administrator(evil, "drop extension pg_stat_statements", database="evil")


def test_a_dump_that_wants_more_is_refused_and_leaves_nothing(postgresql: Hostile) -> None:
    evil = postgresql
    before = as_administrator(
        evil,
        "select rolname, rolsuper, rolcreatedb from pg_roles",
        "select datname, datdba from pg_database",
        "select * from pg_db_role_setting",
    )
    as_administrator(evil, "create database donor")
    as_administrator(
        evil,
        "create function tell() returns event_trigger language plpgsql as $$ begin end $$",
        "create event trigger watch on ddl_command_end execute function tell()",
        database="donor",
    )
    evil.server.ssh(
        "runuser -u postgres -- pg_dump -Fc -d donor >/root/donor.dump; runuser -u postgres --"
        " dropdb donor"
    )
    local = evil.folder / "donor.dump"
    local.write_bytes(
        bytes.fromhex(evil.server.ssh("od -An -v -tx1 /root/donor.dump | tr -d ' \\n'"))
    )
    said = evil.server.fab("db.restore", str(local), "--yes", code=1).stderr
    assert (
        "the dump wants what the account evil may not do" in said
        and "event trigger" in said
        and "--as-administrator" in said
    )
    assert (
        as_administrator(
            evil,
            "select rolname, rolsuper, rolcreatedb from pg_roles",
            "select datname, datdba from pg_database",
            "select * from pg_db_role_setting",
        )
        == before
    )
    assert (
        evil.server.ssh(
            "ls -A /srv/evil/backups | grep -e restore -e part; ls /var/tmp | grep decant; true"
        )
        == ""
    )
    # What another account made in the live database could not be put back: said before the stop.
    as_administrator(evil, "create table public.audit (x int)", database="evil")
    evil.configure(app='migrate = "exit 1"', more='[db]\nkind = "postgresql"')
    evil.write("NEWS", "the best")
    said = evil.server.fab("update", code=1).stderr
    assert "table public.audit of postgres" in said and "OWNER TO" in said
    as_administrator(evil, "drop table public.audit", database="evil")


def test_mariadb_of_an_application_makes_it_nobody_else(mariadb: Hostile) -> None:
    evil = mariadb
    as_application(
        evil,
        "create table kept (x int)",
        "insert into kept values (1)",
        "create table `a\nb; \\! id` (x int)",
    )
    found = json.loads(evil.server.fab("db.status", "--json").stdout)
    assert ["kept", 1] in found["tables"] and any(
        name.startswith("a?b") for name, _ in found["tables"]
    )
    grants = as_administrator(evil, "show grants for evil@localhost")
    everything = as_administrator(
        evil, "select user, host, plugin, authentication_string from mysql.user", "show databases"
    )
    dumps = {
        "grant": "GRANT ALL PRIVILEGES ON *.* TO evil@localhost;",
        "outfile": "SELECT 'x' INTO OUTFILE '/var/tmp/outfile-by-dump';",
        "load": "LOAD DATA INFILE '/etc/passwd' INTO TABLE ok;",
        "user": "CREATE USER other@localhost;",
        "definer": "CREATE DEFINER=root@localhost VIEW seen AS SELECT 1;",
        "elsewhere": "CREATE DATABASE elsewhere; USE elsewhere; CREATE TABLE t (x int);",
        "server": "SET GLOBAL general_log = 1;",
        "shell": "system touch /var/tmp/outfile-by-dump\n\\! touch /var/tmp/outfile-by-dump\n",
    }
    for name, statement in dumps.items():
        local = evil.folder / f"{name}.sql"
        local.write_text(f"CREATE TABLE ok (x int);\n{statement}\n-- Dump completed\n")
        said = evil.server.fab("db.restore", str(local), "--yes", code=1).stderr
        if name not in ("shell",):
            assert (
                "the dump wants what the account evil may not do" in said
                and "--as-administrator" in said
            ), (name, said)
        assert as_administrator(evil, "show grants for evil@localhost") == grants, name
        assert (
            as_administrator(
                evil,
                "select user, host, plugin, authentication_string from mysql.user",
                "show databases",
            )
            == everything
        ), name
        assert (
            evil.server.ssh(
                "ls -A /srv/evil/backups | grep restore; ls /var/tmp /tmp | grep -e outfile -e"
                " verify; pgrep -f [d]ecant-verify; true"
            )
            == ""
        ), name
    assert as_application(evil, "select x from kept") == "((1,),)"
    # What names the live database in a trial reaches the throw-away one; what it does in the window
    # is undone with it.
    local = evil.folder / "live.sql"
    local.write_text("DROP TABLE evil.kept;\n-- Dump completed\n")
    evil.server.fab("db.restore", str(local), "--yes", code=1)
    assert as_application(evil, "select x from kept") == "((1,),)"
    # Its own dump goes and comes.
    evil.server.fab("db.dump")
    evil.server.fab("db.restore", newest_dump(evil), "--yes")
    assert as_application(evil, "select x from kept") == "((1,),)"
    local.write_text(
        "CREATE TABLE kept (x int);\nINSERT INTO kept VALUES (2);\nCREATE DEFINER=root@localhost"
        " VIEW seen AS SELECT 1;\n-- Dump completed\n"
    )
    evil.server.fab("db.restore", str(local), "--yes", "--as-administrator")
    assert as_application(evil, "select x from kept") == "((2,),)"
    evil.configure(app='migrate = "exit 1"', more='[db]\nkind = "mariadb"')
    evil.write("NEWS", "better")
    assert "view seen of root@localhost" in evil.server.fab("update", code=1).stderr

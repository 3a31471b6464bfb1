"""The guestbook on MariaDB and PostgreSQL.

Made, migrated under load, dumped, restored here and on another server, left alone when it is
somebody else's.
"""

import json
import re

import pytest

from tests.booted import Server, ServerFactory, changed, document
from tests.load import Load
from tests.servers.test_accounts import at_a_terminal
from tests.watch import Watch

KINDS = ("mariadb", "postgresql")
ALL = ("sqlite", *KINDS)
ROWS = [f"row{number}" for number in range(10)]
SUFFIX = {"sqlite": "sqlite3.gz", "mariadb": "sql.gz", "postgresql": "dump"}


def password(server: Server) -> str:
    found = re.search(
        r":([^:@/]+)@localhost/guestbook",
        server.ssh("grep ^DATABASE_URL= /srv/guestbook/shared/secrets.env"),
    )
    assert found
    return found[1]


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "suite"),
    [("mariadb", "bookworm"), ("postgresql", "trixie")],
)
def test_an_empty_server_gets_a_database_whose_password_nobody_sees(
    booth: ServerFactory, kind: str, suite: str
) -> None:
    server = booth.boot(suite, database=kind)
    server.account("deployer", "ALL=(ALL) NOPASSWD: ALL")
    server.target = "by-account"
    host = server.entry("by-account", user="deployer")
    (server.folder / "env").write_text("TOKEN=token-4711\n")
    server.configure(
        'env_file = "env"\nenv = { DSN = "{db.user}:{db.password}@{db.host}/{db.name}" }', more=host
    )
    with Watch(server) as watch:
        said = server.fab("deploy").stdout
        first = password(server)
        server.write(*ROWS)
        again = server.fab("deploy").stdout
        assert changed(again) == [0] and "already current" in again
        server.configure(
            'env_file = "env"\nref = "migrates"\nenv = { DSN ='
            ' "{db.user}:{db.password}@{db.host}/{db.name}" }',
            more=host,
        )
        with Load(server.address) as load:
            done = server.fab("update", "--json")
        said += (
            again
            + done.stdout
            + done.stderr
            + server.fab("db.status", "db.dump", "app.env", "db.create").stdout
        )
    # A password that was changed by hand is taken over.
    server.ssh(f"sed -i s/{first}/by%2Fhand4711/ /srv/guestbook/shared/secrets.env")
    with watch:
        said += server.fab("db.create").stdout
    assert load.lost == []
    assert document(done.stdout)["prober"]["lost"] == 0
    assert load.versions.keys() == {"v1", "migrates"}
    assert server.rows()[:10] == ROWS and sorted(server.rows()[10:]) == sorted(load.posts)
    assert "mood" in server.columns()

    assert server.get("/up")[0] == 200
    assert server.get("/variable/DSN") == (200, "guestbook:by/hand4711@localhost/guestbook")
    assert "by%2Fhand4711" in server.ssh("cat /srv/guestbook/shared/secrets.env")
    assert (
        server.ssh(
            "stat -c '%a %U:%G' /srv/guestbook/shared/secrets.env"
            " /srv/guestbook/current/.deploy/env"
        ).split()
        == ["640", "root:guestbook"] * 2
    )
    assert b"database.py" in watch.saw("database.py")
    for hidden in (first, "hand4711", "token-4711"):
        assert hidden not in said
        assert watch.saw(hidden) == b""
    everywhere = server.ssh(f"grep -rlF {first} /srv /etc /var/lib/decant /run 2>/dev/null; true")
    assert everywhere == ""

    server.fab("system.reboot")
    server.wait_until(lambda: server.get("/up")[0] == 200, what="the site is back after a reboot")


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_the_account_reaches_its_own_database_and_no_other(booth: ServerFactory, kind: str) -> None:
    server = booth.deployed(database=kind)
    encoding = {
        "mariadb": (
            "select default_character_set_name from information_schema.schemata where schema_name ="
            " 'guestbook'"
        ),
        "postgresql": (
            "select pg_encoding_to_char(encoding) from pg_database where datname = 'guestbook'"
        ),
    }
    assert server.sql(encoding[kind]) == [{"mariadb": "utf8mb4", "postgresql": "UTF8"}[kind]]
    make = {
        "mariadb": "mariadb -e 'create database guestbookx; create table guestbookx.t (i int)'",
        "postgresql": (
            "runuser -u postgres -- psql -q -c 'create database guestbookx' -c 'revoke connect on"
            " database guestbookx from public'"
        ),
    }
    server.ssh(make[kind])
    ask = {
        "mariadb": (
            "import pymysql; pymysql.connect(host='localhost', user='guestbook', password=p,"
            " database='guestbookx')"
        ),
        "postgresql": (
            "import psycopg2; psycopg2.connect(host='localhost', user='guestbook', password=p,"
            " dbname='guestbookx')"
        ),
    }
    script = (
        "import os, urllib.parse as u; p = u.urlsplit(os.environ['DATABASE_URL']).password;"
        f" {ask[kind]}"
    )
    said = server.fab("app.run", f'python -c "{script}" 2>&1', code=1).stdout
    assert {
        "mariadb": "Access denied for user 'guestbook'",
        "postgresql": "permission denied for database",
    }[kind] in said


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL)
def test_going_back_over_a_migration_downgrades_or_restores(
    booth: ServerFactory, kind: str
) -> None:
    server = booth.deployed("trixie", database=kind)
    before = server.everything()
    server.configure('ref = "migrates"')
    server.fab("update")
    server.write("later")
    refused = server.fab("rollback", code=1).stderr
    assert "--downgrade" in refused and "--restore" in refused
    assert server.get("/version") == (200, "migrates")

    with Load(server.address) as load:
        server.fab("rollback", "--downgrade")
    assert load.lost == []
    assert server.get("/version") == (200, "v1")
    assert "mood" not in server.columns()
    assert server.rows()[:11] == [*ROWS, "later"] and sorted(server.rows()[11:]) == sorted(
        load.posts
    )

    server.fab("update")
    server.fab("rollback", "--restore")
    assert server.rows()[:11] == [*ROWS, "later"]
    assert "mood" not in server.columns()
    # The oldest dump of the old release is the one of before the first update.
    first = server.ssh("ls /srv/guestbook/backups | grep -v empty | head -n 1")
    server.fab("db.restore", first, "--yes")
    assert server.everything() == before


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL)
def test_a_dump_moves_to_a_second_server_and_a_bad_one_destroys_nothing(
    booth: ServerFactory, kind: str
) -> None:
    server, second = booth.deployed(database=kind), booth.boot("trixie", database=kind)
    local = server.folder / f"book.{SUFFIX[kind]}"
    said = server.fab("db.dump", "--to", str(local)).stdout
    assert str(local) in said
    assert local.stat().st_mode & 0o777 == 0o600
    name = server.ssh("ls -t /srv/guestbook/backups | head -n 1")
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}-\d{{8}}T\d{{6}}-[0-9a-f]{{7}}\.{SUFFIX[kind]}", name)
    assert server.ssh(f"stat -c %a /srv/guestbook/backups/{name}") == "600"
    assert "is there already" in server.fab("db.dump", "--to", str(local), code=1).stderr

    second.configure(more=second.login("password"))
    second.fab("deploy")
    second.write("other")
    assert "give --yes" in second.fab("db.restore", str(local), code=1).stderr
    kept = second.everything()
    bad = second.folder / f"bad.{SUFFIX[kind]}"
    for data in (local.read_bytes()[:-300], b"no dump at all"):
        bad.write_bytes(data)
        assert "trial restore of bad" in second.fab("db.restore", str(bad), "--yes", code=1).stderr
    assert (
        "there is no dump"
        in second.fab("db.restore", f"nowhere.{SUFFIX[kind]}", "--yes", code=1).stderr
    )
    assert second.everything() == kept
    with Load(second.address) as load:
        said = second.fab("db.restore", str(local), "--yes").stdout
    assert load.lost == []
    assert second.rows()[:10] == ROWS
    assert second.get("/up")[0] == 200
    left = {
        "mariadb": "show databases like '%decant%'",
        "postgresql": "select datname from pg_database where datname like '%decant%'",
        "sqlite": "select 1 where 0",
    }
    assert second.sql(left[kind]) == []
    assert second.ssh("ls -A /srv/guestbook/backups | grep restore || true") == ""
    # What was there before the restore was dumped.
    dump = second.ssh("ls -t /srv/guestbook/backups | head -n 1")
    second.fab("db.restore", dump, "--yes")
    assert second.rows()[0] == "other"
    status = json.loads(second.fab("db.status", "--json").stdout)
    assert (
        status["kind"] == kind
        and status["head"] == "0002"
        and status["pending"] == ""
        and status["size"] > 0
    )
    assert ["entry", len(second.rows())] in status["tables"]


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_ours_is_refused_and_left_alone(booth: ServerFactory, kind: str) -> None:
    server = booth.boot(database=kind)
    package, make = {
        "mariadb": (
            "mariadb-server",
            "mariadb -e \"create user guestbook@localhost identified by 'theirs'\"",
        ),
        "postgresql": (
            "postgresql",
            "runuser -u postgres -- psql -q -c \"create role guestbook login password 'theirs'\"",
        ),
    }[kind]
    server.ssh(
        f"apt-get -qq update && apt-get -qq install -y --no-install-recommends {package} >/dev/null"
        f" 2>&1; {make}"
    )
    assert "has an account guestbook already" in server.fab("deploy", code=1).stderr
    server.configure(db='name = "my_book"\nuser = "my_book"')
    server.fab("deploy")
    assert server.get("/up")[0] == 200
    assert changed(server.fab("deploy").stdout) == [0]
    # Rows do not move by themselves: another database under the same application is refused, by
    # whichever task.
    server.configure(db='name = "book"\nuser = "my_book"')
    for task in ("deploy", "update", "db.dump"):
        assert (
            f"are in {kind} my_book, and hosts.toml names {kind} book my_book"
            in server.fab(task, code=1).stderr
        )
    text = (server.folder / "hosts.toml").read_text()
    (server.folder / "hosts.toml").write_text(text.replace(f'kind = "{kind}"', 'kind = "sqlite"'))
    assert f"are in {kind} my_book" in server.fab("deploy", code=1).stderr
    server.configure(db='name = "my_book"\nuser = "my_book"')
    # A second application may not have the same database.
    text = (
        (server.folder / "hosts.toml").read_text().replace('name   = "guestbook"', 'name = "other"')
    )
    (server.folder / "hosts.toml").write_text(text)
    assert (
        "guestbook on this server has the database my_book" in server.fab("deploy", code=1).stderr
    )


@pytest.mark.full
@pytest.mark.parametrize("kind", ["postgresql"])
def test_an_external_database_is_logged_in_to_and_nothing_is_installed(
    booth: ServerFactory, kind: str
) -> None:
    theirs, server = booth.boot("trixie", database=kind), booth.boot()
    theirs.ssh(
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends postgresql >/dev/null"
        " 2>&1"
    )
    theirs.ssh(
        "runuser -u postgres -- psql -q -c \"create role book login password 'external-4711'\" -c"
        " 'create database guestbook owner book'"
    )
    theirs.ssh(
        "echo \"listen_addresses = '*'\" >> /etc/postgresql/17/main/postgresql.conf; echo 'host"
        " guestbook book all scram-sha-256' >> /etc/postgresql/17/main/pg_hba.conf"
    )
    theirs.ssh("systemctl restart postgresql")
    env = server.folder / "env"

    env.write_text("OTHER=1\n")
    server.configure('env_file = "env"', more="[db]\nkind = 'external'")
    assert 'db.kind = "external" needs DATABASE_URL there' in server.fab("deploy", code=1).stderr
    env.write_text(
        f"DATABASE_URL=postgresql+psycopg2://book:wrong-4711@{theirs.address}/guestbook\n"
    )
    assert "add the driver to the application's requirements" in server.fab("deploy", code=1).stderr
    external = "[python]\npackages = ['psycopg2-binary']\n[db]\nkind = 'external'"
    server.configure('env_file = "env"', more=external)
    said = server.fab("deploy", code=1)
    assert (
        f"postgresql+psycopg2://book:***@{theirs.address}/guestbook does not let the application"
        " log in" in said.stderr
    )
    assert "password authentication failed" in said.stderr
    assert "wrong-4711" not in said.stdout + said.stderr
    env.write_text(
        f"DATABASE_URL=postgresql+psycopg2://book:external-4711@{theirs.address}/guestbook\n"
    )
    server.fab("deploy")
    server.write("hello")
    assert theirs.rows() == ["hello"]
    assert changed(server.fab("deploy").stdout) == [0]
    server.ssh("! command -v psql && ! command -v mariadb")
    assert "its owner dumps and restores it" in server.fab("db.dump", code=1).stderr
    server.configure('env_file = "env"\nref = "migrates"', more=external)
    assert "a migration that fails will not be undone" in server.fab("update").stdout
    assert "mood" in theirs.columns()


def test_several_migration_heads_are_refused_before_the_stop(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = "two-heads"')
    started = server.ssh("systemctl show -p MainPID -p NRestarts guestbook.service")
    with Load(server.address) as load:
        said = server.fab("update", code=1).stderr
    assert "several migration heads (0003, 0003b)" in said and "flask db merge heads" in said
    assert load.lost == [] and load.versions.keys() == {"v1"}
    assert server.ssh("systemctl show -p MainPID -p NRestarts guestbook.service") == started


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_destroy_keeps_a_final_dump_and_removes_the_database(
    booth: ServerFactory, kind: str
) -> None:
    server = booth.deployed(database=kind)
    before = server.everything()
    server.fab("destroy", "--yes")
    dump = server.ssh("ls /var/lib/decant/backups/")
    accounts = {
        "mariadb": (
            "mariadb -e \"select user from mysql.user where user = 'guestbook'; show databases\""
        ),
        "postgresql": "runuser -u postgres -- psql -c '\\du' -l",
    }
    assert "guestbook" not in server.ssh(accounts[kind])
    server.fab("deploy")
    assert server.rows() == []
    server.ssh(f"cp /var/lib/decant/backups/{dump} /srv/guestbook/backups/")
    server.fab("db.restore", dump, "--yes")
    assert server.everything() == before


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL)
def test_the_tasks_of_db_run_alone_and_its_shell_opens(booth: ServerFactory, kind: str) -> None:
    server = booth.boot(database=kind)
    if kind != "sqlite":
        server.fab("db.install")
        server.fab("db.create")
        assert changed(server.fab("db.create").stdout) == [0]
    assert "nothing is deployed here yet" in server.fab("db.status", code=1).stderr
    server.fab("deploy")
    server.write("one", "two")
    server.fab("db.install")
    prompt, leave = {
        "sqlite": ("sqlite>", ".quit"),
        "mariadb": ("MariaDB [guestbook]>", "quit"),
        "postgresql": ("guestbook=>", "\\q"),
    }[kind]
    code, shown = at_a_terminal(
        server,
        ["-H", server.name, "db.shell"],
        prompt,
        f"select count(*) + 40 from entry;\n{leave}",
    )
    assert code == 0, shown
    assert "42" in shown


def test_a_disk_without_room_for_the_dump_ends_the_window_before_the_stop(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.ssh("mount -t tmpfs -o size=30m,mode=0700 tmpfs /srv/guestbook/backups")
    server.configure('ref = "migrates"')
    with Load(server.address) as load:
        said = server.fab("update", code=1).stderr
    assert (
        "no room for the window and its dump" in said
        and "MB needed in /srv/guestbook/backups" in said
    )
    assert load.lost == [] and load.versions.keys() == {"v1"}

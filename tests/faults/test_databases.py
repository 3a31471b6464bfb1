"""On MariaDB, whose DDL is not transactional, and on PostgreSQL.

Whatever ends a migration, not one row differs and the old release runs on.
"""

import pytest

from tests.booted import Server, ServerFactory, changed, kill
from tests.faults.test_cuts import old_pair
from tests.load import Load

KINDS = ("mariadb", "postgresql")


# What databases have that a guestbook has not, and what a restore by its own account, or of rows
# alone, would trip over.
AWKWARD = {
    "mariadb": (
        """
create definer = guestbook@localhost trigger entry_guard before insert on entry for each row
begin
    -- a word at the start of a line that is one of the client's, too
    Use_it: begin end;
    set new.author = new.author;
end //
create definer = guestbook@localhost procedure counted()
begin
    select count(*) from entry
    USE INDEX (primary);
end //
create definer = guestbook@localhost view texts as select text from entry //
create table picture (id int primary key, data longblob) //
insert into picture values (1, repeat(x'00ff', 5000000)) //
create table versioned (id int primary key) with system versioning //
insert into versioned values (1) //
update versioned set id = 2 //
create user `read-only`@localhost //
grant select on guestbook.* to `read-only`@localhost //
"""
    ),
    "postgresql": (
        """
create role "read-only";
grant connect on database guestbook to "read-only";
alter default privileges for role postgres grant select on tables to "read-only";
alter default privileges for role guestbook grant select on tables to "read-only";
alter database guestbook set work_mem = '8MB';
alter database guestbook set search_path = public, other;
alter role "read-only" in database guestbook set statement_timeout = '5s';
\\connect guestbook
create schema tools authorization guestbook;
create extension pg_trgm schema tools;
set role guestbook;
create schema other;
create table other.theirs (id serial primary key, data bytea);
insert into other.theirs (data) values (decode(repeat('00ff', 5000), 'hex'));
select nextval('other.theirs_id_seq');
create view texts as select text from entry;
grant select on entry to "read-only";
"""
    ),
}
LOAD = {
    "mariadb": "mariadb --delimiter=// guestbook",
    "postgresql": "runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1",
}


def make_awkward(server: Server) -> None:
    server.ssh(
        "cat <<'END' |"
        f" {LOAD[server.database]}\n{AWKWARD[server.database].replace(chr(92) * 2, chr(92))}END"
    )


@pytest.mark.full
@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_migration_that_fails_hangs_or_makes_the_release_sick_leaves_every_row_as_it_was(
    booth: ServerFactory, kind: str
) -> None:
    server = booth.deployed(database=kind)
    make_awkward(server)
    before = server.everything()
    assert len(before) > 50
    for branch, cause in (
        ("fails-to-migrate", "the migration failed"),
        ("hangs-in-the-server", "migrate_timeout (4 s)"),
        ("sick-after-migration", "/up answered 500"),
    ):
        server.configure(f'ref = "{branch}"', db="migrate_timeout = 4")
        said = server.fab("update", code=1).stderr
        assert cause in said and "serves as before" in said
        assert server.get("/version") == (200, "v1")
        assert server.everything() == before, branch

    server.configure('ref = "fails-to-migrate"')
    with Load(server.address) as load:
        server.fab("update", code=1)
    assert load.lost == []
    assert set(load.versions) == {"v1"}
    assert server.rows()[:10] == [f"row{number}" for number in range(10)]
    assert sorted(server.rows()[10:]) == sorted(load.posts)
    # The next one, which is good, goes through.
    server.configure('ref = "migrates"')
    server.fab("update")
    assert "mood" in server.columns()


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_window_and_a_power_cut_end_with_the_old_code_and_the_old_rows(
    booth: ServerFactory, kind: str
) -> None:
    server = booth.deployed("trixie", database=kind)
    before = server.rows()
    server.configure('ref = "migrates-slowly"')
    with Load(server.address) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        assert "damaged" in server.rows()
        server.ssh("pkill -9 -f 'guestbook/procedures/window.py'")
        client.wait(timeout=60)
        server.wait_until(
            lambda: server.get("/version") == (200, "v1"), what="the old release serves"
        )
    assert load.lost == []
    assert set(load.versions) == {"v1"}
    old_pair(server, before, load)
    before = server.rows()

    server.ssh("rm -f /srv/guestbook/log/*.log")
    with Load(server.address, timeout=15) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        server.power_cut()
        kill(client)
    server.boot()
    server.wait_until(lambda: server.get("/version") == (200, "v1"), what="the site is back")
    old_pair(server, before, load)
    server.fab("update")
    assert server.get("/version") == (200, "migrates-slowly")


def test_a_database_server_that_was_killed_is_told_by_update_and_started_by_deploy(
    booth: ServerFactory,
) -> None:
    server = booth.deployed(database="postgresql")
    rows = server.rows()
    # Its cluster is a unit of its own, and nobody starts that again.
    server.ssh("systemctl kill -s KILL --kill-who=main 'postgresql@*'; sleep 2")
    server.configure()
    said = server.fab("update", code=1).stderr
    assert "is current, and does not serve: /up answered 500" in said
    assert "PostgreSQL answers" in server.fab("deploy").stdout
    assert server.get("/up")[0] == 200
    assert server.rows() == rows
    assert changed(server.fab("deploy").stdout) == [0]

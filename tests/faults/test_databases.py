"""On MariaDB, whose DDL is not transactional, and on PostgreSQL: whatever ends a migration, not one row differs and the old release runs on."""

import pytest

from tests.booted import Booth, kill
from tests.faults.test_cuts import old_pair
from tests.load import Load

KINDS = ("mariadb", "postgresql")


@pytest.mark.parametrize("kind", KINDS)
def test_a_migration_that_fails_hangs_or_makes_the_release_sick_leaves_every_row_as_it_was(booth: Booth, kind: str) -> None:
    server = booth.deployed(database=kind)
    before = server.everything()
    assert len(before) > 10
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


@pytest.mark.matrix
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_window_and_a_power_cut_end_with_the_old_code_and_the_old_rows(booth: Booth, kind: str) -> None:
    server = booth.deployed("trixie", database=kind)
    before = server.rows()
    server.configure('ref = "migrates-slowly"')
    with Load(server.address) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        assert "damaged" in server.rows()
        server.ssh("pkill -9 -f 'guestbook/procedures/window.sh'")
        client.wait(timeout=60)
        server.wait_until(lambda: server.get("/version") == (200, "v1"), what="the old release serves")
    assert load.lost == []
    assert set(load.versions) == {"v1"}
    old_pair(server, before, load)
    before = server.rows()

    server.ssh("rm -f /srv/guestbook/log/*.log")
    with Load(server.address, patience=15) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        server.power_cut()
        kill(client)
    server.boot()
    server.wait_until(lambda: server.get("/version") == (200, "v1"), what="the site is back")
    old_pair(server, before, load)
    server.fab("update")
    assert server.get("/version") == (200, "migrates-slowly")

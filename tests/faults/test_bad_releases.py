"""A release that fails leaves the old version and the old rows, loses no request, and says why in
one line.
"""

import json

import pytest

from tests.booted import ServerFactory
from tests.load import Load


@pytest.mark.parametrize(
    ("branch", "cause"),
    [
        ("does-not-import", "nowhere_to_be_found"),
        ("has-no-app", "has no 'app'"),
        ("fails-to-migrate", "the migration failed"),
        ("sick", "/up answered 500"),
        ("sick-after-migration", "/up answered 500"),
    ],
)
def test_a_bad_release_leaves_the_old_version_and_the_old_rows(
    booth: ServerFactory, branch: str, cause: str
) -> None:
    server = booth.deployed()
    before = server.rows()
    server.configure(f'ref = "{branch}"')
    with Load(server.address) as load:
        done = server.fab("update", code=1)
    assert load.lost == []
    assert set(load.versions) == {"v1"}
    assert cause in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert "/releases/" not in done.stdout + done.stderr
    assert server.rows()[: len(before)] == before
    assert sorted(server.rows()[len(before) :]) == sorted(load.posts)
    assert "mood" not in server.columns()
    assert server.get("/version") == (200, "v1")


def test_a_migration_that_hangs_is_ended_and_undone(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = "hangs-in-migration"', more="[db]\nmigrate_timeout = 3")
    with Load(server.address) as load:
        done = server.fab("update", "--json", code=1)
    assert load.lost == []
    told = json.loads(done.stdout)
    assert told["result"] == "failed"
    assert "migrate_timeout (3 s)" in told["cause"]
    assert "migrate_timeout (3 s)" in done.stderr.splitlines()[-1]
    assert "damaged" not in server.rows()
    assert server.get("/version") == (200, "v1")


@pytest.mark.full
def test_a_row_written_after_the_commit_point_stays_whatever_fails_later(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "sick-in-public"')
    with Load(server.address) as load:
        done = server.fab("update", code=1)
    # The keep-alive visitor asks /up, which this release answers with 500; nobody else may lose
    # anything.
    assert [line for line in load.lost if "/up" not in line] == []
    assert "rollback --downgrade" in done.stderr and "rollback --restore" in done.stderr
    assert server.get("/version") == (200, "sick-in-public")
    assert sorted(server.rows()[10:]) == sorted(load.posts)

    server.configure('ref = "main"')
    server.fab("rollback", code=1)
    server.fab("rollback", "--downgrade")
    assert server.get("/version") == (200, "v1")
    assert sorted(server.rows()[10:]) == sorted(load.posts)
    assert "mood" not in server.columns()


def test_without_a_migration_a_release_that_is_sick_in_public_gives_way_to_the_old_one(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "sick-in-public-only"')
    done = server.fab("update", code=1)
    assert "serves as before" in done.stderr
    assert server.get("/version") == (200, "v1")
    assert server.get("/up")[0] == 200

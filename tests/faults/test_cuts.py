"""Clients that die, networks that fall silent, windows that are killed, servers that lose power.

The site comes through by itself.
"""

import pytest

from tests.booted import Server, ServerFactory, kill
from tests.load import Load


def lock_is_free(server: Server) -> bool:
    return server.inside("flock -x -n /run/decant/guestbook.lock true && echo free") == "free"


def old_pair(server: Server, before: list[str], load: Load) -> None:
    """Old code, old schema, every row."""
    assert server.get("/version") == (200, "v1")
    assert "mood" not in server.columns()
    assert server.rows()[: len(before)] == before
    assert set(load.posts) <= set(server.rows())


def test_a_client_killed_in_the_migration_does_not_stop_the_window(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = "migrates-slowly"')
    with Load(server.address) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        kill(client)
        server.wait_until(
            lambda: server.get("/version", timeout=120) == (200, "migrates-slowly"),
            what="the window finishes",
        )
    assert load.lost == []
    server.wait_until(lambda: lock_is_free(server), seconds=20, what="the lock is free")
    # The migration rewrote the texts of the rows before it; none is missing.
    assert len(server.rows()) == 10 + len(load.posts)
    again = server.fab("update")
    assert "which nobody waited for, ended: good" in again.stdout
    assert "already current" in again.stdout
    assert "which nobody waited for" not in server.fab("update").stdout


@pytest.mark.full
def test_a_network_that_falls_silent_in_the_migration_does_not_stop_the_window(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "migrates-slowly"')
    with Load(server.address) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        with server.network_cut():
            server.wait_until(
                lambda: server.get("/version", timeout=120) == (200, "migrates-slowly"),
                what="the window finishes",
            )
            server.wait_until(
                lambda: lock_is_free(server),
                seconds=20,
                what="the lock is free, with the network still cut",
            )
            client.wait(timeout=90)
    assert client.returncode == 1
    assert "the connection was lost" in (server.folder / "fab.out").read_text()
    assert load.lost == []
    assert "which nobody waited for, ended: good" in server.fab("update").stdout


@pytest.mark.parametrize("client_lives", [True, pytest.param(False, marks=pytest.mark.full)])
def test_the_same_command_follows_a_window_that_still_runs(
    booth: ServerFactory, client_lives: bool
) -> None:
    server = booth.deployed()
    server.configure('ref = "migrates-slowly"')
    client = server.start_fab("update")
    server.wait_for_migration()
    assert (
        "another command is at work on guestbook: update by"
        in server.fab("nginx.site", code=1).stderr
    )
    if not client_lives:
        kill(client)
    said = server.fab("update").stdout
    assert "is open; following it" in said
    assert "row batch 39" in said
    assert "already current" in said
    assert ("which nobody waited for, ended: good" in said) is not client_lives
    if client_lives:
        assert client.wait(timeout=30) == 0


def test_a_window_killed_in_the_migration_is_put_back_by_itself(booth: ServerFactory) -> None:
    server = booth.deployed()
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
    assert client.returncode == 1
    assert "cut off" in (server.folder / "fab.out").read_text()


def test_a_power_cut_in_the_migration_ends_with_the_old_code_and_the_old_rows(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    before = server.rows()
    server.configure('ref = "migrates-slowly"')
    with Load(server.address, timeout=15) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        assert "damaged" in server.rows()
        server.power_cut()
        kill(client)
    server.boot()
    server.wait_until(lambda: server.get("/version") == (200, "v1"), what="the site is back")
    old_pair(server, before, load)
    again = server.fab("update")
    assert "ended: failed: the window was cut off" in again.stdout
    assert server.get("/version") == (200, "migrates-slowly")

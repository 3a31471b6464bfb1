"""What time does to a server: its distribution is upgraded, its packages and certificates change."""

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full

QUIET = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Options::=--force-confold"


def upgrade(server: Server, suite: str) -> None:
    """Upgrade a server to the next Debian, as its release notes say, and boot it."""
    server.ssh(f"sed -i 's/{server.suite}/{suite}/g' /etc/apt/sources.list")
    server.ssh(
        f"apt-get -q update && {QUIET} dist-upgrade && {QUIET} autoremove --purge", seconds=900
    )
    server.power_cut()
    server.boot()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_server_whose_debian_was_upgraded_is_made_whole_by_deploy(
    booth: ServerFactory, database: str
) -> None:
    server = booth.deployed(database=database)
    rows = server.rows()
    upgrade(server, "trixie")
    assert "13" in server.ssh("cat /etc/debian_version")
    said = server.fab("status").stdout
    assert "python3.11 of its environment" in said, said
    assert "python3.11 of its environment" in server.fab("system.drift", code=None).stdout
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")
    assert server.rows() == rows
    assert changed(server.fab("deploy").stdout) == [0]
    server.configure('ref = "migrates"')
    server.fab("update")
    assert server.get("/version") == (200, "migrates")
    assert server.rows() == rows
    if database == "postgresql":
        a_new_major_version_takes_the_rows_over(server)


def a_new_major_version_takes_the_rows_over(server: Server) -> None:
    """As Debian's README says: the new version's empty cluster goes, and the old one moves to it."""
    server.fab("db.dump")
    rows, dump = server.rows(), server.ssh("ls /srv/guestbook/backups | tail -n 1")
    server.ssh("pg_dropcluster --stop 17 main 2>/dev/null; pg_upgradecluster 15 main", seconds=300)
    server.ssh("pg_dropcluster 15 main")
    assert server.sql("show server_version")[0].startswith("17.")
    server.wait_until(lambda: server.get("/up")[0] == 200, what="the application connects again")
    assert changed(server.fab("deploy").stdout) == [0]
    assert server.rows() == rows
    server.write("on 17")
    server.fab("db.dump")
    server.fab("db.restore", dump, "--yes")  # made by 15
    assert server.rows() == rows
    assert server.get("/version") == (200, "migrates")


def test_packages_that_are_installed_anew_under_load_lose_no_request(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.ssh("apt-get -q update")
    for package in ("nginx", "systemd", "libc6", "python3.11-minimal"):
        # nginx upgrades its program while it serves, and closes connections that are kept alive.
        with Load(server.address, reopens=True) as load:
            server.ssh(f"{QUIET} install --reinstall {package}", seconds=300)
        assert load.lost == [], package
    assert changed(server.fab("deploy").stdout) == [0]

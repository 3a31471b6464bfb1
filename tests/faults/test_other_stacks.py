"""What breaks under supervisor and inside Apache ends as it does under systemd.

Old code, old rows, no request lost.
"""

import pytest

from tests.booted import ServerFactory, kill
from tests.faults.test_cuts import old_pair
from tests.load import Load

pytestmark = pytest.mark.full

STACKS = {
    "uwsgi-supervisor-nginx": ('server = "uwsgi"\nmanager = "supervisor"', "nginx", "mariadb"),
    "gunicorn-supervisor-apache": ('manager = "supervisor"', "apache", "sqlite"),
    "mod_wsgi-apache": ('server = "mod_wsgi"', "apache", "postgresql"),
}


@pytest.mark.parametrize("stack", STACKS)
def test_a_bad_release_a_killed_window_and_a_power_cut_leave_the_old_pair(
    booth: ServerFactory, stack: str
) -> None:
    wsgi, proxy, database = STACKS[stack]
    server = booth.deployed(database=database)
    more = f'[proxy]\nkind = "{proxy}"'
    server.configure(wsgi=wsgi, more=more)
    server.fab("deploy")
    before = server.rows()

    for branch, cause in (
        (
            "does-not-import",
            "add what brings nowhere_to_be_found to the application's requirements",
        ),
        ("sick", "/up answered 500"),
    ):
        server.configure(f'ref = "{branch}"', wsgi, more)
        done = server.fab("update", code=1)
        assert cause in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert cause not in done.stdout

    for branch in ("fails-to-migrate", "sick-in-public-only"):
        server.configure(f'ref = "{branch}"', wsgi, more)
        with Load(server.address) as load:
            server.fab("update", code=1)
        # What the sick release answered before it was taken back is not lost: it is wrong.
        assert [lost for lost in load.lost if "500" not in lost] == []
        old_pair(server, before, load)
        before = server.rows()

    server.configure('ref = "migrates-slowly"', wsgi, more)
    with Load(server.address) as load:
        client = server.start_fab("update")
        server.wait_for_migration()
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

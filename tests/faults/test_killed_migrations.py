"""A migration is a unit of its own and does not hold the gate's lock.

Who puts back ends it first, whatever it ignores.
"""

import pytest

from tests.booted import ServerFactory
from tests.faults.test_cuts import old_pair
from tests.load import Load

pytestmark = pytest.mark.full

STACKS = [
    ("", "nginx", "sqlite"),
    ('server = "uwsgi"\nmanager = "supervisor"', "nginx", "mariadb"),
    ('server = "mod_wsgi"', "apache", "postgresql"),
]


@pytest.mark.parametrize(("wsgi", "proxy", "database"), STACKS)
def test_a_migration_that_ignores_its_end_writes_nothing_after_the_put_back(
    booth: ServerFactory, wsgi: str, proxy: str, database: str
) -> None:
    server = booth.deployed(database=database)
    more = f'[proxy]\nkind = "{proxy}"'
    if wsgi:
        server.configure(wsgi=wsgi, more=more)
        server.fab("deploy")
    before, whole = server.rows(), server.everything()
    for by in ("window.py", "everything"):
        server.ssh("rm -f /srv/guestbook/log/*.log")
        server.configure('ref = "writes-on"', wsgi, more)
        client = server.start_fab("update")
        server.wait_for_migration()
        assert len(server.rows()) > len(before)
        if by == "everything":
            # The window with all its processes; the migration's unit is another one, and lives.
            server.ssh(
                "systemctl kill --signal=KILL --kill-whom=all 'guestbook-window@*.service' ||"
                " systemctl kill --signal=KILL 'guestbook-window@*.service'",
                check=False,
            )
        else:
            server.ssh("pkill -9 -f 'guestbook/procedures/window.py'")
        client.wait(timeout=90)
        server.wait_until(
            lambda: server.get("/version") == (200, "v1"), what="the old release serves"
        )
        first = server.everything()
        server.ssh(
            "sleep 1; ! systemctl list-units --no-legend 'guestbook.migrate.*' | grep -q .; ! pgrep"
            " -f '[f]lask db upgrade'"
        )
        assert server.everything() == first == whole, by
        assert (
            server.ssh(
                "cat /sys/fs/cgroup/*/system.slice/guestbook.migrate.*/cgroup.procs"
                " /sys/fs/cgroup/system.slice/guestbook.migrate.*/cgroup.procs 2>/dev/null; true"
            )
            == ""
        )
    # The same with visitors: what they wrote before is there.
    server.ssh("rm -f /srv/guestbook/log/*.log")
    with Load(server.address, reopens=proxy == "apache") as load:
        client = server.start_fab("update")
        server.wait_for_migration()
        server.ssh("pkill -9 -f 'guestbook/procedures/window.py'")
        client.wait(timeout=90)
        server.wait_until(
            lambda: server.get("/version") == (200, "v1"), what="the old release serves"
        )
    assert load.lost == []
    old_pair(server, before, load)

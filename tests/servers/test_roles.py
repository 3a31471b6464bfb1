"""Five servers that are one site: a web host, three app hosts, a database host."""

import json
import re
import signal
import subprocess
import time
from dataclasses import dataclass

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full

# On one of the hosts; it needs 20 s to finish what it does.
SLOW_WORKER = """
[hosts.two.processes.slow]
command = '''python3 -c "import signal, time; signal.signal(15, lambda *_: (time.sleep(20), exit())); [time.sleep(0.1) for _ in iter(int, 1)]"'''
stop_timeout = 40
"""
ROLES = {"web": "web", "one": "app", "two": "app", "three": "app", "base": "db"}


@dataclass
class Site:
    """The five servers; `lead` is the one whose folder has the hosts.toml of all."""

    web: Server
    apps: list[Server]
    base: Server
    private: bool = False  # the hosts reach each other by addresses of their own
    user: str = "root"

    @property
    def lead(self) -> Server:
        return self.web

    def configure(self, ref: str, more: str = "", sick: str = "", wsgi: str = "") -> None:
        """Write hosts.toml; on the app host `sick` the branch sick-where-told is not well."""
        entries = []
        for (name, role), server in zip(
            ROLES.items(), (self.web, *self.apps, self.base), strict=True
        ):
            changes = {
                "identity": str(server.folder / ".lab/key"),
                "user": self.user,
                "private": self.inside(server) if self.private else "",
            }
            entry = server.entry(name, **changes).replace(
                "\n", f'\nroles = ["{role}"]\ngroups = ["site"]\n', 1
            )
            entries.append(
                entry + (f'[hosts.{name}.app.env]\nSICK = "yes"\n' if name == sick else "")
            )
        self.lead.configure(
            f'ref = "{ref}"',
            wsgi,
            more="\n".join([f'[db]\nkind = "{self.base.database}"\n', *entries, more]),
        )
        self.lead.target = "site"

    def inside(self, server: Server) -> str:
        """Return the address under which the other hosts reach one."""
        return server.address.replace("10.213.", "10.214.") if self.private else server.address

    def versions(self) -> list[str]:
        """Return what each app host itself serves, asked there."""
        ask = (
            'python3 -c "import urllib.request as u;'
            " print(u.urlopen('http://{}:8000/version').read().decode())\""
        )
        return [server.ssh(ask.format(self.inside(server))) for server in self.apps]


def booted(booth: ServerFactory, database: str) -> Site:
    apps = [booth.packaged("python3-venv", "rsync", "ufw") for _ in range(3)]
    return Site(booth.boot(), apps, booth.boot(database=database))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def results(said: str) -> dict[str, str]:
    """Return the last column of the table, by host."""
    rows = [line.split(maxsplit=3) for line in said.splitlines()]
    return {row[0]: row[3] for row in rows if len(row) == 4 and row[0] in ROLES}


def reaches(client: Server, address: str, port: int) -> bool:
    probe = f"import socket; socket.create_connection(('{address}', {port}), 2)"
    return "Error" not in client.ssh(f'python3 -c "{probe}" 2>&1 || true')


def test_a_site_of_five_servers_loses_nothing_while_its_app_hosts_switch_one_by_one(
    booth: ServerFactory,
) -> None:
    site = booted(booth, "postgresql")
    site.private = True
    for server in (site.web, *site.apps, site.base):
        assert site.inside(server) != server.address
        server.ssh(
            f"sed -i 's,^Gateway=,Address={site.inside(server)}/24\\n&,'"
            " /etc/systemd/network/10-lab.network && networkctl reload"
        )
    site.configure("main")
    fab = site.lead.fab
    fab("deploy")
    site.web.write("first")
    assert site.base.rows() == ["first"]
    again = fab("deploy").stdout
    assert changed(again) == [0] * 4
    assert set(results(again).values()) == {"current"}
    _doors_are_open_for_those_who_need_them_alone(site)
    _nobody_waits_for_a_host_that_switches(site)
    _one_that_is_not_well_stops_the_rollout(site)
    _one_that_is_dead_stops_it_or_is_left_behind(site)
    _one_that_dies_in_the_middle_stops_the_rollout(site)
    said = fab("gunicorn.restart", "nginx.reload").stdout
    assert said.count("restart behind the open socket") == 3
    assert said.count("reload of nginx") == 1


def _doors_are_open_for_those_who_need_them_alone(site: Site) -> None:
    assert [reaches(site.web, site.inside(app), 8000) for app in site.apps] == [True] * 3
    assert not reaches(site.web, site.apps[0].address, 8000)
    assert not reaches(site.apps[0], site.inside(site.apps[1]), 8000)
    assert reaches(site.apps[0], site.inside(site.base), 5432)
    assert not reaches(site.web, site.inside(site.base), 5432)
    site.web.ssh(
        "test ! -e /srv/guestbook/shared/secrets.env && test ! -e"
        " /srv/guestbook/current/.deploy/env"
    )
    urls = {app.ssh("grep DATABASE_URL= /srv/guestbook/shared/secrets.env") for app in site.apps}
    keys = {app.ssh("grep SECRET_KEY= /srv/guestbook/shared/secrets.env") for app in site.apps}
    assert (len(urls), len(keys)) == (1, 1)


def _nobody_waits_for_a_host_that_switches(site: Site) -> None:
    site.configure("better")
    with Load(site.web.address, rate=30) as load:
        done = site.lead.fab("update", "--json")
    assert load.lost == []
    assert site.versions() == ["better"] * 3
    outcomes = {outcome["host"]: outcome for outcome in json.loads(done.stdout)}
    assert [outcomes[name]["result"] for name in ROLES] == ["good"] * 4 + ["current"]
    assert outcomes["web"]["prober"]["lost"] == 0
    assert done.stderr.count("start first: ") == 3
    assert "drain: " not in done.stderr


def _one_that_is_not_well_stops_the_rollout(site: Site) -> None:
    site.configure("sick-where-told", sick="two")
    with Load(site.web.address, rate=30) as load:
        done = site.lead.fab("update", code=1)
    assert load.lost == []
    found = results(done.stdout)
    assert found["web"].startswith("put back: to ")
    assert found["one"].startswith("put back: to ")
    assert found["two"].startswith("failed: the new release failed its health check")
    assert found["three"].startswith("not switched")
    assert site.versions() == ["better"] * 3
    assert set(load.versions) <= {"better", "sick-where-told"}


def _one_that_is_dead_stops_it_or_is_left_behind(site: Site) -> None:
    fab = site.lead.fab
    site.configure("main")
    site.apps[2].power_cut()
    refused = fab("update", code=1)
    assert "nothing was changed anywhere" in refused.stderr
    with Load(site.web.address, rate=10, slow_seconds=1) as load:
        fab("update", "--keep-going", code=1)
    assert load.lost == []
    site.apps[2].boot()
    fab("update")
    assert site.versions() == ["v1"] * 3


def _one_that_dies_in_the_middle_stops_the_rollout(site: Site) -> None:
    site.configure("better", wsgi='switch = "stop-first"')
    client = site.lead.start_fab("update")
    out = site.lead.folder / "fab.out"
    site.lead.wait_until(
        lambda: re.search(r"^\[two\] +drain", out.read_text(), re.MULTILINE) is not None,
        what="the second host switches",
    )
    site.apps[1].power_cut()
    assert client.wait(timeout=120) == 1
    # Where the old release stops first, visitors are sent to the others meanwhile.
    assert "drain: the web hosts ask the other app hosts" in out.read_text()
    found = results(out.read_text())
    assert found["one"].startswith("put back: to ")
    assert found["two"].startswith("failed: the connection was lost")
    assert found["three"].startswith("not switched")
    assert [site.web.get("/version")[0] for _ in range(6)] == [200] * 6
    site.apps[1].boot()
    site.lead.fab("update")
    assert site.versions() == ["better"] * 3


def test_a_shared_database_is_migrated_once_behind_all_gates(booth: ServerFactory) -> None:
    site = booted(booth, "mariadb")
    proxy = '[proxy]\nkind = "apache"\n'
    site.configure("main", proxy)
    fab = site.lead.fab
    fab("deploy")
    assert changed(fab("deploy").stdout) == [0] * 4
    fab("db.dump", host="base")
    assert ".sql.gz" in site.base.ssh("ls /srv/guestbook/backups")
    assert "its database is on base" in fab("db.dump", host="one", code=1).stderr
    for number in range(10):
        site.web.write(f"row{number}")
    before = site.base.everything()

    # A migration that fails half-way: the database is row for row as it was, and every host serves
    # what it served.
    site.configure("fails-to-migrate", proxy)
    done = fab("update", code=1)
    assert "half of the rows are done" in done.stdout
    assert site.base.everything() == before
    assert site.versions() == ["v1"] * 3
    assert results(done.stdout)["web"].startswith("put back")

    # An app host that is not the one that migrates loses its power: the others go back; it waits
    # until it is told.
    site.configure("migrates-slowly", proxy)
    out = site.lead.folder / "fab.out"
    client = site.lead.start_fab("update")
    site.lead.wait_until(lambda: "row batch 3" in out.read_text(), what="the migration prints")
    assert "another command is at work" in fab("update", code=1).stderr
    site.apps[2].power_cut()
    assert client.wait(timeout=120) == 1
    assert site.base.everything() == before
    site.apps[2].boot()
    site.apps[2].wait_until(
        lambda: site.apps[2].ssh("systemctl is-active guestbook.socket", check=False) == "active",
        what="it has booted",
    )
    assert "waiting to be told" in site.apps[2].ssh("journalctl -u guestbook --no-pager")
    assert [site.web.get("/version") for _ in range(6)] == [(200, "v1")] * 6

    _a_killed_client_leaves_all_closed_until_the_next_command(site, proxy)

    # And down again, with all rows.
    rows = site.base.rows()
    with Load(site.web.address, rate=20, reopens=True) as load:
        fab("rollback", "--downgrade")
    assert load.lost == []
    assert site.versions() == ["v1"] * 3
    assert "mood" not in site.base.columns()
    assert set(rows) <= set(site.base.rows())
    assert (
        "take all hosts that use it together" in fab("update", host="web,one,base", code=1).stderr
    )
    assert site.versions() == ["v1"] * 3
    _nobody_waits_for_a_worker_that_finishes(site, proxy)


def _nobody_waits_for_a_worker_that_finishes(site: Site, proxy: str) -> None:
    site.configure("main", proxy + SLOW_WORKER)
    fab = site.lead.fab
    fab("deploy")
    assert "slow: 1 of 1 run" in fab("status").stdout
    site.configure("migrates", proxy + SLOW_WORKER)
    began = time.monotonic()
    with Load(site.web.address, rate=10, slow_seconds=1, reopens=True) as load:
        fab("update")
    assert (load.lost, site.versions()) == ([], ["migrates"] * 3)
    assert load.longest < 20 < time.monotonic() - began


def _a_killed_client_leaves_all_closed_until_the_next_command(site: Site, proxy: str) -> None:
    fab, out = site.lead.fab, site.lead.folder / "fab.out"
    client = site.lead.start_fab("update")
    site.lead.wait_until(lambda: "row batch 3" in out.read_text(), what="the migration prints")
    assert "is still open here" in out.read_text()
    client.send_signal(signal.SIGKILL)
    client.wait()
    # That one logs in as somebody with sudo.
    site.user = "ops"
    for server in (site.web, *site.apps, site.base):
        server.account("ops", "ALL=(ALL) NOPASSWD: ALL")
    site.configure("migrates-slowly", proxy)
    # Apache closes idle connections of a process whose threads all hold waiting requests
    # (docs/releases.md).
    with Load(site.web.address, rate=5, slow_seconds=1, reopens=True) as load:
        site.lead.wait_until(
            lambda: "another command is at work" not in _said(fab("update", code=None)),
            seconds=60,
            what="the lock is free",
        )
    assert load.lost == []
    assert site.versions() == ["migrates-slowly"] * 3
    assert "mood" in site.base.columns()


def test_two_app_hosts_on_another_stack_behind_a_host_that_is_web_and_database(
    booth: ServerFactory,
) -> None:
    front, *apps = servers = [booth.boot("trixie") for _ in range(3)]
    roles = ['["web", "db"]', '["app"]', '["app"]']
    names = ["front", "one", "two"]
    entries = [
        server.entry(name, identity=str(server.folder / ".lab/key")).replace(
            "\n", f'\nroles = {role}\ngroups = ["site"]\n', 1
        )
        for name, role, server in zip(names, roles, servers, strict=True)
    ]
    more = "\n".join(['[db]\nkind = "postgresql"\n[proxy]\nkind = "apache"\n', *entries])
    front.target = "site"
    wsgi = 'server = "uwsgi"\nmanager = "supervisor"'
    front.configure(wsgi=wsgi, more=more)
    front.fab("deploy")
    assert changed(front.fab("deploy").stdout) == [0] * 3
    front.configure('ref = "better"', wsgi, more)
    with Load(front.address, rate=30) as load:
        front.fab("update")
    assert load.lost == []
    assert set(load.versions) == {"v1", "better"}
    # After a boot an app host serves again, and visitors are sent to the other one meanwhile.
    apps[0].power_cut()
    assert [front.get("/version") for _ in range(4)] == [(200, "better")] * 4
    apps[0].boot()
    apps[1].power_cut()
    front.wait_until(
        lambda: front.get("/version") == (200, "better"), what="the first app host serves again"
    )
    apps[0].wait_until(
        lambda: "RUNNING" in apps[0].ssh("supervisorctl status guestbook:1", check=False),
        what="supervisor has started it",
    )

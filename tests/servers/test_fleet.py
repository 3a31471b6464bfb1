"""Several servers in one command.

All or none are begun, they switch in batches, and what happens to one does not hurt the others.
"""

import contextlib
import json
import signal

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full

OLD = (200, "v1")


def together(servers: list[Server], app: str = 'ref = "better"', more: str = "") -> Server:
    """Return the first server with all of them in its hosts.toml, as the group `all`.

    Fab works on the group from now on.
    """
    first = servers[0]
    entries = [
        server.entry(server.name, identity=str(server.folder / ".lab/key")).replace(
            "\n", '\ngroups = ["all"]\n', 1
        )
        for server in servers
    ]
    first.configure(app, more="\n".join([*entries, more]))
    first.target = "all"
    return first


def versions(servers: list[Server]) -> list[tuple[int, str]]:
    return [server.get("/version") for server in servers]


def test_hosts_switch_one_after_the_other_without_a_lost_request(booth: ServerFactory) -> None:
    servers = [booth.deployed() for _ in range(3)]
    fleet = together(servers)
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(server.address)) for server in servers]
        done = fleet.fab("update", "--json")
    assert [load.lost for load in loads] == [[], [], []]
    assert versions(servers) == [(200, "better")] * 3
    outcomes = json.loads(done.stdout)
    assert [(outcome["host"], outcome["result"]) for outcome in outcomes] == [
        (server.name, "good") for server in servers
    ]
    assert len({outcome["release"] for outcome in outcomes}) == 1
    ends = [line for line in done.stderr.splitlines() if "stop" in line or " serves; 0 of" in line]
    assert [line.split("]")[0][1:] for line in ends] == [
        server.name for server in servers for _ in range(2)
    ]
    said = fleet.fab("update").stdout
    assert said.count("is already current") == 3
    assert [line.split()[::3] for line in said.splitlines()[-3:]] == [
        [server.name, "current"] for server in servers
    ]
    fleet.fab("rollback")
    assert versions(servers) == [OLD] * 3


def test_one_that_is_not_well_stops_the_rollout_and_those_before_it_go_back(
    booth: ServerFactory,
) -> None:
    servers = [booth.deployed() for _ in range(3)]
    sick = f'[hosts."{servers[1].name}".app.env]\nSICK = "yes"\n'
    fleet = together(servers, 'ref = "sick-where-told"', sick)
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(server.address)) for server in (servers[0], servers[2])]
        done = fleet.fab("update", code=1)
    assert [load.lost for load in loads] == [[], []]
    assert versions(servers) == [OLD] * 3
    assert done.stderr.startswith(f"failed on {servers[1].name};")
    rows = [line.split(maxsplit=3) for line in done.stdout.splitlines()[-3:]]
    assert [row[0] for row in rows] == [server.name for server in servers]
    assert rows[0][3].startswith("put back: to ")
    assert rows[1][3].startswith("failed: the new release failed its health check: /up answered")
    assert rows[2][3].startswith("not switched: ")
    fleet.fab("update", "--keep-going", code=1)
    assert versions(servers) == [(200, "sick-where-told"), OLD, (200, "sick-where-told")]
    assert (
        f"[{servers[1].name}] failed: there is no good release before the current one"
        in fleet.fab("rollback", code=1).stdout
    )
    assert versions(servers) == [(200, "sick-where-told"), OLD, (200, "sick-where-told")]


def test_a_move_that_is_given_up_takes_nothing_away_from_what_serves(booth: ServerFactory) -> None:
    servers = [booth.deployed() for _ in range(2)]
    fleet = together(
        servers,
        'ref = "sick-where-told"',
        f'[hosts."{servers[1].name}".app.env]\nSICK = "yes"\n[proxy]\nkind = "apache"\n',
    )
    settings = (
        (fleet.folder / "hosts.toml")
        .read_text()
        .replace('app = "wsgi:app"', 'app = "wsgi:app"\nserver = "mod_wsgi"')
    )
    (fleet.folder / "hosts.toml").write_text(settings)
    said = fleet.fab("deploy", code=1).stdout
    assert "put back: to " in said
    assert versions(servers) == [OLD] * 2
    servers[0].ssh(
        "test -e /etc/systemd/system/guestbook.service && systemctl restart guestbook.service"
    )
    assert versions(servers) == [OLD] * 2


def test_nothing_is_begun_where_one_host_is_dead_or_locked(booth: ServerFactory) -> None:
    servers = [booth.deployed() for _ in range(2)]
    fleet = together([*servers], 'ref = "better"')
    before = [server.fingerprint() for server in servers]
    servers[1].ssh("nohup flock /run/decant/guestbook.lock sleep 15 >/dev/null 2>&1 & sleep 0.5")
    refused = fleet.fab("update", code=1)
    assert "another command is at work on guestbook" in refused.stdout
    assert "nothing was changed anywhere" in refused.stderr
    assert [server.fingerprint() for server in servers] == before
    servers[1].power_cut()
    refused = fleet.fab("update", code=1)
    assert "no answer" in refused.stdout
    assert "nothing was changed anywhere" in refused.stderr
    assert servers[0].fingerprint() == before[0]
    assert f"failed on {servers[1].name}" in fleet.fab("update", "--keep-going", code=1).stderr
    assert servers[0].get("/version") == (200, "better")


def test_one_that_dies_in_its_window_stops_the_rollout(booth: ServerFactory) -> None:
    servers = [booth.deployed() for _ in range(3)]
    fleet = together(servers, 'ref = "migrates-slowly"')
    names = {server.name: server for server in servers}
    rows = servers[1].rows()
    client = fleet.start_fab("update", "--batch", "2")
    servers[1].wait_for_migration()
    servers[1].power_cut()
    assert client.wait(timeout=120) == 1
    said = (fleet.folder / "fab.out").read_text()
    results = {
        line.split()[0]: line.split(maxsplit=3)[3]
        for line in said.splitlines()
        if line.split()[:1] and line.split()[0] in names
    }
    assert "its migration ran; go back with" in results[servers[0].name]
    assert "the connection was lost" in results[servers[1].name]
    assert results[servers[2].name].startswith("not switched")
    servers[1].boot()
    servers[1].wait_until(
        lambda: servers[1].get("/version") == OLD,
        what="the old release is back after the power cut",
    )
    assert servers[1].rows() == rows
    assert versions(servers) == [(200, "migrates-slowly"), OLD, OLD]
    fleet.fab("update")
    assert versions(servers) == [(200, "migrates-slowly")] * 3


def test_ctrl_c_ends_at_once_and_says_what_is_where(booth: ServerFactory) -> None:
    servers = [booth.deployed() for _ in range(2)]
    fleet = together(servers, 'ref = "migrates-slowly"')
    client = fleet.start_fab("update")
    servers[0].wait_for_migration()
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=5) == 130
    said = (fleet.folder / "fab.out").read_text()
    assert "interrupted after: | row batch" in said
    assert "interrupted after: imported wsgi:app" in said
    assert "run the same command again" in said.splitlines()[-1]
    again = fleet.fab("update").stdout
    assert "ended: good" in again
    assert versions(servers) == [(200, "migrates-slowly")] * 2


def test_a_first_deploy_of_two_gives_both_the_same_secret_key_and_tasks_run_on_each(
    booth: ServerFactory,
) -> None:
    servers = [booth.boot(), booth.boot(suite="trixie")]
    fleet = together(servers, 'ref = "main"')
    fleet.fab("deploy")
    assert versions(servers) == [OLD] * 2
    keys = {server.ssh("grep SECRET_KEY= /srv/guestbook/shared/secrets.env") for server in servers}
    assert len(keys) == 1
    assert len(keys.pop()) > 40
    said = fleet.fab("deploy").stdout
    assert changed(said) == [0] * 2
    run = fleet.fab("app.run", "echo from $(hostname)", "nginx.reload", "--parallel", "1").stdout
    for server in servers:
        assert f"[{server.name}] from {server.name}" in run
    assert run.count("reload of nginx") == 2
    failed = fleet.fab("app.run", f"test $(hostname) = {servers[0].name}", "nginx.reload", code=1)
    assert failed.stdout.count("reload of nginx") == 1
    assert failed.stderr.startswith(f"failed on {servers[1].name};")
    assert [item["host"] for item in json.loads(fleet.fab("status", "--json").stdout)] == [
        server.name for server in servers
    ]
    assert "a shell needs the terminal for itself" in fleet.fab("db.shell", code=1).stdout

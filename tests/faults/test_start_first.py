"""A release that starts beside the one that serves, and everything that may cut it off.

Exactly one whole release serves, no request is lost, the record is true, and the same command again
does the thing once.
"""

import contextlib
import http.client
import json
import signal

import pytest

from tests.booted import Server, ServerFactory, kill, lost
from tests.load import Load

MANAGERS = {
    "systemd": "workers = 2",
    "supervisor": 'workers = 2\nmanager = "supervisor"',
}


def generations(server: Server) -> list[str]:
    """Return the releases that run, by the folder of their WSGI server's settings."""
    said = server.ssh(
        "for pid in $(ps -u guestbook -o pid=,args= | awk '/launcher.py/ { print $1 }'); do"
        " ps --ppid $pid -o args=; done"
    )
    return [line.rpartition("releases/")[2].split("/")[0] for line in said.splitlines() if line]


def current(server: Server) -> str:
    return server.ssh("basename $(readlink /srv/guestbook/current)")


def history(server: Server) -> list[tuple[str, str]]:
    lines = server.ssh("cat /srv/guestbook/deploys.jsonl").splitlines()
    return [(entry["what"], entry["result"]) for entry in map(json.loads, lines)]


def one_serves(server: Server, version: str) -> None:
    """One release runs, it is the current one, nothing is open, and visitors get it."""
    server.wait_until(
        lambda: generations(server) == [current(server)], what="one release runs alone"
    )
    assert server.ssh("ls /srv/guestbook/transition /run/guestbook/ready 2>/dev/null || true") == ""
    assert server.get("/version") == (200, version)


def starting(server: Server) -> None:
    """Wait until a window waits for the workers of the new release."""
    server.wait_until(
        lambda: server.ssh("test -e /run/guestbook/starting && echo yes || true") == "yes",
        what="the new release starts",
    )


@pytest.mark.parametrize("manager", ["systemd", pytest.param("supervisor", marks=pytest.mark.full)])
def test_what_is_cut_off_while_both_run_leaves_one_whole_release(
    booth: ServerFactory, manager: str
) -> None:
    server = booth.deployed()
    wsgi = MANAGERS[manager]
    server.configure(wsgi=wsgi)
    server.fab("deploy")
    window = "pkill -9 -f 'guestbook/procedures/window.py'"

    # The window is killed while the new release starts.
    server.configure('ref = "starts-slowly"', wsgi)
    with Load(server.address) as load:
        client = server.start_fab("update")
        starting(server)
        server.ssh(window)
        client.wait(timeout=60)
        one_serves(server, "v1")
    assert (load.lost, set(load.versions)) == ([], {"v1"})
    assert "the window was cut off" in (server.folder / "fab.out").read_text()

    # The client is killed there, and later the same command is run again.
    with Load(server.address) as load:
        client = server.start_fab("update")
        starting(server)
        kill(client)
        server.wait_until(
            lambda: server.get("/version") == (200, "starts-slowly"), what="the window finishes"
        )
        again = server.fab("update").stdout
    assert load.lost == []
    assert "which nobody waited for, ended: good" in again
    assert "already current" in again
    one_serves(server, "starts-slowly")

    # It is killed when the new release serves, and the old one finishes a long request.
    server.configure('ref = "better"', wsgi)
    with Load(server.address, slow_seconds=8) as load:
        client = server.start_fab("update")
        server.wait_until(
            lambda: "the old release finishes" in (server.folder / "fab.out").read_text(),
            what="the new release serves",
        )
        assert len(generations(server)) == 2
        server.ssh(window)
        client.wait(timeout=60)
        one_serves(server, "better")
    assert load.lost == []
    assert "already current" in server.fab("update").stdout

    # Everything of the service is killed: what current leads to starts, and nothing else.
    server.ssh("pkill -9 -u guestbook")
    one_serves(server, "better")
    assert history(server)[-3:] == [("update", result) for result in ("failed", "good", "good")]


@pytest.mark.full
def test_a_power_cut_while_both_run_ends_with_one_whole_release(booth: ServerFactory) -> None:
    server = booth.deployed()
    wsgi = MANAGERS["systemd"]
    server.configure('ref = "starts-slowly"', wsgi)
    client = server.start_fab("update")
    starting(server)
    server.power_cut()
    kill(client)
    server.boot()
    server.wait_until(lambda: server.get("/version") == (200, "v1"), what="the site is back")
    one_serves(server, "v1")
    assert "ended: failed: the window was cut off" in server.fab("update").stdout
    one_serves(server, "starts-slowly")

    server.configure('ref = "better"', wsgi)
    with Load(server.address, slow_seconds=8, timeout=15):
        client = server.start_fab("update")
        server.wait_until(
            lambda: "the old release finishes" in (server.folder / "fab.out").read_text(),
            what="the new release serves",
        )
        server.power_cut()
        kill(client)
    server.boot()
    server.wait_until(lambda: server.get("/version") == (200, "better"), what="the site is back")
    one_serves(server, "better")
    assert "ended: good" in server.fab("update").stdout


@pytest.mark.full
def test_a_network_cut_ctrl_c_and_a_full_disk_while_both_run(booth: ServerFactory) -> None:
    server = booth.deployed()
    wsgi = MANAGERS["systemd"]

    # The network falls silent: the window goes on to its end.
    server.configure('ref = "starts-slowly"', wsgi)
    with Load(server.address) as load:
        client = server.start_fab("update")
        starting(server)
        with server.network_cut():
            server.wait_until(
                lambda: server.get("/version") == (200, "starts-slowly"),
                what="the window finishes",
            )
            client.wait(timeout=90)
    assert load.lost == []
    assert "which nobody waited for, ended: good" in server.fab("update").stdout
    one_serves(server, "starts-slowly")

    # Ctrl-C ends the client, and nothing else.
    server.configure('ref = "better"', wsgi)
    server.fab("update")
    server.configure('ref = "starts-slowly"', wsgi)
    with Load(server.address) as load:
        client = server.start_fab("update")
        starting(server)
        client.send_signal(signal.SIGINT)
        assert client.wait(timeout=10) == 130
        server.wait_until(
            lambda: server.get("/version") == (200, "starts-slowly"), what="the window finishes"
        )
    assert load.lost == []
    assert "already current" in server.fab("update").stdout
    one_serves(server, "starts-slowly")

    # The disk fills up: the old release serves on, and the same command works when there is room.
    server.ssh(
        "systemctl stop guestbook.socket guestbook && cp -a /srv/guestbook /root/kept && mount -t"
        " tmpfs -o size=$(($(du -sm /root/kept | cut -f 1) + 300))m,mode=0755 small /srv/guestbook"
        " && cp -a /root/kept/. /srv/guestbook/ && systemctl start guestbook.socket guestbook"
    )
    server.configure('ref = "main"', wsgi)
    server.fab("update")
    server.configure('ref = "starts-slowly"', wsgi)
    with Load(server.address) as load:
        client = server.start_fab("update")
        starting(server)
        server.ssh("head -c 1G /dev/zero >/srv/guestbook/fill || true")
        client.wait(timeout=60)
    # The application itself has no room for new rows; everything else is answered.
    assert [lost for lost in load.lost if not lost.startswith("POST /: 500")] == []
    assert client.returncode == 1
    assert server.get("/version") == (200, "v1")
    server.ssh("rm /srv/guestbook/fill")
    server.fab("update")
    one_serves(server, "starts-slowly")


@pytest.mark.full
def test_a_release_that_is_not_well_beside_the_old_one_is_met_by_nobody(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    for branch, cause in {
        "sick": "the new release failed its health check: /up answered 500 INTERNAL SERVER ERROR",
        "sick-where-told": "the new release failed its health check: /up answered 500",
    }.items():
        server.configure(f'ref = "{branch}"\nenv = {{ SICK = "yes" }}', "workers = 2")
        with Load(server.address) as load:
            assert cause in server.fab("update", code=1).stderr
        assert (load.lost, set(load.versions)) == ([], {"v1"})
        one_serves(server, "v1")


@pytest.mark.full
def test_a_release_that_cannot_run_twice_starts_when_the_old_one_has_stopped(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "runs-once"', "workers = 1")
    with Load(server.address) as load:
        first = server.fab("update").stdout
        server.configure('ref = "runs-once-too"', "workers = 1")
        said = server.fab("update").stdout
    assert load.lost == []
    assert "start first: " in first
    assert "it does not start beside the old one: it ended before it answered" in said
    assert "stop first: it cannot start beside the old one" in said
    one_serves(server, "runs-once-too")


@pytest.mark.full
@pytest.mark.parametrize("switch", ["auto", "stop-first"])
def test_a_release_that_dies_when_visitors_come_gives_way_to_the_old_one(
    booth: ServerFactory, switch: str
) -> None:
    server = booth.deployed()
    for branch, cause in {
        "crashes-in-public": "the health check through the proxy failed: ",
        "ends-after-its-answer": "failed: it ended right after it had answered",
    }.items():
        server.configure(f'ref = "{branch}"', f'workers = 2\nswitch = "{switch}"')
        said = server.fab("update", code=1)
        assert f"{switch.replace('auto', 'start-first').replace('-', ' ')}: " in said.stdout
        assert cause in said.stderr
        one_serves(server, "v1")


@pytest.mark.full
def test_an_old_release_that_does_not_end_is_ended(booth: ServerFactory) -> None:
    server = booth.deployed()
    wsgi = "workers = 2\ntimeout = 3"
    server.configure(wsgi=wsgi)
    server.fab("update")
    server.ssh("pkill -STOP -u guestbook -f gunicorn")
    server.configure('ref = "better"', wsgi)
    server.fab("update")
    one_serves(server, "better")


@pytest.mark.full
def test_restarts_and_variables_start_the_release_beside_itself(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure(wsgi="workers = 2")
    server.fab("update")
    with Load(server.address) as load:
        before = server.ssh("systemctl show --property=MainPID --value guestbook")
        server.fab("gunicorn.restart")
        server.fab("app.env-set", "GREETING=hello")
        assert server.get("/variable/GREETING") == (200, "hello")
        assert lost(server.fab("rollback").stdout) == [0]
    assert load.lost == []
    assert server.ssh("systemctl show --property=MainPID --value guestbook") == before
    one_serves(server, "v1")


@pytest.mark.full
def test_the_old_release_stops_first_where_the_application_may_not_run_twice(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    for wsgi, reason in {
        'switch = "stop-first"': 'stop first: wsgi.switch is "stop-first"',
        'memory = "100m"': "stop first: the application takes ",
    }.items():
        for ref in ("main", "better"):
            server.configure(f'ref = "{ref}"', f"workers = 1\n{wsgi}")
            said = server.fab("deploy").stdout
        assert reason in said
        one_serves(server, "better")

    server.configure('ref = "without-wal"', "workers = 1")
    server.fab("deploy")
    assert "journal" not in server.fab("db.status").stdout
    server.ssh(
        'systemctl stop guestbook; python3 -c "import sqlite3; sqlite3.connect('
        "'/srv/guestbook/shared/instance/guestbook.db').execute('PRAGMA journal_mode = DELETE')\""
    )
    server.fab("gunicorn.start")
    assert "delete: an update stops the application first" in server.fab("db.status").stdout
    server.configure('ref = "without-wal-too"', "workers = 1")
    with Load(server.address) as load:
        said = server.fab("update").stdout
    assert load.lost == []
    assert "which is not in WAL mode; to change that: fab db.shell, then PRAGMA" in said
    one_serves(server, "without-wal-too")


@pytest.mark.full
@pytest.mark.parametrize("switch", ["auto", "stop-first"])
def test_event_streams_do_not_lengthen_a_window(booth: ServerFactory, switch: str) -> None:
    server = booth.deployed()
    # With these limits a window that waited for them would outlast this test's patience.
    wsgi = f'workers = 2\nthreads = 4\ntimeout = 600\ndrain = 1\nswitch = "{switch}"'
    server.configure(wsgi=wsgi)
    server.fab("deploy")
    streams = [http.client.HTTPConnection(server.address, timeout=60) for _ in range(4)]
    for stream in streams:
        stream.request("GET", "/events")
    answers = [stream.getresponse() for stream in streams]
    assert all(answer.read(10) == b"data: tick" for answer in answers)
    server.configure('ref = "better"', wsgi)
    with Load(server.address) as load:
        server.fab("update", timeout=120)
    assert load.lost == []
    for answer in answers:  # each has an end now
        with contextlib.suppress(http.client.IncompleteRead):
            answer.read()
    for answer, stream in zip(answers, streams, strict=True):
        answer.close()
        stream.close()
    one_serves(server, "better")


@pytest.mark.full
@pytest.mark.parametrize(
    ("manager", "file", "changes"),
    [
        (
            "systemd",
            "/etc/systemd/system/guestbook.service",
            {
                "ln -sf /dev/null FILE": "systemd does not take guestbook.service (masked); run: fab",
                "sed -i 's|^ExecStart=.*|ExecStart=/nonexistent|' FILE": "changed by hand",
                "echo '[Service]' >>FILE && echo 'Type=nonsense' >>FILE": "changed by hand",
            },
        ),
        (
            "supervisor",
            "/etc/supervisor/conf.d/guestbook.conf",
            {"sed -i 's|^command=.*|command=/nonexistent|' FILE": "changed by hand"},
        ),
    ],
)
def test_a_unit_that_somebody_masked_or_edited_stops_nothing_and_deploy_mends_it(
    booth: ServerFactory, manager: str, file: str, changes: dict[str, str]
) -> None:
    server = booth.deployed()
    wsgi = f'{MANAGERS[manager]}\nswitch = "stop-first"'
    server.configure(wsgi=wsgi)
    server.fab("deploy")
    before = "v1"
    for number, (change, said) in enumerate(changes.items()):
        server.ssh(f"{change.replace('FILE', file)} && systemctl daemon-reload")
        ref = ("better", "main")[number % 2]
        server.configure(f'ref = "{ref}"', wsgi)
        with Load(server.address) as load:
            refused = server.fab("update", code=1).stderr
            restarted = server.fab("gunicorn.restart", code=1).stderr
        assert said in refused and refused.count("\n") == 1, refused
        assert said in restarted and "what served goes on" in restarted, restarted
        assert (load.lost, set(load.versions)) == ([], {before})

        with Load(server.address) as load:
            server.fab("deploy")
        assert load.lost == []
        before = {"better": "better", "main": "v1"}[ref]
        one_serves(server, before)
    server.fab("system.reboot")
    server.wait_until(lambda: server.get("/version") == (200, before), what="it is back")


@pytest.mark.full
def test_what_somebody_made_of_the_record_or_of_current_is_said_and_deploy_mends_it(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    for number, harm in enumerate(
        (
            ": >transition",
            "echo v2 >transition",
            "printf 'id=w old' >transition",
            "rm current && mkdir current",
            "ln -sfn /etc current",
        )
    ):
        server.ssh(f"cd /srv/guestbook && {harm}")
        ref, version = (("better", "better"), ("main", "v1"))[number % 2]
        server.configure(f'ref = "{ref}"')
        with Load(server.address) as load:
            said = server.fab("deploy").stdout
        assert "kept as " in said, (harm, said)
        # Where current leads elsewhere there is nothing to serve, until it does again.
        assert load.lost == [] or "current" in harm
        one_serves(server, version)


@pytest.mark.full
def test_drop_ins_of_the_unit_count_for_every_release(booth: ServerFactory) -> None:
    server = booth.deployed()
    folder = "/etc/systemd/system/guestbook.service.d"
    server.ssh(f"mkdir -p {folder} && printf '[Service]\nEnvironment=MINE=yes\n' >{folder}/my.conf")
    server.ssh("systemctl daemon-reload && systemctl restart guestbook")
    assert server.get("/variable/MINE") == (200, "yes")
    server.configure('ref = "better"')
    assert "start first: " in server.fab("update").stdout
    assert server.get("/variable/MINE") == (200, "yes")
    server.fab("deploy")
    assert server.ssh(f"cat {folder}/my.conf | wc -l") == "2"
    assert "guestbook" in server.ssh("systemctl status guestbook | head -n 1")
    assert server.ssh("journalctl -u guestbook --no-pager | grep -c Booting") != "0"

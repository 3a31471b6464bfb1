"""What a person does who is told to run the same command again, and what it must not do twice."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.booted import ROOT, Server, ServerFactory, changed, kill


def record(server: Server) -> dict[str, object]:
    """Return what is on record of the last window."""
    found: dict[str, object] = json.loads(server.ssh("tail -n 1 /srv/guestbook/deploys.jsonl"))
    return found


def releases(server: Server) -> list[str]:
    """Return the names of the releases, the oldest first."""
    return server.ssh("ls /srv/guestbook/releases").split()


def current(server: Server) -> str:
    return server.ssh("basename $(readlink /srv/guestbook/current)")


def test_ctrl_c_ends_at_once_and_the_verdict_on_record_is_the_windows_own(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "migrates-slowly"')
    client = server.start_fab("update")
    server.wait_for_migration()
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=5) == 130
    assert "run the same command again" in (server.folder / "fab.out").read_text()
    server.wait_until(
        lambda: server.get("/version", timeout=120) == (200, "migrates-slowly"),
        what="the window finishes",
    )
    server.wait_until(lambda: record(server)["what"] == "update", what="the verdict is there")
    assert (record(server)["result"], record(server)["cause"]) == ("good", "")
    assert record(server)["seconds"] != 0
    said = server.fab("update").stdout
    assert "which nobody waited for, ended: good\n" in said
    assert "cut off" not in said


def test_a_rollback_that_was_cut_off_is_not_done_again(booth: ServerFactory) -> None:
    server = booth.deployed()
    first = current(server)
    for ref in ("better", "main"):
        server.configure(f'ref = "{ref}"')
        server.fab("update")
    assert len(releases(server)) == 3
    second = releases(server)[1]
    client = server.start_fab("rollback")
    server.wait_until(lambda: current(server) == second, what="the rollback has switched")
    kill(client)
    server.wait_until(
        lambda: record(server)["what"] == "rollback" and record(server)["result"] == "good",
        what="the rollback came to its end",
    )
    said = server.fab("rollback").stdout
    assert f"{second} serves since the rollback that nobody waited for" in said
    assert current(server) == second
    server.fab("rollback")
    assert current(server) == first


def test_another_version_of_decant_meanwhile_waits_for_the_window_and_goes_on(
    booth: ServerFactory, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "decant", other / "decant")
    shutil.copy(ROOT / "fabfile.py", other)
    with (other / "decant/server/lib.sh").open("a") as file:
        file.write("# as another version writes it\n")
    server = booth.deployed()
    server.configure('ref = "migrates-slowly"')
    client = server.start_fab("update")
    server.wait_for_migration()
    theirs = subprocess.run(
        [sys.executable, "-m", "fabric", "-r", str(other), "-H", server.name, "deploy"],
        cwd=server.folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=200,
    )
    assert theirs.returncode == 0, theirs.stdout + theirs.stderr
    assert "is open; following it" in theirs.stdout
    assert "changed  file /srv/guestbook/procedures/lib.sh" in theirs.stdout
    assert client.wait(timeout=60) == 0
    assert server.get("/version") == (200, "migrates-slowly")
    assert len(server.rows()) == 10
    assert "written differently by this version of Decant" in server.fab("update").stdout
    server.fab("deploy")
    assert changed(server.fab("deploy").stdout) == [0]


def test_environments_that_were_removed_by_hand_come_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    remove = "rm -rf /srv/guestbook/venvs/*; systemctl kill -s KILL guestbook.service; true"
    server.ssh(remove)
    assert "serves" in server.fab("update").stdout
    assert server.get("/version") == (200, "v1")
    for task in ("deploy", "python.venv"):
        server.ssh(remove)
        assert "environment of the current release" in server.fab(task).stdout
        assert server.get("/version") == (200, "v1")


def test_a_current_release_that_does_not_serve_is_no_success(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure()
    server.ssh("systemctl stop guestbook.socket guestbook.service")
    said = server.fab("update", code=1).stderr
    assert "is current, and does not serve" in said and "app.logs" in said
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")


def test_a_window_whose_unit_failed_is_not_waited_for(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure()
    server.ssh(
        "mkdir -p /run/systemd/system/guestbook-window@.service.d && printf"
        " '[Unit]\\nCollectMode=inactive\\n' >/run/systemd/system/guestbook-window@.service.d/x.conf"
        " && systemctl daemon-reload; systemctl start guestbook-window@20260101T000000; sleep 1;"
        " touch /srv/guestbook/log/20260101T000000.params /srv/guestbook/log/20260101T000000.log"
    )
    assert server.ssh("systemctl is-failed guestbook-window@20260101T000000") == "failed"
    said = server.fab("update", timeout=60).stdout
    assert "already current" in said
    assert "is open" not in server.fab("update", timeout=60).stdout

"""A server that an older version set up is taken over by the next deploy, without a lost request or
row.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.booted import ROOT, Server, ServerFactory, changed, kill
from tests.faults.test_cuts import lock_is_free
from tests.load import Load

pytestmark = pytest.mark.full

BEFORE = "43a7dd4"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version before, from this repository's history."""
    folder = tmp_path_factory.mktemp("older")
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", BEFORE], capture_output=True)
    if archive.returncode:
        pytest.skip(f"this clone has no history: git fetch --unshallow brings {BEFORE}")
    subprocess.run(["tar", "-xf", "-", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def start(server: Server, older: Path, task: str) -> subprocess.Popen[str]:
    """Start a task of the version before on a server, its output in fab.out."""
    with (server.folder / "fab.out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "fabric", "-r", str(older), "-H", server.name, task],
            cwd=server.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ),
            start_new_session=True,
        )


def deploy(server: Server, older: Path) -> None:
    """Deploy with the version before."""
    code = start(server, older, "deploy").wait(timeout=300)
    assert code == 0, (server.folder / "fab.out").read_text()


def test_a_server_of_the_version_before_is_taken_over(booth: ServerFactory, older: Path) -> None:
    server = booth.boot()
    server.configure(more='[proxy]\ndomains = ["gb.test"]')
    deploy(server, older)
    server.ssh(
        "python3 -c \"import urllib.request as u; [u.urlopen(u.Request('http://127.0.0.1/',"
        " b'text=row%d' % n, {'Host': 'gb.test'})) for n in range(10)]\""
    )
    first = server.ssh("basename $(readlink /srv/guestbook/current)")
    assert server.ssh(
        "stat -c %a /srv/guestbook/releases/* /run/decant/guestbook.lock"
    ).split() == ["755", "644"]
    # Anything else by the new version says what is missing, and does nothing with the procedures of
    # before.
    server.configure('ref = "better"', more='[proxy]\ndomains = ["gb.test"]')
    assert "an older version set this server up" in server.fab("update", code=1).stderr
    assert (
        "well" in server.fab("status").stdout
        and "an older version set this server up" in server.fab("db.status", code=1).stderr
    )
    with Load(server.address, host="gb.test", reopens=True) as load:
        server.fab("deploy")
    assert load.lost == []
    assert server.rows()[:10] == [f"row{number}" for number in range(10)] and set(
        load.posts
    ) <= set(server.rows())
    assert changed(server.fab("deploy").stdout) == [0]
    assert (
        server.ssh(
            "find /srv/guestbook/releases /srv/guestbook/venvs -mindepth 1 -maxdepth 1 -type d"
            " -perm /o=rw; find /run/decant -perm /o=rwx -o -perm /g=rwx"
        )
        == ""
    )
    assert server.ssh(
        "stat -c '%a %U:%G' /srv/guestbook/current/ /srv/guestbook/current/wsgi.py /run/decant"
    ).splitlines() == [
        "751 root:guestbook",
        "640 root:guestbook",
        "700 root:root",
    ]
    assert server.ssh(
        "stat -c %U $(readlink -f /srv/guestbook/current/.deploy/venv)/bin/gunicorn; id -u"
        " guestbook-build >/dev/null && echo there"
    ).split() == [
        "root",
        "there",
    ]
    # The release of before is a target of rollback, as it was.
    server.fab("rollback", "--to", first)
    assert server.get("/version", headers={"Host": "gb.test"}) == (200, "v1")
    assert server.get("/static/style.css", headers={"Host": "gb.test"})[0] == 200


@pytest.mark.parametrize("cut", ["the client", "the window", "the power"])
def test_a_server_is_taken_over_in_the_middle_of_an_update_by_the_version_before(
    booth: ServerFactory, older: Path, cut: str
) -> None:
    server = booth.boot()
    deploy(server, older)
    server.write("one", "two", "three")
    server.configure('ref = "migrates-slowly"')
    client = start(server, older, "update")
    server.wait_for_migration()
    assert "damaged" in server.rows()
    if cut == "the client":
        kill(client)
    elif cut == "the window":
        server.ssh("systemctl kill --signal=KILL 'guestbook-window@*.service'")
        kill(client)
    else:
        server.power_cut()
        kill(client)
        server.boot()
    said = server.fab("deploy").stdout
    assert "ended: good" in said if cut == "the client" else "ended: failed" in said
    assert server.get("/version") == (200, "migrates-slowly")
    assert len(server.rows()) == 3
    assert lock_is_free(server)
    assert changed(server.fab("deploy").stdout) == [0]

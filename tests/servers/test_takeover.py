"""A server that an older version set up is taken over by the next deploy, without a lost request or
row.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.booted import ROOT, ServerFactory, changed
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


def test_a_server_of_the_version_before_is_taken_over(booth: ServerFactory, older: Path) -> None:
    server = booth.boot()
    server.configure(more='[proxy]\ndomains = ["gb.test"]')
    old = [sys.executable, "-m", "fabric", "-r", str(older), "-H", server.name]
    done = subprocess.run(
        [*old, "deploy"],
        cwd=server.folder,
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
    shutil.rmtree(older)

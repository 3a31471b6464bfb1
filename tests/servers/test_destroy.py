"""destroy asks, keeps a final dump, and removes what was installed for the application.

A deploy afterwards begins anew.
"""

import os
import pty
import subprocess

import pytest

from tests.booted import FAB, ServerFactory

pytestmark = pytest.mark.full


def test_without_a_terminal_it_needs_yes_and_changes_nothing(booth: ServerFactory) -> None:
    server = booth.deployed()
    before = server.fingerprint()
    assert "there is no terminal to ask on; give --yes" in server.fab("destroy", code=1).stderr
    assert "final dump" in server.fab("--dry", "destroy").stdout
    assert server.fingerprint() == before
    assert server.get("/version") == (200, "v1")


@pytest.mark.parametrize(("typed", "code"), [("guestbook\n", 0), ("yes\n", 1)])
def test_on_a_terminal_it_asks_for_the_name(booth: ServerFactory, typed: str, code: int) -> None:
    server = booth.deployed()
    ours, theirs = pty.openpty()
    client = subprocess.Popen(
        [*FAB, "-H", server.name, "destroy"],
        cwd=server.folder,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(ours, typed.encode())
    said, _ = client.communicate(timeout=120)
    assert "Type the application's name (guestbook) to confirm the destroy" in said
    assert client.returncode == code, said
    server.ssh("test ! -e /srv/guestbook" if code == 0 else "test -e /srv/guestbook/current")


@pytest.mark.parametrize("stack", ["gunicorn", "mod_wsgi"])
def test_the_rows_are_in_the_final_dump_and_nothing_else_is_left(
    booth: ServerFactory, stack: str
) -> None:
    server = booth.deployed()
    rows = server.rows()
    if stack == "mod_wsgi":
        server.configure(wsgi='server = "mod_wsgi"', more='[proxy]\nkind = "apache"')
        server.fab("deploy")
    server.fab("destroy", "--yes")
    dump = server.ssh("ls /var/lib/decant/backups/guestbook-*.sqlite3.gz")
    assert server.ssh(f"stat -c %a {dump}") == "600"
    script = (
        "import sqlite3, sys; print(*[row[0] for row in"
        " sqlite3.connect(sys.argv[1]).execute('select text from entry order by id')])"
    )
    assert (
        server.ssh(f'gunzip -k {dump} && python3 -c "{script}" {dump.removesuffix(".gz")}').split()
        == rows
    )
    left = server.ssh(
        "find /etc /srv /run /var/lib/decant /var/log -xdev -iname '*guestbook*' -not -path"
        " '/var/lib/decant/backups/*' -not -path '/var/lib/decant/kept/*'"
    )
    assert [path for path in left.split() if "/run/decant/" not in path] == []
    server.ssh("! getent passwd guestbook && ! getent group guestbook")
    assert (
        "there is nothing of guestbook on this server"
        in server.fab("destroy", "--yes", code=1).stderr
    )
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")
    assert server.rows() == []

"""What cannot work is refused in one clear line, with exit code 1, no traceback, and nothing
changed on the server.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.booted import FAB, HOSTS, Server, ServerFactory, changed

GIT = (
    "command -v git >/dev/null || apt-get -qq install -y --no-install-recommends git >/dev/null"
    " 2>&1"
)


def refused(server: Server, *words: str, host: str = "") -> str:
    """Run fab, which must refuse in one line and change nothing; return that line."""
    before = server.fingerprint()
    done = server.fab(*words, code=1, host=host)
    assert server.fingerprint() == before
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ('ref = "nowhere"', "has no branch, tag or commit nowhere"),
        ('ref = "tag:release-*"', "no tag in"),
        ('source = "not-there"', "app.source: there is no folder"),
        (
            'source = "file:///srv/none.git"',
            "app.source: file:///srv/none.git cannot be read from the server",
        ),
        ('source = "https://127.0.0.1:1/none.git"', "cannot be read from the server"),
        ('source = "git@127.0.0.1:none.git"', "cannot be read from the server"),
        ('subdir = "backend"', "app.subdir: there is no folder backend"),
        ('env_file = ".env.production"', "app.env_file: there is no file"),
        ('ref = "has-no-app"', "wsgi.app: 'wsgi' has no 'app'"),
    ],
)
def test_a_source_that_cannot_be_had_is_refused(deployed: Server, app: str, said: str) -> None:
    deployed.ssh(GIT)
    deployed.configure(app)
    assert said in refused(deployed, "update")


def test_a_callable_that_names_nothing_is_refused(deployed: Server) -> None:
    deployed.configure()
    path = deployed.folder / "hosts.toml"
    path.write_text(path.read_text().replace('app = "wsgi:app"', 'app = "wsgi:application"'))
    assert "has no 'application'" in refused(deployed, "update")


def test_a_repository_on_the_server_without_that_ref_is_refused(deployed: Server) -> None:
    deployed.ssh(
        "command -v git >/dev/null || apt-get -qq install -y --no-install-recommends git >/dev/null"
        " 2>&1; test -d /opt/g.git || git init -q --bare /opt/g.git"
    )
    deployed.configure('source = "file:///opt/g.git"\nref = "main"')
    assert "has no branch, tag or commit main" in refused(deployed, "update")
    deployed.configure('source = "file:///opt/g.git"\nref = ""')
    assert "cannot be read" in refused(deployed, "update") or "is empty" in refused(
        deployed, "update"
    )


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("nobody-knows", "no host 'nobody-knows' in"),
        ("silent", "no answer"),
        ("closed", "no answer"),
        ("stranger", "the server refuses the key"),
        ("impostor", "but hosts.impostor.host_key is"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(deployed: Server, host: str, said: str) -> None:
    unused = deployed.address.rsplit(".", 1)[0] + ".250"
    entries = deployed.entry("silent", address=unused) + deployed.entry(
        "closed", address="127.0.0.1"
    ).replace("[hosts.closed]", "[hosts.closed]\nport = 1")
    entries += deployed.entry("stranger", user="nobody-here") + deployed.entry(
        "impostor", host_key="SHA256:" + "A" * 43
    )
    deployed.configure(more=entries)
    assert said in refused(deployed, "status", host=host)


def test_without_any_host_the_known_ones_are_listed(deployed: Server) -> None:
    deployed.configure(more=deployed.entry("second"))
    assert "',' names no host (hosts: " in refused(deployed, "status", host=",")


def test_a_typo_in_hosts_toml_is_shown_before_any_connection(deployed: Server) -> None:
    deployed.configure(more="[proxi]\nkind = 'nginx'")
    assert "proxi: unknown key, did you mean proxy?" in refused(deployed, "deploy")


def test_an_account_without_sudo_rights_is_refused(deployed: Server) -> None:
    deployed.account("guest", password="secret")
    deployed.configure(more=deployed.entry("guest", user="guest"))
    assert "put SUDO_PASSWORD=" in refused(deployed, "deploy", host="guest")
    deployed.secret(".env.deploy", "SUDO_PASSWORD=secret\n")
    assert "guest may not use sudo" in refused(deployed, "deploy", host="guest")
    deployed.secret(".env.deploy", "SUDO_PASSWORD=wrong\n")
    assert "sudo does not take the password of guest" in refused(deployed, "deploy", host="guest")
    (deployed.folder / ".env.deploy").unlink()


def test_a_system_that_is_not_debian_is_refused(booth: ServerFactory) -> None:
    server = booth.boot()
    server.ssh(
        "sed -i 's/^ID=.*/ID=fedora/; s/^PRETTY_NAME=.*/PRETTY_NAME=\"Fedora Linux 44\"/'"
        " /etc/os-release"
    )
    assert "Fedora Linux 44 is neither Debian nor Ubuntu" in refused(server, "deploy")
    server.ssh(
        "sed -i 's/^ID=.*/ID=debian/' /etc/os-release && SUDO_FORCE_REMOVE=yes apt-get -qq purge -y"
        " --allow-remove-essential sudo >/dev/null 2>&1"
    )
    server.account("guest")
    server.configure(more=server.entry("guest", user="guest"))
    assert "there is no sudo" in refused(server, "deploy", host="guest")


def test_a_disk_that_takes_nothing_more_is_refused(booth: ServerFactory) -> None:
    server = booth.boot()
    for options, said in (
        ("size=50m", "the disk is full: "),
        ("nr_inodes=200", "the disk has room for 199 more files (inodes) in /srv/guestbook"),
        ("ro", "the disk at /srv is mounted read-only, as after an I/O error"),
    ):
        server.ssh(f"mount -t tmpfs -o {options} tmpfs /srv")
        assert said in refused(server, "deploy")
        server.ssh("umount /srv")


def test_another_application_with_the_same_claim_is_left_alone(deployed: Server) -> None:
    deployed.configure('name = "other"')
    assert "guestbook on this server already answers to any name" in refused(deployed, "deploy")
    for name in ("ssh", "www-data", "lock"):
        deployed.configure(f'name = "{name}"', more='[proxy]\ndomains = ["other.test"]')
        assert "app.name: the server has" in refused(deployed, "deploy")
    deployed.configure(
        'name = "other"\nroot = "/srv/guestbook/other"', more='[proxy]\ndomains = ["other.test"]'
    )
    assert "overlap" in refused(deployed, "deploy")


@pytest.mark.full
@pytest.mark.parametrize("piece", [b"x", b"this is no sshd\r\n"])
def test_what_answers_a_byte_a_second_is_given_up(tmp_path: Path, piece: bytes) -> None:
    def drip(listening: socket.socket) -> None:
        with listening.accept()[0] as found, contextlib.suppress(OSError):
            while True:
                found.sendall(piece)
                time.sleep(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, args=(listening,), daemon=True)
        dripping.start()
        address = f'address = "127.0.0.1"\nport = {listening.getsockname()[1]}\n'
        host_key = f'host_key = "SHA256:{"A" * 43}"\n'
        (tmp_path / "hosts.toml").write_text(
            f"{HOSTS.format(app='', wsgi='', more='')}[hosts.slow]\n{address}{host_key}"
        )
        done = subprocess.run(
            [*FAB, "-H", "slow", "status"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )
        dripping.join(10)
    assert done.returncode == 1
    assert "no login within 60 s: what is there answers too slowly, or is no sshd" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.full
def test_a_server_that_falls_silent_in_the_middle_is_given_up(deployed: Server) -> None:
    client = deployed.start_fab("app.run", "sleep 300")
    deployed.wait_until(
        lambda: deployed.ssh("pgrep -f '[s]leep 300' || true") != "", what="the command runs"
    )
    # Its kernel takes what we send, and nobody answers.
    deployed.ssh("pkill -STOP -f '[s]leep 300'; kill -STOP $(pgrep -o -f 'sshd: root@notty')")
    try:
        assert client.wait(timeout=100) == 1
        assert "the connection was lost" in (deployed.folder / "fab.out").read_text()
    finally:
        deployed.ssh("pkill -CONT -f 'sshd: root@notty'; pkill -9 -f '[s]leep 300' || true")
    deployed.fab("status")


@pytest.mark.full
def test_a_clock_that_jumps_back_changes_no_order(booth: ServerFactory) -> None:
    server = booth.deployed()
    # Lab servers have the clock of this machine: what asks for the time is told another one.
    server.ssh(
        'printf \'#!/bin/sh\\nexec /usr/bin/date -d "3 days ago" "$@"\\n\' >/usr/local/bin/date'
        " && chmod +x /usr/local/bin/date"
    )
    for ref in ("better", "migrates"):
        server.configure(f'ref = "{ref}"')
        server.fab("update")
        assert server.get("/version") == (200, ref)
    listed = json.loads(server.fab("app.releases", "--json").stdout)
    assert [each["current"] for each in listed].count(True) == 1
    names = [each["release"] for each in listed]
    assert listed[names.index(max(names))]["current"]
    assert changed(server.fab("deploy").stdout) == [0]
    server.ssh("rm /usr/local/bin/date")
    server.fab("rollback", "--downgrade")
    assert server.get("/version") == (200, "better")
    server.fab("update")
    assert server.get("/version") == (200, "migrates")


@pytest.mark.full
def test_a_server_whose_host_key_is_another_one_than_before_is_refused(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.ssh(
        "rm /etc/ssh/ssh_host_*_key* && ssh-keygen -A >/dev/null && systemctl restart ssh",
        check=False,
    )
    server.configure('ref = "better"')
    said = server.fab("update", code=1).stderr.strip()
    assert f"but hosts.{server.name}.host_key is" in said and "\n" not in said, said
    assert server.get("/version") == (200, "v1")

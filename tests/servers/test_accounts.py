"""Logging in as root, with passwordless sudo and with sudo's password; keys of servers.

And what others can see of secrets.
"""

import codecs
import fcntl
import os
import pty
import select
import subprocess
import termios
import time

import pytest

from tests.booted import FAB, Server, ServerFactory, changed
from tests.watch import Watch

SUDOERS = [
    ("trixie", "ALL=(ALL) ALL"),
    ("bookworm", "ALL=(ALL) NOPASSWD: ALL"),
]


@pytest.mark.full
@pytest.mark.parametrize(("suite", "sudo"), SUDOERS)
def test_an_account_with_sudo_deploys_and_no_secret_is_seen(
    booth: ServerFactory, suite: str, sudo: str
) -> None:
    server = booth.boot(suite)
    password = "pass word'$(id)\""
    server.account("deployer", sudo, password)
    server.secret(".env.deploy", "SUDO_PASSWORD='pass word\\'$(id)\"'\n")
    (server.folder / "env").write_text("TOKEN=token-4711\n")
    server.configure('env_file = "env"', more=server.entry("admin", user="deployer"))
    with Watch(server) as watch:
        said = server.fab("deploy", host="admin").stdout
        said += server.fab("deploy", host="admin").stdout
        assert changed(said)[1:] == [0]
        server.configure(
            'env_file = "env"\nref = "migrates"', more=server.entry("admin", user="deployer")
        )
        said += server.fab(
            "update", "app.run", "echo $TOKEN | wc -c", "gunicorn.restart", host="admin"
        ).stdout
    assert server.get("/version") == (200, "migrates")
    assert server.get("/variable/TOKEN") == (200, "token-4711")

    secret = server.ssh(
        "sed -n 's/^SECRET_KEY=\"\\(.*\\)\"/\\1/p' /srv/guestbook/shared/secrets.env"
    )
    assert len(secret) > 60
    assert b"prepare.sh" in watch.saw("prepare.sh")
    for hidden in (secret, "token-4711", password):
        assert hidden not in said
        assert watch.saw(hidden) == b""
    assert (
        server.ssh(
            "stat -c '%a %U:%G' /srv/guestbook/shared/secrets.env"
            " /srv/guestbook/current/.deploy/env"
        ).split()
        == ["640", "root:guestbook"] * 2
    )
    assert server.ssh("ls /tmp | grep decant || true") == ""


def own_terminal() -> None:
    """Make standard input the terminal that this process is in the foreground of."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def at_a_terminal(
    server: Server, words: list[str], prompt: str, answer: str, home: str = ""
) -> tuple[int, str]:
    """Run fab at a terminal, answer its prompt, and return its exit code and what it showed."""
    main, child = pty.openpty()
    environment = {**os.environ, **({"HOME": home} if home else {})}
    process = subprocess.Popen(
        [*FAB, *words],
        cwd=server.folder,
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        start_new_session=True,
        preexec_fn=own_terminal,
    )
    os.close(child)
    shown, answered, deadline = "", False, time.monotonic() + 120
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may come in two pieces
    while time.monotonic() < deadline:
        try:
            piece = os.read(main, 4096) if select.select([main], [], [], 0.2)[0] else b""
        except OSError:
            break
        shown += decoder.decode(piece)
        if prompt in shown and not answered:
            answered = True
            time.sleep(0.3)
            os.write(main, f"{answer}\n".encode())
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
    os.close(main)
    return process.wait(timeout=30), shown


def test_a_shell_opens_in_the_release(deployed: Server) -> None:
    deployed.configure()
    code, shown = at_a_terminal(
        deployed, ["-H", deployed.name, "app.shell"], ">>>", "print(app.name * 2); exit()"
    )
    assert code == 0
    assert "guestbookguestbook" in shown


def test_host_keys_are_believed_from_known_hosts_alone(deployed: Server) -> None:
    home = deployed.folder / "home"
    (home / ".ssh").mkdir(parents=True)
    deployed.environment = {"HOME": str(home)}
    deployed.configure(more=deployed.entry("plain", host_key=""))
    unknown = deployed.fab("status", host="plain", code=1).stderr
    assert "is not known: SHA256:" in unknown
    assert "hosts.plain.host_key" in unknown
    code, shown = at_a_terminal(deployed, ["-H", "plain", "status"], "(yes/no)", "no", str(home))
    assert code == 1
    assert "was not confirmed" in shown
    code, shown = at_a_terminal(deployed, ["-H", "plain", "status"], "(yes/no)", "yes", str(home))
    assert code == 0
    assert "SHA256:" in shown
    assert "guestbook" in deployed.fab("status", host="plain").stdout

    known = home / ".ssh/known_hosts"
    other = deployed.ssh(
        "ssh-keygen -q -t ed25519 -N '' -f /tmp/other <<<y >/dev/null 2>&1; cut -d' ' -f1,2"
        " /tmp/other.pub"
    )
    known.write_text(f"{deployed.address} {other}\n")
    assert "has CHANGED" in deployed.fab("status", host="plain", code=1).stderr
    at_a_terminal(deployed, ["-H", "plain", "status"], "(yes/no)", "yes", str(home))
    assert known.read_text() == f"{deployed.address} {other}\n"
    deployed.environment = {}


def test_ssh_aliases_and_addresses_are_hosts_too(deployed: Server) -> None:
    deployed.configure()
    home = deployed.folder / "home2"
    (home / ".ssh").mkdir(parents=True)
    keys = deployed.ssh("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    (home / ".ssh/known_hosts").write_text(f"{deployed.address} {' '.join(keys)}\n")
    (home / ".ssh/config").write_text(
        f"Host alias\n  HostName {deployed.address}\n  User root\n  IdentityFile"
        f" {deployed.folder}/.lab/key\n"
    )
    deployed.environment = {"HOME": str(home)}
    assert "guestbook" in deployed.fab("status", host="alias").stdout
    address = f"root@{deployed.address}:22"
    assert (
        f"use -H {deployed.name}"
        in deployed.fab(
            "-i", str(deployed.folder / ".lab/key"), "status", host=address, code=1
        ).stderr
    )
    (deployed.folder / ".lab/hosts.toml").rename(deployed.folder / ".lab/away")
    assert (
        "guestbook"
        in deployed.fab("-i", str(deployed.folder / ".lab/key"), "status", host=address).stdout
    )
    (deployed.folder / ".lab/away").rename(deployed.folder / ".lab/hosts.toml")
    deployed.environment = {}


@pytest.mark.full
def test_a_server_behind_a_jump_host_is_reached_through_it(booth: ServerFactory) -> None:
    server, hop = booth.deployed(), booth.boot()
    (server.folder / "hop-key").write_text((hop.folder / ".lab/key").read_text())
    server.ssh(f"iptables -I INPUT -p tcp --dport 22 ! -s {hop.address} -j DROP")
    inner = server.entry("inner", gateway="hop")
    server.configure(more=hop.entry("hop", identity="hop-key") + inner)
    # The pinned key of the jump host counts, whatever known_hosts says of an earlier server at its
    # address.
    (server.folder / ".ssh").mkdir()
    stale = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(server.folder / ".lab/key")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (server.folder / ".ssh/known_hosts").write_text(f"{hop.address} {stale}")
    server.environment["HOME"] = str(server.folder)
    assert "v1" in server.fab("app.run", "cat guestbook/testing.py", host="inner").stdout
    server.configure(
        more=hop.entry("hop", identity="hop-key", host_key="SHA256:" + "A" * 43) + inner
    )
    assert "hosts.hop.host_key is" in server.fab("status", host="inner", code=1).stderr


@pytest.mark.full
def test_a_lab_server_comes_is_listed_and_goes(booth: ServerFactory) -> None:
    server = booth.boot()
    name = f"{server.name}-more"
    booth.names.append(name)
    assert f"fab -H {name}" in server.fab("lab.up", name, "--suite", "trixie").stdout
    assert "trixie" in server.fab("system.info", host=name).stdout
    assert name in server.fab("lab.list").stdout
    server.fab("lab.down", name)
    assert name not in server.fab("lab.list").stdout
    assert "no host" in server.fab("status", host=name, code=1).stderr
    assert "unknown suite" in server.fab("lab.up", name, "--suite", "woody", code=1).stderr


def test_round_trips_are_few(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.ssh(
        "echo 'LogLevel VERBOSE' > /etc/ssh/sshd_config.d/verbose.conf && systemctl reload ssh &&"
        " sleep 1"
    )

    def commands(*words: str) -> int:
        count = "journalctl -u ssh --no-pager | grep -c 'Starting session: command' || true"
        before = int(server.ssh(count))
        server.fab(*words)
        return int(server.ssh(count)) - before - 1

    assert 0 < commands("deploy") <= 6
    server.configure('ref = "migrates"')
    assert 0 < commands("update") <= 12
    connections = "journalctl -u ssh --no-pager | grep -c 'Accepted publickey' || true"
    before = int(server.ssh(connections))
    server.fab("status", "app.releases", "nginx.check")
    assert int(server.ssh(connections)) - before == 2

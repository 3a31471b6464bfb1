"""system.harden.

What sshd really does is compared, what would shut us out is taken back, also when the client is
gone, and who guesses is kept out.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booted import NO_SERVER, ROOT, Server, ServerFactory, changed, kill, why_not

pytestmark = pytest.mark.full

HARDENED = "[system]\nharden = true"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def hardened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Iterator[Server]:
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    booth = ServerFactory(tmp_path_factory.mktemp("harden"), repository, f"harden-{request.param}")
    try:
        server = booth.boot(request.param)
        server.configure(more=HARDENED)
        server.fab("system.harden")
        yield server
    finally:
        booth.close()


def own_template(server: Server, more: str) -> None:
    """Let the user's own template of sshd's settings say more."""
    folder = server.folder / "templates/system"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sshd.conf.j2").write_text(
        (ROOT / "templates/system/sshd.conf.j2").read_text() + more
    )


def test_hardening_is_checked_and_taken_back(hardened: Server) -> None:
    server = hardened
    assert changed(server.fab("system.harden").stdout) == [0]
    shown = server.ssh("sshd -T")
    for line in (
        "passwordauthentication no",
        "x11forwarding no",
        "allowagentforwarding no",
        "logingracetime 60",
        "maxauthtries 4",
        "permitrootlogin without-password",
    ):
        assert line in shown.splitlines()
    assert "sha1" not in next(
        line for line in shown.splitlines() if line.startswith("macs ")
    ) and "nistp" not in next(
        line for line in shown.splitlines() if line.startswith("kexalgorithms ")
    )
    assert "needrestart" in server.ssh(
        "dpkg-query -W -f='${Package}\\n' needrestart unattended-upgrades"
    )

    # Another file comes before ours.
    server.ssh("echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/00-a.conf")
    failed = server.fab("system.harden", code=1).stderr
    assert (
        "sshd has: passwordauthentication yes, and not: passwordauthentication no" in failed
        and "/etc/ssh/sshd_config.d" in failed
    )
    server.ssh("rm /etc/ssh/sshd_config.d/00-a.conf && systemctl reload ssh && sleep 1")

    # What shuts us out is taken back at once, sshd with it.
    before = server.inside("cat /etc/ssh/sshd_config.d/00-decant.conf; sshd -T")
    own_template(server, "AllowUsers nobody\n")
    failed = server.fab("system.harden", code=1).stderr
    assert "taken back: with this change no second connection came in" in failed
    server.wait_until(
        lambda: server.inside("cat /etc/ssh/sshd_config.d/00-decant.conf; sshd -T") == before,
        what="sshd is as before",
    )
    # What sshd does not take never comes into force.
    own_template(server, "NoSuchSetting yes\n")
    server.fab("system.harden", code=1)
    server.wait_until(
        lambda: server.inside("cat /etc/ssh/sshd_config.d/00-decant.conf; sshd -T") == before,
        what="sshd is as before",
    )
    # A client that is killed while the server waits for it: the server takes it back by itself.
    own_template(server, "AllowUsers nobody\n")
    client = server.start_fab("system.harden")
    server.wait_until(
        lambda: (
            "/var/lib/decant/guard/guestbook/armed"
            in server.inside("ls /var/lib/decant/guard/guestbook/armed")
        ),
        what="the guard is armed",
    )
    kill(client)
    server.wait_until(
        lambda: server.inside("ls /var/lib/decant/guard/guestbook 2>/dev/null") == "",
        seconds=120,
        what="the guard has taken it back",
    )
    server.wait_until(
        lambda: server.inside("cat /etc/ssh/sshd_config.d/00-decant.conf; sshd -T") == before,
        what="sshd is as before",
    )
    shutil.rmtree(server.folder / "templates")
    assert changed(server.fab("system.harden").stdout) == [0]


def test_a_firewall_that_shuts_us_out_is_taken_back(hardened: Server) -> None:
    server = hardened
    server.fab("system.firewall")
    assert changed(server.fab("system.firewall").stdout) == [0]
    rules = server.ssh("cat /etc/ufw/user.rules")
    # The second connection is refused by a rule that stands before ufw's: as if the new rules did
    # it.
    server.ssh("iptables -I INPUT -p tcp --dport 22 --syn -j REJECT")
    try:
        server.configure(more=f"{HARDENED}\nallow = ['51820/udp']")
        client = server.start_fab("system.firewall")
        client.wait(timeout=60)
    finally:
        server.inside("iptables -D INPUT -p tcp --dport 22 --syn -j REJECT")
    assert server.ssh("cat /etc/ufw/user.rules") == rules
    server.fab("system.firewall")
    assert "51820" in server.ssh("ufw status")
    server.configure(more=HARDENED)


def test_who_guesses_is_kept_out(hardened: Server) -> None:
    server = hardened
    trixie = server.suite == "trixie"
    if trixie:
        shown = server.ssh("sshd -T")
        assert (
            "persourcepenalties crash:90 authfail:5" in shown
            and f"persourcepenaltyexemptlist {server.gateway}" in shown
        )
    # A guesser at an address of his own, in a namespace beside the server.
    server.inside(
        "ip netns add guesser; ip link add g0 type veth peer name g1 netns guesser; ip addr add"
        " 192.0.2.1/24 dev g0; ip link set g0 up; ip -n guesser addr add 192.0.2.2/24 dev g1; ip -n"
        " guesser link set g1 up; ip -n guesser link set lo up"
    )
    server.ssh("rm -f /root/guess && ssh-keygen -q -t ed25519 -N '' -f /root/guess")
    guess = (
        "timeout 8 ip netns exec guesser ssh -i /root/guess -o StrictHostKeyChecking=no -o"
        " UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=5 nobody-{}@192.0.2.1"
        " true 2>&1 | tail -n 1"
    )
    said = []
    for number in range(30 if trixie else 12):
        said.append(server.inside(guess.format(number)))
    if trixie:
        assert "Permission denied" in said[0] and "Permission denied" not in said[-1], said
    else:
        server.wait_until(
            lambda: "192.0.2.2" in server.ssh("fail2ban-client status sshd"),
            what="the guesser is banned",
        )
        assert "Permission denied" not in server.inside(guess.format("again"))
    # A deployer whose agent offers many keys comes in all the same, now and afterwards.
    keys = [server.folder / f"key{number}" for number in range(8)]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for _ in range(8):
        words = [
            "ssh",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ]
        subprocess.run(
            [
                *words,
                *(word for key in keys for word in ("-i", str(key))),
                f"root@{server.address}",
                "true",
            ],
            capture_output=True,
            timeout=30,
        )
    assert server.ssh("echo in") == "in"
    assert changed(server.fab("system.harden").stdout) == [0]


def test_ssh_audit_has_no_fail_line(hardened: Server) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ssh_audit.ssh_audit",
            "-l",
            "fail",
            "--skip-rate-test",
            hardened.address,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    # 1: it could not connect; 2: there are warnings; 3: there are failures
    assert done.returncode in (0, 2), done.stdout + done.stderr
    assert "[fail]" not in done.stdout, done.stdout


def test_admins_are_under_the_same_guard(hardened: Server) -> None:
    server = hardened
    (server.folder / "alice.pub").write_text(
        subprocess.run(
            ["ssh-keygen", "-y", "-f", str(server.folder / ".lab/key")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    server.configure(more=f'{HARDENED}\nadmins = {{ alice = "alice.pub" }}')
    server.fab("system.user")
    assert server.ssh("sudo -n id -u", user="alice") == "0"
    assert changed(server.fab("system.user").stdout) == [0]
    # A sudoers file of somebody else that sudo does not take: ours is not left behind in it.
    server.ssh(
        "rm /etc/sudoers.d/90-decant-alice; echo 'nonsense here' >/etc/sudoers.d/00-broken; chmod"
        " 440 /etc/sudoers.d/00-broken"
    )
    assert "sudo of alice" in server.fab("system.user", code=1).stderr
    server.ssh("test ! -e /etc/sudoers.d/90-decant-alice && rm /etc/sudoers.d/00-broken")
    server.configure(more=HARDENED)

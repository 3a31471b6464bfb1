"""Copies that leave the server: made under load, proved, and an empty server that gets them back."""

import json
import re
import subprocess
import time

import pytest

from tests.booted import Server, ServerFactory
from tests.load import Load

PASSWORD = "it's a $ecret"


def storage(booth: ServerFactory) -> Server:
    """Boot a server that keeps copies: by sftp, as an account that may do nothing else."""
    kept = booth.boot()
    kept.ssh(
        "useradd -m keeper && mkdir -m 0700 ~keeper/.ssh /backups && chown keeper /backups &&"
        " printf 'Match User keeper\\n ForceCommand internal-sftp\\n' >/etc/ssh/sshd_config.d/k.conf"
        " && systemctl reload ssh"
    )
    return kept


def opened(kept: Server, server: Server) -> str:
    """Let a server's folder open the storage; return its section of hosts.toml."""
    key = server.folder / "backup-key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text()
    kept.ssh(
        f"echo '{public.strip()}' >>~keeper/.ssh/authorized_keys && chown -R keeper: ~keeper/.ssh"
    )
    secrets = server.folder / ".env.deploy"
    secrets.write_text(f'BACKUP_PASSWORD="{PASSWORD}"\n')
    secrets.chmod(0o600)
    host_key = kept.ssh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    return (
        f'[backup]\nto = "sftp://keeper@{kept.address}/backups/guestbook"\nkeep = 2\n'
        f'identity = "backup-key"\nhost_key = "{host_key}"\n'
    )


def copies(server: Server) -> list[str]:
    """Return the copies at the storage, the oldest first."""
    said = server.fab("backup.list", "--json").stdout
    return [each["copy"] for each in json.loads(said)["copies"]]


def take_keys(server: Server, fresh: Server) -> None:
    """Give another server's folder what opens the storage."""
    for name in ("backup-key", ".env.deploy"):
        (fresh.folder / name).write_bytes((server.folder / name).read_bytes())
        (fresh.folder / name).chmod(0o600)


def nobody_sees_the_keys(server: Server) -> None:
    """Nobody but root can read what opens the copies, and the password stands nowhere else."""
    assert server.ssh("find /etc/decant/backup -type f ! -perm 0600 ! -name known_hosts") == ""
    hidden = "cat /etc/decant/backup/guestbook/env && echo READ || true"
    assert "READ" not in server.ssh(f'runuser -u guestbook -- sh -c "{hidden}" 2>&1')
    assert PASSWORD not in server.ssh(
        "journalctl --no-pager; cat /proc/*/cmdline | tr '\\0' ' '; cat /srv/guestbook/log/*"
    )


def the_volume_is_as_before(server: Server) -> None:
    """The volume below shared/ is mounted once, and nothing is shown a second time any more."""
    mounts = server.ssh("grep -c ' /srv/guestbook/shared/instance/uploads ' /proc/self/mountinfo")
    assert mounts == "1"
    assert server.ssh("grep backups/.shared /proc/self/mountinfo || true") == ""
    assert server.ssh("cat /srv/guestbook/shared/instance/uploads/*") == "hallo"


@pytest.mark.full
def test_a_server_that_is_destroyed_comes_back_from_its_copy_alone(booth: ServerFactory) -> None:
    kept, server = storage(booth), booth.deployed()
    section = opened(kept, server)
    server.configure(more=section)
    server.fab("deploy")
    server.ssh(
        "cd /srv/guestbook/shared/instance && install -d uploads && mount -t tmpfs"
        " volume uploads && chown guestbook uploads && echo hallo"
        " >'uploads/ä b' && chown guestbook 'uploads/ä b' && cat ../secrets.env >/root/secrets"
    )
    secrets, before = server.ssh("cat /root/secrets"), server.rows()

    with Load(server.address) as load:
        assert "copied to sftp://" in server.fab("backup.now").stdout
        time.sleep(1)
        assert "comes back" in server.fab("backup.check").stdout
        server.fab("backup.now")
    assert load.lost == []
    server.fab("backup.now")
    assert len(copies(server)) == 2  # backup.keep
    status = server.fab("status").stdout
    assert re.search(r"backup +copied 0 minutes ago; proved to come back", status)
    held = server.rows()
    assert held[: len(before)] == before and set(load.posts) <= set(held)

    nobody_sees_the_keys(server)
    the_volume_is_as_before(server)

    # The server is gone, in the middle of its work; another one has its name.
    with Load(server.address, timeout=5):
        server.power_cut()
    fresh = booth.boot()
    take_keys(server, fresh)
    fresh.configure(more=section)
    said = fresh.fab("rebuild", timeout=600).stdout
    assert "the database is back: " in said
    assert fresh.get("/version") == (200, "v1")
    assert fresh.rows() == held
    assert fresh.ssh("cat /srv/guestbook/shared/secrets.env") == secrets
    assert fresh.ssh("cd /srv/guestbook/shared/instance/uploads && stat -c %U *") == "guestbook"
    assert "0 changed in all" in fresh.fab("deploy").stdout
    assert "is deployed here already" in fresh.fab("rebuild", code=1).stderr

    # A row and a file that were lost come back; what has come since stays.
    fresh.fab("backup.now")
    fresh.ssh("cd /srv/guestbook/shared/instance && rm uploads/* && echo since >since")
    fresh.ssh("chown guestbook /srv/guestbook/shared/instance/since")
    with Load(fresh.address) as load:
        fresh.fab("backup.restore", "--yes")
    assert load.lost == []
    assert fresh.ssh("cat /srv/guestbook/shared/instance/uploads/*") == "hallo"
    assert fresh.ssh("cat /srv/guestbook/shared/instance/since") == "since"
    assert fresh.rows()[: len(held)] == held

    # What has rotted at the storage is found by the drill, and told.
    kept.ssh(
        "for pack in $(find /backups/guestbook/data -type f); do printf rotten | dd of=$pack"
        " conv=notrunc bs=1 seek=40 status=none; done"
    )
    assert "the drill failed: sftp://" in fresh.fab("backup.check", code=1).stderr
    assert "the drill 0 minutes ago failed" in fresh.fab("status").stdout
    assert fresh.get("/version") == (200, "v1")

    # Without [backup] no timer and no key is left, and the copies stay where they are.
    fresh.configure()
    fresh.fab("deploy")
    assert fresh.ssh("ls -d /etc/decant/backup/* /etc/systemd/system/decant-drill@* || true") == ""
    assert kept.ssh("ls /backups/guestbook/snapshots | wc -l") != "0"


@pytest.mark.full
def test_copies_go_to_s3_and_no_link_leads_them_to_the_keys(booth: ServerFactory) -> None:
    kept, server = booth.boot(), booth.deployed()
    kept.ssh(
        "apt-get -q update >/dev/null && apt-get -q -y install --no-install-recommends python3-venv"
        " >/dev/null 2>&1 && python3 -m venv /opt/moto && /opt/moto/bin/pip -q install"
        " 'moto[s3,server]' && systemd-run --quiet /opt/moto/bin/moto_server -H 0.0.0.0 -p 9000",
        seconds=300,
    )
    (server.folder / ".env.deploy").write_text(f'BACKUP_PASSWORD="{PASSWORD}"\nS3_KEY=geheim\n')
    (server.folder / ".env.deploy").chmod(0o600)
    server.configure(
        more=f'[backup]\nto = "s3+http://{kept.address}:9000/copies/guestbook"\n[backup.env]\n'
        'AWS_ACCESS_KEY_ID = "me"\nAWS_SECRET_ACCESS_KEY = "{deploy.S3_KEY}"\n'
    )
    server.fab("deploy")
    server.fab("backup.now")
    server.fab("backup.check")

    # The application puts links in the place of a folder while it is copied, to the storage's keys
    # and to what restic has in its environment; with a thousand files there is time for it.
    server.ssh(
        "cd /srv/guestbook/shared/instance && install -d -o guestbook d && cd d && for i in $(seq"
        " 1000); do echo $i >$i; done && echo own >env && echo own >environ && chown -R guestbook"
        " . && systemd-run --quiet --unit swap --uid guestbook -p WorkingDirectory=$(dirname $PWD) sh"
        " -c 'while :; do mv d e; ln -s /etc/decant/backup/guestbook d; rm d; ln -s /proc/self d; rm"
        " d; mv e d; done'"
    )
    for _ in range(5):
        server.fab("backup.now")
    server.ssh("systemctl stop swap")
    for copy in copies(server):
        server.ssh(f"python3 -I -S /srv/guestbook/procedures/backup.py /srv/guestbook fetch {copy}")
        found = "grep -rlE 'RESTIC_PASSWORD|geheim' /srv/guestbook/backups/.fetched || true"
        assert server.ssh(found) == ""
    assert server.ssh("mount | grep backups/.shared || true") == ""


@pytest.mark.full
def test_a_storage_that_cannot_be_had_is_said_and_nothing_stops(booth: ServerFactory) -> None:
    kept, server = storage(booth), booth.deployed()
    section = opened(kept, server)
    server.configure(more=section)
    server.fab("deploy")
    server.fab("backup.now")
    where = f"sftp://keeper@{kept.address}/backups/guestbook"
    secrets = server.folder / ".env.deploy"

    wrong_key = re.sub('host_key = "[^"]*"', 'host_key = "ssh-ed25519 AAAAC3Nz"', section)
    for what, password, lines in (
        ("another password", "other", section),
        ("another host key", PASSWORD, wrong_key),
    ):
        secrets.write_text(f'BACKUP_PASSWORD="{password}"\n')
        server.configure(more=lines)
        server.fab("deploy")
        said = server.fab("backup.now", code=1).stderr
        assert f"the backup failed: {where}" in said, (what, said)
        assert said.count("\n") == 1, said
        assert PASSWORD not in said
    server.configure(more=section)
    secrets.write_text(f'BACKUP_PASSWORD="{PASSWORD}"\n')
    server.fab("deploy")
    server.fab("backup.now")

    # Its copies are gone, then it is full, and then silent.
    kept.ssh("mv /backups/guestbook /backups/away")
    said = server.fab("backup.now", code=1).stderr
    assert "it had copies before, so no new place is made for them" in said, said
    kept.ssh("mv /backups/away /backups/guestbook")
    kept.ssh(
        "mount -t tmpfs -o size=64k small /backups/guestbook/data && chown keeper"
        " /backups/guestbook/data"
    )
    server.ssh("head -c 2M /dev/urandom >/srv/guestbook/shared/instance/upload")
    assert "the backup failed: " in server.fab("backup.now", code=1).stderr
    kept.ssh("umount /backups/guestbook/data")
    kept.power_cut()
    assert "the backup failed: " in server.fab("backup.now", code=1, timeout=400).stderr
    assert "the backup 0 minutes ago failed" in server.fab("status").stdout
    assert server.get("/version") == (200, "v1")
    kept.boot()
    server.fab("backup.now")
    assert "failed" not in server.fab("status").stdout.partition("backup ")[2]


@pytest.mark.full
@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_a_database_with_a_server_comes_back_with_its_password(
    booth: ServerFactory, database: str
) -> None:
    kept, server = storage(booth), booth.deployed(database=database)
    section = opened(kept, server)
    server.configure(more=section)
    server.fab("deploy")
    with Load(server.address) as load:
        server.fab("backup.now")
        server.fab("backup.check", timeout=400)
    assert load.lost == []
    held, secrets = server.rows(), server.ssh("cat /srv/guestbook/shared/secrets.env")
    server.fab("backup.now")
    server.power_cut()
    fresh = booth.boot(database=database)
    take_keys(server, fresh)
    fresh.configure(more=section)
    fresh.fab("rebuild", timeout=900)
    assert (fresh.get("/version"), fresh.rows()) == ((200, "v1"), held)
    assert fresh.ssh("cat /srv/guestbook/shared/secrets.env") == secrets

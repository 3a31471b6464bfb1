"""Run a site for an hour under load, on a small server, with everything that happens to one.

    python -m tests.faults.soak [--minutes 60] [--rate 50] [--every 5]

A server of 1 GiB memory and a 2 GiB disk serves by HTTPS. Each `every` minutes it is updated, every
second time with a migration; between two updates its certificate is renewed and its logs are
rotated. What it used is printed after each round, and at the end what was lost.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests import booted, guestbook
from tests.authority import Authority, Secure
from tests.booted import Server
from tests.faults.sweep import MEMORY, Booth, booth_for, confine
from tests.load import Load

MEGABYTES = 2048
LIMIT = 1 << 30
NAME = "soak.test"


@dataclass
class Used:
    """What a server uses, in MB: its programs' memory and its own files; and how much it keeps."""

    memory: float
    disk: float
    releases: int
    environments: int
    dumps: int

    @classmethod
    def of(cls, server: Server) -> "Used":
        stat = (MEMORY / f"decant-{server.name}" / "memory.stat").read_text().splitlines()
        memory = sum(
            int(line.split()[1]) for line in stat if line.split()[0] in ("total_rss", "total_shmem")
        )
        disk = server.inside("df -B1 --output=used / | tail -n 1")
        kept = server.inside(
            "cd /srv/guestbook; ls releases | wc -l; ls venvs | wc -l; ls backups | wc -l"
        )
        return cls(memory / 1e6, int(disk) / 1e6, *map(int, kept.split()))

    def __str__(self) -> str:
        return (
            f"memory {self.memory:.0f} MB, disk {self.disk:.0f} MB, {self.releases} releases,"
            f" {self.environments} environments, {self.dumps} dumps"
        )


def begin(booth: Booth) -> tuple[Server, str]:
    """Boot a small server that serves by HTTPS; return it, and the root that its visitors trust."""
    authority = Authority(booth.boot())
    server = booth.boot(megabytes=MEGABYTES)
    confine(server)
    (MEMORY / f"decant-{server.name}" / "memory.limit_in_bytes").write_text(str(LIMIT))
    authority.lead(NAME, server.address)
    server.ssh(f"echo {server.address} {NAME} >>/etc/hosts")
    (server.folder / "acme.pem").write_text(authority.trust)
    server.configure(
        more=f'[proxy]\ndomains = ["{NAME}"]\n[tls]\nkind = "letsencrypt"\nemail = "a@{NAME}"\n'
        f'acme_server = "{authority.directory}"\nacme_ca = "acme.pem"\n'
    )
    server.fab("deploy")
    due = "renew_before_expiry = 100 days"
    server.ssh(
        f"sed -i 's/^.*renew_before_expiry.*/{due}/' /etc/letsencrypt/renewal/decant-guestbook.conf"
    )
    return server, authority.root()


def next_version(folder: Path, number: int, migrates: bool) -> None:
    """Commit a version more, with a column more where it migrates."""
    (folder / "NEWS").write_text(f"version {number}\n")
    if migrates:
        before = sorted(path.name[:4] for path in (folder / "migrations/versions").glob("0*.py"))
        text = guestbook.MIGRATION.format(
            upgrade=f'    op.add_column("entry", sa.Column("extra{number}", sa.String(20)))'
        )
        revision = f"{int(before[-1]) + 1:04}"
        text = text.replace('"0003"', f'"{revision}"').replace('"0002"', f'"{before[-1]}"')
        text = text.replace('"mood"', f'"extra{number}"')
        (folder / f"migrations/versions/{revision}_extra.py").write_text(text)
    guestbook.git(folder, "add", "-A")
    guestbook.git(folder, "commit", "-q", "-m", f"version {number}")


def soak(server: Server, root: str, minutes: float, rate: float, every: float) -> int:
    """Visit the site while it is updated again and again; return 0 where nothing was lost."""
    print(f"begins: {Used.of(server)}", flush=True)
    began, rounds = time.monotonic(), list[Used]()
    with Load(
        server.address,
        rate=rate,
        # A page of the guestbook counts its entries, and reads all of them for that.
        padding=20,
        reopens=True,
        host=NAME,
        connect=lambda: Secure(server.address, NAME, root),
    ) as load:
        while time.monotonic() < began + minutes * 60:
            number = len(rounds) + 1
            next_version(server.folder / "guestbook", number, migrates=number % 2 == 0)
            done = json.loads(server.fab("update", "--json").stdout)
            server.ssh("systemctl start certbot.service && logrotate --force /etc/logrotate.conf")
            time.sleep(max(0.0, began + number * every * 60 - time.monotonic()))
            rounds.append(Used.of(server))
            print(
                f"{(time.monotonic() - began) / 60:.0f} min: {done['result']} in"
                f" {done['seconds']} s, lost {len(load.lost)} of {load.sent}, longest wait"
                f" {load.longest:.2f} s; {rounds[-1]}",
                flush=True,
            )
    missing = set(load.posts) - set(server.rows())
    archive = "/etc/letsencrypt/archive/decant-guestbook/fullchain*.pem"
    renewed = int(server.ssh(f"ls {archive} | wc -l")) - 1
    print(f"lost {len(load.lost)} of {load.sent}, {len(missing)} of {len(load.posts)} rows missing")
    print(f"certificates renewed {renewed} times; after {len(rounds)} updates: {rounds[-1]}")
    for line in load.lost[:20]:
        print(f"    {line}")
    return 1 if load.lost or missing else 0


def main() -> int:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--minutes", type=float, default=60)
    words.add_argument("--rate", type=float, default=50)
    words.add_argument("--every", type=float, default=5)
    asked = words.parse_args()
    if problem := booted.why_not():
        print(f"no server can be booted here: {problem}")
        return 1
    booted.run_id()
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            repository = guestbook.make(Path(folder) / "repository")
            with booth_for(repository, "soak") as booth:
                return soak(*begin(booth), asked.minutes, asked.rate, asked.every)
    finally:
        booted.sweep(everything=True)


if __name__ == "__main__":
    sys.exit(main())

"""Measure what much data costs: 10,000 uploaded files and a database of 2 GB.

The same commands on two servers in one run, one with the data and one without.

`sudo .venv/bin/python bench/large.py [--kind sqlite|mariadb|postgresql] [--gigabytes 2]`
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import booted, guestbook  # noqa: E402
from tests.booted import Server, ServerFactory  # noqa: E402
from tests.load import Load  # noqa: E402

FILES, KILOBYTES = 10_000, 50
ROW = 60_000  # bytes of text a row: MariaDB's TEXT takes no more than 65,535
UPLOADS = """
import os
os.makedirs("/srv/guestbook/shared/uploads", exist_ok=True)
for number in range({files}):
    with open(f"/srv/guestbook/shared/uploads/{{number}}.bin", "wb") as file:
        file.write(os.urandom({size}))
"""
# Letters of which no program makes less than half.
ROWS = """
import os, sqlite3, sys
text = (os.urandom({row} // 2).hex() for _ in range({count}))
if sys.argv[1:]:
    with sqlite3.connect(sys.argv[1]) as file:
        insert = "INSERT INTO entry (text, written) VALUES (?, '2026-01-01 00:00:00')"
        file.executemany(insert, ((each,) for each in text))
else:
    print("BEGIN;")
    for each in text:
        print(f"INSERT INTO entry (text, written) VALUES ('{{each}}', '2026-01-01 00:00:00');")
    print("COMMIT;")
"""
SQLITE = "/srv/guestbook/shared/instance/guestbook.db"
INTO = {
    "sqlite": f"python3 rows.py {SQLITE} && chown guestbook: {SQLITE}*",
    "mariadb": "python3 rows.py | mariadb guestbook",
    "postgresql": "python3 rows.py | runuser -u postgres -- psql -q -d guestbook",
}


@dataclass
class Measured:
    """Seconds by command, the longest wait of a visitor meanwhile, how many got the maintenance
    page (503), and how large the dump is.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    shut: dict[str, int] = field(default_factory=dict)
    dump: float = 0.0

    def time(self, server: Server, *words: str, name: str = "") -> None:
        """Run a command under load."""
        with Load(server.address, rate=5, slow_seconds=0.2, reopens=True, timeout=900) as load:
            began = time.monotonic()
            server.fab(*words, timeout=1800)
            self.seconds[name or words[0]] = time.monotonic() - began
        self.waits[name or words[0]] = load.longest
        shut = [each for each in load.lost if ": 503 " in each]
        self.shut[name or words[0]] = len(shut)
        if len(load.lost) > len(shut):
            lost = [each for each in load.lost if each not in shut]
            raise RuntimeError(f"{words[0]}: requests lost: {lost[:3]}")


def fill(server: Server, kind: str, gigabytes: float) -> None:
    """Write the files and the rows."""
    uploads = UPLOADS.format(files=FILES, size=KILOBYTES * 1000)
    rows = ROWS.format(row=ROW, count=int(gigabytes * 1e9 / ROW))
    server.ssh(f"cat >uploads.py <<'END'{uploads}END\ncat >rows.py <<'END'{rows}END")
    owner = "chown -R guestbook: /srv/guestbook/shared/uploads"
    server.ssh(f"python3 uploads.py && {owner}", seconds=600)
    server.ssh(INTO[kind], seconds=1800)


def measure(server: Server) -> Measured:
    """Run every command that could mind."""
    found, said = Measured(), 'shared = ["instance", "uploads"]\n'
    server.configure(said)
    server.fab("deploy")
    found.time(server, "deploy", name="deploy, nothing to change")
    server.configure(said + 'ref = "better"')
    found.time(server, "update")
    server.configure(said + 'ref = "migrates"')
    found.time(server, "update", name="update with a migration")
    found.time(server, "rollback", "--downgrade", name="rollback --downgrade")
    found.time(server, "db.dump")
    dump = server.ssh("ls -t /srv/guestbook/backups | head -n 1")
    found.dump = int(server.ssh(f"stat -c %s /srv/guestbook/backups/{dump}")) / 1e6
    found.time(server, "db.restore", dump, "--yes")
    return found


def main() -> None:
    """Print a table for one kind of database."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", default="sqlite", choices=INTO)
    parser.add_argument("--gigabytes", type=float, default=2)
    given = parser.parse_args()
    booted.run_id()
    try:
        with tempfile.TemporaryDirectory(prefix="decant-bench-") as folder:
            repository = guestbook.make(Path(folder) / "repository")
            booth = ServerFactory(Path(folder), repository, "large")
            try:
                small = booth.deployed(database=given.kind)
                large = booth.deployed(database=given.kind)
                fill(large, given.kind, given.gigabytes)
                without, with_data = measure(small), measure(large)
            finally:
                booth.close()
    finally:
        booted.sweep(everything=True)
    print(
        f"{given.kind}: {FILES} files of {KILOBYTES} kB, {given.gigabytes:g} GB of rows;"
        f" its dump: {with_data.dump:.0f} MB\n"
    )
    print("| command | without, s | with, s | ratio | longest wait, s | 503 |")
    print("|---|---|---|---|---|---|")
    for name, seconds in with_data.seconds.items():
        before, wait = without.seconds[name], with_data.waits[name]
        print(
            f"| {name} | {before:.1f} | {seconds:.1f} | {seconds / before:.1f} | {wait:.1f} |"
            f" {with_data.shut[name]} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

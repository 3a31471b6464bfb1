"""Measure how long visitors wait in an update without a migration, beside a bare restart.

On every stack with a manager, and with each kind of gunicorn's workers, in one run: 20 requests a
second with POSTs, a keep-alive connection, and a visitor who asks again as soon as he has an
answer. The health check asks for `/`, as it does by default. Prints a table.

`sudo .venv/bin/python bench/waits.py --runs 3`
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import guestbook  # noqa: E402
from tests.booted import Server, ServerFactory  # noqa: E402
from tests.load import Load  # noqa: E402

ORDINARY = 10.0  # seconds without anything
CASES = {
    "gunicorn sync, systemd, nginx": ("", "nginx"),
    "gunicorn sync, systemd, apache": ("", "apache"),
    "gunicorn sync, supervisor, nginx": ('manager = "supervisor"', "nginx"),
    "gunicorn sync, supervisor, apache": ('manager = "supervisor"', "apache"),
    "uwsgi, systemd, nginx": ('server = "uwsgi"', "nginx"),
    "uwsgi, systemd, apache": ('server = "uwsgi"', "apache"),
    "uwsgi, supervisor, nginx": ('server = "uwsgi"\nmanager = "supervisor"', "nginx"),
    "uwsgi, supervisor, apache": ('server = "uwsgi"\nmanager = "supervisor"', "apache"),
    "gunicorn gthread, systemd, nginx": ("threads = 4", "nginx"),
    "gunicorn gevent, systemd, nginx": ('options = { worker_class = "gevent" }', "nginx"),
    "gunicorn eventlet, systemd, nginx": ('options = { worker_class = "eventlet" }', "nginx"),
}
# The last gunicorn that has workers for eventlet.
PACKAGES = {"gevent": 'packages = ["gevent"]', "eventlet": 'packages = ["eventlet", "gunicorn<24"]'}


@dataclass
class Waits:
    """What visitors met, run by run."""

    ordinary: list[float] = field(default_factory=list)
    update: list[float] = field(default_factory=list)
    restart: list[float] = field(default_factory=list)
    longest: list[tuple[float, float]] = field(default_factory=list)  # of an update, of a restart
    lost: list[str] = field(default_factory=list)
    order: set[str] = field(default_factory=set)


def high(times: list[float]) -> float:
    """Return the 99.9th percentile."""
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.999))]


def measure(server: Server, case: str, runs: int) -> Waits:
    """Update and restart an application in turns, under visitors."""
    wsgi, proxy = CASES[case]
    python = next((line for name, line in PACKAGES.items() if name in case), "")
    more = f'[proxy]\nkind = "{proxy}"\n[python]\n{python}'
    health = 'health = "/"'
    server.configure(health, wsgi, more)
    server.fab("deploy", timeout=600)
    unit = "guestbook:1" if "supervisor" in case else "guestbook"
    restart = "supervisorctl restart" if "supervisor" in case else "systemctl restart"
    found = Waits()
    for run in range(runs):
        with Load(server.address, slow_seconds=0.0, reopens=proxy == "apache") as load:
            time.sleep(ORDINARY)
        found.ordinary += load.times
        server.configure(f'{health}\nref = "{("better", "main")[run % 2]}"', wsgi, more)
        with Load(server.address, slow_seconds=0.0, reopens=proxy == "apache") as load:
            time.sleep(1)
            said = server.fab("update").stdout
            time.sleep(1)
        found.order |= {"start first" if "start first" in said else "stop first"}
        found.update += load.times
        found.lost += load.lost
        with Load(server.address, slow_seconds=0.0, reopens=proxy == "apache") as bare:
            time.sleep(1)
            server.ssh(f"{restart} {unit}")
            time.sleep(3)
        found.restart += bare.times
        found.longest.append((load.longest, bare.longest))
    return found


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    given = parser.parse_args()
    print("| | order | lost | longest wait: update / restart | 99.9 %: update / ordinary |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="decant-waits-") as folder:
        repository = guestbook.make(Path(folder) / "repository")
        for number, case in enumerate(CASES):
            if given.only not in case:
                continue
            factory = ServerFactory(Path(folder), repository, f"waits{number}")
            try:
                found = measure(factory.boot(), case, given.runs)
            finally:
                factory.close()
            update, restart = (statistics.median(each) for each in zip(*found.longest, strict=True))
            print(
                f"| {case} | {', '.join(sorted(found.order))} | {len(found.lost)} of"
                f" {len(found.update)} | {update:.3f} / {restart:.3f} s ="
                f" {update / restart:.3f} | {high(found.update):.3f} / {high(found.ordinary):.3f}"
                f" s = {high(found.update) / high(found.ordinary):.1f} |",
                flush=True,
            )
            for line in found.lost:
                print(f"    lost: {line}", flush=True)


if __name__ == "__main__":
    main()

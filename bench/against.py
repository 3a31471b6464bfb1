"""Time this checkout against an older commit of itself.

The same job, in turns, on lab servers of their own, in one run.

`sudo .venv/bin/python bench/against.py 43a7dd4 --runs 5`
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIGRATION = """"bench_{number}"
import sqlalchemy as sa
from alembic import op
revision = "{number:04}"
down_revision = "{before:04}"

def upgrade():
    op.create_table("bench_{number}", sa.Column("id", sa.Integer, primary_key=True))
"""
LAST = 2  # the number of the guestbook's last migration
sys.path.insert(0, str(ROOT))

from bench import compare  # noqa: E402
from decant.lab import servers as lab  # noqa: E402
from tests import guestbook  # noqa: E402


def deploy(root: Path, tools: compare.Tools, server: compare.Server, task: str = "deploy") -> float:
    """Run a task of one of the two versions, and return how long it took."""
    (tools.folder / "hosts.toml").write_text(compare.hosts_toml([server]))
    command = [sys.executable, "-m", "fabric", "-r", str(root), "-H", "all", task]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=tools.folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=tools.environment,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(
            f"{root} {task} ended with"
            f" {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return seconds


def main() -> None:
    """Print each case's medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    names: list[str] = []
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as folder:
        older = Path(folder) / "older"
        older.mkdir()
        tar = subprocess.run(
            ["git", "-C", str(ROOT), "archive", given.commit], capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-xf", "-", "-C", str(older)], input=tar, check=True)
        roots, tools = {"older": older, "this": ROOT}, compare.Tools(Path(folder), Path("/nowhere"))
        try:
            base = compare.make_base(guestbook.make(Path(folder) / "repository"))
            servers = {}
            for number in range(given.runs):
                for which in sorted(roots, reverse=bool(number % 2)):
                    server = compare.boot(f"{which}-{number}", base)
                    names.append(server.name)
                    found.setdefault(("first deploy", which), []).append(
                        deploy(roots[which], tools, server)
                    )
                    if number == given.runs - 1:
                        servers[which] = server
                    else:
                        lab.down(server.name)
            for number in range(5 * given.runs):
                for which in sorted(roots, reverse=bool(number % 2)):
                    found.setdefault(("no change", which), []).append(
                        deploy(roots[which], tools, servers[which])
                    )
            for number in range(given.runs):
                for which in sorted(roots, reverse=bool(number % 2)):
                    for case, migration in (
                        ("update", ""),
                        (
                            "with migration",
                            MIGRATION.format(number=LAST + number + 1, before=LAST + number),
                        ),
                    ):
                        compare.commit([servers[which]], f"{case} {number}", migration)
                        found.setdefault((case, which), []).append(
                            deploy(roots[which], tools, servers[which], "update")
                        )
        finally:
            for name in names:
                lab.down(name)
            lab.forget(f"{compare.RUN}-base")
    for case in dict.fromkeys(case for case, _ in found):
        this, before = (statistics.median(found[case, which]) for which in ("this", "older"))
        print(
            f"{case:14} this {this:6.2f} s   {given.commit} {before:6.2f} s   ratio"
            f" {this / before:.2f}   ({len(found[case, 'this'])} runs each)"
        )


if __name__ == "__main__":
    main()

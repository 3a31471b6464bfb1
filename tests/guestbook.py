"""The example application as a git repository whose branches behave well and badly."""

import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "guestbook"

# Answers slowly, and tells which version it is: what the tests' load asks for.
TESTING = """
import os, time
from flask import request
from guestbook.views import pages

VERSION = "{version}"

@pages.get("/slow")
def slow():
    time.sleep(float(request.args["seconds"]))
    return VERSION

@pages.get("/version")
def version():
    return VERSION

@pages.get("/variable/<name>")
def variable(name):
    return os.environ.get(name, "")

@pages.get("/seen")
def seen():
    return {{"scheme": request.scheme, "host": request.host, "forwarded": request.headers.get("X-Forwarded-For", "")}}
"""

MIGRATION = """
import time
import sqlalchemy as sa
from alembic import op
revision = "0003"
down_revision = "0002"

def upgrade():
{upgrade}

def downgrade():
    with op.batch_alter_table("entry") as batch:
        batch.drop_column("mood")
"""

ADD = 'op.add_column("entry", sa.Column("mood", sa.String, nullable=False, server_default=""))'
DAMAGE = "with op.get_context().autocommit_block():\n    op.execute(\"UPDATE entry SET text = 'damaged'\")"
HEALTH = 'return {"entries": db.session.scalar(select(func.count(Entry.id)))}'
MIGRATED = 'abort(500) if "mood" in str(db.session.execute(text("SELECT sql FROM sqlite_master WHERE name = \'entry\'")).scalar()) else None'


def make(folder: Path) -> Path:
    """Make the repository and return its folder. Branches: main (version v1) and what `branches` lists."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("hosts.toml", "__pycache__", ".lab"))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.email", "tests@localhost")
    git(folder, "config", "user.name", "tests")
    views = folder / "guestbook/views.py"
    views.write_text(views.read_text() + "\n\nfrom guestbook import testing  # noqa\n")
    _version(folder, "v1")
    _commit(folder, "v1")
    git(folder, "tag", "v1.0")
    for branch, change in BRANCHES.items():
        git(folder, "checkout", "-q", "-b", branch, "main")
        _version(folder, branch)
        change(folder)
        _commit(folder, branch)
    git(folder, "checkout", "-q", "main")
    return folder


def git(folder: Path, *words: str) -> str:
    """Run git there and return what it prints."""
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def _commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def _version(folder: Path, version: str) -> None:
    (folder / "guestbook/testing.py").write_text(TESTING.format(version=version))


def _migration(folder: Path, upgrade: str) -> None:
    (folder / "migrations/versions/0003_mood.py").write_text(MIGRATION.format(upgrade=textwrap.indent(upgrade, "    ")))


def _health(folder: Path, line: str) -> None:
    views = folder / "guestbook/views.py"
    text = views.read_text().replace("import func, select", "import func, select, text")
    views.write_text(text.replace(f"    {HEALTH}", f"    {line}\n    {HEALTH}"))


def _slow(folder: Path) -> None:
    _migration(folder, f'{DAMAGE}\nfor number in range(40):\n    print("row batch", number, flush=True)\n    time.sleep(0.2)\n{ADD}')


def _sick_after_migration(folder: Path) -> None:
    _migration(folder, ADD)
    _health(folder, MIGRATED)


def _sick_in_public(folder: Path) -> None:
    _migration(folder, ADD)
    _health(folder, 'import os; os.environ.get("DECANT_SMOKE") or abort(500)')


BRANCHES: dict[str, Callable[[Path], object]] = {
    "better": lambda folder: (folder / "NEWS").write_text("better\n"),
    "migrates": lambda folder: _migration(folder, ADD),
    "migrates-slowly": _slow,
    "does-not-import": lambda folder: (folder / "wsgi.py").write_text("import nowhere_to_be_found\n"),
    "has-no-app": lambda folder: (folder / "wsgi.py").write_text("application = None\n"),
    "fails-to-migrate": lambda folder: _migration(folder, f'{DAMAGE}\nraise RuntimeError("half of the rows are done")'),
    "hangs-in-migration": lambda folder: _migration(folder, f"{DAMAGE}\ntime.sleep(600)"),
    "sick": lambda folder: _health(folder, "abort(500)"),
    "sick-after-migration": _sick_after_migration,
    "sick-in-public": _sick_in_public,
    "sick-in-public-only": lambda folder: _health(folder, 'import os; os.environ.get("DECANT_SMOKE") or abort(500)'),
}

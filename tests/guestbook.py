"""The example application as a git repository whose branches behave well and badly."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "guestbook"
# For tools that bring authorities of their own.
TRUST = {"UV_SYSTEM_CERTS": "1", "REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"}

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

@pages.get("/events")
def events():
    def ticks():
        while True:
            yield "data: tick\\n\\n"
            time.sleep(0.2)
    return ticks(), {{"Content-Type": "text/event-stream"}}

@pages.get("/version")
def version():
    return VERSION

@pages.get("/variable/<name>")
def variable(name):
    return os.environ.get(name, "")

@pages.get("/seen")
def seen():
    claimed = {{name: value for name, value in request.headers.items() if "forwarded" in name.lower() or name.startswith("X-")}}
    return {{"scheme": request.scheme, "host": request.host, "address": request.remote_addr, "path": request.script_root + request.path, "headers": claimed}}
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

ADD = 'op.add_column("entry", sa.Column("mood", sa.String(20), nullable=False, server_default=""))'
DAMAGE = (
    'with op.get_context().autocommit_block():\n    op.execute("UPDATE entry SET text ='
    " 'damaged'\")"
)
# A statement that goes on when its client is dead.
SLEEP = (
    'op.execute("SELECT SLEEP(600)" if op.get_bind().dialect.name == "mysql" else "SELECT'
    ' pg_sleep(600)")'
)
# Whatever it is told, it goes on to write.
WRITES_ON = """import itertools, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with op.get_context().autocommit_block():
    for number in itertools.count():
        op.execute("INSERT INTO entry (text, written, author) VALUES ('written on', '2026-01-01 00:00:00', '')")
        number % 20 or print("row batch", number // 20, flush=True)
        time.sleep(0.01)
"""
HEALTH = 'return {"entries": db.session.scalar(select(func.count(Entry.id)))}'
MIGRATED = (
    'import sqlalchemy; abort(500) if "mood" in {column["name"] for column in'
    ' sqlalchemy.inspect(db.engine).get_columns("entry")} else None'
)


def make(folder: Path) -> Path:
    """Make the repository and return its folder.

    Branches: main (version v1) and what `branches` lists.
    """
    shutil.copytree(
        EXAMPLE, folder, ignore=shutil.ignore_patterns("hosts.toml", "__pycache__", ".lab")
    )
    _repository(folder)
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
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def _repository(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.email", "tests@localhost")
    git(folder, "config", "user.name", "tests")


def _commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def _version(folder: Path, version: str) -> None:
    (folder / "guestbook/testing.py").write_text(TESTING.format(version=version))


def _migration(folder: Path, upgrade: str) -> None:
    (folder / "migrations/versions/0003_mood.py").write_text(
        MIGRATION.format(upgrade=textwrap.indent(upgrade, "    "))
    )


def _second_head(folder: Path) -> None:
    _migration(folder, ADD)
    first = (folder / "migrations/versions/0003_mood.py").read_text()
    (folder / "migrations/versions/0003_other.py").write_text(
        first.replace('revision = "0003"', 'revision = "0003b"').replace("mood", "other")
    )


def _health(folder: Path, line: str) -> None:
    views = folder / "guestbook/views.py"
    text = views.read_text().replace("import func, select", "import func, select, text")
    views.write_text(text.replace(f"    {HEALTH}", f"    {line}\n    {HEALTH}"))


def _slow(folder: Path) -> None:
    _migration(
        folder,
        f'{DAMAGE}\nfor number in range(40):\n    print("row batch", number, flush=True)\n   '
        f" time.sleep(0.2)\n{ADD}",
    )


def _sick_after_migration(folder: Path) -> None:
    _migration(folder, ADD)
    _health(folder, MIGRATED)


def _wsgi(folder: Path, lines: str) -> None:
    """Have the application do something at its import, except in a check."""
    file = folder / "wsgi.py"
    checks = (
        f"import os\n\nif not os.environ.get('DECANT_SMOKE'):\n{textwrap.indent(lines, '    ')}\n"
    )
    file.write_text(f"{checks}\n{file.read_text()}")


def _runs_once(folder: Path) -> None:
    _wsgi(
        folder,
        "import socket\nheld = socket.socket()\nheld.bind(('127.0.0.1', 7777))\nheld.listen(1)",
    )


def _without_wal(folder: Path) -> None:
    file = folder / "guestbook/__init__.py"
    file.write_text(file.read_text().replace("journal_mode = WAL", "foreign_keys = ON"))


def _crashes_in_public(folder: Path) -> None:
    """Take all of the release down without an answer, when it is asked by others than itself."""
    _health(
        folder,
        'import os, signal; "SERVER_SOFTWARE" in __import__("flask").request.environ and not'
        ' os.environ.get("DECANT_SMOKE") and (os.kill(os.getppid(), signal.SIGKILL), os._exit(1))',
    )


def _ends_after_its_answer(folder: Path) -> None:
    """Take all of the release down a moment after others than itself got an answer."""
    _health(
        folder,
        'import os, signal, threading; os.environ.get("DECANT_SMOKE") or "SERVER_SOFTWARE" in'
        ' __import__("flask").request.environ and threading.Timer(0.2, os.kill, (os.getppid(),'
        " signal.SIGKILL)).start()",
    )


def _sick_in_public(folder: Path) -> None:
    _migration(folder, ADD)
    _health(folder, 'import os; os.environ.get("DECANT_SMOKE") or abort(500)')


BRANCHES: dict[str, Callable[[Path], object]] = {
    "better": lambda folder: (folder / "NEWS").write_text("better\n"),
    "better-still": lambda folder: (folder / "NEWS").write_text("better still\n"),
    "migrates": lambda folder: _migration(folder, ADD),
    "two-heads": lambda folder: _second_head(folder),
    "migrates-slowly": _slow,
    "does-not-import": (
        lambda folder: (folder / "wsgi.py").write_text("import nowhere_to_be_found\n")
    ),
    "has-no-app": lambda folder: (folder / "wsgi.py").write_text("application = None\n"),
    "fails-to-migrate": lambda folder: _migration(
        folder, f'{DAMAGE}\nraise RuntimeError("half of the rows are done")'
    ),
    "hangs-in-the-server": lambda folder: _migration(folder, f"{DAMAGE}\n{SLEEP}"),
    "hangs-in-migration": lambda folder: _migration(folder, f"{DAMAGE}\ntime.sleep(600)"),
    "writes-on": lambda folder: _migration(folder, WRITES_ON),
    "starts-slowly": lambda folder: _wsgi(folder, "import time\ntime.sleep(6)"),
    "runs-once": _runs_once,
    "runs-once-too": _runs_once,
    "without-wal": _without_wal,
    "without-wal-too": _without_wal,
    "crashes-in-public": _crashes_in_public,
    "ends-after-its-answer": _ends_after_its_answer,
    "sick": lambda folder: _health(folder, "abort(500)"),
    "sick-after-migration": _sick_after_migration,
    "sick-in-public": _sick_in_public,
    "sick-where-told": lambda folder: _health(
        folder,
        'import os; "SICK" in os.environ and not os.environ.get("DECANT_SMOKE") and abort(500)',
    ),
    "sick-in-public-only": lambda folder: _health(
        folder, 'import os; os.environ.get("DECANT_SMOKE") or abort(500)'
    ),
}

PYPROJECT = """
[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.11"
dependencies = [{dependencies}]
"""
SETUPTOOLS = """
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
packages = ["guestbook"]
package-data = {{ guestbook = ["static/*", "templates/*"] }}
"""


def by_installer(folder: Path) -> None:
    """Add branches in which the guestbook is installed in each way, `by-NAME`, and those with a
    migration on top, `by-NAME-migrates`.
    """
    lines = (EXAMPLE / "requirements.txt").read_text().splitlines()
    for installer, change in INSTALLERS.items():
        git(folder, "checkout", "-q", "-b", f"by-{installer}", "main")
        _version(folder, f"by-{installer}")
        (folder / "requirements.txt").unlink()
        change(folder, [line for line in lines if not line.startswith("gunicorn")])
        _commit(folder, installer)
        git(folder, "checkout", "-q", "-b", f"by-{installer}-migrates")
        _version(folder, f"by-{installer}-migrates")
        _migration(folder, ADD)
        _commit(folder, f"{installer}, with a migration")
    git(folder, "checkout", "-q", "main")


def _by_pip(folder: Path, lines: list[str]) -> None:
    (folder / "requirements").mkdir()
    (folder / "requirements/base.txt").write_text("-c limits.txt\nflask\n")
    (folder / "requirements/limits.txt").write_text("\n".join(lines) + "\n")
    (folder / "requirements.txt").write_text(
        "-r requirements/base.txt\n" + "\n".join(lines[1:]) + "\n"
    )


def _pyproject(folder: Path, lines: list[str], more: str = "") -> None:
    text = PYPROJECT.format(name="guestbook", dependencies=", ".join(f'"{line}"' for line in lines))
    (folder / "pyproject.toml").write_text(text + more)


def _by_uv(folder: Path, lines: list[str]) -> None:
    _pyproject(folder, lines)
    tool(folder, "uv", "lock")


def _by_poetry(folder: Path, lines: list[str]) -> None:
    # By the pages that pip reads: not every index has the other interface that poetry asks by
    # itself.
    source = f'[[tool.poetry.source]]\nname = "index"\nurl = "{index()}"\npriority = "primary"\n'
    _pyproject(folder, lines, f"\n[tool.poetry]\npackage-mode = false\n{source}")
    tool(folder, "uv", "tool", "run", "poetry", "lock")


def _by_pipenv(folder: Path, lines: list[str]) -> None:
    pairs = (line.split("==") for line in lines)
    source = f'[[source]]\nname = "index"\nurl = "{index()}"\nverify_ssl = true\n\n'
    (folder / "Pipfile").write_text(
        source + "[packages]\n" + "".join(f'{name} = "=={version}"\n' for name, version in pairs)
    )
    tool(folder, "uv", "tool", "run", "pipenv", "lock")


def index() -> str:
    """Return pip's own default index."""
    words = [
        sys.executable,
        "-c",
        "from pip._internal.models.index import PyPI; print(PyPI.simple_url)",
    ]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def tool(folder: Path, *words: str) -> str:
    """Run uv, or a tool that it fetches, in a folder, and return what it prints."""
    environment = {
        **os.environ,
        **TRUST,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
    }
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout} {done.stderr}"
    return done.stdout


INSTALLERS: dict[str, Callable[[Path, list[str]], None]] = {
    "pip": _by_pip,
    "pyproject": lambda folder, lines: _pyproject(folder, lines, SETUPTOOLS.format()),
    "uv": _by_uv,
    "pipenv": _by_pipenv,
    "poetry": _by_poetry,
}


UV_BUILD = """
[build-system]
requires = ["uv_build>=0.9"]
build-backend = "uv_build"
"""


def source_layout(folder: Path, version: str) -> None:
    """Make (or change) a uv project whose package is in src/, so that it has to be installed to be
    imported.
    """
    if not folder.exists():
        (folder / "src/shop").mkdir(parents=True)
        _repository(folder)
        lines = [
            line
            for line in (EXAMPLE / "requirements.txt").read_text().splitlines()
            if line.startswith("flask==")
        ]
        (folder / "pyproject.toml").write_text(
            PYPROJECT.format(name="shop", dependencies=", ".join(f'"{line}"' for line in lines))
            + UV_BUILD
        )
        tool(folder, "uv", "lock")
    text = (
        'from flask import Flask\n\ndef make(greeting="hello"):\n    app = Flask(__name__)\n   '
        ' app.add_url_rule("/up", "up", lambda: greeting)\n    app.add_url_rule("/version",'
        f' "version", lambda: "{version}")\n    return app\n\nsite = make()\n'
    )
    (folder / "src/shop/__init__.py").write_text(text)
    _commit(folder, version)


def in_a_subfolder(folder: Path) -> None:
    """Add the branch `in-a-subfolder`.

    The application in web/, with a factory and with a callable of another name.
    """
    git(folder, "checkout", "-q", "-b", "in-a-subfolder", "main")
    (folder / "web").mkdir()
    for path in git(folder, "ls-tree", "--name-only", "HEAD").splitlines():
        git(folder, "mv", path, f"web/{path}")
    (folder / "web/serve.py").write_text(
        "from guestbook import create_app\n\n\ndef make():\n    return create_app()\n\n\nsite ="
        " make()\n"
    )
    _commit(folder, "in a subfolder")
    git(folder, "checkout", "-q", "main")

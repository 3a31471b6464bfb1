"""Applications whose authors never saw Decant: what hosts.toml alone makes of them, and what the
first error says where that does not do.
"""

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.booted import Server, ServerFactory, lost, why_not
from tests.guestbook import TRUST, git, index
from tests.load import Visits

pytestmark = pytest.mark.full

WSGI = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "hello"
"""
MODELS = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()

class Item(db.Model):
    id = db.Column(db.Integer, primary_key=True)

def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
    db.init_app(app)
    Migrate(app, db, directory="{folder}")

    @app.get("/")
    def index():
        return f"{{Item.query.count()}} items"

    return app
"""
ENV = """
from alembic import context
from flask import current_app

engine = current_app.extensions["migrate"].db.engine
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine

with create_engine({url}).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_INI = "[alembic]\nscript_location = db\n"
REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{revision}", {before}

def upgrade():
    op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True))

def downgrade():
    op.drop_table("{table}")
"""
PLAIN_SQL = """
import os, sqlite3
from flask import Flask
app = Flask(__name__)
app.config.from_pyfile("config/site.cfg")

@app.get("/")
def index():
    path = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
    tables = sqlite3.connect(path).execute("select name from sqlite_master where type = 'table'")
    return " ".join(sorted(name for name, in tables)) + " " + app.config["GREETING"]
"""
FLASK_MIGRATE = "flask\nflask-sqlalchemy\nflask-migrate\n"


def revision(number: int, table: str) -> str:
    before = f'"{number - 1:04}"' if number > 1 else "None"
    return REVISION.format(revision=f"{number:04}", before=before, table=table)


def flask_migrate(
    folder: str, module: str = "shop/__init__.py", first: bool = True
) -> dict[str, str]:
    """An application with Flask-Migrate in a folder, with its first migration or without."""
    versions = {f"{folder}/versions/0001_item.py": revision(1, "item")} if first else {}
    return {
        "requirements.txt": FLASK_MIGRATE,
        module: MODELS.format(folder=folder),
        f"{folder}/env.py": ENV,
        f"{folder}/alembic.ini": "[alembic]\n",
        f"{folder}/script.py.mako": "",
        **versions,
    }


BASE = {"requirements.txt": "flask\n", "wsgi.py": WSGI, "shop/static/a.css": "a {}\n"}


@dataclass(frozen=True)
class Row:
    """An application, what hosts.toml says of it, and what comes of that."""

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    app: str = ""
    wsgi: str = 'app = "wsgi:app"'
    more: str = ""
    answers: dict[str, str] = field(default_factory=lambda: {"/": "hello"})
    refused: str = ""
    made: str = ""  # shell commands in the project's folder
    here: bool = False  # it can be seen without a server, and so by --dry
    base: bool = True


SUBMODULE = """
git init -q -b main ../theme && cd ../theme && mkdir -p css && echo 'h1 {}' >css/theme.css && echo 'VALUE = 42' >__init__.py && git add . && git commit -qm theme
cd - && git init -q -b main . && git -c protocol.file.allow=always submodule add -q "$PWD/../theme" theme && git add -A && git commit -qm all
"""
THEME = WSGI.replace('"hello"', "str(theme.VALUE)").replace(
    "from flask", "import theme\nfrom flask", 1
)
LOGS = "import logging\nlogging.basicConfig(filename='app.log')\nlogging.warning('x')\n" + WSGI
SETUP_PY = "from setuptools import setup\nsetup(name='shop', version='1', py_modules=['shop_web'], install_requires=['flask'], extras_require={'more': ['markdown']})\n"
SCM = """
[project]
name = "shop"
dynamic = ["version"]
dependencies = ["flask"]
[build-system]
requires = ["setuptools>=68", "setuptools-scm>=8"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
py-modules = ["shop_web"]
[tool.setuptools_scm]
"""
VERSION = WSGI.replace('"hello"', '__import__("importlib.metadata").metadata.version("shop")')
REDIRECTS = (
    WSGI
    + '\n@app.get("/go")\ndef go():\n    return "", 302, {"Location": "/broken"}\n\n@app.get("/broken")\ndef broken():\n    1 / 0\n'
)
MIDDLEWARE = (
    WSGI.replace(
        "from flask import Flask",
        "from flask import Flask, g\nfrom werkzeug.middleware.dispatcher import DispatcherMiddleware",
    )
    + "\nflask_app, app = app, DispatcherMiddleware(app, {})\n"
)

UV = Path(sys.executable).with_name("uv")
MARKDOWN = WSGI.replace("from flask", "import markdown\nfrom flask", 1)
WORKSPACE = """
[project]
name = "everything"
version = "1"
requires-python = ">=3.11"
[tool.uv.workspace]
members = ["apps/*"]
"""
MEMBER = """
[project]
name = "shop-web"
version = "1"
requires-python = ">=3.11"
dependencies = ["flask"]
[dependency-groups]
prod = ["markdown"]
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
py-modules = ["shop_web"]
"""

PBR = """
[metadata]
name = shop
[files]
modules = shop_web
"""
POETRY = f"""
[project]
name = "shop"
version = "1"
requires-python = ">=3.11,<4"
dependencies = ["flask"]
[project.optional-dependencies]
more = ["markdown"]
[tool.poetry]
package-mode = false
[tool.poetry.group.prod]
optional = true
[tool.poetry.group.prod.dependencies]
requests = "*"
[[tool.poetry.source]]
name = "index"
url = "{index()}"
priority = "primary"
"""
SCRIPTS = json.dumps(
    {
        "name": "shop",
        "private": True,
        "scripts": {"build": "mkdir -p out && echo built > out/a.txt"},
    }
)
PNPM_LOCK = "lockfileVersion: '9.0'\n\nimporters:\n\n  .: {}\n"

ROWS: dict[str, Row] = {
    # Sources
    "static-that-git-ignores": Row(
        {"frontend/dist/app.js": "1", ".gitignore": "dist/\n"},
        'static = { "/static" = "shop/static", "/assets" = "frontend/dist" }',
        made="git init -q . && git add -A && git commit -qm all",
        refused="app.static./assets: there is no folder frontend/dist in the release: git ignores it",
        here=True,
    ),
    "static-with-a-typo": Row(
        app='static = { "/static" = "shop/statc" }',
        refused="there is no folder shop/statc in the release, did you mean shop/static?",
        here=True,
    ),
    "static-that-is-sent": Row(
        {"frontend/dist/app.js": "1", ".gitignore": "dist/\n"},
        'send = ["frontend/dist"]\nstatic = { "/assets" = "frontend/dist", "/robots.txt" = "shop/static/a.css" }',
        made="git init -q . && git add -A && git commit -qm all",
        answers={"/": "hello", "/assets/app.js": "1", "/robots.txt": "a {}\n"},
    ),
    "module-that-is-not-there": Row(
        {"app.py": WSGI},
        wsgi='app = "web:app"',
        refused="wsgi.app: there is no module web in ",
        here=True,
    ),
    "submodule-in-a-working-tree": Row(
        {"wsgi.py": THEME},
        'static = { "/theme" = "theme/css" }',
        made=SUBMODULE,
        answers={"/": "42", "/theme/theme.css": "h1 {}\n"},
    ),
    "submodule-in-a-commit": Row(
        {"wsgi.py": THEME}, 'ref = "HEAD"', made=SUBMODULE, answers={"/": "42"}
    ),
    "submodule-that-is-not-checked-out": Row(
        {"wsgi.py": THEME},
        made=SUBMODULE + "\nrm -rf theme && mkdir theme",
        refused="the submodule theme of ",
        here=True,
    ),
    "a-pointer-of-lfs": Row(
        {
            "shop/static/logo.png": "version https://git-lfs.github.com/spec/v1\noid sha256:"
            + "4d" * 32
            + "\nsize 12345\n"
        },
        refused="shop/static/logo.png in the repository is a pointer of Git LFS",
    ),
    # Installing
    "utf-16": Row({"requirements.txt": "flask\r\nrequests\r\n".encode("utf-16")}),
    "latin-1": Row(
        {"requirements.txt": "flask # caf\xe9\n".encode("latin-1")},
        refused="requirements.txt, line 1, is not UTF-8; save the file as UTF-8",
    ),
    "editable": Row(
        {
            "requirements.txt": "-e ./lib\nflask\n",
            "lib/setup.py": SETUP_PY,
            "lib/shop_web.py": WSGI,
        },
        wsgi='app = "shop_web:app"',
    ),
    "another-requirements-file": Row(
        {
            "requirements.txt": "nothing-of-this-name-there-is==1\n",
            "reqs/prod.txt": "-r base.txt\n",
            "reqs/base.txt": "flask\n",
        },
        more='[python]\nrequirements = "reqs/prod.txt"',
    ),
    "a-requirements-file-that-is-not-there": Row(
        {"reqs/production.txt": "flask\n"},
        more='[python]\nrequirements = "reqs/prod.txt"',
        refused="python.requirements: there is no file reqs/prod.txt in ",
        here=True,
    ),
    "setup-py-alone": Row(
        {
            "setup.py": SETUP_PY,
            "shop_web.py": WSGI.replace("from flask", "import markdown\nfrom flask", 1),
        },
        wsgi='app = "shop_web:app"',
        more='[python]\nextras = ["more"]',
        base=False,
    ),
    "no-file-at-all": Row({"wsgi.py": WSGI}, more='[python]\npackages = ["flask"]', base=False),
    "tools-only": Row(
        {
            "pyproject.toml": "[tool.black]\n",
            "wsgi.py": WSGI,
            "other/x": "",
            "shop/static/a.css": "",
        },
        base=False,
        refused="pyproject.toml has no [project], so it names no dependencies",
    ),
    "a-member-of-a-uv-workspace": Row(
        {
            "pyproject.toml": WORKSPACE,
            "apps/web/pyproject.toml": MEMBER,
            "apps/web/shop_web.py": MARKDOWN,
        },
        'subdir = "apps/web"',
        'app = "shop_web:app"',
        '[python]\ngroups = ["prod"]',
        base=False,
        made=f"{UV} lock -q",
    ),
    "a-part-of-a-uv-project": Row(
        {
            "pyproject.toml": WORKSPACE.partition("[tool")[0]
            + 'dependencies = ["flask"]\n[dependency-groups]\nprod = ["markdown"]\n',
            "site/web.py": MARKDOWN,
        },
        'subdir = "site"',
        'app = "web:app"',
        '[python]\ngroups = ["prod"]',
        base=False,
        made=f"{UV} lock -q",
    ),
    "groups-for-pip": Row(
        more='[python]\ngroups = ["prod"]', refused="python.groups: pip knows no groups"
    ),
    "version-from-git": Row(
        {"pyproject.toml": SCM, "shop_web.py": VERSION},
        wsgi='app = "shop_web:app"',
        base=False,
        made="git init -q . && git add -A && git commit -qm all && git tag v3.2",
        answers={"/": "3.2"},
    ),
    "version-by-pbr": Row(
        {
            "setup.py": "from setuptools import setup\nsetup(pbr=True)\n",
            "requirements.txt": "flask\n",  # pbr reads it
            "deploy.txt": ".\n",
            "setup.cfg": PBR,
            "pyproject.toml": '[build-system]\nrequires = ["setuptools<80", "pbr"]\nbuild-backend = "pbr.build"\n',
            "shop_web.py": VERSION,
        },
        wsgi='app = "shop_web:app"',
        more='[python]\nrequirements = "deploy.txt"',
        base=False,
        made="git init -q . && git add -A && git commit -qm all && git tag 4.1",
        answers={"/": "4.1"},
    ),
    "groups-and-extras-of-poetry": Row(
        {
            "pyproject.toml": POETRY,
            "wsgi.py": MARKDOWN.replace("import markdown", "import markdown, requests"),
        },
        more='[python]\ninstaller = "poetry"\ngroups = ["prod"]\nextras = ["more"]',
        base=False,
        made=f"{UV} tool run poetry lock",
    ),
    "old-gunicorn": Row(
        {"requirements.txt": "flask\ngunicorn==20.0.4\n"},
        refused="requirements.txt pins gunicorn 20.0.4, and this tool needs 20.1 or newer",
    ),
    "old-gunicorn-of-hosts-toml": Row(
        more='[python]\npackages = ["gunicorn==20.0.4"]',
        refused="python.packages pins gunicorn 20.0.4, and this tool needs 20.1 or newer",
    ),
    "gevent-by-its-own-name": Row(
        wsgi='app = "wsgi:app"\noptions = { worker_class = "gevent" }',
        more='[python]\npackages = ["gevent"]',
    ),
    "gevent": Row(wsgi='app = "wsgi:app"\noptions = { worker_class = "gevent" }'),
    "older-than-this-python": Row(
        {"requirements.txt": "flask\nmarkupsafe==1.0\n"},
        refused="with a wheel for this Python there is markupsafe",
    ),
    "a-wrong-name": Row(
        {"requirements.txt": "flask\nnothing-of-this-name-there-is==1\n"},
        refused="Could not find a version that satisfies the requirement nothing-of-this-name-there-is==1",
    ),
    # What hosts.toml adds
    "a-wrong-name-for-pipenv": Row(
        {"Pipfile": "[packages]\nnothing-of-this-name-there-is = '*'\n"},
        more='[python]\ninstaller = "pipenv"',
        refused='or leave pipenv out: python.installer = "pip", as there is a requirements.txt',
    ),
    "files": Row(
        {
            "wsgi.py": PLAIN_SQL,
            "../site.cfg.j2": 'GREETING = "{{ app.name }} {env.WORD} {db.name}"\n',
        },
        'files = { "config/site.cfg" = "site.cfg.j2" }\nenv = { WORD = "it\'s ü" }',
        answers={"/": " files it's ü files"},
    ),
    "files-that-raise": Row(
        {"../site.cfg.j2": "{{ 1 / 0 }}"},
        'files = { "site.cfg" = "site.cfg.j2" }',
        refused="site.cfg.j2: ZeroDivisionError: division by zero",
        here=True,
    ),
    "files-that-are-a-link": Row(
        {"../site.cfg": "x"},
        'files = { "site.cfg" = "site.cfg" }',
        made="ln -s shop/static/a.css site.cfg",
        refused="app.files.site.cfg: site.cfg in the release is a symbolic link",
    ),
    "files-behind-a-link": Row(
        {"../site.cfg": "x"},
        'files = { "config/site.cfg" = "site.cfg" }',
        made="ln -s shop config",
        refused="app.files.config/site.cfg: config in the release is a symbolic link",
    ),
    "setup": Row(
        {"wsgi.py": "open('instance/made').read()\n" + WSGI},
        """setup = ["echo \\"$(id -un) ü\\" > instance/made", '''
test -s instance/made
printf '%s' "$HOME" >> instance/made
''']""",
    ),
    "setup-that-fails-half": Row(
        app='setup = ["touch instance/first", "echo cannot be done; exit 3"]',
        refused="app.setup: echo cannot be done; exit 3 failed (exit code 3): cannot be done; the list runs again",
    ),
    "build": Row(
        {"src/a.txt": "built"},
        """build = ["touch instance/x && mkdir -p out && cp src/a.txt out/ && flask --version > out/version", "ls cache >> out/a.txt; mkdir -p cache && touch cache/kept"]
build_cache = ["cache"]
static = { "/out" = "out" }""",
        answers={"/": "hello", "/out/a.txt": "built"},
    ),
    "a-build-by-pnpm": Row(
        {"package.json": SCRIPTS, "pnpm-lock.yaml": PNPM_LOCK},
        """build = ["npx --yes pnpm@9 install --frozen-lockfile", "npx --yes pnpm@9 run build"]
build_cache = ["node_modules"]
static = { "/out" = "out" }""",
        answers={"/": "hello", "/out/a.txt": "built\n"},
    ),
    "a-build-by-yarn": Row(
        {"package.json": SCRIPTS, "yarn.lock": "# yarn lockfile v1\n"},
        """build = ["npx --yes yarn@1.22 install --frozen-lockfile", "npx --yes yarn@1.22 build"]
static = { "/out" = "out" }""",
        answers={"/": "hello", "/out/a.txt": "built\n"},
    ),
    "build-that-fails": Row(
        app='build = ["echo one", "echo no such thing; exit 4"]',
        refused="app.build: echo no such thing; exit 4 failed (exit code 4): no such thing",
    ),
    "build-that-writes-outside": Row(
        app='build = ["echo x > /etc/cron.d/x"]',
        refused="app.build: echo x > /etc/cron.d/x failed (exit code 2): /bin/sh: 1: cannot create",
    ),
    "build-without-secrets": Row(
        {"../secrets": "TOKEN=hidden-thing\n"},
        'env_file = "secrets"\nbuild = ["test -z \\"$TOKEN$SECRET_KEY$DATABASE_URL\\" && ! cat ../../shared/secrets.env"]',
    ),
    "build-that-prints-a-secret": Row(
        {"../secrets": "TOKEN=hidden-thing\n"},
        'env_file = "secrets"\nbuild_secrets = true\nbuild = ["echo token $TOKEN; false"]',
        refused="app.build: echo token $TOKEN; false failed (exit code 1): token [REDACTED]",
    ),
    "build-that-links-out": Row(
        app='build = ["ln -s /etc/passwd shop/static/x"]\nstatic = { "/static" = "shop/static" }',
        refused="app.static: shop/static/x in the repository is a symbolic link out of it, to /etc/passwd",
    ),
    "shared-that-begins-with-a-dot": Row(
        {
            "wsgi.py": "from pathlib import Path\nPath('.data/x').write_text('1')\nPath('app.log').open('a').write('1')\n"
            + WSGI
        },
        'shared = ["instance", ".data", "app.log"]',
    ),
    # Migrations
    "a-factory-with-flask-migrate": Row(
        flask_migrate("migrations"),
        wsgi='app = "shop:create_app()"',
        base=False,
        answers={"/": "0 items"},
    ),
    "flask-migrate-in-another-folder": Row(
        flask_migrate("db/steps"),
        wsgi='app = "shop:create_app()"',
        base=False,
        answers={"/": "0 items"},
    ),
    "flask-migrate-inside-middleware": Row(
        flask_migrate("migrations")
        | {
            "front.py": "from shop import create_app\nfrom werkzeug.middleware.proxy_fix import ProxyFix\napp = ProxyFix(create_app())\n"
        },
        wsgi='app = "front:app"',
        base=False,
        answers={"/": "0 items"},
    ),
    "migrations-of-another-application": Row(
        flask_migrate("migrations") | {"wsgi.py": WSGI},
        base=False,
        refused="app.migrate: there is a folder migrations, but the application that wsgi.app names has no Flask-Migrate",
    ),
    "migrations-of-another-database": Row(
        {
            "requirements.txt": "flask\nalembic\n",
            "alembic.ini": ALEMBIC_INI,
            "db/env.py": ALEMBIC_ENV.format(url="'sqlite:////tmp/other.db'"),
            "db/versions/1.py": revision(1, "item"),
        },
        refused="app.migrate: alembic changes the database sqlite:////tmp/other.db, and hosts.toml names sqlite:////srv/",
    ),
    "pending-that-is-no-program": Row(
        app='migrate = "true"\npending = "no-such-program"',
        refused="app.pending did not run (exit code 127)",
    ),
    "two-migration-heads": Row(
        {
            "requirements.txt": "flask\nalembic\n",
            "alembic.ini": ALEMBIC_INI,
            "db/env.py": ALEMBIC_ENV.format(url="os.environ['DATABASE_URL']"),
            "db/versions/1.py": revision(1, "item"),
            "db/versions/2.py": revision(1, "other").replace("0001", "000b"),
        },
        refused="there are several migration heads (0001, 000b); join them with: alembic merge heads",
    ),
    # First errors
    "log-beside-the-code": Row(
        {"wsgi.py": LOGS},
        refused="""OSError: [Errno 30] Read-only file system: 'app.log'; a release is read-only: add "app.log" to app.shared""",
    ),
    "log-that-is-shared": Row({"wsgi.py": LOGS}, 'shared = ["instance", "app.log"]'),
    "a-database-beside-the-code": Row(
        {
            "wsgi.py": "import sqlite3\nsqlite3.connect('app.db').execute('create table x (y)')\n"
            + WSGI
        },
        refused="sqlite3.OperationalError: unable to open database file; a release is read-only",
    ),
    "a-slow-start": Row(
        {
            "wsgi.py": "import os, time\nos.environ.get('INVOCATION_ID') and not os.environ.get('X') and time.sleep(7)\n"
            + WSGI
        },
        'health = { path = "/", timeout = 3 }',
        refused="raise app.health.timeout",
    ),
    "a-slow-start-that-gets-its-time": Row(
        {"wsgi.py": "import time\ntime.sleep(8)\n" + WSGI},
        'health = { path = "/", timeout = 60 }',
    ),
    "an-upload-beside-the-code": Row(
        {
            "wsgi.py": WSGI.replace(
                'return "hello"', 'open("uploads/x", "w").write("1")\n    return "hello"'
            )
        },
        'shared = ["instance", "uploads"]',
    ),
    "no-page-at-the-root": Row(
        {"wsgi.py": WSGI.replace('"/"', '"/api/ping"')},
        refused="/ answered 404 NOT FOUND, wanted 200-399; have app.health.path name a page",
    ),
    "no-page-at-the-root-by-uwsgi": Row(
        {"wsgi.py": WSGI.replace('"/"', '"/api/ping"')},
        wsgi='app = "wsgi:app"\nserver = "uwsgi"',
        refused="/ answered 404 NOT FOUND, wanted 200-399; have app.health.path name a page",
    ),
    "a-redirect-to-an-error": Row(
        {"wsgi.py": REDIRECTS},
        'health = "/go"',
        refused="/go answered 302 FOUND, and /broken, to which that leads, answered 500",
    ),
    "a-module-that-is-missing": Row(
        {"wsgi.py": "import markdown\n" + WSGI},
        refused="ModuleNotFoundError: No module named 'markdown'; add what brings markdown to the application's requirements, or to python.packages",
    ),
    "an-asgi-application": Row(
        {
            "requirements.txt": "starlette\n",
            "wsgi.py": "from starlette.applications import Starlette\napp = Starlette()\n",
        },
        refused="wsgi.app: wsgi:app is an ASGI application, and this tool serves WSGI",
    ),
    "an-import-that-exits": Row(
        {"wsgi.py": "import sys\nprint('set API_TOKEN first')\nsys.exit(1)\n"},
        refused="the release cannot be imported: the application ended itself: set API_TOKEN first",
    ),
    "a-port-that-is-taken-at-import": Row(
        {
            "wsgi.py": "import os\nif os.environ.get('DECANT_SMOKE'):\n    raise OSError(98, os.strerror(98))\n"
            + WSGI
        },
        refused="DECANT_SMOKE",
    ),
    "arguments-of-its-own": Row(
        {
            "wsgi.py": "import sys\nassert sys.argv[1:] == [] or 'gunicorn' in sys.argv[0], sys.argv\n"
            + WSGI
        }
    ),
    "through-middleware": Row({"wsgi.py": MIDDLEWARE}),
}


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Server]:
    """One server for the applications of a module, each under a name of its own."""
    if why_not():
        pytest.skip(why_not())
    made = ServerFactory(tmp_path_factory.mktemp("anywhere"), repository, "any")
    try:
        server = made.deployed()
        server.ssh("apt-get -q update && apt-get -q -y install git")
        yield server
    finally:
        made.close()


def project(server: Server, name: str, row: Row) -> Path:
    """Write an application and its hosts.toml beside it, and return its folder."""
    top = server.folder / name
    folder = top / "source"
    for file, text in {**(BASE if row.base else {}), **row.files}.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    settings(server, name, row)
    if row.made:
        identity = {
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }
        subprocess.run(
            ["sh", "-ec", row.made],
            cwd=folder,
            check=True,
            env={**os.environ, **identity, **TRUST},
        )
    return folder


def settings(server: Server, name: str, row: Row) -> None:
    (server.folder / name / "hosts.toml").write_text(
        f'[app]\nname = "{name}"\nsource = "source"\n{row.app}\n[wsgi]\n{row.wsgi}\nworkers = 1\n'
        f'[proxy]\ndomains = ["{name}.test"]\n{row.more}\n{server.entry("s", identity=str(server.folder / ".lab/key"))}'
    )


def fab(server: Server, name: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run fab in an application's folder."""
    here = Server(server.name, server.address, server.folder / name, server.suite, "s")
    return here.fab(*words, code=code)


def get(server: Server, name: str, path: str = "/") -> str:
    return server.get(path, headers={"Host": f"{name}.test"})[1]


@pytest.mark.parametrize("name", ROWS)
def test_an_application_goes_live_by_hosts_toml_or_the_error_says_what_to_change(
    anywhere: Server, name: str
) -> None:
    row, app = ROWS[name], name[:31].rstrip("-")
    project(anywhere, app, row)
    if row.here:
        assert row.refused in fab(anywhere, app, "--dry", "deploy", code=1).stderr
    done = fab(anywhere, app, "deploy", code=1 if row.refused else 0)
    if not row.refused:
        assert {path: get(anywhere, app, path) for path in row.answers} == row.answers
        return
    assert row.refused in done.stderr, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    # What serves now is said where the server was asked, and nobody is sent in a circle.
    assert done.stderr.endswith("; nothing serves yet\n") != row.here, done.stderr
    assert "run: fab deploy" not in done.stderr
    # The cause is told once, and no folder of ours has a part in it.
    assert row.refused not in done.stdout
    assert not any(
        word in done.stdout + done.stderr
        for word in (".part-", "/releases/", "build/tree", "hidden-thing")
    )
    assert anywhere.get("/version") == (200, "v1")


# --- migrations that know whether they have work

DJANGO = {
    "requirements.txt": "django>=4.2,<6\n",
    "site/settings.py": """
import os
from pathlib import Path
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "board"]
ROOT_URLCONF = "mysite.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_URL"].removeprefix("sqlite:///")}}
""",
    "site/urls.py": """
from django.db import connection
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(" ".join(sorted(name for name in connection.introspection.table_names() if name.startswith("board_")))))]
""",
    "site/wsgi.py": """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
""",
    "board/__init__.py": "",
    "board/migrations/__init__.py": "",
}
DJANGO = {name.replace("site/", "mysite/"): text for name, text in DJANGO.items()} | {
    "mysite/__init__.py": ""
}
DJANGO_MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = {before}
    operations = [migrations.CreateModel("{model}", [("id", models.BigAutoField(primary_key=True))])]
"""
TABLES = """
import os, sqlite3
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    path = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
    found = sqlite3.connect(path).execute("select name from sqlite_master where name like 'board_%'")
    return " ".join(sorted(name for name, in found))
"""
OWN = """
import os, pathlib, sqlite3, sys
database = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))
have = {name for name, in database.execute("select name from sqlite_master")}
want = {"board_" + path.stem for path in pathlib.Path("steps").iterdir()}
if "--check" in sys.argv:
    sys.exit(bool(want - have))
for name in sorted(want - have):
    database.execute(f"create table {name} (id integer)")
"""


def migrates(kind: str, number: int) -> dict[str, str]:
    """Return the migration of a number that makes a table of that kind."""
    table = f"board_{number}"
    match kind:
        case "django":
            before = f'[("board", "{number - 1:04}")]' if number > 1 else "[]"
            text = DJANGO_MIGRATION.format(before=before, model=number)
            return {
                f"board/migrations/{number:04}.py": text.replace(
                    f'CreateModel("{number}"', f'CreateModel("M{number}"'
                )
            }
        case "pending":
            return {f"steps/{number}": ""}
        case "alembic":
            return {f"db/versions/{number}.py": revision(number, table)}
    return {f"migrations/versions/{number:04}.py": revision(number, table)}


KINDS = {
    "flask-migrate": Row(
        flask_migrate("migrations", first=False)
        | {
            "wsgi.py": "from shop import create_app\n"
            + TABLES.replace("app = Flask(__name__)", "app = create_app()").replace(
                'get("/")\ndef index', 'get("/tables")\ndef tables'
            )
        },
        'health = "/tables"',
    ),
    "alembic": Row(
        {
            "requirements.txt": "flask\nalembic\n",
            "wsgi.py": TABLES,
            "alembic.ini": ALEMBIC_INI,
            "db/env.py": ALEMBIC_ENV.format(url="os.environ['DATABASE_URL']"),
        }
    ),
    "django": Row(DJANGO, wsgi='app = "mysite.wsgi:application"', base=False),
    "pending": Row(
        {"wsgi.py": TABLES, "migrate.py": OWN},
        "migrate = \"python migrate.py\"\npending = '''\ntest \"$(printf ü)\" = ü &&\npython migrate.py --check\n'''",
    ),
}


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(str(text))


@pytest.mark.parametrize("kind", KINDS)
def test_a_migration_runs_where_it_has_work_and_an_update_without_takes_no_dump(
    anywhere: Server, kind: str
) -> None:
    name = f"m-{kind}"
    page = "/tables" if kind == "flask-migrate" else "/"
    folder = project(anywhere, name, KINDS[kind])
    write(folder, migrates(kind, 1))
    (folder / "change").write_text("1")

    def tables() -> list[str]:
        return [word[-1] for word in get(anywhere, name, page).split()]

    fab(anywhere, name, "deploy")
    assert tables() == ["1"]
    status = json.loads(fab(anywhere, name, "db.status", "--json").stdout)
    assert (bool(status["head"]), status["pending"]) == (kind != "pending", "")

    (folder / "change").write_text("2")
    said = fab(anywhere, name, "update").stdout
    assert "migration pending: no" in said
    assert "dump to" not in said and "migrate\n" not in said
    assert lost(said) == [0]

    write(folder, migrates(kind, 2))
    said = fab(anywhere, name, "update").stdout
    assert "migration pending: yes" in said and "dump to backups/" in said
    assert "stop first: a migration is pending" in said
    assert (tables(), lost(said)) == (["1", "2"], [0])
    assert (
        "no migration is pending" in fab(anywhere, name, "db.migrate").stdout or kind == "pending"
    )

    if kind == "pending":
        assert "a command of your own" in fab(anywhere, name, "rollback", code=1).stderr
        return
    assert "--downgrade" in fab(anywhere, name, "rollback", code=1).stderr
    said = fab(anywhere, name, "rollback", "--downgrade").stdout
    assert (tables(), lost(said)) == (["1"], [0])
    fab(anywhere, name, "update")
    assert tables() == ["1", "2"]


def test_an_update_that_is_not_well_says_the_key_and_what_serves(anywhere: Server) -> None:
    folder = project(anywhere, "not-well", Row())
    fab(anywhere, "not-well", "deploy")
    moved = WSGI.replace('"/"', '"/api/ping"')
    for switch in ("auto", "stop-first"):
        settings(anywhere, "not-well", Row(wsgi=f'app = "wsgi:app"\nswitch = "{switch}"'))
        (folder / "wsgi.py").write_text(f"{moved}# {switch}\n")
        done = fab(anywhere, "not-well", "update", code=1)
        assert "/ answered 404 NOT FOUND, wanted 200-399; have app.health.path name a page" in (
            done.stderr
        )
        assert "serves as before" in done.stderr or "still serves" in done.stderr
        assert done.stderr.count("\n") == 1 and "/releases/" not in done.stdout + done.stderr
        assert get(anywhere, "not-well") == "hello"


def test_two_applications_in_one_that_migrate_two_databases_are_refused(anywhere: Server) -> None:
    shop = flask_migrate("migrations")
    other = flask_migrate("others", "blog/__init__.py")
    front = "from blog import create_app as blog\nfrom shop import create_app\nfrom werkzeug.middleware.dispatcher import DispatcherMiddleware\napp = DispatcherMiddleware(create_app(), {'/blog': blog()})\n"
    row = Row({**shop, **other, "front.py": front}, wsgi='app = "front:app"', base=False)
    project(anywhere, "two", row)
    said = fab(anywhere, "two", "deploy", code=1).stderr
    assert "auto finds more than one kind of migration (Flask-Migrate, Flask-Migrate)" in said

    # The same folder for two databases.
    other = flask_migrate("migrations", "blog/__init__.py", first=False)
    other["blog/__init__.py"] = other["blog/__init__.py"].replace(
        'os.environ["DATABASE_URL"]', '"sqlite:////tmp/other.db"'
    )
    row = Row({**shop, **other, "front.py": front}, wsgi='app = "front:app"', base=False)
    project(anywhere, "two-databases", row)
    said = fab(anywhere, "two-databases", "deploy", code=1).stderr
    assert "auto finds more than one kind of migration (Flask-Migrate, Flask-Migrate)" in said


def test_the_commands_of_flask_find_the_application_that_hosts_toml_names(anywhere: Server) -> None:
    for name, spec, files in (
        ("routes-factory", "shop:create_app()", flask_migrate("migrations")),
        (
            "routes-inside",
            "wsgi:app",
            {
                "requirements.txt": "flask\n",
                "wsgi.py": MIDDLEWARE,
                "app.py": "raise SystemExit('the wrong one')",
            },
        ),
    ):
        project(anywhere, name, Row(files, wsgi=f'app = "{spec}"', base=False))
        fab(anywhere, name, "deploy")
        assert "index" in fab(anywhere, name, "app.run", "flask routes").stdout


def test_a_setup_runs_once_and_again_when_the_list_changes(anywhere: Server) -> None:
    row = Row(app='setup = ["date +%s%N >> instance/times"]')
    folder = project(anywhere, "setup-once", row)
    fab(anywhere, "setup-once", "deploy")
    (folder / "wsgi.py").write_text(WSGI + "# changed\n")
    fab(anywhere, "setup-once", "update")
    times = "wc -l < /srv/setup-once/shared/instance/times"
    assert anywhere.ssh(times) == "1"
    settings(anywhere, "setup-once", Row(app='setup = ["date +%s%N >> instance/times", "true"]'))
    fab(anywhere, "setup-once", "update")
    assert anywhere.ssh(times) == "2"


def test_a_build_keeps_its_cache_and_a_file_goes_back_with_its_release(anywhere: Server) -> None:
    app = textwrap.dedent("""
        build = ["mkdir -p cache && date >> cache/times && wc -l < cache/times > built.txt"]
        build_cache = ["cache"]
        static = { "/built.txt" = "built.txt" }
        files = { "config/a.txt" = "a.txt" }
    """)
    page = WSGI.replace('"hello"', "open('config/a.txt').read()")
    folder = project(anywhere, "cached", Row({"wsgi.py": page, "../a.txt": "one"}, app))
    fab(anywhere, "cached", "deploy")
    assert (get(anywhere, "cached"), get(anywhere, "cached", "/built.txt")) == ("one", "1\n")
    (folder.parent / "a.txt").write_text("two")
    fab(anywhere, "cached", "update")
    assert (get(anywhere, "cached"), get(anywhere, "cached", "/built.txt")) == ("two", "2\n")
    fab(anywhere, "cached", "rollback")
    assert get(anywhere, "cached") == "one"
    current = "/srv/cached/current"
    assert (
        anywhere.ssh(f"test ! -e {current}/cache && stat -c '%U %G %a' {current}/config/a.txt")
        == "root cached 640"
    )


def host(server: Server, folder: Path, name: str) -> None:
    """Put a repository on the server, where hosts.toml then finds it by ssh."""
    server.ssh(
        "test -e /root/.ssh/id_ed25519 || { ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519"
        " && cat /root/.ssh/id_ed25519.pub >> /root/.ssh/authorized_keys"
        " && ssh-keyscan -t ed25519 127.0.0.1 >> /root/.ssh/known_hosts 2>/dev/null; }"
    )
    bundle = folder.parent / f"{name}.bundle"
    git(folder, "bundle", "create", "-q", str(bundle), "--all")
    _copy(server, bundle, f"/tmp/{name}.bundle")
    server.ssh(
        f"git init -q --bare -b main /opt/{name}.git && git -C /opt/{name}.git fetch -q"
        f" /tmp/{name}.bundle '+refs/*:refs/*'"
    )
    if folder.name == "source":
        file = folder.parent / "hosts.toml"
        source = f'source = "ssh://root@127.0.0.1/opt/{name}.git"'
        file.write_text(file.read_text().replace('source = "source"', source))


@pytest.mark.parametrize(
    ("lacks", "row", "said"),
    [
        ("module", Row(wsgi='app = "web:app"'), "wsgi.app: there is no module web in "),
        ("callable", Row(wsgi='app = "wsgi:ap"'), "did you mean wsgi:app?"),
        (
            "static",
            Row(app='static = { "/static" = "shop/statc" }'),
            "app.static: there is no shop/statc in the release, did you mean shop/static?",
        ),
        (
            "requirements",
            Row(more='[python]\nrequirements = "requirement.txt"'),
            "python.requirements: there is no file requirement.txt in ",
        ),
        ("subdir", Row(app='subdir = "shopp"'), "app.subdir: "),
    ],
)
def test_what_a_repository_on_another_server_lacks_is_said_while_the_release_is_made_ready(
    anywhere: Server, lacks: str, row: Row, said: str
) -> None:
    name = f"lacks-{lacks}"
    folder = project(
        anywhere,
        name,
        replace(row, made="git init -q -b main && git add -A && git commit -qm all"),
    )
    host(anywhere, folder, name)
    done = fab(anywhere, name, "deploy", code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("; nothing serves yet\n")
    assert anywhere.ssh(f"ls /srv/{name}/releases") == ""


def test_submodules_come_by_ssh_and_by_nothing_that_names_a_path_or_a_program(
    anywhere: Server,
) -> None:
    folder = project(anywhere, "modules", Row({"wsgi.py": THEME}, made=SUBMODULE))
    host(anywhere, folder.parent / "theme", "theme")

    def deployed(url: str, code: int = 0) -> str:
        """Deploy a commit whose submodule comes from there."""
        text = f'[submodule "theme"]\n\tpath = theme\n\turl = {url}\n'
        (folder / ".gitmodules").write_text(text)
        git(folder, "commit", "-q", "--allow-empty", "-am", url)
        host(anywhere, folder, "shop")
        done = fab(anywhere, "modules", "deploy", code=code)
        return done.stderr if code else get(anywhere, "modules")

    assert deployed("ssh://root@127.0.0.1/opt/theme.git") == "42"
    assert deployed("../theme.git") == "42"
    for url in ("/opt/theme.git", "file:///opt/theme.git", "ext::sh -c id", "-x", "git://h/x"):
        said = deployed(url, code=1)
        assert f"the submodule theme comes from {url}" in said
        assert "only https and ssh are followed" in said
    assert "cannot be read from the server: https://127.0.0.1:9/x" in deployed(
        "https://127.0.0.1:9/x", code=1
    )
    assert get(anywhere, "modules") == "42"


PRIVATE_INDEX = """
import base64, functools, http.server

class Index(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"ci:never-seen-1").decode():
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.end_headers()

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 8097), functools.partial(Index, directory="/opt/index")).serve_forever()
"""


def _copy(server: Server, file: Path, to: str) -> None:
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]
    subprocess.run(
        [
            "scp",
            "-q",
            *options,
            "-i",
            str(server.folder / ".lab/key"),
            str(file),
            f"root@{server.address}:{to}",
        ],
        check=True,
    )


def test_a_private_index_gets_its_password_from_the_file_that_nobody_else_reads(
    anywhere: Server,
) -> None:
    page = "import hidden_thing\n" + WSGI
    row = Row(
        {"requirements.txt": "flask\nhidden-thing\n", "wsgi.py": page},
        more='[python.env]\nPIP_EXTRA_INDEX_URL = "http://ci:{deploy.INDEX_PASSWORD}@127.0.0.1:8097/simple"',
    )
    folder = project(anywhere, "private-index", row)
    wheel = folder.parent / "hidden_thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        about = "hidden_thing-1.dist-info"
        file.writestr("hidden_thing.py", "")
        file.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: hidden-thing\nVersion: 1\n"
        )
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")
    (folder.parent / "index.py").write_text(PRIVATE_INDEX)
    anywhere.ssh("mkdir -p /opt/index/simple/hidden-thing")
    _copy(anywhere, wheel, f"/opt/index/simple/hidden-thing/{wheel.name}")
    _copy(anywhere, folder.parent / "index.py", "/opt/index.py")
    anywhere.ssh("{ nohup python3 /opt/index.py >/dev/null 2>&1 & }")

    said = fab(anywhere, "private-index", "deploy", code=1).stderr
    assert "python.env.PIP_EXTRA_INDEX_URL: there is no INDEX_PASSWORD in " in said
    secrets = folder.parent / ".env.deploy"
    for password in ("wrong-one-2", "never-seen-1"):
        secrets.write_text(f"INDEX_PASSWORD={password}\n")
        secrets.chmod(0o600)
        right = password == "never-seen-1"
        done = fab(anywhere, "private-index", "deploy", code=0 if right else 1)
        assert right or "hidden-thing" in done.stderr
        assert password not in done.stdout + done.stderr
        assert anywhere.ssh(f"journalctl --no-pager | grep -c {password}; true") == "0"
    assert get(anywhere, "private-index") == "hello"
    assert (
        anywhere.ssh("stat -c '%U %a' /srv/private-index/procedures/environment.json") == "root 600"
    )


def test_a_requirement_from_git_brings_git_and_its_e_is_no_matter(anywhere: Server) -> None:
    anywhere.ssh(
        "mkdir -p /opt/lib && cd /opt/lib && git init -q -b main . && printf '%s' \"from setuptools"
        " import setup; setup(name='lib', version='1', py_modules=['lib'])\" > setup.py && echo 'X ="
        " 1' > lib.py && git add . && git -c user.name=t -c user.email=t@example.org commit -qm one"
        " && git update-server-info && { nohup python3 -m http.server 8098 --bind 127.0.0.1"
        " --directory /opt >/dev/null 2>&1 & }"
    )
    commit = anywhere.ssh("git -C /opt/lib rev-parse HEAD")
    anywhere.ssh("apt-get -q -y purge git")
    line = f"-e git+http://127.0.0.1:8098/lib/.git@{commit}#egg=lib\nflask\n"
    row = Row({"requirements.txt": line, "wsgi.py": "import lib\n" + WSGI})
    project(anywhere, "from-git", row)
    said = fab(anywhere, "from-git", "deploy").stdout
    assert "a requirement comes from git: installing git" in said
    assert get(anywhere, "from-git") == "hello"


def test_what_pipenv_locks_on_the_server_stays_locked(anywhere: Server) -> None:
    row = Row({"requirements.txt": "flask\n"}, more='[python]\ninstaller = "pipenv"')
    project(anywhere, "pipenv", row)
    assert "locked on this server" in fab(anywhere, "pipenv", "deploy").stdout
    kept = "/srv/pipenv/shared/.Pipfile.lock.json"
    assert anywhere.ssh(f"stat -c '%U %a' {kept}") == "root 600"
    before = anywhere.ssh(f"sha256sum {kept}")
    # Another environment of the same file has what was locked.
    more = 'installer = "pipenv"\npackages = ["markdown"]'
    settings(anywhere, "pipenv", Row(more=f"[python]\n{more}"))
    assert "locked on this server" not in fab(anywhere, "pipenv", "update").stdout
    assert (get(anywhere, "pipenv"), anywhere.ssh(f"sha256sum {kept}")) == ("hello", before)
    assert anywhere.ssh("ls /srv/pipenv/venvs | wc -l") == "2"


def test_an_update_of_a_built_application_loses_nothing(anywhere: Server) -> None:
    row = Row(app='build = ["cp wsgi.py built.txt"]\nstatic = { "/built.txt" = "built.txt" }')
    folder = project(anywhere, "built-load", row)
    fab(anywhere, "built-load", "deploy")
    with Visits(anywhere.address, (("GET", "/", {}, 200),), "built-load.test") as visits:
        (folder / "wsgi.py").write_text(WSGI.replace("hello", "again"))
        said = fab(anywhere, "built-load", "update").stdout
    assert (visits.lost, lost(said), get(anywhere, "built-load")) == ([], [0], "again")

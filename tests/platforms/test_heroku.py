"""The application at Heroku: sent by our client to a local server, really built, released and
visited there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.booted import ROOT
from tests.guestbook import git
from tests.platforms.heroku_server import KEY, Heroku
from tests.platforms.runner import page

pytestmark = pytest.mark.full

APP = """
import os, sqlite3
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return f"version VERSION, {os.environ['GREETING']}, key of {len(os.environ['SECRET_KEY'])}"

@app.get("/up")
def up():
    return ("ill", 500) if "VERSION" == "ill" else "well"

@app.get("/variable/<name>")
def variable(name):
    return os.environ.get(name, "")
"""
HOSTS = """
[app]
name = "shop"
source = "shop"
ref = "main"
health = { path = "/up", timeout = 1 }
migrate = "python migrate.py"
[app.env]
GREETING = "hello"
[wsgi]
app = "app:app"
workers = 2
[proxy]
max_body = "64m"
[hosts.web1]
address = "192.0.2.1"
[heroku]
name = "our-shop"
"""


class Shop:
    """A repository, a hosts.toml beside it, and a Heroku of one's own."""

    def __init__(self, folder: Path, heroku: Heroku) -> None:
        self.folder, self.heroku = folder, heroku
        self.source = folder / "shop"
        self.source.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main", str(self.source))
        (self.source / "requirements.txt").write_text("flask\ngunicorn\n")
        self.commit("one")
        self.configure()

    def configure(self, more: str = "") -> None:
        (self.folder / "hosts.toml").write_text(HOSTS + more)

    def commit(self, version: str, migrates: str = "print('migrated')") -> None:
        (self.source / "app.py").write_text(APP.replace("VERSION", version))
        (self.source / "migrate.py").write_text(f"{migrates}\n")
        git(self.source, "add", "-A")
        git(self.source, "commit", "-q", "-m", version)

    def fab(self, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """Run fab; return what it says on standard output and on standard error."""
        given = {"HEROKU_HOST": self.heroku.url, "HEROKU_API_KEY": KEY, **variables}
        done = subprocess.run(
            [sys.executable, "-m", "fabric", "-r", str(ROOT), *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **given},
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr and KEY not in done.stdout + done.stderr
        return done.stdout, done.stderr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.heroku.apps['our-shop'].port}"

    @property
    def releases(self) -> list[str]:
        """What each release was, and how it ended."""
        return [
            f"{each['description']}: {each['status']}"
            for each in self.heroku.apps["our-shop"].releases
        ]

    def changes(self) -> list[str]:
        """Return the calls so far that change something, and forget them."""
        found = [f"{verb} {path}" for verb, path, _ in self.heroku.requests if verb != "GET"]
        self.heroku.requests.clear()
        return found


@pytest.fixture(scope="module")
def heroku(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heroku]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
            patch.setenv(name, "tests")
        for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
            patch.setenv(name, "tests@localhost")
        made = Heroku(tmp_path_factory.mktemp("heroku"))
        yield made
        made.close()


@pytest.fixture
def shop(tmp_path: Path, heroku: Heroku) -> Iterator[Shop]:
    made = Shop(tmp_path, heroku)
    yield made
    if app := heroku.apps.get("our-shop"):
        if app.web:
            heroku.runner.end(app.web)
        del heroku.apps["our-shop"]
        app.folder.rename(tmp_path / "gone")
    heroku.requests.clear()


def test_a_first_deploy_an_update_and_a_run_that_changes_nothing(shop: Shop) -> None:
    assert (
        "there is no app our-shop yet; run: fab heroku.init" in shop.fab("heroku.deploy", code=1)[1]
    )
    shop.fab("heroku.init")
    shop.changes()
    said, _ = shop.fab("heroku.deploy")
    assert "migrated" in said and "proxy.max_body: Heroku has no such setting" in said
    assert page(shop.url) == (200, "version one, hello, key of 64")
    assert shop.changes() == [
        "PATCH /apps/our-shop/config-vars",
        "POST /sources",
        "POST /apps/our-shop/builds",
    ]
    # Nothing in the person's folder, and nothing that is theirs alone was sent.
    assert git(shop.source, "status", "--porcelain") == ""
    said, _ = shop.fab("heroku.deploy")
    assert "has this source already" in said and shop.changes() == []
    document = json.loads(shop.fab("heroku.deploy", "--json")[0])
    assert (document["result"], document["release"]) == ("unchanged", "v2")

    shop.commit("two")
    key = shop.heroku.apps["our-shop"].variables["SECRET_KEY"]
    shop.fab("heroku.deploy")
    assert page(shop.url) == (200, "version two, hello, key of 64")
    assert shop.heroku.apps["our-shop"].variables["SECRET_KEY"] == key
    assert shop.changes() == ["POST /sources", "POST /apps/our-shop/builds"]
    said, _ = shop.fab("heroku.rollback")
    assert "v4 is v2 again" in said
    assert page(shop.url) == (200, "version one, hello, key of 64")
    status = json.loads(shop.fab("heroku.status", "--json")[0])
    assert (status["healthy"], status["releases"][0]["release"]) == (True, "v4")
    # A rollback is no deploy: the source that is wanted is another one again.
    shop.fab("heroku.deploy")
    assert page(shop.url)[1].startswith("version two")


def test_variables_are_set_by_one_release_and_only_where_they_differ(shop: Shop) -> None:
    shop.fab("heroku.init")
    shop.fab("heroku.deploy")
    shop.changes()
    nasty = "a '\"$(id)`id`\\ ü\n雪 #"
    (shop.folder / "secret.env").write_text("HIDDEN='quiet word'\n")
    shop.configure(
        f'[heroku.app]\nenv_file = "secret.env"\n[heroku.app.env]\nNASTY = {json.dumps(nasty)}\n'
    )
    said, _ = shop.fab("heroku.env")
    assert "set: HIDDEN, NASTY" in said and "quiet word" not in said
    assert shop.changes() == ["PATCH /apps/our-shop/config-vars"]
    assert page(shop.url, "/variable/NASTY") == (200, nasty)
    assert page(shop.url, "/variable/HIDDEN") == (200, "quiet word")
    assert "nothing differs" in shop.fab("heroku.env")[0]
    assert shop.changes() == []
    dry, _ = shop.fab("--dry", "heroku.deploy")
    assert "Procfile: rendered" in dry and "workers = 2" in dry and "quiet word" not in dry
    assert shop.changes() == []


def test_what_fails_leaves_what_served_before(shop: Shop) -> None:
    shop.fab("heroku.init")
    shop.fab("heroku.deploy")
    shop.commit("two", migrates="raise SystemExit('half of it')")
    said, error = shop.fab("heroku.deploy", code=1)
    assert "half of it" in said
    assert "the release phase of v3 failed (failed); what served before serves on" in error
    assert page(shop.url)[1].startswith("version one")

    shop.commit("ill")
    _, error = shop.fab("heroku.deploy", code=1)
    assert "/up answered 500 INTERNAL SERVER ERROR, wanted 200-399; v2 was put back as v5" in error
    assert page(shop.url)[1].startswith("version one")

    (shop.source / "requirements.txt").write_text("flask\ngunicorn\nno-such-package-as-this==1\n")
    shop.commit("three")
    said, error = shop.fab("heroku.deploy", code=1)
    assert "no-such-package-as-this" in said and "the build failed (failed)" in error
    assert page(shop.url)[1].startswith("version one")

    # A connection that is lost in the middle: the next run goes on.
    (shop.source / "requirements.txt").write_text("flask\ngunicorn\n")
    shop.commit("four")
    shop.heroku.drops.add("/apps/our-shop/builds")
    assert "cannot be reached" in shop.fab("heroku.deploy", code=1)[1]
    shop.fab("heroku.deploy")
    assert page(shop.url)[1].startswith("version four")


def test_what_cannot_be_is_one_line_and_changes_nothing(shop: Shop) -> None:
    shop.fab("heroku.init")
    shop.changes()
    for name, said in (("HEROKU_API_KEY", "nobody is logged in: set HEROKU_API_KEY"),):
        _, error = shop.fab("heroku.deploy", code=1, **{name: ""}, NETRC="/nonexistent")
        assert said in error
    wrong = shop.fab("heroku.deploy", code=1, HEROKU_API_KEY="wrong")[1]
    assert "heroku: Invalid credentials provided." in wrong
    shop.configure('region = "mars"\n'.replace("region", "addons = []\nregion"))
    text = (shop.folder / "hosts.toml").read_text()
    for old, new, task, said in (
        ('"our-shop"', '"taken"', "heroku.init", "Name taken is already taken"),
        ('"our-shop"', '"new-shop"', "heroku.init", "Couldn't find that region."),
        ('"our-shop"', '"Our_Shop"', "heroku.deploy", "heroku.name: should be 3 to 30 lower-case"),
    ):
        (shop.folder / "hosts.toml").write_text(text.replace(old, new))
        assert said in shop.fab(task, code=1)[1]
    shop.configure()
    (shop.source / "uv.lock").write_text("")
    shop.commit("two managers")
    error = shop.fab("heroku.deploy", code=1)[1]
    assert "has requirements.txt and uv.lock, and Heroku builds by exactly one of them" in error
    (shop.source / "uv.lock").unlink()
    (shop.source / "requirements.txt").write_text("flask\n")
    shop.commit("no server")
    assert "requirements.txt has no gunicorn" in shop.fab("heroku.deploy", code=1)[1]
    shop.configure('[heroku.db]\nkind = "sqlite"\n')
    assert "db.kind: sqlite is a file, and the disk there" in shop.fab("heroku.deploy", code=1)[1]
    assert not [each for each in shop.changes() if "builds" in each or "PATCH" in each]


def test_a_commit_is_pushed_as_the_guides_do_it(shop: Shop) -> None:
    shop.fab("heroku.init")
    (shop.source / "Procfile").write_text("web: gunicorn app:app\n")
    shop.commit("pushed")
    shop.fab("heroku.env")
    said, _ = shop.fab("heroku.push")
    assert ": pushed" not in said or "v2" in said
    assert page(shop.url)[1].startswith("version pushed")
    assert "your own" in shop.fab("--dry", "heroku.deploy")[0]


def test_the_small_tasks(shop: Shop) -> None:
    shop.configure(
        'addons = ["heroku-postgresql:essential-0"]\n[heroku.proxy]\ndomains = ["shop.test"]\n'
    )
    said, _ = shop.fab("heroku.init")
    assert "let its DNS lead to shop.test.herokudns.test" in said
    assert "changed" not in shop.fab("heroku.init")[0]
    shop.configure('[processes.worker]\ncommand = "sleep 1000"\ncount = 2\n')
    said, _ = shop.fab("heroku.deploy")
    assert "processes: worker: 2" in said
    assert shop.heroku.apps["our-shop"].formation == {"web": 1, "worker": 2}
    assert "hello from shop" in shop.fab("heroku.run", "echo hello from shop")[0]
    assert "ended with exit code 3" in shop.fab("heroku.run", "exit 3", code=3)[1]
    assert "gunicorn" in shop.fab("heroku.logs")[0]
    shop.fab("heroku.maintenance", "on")
    assert shop.heroku.apps["our-shop"].maintenance
    assert "should be on or off" in shop.fab("heroku.maintenance", "perhaps", code=1)[1]
    assert "say which app: --yes our-shop" in shop.fab("heroku.destroy", code=1)[1]
    shop.fab("heroku.destroy", "--yes", "our-shop")
    assert "our-shop" not in shop.heroku.apps

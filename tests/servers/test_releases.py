"""Releases: hostile values, rollback, pruning, the maintenance page, changed units, uv."""

import json
import re

import pytest

from tests.booted import ServerFactory, lost
from tests.guestbook import git
from tests.load import Load

HOSTILE = (
    "a 'b' \"c\" $(touch /tmp/owned) `touch /tmp/owned` ${HOME} \\n ü\nsecond line; # %s {{ 1 }}"
)


def test_hostile_values_arrive_as_they_are_and_none_is_executed(booth: ServerFactory) -> None:
    server = booth.deployed()
    (server.folder / "env file ü").write_text(
        "B='" + HOSTILE.replace("\\", "\\\\").replace("'", "\\'") + "'\n"
    )
    migrate = 'flask db upgrade && printf %s "it\'s ü \\$(id)" > instance/said'
    server.configure(
        f'env_file = "env file ü"\nenv = {{ A = {json.dumps(HOSTILE)} }}\nmigrate ='
        f" {json.dumps(migrate)}"
    )
    server.fab("update")
    assert server.get("/variable/A") == (200, HOSTILE)
    assert server.get("/variable/B") == (200, HOSTILE)
    server.ssh("test ! -e /tmp/owned")
    assert server.ssh("cat /srv/guestbook/shared/instance/said") == "it's ü $(id)"
    assert HOSTILE not in server.fab("app.env").stdout


def test_rollback_puts_back_code_and_variables_and_loses_nothing(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = "better"\nenv = { GREETING = "new" }')
    server.fab("update")
    assert server.get("/variable/GREETING") == (200, "new")
    with Load(server.address) as load:
        server.fab("rollback")
    assert load.lost == []
    assert server.get("/version") == (200, "v1")
    assert server.get("/variable/GREETING") == (200, "")
    assert "rolled-back" in server.fab("app.releases").stdout
    assert (
        "there is no good release before the current one" in server.fab("rollback", code=1).stderr
    )
    assert (
        "there is no good release nowhere"
        in server.fab("rollback", "--to", "nowhere", code=1).stderr
    )


def test_rollback_over_a_migration_needs_a_word_and_restore_puts_back_the_dump(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    before = server.rows()
    server.configure('ref = "migrates"')
    server.fab("update")
    server.ssh(
        "python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1/', b'text=later')\""
    )
    said = server.fab("rollback", code=1).stderr
    assert "--downgrade" in said
    assert "--restore" in said
    assert server.get("/version") == (200, "migrates")
    server.fab("rollback", "--restore")
    assert server.get("/version") == (200, "v1")
    assert server.rows() == before
    assert "mood" not in server.columns()


@pytest.mark.full
def test_the_database_can_be_migrated_alone_and_a_failure_leaves_the_release_good(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.configure('ref = "migrates"\nmigrate = ""')
    server.fab("update")
    assert "mood" not in server.columns()
    before = server.rows()
    damage = (
        'flask db upgrade; python3 -c "import sqlite3; c ='
        " sqlite3.connect('instance/guestbook.db'); c.execute('delete from entry'); c.commit()\";"
        " false"
    )
    server.configure(f'ref = "migrates"\nmigrate = {json.dumps(damage)}')
    assert "the migration failed (exit code 1)" in server.fab("db.migrate", code=1).stderr
    assert server.rows() == before
    assert "failed" not in server.fab("app.releases").stdout
    server.configure('ref = "migrates"\nmigrate = "auto"')
    assert lost(server.fab("db.migrate").stdout) == [0]
    assert "mood" in server.columns()
    assert server.rows() == before


@pytest.mark.full
def test_old_releases_dumps_and_environments_are_pruned(booth: ServerFactory) -> None:
    server = booth.deployed()
    local = server.folder / "guestbook"
    for number in range(3):
        (local / "NEWS").write_text(f"{number}\n")
        git(local, "add", "-A")
        git(local, "commit", "-q", "-m", f"news {number}")
        server.configure("keep = 2")
        server.fab("update")
    assert len(server.ssh("ls /srv/guestbook/releases").split()) == 2
    assert len(server.ssh("ls /srv/guestbook/venvs").split()) == 1
    history = [
        json.loads(line) for line in server.ssh("cat /srv/guestbook/deploys.jsonl").splitlines()
    ]
    assert [entry["result"] for entry in history] == ["good"] * 4
    assert {"when", "who", "what", "release", "result", "seconds"} <= set(history[-1])


@pytest.mark.parametrize(
    "known",
    [
        "echo 400 > /srv/guestbook/log/last-migration",
        pytest.param("echo 10 1 > /srv/guestbook/log/last-dump", marks=pytest.mark.full),
    ],
)
def test_a_window_that_outlasts_the_patience_puts_up_the_maintenance_page(
    booth: ServerFactory, known: str
) -> None:
    server = booth.deployed()
    server.ssh(known)  # how long the last migration took, or how fast the last dump was
    server.configure('ref = "migrates-slowly"')
    client = server.start_fab("update")
    server.wait_for_migration()
    status, page = server.get("/")
    assert status == 503
    assert "Back in a moment" in page
    assert server.get("/static/style.css")[0] == 200
    assert client.wait(timeout=120) == 0
    said = (server.folder / "fab.out").read_text()
    assert "longer than wsgi.hold (300 s)" in said
    assert "met the maintenance page" in said
    assert server.get("/version") == (200, "migrates-slowly")


@pytest.mark.full
def test_units_that_break_the_application_are_put_back(booth: ServerFactory) -> None:
    server = booth.deployed()
    (server.folder / "templates/systemd").mkdir(parents=True)
    (server.folder / "templates/systemd/sandbox.j2").write_text("User=nobody\nGroup=nogroup\n")
    with Load(server.address) as load:
        said = server.fab("deploy", code=1).stderr
    assert "check of the application under systemd failed" in said
    assert server.get("/version") == (200, "v1")
    assert "User=guestbook" in server.ssh("cat /etc/systemd/system/guestbook.service")
    assert load.lost == []


def test_a_vhost_that_nginx_refuses_never_stays(booth: ServerFactory) -> None:
    server = booth.deployed()
    (server.folder / "templates/nginx").mkdir(parents=True)
    (server.folder / "templates/nginx/site.j2").write_text("server { listen 80; nonsense on; }\n")
    assert 'unknown directive "nonsense"' in server.fab("nginx.site", code=1).stdout
    server.ssh("nginx -t")
    server.fab("system.reboot")
    server.wait_until(lambda: server.get("/version") == (200, "v1"))


@pytest.mark.full
def test_uv_installs_from_a_lock_and_each_release_imports_its_own_code(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    local = server.folder / "guestbook"
    (local / "src").mkdir()
    git(local, "mv", "guestbook", "src/guestbook")
    (local / "pyproject.toml").write_text(
        '[project]\nname = "guestbook"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["flask", "flask-sqlalchemy", "flask-migrate"]\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[tool.setuptools.package-data]\nguestbook = ["templates/*", "static/*"]\n'
    )
    server.configure('static = { "/static" = "src/guestbook/static" }')
    server.fab("app.run", "true")
    # The lock is made on the server, by the uv that the product brings there.
    (local / "requirements.txt").unlink()
    (local / "uv.lock").write_text("version = 1\nrevision = 3\nrequires-python = '>=3.11'\n")
    git(local, "add", "-A")
    git(local, "commit", "-q", "-m", "src layout")
    assert "prepare failed" in server.fab("update", code=1).stderr
    tree = "pyproject.toml"
    server.ssh(
        "mkdir -p /tmp/lock/src/guestbook && cat > /tmp/lock/pyproject.toml <<'X'\n"
        + (local / tree).read_text()
        + "X\ncd /tmp/lock && /opt/decant/uv-*/bin/uv lock -q"
    )
    lock = server.ssh("cat /tmp/lock/uv.lock")
    (local / "uv.lock").write_text(lock + "\n")
    for version in ("first", "second"):
        testing = local / "src/guestbook/testing.py"
        testing.write_text(
            'from guestbook.views import pages\n@pages.get("/version")\ndef version():\n    return'
            f' "{version}"\n'
        )
        git(local, "add", "-A")
        git(local, "commit", "-q", "-m", version)
        server.fab("update")
        assert server.get("/version") == (200, version)
    assert server.get("/static/style.css")[0] == 200
    server.fab("rollback")
    assert server.get("/version") == (200, "first")


@pytest.mark.full
def test_thirty_releases_later_there_is_what_keep_says_and_nothing_else(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    source = server.folder / "guestbook"
    server.configure('ref = "main"\nkeep = 3')

    def everything() -> set[str]:
        """What there is, but for the windows' own files, of which the last 50 are kept."""
        shown = server.ssh(
            "cd /srv/guestbook; find . -path ./repo.git -prune -o -path './releases/*/*' -prune -o"
            " -path './venvs/*/*' -prune -o -path ./log -prune -o -print;"
            " find /run/guestbook /var/lib/decant /tmp /var/tmp | sed 's/systemd-private-[^/]*//'"
        )
        return {re.sub(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{7}", "RELEASE", line) for line in shown.split()}

    def update(number: int, code: int = 0) -> None:
        broken = "import nowhere\n" if code else ""
        (source / "guestbook/news.py").write_text(f"{broken}NEWS = {number}\n")
        (source / "guestbook/__init__.py").write_text(
            init + "\nfrom guestbook import news  # noqa\n"
        )
        git(source, "add", "-A")
        git(source, "commit", "-q", "-m", f"news {number}")
        server.fab("update", code=code)

    init = (source / "guestbook/__init__.py").read_text()
    for number in range(5):
        update(number)
    before = everything()
    for number in range(5, 35):
        update(number, code=number % 10 == 9)
    assert everything() == before
    listed = json.loads(server.fab("app.releases", "--json").stdout)
    assert [each["state"] for each in listed].count("good") == 3
    counted = "for each in releases venvs; do ls /srv/guestbook/$each | wc -l; done"
    assert server.ssh(counted).split() == ["3", "1"]
    assert int(server.ssh("ls /srv/guestbook/log/*.params | wc -l")) <= 50

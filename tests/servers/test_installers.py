"""Environments: locks that are out of date, projects that have to be installed, packages that have
to be built, Pythons that are not the server's.
"""

import base64
import json

import pytest

from decant.lab import servers
from tests import guestbook
from tests.booted import ServerFactory, changed
from tests.guestbook import git

pytestmark = pytest.mark.full


def test_a_project_in_src_serves_each_versions_own_code(booth: ServerFactory) -> None:
    server = booth.boot("trixie")
    guestbook.source_layout(server.folder / "shop", "one")
    project = 'source = "shop"\nstatic = {}\nref = ""'
    server.configure(
        project, 'app = "shop:site"', '[db]\nkind = "none"\n[python]\nversion = "3.13"'
    )
    server.fab("deploy")
    assert server.get("/version") == (200, "one")
    for version in ("two", "three"):
        guestbook.source_layout(server.folder / "shop", version)
        server.fab("update")
        assert server.get("/version") == (200, version)
    server.fab("rollback")
    assert server.get("/version") == (200, "two")
    assert changed(server.fab("deploy").stdout) != [0]
    assert server.get("/version") == (200, "three")
    assert (
        server.ssh(
            "ls /srv/guestbook/venvs/*/lib/python3.13/site-packages/*.pth 2>/dev/null | grep -v"
            " distutils; true"
        )
        == ""
    )


@pytest.mark.usefixtures("installers")
@pytest.mark.parametrize(
    ("installer", "file", "old", "new"),
    [
        ("uv", "pyproject.toml", "click==", "click!=0,=="),
        ("poetry", "pyproject.toml", "click==", "click!=0,=="),
        ("pipenv", "Pipfile", '"mako" = ', '"Mako" = '),
    ],
)
def test_a_lock_that_is_out_of_date_is_refused_and_the_old_version_serves(
    booth: ServerFactory, installer: str, file: str, old: str, new: str
) -> None:
    server = booth.deployed()
    folder = server.folder / "guestbook"
    git(folder, "checkout", "-q", f"by-{installer}")
    path = folder / file
    text = path.read_text()
    changed = (
        text.replace(old, new) if old in text else text.replace("click = ", "click-plugins = ", 1)
    )
    assert changed != text
    path.write_text(changed)
    server.configure('ref = ""')
    said = server.fab("update", code=1)
    assert "lock" in said.stderr and (
        "out of date" in said.stderr or "needs to be updated" in said.stderr
    ), said.stderr
    assert 'python.installer = "pip"' in said.stderr
    assert server.get("/version") == (200, "v1")
    assert server.ssh("ls /srv/guestbook/venvs | wc -l") == "1"


@pytest.mark.parametrize(
    ("installer", "package", "suite", "headers", "module"),
    [
        ("pip", "mysqlclient==2.2.7", "bookworm", "default-libmysqlclient-dev", "MySQLdb"),
        ("uv", "mysqlclient==2.2.7", "bookworm", "default-libmysqlclient-dev", "MySQLdb"),
        ("pip", "python-ldap==3.4.4", "trixie", "libldap-dev", "ldap"),
    ],
)
def test_what_must_be_built_is_named_and_gets_its_compilers(
    booth: ServerFactory, installer: str, package: str, suite: str, headers: str, module: str
) -> None:
    server = booth.deployed(suite)
    server.ssh("! command -v gcc")
    server.configure(more=f'[python]\ninstaller = "{installer}"\npackages = ["{package}"]')
    said = server.fab("update").stdout
    assert (
        f"{package.split('==', maxsplit=1)[0]}: no wheel for this server, so it must be built:"
        " installing " in said
    )
    assert headers in said and "python3-dev" in said
    assert (
        server.ssh(
            f"/srv/guestbook/current/.deploy/venv/bin/python -c 'import {module};"
            f" print({module}.__name__)'"
        )
        == module
    )
    assert "already current" in server.fab("update").stdout


def test_a_package_that_cannot_be_built_leaves_the_old_version_and_says_which(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    (server.folder / "guestbook/broken").mkdir()
    (server.folder / "guestbook/broken/setup.py").write_text(
        "raise SystemExit('this cannot be built')\n"
    )
    requirements = server.folder / "guestbook/requirements.txt"
    requirements.write_text(requirements.read_text() + "./broken\n")
    server.configure('ref = ""')
    said = server.fab("update", code=1).stderr
    assert "broken" in said
    assert server.get("/version") == (200, "v1")


# A Python in the layout in which uv fetches them, packed from a server of the other suite.
PACK = """
apt-get -qq update && apt-get -qq install -y --no-install-recommends python3 >/dev/null 2>&1
mkdir -p /tmp/pack/python/bin /tmp/pack/python/lib && cp /usr/bin/python3.11 /tmp/pack/python/bin/ && cp -a /usr/lib/python3.11 /tmp/pack/python/lib/
rm -f /tmp/pack/python/lib/python3.11/sitecustomize.py && ln -s python3.11 /tmp/pack/python/bin/python3 && tar -C /tmp/pack -cf - python | base64
"""
PYTHONS = {
    "cpython-3.11.2-linux-x86_64-gnu": {
        **{
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
            "variant": None,
            "build": "20260101",
        },
        **{
            "major": 3,
            "minor": 11,
            "patch": 2,
            "prerelease": "",
            "url": "file:///opt/python.tar",
            "sha256": None,
        },
    }
}


def test_a_python_that_the_distribution_lacks_is_fetched_by_uv(booth: ServerFactory) -> None:
    packed = base64.b64decode(booth.boot("bookworm").ssh(PACK))
    server = booth.boot("trixie")
    root = servers.STATE / "servers" / server.name / "root"
    (root / "opt/python.tar").write_bytes(packed)
    (root / "opt/pythons.json").write_text(json.dumps(PYTHONS))
    with (root / "etc/uv/uv.toml").open("a") as file:
        file.write('python-downloads-json-url = "/opt/pythons.json"\n')
    python = '[python]\nversion = "3.11"\ninstaller = "uv"'
    server.configure(more=python)
    server.fab("deploy")
    assert server.get("/version") == (200, "v1")
    assert (
        server.ssh("/srv/guestbook/current/.deploy/venv/bin/python -V; python3 -V").splitlines()[0]
        == "Python 3.11.2"
    )
    assert "3.13" in server.ssh("python3 -V")
    assert changed(server.fab("deploy").stdout) == [0]
    server.configure('ref = "better"', 'server = "uwsgi"', python)
    server.fab("update")
    assert server.get("/version") == (200, "better")


def test_a_python_that_cannot_be_had_is_refused_before_anything_changes(
    booth: ServerFactory,
) -> None:
    server = booth.deployed()
    server.ssh("echo '127.0.0.1 github.com' >> /etc/hosts")
    before = server.fingerprint()
    server.configure(more='[python]\nversion = "3.12"')
    assert (
        "has Python 3.11.2 and no 3.12, and uv's builds cannot be fetched from this server"
        in server.fab("deploy", code=1).stderr
    )
    server.configure(
        wsgi='server = "mod_wsgi"', more='[python]\nversion = "3.12"\n[proxy]\nkind = "apache"'
    )
    assert "builds mod_wsgi for its own Python (3.11.2) only" in server.fab("deploy", code=1).stderr
    assert server.fingerprint() == before
    assert server.get("/version") == (200, "v1")


@pytest.mark.parametrize("server_kind", ["gunicorn", "uwsgi", "mod_wsgi"])
def test_a_subfolder_a_factory_and_a_callable_of_another_name(
    booth: ServerFactory, server_kind: str
) -> None:
    server = booth.deployed()
    guestbook.in_a_subfolder(server.folder / "guestbook")
    proxy = '[proxy]\nkind = "apache"' if server_kind == "mod_wsgi" else ""
    for callable_name in ("serve:make()", "serve:site"):
        server.configure(
            'ref = "in-a-subfolder"\nsubdir = "web"',
            f'app = "{callable_name}"\nserver = "{server_kind}"',
            proxy,
        )
        server.fab("deploy")
        assert server.get("/version") == (200, "v1")
        assert "body" in server.get("/static/style.css")[1]
        assert len(server.rows()) == 10

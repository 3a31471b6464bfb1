"""Installed from a wheel, without the clone.

The command `decant`, and a fabfile of a user's own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decant import __version__
from tests.booted import ROOT, Server, ServerFactory

UV = Path(sys.executable).parent / "uv"
OWN = """
from fabric import task as fabrics
from invoke import task as invokes

from decant import Host, task
from decant.tasks import db, ns


@fabrics
def machine(c):
    c.run("hostname")


@invokes
def here(c):
    c.run("echo on this machine")


@task
def nightly(c):
    print("on", Host(c).facts.os)
    db.status(c)


for own in (machine, here, nightly):
    ns.add_task(own)
"""


def run(folder: Path, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of an environment in which nothing of this checkout is found."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean,
        timeout=300,
    )
    assert done.returncode == code, (
        f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and an sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(ROOT, UV, "build", "-q", "-o", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Path:
    """A fresh environment with the wheel and what it demands."""
    folder = tmp_path_factory.mktemp("installed")
    run(folder, sys.executable, "-m", "venv", folder)
    run(
        folder,
        folder / "bin/pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *dist.glob("*.whl"),
    )
    return folder / "bin"


def test_a_wheel_alone_deploys_updates_and_stands_beside_a_users_own_tasks(
    booth: ServerFactory, installed: Path
) -> None:
    server = booth.boot()

    def decant(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(server.folder, installed / "decant", "-H", server.name, *words, code=code)

    assert run(server.folder, installed / "decant", "--version").stdout == f"decant {__version__}\n"
    decant("deploy")
    assert server.get("/version") == (200, "v1")
    assert f'"decant": "{__version__}"' in server.ssh("cat /var/lib/decant/apps/guestbook.json")
    server.configure('ref = "better"')
    decant("update")
    assert server.get("/version") == (200, "better")
    assert "did you mean update?" in decant("updat", code=1).stderr
    _a_users_own_tasks(server, installed)


def _a_users_own_tasks(server: Server, installed: Path) -> None:
    (server.folder / "fabfile.py").write_text(OWN)
    fab = installed / "fab"
    assert {"machine", "nightly", "deploy"} <= {
        line.split()[0]
        for line in run(server.folder, fab, "--list").stdout.splitlines()
        if line.startswith("  ")
    }
    assert run(server.folder, fab, "here").stdout == "on this machine\n"
    assert run(server.folder, fab, "-H", server.name, "machine").stdout.strip() == server.ssh(
        "hostname"
    )
    both = run(server.folder, fab, "-H", server.name, "machine", "nightly", "app.releases").stdout
    assert "on debian" in both
    assert "guestbook.db" in both


@pytest.mark.parametrize("way", ["sdist", "editable", "git"])
def test_it_installs_in_every_way(dist: Path, installed: Path, tmp_path: Path, way: str) -> None:
    run(tmp_path, sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    # What it demands is there already: beside the wheel's own environment, which this one sees
    # behind its own.
    site = next((tmp_path / "venv/lib").glob("python3*")) / "site-packages"
    (site / "beside.pth").write_text(
        f"{next((installed.parent / 'lib').glob('python3*')) / 'site-packages'}\n"
    )
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", ROOT, clone)
    what = {
        "sdist": [*map(str, dist.glob("*.tar.gz"))],
        "editable": ["-e", str(clone)],
        "git": [f"git+file://{clone}"],
    }[way]
    run(
        tmp_path,
        UV,
        "pip",
        "install",
        "-q",
        "--python",
        tmp_path / "venv/bin/python",
        "--no-deps",
        *what,
    )
    (tmp_path / "fabfile.py").write_text("from decant.tasks import ns\n")
    python = tmp_path / "venv/bin/python"
    where = run(tmp_path, python, "-c", "import decant; print(decant.__file__)").stdout.strip()
    assert where.startswith(str(clone if way == "editable" else site))
    assert "deploy" in run(tmp_path, tmp_path / "venv/bin/decant", "--list").stdout
    assert "deploy" in run(tmp_path, python, "-m", "fabric", "--list").stdout
    assert (
        "no hosts.toml in" in run(tmp_path, tmp_path / "venv/bin/decant", "deploy", code=1).stderr
    )

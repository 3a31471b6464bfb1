"""The source can be a git URL with a branch, a tag, a commit or a tag pattern, or a local working
tree, or a local commit.
"""

import subprocess

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.guestbook import git

URL = "file:///opt/guestbook.git"


def publish(server: Server) -> None:
    """Put the guestbook with all of its branches into a repository on the server, at URL."""
    server.ssh("git init -q --bare -b main /opt/guestbook.git")
    archive = server.folder / "bundle"
    git(server.folder / "guestbook", "bundle", "create", "-q", str(archive), "--all")
    to = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-i",
        str(server.folder / ".lab/key"),
        str(archive),
        f"root@{server.address}:/tmp/bundle",
    ]
    subprocess.run(["scp", "-q", *to], check=True)
    server.ssh("git -C /opt/guestbook.git fetch -q /tmp/bundle 'refs/*:refs/*'")


@pytest.mark.full
@pytest.mark.parametrize(("package", "beside"), [("", True), ("mysqlclient==2.2.7", False)])
def test_a_first_deploy_makes_the_environment_beside_apt_unless_something_must_be_built(
    booth: ServerFactory, package: str, beside: bool
) -> None:
    server = booth.boot()
    server.ssh("apt-get -q update && apt-get -q -y install --no-install-recommends git")
    publish(server)
    server.configure(
        f'source = "{URL}"\nref = "main"',
        more=f'[python]\npackages = ["{package}"]' if package else "",
    )
    said = server.fab("-e", "deploy").stdout
    assert server.get("/version") == (200, "v1")
    assert (
        said.index("environment, beside what follows")
        < said.index("packages python3 python3-venv nginx")
        < said.index("imported wsgi:app")
    )
    assert ("must be built: installing" in said) is bool(package)
    # A release has its commit before its environment, unless that was there already.
    order = server.ssh(
        "cd /srv/guestbook && ls -tr --time-style=full-iso current/.deploy/commit"
        " venvs/*/.decant-complete"
    ).splitlines()
    assert order[0].startswith("venvs" if beside else "current")
    # What Debian's venv brings is there.
    server.ssh(
        "cd /srv/guestbook/current/.deploy/venv/bin && ./pip --version && ./pip check && ./python"
        " -c 'import setuptools, pkg_resources'"
    )
    assert changed(server.fab("deploy").stdout) == [0]


@pytest.mark.full
def test_a_git_url_with_a_branch_a_tag_a_commit_and_a_pattern(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure(f'source = "{URL}"\nref = ""')
    server.fab("system.packages")
    local = server.folder / "guestbook"
    for tag, branch in {"v1.9": "main", "v1.10": "better", "v2.0-rc1": "migrates"}.items():
        git(local, "tag", tag, branch)
    publish(server)

    server.fab("update")  # the remote's HEAD is main, at v1
    assert server.get("/version") == (200, "v1")
    server.configure(f'source = "{URL}"\nref = "tag:v1.*"')
    server.fab("update")
    assert server.get("/version") == (200, "better")
    server.configure(f'source = "{URL}"\nref = "v1.0"')
    server.fab("update")
    assert server.get("/version") == (200, "v1")
    server.configure(f'source = "{URL}"\nref = "{git(local, "rev-parse", "better")}"')
    server.fab("update")
    assert server.get("/version") == (200, "better")
    server.configure(f'source = "{URL}"\nref = "migrates"')
    server.fab("update")
    assert server.get("/version") == (200, "migrates")
    assert "already current" in server.fab("update").stdout


def test_the_working_tree_is_sent_as_it_is(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = ""')
    server.fab("system.packages")
    local = server.folder / "guestbook"
    testing = local / "guestbook/testing.py"
    testing.write_text(testing.read_text().replace('"v1"', '"dirty $(id) ü"'))
    (local / ".gitignore").write_text("ignored\n")
    (local / "ignored").write_text("x")
    (local / ".env.deploy").write_text("SUDO_PASSWORD=never-sent\n")
    said = server.fab("update").stdout
    assert "(dirty)" in said
    assert "rsync did not" not in said
    assert server.get("/version") == (200, "dirty $(id) ü")
    server.ssh(
        "test -d /srv/guestbook/incoming && cd /srv/guestbook/current/ && test ! -e ignored && test"
        " ! -e .env.deploy && test -e .gitignore"
    )
    assert server.ssh("stat -c %U /srv/guestbook/current/wsgi.py") == "root"
    assert "already current" in server.fab("update").stdout

    # Where rsync is not to be had, the same tree goes over the one connection.
    testing.write_text(testing.read_text().replace("dirty", "by tar"))
    server.ssh("mv /usr/bin/rsync /usr/bin/rsync.away")
    assert "sending the tree as a tar" in server.fab("update").stdout
    assert server.get("/version") == (200, "by tar $(id) ü")


@pytest.mark.full
def test_a_deploy_that_was_pulled_before_only_switches(booth: ServerFactory) -> None:
    server = booth.deployed()
    server.configure('ref = "better"')
    assert "fab update switches to it" in server.fab("app.pull").stdout
    assert server.get("/version") == (200, "v1")
    assert "prepared" in server.fab("app.releases").stdout
    server.fab("update")
    assert server.get("/version") == (200, "better")
    assert "prepared" not in server.fab("app.releases").stdout


@pytest.mark.full
def test_an_application_in_a_subfolder_with_shared_static_and_dotenv(booth: ServerFactory) -> None:
    server = booth.deployed()
    local = server.folder / "guestbook"
    (local / "backend").mkdir()
    for name in ("wsgi.py", "guestbook", "migrations", "requirements.txt"):
        git(local, "mv", name, f"backend/{name}")
    (local / "backend/uploads").mkdir()
    (local / "backend/uploads/seed.txt").write_text("seed\n")
    git(local, "add", "-A")
    git(local, "commit", "-q", "-m", "moved")
    (server.folder / "env").write_text('TOKEN="it\'s ü"\n')
    server.configure(
        'subdir = "backend"\nshared = ["instance", "uploads"]\nstatic = { "/static" ='
        ' "guestbook/static", "/media" = "uploads" }\ndotenv = true\nenv_file = "env"',
        more='[python]\ninstaller = "uv"',
    )
    server.fab("update")
    assert server.get("/media/seed.txt") == (200, "seed\n")
    assert server.get("/variable/TOKEN") == (200, "it's ü")
    server.ssh(
        "echo later > /srv/guestbook/shared/uploads/later.txt && chown guestbook:"
        " /srv/guestbook/shared/uploads/later.txt"
    )
    assert server.ssh(
        "su -s /bin/sh www-data -c 'cat /srv/guestbook/shared/instance/guestbook.db' 2>&1 || true"
    ).endswith("Permission denied")
    assert (
        server.ssh("stat -c '%a %U:%G' /srv/guestbook/current/backend/.env") == "640 root:guestbook"
    )
    assert "TOKEN='it\\'s ü'" in server.ssh("cat /srv/guestbook/current/backend/.env")

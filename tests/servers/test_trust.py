"""Root never opens, reads, runs or follows what an application controls.

A hostile application beside the guestbook, on one server for all of it.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.booted import NO_SERVER, Server, ServerFactory, why_not
from tests.hostile import (
    HOT_JOURNAL,
    Hostile,
    asks_metadata_in_vain,
    links_show_nothing,
    metadata_service,
    unknown_names_reach_nobody_by_https,
)

# The guestbook has the name that its health is asked by, so that the hostile application is not
# everybody's.
NAMED = '[proxy]\ndomains = ["gb.test"]'


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Hostile]:
    """The hostile application on a server on which the guestbook serves, too."""
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    booth = ServerFactory(tmp_path_factory.mktemp("trust"), repository, "trust")
    try:
        server = booth.deployed()
        server.configure(more=NAMED)
        server.fab("deploy")
        made = Hostile(server)
        made.configure(
            app=(
                'shared = ["instance", "uploads"]\nstatic = { "/files" = "uploads", "/static" ='
                ' "static" }'
            )
        )
        made.write("static/page.css", "a { color: red }\n")
        made.server.fab("deploy")
        yield made
    finally:
        booth.close()


@pytest.fixture
def guestbook(evil: Hostile) -> Server:
    """The guestbook on the same server, with its own project folder."""
    folder = evil.folder.parent / evil.server.name
    return Server(evil.server.name, evil.server.address, folder, evil.server.suite)


def said_gone(server: Server, command: str) -> bool:
    return server.ssh(command) == "gone"


def shell(folder: Path, command: str) -> None:
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)


def get(
    server: Server, path: str, host: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    return server.get(path, headers={"Host": host, **(headers or {})})


@pytest.mark.full
def test_a_hostile_sqlite_file_moves_root_to_nothing(evil: Hostile, guestbook: Server) -> None:
    secrets, file = "/srv/guestbook/shared/secrets.env", "/srv/evil/shared/instance/evil.db"
    before = evil.server.ssh(f"sha256sum {secrets}")
    for task in (["db.status"], ["db.dump"]):
        assert "crafted" in evil.python(HOT_JOURNAL.format(db=file, victim=secrets))
        evil.server.fab(*task, code=None)  # what matters is whose rights it had
        assert evil.server.ssh(f"sha256sum {secrets}") == before
    # A link to another application's rows is refused by name, and shows none of them; nor does a
    # window, or the final dump before all is removed.
    evil.run(
        f"rm -f {file}*; python -c \"import sqlite3; sqlite3.connect('{file}').execute('create table"
        " t (x)')\""
    )
    evil.server.fab("db.dump")
    dump = evil.server.ssh("ls -t /srv/evil/backups | head -n 1")
    evil.run(f"rm -f {file}*; ln -s /srv/guestbook/shared/instance/guestbook.db {file}")
    text = (evil.folder / "hosts.toml").read_text()
    evil.write("hosts.toml", text.replace("[app]", '[app]\nmigrate = "true"'))
    evil.write("NEWS", "a migration")
    for task in (
        ["db.status"],
        ["db.dump"],
        ["db.restore", dump, "--yes"],
        ["update"],
        ["destroy", "--yes"],
    ):
        done = evil.server.fab(*task, code=1)
        said = done.stdout + done.stderr
        assert "row1" not in said and "entry" not in done.stdout
        assert (
            "is a symbolic link, to /srv/guestbook/shared/instance/guestbook.db, and is not"
            " followed" in said
        ), task
        assert get(evil.server, "/up", "evil.test")[0] == 200
    evil.write("hosts.toml", text)
    (evil.folder / "NEWS").unlink()
    # A file of somebody else, a folder, a FIFO, a large sparse file: nothing hangs, nothing is
    # followed.
    evil.server.ssh(f"rm -f {file}; install -o root -m 0644 /etc/hostname {file}")
    assert "does not belong to the application" in evil.server.fab("db.status", code=1).stderr
    evil.server.ssh(f"rm -f {file}")
    evil.run(f"mkfifo {file}")
    assert "is no file" in evil.server.fab("db.status", code=1).stderr
    evil.run(
        f"rm {file}; python -c \"import sqlite3; sqlite3.connect('{file}').execute('create table t"
        f" (x)')\"; ln -s / {file}-journal"
    )
    assert "is a symbolic link" in evil.server.fab("db.status", code=1).stderr
    evil.run(f"rm -f {file}*")
    evil.server.fab("db.status")
    # A file that is exchanged for a link all the time, while it is looked at.
    evil.run(
        f"python -c \"import sqlite3; sqlite3.connect('{file}').execute('create table mine (x)')\";"
        f" setsid nohup sh -c 'for n in $(seq 4000); do mv {file} {file}.kept; ln -s"
        f" /srv/guestbook/shared/instance/guestbook.db {file}; rm {file}; mv {file}.kept {file};"
        " done' >/dev/null 2>&1 &"
    )
    for name in ("db.status", "db.dump") * 3:
        done = evil.server.fab(name, code=None)
        assert "entry" not in done.stdout + done.stderr
    evil.server.ssh("pkill -f '[s]eq 4000' || true; sleep 0.5")
    assert evil.server.ssh("zcat /srv/evil/backups/*.gz | grep -c row1 || true") == "0"
    evil.run(f"rm -f {file}*")
    assert guestbook.rows()[:2] == ["row0", "row1"]


def test_no_account_holds_a_lock_or_reaches_a_smoke_test(evil: Hostile, guestbook: Server) -> None:
    locks = evil.run(
        "ls /run/decant; for f in guestbook.lock guestbook.lock.client guestbook.lock.details"
        " guestbook.build.lock tools.lock; do flock -n -s /run/decant/$f true && echo held $f;"
        " done; true"
    )
    assert "held" not in locks and "Permission denied" in locks
    # Nor anything else that a command of the guestbook waits for: its gate, its own gate, the tools
    # of all.
    for path in (
        "/run/guestbook/gate",
        "/run/evil/gate",
        "/opt/decant/lock",
        "/srv/guestbook/venvs/.lock",
        "/srv/evil/venvs/.lock",
    ):
        assert "got" not in evil.run(
            f"flock -n -x {path} echo got 2>&1; flock -n -s {path} echo got 2>&1; true"
        ), path
    assert "already current" in guestbook.fab("update").stdout
    # While a smoke test of the guestbook runs.
    release = evil.server.ssh("basename $(readlink /srv/guestbook/current)")
    evil.server.ssh(f"systemctl start guestbook-smoke@{release}")
    try:
        assert evil.server.ssh("stat -c '%a %U' /run/decant-smoke/guestbook") == "700 guestbook"
        asked = evil.python(
            "import socket\ns = socket.socket(socket.AF_UNIX)\ntry:"
            " s.connect('/run/decant-smoke/guestbook/sock'); print('reached')\nexcept OSError as e:"
            " print(e)"
        )
        assert "reached" not in asked and "ermission denied" in asked
    finally:
        evil.server.ssh(f"systemctl stop guestbook-smoke@{release}")


def test_nothing_outlives_an_import(evil: Hostile) -> None:
    evil.write("wsgi.py", FORKS + (evil.folder / "wsgi.py").read_text())
    evil.server.fab("update")
    found = evil.server.ssh("cat /srv/evil/shared/instance/forked").splitlines()
    assert len(found) >= 2, "the import check, and the smoke test or the service"
    for line in found:
        pid, group, home, temporary = line.split("|")
        assert "evil.import." in group or "evil-smoke" in group or "evil.service" in group, line
        assert (home, temporary) == ("closed", "private"), line
        if "evil.import." in group or "evil-smoke" in group:
            gone = (
                f"test ! -e /proc/{pid} || ! grep -q -e evil.import -e evil-smoke"
                f" /proc/{pid}/cgroup"
            )
            command = f"{gone} && echo gone; true"
            evil.server.wait_until(partial(said_gone, evil.server, command), 10, line)
    evil.write("wsgi.py", (evil.folder / "wsgi.py").read_text().replace(FORKS, ""))
    evil.server.fab("update")


FORKS = """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        group = open("/proc/self/cgroup").read().replace("\\n", " ")
        try: os.listdir("/root"); home = "open"
        except OSError: home = "closed"
        if os.path.exists("/tmp/everybodys"): temporary = "shared"
        else: temporary = "private"
        with open("/srv/evil/shared/instance/forked", "a") as out: out.write(f"{os.getpid()}|{group}|{home}|{temporary}\\n")
        for _ in range(600): time.sleep(1)
    os._exit(0)
"""


def test_private_files_stay_out_and_releases_are_closed(evil: Hostile, guestbook: Server) -> None:
    evil.write("keys/tls.pem", "private")
    for name in (
        ".env",
        ".env.production",
        ".ssh/id_ed25519",
        ".vscode/settings.json",
        "own-venv/pyvenv.cfg",
        "own-venv/lib/module.py",
        "identity.key",
        "ordinary.txt",
    ):
        evil.write(name, "private")
    text = (evil.folder / "hosts.toml").read_text()
    evil.write(
        "hosts.toml",
        text
        + '[hosts.other]\nidentity = "identity.key"\naddress = "192.0.2.1"\n[hosts.other.tls]\nkind'
        ' = "files"\ncertificate = "keys/tls.pem"\nkey = "keys/tls.pem"\n',
    )
    try:
        said = evil.server.fab("update").stdout
        line = next(line for line in said.splitlines() if "left out of the release" in line)
        for name in (
            ".env",
            ".env.production",
            ".ssh/",
            ".vscode/",
            "own-venv/",
            "identity.key",
            "keys/tls.pem",
            "hosts.toml",
        ):
            assert name in line, line
        assert evil.server.ssh(
            "cd /srv/evil/current && find . -type f -not -path './.deploy/*' | sort"
        ).split() == [
            "./ordinary.txt",
            "./requirements.txt",
            "./static/page.css",
            "./wsgi.py",
        ]
    finally:
        evil.write("hosts.toml", text)
    # With git the same: what is tracked, too.
    folder = evil.folder
    shell(
        folder,
        "git init -q . && git add -Af . && git -c user.name=t -c user.email=t@localhost commit"
        " -qm all",
    )
    try:
        evil.server.fab("update")
        assert evil.server.ssh("ls -A /srv/evil/current").split() == [
            ".deploy",
            "identity.key",
            "instance",
            "keys",
            "ordinary.txt",
            "requirements.txt",
            "static",
            "uploads",
            "wsgi.py",
        ]
        evil.configure(
            app=(
                'ref = "HEAD"\nshared = ["instance", "uploads"]\nstatic = { "/files" = "uploads",'
                ' "/static" = "static" }'
            )
        )
        said = evil.server.fab("update").stdout
        assert "left out of the release, as private: " in said and ".env.production" in said
        assert not {".env", ".ssh", ".vscode", "own-venv", "hosts.toml"} & set(
            evil.server.ssh("ls -A /srv/evil/current").split()
        )
    finally:
        evil.write("hosts.toml", text)
        shell(folder, "rm -rf .git .env* .ssh .vscode own-venv keys identity.key ordinary.txt")
        evil.server.fab("update")
    # And nobody else reads a release, an environment, or what is beside them.
    for path in (
        "current/wsgi.py",
        "current/hosts.toml",
        "current/.deploy/env",
        "shared/secrets.env",
        "shared/instance/guestbook.db",
        "current/guestbook/static/style.css",
        "backups",
        "releases",
    ):
        said = evil.run(f"cat /srv/guestbook/{path} 2>&1 || ls /srv/guestbook/{path} 2>&1; true")
        assert "ermission denied" in said or "No such file" in said, path
    modes = evil.server.ssh(
        "find /srv/guestbook/releases /srv/evil/releases /srv/evil/venvs -mindepth 2 '(' -type f -o"
        " -type d ')' -perm /o=rw | head; find /srv/*/releases -type f -perm /o=rwx | head; stat -c"
        " '%a %U:%G' /srv/evil/current/ /srv/evil/current/static /srv/evil/current/static/page.css"
        " /srv/evil/current/wsgi.py"
    )
    assert modes.splitlines() == [
        "751 root:evil",
        "750 root:www-data",
        "640 root:www-data",
        "640 root:evil",
    ]
    assert evil.server.ssh("id -nG www-data") == "www-data"
    assert get(evil.server, "/static/page.css", "evil.test")[0] == 200
    assert "color" in evil.run("cat /srv/evil/current/static/page.css"), (
        "the application reads its own static files"
    )
    assert guestbook.get("/static/style.css", headers={"Host": "gb.test"})[0] == 200


def test_unknown_names_reach_nobody(evil: Hostile) -> None:
    # Nobody else on the server takes them.
    evil.server.ssh("rm -f /etc/nginx/sites-enabled/default; systemctl reload nginx")
    time.sleep(1)
    for host in (
        "attacker.com",
        evil.server.address,
        "169.254.169.254",
        "gb.test.attacker.com",
        "",
        "evil.test.",
        "evil.test@attacker.com",
    ):
        status, text = get(evil.server, "/up", host)
        assert status in (400, 421, 444) or host == "evil.test.", (host, status)
        assert "up" not in text or host == "evil.test."
    assert (
        get(evil.server, "/up", "evil.test")[0] == get(evil.server, "/up", "EVIL.test:80")[0] == 200
    )


def test_the_same_by_https_and_no_redirect_leads_away(evil: Hostile) -> None:
    unknown_names_reach_nobody_by_https(evil)


def test_health_needs_proof(evil: Hostile) -> None:
    other = (
        "server {{ listen 80; listen [::]:80; server_name evil.test; location / {{ return 200"
        " '{text}'; }} }}"
    )
    try:
        # It is read before ours, so that it answers to the name; it is well, and a static page.
        evil.server.ssh(
            f'echo "{other.format(text="up")}" >/etc/nginx/sites-enabled/00-other && systemctl'
            " reload nginx"
        )
        time.sleep(1)
        said = evil.server.fab("status").stdout
        assert "not by this application: another site of this server has that name" in said
        evil.write("NEWS", "better")
        failed = evil.server.fab("update", code=1)
        assert "not by this application" in failed.stdout + failed.stderr
    finally:
        evil.server.ssh("rm -f /etc/nginx/sites-enabled/00-other && systemctl reload nginx")
        (evil.folder / "NEWS").unlink(missing_ok=True)
        time.sleep(1)
    assert "healthy" in evil.server.fab("status").stdout
    # What an application says of itself is no proof, and the header is in no visitor's answer.
    _, text, headers = evil.get("/seen", {"X-Decant-Probe": "0" * 32})
    assert headers["X-Decant-Answer"] is None
    assert "decant-probe" not in text.lower() and "decant_probe" not in text.lower()


def test_links_in_an_upload_folder_show_nothing(evil: Hostile) -> None:
    links_show_nothing(evil)
    # A release's own links keep working.
    (evil.folder / "static/again.css").symlink_to("page.css")
    evil.server.fab("update")
    assert get(evil.server, "/static/again.css", "evil.test")[0] == 200
    (evil.folder / "static/again.css").unlink()


def test_the_metadata_service_does_not_answer_the_application(evil: Hostile) -> None:
    with metadata_service(evil.server):
        asks_metadata_in_vain(evil)
        evil.server.fab("system.reboot")
        evil.server.wait_until(
            lambda: get(evil.server, "/up", "evil.test")[0] == 200, what="it is back"
        )
        assert "uid" in evil.server.ssh("nft list table inet decant_evil")


def test_a_strangers_folder_runs_nothing(evil: Hostile) -> None:
    file, owned = evil.folder / "hosts.toml", evil.folder / "owned"
    evil.write(
        "templates/nginx/main.conf.j2",
        f"{{{{ cycler.__init__.__globals__.os.system('touch {owned}') }}}}",
    )
    try:
        for task in (["--dry", "deploy"], ["status"], ["--list"]):
            evil.server.fab(*task, code=None)
            assert not owned.exists(), task
        os.chown(file, 12345, -1)
        for task in (["--dry", "deploy"], ["status"]):
            said = evil.server.fab(*task, code=1).stderr
            assert f"export DECANT_TRUST={evil.folder}" in said
    finally:
        os.chown(file, os.getuid(), -1)
        shutil.rmtree(evil.folder / "templates")


def test_links_of_a_repository_are_refused_by_name(evil: Hostile) -> None:
    evil.server.ssh(
        "mkdir -p /root/victim /srv/other/shared/box && echo precious > /srv/other/shared/box/file"
        " && chmod 0755 /root/victim"
    )
    text = (evil.folder / "hosts.toml").read_text()
    before = evil.server.ssh("find /root/victim /srv/other -printf '%M %u:%g %p %l\\n'")
    shared = 'shared = ["instance", "uploads", "data/box"]'
    cases = {
        "data": (
            "/srv/other/shared",
            "app.shared: data in the repository is a symbolic link, to /srv/other/shared",
        ),
        "instance": (
            "/root/victim",
            "app.shared: instance in the repository is a symbolic link, to /root/victim",
        ),
        "web": (
            "/srv/other",
            "app.subdir: web in the repository is a symbolic link, to /srv/other",
        ),
    }
    for link, (target, said) in cases.items():
        (evil.folder / link).symlink_to(target)
        evil.write(
            "hosts.toml",
            text.replace(
                'shared = ["instance", "uploads"]',
                shared + ('\nsubdir = "web"' if link == "web" else ""),
            ),
        )
        assert said in evil.server.fab("update", code=1).stderr, link
        (evil.folder / link).unlink()
        assert evil.server.ssh("find /root/victim /srv/other -printf '%M %u:%g %p %l\\n'") == before
    # A folder of the application, in which it has planted a link where a shared one is to be made.
    evil.run(
        "mkdir -p /srv/evil/shared/uploads/deep2 && ln -sfn /root/victim"
        " /srv/evil/shared/uploads/deep2/box"
    )
    evil.write(
        "hosts.toml",
        text.replace('"uploads"]', '"uploads/deep2/box"]').replace('"/files" = "uploads", ', ""),
    )
    assert "is the application's own" in evil.server.fab("update", code=1).stderr
    assert evil.server.ssh("find /root/victim /srv/other -printf '%M %u:%g %p %l\\n'") == before
    evil.write("hosts.toml", text)
    assert get(evil.server, "/up", "evil.test")[0] == 200


def test_what_a_build_runs_is_the_account_of_builds(evil: Hostile) -> None:
    evil.server.ssh(
        "install -d -m 0777 /var/tmp/seen; echo neighbour > /srv/guestbook/build/home/cache; rm -rf"
        " /tmp/kept"
    )
    try:
        sdist(evil.folder / "attack-1.0.tar.gz", "setup.py")
        evil.write("pip.py", f"{PROBE}\nprobe('pip.py')\nimport runpy, sys\n")
        evil.write("backend.py", f"{PROBE}\nprobe('pep517')\nraise SystemExit('no build')\n")
        (evil.folder / "requirements.txt").write_text(
            (evil.folder / "requirements.txt").read_text() + "./attack-1.0.tar.gz\n"
        )
        evil.server.fab("update")
        seen = evil.server.ssh(
            "find /srv/evil/venvs -name 'seen-*' -exec cat {} +; cat /srv/evil/build/home/seen-*"
            " 2>/dev/null; true"
        )
        uid = evil.server.ssh("id -u evil-build")
        lines = [line.split("|") for line in seen.splitlines() if "|" in line]
        assert {line[0] for line in lines} >= {"setup.py", "pth"}, seen
        assert not any(line[0] == "pip.py" for line in lines), "the repository's pip.py is not pip"
        for what, by, reached in lines:
            assert by == uid, (what, by)
            assert reached == "", f"{what} reached {reached}"
        # Nothing of that account lives, and what it had open leads nowhere.
        assert evil.server.ssh("ps -o pid= -u evil-build; true") == ""
        assert (
            evil.server.ssh(
                "find $(readlink -f /srv/evil/current/.deploy/venv) -not -user root -o -perm /6000"
                " -o -type f -links +1"
            )
            == ""
        )
        assert "ermission denied" in evil.run(
            "echo x >> /srv/evil/current/.deploy/venv/pyvenv.cfg 2>&1; true"
        ) or "Read-only" in evil.run(
            "echo x >> /srv/evil/current/.deploy/venv/pyvenv.cfg 2>&1; true"
        )
    finally:
        kept = (evil.folder / "requirements.txt").read_text().splitlines()
        (evil.folder / "requirements.txt").write_text(
            "".join(f"{line}\n" for line in kept if "attack" not in line)
        )
        for name in ("attack-1.0.tar.gz", "pip.py", "backend.py"):
            (evil.folder / name).unlink(missing_ok=True)
        evil.server.fab("update")


@pytest.mark.full
def test_a_build_backend_of_the_repository_runs_as_the_account_of_builds(evil: Hostile) -> None:
    requirements = (evil.folder / "requirements.txt").read_text()
    try:
        (evil.folder / "requirements.txt").unlink()
        evil.write(
            "backend/backend.py",
            f"{PROBE}\nprobe('pep517')\ndef build_wheel(*words, **more): raise SystemExit('no"
            " build')\n",
        )
        evil.write(
            "pyproject.toml",
            '[project]\nname = "evil"\nversion = "1"\n[build-system]\nrequires = []\nbuild-backend'
            ' = "backend"\nbackend-path = ["backend"]\n',
        )
        evil.server.fab("update", code=1)
        seen = evil.server.ssh("cat /srv/evil/build/home/seen-pep517")
        assert {tuple(line.split("|")[1:]) for line in seen.splitlines()} == {
            (evil.server.ssh("id -u evil-build"), "")
        }
    finally:
        evil.write("requirements.txt", requirements)
        shell(evil.folder, "rm -rf backend pyproject.toml")
    for name in ("setuid", "device"):
        with_trick = {
            "setuid": "os.chmod(path, 0o4755)",
            "device": "os.unlink(path); os.mkfifo(path)",
        }[name]
        sdist(
            evil.folder / "attack-1.0.tar.gz",
            "setup.py",
            "import os, sysconfig; path = os.path.join(sysconfig.get_path('purelib'), 'trick');"
            f" os.path.lexists(path) or (open(path, 'w').close(), exec({with_trick!r}))",
        )
        (evil.folder / "requirements.txt").write_text(f"{requirements}./attack-1.0.tar.gz\n")
        failed = evil.server.fab("update", code=1)
        assert (
            "trick" in failed.stderr and "refused" in failed.stderr
        ) or "Operation not permitted" in failed.stdout
        evil.write("requirements.txt", requirements)
        (evil.folder / "attack-1.0.tar.gz").unlink()
    evil.server.fab("update")


# Says which account runs it, and what of others it could read or write: nothing should come back.
PROBE = """
import os, sys, glob
def probe(what):
    reached = []
    for path in ["/root", "/home", "/srv/guestbook/build/home", "/srv/guestbook/shared", "/srv/evil/shared", "/srv/evil/backups", "/srv/evil/log", "/srv/guestbook/current/wsgi.py",
                 "/srv/evil/current/wsgi.py", "/etc/shadow", "/var/lib/decant/apps", "/srv/guestbook/venvs", "/var/log/nginx"]:
        try:
            found = os.listdir(path) if os.path.isdir(path) else open(path).read(1)
            if found: reached.append("read " + path)
        except OSError: pass
    for folder in ["/srv", "/srv/evil", "/srv/evil/venvs", "/srv/evil/releases", "/srv/evil/procedures", "/srv/evil/shared", "/srv/guestbook", "/etc", "/usr/local", "/opt", "/opt/decant", "/run", "/run/decant", "/var/lib/decant", "/boot"]:
        try:
            open(os.path.join(folder, "planted"), "w").close(); reached.append("wrote " + folder)
        except OSError: pass
    import socket
    for path in ["/run/guestbook/guestbook.sock", "/run/evil/evil.sock"]:
        try:
            s = socket.socket(socket.AF_UNIX); s.connect(path); reached.append("opened " + path)
        except OSError: pass
    with open(os.path.join(os.environ.get("HOME", "/nowhere"), "seen-" + what), "a") as out:
        out.write("%s|%s|%s\\n" % (what, os.getuid(), ",".join(reached)))
    if not os.fork():
        os.setsid()
        if not os.fork():
            import time
            os.closerange(0, 3)  # nobody waits for its output
            kept = open(os.path.join(sys.prefix, "kept-open"), "w")
            time.sleep(600)
        os._exit(0)
"""


def sdist(path: Path, what: str, code: str = "") -> None:
    """Write a source distribution whose setup.py probes, and which installs a .pth that does."""
    import io
    import tarfile

    code = code or f"{PROBE}\nprobe({what!r})"
    pth = (
        "import os;"
        " exec(open(os.path.join(os.path.dirname(os.path.abspath(__import__('attack').__file__)),"
        " 'attack.py')).read()); probe('pth')\n"
    )
    module = f"{PROBE}\n"
    setup = (
        f"{code}\nfrom setuptools import setup\nsetup(name='attack', version='1.0',"
        " py_modules=['attack'], data_files=[(__import__('sysconfig').get_path('purelib'),"
        " ['attack.pth'])])\n"
    )
    with tarfile.open(path, "w:gz") as tar:
        for name, text in {
            "setup.py": setup,
            "attack.py": module,
            "attack.pth": pth,
            "PKG-INFO": "Metadata-Version: 1.0\nName: attack\nVersion: 1.0\n",
        }.items():
            entry = tarfile.TarInfo(f"attack-1.0/{name}")
            entry.size, entry.mtime = len(text.encode()), int(Path(__file__).stat().st_mtime)
            tar.addfile(entry, io.BytesIO(text.encode()))

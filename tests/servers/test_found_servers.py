"""Servers as people really have them, and what was removed from them by hand: served, made whole, or
refused by name before anything changes.
"""

import base64
import json

import pytest

from tests.booted import Server, ServerFactory, changed
from tests.load import Load

pytestmark = pytest.mark.full
LISTS = "rm -rf /var/lib/apt/lists/*"
LONG = "customer-portal-feature-invoice-export-1234.staging.internal-apps.example.org"
# Holds a lock as apt does, for some seconds.
HOLDS = """
import fcntl, time
with open("/var/lib/apt/lists/lock", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    time.sleep(20)
"""
# Accepts, and says nothing.
SILENT = """
import socket, time
sock = socket.create_server(("127.0.0.1", 9418))
kept = []
while True:
    kept.append(sock.accept())
"""


def script(server: Server, text: str) -> None:
    """Run a Python program in the background of a server."""
    data = base64.b64encode(text.encode()).decode()
    server.ssh(
        f"echo {data} | base64 -d >/root/held.py; setsid python3 /root/held.py >/dev/null 2>&1 &"
    )


def nothing_changed(server: Server) -> None:
    assert server.ssh("ls -d /srv/guestbook /var/lib/decant/apps/*.json 2>/dev/null || true") == ""
    assert server.ssh("getent passwd guestbook || true") == ""


@pytest.fixture
def empty(booth: ServerFactory) -> Server:
    server = booth.boot()
    server.configure()
    return server


def test_what_others_have_made_by_hand_is_refused_by_its_file(empty: Server) -> None:
    empty.ssh("apt-get -q update && apt-get -q -y install nginx")
    site = "/etc/nginx/sites-enabled/myproject"
    for text, domains, said in (
        (
            "server { listen 80;\n server_name shop.example.org\n  www.shop.example.org; }",
            '["shop.example.org"]',
            f"proxy.domains: shop.example.org is served by {site} on this server",
        ),
        (
            "server { listen 80 default_server; server_name _; return 200 'old'; }",
            "[]",
            f"proxy.domains: {site} on this server, which is not this tool's, answers to any name",
        ),
    ):
        data = base64.b64encode(text.encode()).decode()
        empty.ssh(f"rm -f /etc/nginx/sites-enabled/default; echo {data} | base64 -d >{site}")
        empty.configure(more=f"[proxy]\ndomains = {domains}")
        refused = empty.fab("deploy", code=1).stderr
        assert said in refused and refused.count("\n") == 1, refused
        nothing_changed(empty)
    empty.ssh(f"rm {site}")

    layout = "sed -i 's/^.*sites-enabled.*$/#&/' /etc/nginx/nginx.conf"
    empty.ssh(f"cp /etc/nginx/nginx.conf /root/ && {layout}")
    assert "its nginx.conf does not include sites-enabled" in empty.fab("deploy", code=1).stderr
    nothing_changed(empty)
    empty.ssh("cp /root/nginx.conf /etc/nginx/")

    empty.configure('name = "video"', more='[proxy]\ndomains = ["clips.test"]')
    assert "the server has a group video" in empty.fab("deploy", code=1).stderr
    nothing_changed(empty)

    # Long names, and a shell that greets whoever comes.
    empty.ssh("sed -i '1i echo WELCOME to the server' /root/.bashrc")
    empty.configure(more=f'[proxy]\ndomains = ["{LONG}"]')
    empty.fab("deploy")
    assert empty.get("/version", headers={"Host": LONG}) == (200, "v1")
    assert changed(empty.fab("deploy").stdout) == [0]


def test_apt_is_waited_for_its_sources_count_one_by_one_and_dpkg_is_finished(
    empty: Server,
) -> None:
    empty.ssh("apt-get -q update && apt-get -q -y install python3-minimal")
    empty.ssh(
        f"{LISTS}; sed -i '1i deb cdrom:[Debian]/ bookworm main' /etc/apt/sources.list"
        " 2>/dev/null || echo 'deb cdrom:[Debian]/ bookworm main' >/etc/apt/sources.list"
    )
    script(empty, HOLDS)
    said = empty.fab("deploy").stdout
    assert "waiting for apt: python3 (process " in said
    assert "apt goes on without a source that it cannot read: The repository 'cdrom:" in said
    assert "in /etc/apt/sources.list" in said
    assert empty.get("/version") == (200, "v1")

    # dpkg is killed while it unpacks, and while it configures.
    for package, at in (("redis-server", "half-installed"), ("apache2", "half-configured")):
        empty.ssh(
            f"apt-get -q -y -d install {package} >/dev/null 2>&1; (apt-get -q -y install {package}"
            " >/dev/null 2>&1 &) ; n=0; while [ $n -lt 2000 ]; do n=$((n + 1)); tail -n 5"
            f" /var/log/dpkg.log | grep -q 'status {at}' && break; sleep 0.01; done; pkill -9 dpkg;"
            " pkill -9 apt-get; sleep 1"
        )
        empty.configure(more='[system]\npackages = ["tree"]')
        said = empty.fab("deploy").stdout
        empty.ssh("dpkg --audit | grep -q . && exit 1; apt-get check")
        assert "dpkg was interrupted here: finishing what it began" in said
        empty.ssh("apt-get -q -y purge tree >/dev/null")


def test_a_git_server_that_does_not_answer_holds_nothing(empty: Server) -> None:
    empty.fab("deploy")
    script(empty, SILENT)
    empty.configure('source = "git://127.0.0.1/shop.git"\nref = "main"')
    empty.ssh("command -v git || apt-get -q -y install git")
    done = empty.fab("update", code=1)
    assert "waiting for the repository git://127.0.0.1/shop.git" in done.stdout
    assert "git://127.0.0.1/shop.git cannot be read from the server: nothing came for 60 s" in (
        done.stderr
    )
    assert empty.ssh("pgrep -x git || true") == ""
    empty.configure()
    empty.fab("update")  # nobody holds the lock
    assert empty.get("/version") == (200, "v1")


def test_sudo_that_wants_a_terminal_is_told(empty: Server) -> None:
    host = empty.login("passwordless")
    empty.ssh("echo 'Defaults requiretty' >/etc/sudoers.d/tty")
    empty.configure(more=host)
    said = empty.fab("deploy", code=1).stderr
    assert "sudo wants a terminal (requiretty) there" in said and "!requiretty" in said


def test_what_was_removed_by_hand_is_told_and_made_whole(booth: ServerFactory) -> None:
    server = booth.deployed()
    assert server.fab("deploy").returncode == 0

    def missing() -> str:
        return str(json.loads(server.fab("status", "--json").stdout)["missing"])

    assert missing() == ""
    for harm, shown in {
        "rm current/guestbook/views.py": "guestbook/views.py",
        "rm current/.deploy/start": ".deploy/start",
        "rm current/.deploy/identity": ".deploy/identity",
        "rm current/.deploy/venv/lib/python3*/site-packages/flask/app.py": "flask/app.py of its",
        "rm -r venvs/*": ".decant-complete of its environment",
        "rm -r $(readlink current)": "its folder",
        "rm current": "",
        "rm -r procedures": "",
        "rm /etc/systemd/system/guestbook.s*": "",
    }.items():
        server.ssh(f"cd /srv/guestbook && {harm}")
        if shown:
            assert shown in missing()
        with Load(server.address, reopens=True) as load:
            server.fab("deploy")
        # Where current leads to nothing there is nothing to serve, until it does again.
        assert load.lost == [] or "current)" in harm or harm.endswith(" current"), harm
        assert (missing(), changed(server.fab("deploy").stdout)) == ("", [0]), harm
        server.ssh("systemctl restart guestbook")
        assert server.get("/version") == (200, "v1"), harm

    assert "everything is as deploy left it" in server.fab("system.drift").stdout
    server.ssh(
        "rm /srv/guestbook/procedures/gate.sh && echo '#' >>/etc/nginx/sites-available/guestbook"
    )
    server.configure("keep = 7")
    found = json.loads(server.fab("system.drift", "--json").stdout)["drift"]
    assert {(each["what"].rpartition("/")[2], each["why"]) for each in found} >= {
        ("gate.sh", "missing on the server"),
        ("guestbook", "changed by hand on the server"),
    }
    said = server.fab("update").stdout
    assert "changed by hand on the server (deploy replaces it, and keeps a copy): file" in said
    server.fab("deploy")
    assert json.loads(server.fab("system.drift", "--json").stdout)["drift"] == []

    server.configure(more='[tls]\nkind = "self-signed"')
    server.fab("deploy")
    for harm in ("guestbook/self-signed/privkey.pem", "guestbook"):
        server.ssh(f"rm -r /etc/decant/tls/{harm}")
        assert changed(server.fab("deploy").stdout) != [0]
        server.ssh("nginx -t")
        assert changed(server.fab("deploy").stdout) == [0]

"""What was tried against a server and held.

Paths, headers and smuggled requests through the proxy, and what somebody inside the application can
reach. On three stacks.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from decant.headers import CLAIMS
from tests.booted import NO_SERVER, ServerFactory, why_not
from tests.hostile import (
    Hostile,
    asks_metadata_in_vain,
    links_show_nothing,
    metadata_service,
    unknown_names_reach_nobody_by_https,
)

pytestmark = pytest.mark.full

STACKS = {
    "gunicorn-systemd-nginx": ('memory = "600M"\ntasks = 300', ""),
    "uwsgi-supervisor-nginx": ('server = "uwsgi"\nmanager = "supervisor"', ""),
    "mod_wsgi-apache": ('server = "mod_wsgi"', 'kind = "apache"'),
}
STATIC = 'shared = ["instance", "uploads"]\nstatic = { "/files" = "uploads", "/static" = "static" }'

PATHS = [
    "/.git/config",
    "/.git/HEAD",
    "/.env",
    "/.env.production",
    "/.deploy/env",
    "/.deploy/state",
    "/.deploy/",
    "/hosts.toml",
    "/wsgi.py",
    "/wsgi.pyc",
    "/requirements.txt",
    "/instance/evil.db",
    "/static/.env",
    "/static../wsgi.py",
    "/static/../wsgi.py",
    "/static/%2e%2e/wsgi.py",
    "/static/..%2fwsgi.py",
    "/static/%2e%2e%2fwsgi.py",
    "/static/..%5cwsgi.py",
    "/static/..;/wsgi.py",
    "/static//../../wsgi.py",
    "/static/%00",
    "/static/page.css%00.html",
    "/static/",
    "/static/.",
    "/static/.htaccess",
    "/.htaccess",
    "/.htpasswd",
    "/files/../secrets.env",
    "/files/%2e%2e/secrets.env",
    "/files../secrets.env",
    "/files/..%2fsecrets.env",
    "/files/..%2f..%2fprocedures/app.conf",
    "/files/",
    "/server-status",
    "/server-info",
    "/cgi-bin/",
    "/manual/",
    "/nginx_status",
    "/balancer-manager",
    "/current/wsgi.py",
    "//srv/evil/shared/secrets.env",
    "/~root/",
    "/venv/pyvenv.cfg",
]
GIVEN_AWAY = re.compile(
    r"SECRET_KEY|import subprocess|\[core\]|^flask==|\[app\]|db_kind|Index of|Apache Server"
    r" Status|Active connections",
    re.IGNORECASE | re.MULTILINE,
)

FORGED = (
    *(name for name in CLAIMS if name != "X-Decant-Probe"),
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Real-IP",
    "X_Forwarded_For",
    "X_Real_IP",
    "Script_Name",
)

HIDDEN = "GET /seen?smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"
SMUGGLED = {
    "CL.TE": (
        "POST /up HTTP/1.1\r\nHost: evil.test\r\nContent-Length:"
        f" {len(HIDDEN) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "an unknown coding": (
        f"POST /up HTTP/1.1\r\nHost: evil.test\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "a blank before the colon": (
        "POST /up HTTP/1.1\r\nHost: evil.test\r\nTransfer-Encoding : chunked\r\nContent-Length:"
        f" {len(HIDDEN) + 5}\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "two lengths": (
        "POST /up HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 0\r\nContent-Length:"
        f" {len(HIDDEN)}\r\n\r\n{HIDDEN}"
    ),
    "a signed length": (
        f"POST /up HTTP/1.1\r\nHost: evil.test\r\nContent-Length: +0\r\n\r\n{HIDDEN}"
    ),
    "a folded line": (
        "POST /up HTTP/1.1\r\nHost: evil.test\r\nX: a\r\n Transfer-Encoding:"
        f" chunked\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}"
    ),
    "two hosts": (
        "GET /seen?smuggled HTTP/1.1\r\nHost: evil.test\r\nHost: attacker.com\r\nConnection:"
        " close\r\n\r\n"
    ),
    "CONNECT": "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    "TRACE": "TRACE /seen?smuggled HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
    "an absolute target": (
        "GET http://attacker.com/seen?smuggled HTTP/1.1\r\nHost: attacker.com\r\nConnection:"
        " close\r\n\r\n"
    ),
    "a chunk with a length": (
        "POST /up HTTP/1.1\r\nHost: evil.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:"
        f" identity\r\n\r\n0\r\n\r\n{HIDDEN}"
    ),
    "a line feed in a name": (
        "GET /up HTTP/1.1\r\nHost: evil.test\r\nX\n: y\r\nConnection: close\r\n\r\n"
    ),
}

READS = [
    "/etc/shadow",
    "/etc/gshadow",
    "/root/.ssh/authorized_keys",
    "/etc/ssh/ssh_host_ed25519_key",
    "/proc/1/environ",
    "/srv/guestbook/shared/secrets.env",
    "/srv/guestbook/shared/instance/guestbook.db",
    "/srv/guestbook/current/.deploy/env",
    "/srv/guestbook/current/wsgi.py",
    "/srv/guestbook/releases",
    "/srv/guestbook/backups",
    "/srv/guestbook/build/home",
    "/run/decant",
    "/run/decant-smoke/guestbook",
    "/var/lib/decant/kept",
    "/var/log/btmp",
    "/var/spool/cron/crontabs",
    "/etc/decant/tls/evil/self-signed/privkey.pem",
    "/root",
    "/srv/evil/build/home",
]
WRITES = [
    "/",
    "/etc",
    "/etc/cron.d",
    "/etc/systemd/system",
    "/usr",
    "/usr/bin",
    "/usr/local/bin",
    "/opt",
    "/opt/decant",
    "/srv",
    "/srv/evil",
    "/srv/evil/current/",
    "/srv/evil/releases",
    "/srv/evil/venvs",
    "/srv/evil/shared",
    "/srv/evil/procedures",
    "/srv/evil/log",
    "/srv/evil/backups",
    "/srv/evil/build",
    "/srv/guestbook",
    "/srv/guestbook/shared",
    "/srv/guestbook/shared/instance",
    "/run",
    "/run/evil",
    "/run/evil/probes",
    "/run/decant",
    "/run/systemd",
    "/var/lib",
    "/var/lib/decant",
    "/var/spool/cron",
    "/var/www",
    "/root",
    "/boot",
    "/var/log",
    "/srv/evil/current/.deploy",
]
OTHERS = {
    "the guestbook's socket": (
        'python3 -c "import socket;'
        " socket.socket(socket.AF_UNIX).connect('/run/guestbook/guestbook.sock');"
        " print('REACHED')\""
    ),
    "its own socket": (
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('/run/evil/evil.sock');"
        " print('REACHED')\""
    ),
    "supervisor's socket": (
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('/run/supervisor.sock');"
        " print('REACHED')\""
    ),
    "systemd": "systemctl stop guestbook && echo REACHED",
    "setuid programs": (
        "su -c 'echo REACHED' </dev/null; mount -t tmpfs none /mnt && echo REACHED; passwd -d root"
        " && echo REACHED"
    ),
    "another account's processes": (
        'for p in /proc/[0-9]*; do [ "$(stat -c %U $p)" = "$(id -un)" ] || { cat $p/environ | grep'
        " -q . && echo REACHED; }; done; true"
    ),
}


@pytest.fixture(scope="module", params=STACKS)
def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> Iterator[tuple[str, Hostile]]:
    """The hostile application on a stack, beside the guestbook."""
    if why_not():
        pytest.skip(f"{NO_SERVER}: {why_not()}")
    stack = request.param
    wsgi, proxy = STACKS[stack]
    booth = ServerFactory(tmp_path_factory.mktemp("attacks"), repository, f"attacks{len(stack)}")
    try:
        server = booth.deployed() if not proxy else booth.boot()
        server.configure(wsgi=wsgi, more=f'[proxy]\ndomains = ["gb.test"]\n{proxy}')
        server.fab("deploy")
        evil = Hostile(server)
        evil.configure(STATIC, wsgi, proxy)
        evil.write("static/page.css", "a { color: red }\n")
        evil.server.fab("deploy")
        # Nobody else on the server takes the names that are nobody's.
        proxied = "apache2" if proxy else "nginx"
        evil.server.ssh(
            f"rm -f /etc/{proxied}/sites-enabled/default /etc/{proxied}/sites-enabled/000-default.conf"
            f" && systemctl reload {proxied} && sleep 1"
        )
        yield stack, evil
    finally:
        booth.close()


def tell(what: str, tried: int, failed: list[str]) -> None:
    """Print how many were tried and held; none may have failed."""
    print(f"{what}: {tried} tried, {tried - len(failed)} held")
    assert failed == []


def raw(evil: Hostile, request: str) -> bytes:
    """Send bytes to the proxy and return all that comes back within two seconds of silence."""
    with contextlib.closing(
        socket.create_connection((evil.server.address, 80), timeout=2)
    ) as connection:
        connection.sendall(request.encode("latin-1"))
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65536):
                found += piece
        return found


def test_what_was_tried_holds(attacked: tuple[str, Hostile]) -> None:
    stack, evil = attacked
    print(f"\n{stack}")
    failed = []
    for path in PATHS:
        status, body, headers = evil.get(path)
        if status < 300 or GIVEN_AWAY.search(body) or re.search(r"\d\.\d", headers["Server"] or ""):
            failed.append(f"{path}: {status} {headers['Server']} {body[:80]}")
    assert len(PATHS) >= 39
    tell("paths", len(PATHS), failed)

    failed = []
    for name in FORGED:
        _, body, _ = evil.get("/seen", {name: "6.6.6.6"})
        seen = json.loads(body)
        if "6.6.6.6" in body or seen["environ"].get("SCRIPT_NAME", "") != "":
            failed.append(name)
    assert len(FORGED) >= 24
    tell("forged headers", len(FORGED), failed)

    failed = [what for what, request in SMUGGLED.items() if b"smuggled" in raw(evil, request)]
    assert len(SMUGGLED) >= 11
    tell("smuggled requests", len(SMUGGLED), failed)

    large = {
        "a body of 17 MB": (
            f"POST /up HTTP/1.1\r\nHost: evil.test\r\nContent-Length: {17 << 20}\r\n\r\n"
        ),
        "a header of 40 kB": (
            f"GET /up HTTP/1.1\r\nHost: evil.test\r\nX: {'x' * 40_000}\r\nConnection: close\r\n\r\n"
        ),
        "a target of 70 kB": (
            f"GET /{'x' * 70_000} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"
        ),
    }
    tell(
        "large requests",
        len(large),
        [
            what
            for what, request in large.items()
            if not re.match(rb"HTTP/1.1 4\d\d", raw(evil, request))
        ],
    )


def test_who_is_inside_reaches_nothing_of_others(attacked: tuple[str, Hostile]) -> None:
    stack, evil = attacked
    evil.server.ssh(
        "mkdir -p /etc/decant/tls/evil/self-signed && install -m 0600 /dev/null"
        " /etc/decant/tls/evil/self-signed/privkey.pem"
    )
    found = evil.run(
        "; ".join(
            f"if [ -d {path} ]; then ls {path}; else cat {path}; fi >/dev/null 2>&1 && echo {path}"
            for path in READS
        )
        + "; true"
    )
    assert len(READS) >= 14
    tell(f"{stack}: reads", len(READS), found.split())
    found = evil.run(
        "; ".join(f"touch {folder}/planted 2>/dev/null && echo {folder}" for folder in WRITES)
        + "; true"
    )
    assert len(WRITES) >= 25
    tell("writes", len(WRITES), found.split())
    failed = [
        what for what, command in OTHERS.items() if "REACHED" in evil.run(f"({command}) 2>&1; true")
    ]
    # Its own requests come through its own socket, which it may hold, but not open.
    tell("others", len(OTHERS), failed)

    secret = evil.server.ssh(
        "sed -n 's/^SECRET_KEY=\"\\(.*\\)\"/\\1/p' /srv/evil/shared/secrets.env"
    )
    assert len(secret) > 30
    evil.server.fab("app.run", "true")
    places = {
        "command lines": "cat /proc/[0-9]*/cmdline 2>/dev/null",
        "the journal": "journalctl --no-pager",
        "/var/log": "cat $(find /var/log -type f)",
        "/tmp": "cat $(find /tmp /var/tmp -type f) /dev/null",
        "windows": "cat /srv/evil/log/* /srv/evil/deploys.jsonl",
        "manifests": "cat $(find /var/lib/decant -type f)",
        "/etc": "cat $(find /etc -type f)",
        "/run": "cat $(find /run -xdev -type f -size -100k) /dev/null",
        "the release": "cat $(find /srv/evil/releases -type f)",
        "units": "systemctl show '*'",
    }
    # From a file, so that looking for it does not show it.
    evil.server.ssh(
        f"printf %s {secret} >/srv/evil/shared/only-the-key; chmod 600"
        " /srv/evil/shared/only-the-key"
    )
    look = "{{ {}; }} 2>/dev/null | grep -caF -f /srv/evil/shared/only-the-key; true"
    failed = [
        place for place, command in places.items() if evil.server.ssh(look.format(command)) != "0"
    ]
    evil.server.ssh("rm -f /srv/evil/shared/only-the-key")
    assert len(places) >= 9
    tell("places without a secret", len(places), failed)


def test_each_manager_gives_what_the_table_says(attacked: tuple[str, Hostile]) -> None:
    stack, evil = attacked
    status = evil.run("grep -e NoNewPrivs -e CapEff -e CapBnd -e Seccomp: /proc/self/status")
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    evil.server.ssh(
        "echo everybodys > /tmp/everybodys; mkdir -p /home/somebody && echo x > /home/somebody/file"
    )
    assert (
        evil.run("cat /tmp/everybodys 2>/dev/null; cat /home/somebody/file 2>/dev/null; true") == ""
    )
    assert (
        evil.run("touch /usr/planted /etc/planted /boot/planted 2>/dev/null && echo written; true")
        == ""
    )
    if stack.startswith("gunicorn"):
        assert "CapBnd:\t0000000000000000" in status and "Seccomp:\t2" in status
        assert "uid=0" not in evil.run("unshare -Ur id 2>&1; true")
        said = evil.server.ssh(
            "systemd-analyze security --no-pager evil.service evil-smoke@x.service | grep -i"
            " overall"
        )
        scores = [float(number) for number in re.findall(r": (\d\.\d)", said)]
        assert len(scores) == 2 and max(scores) <= 1.5, said
        limits = evil.server.ssh("systemctl show evil.service -p MemoryMax -p TasksMax")
        assert limits.split() == ["MemoryMax=629145600", "TasksMax=300"]
    if stack.startswith("mod_wsgi"):
        own = evil.run(
            "python3 -c \"import http.client; c = http.client.HTTPConnection('127.0.0.1');"
            " c.request('GET', '/server-status', headers={'Host': 'other'});"
            ' print(c.getresponse().status)"'
        )
        assert own in ("403", "404", "421")


OTHER_SITE = {
    "nginx": (
        "/etc/nginx/sites-enabled/00-other",
        "server { listen 80; listen [::]:80; server_name evil.test; location / { return 200 up; } }",
    ),
    "apache2": (
        "/etc/apache2/sites-enabled/000-0other.conf",
        "<VirtualHost *:80>\nServerName evil.test\nDocumentRoot /var/www/other\n<Directory"
        " /var/www/other>\nRequire all granted\n</Directory>\n</VirtualHost>",
    ),
}


def test_another_site_of_the_same_name_is_no_health(attacked: tuple[str, Hostile]) -> None:
    stack, evil = attacked
    proxy = "apache2" if stack.endswith("apache") else "nginx"
    file, text = OTHER_SITE[proxy]
    try:
        evil.server.ssh(
            f"mkdir -p /var/www/other && echo up >/var/www/other/up && printf '{text}\n' >{file} &&"
            f" systemctl reload {proxy} && sleep 2"
        )
        assert evil.get("/up")[1].strip() == "up"
        assert evil.get("/seen")[1].find("environ") == -1, "the other site has the name"
        said = evil.server.fab("status").stdout
        assert "not by this application: another site of this server has that name" in said, said
    finally:
        evil.server.ssh(f"rm -f {file} && systemctl reload {proxy} && sleep 2")
    assert "healthy" in evil.server.fab("status").stdout


def test_links_metadata_and_unknown_names_on_every_stack(attacked: tuple[str, Hostile]) -> None:
    stack, evil = attacked
    links_show_nothing(evil)
    with metadata_service(evil.server):
        asks_metadata_in_vain(evil)
    if stack != "gunicorn-systemd-nginx":  # make test has that one
        unknown_names_reach_nobody_by_https(evil)


# As a child of mod_wsgi's daemons is called, and out of the group of what started it
FORKED = "setsid bash -c 'exec -a \"(wsgi:evil)\" sleep 600' >/dev/null 2>&1 & echo started"


def test_what_the_application_forked_ends_before_its_next_release(
    attacked: tuple[str, Hostile],
) -> None:
    stack, evil = attacked
    living = "pgrep -u evil -x sleep; true"
    assert evil.run(FORKED) == "started"
    assert evil.server.ssh(living) != ""
    if stack != "uwsgi-supervisor-nginx":  # supervisor ends its own process group alone
        evil.write("NEWS", "a release")
        evil.server.fab("update")
        assert evil.server.ssh(living) == ""
        evil.run(FORKED)
    # Where a database is put back or the application removed, nothing of the account lives.
    evil.server.fab("destroy", "--yes")
    assert evil.server.ssh("id evil 2>/dev/null || echo nobody") == "nobody"
    assert evil.server.ssh("pgrep -x sleep -a | grep wsgi; true") == ""
    # Until a release serves there is a plain page, and never the distribution's.
    whole = (evil.folder / "wsgi.py").read_text()
    evil.write("wsgi.py", "raise SystemExit('no')")
    evil.server.fab("deploy", code=1)
    status, text, _ = evil.get("/")
    assert status == 503
    assert "debian" not in text.lower() and "welcome" not in text.lower()
    evil.write("wsgi.py", whole)
    evil.server.fab("deploy")
    assert evil.get("/up")[:2] == (200, "up")


LIBRARIES = "numpy Pillow lxml cryptography psycopg2-binary gevent uvloop"
TRIES = """
    import multiprocessing, subprocess, ctypes, tempfile, threading, mmap
    import numpy, PIL.Image, lxml.etree, cryptography.fernet, psycopg2, gevent, uvloop, asyncio
    print(int(numpy.dot(numpy.ones((300, 300)), numpy.ones((300, 300))).sum()))
    PIL.Image.new("RGB", (10, 10)).save(tempfile.mkstemp(suffix=".jpg")[1]); print(lxml.etree.fromstring("<a/>").tag)
    print(len(cryptography.fernet.Fernet.generate_key()))
    gevent.joinall([gevent.spawn(lambda: 1)]); uvloop.install(); asyncio.run(asyncio.sleep(0))
    context = multiprocessing.get_context("fork"); pool = context.Pool(2); print(pool.map(abs, [-1, -2])); pool.close()
    print(subprocess.run(["true"]).returncode, ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)())
"""


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_applications_with_large_libraries_run_in_the_sandbox(
    booth: ServerFactory, suite: str
) -> None:
    evil = Hostile(booth.boot(suite))
    with (evil.folder / "requirements.txt").open("a") as requirements:
        requirements.write("".join(f"{name}\n" for name in LIBRARIES.split()))
    evil.server.fab("deploy")
    assert evil.python(TRIES).splitlines() == ["27000000", "a", "44", "[1, 2]", "0 7"]
    assert (
        evil.server.fab(
            "app.run",
            "python -c 'import numpy, gevent, lxml.etree, cryptography.fernet; print(6 * 7)'",
        )
        .stdout.strip()
        .endswith("42")
    )

"""An application whose visitors run commands in it: what an attacker has who is inside.

Beside the guestbook, or alone on a server.
"""

import contextlib
import http.client
import json
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.booted import Server

APP = """
import subprocess
from flask import Flask, request

app = Flask(__name__)


@app.get("/up")
def up():
    return "up"


@app.get("/seen")
def seen():
    return {"headers": dict(request.headers), "environ": {key: value for key, value in request.environ.items() if isinstance(value, str)}}


@app.post("/run")
def run():
    done = subprocess.run(["sh", "-c", request.get_data(as_text=True)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60)
    return done.stdout
"""

HOSTS = """
[app]
name   = "{name}"
source = "."
health = "/up"
{app}
[wsgi]
app = "wsgi:app"
{wsgi}
[proxy]
domains = ["{name}.test"]
{proxy}
{more}
"""


class Hostile:
    """The application on a server, in a project folder of its own."""

    def __init__(self, server: Server, name: str = "evil") -> None:
        self.name, self.domain = name, f"{name}.test"
        folder = server.folder.parent / f"{server.name}-{name}"
        folder.mkdir()
        shutil.copytree(server.folder / ".lab", folder / ".lab")
        lines = (server.folder / "guestbook/requirements.txt").read_text().splitlines()
        (folder / "requirements.txt").write_text(
            "".join(
                f"{line}\n"
                for line in lines
                if not line.lower().startswith(("flask-", "flask_", "sqlalchemy", "alembic"))
            )
        )
        (folder / "wsgi.py").write_text(APP)
        self.server, self.folder = replace(server, folder=folder), folder
        self.configure()

    def configure(self, app: str = "", wsgi: str = "", proxy: str = "", more: str = "") -> None:
        """Write its hosts.toml."""
        text = HOSTS.format(name=self.name, app=app, wsgi=wsgi, proxy=proxy, more=more)
        (self.folder / "hosts.toml").write_text(text)

    def run(self, command: str, timeout: float = 60) -> str:
        """Run a shell command inside it, by HTTP, and return what it prints."""
        with contextlib.closing(
            http.client.HTTPConnection(self.server.address, timeout=timeout)
        ) as connection:
            connection.request(
                "POST",
                "/run",
                body=textwrap.dedent(command).encode(),
                headers={"Host": self.domain},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
        assert answer.status == 200, f"{answer.status} {text}"
        return text.strip()

    def get(
        self, path: str, headers: dict[str, str] | None = None, host: str = ""
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """Ask for a path; return status, body and headers."""
        with contextlib.closing(
            http.client.HTTPConnection(self.server.address, timeout=60)
        ) as connection:
            connection.request(
                "GET", path, headers={"Host": host or self.domain, **(headers or {})}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace"), answer.headers

    def python(self, code: str) -> str:
        """Run Python code inside it, in its environment."""
        # In pieces that no shell reads.
        packed = textwrap.dedent(code).encode().hex()
        return self.run(f"python -c \"exec(bytes.fromhex('{packed}').decode())\"")

    def write(self, name: str, text: str) -> Path:
        """Write a file of its repository."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path


# A database file and a hot journal that names a victim as its super-journal: SQLite deletes it when
# it rolls the journal back (pager_delsuper in pager.c).
HOT_JOURNAL = """
import os, sqlite3, struct
db, victim = {db!r}, {victim!r}
for ending in ("", "-journal", "-wal", "-shm"):
    try: os.unlink(db + ending)
    except OSError: pass
c = sqlite3.connect(db); c.execute("pragma journal_mode=delete"); c.execute("create table t(x)"); c.execute("insert into t values(1)"); c.commit(); c.close()
data = open(db, "rb").read(); size = 4096; pages = len(data) // size; page = data[:size]; nonce = 0x1234
def checksum(page):
    total, i = nonce, size - 200
    while i > 0: total = (total + page[i]) & 0xffffffff; i -= 200
    return total
magic = bytes([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7])
header = (magic + struct.pack(">IIIII", 1, nonce, pages, 512, size)).ljust(512, bytes(1))
record = struct.pack(">I", 1) + page + struct.pack(">I", checksum(page))
name = victim.encode()
last = struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">I", len(name)) + struct.pack(">I", sum(name) & 0xffffffff) + magic
open(db + "-journal", "wb").write(header + record + last)
print("crafted")
"""


# --- what is tried on several stacks ------------------------------------------------------------------

ASK_METADATA = (
    "python3 -c \"import urllib.request as u; print(u.urlopen('http://169.254.169.254:8099/',"
    ' timeout=5).status)" 2>&1 | tail -n 1'
)


@contextlib.contextmanager
def metadata_service(server: Server) -> Iterator[None]:
    """Have something listen at the cloud's metadata address, which root reaches."""
    server.ssh(
        "ip addr add 169.254.169.254/32 dev lo 2>/dev/null; systemd-run -q --unit=metadata python3"
        " -m http.server --bind 169.254.169.254 -d /var 8099; sleep 1"
    )
    try:
        assert server.ssh(ASK_METADATA) == "200"
        yield
    finally:
        server.ssh("systemctl stop metadata; ip addr del 169.254.169.254/32 dev lo", check=False)


def asks_metadata_in_vain(evil: Hostile) -> None:
    """The application and its builds do not reach it."""
    said = evil.run(ASK_METADATA)
    assert "refused" in said or "timed out" in said
    build = f"runuser -u {evil.name}-build -- sh -c {json.dumps(ASK_METADATA)}"
    assert "200" not in evil.server.ssh(build, check=False)


def links_show_nothing(evil: Hostile) -> None:
    """No link in a folder that the application writes is followed by the proxy."""
    root = f"/srv/{evil.name}/shared"
    evil.run(
        f"cd {root}/uploads && rm -rf * && echo fine > a.txt && echo '<script>' > x.html && ln -s /"
        f" root && ln -s /etc/passwd p && ln -s {root}/uploads/a.txt own && ln -s"
        f" ../instance/{evil.name}.db db; mkdir -p deep && ln -s /etc deep/etc"
    )
    for path in (
        "root/etc/hostname",
        "p",
        "own",
        "db",
        "deep/etc/hostname",
        "root/var/log/nginx/access.log",
    ):
        assert evil.get(f"/files/{path}")[0] in (403, 404), path
    status, _, headers = evil.get("/files/x.html")
    assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")
    assert evil.get("/files/a.txt")[:2] == (200, "fine\n")


def unknown_names_reach_nobody_by_https(evil: Hostile) -> None:
    """Neither HTTPS nor the redirect to it serves a name that is not the application's."""
    file = evil.folder / "hosts.toml"
    text = file.read_text()
    file.write_text(text + '\n[tls]\nkind = "self-signed"\n')
    try:
        evil.server.fab("deploy")
        for host in ("attacker.com", evil.server.address):
            assert evil.get("/a", host=host)[0] == 421
            said = evil.server.ssh(
                'python3 -c "import http.client, ssl; c ='
                " http.client.HTTPSConnection('127.0.0.1',"
                " context=ssl._create_unverified_context()); c.request('GET', '/up',"
                f" headers={{'Host': '{host}'}}); print(c.getresponse().status)\""
            )
            assert said == "421"
        assert evil.get("/a")[0] == 301
    finally:
        file.write_text(text)
        evil.server.fab("deploy")

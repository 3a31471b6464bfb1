"""An ASGI application: a page, a WebSocket, a life of its own, and updates that lose nothing."""

import json
import time
from pathlib import Path

import pytest

from tests.booted import ServerFactory, lost
from tests.guestbook import git
from tests.load import Visits
from tests.servers.test_proxy import echoed, get, ticks

pytestmark = pytest.mark.full

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
WAYS = {
    "gunicorn's own worker on nginx": ("nginx", "fastapi\n", ""),
    "gunicorn's own worker on Apache": ("apache", "fastapi\n", ""),
    "uvicorn on nginx": (
        "nginx",
        "fastapi\nuvicorn-worker\nwebsockets\n",
        'options = { worker_class = "uvicorn_worker.UvicornWorker" }',
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_asgi_application_is_served_and_updated(
    booth: ServerFactory, tmp_path: Path, way: str
) -> None:
    proxy, requirements, options = WAYS[way]
    server = booth.packaged("python3", "nginx" if proxy == "nginx" else "apache2")
    source = server.folder / "service"
    source.mkdir()
    git(source.parent, "init", "-q", "-b", "main", str(source))
    (source / "requirements.txt").write_text(requirements)

    def commit(version: str) -> None:
        (source / "main.py").write_text(APP.replace("VERSION", version))
        git(source, "add", "-A")
        git(source, "commit", "-q", "-m", version)

    def configure(more: str = "", wsgi: str = "") -> None:
        (server.folder / "hosts.toml").write_text(
            '[app]\nname = "service"\nsource = "service"\nref = "main"\n'
            f'[wsgi]\napp = "main:app"\nworkers = 2\n{wsgi or options}\n'
            f'[db]\nkind = "none"\n[proxy]\nkind = "{proxy}"\n{more}\n'
        )

    commit("one")
    configure()
    server.fab("deploy")
    lives = "cat /srv/service/shared/instance/lives"
    assert server.ssh(lives).count("start") == 2 + 1  # its workers, and the smoke test
    assert json.loads(get(server, "/").body) == {"version": "one", "kept": "kept"}
    assert echoed(server, "/echo", b"hello") == b"hello"
    assert ticks(server, "/events")[-1] > 1

    visits: tuple[tuple[str, str, dict[str, str], int], ...] = (
        ("GET", "/", {}, 200),
        ("POST", "/slow", {}, 200),
    )
    for version in ("two", "three"):
        commit(version)
        with Visits(server.address, visits) as load:
            said = server.fab("update").stdout
            time.sleep(2)
        assert (load.lost, lost(said)) == ([], [0]), said
        assert json.loads(get(server, "/").body)["version"] == version
    assert "start first" in said
    with Visits(server.address, visits) as load:
        server.fab("rollback")
        time.sleep(2)
    assert load.lost == []
    assert json.loads(get(server, "/").body)["version"] == "two"
    server.wait_until(
        lambda: server.ssh(lives).count("start") - server.ssh(lives).count("stop") == 2,
        what="every worker that went has stopped in order",
    )

    configure(f'prefix = "/api"\ntrusted = ["{server.gateway}/32"]\n')
    server.fab("deploy")
    headers = {"X_Forwarded_For": "198.51.100.7", "X_Forwarded_Proto": "https"}
    assert json.loads(get(server, "/api/seen", Host="shop.test", **headers).body) == {
        "scheme": "https",
        "host": "shop.test",
        "address": "198.51.100.7",
        "root": "/api",
        "path": "/api/seen",
        "url": "https://shop.test/api/seen",
    }
    assert echoed(server, "/api/echo", b"hello") == b"hello"
    assert get(server, "/seen").status == 404

    commit("four")
    for wsgi, cause in (
        ('interface = "wsgi"', 'is an ASGI application, and hosts.toml says "wsgi"'),
        ('server = "uwsgi"', "is an ASGI application, and uwsgi serves WSGI alone"),
    ):
        configure(wsgi=wsgi)
        assert cause in server.fab("update", code=1).stderr
    assert json.loads(get(server, "/api/").body)["version"] == "three"

"""A local server that answers as Heroku's Platform API does, as far as it is published, and really
builds, releases and serves what it is sent.

What a request has to look like is in `BODIES`, in our own words after the published schema. What is
modelled, and not known of Heroku: that a release which fails in its release phase leaves the one of
before `current`.
"""

import base64
import hashlib
import http.server
import io
import json
import re
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.platforms.runner import Runner, free_port

KEY = "a-secret-key"
REGIONS = ("eu", "us")
ACCEPT = "application/vnd.heroku+json; version=3"
# The types of what a request may have; those with a `!` it has to have.
BODIES: dict[tuple[str, str], dict[str, type | tuple[type, ...]]] = {
    ("POST", "/apps"): {"name": str, "region": str, "stack": str},
    ("PATCH", "/apps/N"): {"maintenance": bool, "name": str},
    ("POST", "/apps/N/builds"): {"source_blob!": dict, "buildpacks": list},
    ("POST", "/apps/N/releases"): {"release!": str},
    ("POST", "/apps/N/log-sessions"): {"lines": int, "tail": bool, "dyno": str, "source": str},
    ("POST", "/apps/N/domains"): {"hostname!": str, "sni_endpoint!": (str, type(None))},
    ("POST", "/apps/N/addons"): {"plan!": str},
    ("POST", "/apps/N/dynos"): {"command!": str, "attach": bool, "type": str},
    ("PATCH", "/apps/N/formation"): {"updates!": list},
}


@dataclass
class App:
    """An app; `port` is where its `web` answers."""

    name: str
    region: str
    folder: Path
    port: int = field(default_factory=free_port)
    maintenance: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    builds: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    addons: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    formation: dict[str, int] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    web: Any = None


class Refused(Exception):
    """An answer that says no."""

    def __init__(self, status: int, id: str, message: str) -> None:
        super().__init__(message)
        self.status, self.id = status, id


class Heroku:
    """The server, its apps, and every request that came."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner = folder, Runner(folder)
        self.apps: dict[str, App] = {}
        self.taken = {"taken"}
        self.sources: dict[str, bytes] = {}
        self.streams: dict[str, str] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.drops: set[str] = set()  # paths whose next request is not answered
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def handle_one(self) -> None:
                server.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        self.runner.close()

    # --- requests

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        data = request.rfile.read(length)
        path = request.path.partition("?")[0]
        if path in self.drops:
            self.drops.discard(path)
            request.close_connection = True
            request.connection.close()
            return
        if path.startswith("/git/"):
            return self.git(request, path, data)
        if path.startswith(("/put/", "/get/", "/stream/")):
            return self.blob(request, path, data)
        try:
            self.check(request)
            body = json.loads(data) if data else None
            self.requests.append((request.command, path, body))
            status, document = self.answer(request.command, path, body)
        except Refused as error:
            status, document = error.status, {"id": error.id, "message": str(error)}
        send(request, status, json.dumps(document).encode(), "application/json")

    def check(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.headers.get("Accept") != ACCEPT:
            raise Refused(406, "not_acceptable", "The API version has to be named in Accept.")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise Refused(401, "unauthorized", "Invalid credentials provided.")

    def blob(self, request: http.server.BaseHTTPRequestHandler, path: str, data: bytes) -> None:
        _, word, id = path.split("/")
        if word == "put":
            if request.headers.get("Content-Type"):  # it was not signed for that
                return send(request, 403, b"SignatureDoesNotMatch", "text/plain")
            self.sources[id] = data
            return send(request, 200, b"", "text/plain")
        text = self.sources[id] if word == "get" else self.streams[id].encode()
        send(request, 200, text, "text/plain")

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/apps" and method == "POST":
            return 201, self.make(valid(method, "/apps", body))
        if path == "/sources" and method == "POST":
            id = uuid.uuid4().hex
            urls = {"get_url": f"{self.url}/get/{id}", "put_url": f"{self.url}/put/{id}"}
            return 201, {"source_blob": urls}
        found = re.fullmatch(r"/apps/([^/]+)(/[a-z-]+)?(?:/([^/]+))?", path)
        app = self.apps.get(found[1]) if found else None
        if not found or not app:
            raise Refused(404, "not_found", "Couldn't find that app.")
        kind, id = (found[2] or "").strip("/"), found[3]
        valid(method, f"/apps/N{found[2] or ''}", body)
        action: Callable[..., Any] = getattr(
            self, f"{method.lower()}_{kind.replace('-', '_') or 'app'}"
        )
        result = action(app, *([id] if id else []), *([body] if body is not None else []))
        return (201 if method == "POST" else 200), result

    def make(self, body: dict[str, Any]) -> dict[str, Any]:
        name, region = str(body["name"]), str(body.get("region", "us"))
        if name in self.taken or name in self.apps:
            raise Refused(422, "invalid_params", f"Name {name} is already taken")
        if region not in REGIONS:
            raise Refused(404, "not_found", "Couldn't find that region.")
        folder = self.folder / name
        folder.mkdir()
        self.apps[name] = App(name, region, folder)
        return self.get_app(self.apps[name])

    def get_app(self, app: App) -> dict[str, Any]:
        return {
            "id": app.name,
            "name": app.name,
            "region": {"name": app.region},
            "maintenance": app.maintenance,
            "web_url": f"http://127.0.0.1:{app.port}/",
            "git_url": f"{self.url}/git/{app.name}.git",
        }

    def patch_app(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        app.maintenance = bool(body.get("maintenance", app.maintenance))
        return self.get_app(app)

    def delete_app(self, app: App) -> dict[str, Any]:
        if app.web:
            self.runner.end(app.web)
        del self.apps[app.name]
        return {}

    def get_config_vars(self, app: App) -> dict[str, str]:
        return app.variables

    def patch_config_vars(self, app: App, body: dict[str, Any]) -> dict[str, str]:
        for name, value in body.items():
            if value is not None and not isinstance(value, str):
                raise Refused(422, "invalid_params", f"{name} has to be a string")
            if value is None:
                app.variables.pop(name, None)
            else:
                app.variables[name] = value
        self.release(app, self.slug(app), f"Set {', '.join(body)} config vars")
        return app.variables

    def get_addons(self, app: App) -> list[dict[str, Any]]:
        return [{"plan": {"name": name}} for name in app.addons]

    def post_addons(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        if "postgres" in body["plan"]:
            app.variables["DATABASE_URL"] = "postgres://x:y@127.0.0.1:1/z"
        if "nothing" in body["plan"]:
            raise Refused(
                404, "not_found", "Couldn't find either the add-on service or the add-on."
            )
        app.addons.append(body["plan"])
        return {"plan": {"name": body["plan"]}}

    def get_domains(self, app: App) -> list[dict[str, Any]]:
        return [{"hostname": name, "cname": f"{name}.herokudns.test"} for name in app.domains]

    def post_domains(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        app.domains.append(body["hostname"])
        return {"hostname": body["hostname"], "cname": f"{body['hostname']}.herokudns.test"}

    def get_formation(self, app: App) -> list[dict[str, Any]]:
        return [{"type": name, "quantity": count} for name, count in app.formation.items()]

    def patch_formation(self, app: App, body: dict[str, Any]) -> list[dict[str, Any]]:
        for each in body["updates"]:
            if each["type"] not in app.formation:
                raise Refused(
                    404, "not_found", f"Couldn't find that process type ({each['type']})."
                )
            app.formation[each["type"]] = int(each["quantity"])
        return self.get_formation(app)

    def get_dynos(self, app: App) -> list[dict[str, Any]]:
        return [{"name": "web.1", "type": "web", "state": "up"}] if app.web else []

    def post_dynos(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        name, slug = f"run.{len(app.logs) + 1}", self.slug(app)
        assert slug
        source = app.folder / slug
        done = subprocess.run(
            ["bash", "-c", body["command"]],
            cwd=source,
            env=self.runner.environment(source, app.variables),
            capture_output=True,
            text=True,
        )
        ended = f"heroku[{name}]: Process exited with status {done.returncode}\n"
        app.logs[name] = done.stdout + done.stderr + ended
        return {"name": name, "state": "starting"}

    def post_log_sessions(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        slug = self.slug(app)
        text = app.logs.get(body.get("dyno", ""), "")
        if not body.get("dyno") and slug:
            log = (app.folder / slug / ".log").read_text().splitlines(keepends=True)
            text = "".join(log[-int(body.get("lines", 100)) :])
        return {"logplex_url": self.stream(text)}

    # --- builds and releases

    def get_builds(self, app: App, id: str = "") -> Any:
        return next(each for each in app.builds if each["id"] == id) if id else app.builds

    def post_builds(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        blob = body["source_blob"]
        data = self.sources[blob["url"].rpartition("/")[2]]
        if blob.get("checksum") != f"SHA256:{hashlib.sha256(data).hexdigest()}":
            raise Refused(422, "invalid_params", "The checksum is wrong.")
        return self.build(app, data, blob)

    def build(self, app: App, data: bytes, blob: dict[str, Any]) -> dict[str, Any]:
        slug = uuid.uuid4().hex
        source = app.folder / slug
        source.mkdir()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(source, filter="data")
        code, said = self.runner.build(source)
        made: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "created_at": f"2026-12-01T00:00:{len(app.builds):02}Z",
            "status": "failed" if code else "succeeded",
            "source_blob": {**blob, "checksum": blob.get("checksum")},
            "output_stream_url": self.stream(f"-----> Python app detected\n{said}"),
            "slug": None if code else {"id": slug},
            "release": None,
        }
        if not code:
            lines = (source / "Procfile").read_text().splitlines()
            for name in (line.partition(":")[0] for line in lines):
                if name != "release":
                    app.formation.setdefault(name, 1 if name == "web" else 0)
            made["release"] = {"id": self.release(app, slug, "Deploy")["id"]}
        app.builds.append(made)
        return {**made, "status": "pending"}  # the first answer never says how it ends

    def get_releases(self, app: App, id: str = "") -> Any:
        return next(each for each in app.releases if each["id"] == id) if id else app.releases

    def post_releases(self, app: App, body: dict[str, Any]) -> dict[str, Any]:
        old = self.get_releases(app, body["release"])
        app.variables = dict(old["variables"])
        return self.release(app, (old["slug"] or {}).get("id"), f"Rollback to v{old['version']}")

    def release(self, app: App, slug: str | None, what: str) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "version": len(app.releases) + 1,
            "status": "succeeded",
            "current": False,
            "description": what,
            "created_at": f"2026-12-01T00:01:{len(app.releases):02}Z",
            "slug": {"id": slug} if slug else None,
            "output_stream_url": None,
            "variables": dict(app.variables),
        }
        app.releases.append(made)
        if slug:
            source = app.folder / slug
            if self.runner.has(source, "release"):
                code, said = self.runner.run(source, "release", app.variables)
                made["output_stream_url"] = self.stream(said)
                if code:
                    made["status"] = "failed"
                    return made
            if app.web:
                self.runner.end(app.web)
            app.web = self.runner.start(source, app.port, app.variables)
        for each in app.releases:
            each["current"] = each is made
        return made

    def slug(self, app: App) -> str | None:
        current = next((each for each in app.releases if each["current"]), None)
        return current["slug"]["id"] if current and current["slug"] else None

    def stream(self, text: str) -> str:
        id = uuid.uuid4().hex
        self.streams[id] = text
        return f"{self.url}/stream/{id}"

    # --- git push, by git's own http-backend and a receive hook

    def git(self, request: http.server.BaseHTTPRequestHandler, path: str, data: bytes) -> None:
        wanted = base64.b64encode(f"heroku:{KEY}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="heroku"')
            request.send_header("Content-Length", "0")
            return request.end_headers()
        name = path.split("/")[2].removesuffix(".git")
        app = self.apps[name]
        repository = self.folder / "git" / f"{name}.git"
        if not repository.exists():
            subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
            subprocess.run(
                ["git", "-C", repository, "config", "http.receivepack", "true"], check=True
            )
        query = request.path.partition("?")[2]
        done = subprocess.run(
            ["git", "http-backend"],
            input=data,
            capture_output=True,
            env={
                "PATH": "/usr/bin:/bin",
                "GIT_PROJECT_ROOT": str(self.folder / "git"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path.removeprefix("/git"),
                "QUERY_STRING": query,
                "REQUEST_METHOD": request.command,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "heroku",
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        if request.command == "POST" and path.endswith("git-receive-pack"):
            archive = subprocess.run(
                ["git", "-C", repository, "archive", "--format=tar", "main"], capture_output=True
            )
            if not archive.returncode:
                self.build(app, archive.stdout, {"url": "", "version": "pushed"})
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        kind = re.search(rb"Content-Type: (.*)", head)
        send(request, 200, body, kind[1].decode().strip() if kind else "text/plain")


def valid(method: str, path: str, body: Any) -> Any:
    """Refuse a body that the published schema does not have."""
    wanted = BODIES.get((method, path))
    if wanted is None or body is None:
        return body
    names = {name.rstrip("!"): kinds for name, kinds in wanted.items()}
    for name in wanted:
        if name.endswith("!") and name[:-1] not in body:
            raise Refused(422, "invalid_params", f"Missing required params: {name[:-1]}")
    for name, value in body.items():
        if name not in names or not isinstance(value, names[name]):
            raise Refused(422, "invalid_params", f"{name} is not a param, or not of that type")
    return body


def send(request: http.server.BaseHTTPRequestHandler, status: int, data: bytes, kind: str) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)

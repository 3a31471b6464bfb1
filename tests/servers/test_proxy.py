"""What stands in front of an application: the same answers through nginx and Apache, for each server.

WebSockets, event streams, large headers, compression, caches, a path prefix, balancers, passwords.
"""

import base64
import contextlib
import gzip
import http.client
import json
import os
import socket
import time
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from decant.headers import CLAIMS
from tests.booted import Server, ServerFactory, changed
from tests.guestbook import git

pytestmark = pytest.mark.full

WSGI = """
import time
from flask import Flask, make_response, request, url_for
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)

@app.get("/")
def index():
    return "home"

@app.get("/seen")
def seen():
    return {
        "scheme": request.scheme, "host": request.host, "address": request.remote_addr,
        "root": request.script_root, "path": request.path, "url": url_for("seen", _external=True),
        "static": url_for("static", filename="a.css"),
        "claims": [name for name, value in request.headers if "claimed" in value],
    }

@app.get("/fat")
def fat():
    answer = make_response("fat")
    for number in range(15):
        answer.set_cookie(f"c{number}", "x" * 2000)
    answer.headers["Permissions-Policy"] = "the application's own"
    return answer

@app.get("/text")
def text():
    return "word " * 2000, {"Content-Type": "text/plain"}

@app.get("/events")
def events():
    def ticks():
        for number in range(4):
            yield f"data: {number}\\n\\n"
            time.sleep(0.5)
    return ticks(), {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}

@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())
"""
FILES = {
    "requirements.txt": "flask\nflask-sock\n",
    "wsgi.py": WSGI,
    "static/a.css": "a {}\n" * 1000,
    "static/app.55e7cbb9ba48.css": "b {}\n",
    "static/report-20261130.css": "c {}\n",
}
STACKS = {
    "gunicorn-nginx": ("gunicorn", "nginx"),
    "gunicorn-apache": ("gunicorn", "apache"),
    "uwsgi-nginx": ("uwsgi", "nginx"),
    "uwsgi-apache": ("uwsgi", "apache"),
    "mod_wsgi-apache": ("mod_wsgi", "apache"),
}
# What nobody in front says, balancer or not; X-Forwarded-Host and X-Real-IP are the proxy's own.
FORGED = {
    name.replace("-", "_"): f"claimed {number}"
    for number, name in enumerate((*CLAIMS, "X-Forwarded-Host", "X-Real-IP"))
}
HEADERS = {"Permissions-Policy": "camera=()", "X-Frame-Options": 'DENY "100%"'}


class Answer(NamedTuple):
    """What a visitor gets."""

    status: int
    body: str
    headers: Message


def get(server: Server, path: str, **headers: str) -> Answer:
    """Visit; names of headers have _ for -."""
    with contextlib.closing(http.client.HTTPConnection(server.address, timeout=30)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=named)
        response = connection.getresponse()
        data = response.read()
        if response.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        return Answer(response.status, data.decode(), response.headers)


def seen(server: Server, path: str = "/seen", **headers: str) -> dict[str, Any]:
    """Return what the application sees of a visit."""
    answer = get(server, path, **headers)
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def upgraded(server: Server, path: str) -> socket.socket:
    """Open a WebSocket (RFC 6455); raise AssertionError where another answer comes."""
    sock = socket.create_connection((server.address, 80), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = sock.recv(1000)
        if not part:
            break
        answer += part
    if b" 101 " not in answer.partition(b"\r\n")[0]:
        sock.close()
        raise AssertionError(answer)
    return sock


def echoed(server: Server, path: str, text: bytes) -> bytes:
    """Open a WebSocket, send a text, and return what comes back."""
    with upgraded(server, path) as sock:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(text))
        sock.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
        head = sock.recv(2)
        return sock.recv(head[1])


def ticks(server: Server, path: str) -> list[float]:
    """Return when each event of a stream arrives, in seconds since the first one."""
    with contextlib.closing(http.client.HTTPConnection(server.address, timeout=30)) as connection:
        connection.request("GET", path)
        response, arrived = connection.getresponse(), list[float]()
        while line := response.readline():
            if line.startswith(b"data"):
                arrived.append(time.monotonic())
        return [each - arrived[0] for each in arrived]


@pytest.mark.parametrize("stack", STACKS)
def test_what_visitors_get_is_the_same_on_every_stack(
    booth: ServerFactory, tmp_path: Path, stack: str
) -> None:
    wsgi_server, proxy = STACKS[stack]
    server = booth.packaged("python3", "nginx" if proxy == "nginx" else "apache2")
    source = server.folder / "front"
    for name, text in FILES.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(source.parent, "init", "-q", "-b", "main", str(source))
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "front")

    def configure(more: str = "") -> None:
        (server.folder / "hosts.toml").write_text(
            '[app]\nname = "front"\nsource = "front"\nref = "main"\nhealth = "/"\n'
            'static = { "/static" = "static" }\n'
            f'[wsgi]\napp = "wsgi:app"\nserver = "{wsgi_server}"\nthreads = 4\n'
            f'[db]\nkind = "none"\n[proxy]\nkind = "{proxy}"\n{more}\n'
        )

    headers = json.dumps(HEADERS).replace('": "', '" = "')
    configure(f'cache = "30d"\nheaders = {headers}\n')
    server.fab("deploy")
    as_it_comes(server, wsgi_server)

    hashed = server.ssh("openssl passwd -6 -salt saltsalt secret")
    configure(
        f'prefix = "/shop"\ntrusted = ["{server.gateway}/32"]\ncache = "1h"\n'
        f"auth = {{ anna = '{hashed}' }}\n"
    )
    server.fab("deploy")
    below_a_prefix(server)
    assert changed(server.fab("deploy").stdout) == [0]

    configure('trusted = ["192.0.2.0/24"]\n')  # somebody else's
    server.fab("deploy")
    forged = {"X_Forwarded_For": "198.51.100.7", "X_Forwarded_Proto": "https"}
    found = seen(server, **forged, **FORGED)
    assert (found["scheme"], found["address"]) == ("http", server.gateway)
    assert found["claims"] == []
    assert get(server, "/").status == 200


def as_it_comes(server: Server, wsgi_server: str) -> None:
    """At the root of the site."""
    fat = get(server, "/fat")
    assert (fat.status, len(str(fat.headers)) > 30_000) == (200, True)
    for path in ("/fat", "/static/a.css", "/nowhere"):
        found = get(server, path).headers
        assert {name: found.get_all(name) for name in HEADERS} == {
            name: [value] for name, value in HEADERS.items()
        }, path
    for path in ("/text", "/static/a.css"):
        packed = get(server, path, Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip", path
        assert packed.body == get(server, path).body
        assert "Content-Encoding" not in get(server, path).headers
    cached = {
        name: get(server, f"/static/{name}").headers["Cache-Control"]
        for name in ("a.css", "app.55e7cbb9ba48.css", "report-20261130.css")
    }
    assert cached == {
        "a.css": "public, max-age=2592000",
        "app.55e7cbb9ba48.css": "public, max-age=31536000, immutable",
        "report-20261130.css": "public, max-age=2592000",
    }
    assert "Cache-Control" not in get(server, "/text").headers
    part = get(server, "/static/a.css", Range="bytes=0-3")
    assert (part.status, part.body) == (206, "a {}")
    assert ticks(server, "/events")[-1] > 1
    if wsgi_server == "gunicorn":
        assert echoed(server, "/echo", b"hello") == b"hello"
    else:
        with pytest.raises(AssertionError, match=r"HTTP/1\.1"):
            upgraded(server, "/echo")
    assert get(server, "/seen", Upgrade="h2c", Connection="Upgrade, HTTP2-Settings").status == 200


def below_a_prefix(server: Server) -> None:
    """Below /shop, behind a balancer, for those who have a password."""
    anna = {"Authorization": "Basic " + base64.b64encode(b"anna:secret").decode()}
    assert get(server, "/shop/seen").status == 401
    assert get(server, "/shop/static/a.css").status == 401
    wrong = base64.b64encode(b"anna:wrong").decode()
    assert get(server, "/shop/seen", Authorization=f"Basic {wrong}").status == 401
    visitor = {"X_Forwarded_For": "203.0.113.9, 198.51.100.7", "X_Forwarded_Proto": "https"}
    assert seen(server, "/shop/seen", Host="shop.test", **visitor, **anna, **FORGED) == {
        "scheme": "https",
        "host": "shop.test",
        "address": "198.51.100.7",
        "root": "/shop",
        "path": "/seen",
        "url": "https://shop.test/shop/seen",
        "static": "/shop/static/a.css",
        "claims": [],
    }
    plain = seen(server, "/shop/seen", **anna)
    assert (plain["scheme"], plain["address"]) == ("http", server.gateway)
    odd = {"X_Forwarded_For": "nobody", "X_Forwarded_Proto": "gopher"}
    assert seen(server, "/shop/seen", **odd, **anna)["scheme"] == "http"
    static = get(server, "/shop/static/a.css", **anna)
    assert (static.status, static.headers["Cache-Control"]) == (200, "public, max-age=3600")
    for path in ("/", "/shop"):
        led = get(server, path, **anna)
        assert (led.status, led.headers["Location"].endswith("/shop/")) == (302, True), path
    assert get(server, "/shop/", **anna).body == "home"
    for path in ("/seen", "/static/a.css", "/shopping", "/shop/nowhere"):
        assert get(server, path, **anna).status == 404, path


def test_an_application_behind_a_proxy_that_is_not_ours(booth: ServerFactory) -> None:
    server = booth.deployed()
    none = '[proxy]\nkind = "none"\n'
    by_socket = (
        'python3 -c \'import http.client, socket; c = http.client.HTTPConnection("x"); c.sock ='
        ' socket.socket(socket.AF_UNIX); c.sock.connect("/run/guestbook/guestbook.sock");'
        ' c.request("GET", "/version"); print(c.getresponse().read().decode())\''
    )
    by_port = (
        "python3 -c 'import urllib.request as u;"
        ' print(u.urlopen("http://127.0.0.1:8000/version").read().decode())\''
    )

    server.configure("static = {}", more=none)
    server.fab("deploy")
    assert server.ssh(by_socket) == "v1"
    assert server.ssh("ls /etc/nginx/sites-enabled") == ""
    assert changed(server.fab("deploy").stdout) == [0]
    assert "healthy" in server.fab("status").stdout

    server.configure('static = {}\nref = "migrates"', more=none)
    said = server.fab("update").stdout
    assert "serves" in said, said
    assert server.ssh(by_socket) == "migrates"
    assert len(server.rows()) == 10
    server.configure('static = {}\nref = "sick"', more=none)
    server.fab("update", code=1)
    assert server.ssh(by_socket) == "migrates"

    server.configure('static = {}\nref = "migrates"', 'bind = "127.0.0.1:8000"', none)
    server.fab("deploy")
    assert server.ssh(by_port) == "migrates"
    server.configure('ref = "migrates"')
    server.fab("deploy")
    assert server.get("/version") == (200, "migrates")
    assert changed(server.fab("deploy").stdout) == [0]

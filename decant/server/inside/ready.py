"""Tell the release window that a worker has imported the application and accepts requests.

`worker`, in each worker of gunicorn and uWSGI: ask the application for health before anything is
accepted, and tell. Where no window waits there is nobody to tell, and nothing is asked.
`tell_systemd`, in a smoke test: the same to systemd. Standard library only.
"""

import io
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

ROOT = Path(__file__).resolve().parents[1]
MOST = 1 << 20  # bytes of an answer that are read
REDIRECTS = 5  # that are followed on the site itself, as health.py does
GRACE = 2.0  # seconds in which a wrong answer may still turn right, as health.py gives
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Unwell(Exception):
    """The application does not answer a health check as it should."""


def conf() -> dict[str, str]:
    """Return what the procedures know of the application."""
    lines = (ROOT / "procedures/app.conf").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def expected(known: dict[str, str]) -> tuple[str, str]:
    """Return the release that starts and the scheme by which its workers ask for health, or
    nothing.

    Nothing where no window is open, or for workers of another release than the one that starts.
    """
    try:
        token, release, scheme = Path(known["run"], "starting").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "", ""
    return (release, scheme) if token == os.environ.get("DECANT_STARTS") else ("", "")


def prefix(release: str) -> str:
    """Return the path of the site below which a release is."""
    try:
        return (ROOT / "releases" / release / ".deploy/prefix").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def tell(run: str, text: str) -> bool:
    """Tell the window; False where none waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(f"{run}/ready")
            sock.send(text.encode("utf-8", "replace")[:1000])
        except OSError:
            return False
    return True


def tell_systemd() -> None:
    """Tell systemd that the service is ready (sd_notify(3)), where it waits for that."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(b"READY=1")


def answer(application: Application, path: str, host: str, scheme: str) -> tuple[str, str]:
    """Ask an application as its proxy would; return its status line, and where that leads."""
    name, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(name, "latin-1"),
        "RAW_URI": path,
        "REQUEST_URI": path,
        "QUERY_STRING": query,
        "SERVER_NAME": host.partition(":")[0],
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_USER_AGENT": "decant-health",
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_FORWARDED_PROTO": scheme,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    said: list[str] = []

    def start_response(
        status: str,
        headers: Iterable[tuple[str, str]] = (),
        *_: Any,
    ) -> Callable[[bytes], None]:
        found = (value for name, value in headers if name.lower() == "location")
        said[:] = [status, next(found, "")]
        return lambda _: None

    body = application(environ, start_response)
    try:
        left = MOST
        for part in body:
            left -= len(part)
            if left < 0:
                break
    finally:
        getattr(body, "close", lambda: None)()
    return (said[0], said[1]) if said else ("no status", "")


def followed(application: Application, path: str, host: str, scheme: str) -> tuple[str, str]:
    """Ask, and follow where that leads on the same site; return the first status line, and an
    error to which it led.
    """
    first, location = answer(application, path, host, scheme)
    at = path
    for _ in range(REDIRECTS):
        if not location:
            break
        parts = urlsplit(urljoin(f"http://{host}{at}", location))
        if parts.hostname != urlsplit(f"http://{host}").hostname:
            break
        at = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        said, location = answer(application, at, host, scheme)
        if said[:1] == "5":
            return first, f", and {at}, to which that leads, answered {said}"
    return first, ""


def problem(application: Application, known: dict[str, str], scheme: str) -> str:
    """Ask until the answer is as wanted; return what is wrong, or nothing."""
    path, wanted = known["health_path"], known["health_status"]
    low, _, high = wanted.partition("-")
    deadline = time.monotonic() + GRACE
    while True:
        led = ""
        try:
            said, led = followed(application, path, known["health_host"], scheme)
        except Exception as error:
            said = f"500 ({type(error).__name__}: {error})"
        code = said[:3]
        if code.isdigit() and int(low) <= int(code) <= int(high or low) and not led:
            return ""
        if time.monotonic() > deadline:
            return f"{path} answered {said}{led}, wanted {wanted}"
        time.sleep(0.1)


def worker(application: Application, workers: int) -> None:
    """Before a worker accepts requests: ask its application for health, and tell.

    Raises Unwell, with which it accepts nothing, if the window was told.
    """
    known = conf()
    release, scheme = expected(known)
    if not scheme or not tell(known["run"], "starting"):  # one that was killed left the file
        return
    known["health_path"] = prefix(release) + known["health_path"]
    wrong = problem(application, known, scheme)
    if not wrong:
        tell(known["run"], f"ready {workers}")
    elif tell(known["run"], f"unwell {wrong}"):
        raise Unwell(wrong)

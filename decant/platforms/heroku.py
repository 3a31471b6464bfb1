"""Heroku: what is sent, and its Platform API (version 3), by which it is sent.

https://devcenter.heroku.com/articles/platform-api-reference, .../build-and-release-using-the-api,
.../python-support. That a build succeeded does not say that its release did: the release phase runs
after it, and what served before serves on where it fails.
"""

import contextlib
import hashlib
import netrc
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from decant.errors import DeployError
from decant.platforms import http, serving
from decant.platforms.bundle import Bundle
from decant.platforms.http import Api, PlatformError

if TYPE_CHECKING:
    from decant.config.models import Settings

ADDRESS = "https://api.heroku.com"
ACCEPT = "application/vnd.heroku+json; version=3"
NAME = re.compile(r"[a-z][a-z0-9-]{1,28}[a-z0-9]")
POLL = 1.0  # seconds between two looks at what is pending
BUILDS, RELEASES = 30 * 60.0, 60 * 60.0  # seconds that a build and a release phase may take
# Of these a build takes exactly one.
MANAGERS = ("Pipfile.lock", "poetry.lock", "requirements.txt", "uv.lock")
ALONE = ("Pipfile", "pyproject.toml", "setup.py")  # and does not take these without one


def files(settings: "Settings", bundle: Bundle) -> dict[str, str]:
    """Return what is laid beside the source: how its processes start, and which Python."""
    migrates = serving.migration(settings, bundle)
    lines = {
        "web": serving.web(settings),
        **({"release": migrates} if migrates else {}),
        **{name: process.command for name, process in settings.processes.items()},
    }
    found = {
        "Procfile": "".join(f"{name}: {line}\n" for name, line in lines.items()),
        **serving.gunicorn(settings),
    }
    if settings.python.version:
        found[".python-version"] = f"{settings.python.version}\n"
    return found


def problems(settings: "Settings", bundle: Bundle) -> Iterator[str]:
    """Yield what Heroku would refuse."""
    there = [name for name in MANAGERS if name in bundle.entries]
    if len(there) > 1:
        yield (
            f"app.source: has {' and '.join(there)}, and Heroku builds by exactly one of them;"
            " remove the others, or leave them out of git"
        )
    if not there:
        alone = next((name for name in ALONE if name in bundle.entries), "")
        yield (
            f"app.source: has {'no requirements' if not alone else f'{alone} alone'}; Heroku builds"
            f" by one of {', '.join(MANAGERS)}"
        )
    if (
        settings.wsgi.server == "gunicorn"
        and len(there) == 1
        and not re.search(r"(?mi)\bgunicorn\b", _listed(bundle, there[0]))
    ):
        yield (
            f"app.source: {there[0]} has no gunicorn, and Heroku installs what it has alone; add"
            " gunicorn to the application's requirements"
        )
    own = re.findall(r"(?m)^([\w-]+):", bundle.text("Procfile"))
    for name in settings.processes.keys() - set(own):
        yield f"processes.{name}: your own Procfile has no line of that name; add it there"
    for key in ("build", "files"):
        if getattr(settings.app, key):
            yield f"app.{key}: is made on servers alone; commit what the application needs of it"
    for name in settings.processes.keys() & {"web", "release"}:
        yield f"processes.{name}: Heroku's own name for what we start ourselves; choose another"
    if not NAME.fullmatch(name_of(settings)):
        yield (
            f"heroku.name: {name_of(settings)!r} is no name of an app there: 3 to 30 lower-case"
            " letters, digits and -, a letter first, no - at the end"
        )


def _listed(bundle: Bundle, name: str, seen: tuple[str, ...] = ()) -> str:
    """Return what a list of requirements has, also by the lists that it names."""
    text = bundle.text(name)
    named = re.findall(r"(?m)^\s*(?:-r|--requirement)[ =]\s*(\S+)", text)
    folder = PurePosixPath(name).parent
    others = (str(folder / each) for each in named)
    more = (_listed(bundle, each, (*seen, name)) for each in others if each not in seen)
    return "\n".join((text, *more))


def name_of(settings: "Settings") -> str:
    """Return the name of the app there."""
    return settings.heroku.name or settings.app.name


# --- the API


def api() -> Api:
    """Return the API with whoever's key this machine has: HEROKU_API_KEY, or ~/.netrc.

    HEROKU_HOST leads elsewhere, as it does Heroku's own client. Raises DeployError without a key.
    """
    url = os.environ.get("HEROKU_HOST") or ADDRESS
    url = url if "://" in url else f"https://api.{url}"
    given = os.environ.get("HEROKU_API_KEY") or _from_netrc(urlsplit(url).hostname or "")
    key = given.strip()
    if not (key.isascii() and key.isprintable()):
        raise DeployError(
            "heroku: the key is no line of printable letters; set HEROKU_API_KEY anew"
        )
    if not key:
        raise DeployError(
            "heroku: nobody is logged in: set HEROKU_API_KEY (heroku authorizations:create prints"
            " one), or run: heroku login"
        )
    return Api("heroku", url, key, {"Accept": ACCEPT})


def _from_netrc(host: str) -> str:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return ""
    return (found[2] or "") if found else ""


class App:
    """An app at Heroku."""

    def __init__(self, api: Api, name: str) -> None:
        self.api, self.name, self.path = api, name, f"/apps/{quote(name, safe='')}"

    def about(self) -> dict[str, Any] | None:
        """Return what the API tells of it, or None where there is none."""
        try:
            found: dict[str, Any] = self.api.call("GET", self.path)
        except PlatformError as error:
            if error.status == 404:
                return None
            raise
        return found

    def variables(self) -> dict[str, str]:
        """Return its config vars."""
        found: dict[str, str] = self.api.call("GET", f"{self.path}/config-vars")
        return found

    def set_variables(self, changes: Mapping[str, str]) -> None:
        """Set some of them, with one release for all."""
        self.api.call("PATCH", f"{self.path}/config-vars", dict(changes))

    def releases(self, count: int = 15) -> list[dict[str, Any]]:
        """Return its newest releases, the newest first."""
        found: list[dict[str, Any]] = self.api.call(
            "GET", f"{self.path}/releases", Range=f"version ..; order=desc, max={count}"
        )
        return sorted(found, key=lambda each: int(each["version"]), reverse=True)

    def builds(self, count: int = 15) -> list[dict[str, Any]]:
        """Return its newest builds, the newest first."""
        found: list[dict[str, Any]] = self.api.call(
            "GET", f"{self.path}/builds", Range=f"started_at ..; order=desc, max={count}"
        )
        return sorted(found, key=lambda each: str(each["created_at"]), reverse=True)

    def build(self, data: bytes, version: str) -> dict[str, Any]:
        """Send a source, packed as a tar, and begin to build it; return the build.

        `version`: what the build is to be known by.
        """
        place = self.api.call("POST", "/sources")["source_blob"]
        status, reason, _ = http.request("PUT", place["put_url"], data, {}, "heroku")
        if status >= 400:
            raise PlatformError(f"heroku: the source was not taken: {status} {reason}", status)
        checksum = f"SHA256:{hashlib.sha256(data).hexdigest()}"
        blob = {"url": place["get_url"], "checksum": checksum, "version": version}
        found: dict[str, Any] = self.api.call("POST", f"{self.path}/builds", {"source_blob": blob})
        return found

    def built(self, build: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until a build is no longer pending, and return it."""
        return self._pending(f"{self.path}/builds/{build['id']}", BUILDS, "the build")

    def released(self, id: str) -> dict[str, Any]:
        """Wait until a release is no longer pending, and return it."""
        return self._pending(f"{self.path}/releases/{id}", RELEASES, "the release phase")

    def release_again(self, id: str) -> dict[str, Any]:
        """Make a release of what an older one was, and wait for it."""
        made = self.api.call("POST", f"{self.path}/releases", {"release": id})
        return self.released(str(made["id"]))

    def make(self, region: str) -> None:
        """Make the app; raise PlatformError where its name is taken, or there is no such region."""
        self.api.call("POST", "/apps", {"name": self.name, "region": region})

    def destroy(self) -> None:
        """Take the app away, with its add-ons and all that they hold."""
        self.api.call("DELETE", self.path)

    def addons(self) -> tuple[str, ...]:
        """Return the plans of its add-ons."""
        found = self.api.call("GET", f"{self.path}/addons")
        return tuple(str(each["plan"]["name"]) for each in found)

    def add(self, plan: str) -> None:
        """Add an add-on."""
        self.api.call("POST", f"{self.path}/addons", {"plan": plan})

    def domains(self) -> dict[str, str]:
        """Return its domains, each with where its DNS has to lead."""
        found = self.api.call("GET", f"{self.path}/domains")
        return {str(each["hostname"]): str(each.get("cname") or "") for each in found}

    def add_domain(self, name: str) -> str:
        """Add a domain; return where its DNS has to lead."""
        body = {"hostname": name, "sni_endpoint": None}
        return str(self.api.call("POST", f"{self.path}/domains", body).get("cname") or "")

    def formation(self) -> dict[str, int]:
        """Return how many there are of each process."""
        found = self.api.call("GET", f"{self.path}/formation")
        return {str(each["type"]): int(each["quantity"]) for each in found}

    def scale(self, counts: Mapping[str, int]) -> None:
        """Have so many of each."""
        updates = [{"type": name, "quantity": count} for name, count in sorted(counts.items())]
        self.api.call("PATCH", f"{self.path}/formation", {"updates": updates})

    def run(self, command: str) -> str:
        """Start a command in a process of its own; return its name."""
        made = self.api.call("POST", f"{self.path}/dynos", {"command": command, "attach": False})
        return str(made["name"])

    def maintain(self, on: bool) -> None:
        """Put up the maintenance page, or take it away."""
        self.api.call("PATCH", self.path, {"maintenance": on})

    def logs(self, lines: int, follow: bool, dyno: str = "") -> Iterator[str]:
        """Yield its log."""
        body = {"lines": lines, "tail": follow, **({"dyno": dyno} if dyno else {})}
        made = self.api.call("POST", f"{self.path}/log-sessions", body)
        yield from http.lines(str(made["logplex_url"]), "heroku")

    def _pending(self, path: str, limit: float, what: str) -> dict[str, Any]:
        until = time.monotonic() + limit
        while True:
            found: dict[str, Any] = self.api.call("GET", path)
            if found["status"] != "pending":
                return found
            if time.monotonic() > until:
                raise PlatformError(f"heroku: {what} did not end within {limit / 60:.0f} minutes")
            time.sleep(POLL)


def told(url: str | None) -> Iterator[str]:
    """Yield what a build or a release phase prints, as it comes; how that ends is asked for."""
    with contextlib.suppress(PlatformError):
        yield from http.lines(url, "heroku") if url else ()

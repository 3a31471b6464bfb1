"""What hosts.toml may not ask for together: each rule yields `path: what is wrong and what to do`."""

import keyword
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.core.settings import Settings

# What would take the socket out of systemd's hands, or the process out of the unit's.
OURS = ("bind", "daemon", "user", "group", "umask", "pidfile", "chdir", "wsgi_app", "reload")


def unbuilt(settings: "Settings") -> Iterator[str]:
    """Yield what the format has and no plan serves yet."""
    chosen = {
        "python.version": (settings.python.version, ("",), "the distribution's python3"),
        "python.installer": (settings.python.installer, ("auto", "pip", "uv"), "pip and uv"),
        "wsgi.server": (settings.wsgi.server, ("gunicorn",), "gunicorn"),
        "wsgi.manager": (settings.wsgi.manager, ("systemd",), "systemd"),
        "wsgi.bind": (settings.wsgi.bind, ("",), "the unix socket"),
        "proxy.kind": (settings.proxy.kind, ("nginx",), "nginx"),
        "tls.kind": (settings.tls.kind, ("none",), '"none"'),
        "db.kind": (settings.db.kind, ("sqlite", "none"), "sqlite and none"),
        "hosts.roles": (",".join(sorted(settings.host.roles)), ("app,db,web",), "all three roles on one host"),
    }
    for path, (value, built, instead) in chosen.items():
        if value not in built:
            yield f"{path}: {value!r} is not built yet; this version has {instead}"


def misfits(settings: "Settings") -> Iterator[str]:
    """Yield combinations that cannot work, or that would hurt."""
    yield from _database(settings)
    yield from _folders(settings)
    yield from _names(settings)
    for name, value in settings.wsgi.options.items():
        if name in OURS:
            yield f"wsgi.options.{name}: is this tool's to set"
        elif keyword.iskeyword(name) or not _is_plain(value):
            yield f"wsgi.options.{name}: should be a text, number, true, false, or a list or table of those"


def _database(settings: "Settings") -> Iterator[str]:
    if settings.db.kind != "sqlite":
        return
    if settings.db.variable in settings.app.env:
        yield f'app.env.{settings.db.variable}: db.kind = "sqlite" sets this variable; remove it, or set db.kind = "none"'
    if settings.db.path and not settings.db.path.startswith(f"{settings.paths.shared}/"):
        yield f"db.path: should be inside {settings.paths.shared}/, which the application may write to and which lives across releases"
    if not settings.db.path and "instance" not in _shared(settings):
        yield 'app.shared: should list "instance", where the SQLite file is; or set db.path'


def _folders(settings: "Settings") -> Iterator[str]:
    shared = _shared(settings)
    for entry in shared:
        if any(entry != other and _inside(entry, other) for other in shared):
            yield f"app.shared: {entry} is inside another shared folder, and with it shared already; remove it"
    for prefix, folder in settings.app.static.items():
        if any(_inside(folder, entry) and folder.rstrip("/") != entry for entry in shared):
            yield f"app.static.{prefix}: {folder} is inside a shared folder; make it a shared folder of its own, so that the proxy may read it alone"
        if any(_inside(entry, folder) and _inside(settings.database_file, f"{settings.paths.shared}/{entry}") for entry in shared):
            yield f"app.static.{prefix}: {folder} holds the database, which the proxy must not read"
    if len({prefix.rstrip("/") for prefix in settings.app.static}) < len(settings.app.static):
        yield "app.static: two prefixes differ only in a / at the end"


def _names(settings: "Settings") -> Iterator[str]:
    if settings.proxy.redirect and not settings.proxy.domains:
        yield "proxy.redirect: needs proxy.domains, to whose first name it leads"
    if set(settings.proxy.redirect) & set(settings.proxy.domains):
        yield "proxy.redirect: a name stands in proxy.domains, too"
    if re.match(r"\w+://[^/@]*:[^/@]*@", settings.app.source):
        yield "app.source: a password in a URL is seen by every account of the server; use an ssh URL, or ~/.netrc of root there"
    low, _, high = settings.app.health.status.partition("-")
    if high and int(low) > int(high):
        yield "app.health.status: should be from low to high"


def _shared(settings: "Settings") -> list[str]:
    return [entry.rstrip("/") for entry in settings.app.shared]


def _inside(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _is_plain(value: Any) -> bool:
    """Tell what Python can read back from its own repr."""
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))

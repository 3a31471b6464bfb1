"""The release flow's procedures with their parameters, and the files that belong to one release."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

from decant.config import source as source_module
from decant.config.variables import dialect, dotenv, variables, with_password
from decant.plans import db, python, stack
from decant.plans.rendering import procedure, render
from decant.plans.requests import (
    PrepareRequest,
    SourceKind,
    WindowRequest,
    WordRequest,
    parameters,
)
from decant.quoting import Secret
from decant.steps import Background, File, Plan, Procedure

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts


def contents(settings: "Settings", facts: "Facts") -> dict[str, tuple[bytes, int]]:
    """Return the files of a release's .deploy folder by name, each with its mode."""
    sites = {
        # For both proxies: the one in front may change without a release.
        "nginx.conf": (render("nginx/release.conf.j2", settings).encode(), 0o644),
        "apache.conf": (render("apache/release.conf.j2", settings).encode(), 0o644),
    }
    if not settings.is_app:
        why = b"the application does not run on this host\n"
        return {"server": (b"none\n", 0o644), "switch": (why, 0o644), **sites}
    given = variables(settings)
    found = {
        "server": (f"{settings.wsgi.server}\n".encode(), 0o644),
        "switch": (f"{stack.switch(settings)}\n".encode(), 0o644),
        **{
            name: (text.encode(), mode)
            for name, (text, mode) in stack.release_files(settings, facts.cores).items()
        },
        **sites,
        "env": (dialect(given).encode(), 0o640),
        "with-env": (procedure("with-env"), 0o755),
    }
    if settings.has_database_server:
        found["database"] = (
            " ".join((settings.db.variable, db.scheme(settings), *with_password(settings))).encode()
            + b"\n",
            0o644,
        )
    if settings.app.dotenv:
        found["dotenv"] = (dotenv(given).encode(), 0o600)
    return found


def files(settings: "Settings", facts: "Facts") -> bytes:
    """Return the files of a release's .deploy folder as a tar.

    The same settings give the same bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (data, mode) in contents(settings, facts).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def preview(settings: "Settings", facts: "Facts") -> Plan:
    """The rendered files of a release against those of the one that serves.

    For a dry run alone, as a release is never edited.
    """
    shown = {name: item for name, item in contents(settings, facts).items() if name != "dotenv"}
    group = {"env": settings.app.name}
    folder = f"{settings.paths.current}/.deploy"
    return tuple(
        File(
            f"{folder}/{name}",
            Secret(data.decode()) if name == "env" else data,
            f"root:{group.get(name, 'root')}",
            mode,
        )
        for name, (data, mode) in shown.items()
    )


def prepare(
    settings: "Settings",
    id: str,
    rendered: bytes,
    kind: SourceKind = SourceKind.GIT,
    source: str = "",
    commit: str = "",
    label: str = "",
) -> Plan:
    """Make a release ready."""
    request = _preparation(settings, id, rendered, kind, source, commit, label)
    return (Procedure("prepare", parameters(request), settings.paths.procedures),)


def environment(settings: "Settings", facts: "Facts") -> Plan:
    """Fetch the code and make its environment beside the steps that follow, on a server that has
    none yet.

    Not where the code is sent after these steps, the Python comes with them, or other hosts use a
    database here: the firewall comes first then.
    """
    if (
        facts.current
        or not (settings.is_app and settings.app.is_git)
        or python.managed(settings, facts)
        or settings.database_clients
    ):
        return ()
    request = replace(_preparation(settings, "environment"), only="environment")
    folder = settings.paths.procedures
    return (Background("prepare", parameters(request), folder, label="environment"),)


def _preparation(
    settings: "Settings",
    id: str,
    rendered: bytes = b"",
    kind: SourceKind = SourceKind.GIT,
    source: str = "",
    commit: str = "",
    label: str = "",
) -> PrepareRequest:
    app, wanted = settings.app, settings.python
    shared = [entry.rstrip("/") for entry in app.shared] if settings.is_app else []
    folders = [folder.rstrip("/") for folder in app.static.values()]
    public = [
        entry for entry in shared if any(f"{entry}/".startswith(f"{folder}/") for folder in folders)
    ]
    above = f"{app.subdir.rstrip('/')}/" if app.subdir else ""
    named = [
        ("app.subdir", app.subdir.rstrip("/")),
        *(("app.shared", above + entry) for entry in shared),
    ]
    return PrepareRequest(
        root=settings.paths.root,
        id=id,
        kind=kind,
        source=source or app.source,
        ref=app.ref,
        commit=commit,
        label=label,
        subdir=app.subdir.rstrip("/"),
        rendered=(
            hashlib.sha256(rendered + "\n".join(["", *shared, "", *public]).encode()).hexdigest()
        ),
        shared="\n".join(shared),
        public="\n".join(public),
        static="\n".join(above + folder for folder in folders if folder not in shared),
        private="\n".join(source_module.private(settings)),
        named="\n".join(f"{key}\t{path}" for key, path in named if path),
        server=stack.server(settings),
        python=wanted.version,
        installer=wanted.installer,
        packages="\n".join(wanted.packages),
        driver=db.driver(settings),
        refresh=str(wanted.refresh),
        wsgi_app=settings.wsgi.app,
        migrate=app.migrate if settings.is_app else "",
    )


def window(settings: "Settings", what: str, who: str, request: WindowRequest) -> Plan:
    """Open the window and follow it; `what` and `who` are for the record of the application."""
    about = {
        "when": request.id,
        "who": who,
        "what": what,
        "release": request.new,
        "from": request.old,
    }
    values = {
        "root": settings.paths.root,
        "open": "yes",
        **parameters(request),
        "migrate_timeout": str(settings.db.migrate_timeout),
        "hold": str(settings.wsgi.hold),
        "about": json.dumps(about, ensure_ascii=False)[1:-1],
    }
    return (Procedure("follow", values, settings.paths.procedures),)


def say(settings: "Settings", request: WordRequest) -> Plan:
    """Say a word to a window of several hosts, and wait for its answer."""
    values = {"root": settings.paths.root, **parameters(request)}
    return (Procedure("follow", values, settings.paths.procedures),)


def follow(settings: "Settings", id: str) -> Plan:
    """Follow a window that another command opened."""
    return (
        Procedure("follow", {"root": settings.paths.root, "id": id}, settings.paths.procedures),
    )


def heads(settings: "Settings", facts: "Facts", target: str) -> Plan:
    """Compare the migration head of a release's code with the database's."""
    values = {
        "root": settings.paths.root,
        "current": facts.current,
        "target": target,
        "wsgi_app": settings.wsgi.app,
        "migrate": settings.app.migrate,
    }
    return (Procedure("heads", values, settings.paths.procedures),)


def finish(settings: "Settings", seen: tuple[str, ...]) -> Plan:
    """Note the windows whose verdict is known here, and remove what nobody needs any more."""
    values = {
        "root": settings.paths.root,
        "seen": " ".join(seen),
        "keep": str(settings.app.keep),
        "keep_dumps": str(settings.db.keep_dumps),
    }
    return (Procedure("finish", values, settings.paths.procedures),)


def migrate_command(settings: "Settings") -> str:
    """Return the shell command that migrates the database."""
    return "flask db upgrade" if settings.app.migrate == "auto" else settings.app.migrate

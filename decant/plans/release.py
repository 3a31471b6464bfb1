"""The release flow's procedures with their parameters."""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from decant import quoting
from decant.config import source as source_module
from decant.plans import python, stack
from decant.plans.requests import (
    PrepareRequest,
    SourceKind,
    WindowRequest,
    WordRequest,
    parameters,
)
from decant.steps import Background, Plan, Procedure

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts


def prepare(
    settings: "Settings",
    id: str,
    rendered: bytes,
    kind: SourceKind = SourceKind.GIT,
    source: str = "",
    commit: str = "",
    label: str = "",
    version: str = "",
) -> Plan:
    """Make a release ready."""
    request = _preparation(settings, id, rendered, kind, source, commit, label, version)
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
    version: str = "",
) -> PrepareRequest:
    app = settings.app
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
        version=version,
        subdir=app.subdir.rstrip("/"),
        rendered=(
            hashlib.sha256(rendered + "\n".join(["", *shared, "", *public]).encode()).hexdigest()
        ),
        shared="\n".join(shared),
        shared_files="\n".join(app.shared_files),
        public="\n".join(public),
        static="\n".join(above + folder for folder in folders if folder not in shared),
        private="\n".join(source_module.private(settings)),
        named="\n".join(f"{key}\t{path}" for key, path in named if path),
        server=stack.server(settings),
        wsgi_app=settings.wsgi.app,
        migrate=settings.migrate if settings.is_app else "",
        ask_pending=app.pending if settings.is_app else "",
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
        "migrate": settings.migrate,
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


def seen(settings: "Settings", ids: tuple[str, ...]) -> Plan:
    """Note the windows of whose good end the person has been told."""
    values = {"root": settings.paths.root, "seen": " ".join(ids)}
    return (Procedure("seen", values, settings.paths.procedures),)


def migrate_command(settings: "Settings") -> str:
    """Return the shell command that migrates the database."""
    return _migrations(settings, "upgrade") if settings.migrate == "auto" else settings.migrate


def downgrade_command(settings: "Settings", heads: str) -> str:
    """Return the shell command that migrates the database down to the heads of an older release."""
    return _migrations(settings, "downgrade", heads)


def _migrations(settings: "Settings", *action: str) -> str:
    program = f"{settings.paths.procedures}/decant_migrations.py"
    variable = "" if settings.db.kind == "none" else settings.db.variable
    return quoting.join(("python", program, *action, settings.wsgi.app, variable))

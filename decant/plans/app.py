"""The application's place on the server.

Folders, procedures, secrets, and the manifest that tells others what is ours.
"""

import json
from typing import TYPE_CHECKING

from decant import __version__, quoting
from decant.config.variables import variables
from decant.paths import ACME_CAS, AUTH, MANIFESTS, Paths
from decant.plans import (
    apache,
    backup,
    certbot,
    db,
    metadata,
    mod_wsgi,
    processes,
    python,
    stack,
    systemd,
)
from decant.plans.rendering import build, procedures, render
from decant.steps import Absent, Directory, File, GeneratedSecret, Handler, Plan, Run

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts
    from decant.quoting import Secret

# Sent with each program and not left on the server.
TRAVELLING = frozenset({"steps.sh", "facts.sh", "lock.sh"})

SECLUDE = (
    'root=$1; python3 -I -S "$1/procedures/tree.py" seclude "$1" "$2" && . "$1/procedures/lib.sh"'
    " && list_releases"
)


def folders_and_secrets(settings: "Settings", key: "Secret | None" = None) -> Plan:
    """Folders, procedures and generated secrets.

    `key` is the SECRET_KEY that the hosts of an application share.
    """
    if not settings.is_app or "SECRET_KEY" in variables(settings):
        return folders(settings)
    owner = f"root:{settings.app.name}"
    generated = GeneratedSecret(settings.paths.secrets, "SECRET_KEY", owner, key)
    return (*folders(settings), generated)


def folders(settings: "Settings") -> Plan:
    """Folders and procedures."""
    paths, name = settings.paths, settings.app.name
    return (
        Directory(paths.root),
        Directory(paths.releases, mode=0o751),
        Directory(paths.environments, f"root:{name}", 0o751),
        *(_for_builds(paths) if settings.is_app else ()),
        Directory(paths.logs),
        Directory(paths.backups, mode=0o700),
        Directory(paths.shared, f"root:{name}", 0o751),
        File(
            f"/etc/tmpfiles.d/decant-{name}.conf",
            render("systemd/tmpfiles.j2", settings),
            notify=("tmpfiles",),
        ),
        Handler("tmpfiles"),
        *server_scripts(settings),
        Absent(f"{paths.procedures}/front.sh"),  # as a version before called proxy.sh
        *(systemd.release_units(settings) if settings.is_app or settings.is_web else ()),
    )


def _for_builds(paths: Paths) -> Plan:
    """Where environments are built; what is in it belongs to the builder."""
    return (
        Directory(paths.build, f"root:{paths.builder}", 0o710),
        Directory(f"{paths.build}/home", f"{paths.builder}:{paths.builder}", 0o700),
    )


def secluded(settings: "Settings", facts: "Facts") -> Plan:
    """Close releases and environments that an older version left readable for everybody.

    It was done where the list of releases exists, which is what others may read of them.
    """
    if not settings.is_app or facts.listed or not facts.releases:
        return ()
    command = ("sh", "-c", SECLUDE, "seclude", settings.paths.root, settings.app.name)
    return (Run(command, label="releases and environments that others could read"),)


def write_manifest(settings: "Settings") -> Plan:
    """The manifest, before anything else.

    What comes after it is known as ours, also when a first deploy is cut off.
    """
    return (
        Directory(MANIFESTS),
        File(
            settings.paths.manifest,
            json.dumps(manifest(settings), indent=1, sort_keys=True) + "\n",
            first=True,
        ),
    )


def server_scripts(settings: "Settings") -> Plan:
    """The procedures, and the few facts about this application that they read."""
    paths = settings.paths
    files = {name: data for name, data in procedures().items() if name not in TRAVELLING}
    return (
        Directory(paths.procedures),
        *(
            File(f"{paths.procedures}/{name}", data, mode=0o755 if name == "with-env" else 0o644)
            for name, data in files.items()
        ),
        File(f"{paths.procedures}/app.conf", quoting.assignments(parameters(settings))),
        *python.wanted(settings),
        File(f"{paths.procedures}/sandbox.application", render("systemd/sandbox.j2", settings)),
        File(f"{paths.procedures}/sandbox.build", render("systemd/build.j2", settings)),
    )


def parameters(settings: "Settings") -> dict[str, str]:
    """Return what every procedure knows of the application."""
    health = settings.app.health
    return {
        "name": settings.app.name,
        "user": settings.app.name,
        "builder": settings.paths.builder,
        "run": settings.paths.run,
        "lock": settings.paths.lock,
        # On an app host without a database of its own there is nothing to dump.
        "db_kind": settings.db.kind
        if settings.is_db or not settings.has_database_server
        else "remote",
        "db_name": settings.database_name,
        "db_user": settings.database_user,
        "db_path": settings.database_file,
        "db_variable": settings.db.variable,
        "db_driver": db.driver_name(settings),
        "db_clients": " ".join(settings.database_clients),
        "request_timeout": str(settings.wsgi.timeout),
        "health_path": health.path,
        "interface": settings.wsgi.interface,
        "health_host": settings.health_host,
        "health_status": health.status,
        "health_timeout": str(health.timeout),
    }


def manifest(settings: "Settings") -> dict[str, object]:
    """Return what this application owns on the server, for the other applications on it and for
    `destroy`.
    """
    name, paths = settings.app.name, settings.paths
    return {
        "name": name,
        "decant": __version__,
        "build": build(),
        "root": paths.root,
        "roles": list(settings.host.roles),
        "server": stack.server(settings),
        "manager": (
            settings.wsgi.manager if settings.is_app and settings.wsgi.server != "mod_wsgi" else ""
        ),
        "proxy": settings.proxy.kind if settings.is_web else "",
        "units": [
            paths.socket_unit,
            paths.service,
            metadata.unit(name),
            *processes.units(settings),
            *(backup.units(name) if settings.backup.to else ()),
        ],
        "database": database_of(settings),
        "sockets": [paths.socket] if settings.is_app and not settings.bind else [],
        "binds": [settings.bind] if settings.bind and settings.is_app else [],
        "ports": list(stack.ports(settings)),
        "private": [f"{port}/tcp" for _, port in stack.reachable(settings)],
        "domains": [*settings.proxy.domains, *settings.proxy.redirect] if settings.is_web else [],
        "packages": list(stack.packages(settings)),
        "files": list(own_files(settings)),
    }


def database_of(settings: "Settings") -> dict[str, str]:
    """Return which database the application has its rows in, as the manifest says it."""
    named = (
        {"name": settings.database_name, "user": settings.database_user}
        if settings.has_database_server
        else {}
    )
    return {
        "kind": settings.db.kind,
        "path": settings.database_file,
        **named,
        "where": "" if settings.is_db else "on another host",
    }


def own_files(settings: "Settings") -> tuple[str, ...]:
    """Return every file outside the application's folder that is its alone, on whichever stack it
    is or was.
    """
    name, paths = settings.app.name, settings.paths
    return (
        *paths.units,
        f"/etc/systemd/system/{name}-smoke@.service",
        f"/etc/systemd/system/{name}-window@.service",
        mod_wsgi.drop_in(settings),
        paths.program,
        *(f"/etc/nginx/sites-{place}/{name}" for place in ("enabled", "available")),
        *apache.sites(name),
        f"/etc/tmpfiles.d/decant-{name}.conf",
        certbot.marker(settings),
        certbot.credentials(settings),
        f"{AUTH}/{name}",
        *metadata.files(name),
        f"{ACME_CAS}/{name}.pem",
        *backup.files(name),
        *processes.files(settings),
    )


def in_current(settings: "Settings", *command: str) -> tuple[str, ...]:
    """Return a command that runs in the current release in the application's sandbox, with its
    variables and environment, and without a limit.
    """
    paths = settings.paths
    return (
        "sh",
        f"{paths.procedures}/confined.sh",
        paths.root,
        "application",
        "run",
        "0",
        f"{paths.current}/.deploy/with-env",
        *command,
    )

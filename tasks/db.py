"""The application's database: its server, its migrations, its dumps."""

import time
from json import loads
from pathlib import Path, PurePosixPath
from typing import Any

from decant.commands.decorators import task
from decant.errors import DeployError, StepError
from decant.operations.release import shared
from decant.operations.release.prepare import release_lock
from decant.operations.release.window import migrate_current, restore_dump
from decant.paths import local
from decant.plans import app, preflight, release, system
from decant.plans import db as plans
from decant.remote import transfer
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from decant.remote.report import Report
from decant.steps import Packages


@task
def install(c: ServerConnection) -> None:
    """Install and enable the distribution's database server (sqlite: its shell, which db.shell
    opens).
    """
    host = Host(c)
    _need_own(host)
    host.require_disk_space()
    with host.lock("db.install"):
        host.changes(plans.install(host.settings) or (Packages(("sqlite3",)),))


@task
def create(c: ServerConnection) -> None:
    """Make the database, its account and its password.

    A password that was changed in shared/secrets.env is taken over.
    """
    host = Host(c)
    if not host.settings.has_database_server:
        raise DeployError(
            f'db.kind is "{host.settings.db.kind}": there is nothing to create; mariadb and'
            " postgresql have accounts"
        )
    _need_here(host)
    preflight.refuse_conflicts(host.settings, host.facts)
    with host.lock("db.create"):
        account = (
            *app.write_manifest(host.settings),
            *system.packages(host.settings, host.facts),
            *system.user(host.settings),
            *app.folders_and_secrets(host.settings),
        )
        host.changes((*account, *plans.install(host.settings), *plans.create(host.settings)))


@task
def migrate(c: ServerConnection) -> None:
    """Migrate the database of the release that serves.

    Dump, migrate, and put back if it fails, while requests wait.
    """
    host = Host(c)
    if not host.settings.migrate:
        raise DeployError(
            'app.migrate is empty; set it to the command that migrates, or to "auto", for which'
            " wsgi.app has to name the callable"
        )
    _need_release(host)
    shared.refuse_shared(host)
    with release_lock(host, "db.migrate"):
        if host.dry:
            return host.output.line(
                "would migrate what is pending, with a dump before it; nothing was changed (--dry)"
            )
        if "migrate" in host.finished:
            return host.output.line("the database was migrated by the command before")
        outcome = migrate_current(host)
    if outcome.failed:
        raise DeployError(f"{host.name}: {outcome.cause}")


@task(help={"to": "also fetch the dump into this local file"})
def dump(c: ServerConnection, to: str = "") -> None:
    """Dump the database into backups/ on the server, named by time and release.

    The application goes on serving.
    """
    host = Host(c)
    _need_own(host)
    _need_release(host)
    if to and not host.output.single_host:
        raise DeployError("--to is one file, and this is more than one host: name one with -H")
    target = local(Path(), to)
    if to and target.exists():
        raise DeployError(f"{to} is there already; name a new file")
    if to and not target.parent.is_dir():
        raise DeployError(f"--to {to}: there is no folder {target.parent}")
    id = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    suffix = plans.SUFFIXES[host.settings.db.kind]
    path = f"{host.paths.backups}/{id}-{host.facts.current or 'by-hand'}{suffix}"
    with release_lock(host, "db.dump"):
        if host.dry:
            return host.output.line(f"would dump to {path}; nothing was changed (--dry)")
        host.changes((*app.server_scripts(host.settings), *plans.dump(host.settings, path)))
        if to:
            transfer.fetch(host, path, target)
    host.output.line(f"dumped to {path}" + (f" and {to}" if to else ""))


@task(
    positional=["file"],
    help={
        "file": "a dump: a local file, or one in backups/ on the server",
        "yes": "do not ask; needed where there is no terminal",
        "as_administrator": (
            "load it as the server's administrator: whatever stands in the dump is done, so only"
            " for one that you trust"
        ),
    },
)
def restore(
    c: ServerConnection, file: str, yes: bool = False, as_administrator: bool = False
) -> None:
    """Put a dump in the place of the database.

    It is tried out first. What is there is dumped, and comes back if the release fails its health
    check with it.
    """
    host = Host(c)
    _need_own(host)
    if host.settings.database_clients:
        raise DeployError(
            f"{host.name}: other hosts use this database, and a restore under them is not built:"
            " stop the application on them (fab app.stop), put the dump in by the"
            " database's own tools, and start it again"
        )
    _need_release(host)
    own = local(Path(), file)
    name = PurePosixPath(file).name
    sent = f"{host.paths.backups}/.restore-{name}"
    path = sent if own.is_file() else f"{host.paths.backups}/{name}"
    if as_administrator and not host.settings.has_database_server:
        raise DeployError(
            f'db.kind is "{host.settings.db.kind}": there is no administrator; run it without'
            " --as-administrator"
        )
    host.output.line(
        f"restore puts {f'your file {own}' if own.is_file() else path} in the place of the"
        " database; what is there is dumped first"
    )
    host.confirm("restore", yes)
    with release_lock(host, "db.restore"):
        if host.dry:
            return host.output.line("nothing was changed (--dry)")
        if "restore" in host.finished:
            return host.output.line(
                "the command before, which was interrupted, has restored a dump already; nothing"
                " was done now: run it again to restore once more"
            )
        try:
            if own.is_file():
                transfer.send(host, own, sent)
            host.apply(
                (
                    *app.server_scripts(host.settings),
                    *plans.verify(host.settings, path, as_administrator),
                )
            )
        except StepError:
            host.apply(plans.remove_upload(sent))
            raise
        outcome = restore_dump(host, path, as_administrator)
    if outcome.failed:
        raise DeployError(f"{host.name}: {outcome.cause}")


@task
def shell(c: ServerConnection) -> None:
    """Open the database's own shell, as the application's account."""
    host = Host(c)
    _need_own(host)
    _need_release(host)
    if host.interact(*plans.action(host.settings, "shell"), shell_only=True):
        raise DeployError(f"{host.name}: the shell ended with an error")


@task(help={"json": "print one JSON document on standard output"})
def status(c: ServerConnection, json: bool = False) -> None:
    """Show the database's size, its tables, and which migration it is at."""
    host = Host(c, json)
    _need_here(host)
    _need_release(host)
    settings = host.settings
    report = (
        host.apply(release.heads(settings, host.facts, host.facts.current))
        if settings.is_app
        else Report()
    )
    found = (
        loads(host.read(*plans.action(settings, "status")))
        if settings.can_dump
        else {"size": 0, "tables": []}
    )
    at, wanted = report.values.get("database_head", ""), report.values.get("target_head", "")
    found |= {
        "kind": settings.db.kind,
        "name": settings.database_file or settings.database_name,
        "head": at,
        "pending": wanted if wanted != at else "",
    }
    if json:
        return host.output.document({"host": host.name, **found})
    host.output.table(("", host.name), _rows(found))


WAL = "to have it start first: fab db.shell, then PRAGMA journal_mode = WAL;"


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    tables = [f"{name} ({rows} rows)" for name, rows in found["tables"]]
    return [
        ("database", f"{found['kind']} {found['name']}"),
        *(
            [("size", f"{found['size'] / 1e6:.1f} MB"), ("tables", "\n".join(tables) or "none")]
            if found["kind"] not in ("external", "none")
            else []
        ),
        *(
            [("journal", f"{found['journal']}: an update stops the application first; {WAL}")]
            if found.get("journal", "wal") != "wal"
            else []
        ),
        ("migration", found["head"] or "none"),
        (
            "pending",
            (
                f"{found['pending']}: fab db.migrate, or the next update"
                if found["pending"]
                else "nothing"
            ),
        ),
    ]


def _need_own(host: Host) -> None:
    preflight.refuse_another_database(host.settings, host.facts)
    _need_here(host)
    kind = host.settings.db.kind
    if not host.settings.can_dump:
        raise DeployError(
            f'db.kind is "{kind}": '
            + ("its owner dumps and restores it" if kind == "external" else "there is no database")
        )


def _need_here(host: Host) -> None:
    if host.settings.database_peer:
        where = host.settings.database_peer.name
        raise DeployError(f"{host.name}: its database is on {where}: fab -H {where} ...")
    if not host.settings.is_app and not host.settings.is_db:
        raise DeployError(f"{host.name}: there is no database on a web host")


def _need_release(host: Host) -> None:
    deployed = host.facts.current or (
        not host.settings.receives_releases
        and any(found.get("name") == host.settings.app.name for found in host.facts.manifests)
    )
    if not deployed:
        raise DeployError(
            f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy"
        )
    preflight.refuse_older(host.settings, host.facts)

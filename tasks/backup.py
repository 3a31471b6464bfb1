"""Copies that leave the server: database, shared folders and secrets, encrypted."""

from json import loads

from decant.commands.decorators import app_task
from decant.errors import DeployError
from decant.operations import backup
from decant.operations.release.prepare import release_lock
from decant.operations.release.window import restore_dump
from decant.plans import backup as plans
from decant.plans import db
from decant.remote.connection import ServerConnection
from decant.remote.host import Host


@app_task
def install(c: ServerConnection) -> None:
    """Install restic, what opens the storage, and the timers of [backup]."""
    host = _host(c)
    host.require_disk_space()
    with host.lock("backup.install"):
        host.changes((*plans.install(host.settings),))


@app_task(
    help={"take_over": "also where another server has copies there, whose place this one has"}
)
def now(c: ServerConnection, take_over: bool = False) -> None:
    """Copy the database, the shared folders and the secrets to the storage, as the timer does.

    The application goes on serving.
    """
    host = _host(c)
    if host.dry:
        return host.output.line(f"would copy to {host.settings.backup.to} (--dry)")
    host.output.line(backup.run(host, "the backup", "now", *(("take-over",) if take_over else ())))


@app_task(name="list", help={"json": "print one JSON document on standard output"})
def list_copies(c: ServerConnection, json: bool = False) -> None:
    """List the copies at the storage."""
    host = Host(c, json)
    backup.need_storage(host.settings)
    found = loads(backup.run(host, "the list of copies", "list"))
    if json:
        return host.output.document({"host": host.name, "copies": found})
    host.output.table(("copy", "made (UTC)"), [(each["copy"], each["time"]) for each in found])


@app_task
def check(c: ServerConnection) -> None:
    """Fetch the newest copy and restore it into a scratch place, as the timer does each week."""
    host = _host(c)
    if host.dry:
        return host.output.line("would fetch the newest copy and try it out (--dry)")
    host.output.line(backup.run(host, "the drill", "drill"))


@app_task(
    positional=["copy"],
    help={
        "copy": "which one, as backup.list names it; default: the newest",
        "yes": "do not ask; needed where there is no terminal",
    },
)
def restore(c: ServerConnection, copy: str = "latest", yes: bool = False) -> None:
    """Put the database and the shared files of a copy in the place of what is there.

    Files that have come since stay. The database is dumped first, and comes back if the release
    fails its health check with the copy's.
    """
    host = _host(c)
    if not host.facts.current:
        raise DeployError(
            f"{host.name}: nothing is deployed here, into which a copy could be put; run: fab -H"
            f" {host.name} rebuild"
        )
    host.output.line(
        f"restore puts the database and the shared files of the copy {copy} in the place of what is"
        " there; the database is dumped first"
    )
    host.confirm("restore", yes)
    with release_lock(host, "backup.restore"):
        if host.dry:
            return host.output.line("nothing was changed (--dry)")
        try:
            told = backup.fetch(host, copy)
            if told["dump"]:
                verify = db.action(host.settings, "verify", told["path"])
                host.read(*verify, label="the trial restore")
            outcome = restore_dump(host, told["path"]) if told["dump"] else None
            if not (outcome and outcome.failed):
                backup.put(host)
        finally:
            backup.clear(host)
    if outcome and outcome.failed:
        raise DeployError(f"{host.name}: {outcome.cause}")


def _host(c: ServerConnection) -> Host:
    host = Host(c)
    backup.need_storage(host.settings)
    return host

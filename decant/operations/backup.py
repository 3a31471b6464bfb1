"""Copies elsewhere: how they are, and the way back from one."""

import json
import time
from typing import TYPE_CHECKING, Any

from decant.errors import DeployError
from decant.operations.release.prepare import new_id
from decant.plans import app, db, system
from decant.plans import backup as plans
from decant.plans.provision import provision
from decant.remote.host import Host
from decant.steps import Run

if TYPE_CHECKING:
    from decant.config.models import Settings


KEEP = 'file=$1; shift; if "$@" exists; then "$@" dump "$file"; else test $? = 1; fi'


def need_storage(settings: "Settings") -> None:
    """Raise DeployError where hosts.toml names no storage."""
    if not settings.backup.to:
        raise DeployError(
            "backup.to names no storage; set it to sftp://user@host/folder or"
            " s3://host/bucket/folder, and run: fab deploy"
        )


def summary(host: Host) -> str:
    """Say in one line how old the last copy is, and the last one that was proved to come back."""
    try:
        found = json.loads(host.text(f"{host.paths.backups}/backup.json") or "{}")
    except ValueError:
        found = {}
    said = []
    for what, way, done, never in (
        ("backup", "fab backup.now", "copied", "no copy yet"),
        ("drill", "fab backup.check", "proved to come back", "none proved yet"),
    ):
        last, failed = found.get(what), found.get(f"failed {what}")
        if last and last.get("where") != host.settings.backup.to:
            last = None  # it is at another storage
        said.append(f"{done} {_ago(last, host)}" if last else f"{never}: {way}")
        if failed:
            cause = failed.get("cause", "")
            said.append(f"the {what} {_ago(failed, host)} failed: {cause}: {way}")
    return "; ".join(said)


def run(host: Host, what: str, *words: str) -> str:
    """Have the server work on the copies; return what that prints.

    Raises DeployError with why `what` failed.
    """
    return host.read(*plans.action(host.settings, *words), label=what)


def fetch(host: Host, copy: str) -> dict[str, Any]:
    """Bring a copy to the host; return what it says of itself."""
    host.output.line(f"fetching the copy {copy} from {host.settings.backup.to}")
    told: dict[str, Any] = json.loads(run(host, "the fetch", "fetch", copy))
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(told["time"]))
    host.output.line(f"the copy is of {when}, release {told['release'] or 'none'}")
    return told


def put(host: Host, *words: str) -> None:
    """Give shared/ what the fetched copy has; `secrets`: also over those that are there."""
    host.output.line(run(host, "the copy of shared/", "put", *words))


def clear(host: Host) -> None:
    """Remove what was fetched."""
    run(host, "the cleaning up", "clear")


def bring_back(host: Host, copy: str) -> None:
    """Give an empty server the account, the shared folders, the secrets and the database of a copy.

    The release comes after it. It may be run again after it was cut off.
    """
    settings = host.settings
    if host.dry:
        return host.output.line(f"would fetch the copy {copy} from {settings.backup.to} (--dry)")
    host.changes(
        (
            *app.write_manifest(settings),
            *system.packages(settings, host.facts),
            *system.user(settings),
            *app.folders(settings),
            *plans.install(settings),
        )
    )
    try:
        told = fetch(host, copy)
        if told["kind"] != settings.db.kind:
            raise DeployError(
                f"{host.name}: the copy has a {told['kind']} database, and db.kind is"
                f' "{settings.db.kind}"; set it to what the copy has'
            )
        put(host, "secrets")
        host.changes(provision(settings, host.facts))
        if told["dump"]:
            # Whatever is there, of a deploy that failed or of somebody: nothing is lost.
            kept = (
                f"{settings.paths.backups}/{new_id(host)}-before-rebuild{db.SUFFIXES[told['kind']]}"
            )
            host.read("sh", "-c", KEEP, "keep", kept, *db.action(settings), label="the dump")
            restored = Run(db.action(settings, "restore", told["path"]), label="the database")
            host.apply((restored,))
            rows = sum(count for _, count in told["tables"])
            host.output.line(f"the database is back: {len(told['tables'])} tables, {rows} rows")
    finally:
        clear(host)
    host.forget_facts()


def _ago(noted: dict[str, Any], host: Host) -> str:
    minutes = max(0, int(host.time() - float(noted.get("time", 0)))) // 60
    if minutes < 120:
        return f"{minutes} minutes ago"
    return f"{minutes // 60} hours ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"

"""The release flow on one host: follow what is open, prepare, the window, finish. Over several hosts: rollout.py."""

import contextlib
import getpass
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from decant import quoting
from decant.config import source
from decant.errors import DeployError
from decant.plans import app, preflight, release
from decant.remote.host import BUSY, Host, Report
from decant.steps import Plan


@dataclass(frozen=True)
class Prepared:
    """A release that is ready: its name, what it replaces, and whether a migration waits. `current`: it already serves."""

    release: str
    old: str
    commit: str
    label: str
    current: bool
    pending: bool


@dataclass(frozen=True)
class Outcome:
    """How a command for one host ended, as --json shows it.

    `result` is good, current (nothing had to be done), failed, or, because of another host, put back or not switched. `tls` says
    why the site is not, or not under all its names, served by HTTPS.
    """

    host: str
    result: str
    release: str
    commit: str = ""
    cause: str = ""
    changed: int = 0
    differs: tuple[str, ...] = ()
    prober: dict[str, Any] | None = None
    seconds: float = 0.0
    tls: str = ""


@contextlib.contextmanager
def locked(host: Host, what: str) -> Iterator[None]:
    """Hold the lock for a command; a window that is open is followed first, and how one ended that nobody waited for is said."""
    followed = False
    for party in host.facts.parties if not host.dry else ():
        raise DeployError(
            f"{host.name}: the window {party.name} over several hosts is open; end it by the command that opened it, on all of them: fab update, or fab deploy"
        )
    for window in host.facts.windows:
        if not window.result and not host.dry:
            host.output.line(f"the release window {window.name} is open; following it")
            host.apply(release.follow(host.settings, window.name))
            host.forget_facts()
            followed = True
    with host.lock(what, 10.0 if followed else BUSY):  # its own client, if there is one, has to finish
        if followed:
            host.forget_facts()  # they may be from before its client had finished
        _settle(host)
        yield


def new_id() -> str:
    """Return a name that sorts by time."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime())


def prepare(host: Host, id: str, before: Plan = (), compare: Plan = ()) -> tuple[Prepared, Report]:
    """Make the release ready that hosts.toml asks for, while the old one serves; `id` is its name's beginning.

    `before` is what has to stand on the server first (in the same program, where nothing has to be sent in between); `compare` is only compared.
    """
    settings, facts = host.settings, host.facts
    if not before:
        preflight.refuse_older(settings, facts)
    rendered = release.files(settings, facts)
    files = {"deploy.tar": rendered}
    first = before or app.scripts(settings)
    if settings.app.is_git:
        report = host.apply((*first, *release.prepare(settings, id, rendered)), compare, files)
        return _prepared(report), report
    sent = source.find(settings)
    host.output.line(f"source: {sent.label} of {sent.folder}")
    if sent.left_out:
        host.output.line(f"left out of the release, as private: {', '.join(sent.left_out)}")
    known: dict[str, Any] = {"commit": sent.commit, "label": sent.label}
    if any(found.commit == sent.commit for found in facts.releases):
        # A release of this very tree is there: often nothing has to be sent.
        stood = host.apply((*first, *release.prepare(settings, id, rendered, "known", **known)), compare, files)
        if stood.values.get("result") != "absent":
            return _prepared(stood), stood
    else:
        stood = host.apply(first)
    folder = host.send_tree(sent) if sent.files else ""
    files |= {} if folder else {"source.tar": sent.archive()}
    report = host.apply(release.prepare(settings, id, rendered, "folder" if folder else "tar", source=folder, **known), compare, files)
    report.changed[:0] = stood.changed
    return _prepared(report), report


def switch(host: Host, what: str, new: str, old: str, **change: str) -> tuple[Report, dict[str, Any] | None]:
    """Open the window, with a prober beside it that counts what visitors lose; return its report and the prober's counts."""
    id = new_id()
    with probed(host, bool(old) and host.settings.is_app and host.settings.is_web) as counts:
        report = host.apply(window(host, id, what, new, old, **change))
    host.apply(release.finish(host.settings, (id,)))
    return report, counts or None


def window(host: Host, id: str, what: str, new: str, old: str, **change: str) -> Plan:
    """Return the plan that opens a window, in the name of the person who runs this."""
    return release.window(host.settings, id, what, f"{getpass.getuser()}@{socket.gethostname()}", old, new, **change)


@contextlib.contextmanager
def probed(host: Host, wanted: bool = True) -> Iterator[dict[str, Any]]:
    """Ask the host's proxy for health ten times a second while the block runs; what visitors lost is in the dictionary after that."""
    counts: dict[str, Any] = {}
    if not wanted:
        yield counts
        return
    command = ("sh", f"{host.paths.procedures}/ask.sh", host.paths.root, "probe", str(host.settings.longest_wait))
    with host.background(quoting.join(command)) as lines:
        yield counts
    counts.update(_counts(lines) or {})


def ready(host: Host, prepared: Prepared, report: Report) -> Outcome:
    """Return the outcome so far of a host that is made ready: nothing has switched, or nothing has to."""
    differs = tuple(str(step) for step in report.differs)
    if prepared.current:
        host.output.line(f"release {prepared.release} is already current: {prepared.label}")
    return Outcome(host.name, "current" if prepared.current else "ready", prepared.release, prepared.commit, changed=len(report.changed), differs=differs)


def lost(counts: Mapping[str, Any]) -> str:
    """Return what a prober counted, as a person reads it."""
    text = f"{counts['lost']} of {counts['requests']} requests lost, longest wait {counts['longest']} s"
    return text + (f", {counts['refused']} met the maintenance page" if counts["refused"] else "")


def switched(host: Host, what: str, prepared: Prepared, outcome: Outcome, drain: bool = False) -> Outcome:
    """Switch a host to what is ready, with its migration; how the window ended is in the outcome. `drain`: visitors go to other hosts meanwhile."""
    migrate = release.migrate_command(host.settings) if prepared.pending else ""
    dump = _dump_wanted(host, prepared.pending)
    smoked = "no" if prepared.pending else "yes"
    report, counts = switch(host, what, prepared.release, prepared.old, migrate=migrate, dump_wanted=dump, smoked=smoked, drain="yes" if drain else "no")
    return judge(host, report, replace(outcome, changed=outcome.changed + 1), counts, prepared.old)


def untouched(host: Host, prepared: Prepared, why: str) -> Outcome:
    """Return the outcome of a host that was ready and has not switched, because of another one."""
    stays = f"{prepared.old} serves as before" if prepared.old else "nothing serves yet"
    host.output.line(f"not switched, as {why}; {stays}")
    return Outcome(host.name, "not switched", prepared.old, cause=f"{why}; {stays}")


def back(host: Host, prepared: Prepared, outcome: Outcome, why: str) -> Outcome:
    """Put a host that had switched back to what it served, because of what happened to others (`why`); it stays where a migration ran, or where nothing served."""
    if prepared.pending or not prepared.old:
        stays = f"{why}, and {prepared.release} stays: " + (
            "its migration ran; go back with: rollback --downgrade, or rollback --restore" if prepared.pending else "nothing served before"
        )
        host.output.line(stays)
        return replace(outcome, cause=stays)
    host.output.line(f"{why}: going back to {prepared.old}")
    report, counts = switch(host, "rollback", prepared.old, prepared.release, rolled_back="yes")
    ended = judge(host, report, Outcome(host.name, "", prepared.old), counts, prepared.release)
    if ended.result == "good":
        ended = replace(ended, result="put back", cause=f"to {prepared.old}, as {why}")
    return ended


def way_back(host: Host, target: str, downgrade: bool, restore: bool) -> dict[str, str]:
    """Return what the window of a rollback does to the database.

    Raises DeployError where it does not fit the release and nobody said what to do.
    """
    if not host.settings.is_app:
        return {}
    report = host.apply((*app.scripts(host.settings), *release.heads(host.settings, host.facts, target)))
    return _database_change(host, target, report.values, downgrade, restore)


def rollback(host: Host, target: str, change: Mapping[str, str]) -> Outcome:
    """Go back to an older good release; `change` is the way back of its database."""
    current, found = host.facts.current, host.facts.release(target)
    report, counts = switch(host, "rollback", target, current, rolled_back="yes", **change)
    return judge(host, report, Outcome(host.name, "", target, found.commit if found else ""), counts, current)


def rollback_target(host: Host, to: str) -> str:
    """Return the release to go back to: `to`, or the newest good one before the current.

    Raises DeployError where there is none, or it never was good.
    """
    current = host.facts.current
    good = [found.name for found in host.facts.releases if found.state == "good" and found.name != current]
    target = to or max((name for name in good if name < current), default="")
    if target not in good:
        others = ", ".join(f"{found.name} ({found.state})" for found in host.facts.releases if found.name != current) or "none"
        raise DeployError(f"{host.name}: there is no good release {target or 'before the current one'}; besides the current one there are: {others}")
    return target


def migrate(host: Host) -> Outcome:
    """Migrate the database of the release that serves, in a window of its own."""
    settings, current = host.settings, host.facts.current
    report = host.apply((*app.scripts(settings), *release.heads(settings, host.facts, current)))
    if settings.app.migrate == "auto" and report.values.get("target_head") == report.values.get("database_head"):
        host.output.line("no migration is pending")
        return Outcome(host.name, "current", current)
    report, counts = switch(host, "migrate", current, current, migrate=release.migrate_command(settings), dump_wanted=_dump_wanted(host, True))
    return judge(host, report, Outcome(host.name, "", current), counts, current)


def restore(host: Host, path: str, administrator: bool = False) -> Outcome:
    """Put a dump in the place of the database, in a window of its own; what is there is dumped, and comes back if the release is not well with it."""
    current = host.facts.current
    report, counts = switch(host, "restore", current, current, restore=path, administrator="yes" if administrator else "", dump_wanted="yes")
    outcome = judge(host, report, Outcome(host.name, "", current), counts, current)
    if outcome.result == "good":
        at = host.apply(release.heads(host.settings, host.facts, current)).values
        if at.get("database_head") != at.get("target_head"):
            host.output.line(
                f"the database is now at {at.get('database_head') or 'its beginning'}, and the release wants {at.get('target_head')}: fab -H {host.name} db.migrate"
            )
    return outcome


def preview(host: Host, compare: Plan = ()) -> None:
    """Show what a release would change in the files of the one that serves, and what `compare` would change (--dry)."""
    settings = host.settings
    if compare:
        host.summary(host.apply(compare))
    if not settings.has_release:
        return
    if host.facts.current:
        host.apply(release.preview(settings, host.facts))
    ref = settings.app.ref or ("its HEAD" if settings.app.is_git else "the working tree")
    host.output.line(f"would release {ref} of {settings.app.source}: prepare; stop, pull, migrate (what is pending shows when the code is there), start")


def _settle(host: Host) -> None:
    for window in () if host.dry else host.facts.windows:
        result, cause = window.result.partition(" ")[::2]
        host.output.line(f"the release window {window.name}, which nobody waited for, ended: {result or 'unknown'}" + (f": {cause}" if cause else ""))
    if host.facts.windows and not host.dry:
        host.apply(release.finish(host.settings, tuple(window.name for window in host.facts.windows)))
        host.forget_facts()


def _prepared(report: Report) -> Prepared:
    values = report.values
    names = {name: values.get(name, "") for name in ("release", "old", "commit", "label")}
    return Prepared(**names, current=values.get("result") == "current", pending=values.get("pending") == "yes")


def judge(host: Host, report: Report, outcome: Outcome, counts: dict[str, Any] | None, old: str) -> Outcome:
    """Print the summary of a window and return how it ended."""
    prober = f"; {lost(counts)}" if counts else ""
    result, cause = report.values.get("result", "unknown"), report.values.get("cause", "")
    if result == "good":
        host.output.line(f"release {outcome.release} serves{prober}")
        return replace(outcome, result="good", prober=counts)
    host.output.line(f"release {outcome.release}: {result}{prober}")
    stays = "" if "serves" in cause or "stays" in cause else f"; {old} serves as before" if old else "; nothing serves yet"
    if result == "unknown":
        stays = f"; what serves is shown by: fab -H {host.name} status"
    return replace(outcome, result="failed", cause=f"{cause}{stays}; mend the cause and run the same command again", prober=counts)


def _database_change(host: Host, target: str, values: dict[str, str], downgrade: bool, restore: bool) -> dict[str, str]:
    """Return what the window does to the database on the way back."""
    head, database, dump = values.get("target_head", ""), values.get("database_head", ""), values.get("dump", "")
    if restore and downgrade:
        raise DeployError("--downgrade keeps the rows and --restore loses the newer ones: choose one")
    if restore:
        if head and head == database:
            raise DeployError(f"{host.name}: the database fits {target} as it is, and --restore would lose rows for nothing; run rollback without it")
        if not dump:
            raise DeployError(f"{host.name}: there is no dump from the time of {target} in {host.paths.backups}; use --downgrade")
        host.output.line(f"restoring {dump.rpartition('/')[2]}: what was written since then is lost, and is in the dump that is made now")
        return {"restore": dump, "dump_wanted": "yes"}
    if host.settings.app.migrate not in ("", "auto"):
        raise DeployError(
            f"{host.name}: app.migrate is a command of your own, so only you know whether the database fits {target}: "
            'if it does, set app.migrate = "" for this rollback; --restore puts back the dump from before and loses what was written since'
        )
    if head == database:
        return {}
    if downgrade and not head:
        raise DeployError(f"{host.name}: {target} does not say at which migration its database was; use --restore")
    if downgrade:
        command = quoting.join(("flask", "db", "downgrade", head))
        return {"migrate": command, "migrate_in": host.facts.current, "dump_wanted": _dump_wanted(host, True)}
    raise DeployError(
        f"{host.name}: {target} knows the database at {head or 'its beginning'}, but it is at {database}; "
        "rollback --downgrade migrates it down and keeps the rows, rollback --restore puts back the dump from before and loses what was written since"
    )


def _dump_wanted(host: Host, pending: bool) -> str:
    snapshot = host.settings.db.snapshot
    wanted = host.settings.has_dumps and not host.settings.database_peer and (snapshot == "always" or (pending and snapshot == "auto"))
    if pending and not wanted and not host.settings.database_peer:
        say_no_dump(host)
    return "yes" if wanted else "no"


def say_no_dump(host: Host) -> None:
    """Say that a database is migrated without a dump, and what that means."""
    db = host.settings.db
    host.output.line(f'no dump (db.kind = "{db.kind}", db.snapshot = "{db.snapshot}"): a migration that fails will not be undone')


def _counts(lines: list[str]) -> dict[str, Any] | None:
    try:
        counts: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        return None
    return counts


def status(host: Host) -> dict[str, Any]:
    """Return what a person wants to know about the application on a host, by name."""
    facts, settings = host.facts, host.settings
    current = facts.release(facts.current)
    health = "nothing is deployed"
    if current:
        health = host.read("sh", "-c", 'sh "$1/ask.sh" "$2" health 5 || true', "health", settings.paths.procedures, settings.paths.root)
    return {
        "host": host.name,
        "application": settings.app.name,
        "release": facts.current or "none",
        "commit": current.commit if current else "",
        "state": current.state if current else "",
        "service": facts.service,
        "socket": facts.socket,
        "health": health,
        "open windows": [window.name for window in facts.windows if not window.result] + [f"{party.name} over several hosts" for party in facts.parties],
        "disk free": f"{facts.free_mb} MB",
        "last": [
            f"{item.get('when')} {item.get('what')} {item.get('release')} by {item.get('who')}: {item.get('result')} {item.get('cause')}".strip()
            for item in facts.deploys
        ],
    }

"""The window on one host: stop, migrate, start, with a prober beside it."""

import contextlib
import getpass
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from decant import quoting
from decant.operations.release.outcome import Outcome, Prepared, Result, Verdict, judge
from decant.operations.release.prepare import new_id, once
from decant.plans import app, db, release
from decant.plans.requests import Change, WindowRequest
from decant.remote.host import Host
from decant.steps import Plan


def switch(
    host: Host, what: str, request: WindowRequest, when_good: Callable[[], None] = lambda: None
) -> tuple[Verdict, dict[str, Any] | None]:
    """Open the window, with a prober beside it that counts what visitors lose.

    Return its verdict and the prober's counts. `when_good` belongs to the command: who is cut off
    in it is told by the next one that the window ended well.
    """
    serves = bool(request.old) and host.settings.is_app and host.settings.is_web
    with probed(host, serves) as counts:
        verdict = Verdict.read(host.apply(window(host, what, request)).values)
    if verdict.result is Result.GOOD:
        when_good()
    later = verdict.result is Result.GOOD and once(what)
    host.apply(release.finish(host.settings, () if later else (request.id,)))
    host.announced += [request.id] if later else []
    return verdict, counts or None


def window(host: Host, what: str, request: WindowRequest) -> Plan:
    """Return the plan that opens a window, in the name of the person who runs this."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    return release.window(host.settings, what, who, request)


@contextlib.contextmanager
def probed(host: Host, wanted: bool = True) -> Iterator[dict[str, Any]]:
    """Ask the host's proxy for health ten times a second while the block runs.

    What visitors lost is in the dictionary after that.
    """
    counts: dict[str, Any] = {}
    if not wanted:
        yield counts
        return
    command = (
        "sh",
        f"{host.paths.procedures}/ask.sh",
        host.paths.root,
        "probe",
        str(host.settings.longest_wait),
    )
    with host.background(quoting.join(command)) as lines:
        yield counts
    counts.update(_counts(lines) or {})


def switched(
    host: Host, what: str, prepared: Prepared, outcome: Outcome, drain: bool = False
) -> Outcome:
    """Switch a host to what is ready, with its migration; how the window ended is in the outcome.

    `drain`: visitors go to other hosts meanwhile.
    """
    migrate = release.migrate_command(host.settings) if prepared.pending else ""
    request = WindowRequest(
        new_id(host),
        prepared.old,
        prepared.release,
        Change(migrate=migrate, dump_wanted=dump_wanted(host, prepared.pending)),
        smoked=prepared.smoked,
        start_first=prepared.start_first,
        drain=drain,
    )
    verdict, counts = switch(host, what, request)
    outcome = replace(outcome, changed=outcome.changed + 1)
    return judge(host, verdict, outcome, counts, prepared.old)


def migrate_current(host: Host) -> Outcome:
    """Migrate the database of the release that serves, in a window of its own."""
    settings, current = host.settings, host.facts.current
    report = host.apply(
        (*app.server_scripts(settings), *release.heads(settings, host.facts, current))
    )
    if settings.migrate == "auto" and report.values.get("target_head") == report.values.get(
        "database_head"
    ):
        host.output.line("no migration is pending")
        return Outcome(host.name, Result.CURRENT, current)
    change = Change(migrate=release.migrate_command(settings), dump_wanted=dump_wanted(host, True))
    verdict, counts = switch(host, "migrate", WindowRequest(new_id(host), current, current, change))
    return judge(host, verdict, Outcome(host.name, Result.READY, current), counts, current)


def restore_dump(host: Host, path: str, administrator: bool = False) -> Outcome:
    """Put a dump in the place of the database, in a window of its own.

    What is there is dumped, and comes back if the release fails its health check with it.
    """
    current = host.facts.current
    change = Change(restore=path, administrator=administrator, dump_wanted=True)

    at: dict[str, str] = {}

    def ask_heads() -> None:
        at.update(host.apply(release.heads(host.settings, host.facts, current)).values)

    request = WindowRequest(new_id(host), current, current, change)
    verdict, counts = switch(host, "restore", request, ask_heads)
    outcome = judge(host, verdict, Outcome(host.name, Result.READY, current), counts, current)
    if at.get("database_head") != at.get("target_head"):
        host.output.line(
            f"the database is now at {at.get('database_head') or 'its beginning'}, and the"
            f" release wants {at.get('target_head')}: fab -H {host.name} db.migrate"
        )
    return outcome


def dump_wanted(host: Host, pending: bool) -> bool:
    """Tell whether the database is dumped before it is touched.

    Say so where a migration has no dump.
    """
    wanted = db.dumped_before(host.settings, pending)
    if pending and not wanted and not host.settings.database_peer:
        say_no_dump(host)
    return wanted


def say_no_dump(host: Host) -> None:
    """Say that a database is migrated without a dump, and what that means."""
    chosen = host.settings.db
    host.output.line(
        f'no dump (db.kind = "{chosen.kind}", db.snapshot = "{chosen.snapshot}"): a migration'
        " that fails will not be undone"
    )


def _counts(lines: list[str]) -> dict[str, Any] | None:
    try:
        counts: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        return None
    return counts

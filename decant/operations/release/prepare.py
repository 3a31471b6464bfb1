"""Before the window.

The lock, what a dead client left open, and a release that is made ready while the old one serves.
"""

import calendar
import contextlib
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from decant.config import source
from decant.errors import DeployError, StepError
from decant.operations.release.outcome import Prepared, Result
from decant.plans import app, db, preflight, release, release_files, stack
from decant.plans.requests import SourceKind
from decant.remote import transfer
from decant.remote.host import BUSY, Host
from decant.remote.report import Report
from decant.steps import Plan

if TYPE_CHECKING:
    from decant.config.models import Settings

FORMAT = "%Y%m%dT%H%M%S"
TIME = re.compile(r"\d{8}T\d{6}")


@contextlib.contextmanager
def release_lock(host: Host, what: str) -> Iterator[None]:
    """Hold the lock for a command.

    Wait for an open window first, and report windows that ended unobserved.
    """
    followed: list[str] = []
    for part in host.facts.participations if not host.dry else ():
        raise DeployError(
            f"{host.name}: the window {part.window} over several hosts is open; end it by the"
            " command that opened it, on all of them: fab update, or fab deploy"
        )
    for window in host.facts.windows:
        if not window.result and not host.dry:
            host.output.line(f"the release window {window.name} is open; following it")
            host.apply(release.follow(host.settings, window.name))
            host.forget_facts()
            followed.append(window.name)
    # Its own client, if there is one, has to finish
    with host.lock(what, 10.0 if followed else BUSY):
        if followed:
            host.forget_facts()  # they may be from before its client had finished
        for id in followed:
            note_finished(host, id)
        _settle(host)
        yield
        # The last thing: until here the same command, run again, says what it has done.
        if host.announced:
            host.apply(release.seen(host.settings, tuple(host.announced)))
            host.announced.clear()


def prepare(host: Host, id: str, before: Plan = (), compare: Plan = ()) -> tuple[Prepared, Report]:
    """Make the release ready that hosts.toml asks for, while the old one serves.

    `id` is its name's beginning.

    `before` is what has to stand on the server first (in the same program, where nothing has to be
    sent in between); `compare` is only compared.
    Raises StepError with what serves now.
    """
    try:
        return _prepared(host, id, before, compare)
    except StepError as error:
        current = host.facts.current
        serves = f"{current} still serves" if current else "nothing serves yet"
        raise StepError(
            f"{error}; {serves}{'' if before else ', and nothing was changed'}"
        ) from None


def _prepared(host: Host, id: str, before: Plan, compare: Plan) -> tuple[Prepared, Report]:
    settings, facts = host.settings, host.facts
    if not before:
        preflight.refuse_older(settings, facts)
    rendered = release_files.files(settings, facts)
    files = {"deploy.tar": rendered}
    first = before or app.server_scripts(settings)
    if settings.app.is_git:
        report = host.apply((*first, *release.prepare(settings, id, rendered)), compare, files)
        return Prepared.read(report.values), report
    sent = source.find(settings)
    host.output.line(f"source: {sent.label} of {sent.folder}")
    if sent.left_out:
        host.output.line(f"left out of the release, as private: {', '.join(sent.left_out)}")
    known: dict[str, Any] = {"commit": sent.commit, "label": sent.label, "version": sent.version}
    if any(found.commit == sent.commit for found in facts.releases):
        # A release of this very tree is there: often nothing has to be sent.
        made = release.prepare(settings, id, rendered, SourceKind.KNOWN, **known)
        stood = host.apply((*first, *made), compare, files)
        if stood.values.get("result") != "absent":
            return Prepared.read(stood.values), stood
    else:
        stood = host.apply(first)
    folder = "" if sent.is_commit else transfer.send_tree(host, sent)
    files |= {} if folder else {"source.tar": sent.archive()}
    kind = SourceKind.FOLDER if folder else SourceKind.TAR
    plan = release.prepare(settings, id, rendered, kind, source=folder, **known)
    report = host.apply(plan, compare, files)
    report.changed[:0] = stood.changed
    return Prepared.read(report.values), report


def preview(host: Host, compare: Plan = ()) -> None:
    """Show what a release would change in the files of the one that serves, and what `compare`
    would change (--dry).
    """
    settings = host.settings
    if compare:
        host.summary(host.apply(compare))
    if not settings.receives_releases:
        return
    if host.facts.current:
        host.apply(release_files.preview(settings, host.facts))
    ref = settings.app.ref or ("its HEAD" if settings.app.is_git else "the working tree")
    host.output.line(
        f"would release {ref} of {settings.app.source}: prepare; then {_order(settings)}"
    )


def _order(settings: "Settings") -> str:
    """Say in which order a release would be switched to; what is pending shows with its code."""
    stops = "stop, pull, migrate, start"
    why = stack.switch(settings)
    if db.dumped_before(settings, pending=False):
        why = 'db.snapshot is "always"'
    if why != "start-first":
        return f"{stops}, as {why}"
    return f"start first, beside what serves; where a migration is pending: {stops}"


def new_id(*hosts: Host) -> str:
    """Return a name that sorts after everything that these hosts have named so.

    By the servers' clocks: those of two clients may differ, and what was named later would be taken
    for older.
    """
    named = [release.name for host in hosts for release in host.facts.releases]
    named += [str(record.get("when", "")) for host in hosts for record in host.facts.deploys]
    newest = max((text[:15] for text in named if TIME.match(text)), default="")
    now = time.strftime(FORMAT, time.gmtime(max(host.time() for host in hosts)))
    if now > newest:
        return now
    return time.strftime(FORMAT, time.gmtime(calendar.timegm(time.strptime(newest, FORMAT)) + 1))


def note_finished(host: Host, id: str) -> None:
    """Remember a window that succeeded after its client had gone.

    The same command, run again as its message asks, then does nothing a second time.
    """
    for record in host.facts.deploys:
        if record.get("when") == id and record.get("result") == Result.GOOD:
            host.finished[str(record.get("what"))] = str(record.get("release"))


def once(what: str) -> bool:
    """Tell whether a command does another thing when it is run again, and not the same."""
    return what in ("rollback", "restore", "migrate")


def _settle(host: Host) -> None:
    noted = {record.get("when") for record in host.facts.deploys}
    if not host.dry and any(each.result and each.name not in noted for each in host.facts.windows):
        # What they did is in the history, whose line a power cut may have taken: it comes again.
        host.apply(release.finish(host.settings, ()))
        host.forget_facts()
    whats = {record.get("when"): str(record.get("what")) for record in host.facts.deploys}
    seen: list[str] = []
    for window in () if host.dry else host.facts.windows:
        result, cause = window.result.partition(" ")[::2]
        host.output.line(
            f"the release window {window.name}, which nobody waited for, ended:"
            f" {result or 'unknown'}" + (f": {cause}" if cause else "")
        )
        if result == Result.GOOD:
            note_finished(host, window.name)
        good = result == Result.GOOD and once(whats.get(window.name, ""))
        (host.announced if good else seen).append(window.name)
    if host.facts.windows and not host.dry:
        host.apply(release.finish(host.settings, tuple(seen)))
        host.forget_facts()

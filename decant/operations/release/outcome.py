"""How a command for one host goes and ends, as a value and as a person reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from decant.remote.host import Host
from decant.remote.report import Report


@dataclass(frozen=True)
class Prepared:
    """A release that is ready: its name, what it replaces, and whether a migration waits.

    `current`: it already serves.
    """

    release: str
    old: str
    commit: str
    label: str
    current: bool
    pending: bool


@dataclass(frozen=True)
class Outcome:
    """How a command for one host ended, as --json shows it.

    `result` is good, current (nothing had to be done), failed, or, because of another host, put
    back or not switched. `tls` says
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


def prepared_outcome(host: Host, prepared: Prepared, report: Report) -> Outcome:
    """Return the outcome so far of a host that is made ready.

    Nothing has switched, or nothing has to.
    """
    differs = tuple(str(step) for step in report.differs)
    if prepared.current:
        host.output.line(f"release {prepared.release} is already current: {prepared.label}")
    return Outcome(
        host.name,
        "current" if prepared.current else "ready",
        prepared.release,
        prepared.commit,
        changed=len(report.changed),
        differs=differs,
    )


def untouched(host: Host, prepared: Prepared, why: str) -> Outcome:
    """Return the outcome of a host that was ready and has not switched, because of another one."""
    stays = f"{prepared.old} serves as before" if prepared.old else "nothing serves yet"
    host.output.line(f"not switched, as {why}; {stays}")
    return Outcome(host.name, "not switched", prepared.old, cause=f"{why}; {stays}")


def lost(counts: Mapping[str, Any]) -> str:
    """Return what a prober counted, as a person reads it."""
    text = (
        f"{counts['lost']} of {counts['requests']} requests lost, longest wait"
        f" {counts['longest']} s"
    )
    return text + (f", {counts['refused']} met the maintenance page" if counts["refused"] else "")


def judge(
    host: Host, report: Report, outcome: Outcome, counts: dict[str, Any] | None, old: str
) -> Outcome:
    """Print the summary of a window and return how it ended."""
    prober = f"; {lost(counts)}" if counts else ""
    result, cause = report.values.get("result", "unknown"), report.values.get("cause", "")
    if result == "good":
        host.output.line(f"release {outcome.release} serves{prober}")
        return replace(outcome, result="good", prober=counts)
    host.output.line(f"release {outcome.release}: {result}{prober}")
    serving = f"; {_serving(host, report, outcome.release, old)}"
    return replace(
        outcome,
        result="failed",
        cause=f"{cause}{serving}; mend the cause and run the same command again",
        prober=counts,
    )


def _serving(host: Host, report: Report, new: str, old: str) -> str:
    """Say which release serves after a window that failed: the server tells (follow.sh)."""
    serving = report.values.get("serving")
    if serving is None or report.values.get("result", "unknown") == "unknown":
        return f"what serves is shown by: fab -H {host.name} status"
    if not serving:
        return "nothing serves yet"
    if serving == old != new:
        return f"{old} serves as before"
    return f"{serving} serves"

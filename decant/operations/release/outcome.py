"""How a command for one host goes and ends, as a value and as a person reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from decant.operations import drift
from decant.remote.fleet import Fleet
from decant.remote.host import Host
from decant.remote.report import Report


class Result(StrEnum):
    """How a command ended for one host, or where it stands there."""

    READY = "ready"
    CURRENT = "current"  # nothing had to be done
    GOOD = "good"
    FAILED = "failed"
    UNKNOWN = "unknown"
    DRY = "dry"  # --dry: nothing was changed
    # Because of another host
    PUT_BACK = "put back"
    NOT_SWITCHED = "not switched"


@dataclass(frozen=True)
class Verdict:
    """How a window ended, as its server tells.

    `serving`: the release that serves now, empty for none; None where the server did not say.
    """

    result: Result = Result.UNKNOWN
    cause: str = ""
    serving: str | None = None

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Self:
        """Read what follow.sh reports."""
        result = values.get("result", "")
        known = Result(result) if result in (Result.GOOD, Result.FAILED) else Result.UNKNOWN
        return cls(known, values.get("cause", ""), values.get("serving"))


@dataclass(frozen=True)
class Prepared:
    """A release that is ready: its name, what it replaces, and whether a migration waits.

    `current`: it already serves, and why it does not answer as it should (`unwell`), where that is
    so; `smoked`: its health was checked on a private socket;
    `start_first`: it may start beside what it replaces.
    """

    release: str
    old: str
    commit: str
    label: str
    current: bool
    pending: bool
    smoked: bool = False
    start_first: bool = False
    unwell: str = ""

    @classmethod
    def read(cls, values: Mapping[str, str]) -> Self:
        """Read what prepare.sh reports."""
        names = {name: values.get(name, "") for name in ("release", "old", "commit", "label")}
        return cls(
            **names,
            current=values.get("result") == "current",
            pending=values.get("pending") == "yes",
            smoked=values.get("smoked") == "yes",
            start_first=values.get("start_first") == "yes",
            unwell=values.get("unwell", ""),
        )


@dataclass(frozen=True)
class Outcome:
    """How a command for one host ended, as --json shows it.

    `tls` says why the site is not, or not under all its names, served by HTTPS.
    """

    host: str
    result: Result
    release: str
    commit: str = ""
    cause: str = ""
    changed: int = 0
    differs: tuple[drift.Difference, ...] = ()
    prober: dict[str, Any] | None = None
    seconds: float = 0.0
    tls: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether something failed on this host."""
        return self.result is Result.FAILED

    @property
    def serves(self) -> bool:
        """Tell whether the release of this command serves."""
        return self.result in (Result.GOOD, Result.CURRENT)


def prepared_outcome(host: Host, prepared: Prepared, report: Report) -> Outcome:
    """Return the outcome so far of a host that is made ready.

    Nothing has switched, or nothing has to.
    """
    differs = drift.found(host, report)
    if prepared.current:
        host.output.line(f"release {prepared.release} is already current: {prepared.label}")
    return Outcome(
        host.name,
        Result.CURRENT if prepared.current else Result.READY,
        prepared.release,
        prepared.commit,
        changed=len(report.changed),
        differs=differs,
    )


def untouched(host: Host, prepared: Prepared, why: str) -> Outcome:
    """Return the outcome of a host that was ready and has not switched, because of another one."""
    stays = f"{prepared.old} serves as before" if prepared.old else "nothing serves yet"
    host.output.line(f"not switched, as {why}; {stays}")
    return Outcome(host.name, Result.NOT_SWITCHED, prepared.old, cause=f"{why}; {stays}")


def lost(counts: Mapping[str, Any]) -> str:
    """Return what a prober counted, as a person reads it."""
    text = (
        f"{counts['lost']} of {counts['requests']} requests lost, longest wait"
        f" {counts['longest']} s"
    )
    return text + (f", {counts['refused']} met the maintenance page" if counts["refused"] else "")


def judge(
    host: Host, verdict: Verdict, outcome: Outcome, counts: dict[str, Any] | None, old: str
) -> Outcome:
    """Print the summary of a window and return how it ended."""
    prober = f"; {lost(counts)}" if counts else ""
    if verdict.result is Result.GOOD:
        how = f"; {verdict.cause}" if verdict.cause else ""
        host.output.line(f"release {outcome.release} serves{prober}{how}")
        return replace(outcome, result=Result.GOOD, prober=counts)
    host.output.line(f"release {outcome.release}: {verdict.result}{prober}")
    serving = f"; {_serving(host, verdict, outcome.release, old)}"
    return replace(
        outcome,
        result=Result.FAILED,
        cause=f"{verdict.cause}{serving}; fix the cause and run the same command again",
        prober=counts,
    )


def _serving(host: Host, verdict: Verdict, new: str, old: str) -> str:
    """Say which release serves after a window that failed."""
    if verdict.serving is None or verdict.result is Result.UNKNOWN:
        return f"what serves is shown by: fab -H {host.name} status"
    if not verdict.serving:
        return "nothing serves yet"
    if verdict.serving == old != new:
        return f"{old} serves as before"
    return f"{verdict.serving} serves"


def timed(
    fleet: Fleet, before: Mapping[str, float], outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """Return the outcomes with the seconds that each host took, less those of `before`."""
    return {
        name: replace(
            outcome, seconds=round(fleet.results[name].seconds - before.get(name, 0.0), 2)
        )
        for name, outcome in outcomes.items()
    }

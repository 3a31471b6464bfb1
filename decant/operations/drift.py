"""What is not on a server as deploy left it, and why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from decant.plans import rendering
from decant.remote.host import Host
from decant.remote.report import Report


class Why(StrEnum):
    """Why something is not as deploy would leave it."""

    MISSING = "missing on the server"
    EDITED = "changed by hand on the server"
    VERSION = "written differently by this version of Decant"
    SETTINGS = "changed in hosts.toml"


# As steps.sh tells of a step: the others are ours.
TOLD = {"missing": Why.MISSING, "edited": Why.EDITED}


@dataclass(frozen=True)
class Difference:
    """A step whose state is not the wanted one, in words, and why."""

    what: str
    why: Why


def found(host: Host, report: Report) -> tuple[Difference, ...]:
    """Return what a comparison found."""
    name = host.settings.app.name
    builds = [each.get("build") for each in host.facts.manifests if each.get("name") == name]
    ours = Why.SETTINGS if rendering.build() in builds else Why.VERSION
    return tuple(
        Difference(str(step), TOLD.get(reason, ours))
        for step, reason in zip_longest(report.differs, report.reasons)
    )


DEPLOY = {
    Why.MISSING: "deploy makes it whole",
    Why.EDITED: "deploy replaces it, and keeps a copy",
    Why.VERSION: "only deploy applies it",
    Why.SETTINGS: "only deploy applies it",
}


def lines(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield a line for each reason."""
    for why in Why:
        these = [each.what for each in differences if each.why is why]
        if these:
            yield f"{why} ({DEPLOY[why]}): {', '.join(these)}"

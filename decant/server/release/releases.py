"""The releases of an application on its server, and what they say of themselves.

Read only, and quick to import: prepare asks at every deploy. Standard library only.
"""

from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """What is known of a release."""

    PREPARED = "prepared"  # it never served
    GOOD = "good"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"


class Releases:
    """The releases in an application's folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.releases = root, root / "releases"

    @property
    def current(self) -> str:
        """The release that current leads to, or nothing, as where it leads elsewhere."""
        try:
            target = (self.root / "current").readlink()
        except OSError:
            return ""
        return target.name if self.root / target == self.releases / target.name else ""

    def state(self, release: str) -> str:
        """Return what is known of a release, or nothing."""
        return self.told(release, "state")

    def told(self, release: str, name: str) -> str:
        """Return what a release's folder .deploy says under a name, or nothing."""
        try:
            return (self.releases / release / ".deploy" / name).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def protocol(self, release: str) -> str:
        """Return what a release's server speaks with the proxy; nothing where that is not known."""
        server = self.told(release, "server")
        return "http" if server in ("gunicorn", "command") else server

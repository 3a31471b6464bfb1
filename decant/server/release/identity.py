"""Tell what a release is, and whether the server has the one that is asked for already.

Arguments: the application's folder, the WSGI server (none: the application does not run here), the
commit, the digest of the rendered files, app.subdir, and the name of the environment that the
serving release would get today (empty: not known). Prints three lines: the identity; `current`,
`prepared` or `absent`; and the release that has it, or nothing. Or `lacks` and the application's
folder: prints what is missing of the release that serves. Standard library only.
"""

import hashlib
import re
import sys
from enum import StrEnum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import contents
from releases import Releases, State

VERSION = re.compile(r"python3\.\d+")


class Stands(StrEnum):
    """Where a wanted release stands on the server."""

    CURRENT = "current"  # it serves, and nothing of it is missing
    PREPARED = "prepared"  # it was made ready earlier, and nobody switched to it
    ABSENT = "absent"


class Wanted:
    """The release that hosts.toml asks for.

    `rendered` is the digest of its rendered files, `settings` what decides its environment beside
    the repository.
    """

    def __init__(
        self, server: str, commit: str, rendered: str, subdir: str, settings: bytes
    ) -> None:
        self.server, self.commit, self.rendered = server, commit, rendered
        self.subdir, self.settings = subdir, settings

    @property
    def runs(self) -> bool:
        """Tell whether the application runs on this host, and needs an environment."""
        return self.server != "none"

    @property
    def identity(self) -> str:
        """Return what two releases have in common exactly if they are the same."""
        settings = f"{hashlib.sha256(self.settings).hexdigest()}  -" if self.runs else ""
        parts = f"{self.commit} {self.rendered} {self.subdir} {settings}"
        return hashlib.sha256(parts.encode()).hexdigest()


def lacks(folder: Releases, release: str, runs: bool = True) -> str:
    """Return what is missing of a release and, where it `runs`, of its environment; or nothing.

    Somebody may have removed it by hand, or an upgrade of the distribution its interpreter.
    """
    place = folder.releases / release
    if not place.is_dir():
        return "its folder"
    missing = contents.lacks(place, contents.OF_RELEASE)
    if missing or not runs:
        return missing
    environment = place / ".deploy/venv"
    for path in (".decant-complete", "bin/python"):
        if not (environment / path).exists():
            return f"{path} of its environment"
    # /usr/bin/python3 is another one after an upgrade of the distribution, and looks elsewhere.
    interpreter = (environment / "bin/python").resolve().name
    made_by = [path.name for path in environment.glob("lib/python3.*")]
    if made_by and VERSION.fullmatch(interpreter) and interpreter not in made_by:
        return f"{made_by[0]} of its environment"
    missing = contents.lacks(environment, contents.OF_ENVIRONMENT)
    return f"{missing} of its environment" if missing else ""


def stands(folder: Releases, wanted: Wanted, environment: str) -> tuple[Stands, str]:
    """Tell where the wanted release stands, and which one it is.

    `environment` is the name of the one that the serving release would get today.
    """
    current = folder.current
    if current and _is(folder, current, wanted, State.GOOD):
        linked = folder.releases / current / ".deploy/venv"
        if not wanted.runs or (environment and _target(linked) == environment):
            return Stands.CURRENT, current
    for draft in sorted(path.name for path in folder.releases.glob("2*")):
        # What serves is never taken for a draft.
        if draft != current and _is(folder, draft, wanted, State.PREPARED):
            return Stands.PREPARED, draft
    return Stands.ABSENT, ""


def _is(folder: Releases, release: str, wanted: Wanted, state: State) -> bool:
    return (
        folder.state(release) == state
        and folder.told(release, "identity") == wanted.identity
        and not lacks(folder, release, wanted.runs)
    )


def _target(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""


def main(root: str, server: str, commit: str, rendered: str, subdir: str, environment: str) -> None:
    """Print where the wanted release stands."""
    folder = Releases(Path(root))
    settings = (
        (folder.root / "procedures/environment.json").read_bytes() if server != "none" else b""
    )
    wanted = Wanted(server, commit, rendered, subdir, settings)
    print(wanted.identity, *stands(folder, wanted, environment), sep="\n")


if __name__ == "__main__":
    if sys.argv[1] == "lacks":
        served = Releases(Path(sys.argv[2]))
        server = served.told(served.current, "server")
        print(lacks(served, served.current, runs=server not in ("", "none")))
    else:
        main(*sys.argv[1:])

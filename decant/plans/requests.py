"""What the release's procedures are told.

Each request is a value, and becomes the sh variables that its script reads.
"""

from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any


class SourceKind(StrEnum):
    """How the code of a release comes to the server."""

    GIT = "git"  # the server fetches it
    TAR = "tar"  # source.tar is sent along
    FOLDER = "folder"  # it was sent before
    KNOWN = "known"  # nothing is sent, as a release of this commit may be there


class Role(StrEnum):
    """A host's part in a window of several hosts: the leader migrates the database they share."""

    LEADER = "first"
    FOLLOWER = "other"


class Word(StrEnum):
    """What a window of several hosts is told by the client, one after the other."""

    CLOSE = "close"  # all have had their processes finish, and serve until now
    STAY = "stay"  # from here on it neither goes on nor back by itself
    MIGRATE = "migrate"
    CHECK = "check"
    SERVE = "serve"
    BACK = "back"


class Answer(StrEnum):
    """What such a window answers; a failure is `failed: ` and its cause."""

    QUIET = "quiet"
    CLOSED = "closed"
    STAYS = "stays"
    MIGRATED = "migrated"
    WELL = "well"


@dataclass(frozen=True)
class PrepareRequest:
    """A release that prepare.sh makes ready; the script's head says what each field means."""

    root: str
    id: str
    kind: SourceKind
    source: str
    ref: str
    commit: str
    label: str
    version: str
    subdir: str
    rendered: str
    shared: str
    shared_files: str
    public: str
    static: str
    private: str
    named: str
    server: str
    wsgi_app: str
    migrate: str
    ask_pending: str = ""
    only: str = ""


@dataclass(frozen=True)
class Change:
    """What a window does to the database.

    `migrate` is a shell command, run with the code of the release `migrate_in` (the new one without
    it); `restore` a dump to put in, `administrator`: as the server's administrator.
    """

    migrate: str = ""
    migrate_in: str = ""
    restore: str = ""
    administrator: bool = False
    dump_wanted: bool = False


@dataclass(frozen=True)
class WindowRequest:
    """A window from `old` (empty: nothing serves) to `new`.

    `smoked`: the new release had its health checked, and nothing comes between; `start_first`: it
    may start beside the old one, as far as the database is concerned; `rolled_back`: the old one is
    marked so; `drain`: visitors go to other hosts meanwhile; `role`: this host's role
    in a window of several; `others`: the seconds that what runs beside the service may take to end
    on any of them.
    """

    id: str
    old: str
    new: str
    change: Change = Change()
    smoked: bool = False
    start_first: bool = False
    rolled_back: bool = False
    drain: bool = False
    role: Role | None = None
    others: int = 0


@dataclass(frozen=True)
class WordRequest:
    """A word to a window of several hosts, the `number`-th (0: none was said yet).

    Without a word its last answer is waited for. Its log is told from line `from_` on.
    """

    id: str
    role: Role
    number: int
    word: Word | None = None
    because: str = ""
    from_: int = 1


def parameters(request: Any) -> dict[str, str]:
    """Return the fields of a request (a dataclass) as sh variables: yes and no for booleans."""
    values: dict[str, str] = {}
    for each in fields(request):
        value = getattr(request, each.name)
        if is_dataclass(value):
            values |= parameters(value)
        elif isinstance(value, bool):
            values[each.name] = "yes" if value else "no"
        else:
            values[each.name.rstrip("_")] = "" if value is None else str(value)
    return values

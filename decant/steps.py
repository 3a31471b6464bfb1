"""What can be done to a server, as frozen values.

A step describes a wanted state. Its check and its deed are functions of
`decant/server/driver/steps.sh`; here a step is only turned into a
call of them, so a compiled plan reads like the plan. `decant/program.py` compiles a plan of them.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from decant import quoting
from decant.quoting import Secret


class Step:
    """A wanted state.

    `words` are the arguments of its functions in steps.sh; a `bytes` word travels as a file.
    """

    notify: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The name of the step's functions in steps.sh."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def words(self) -> tuple[str | bytes, ...]:
        """Return the arguments of check, deed and show.

        Its fields in their order, unless a step says otherwise.
        """
        return tuple(getattr(self, each.name) for each in fields(self) if each.name != "notify")  # type: ignore[arg-type]  # each step is a dataclass


Plan = tuple[Step, ...]


@dataclass(frozen=True)
class Packages(Step):
    """Debian packages are installed."""

    names: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        """Return the names."""
        return self.names

    def __str__(self) -> str:
        return f"packages {' '.join(self.names)}"


@dataclass(frozen=True)
class File(Step):
    """A file has this content, owner and mode; a Secret's content is shown nowhere.

    A `first` one is on the disk before any step after it begins, so that no power cut keeps what
    comes later without it.
    """

    path: str
    content: str | bytes | Secret
    owner: str = "root:root"
    mode: int = 0o644
    notify: tuple[str, ...] = ()
    first: bool = False

    def words(self) -> tuple[str | bytes, ...]:
        """Return path, content, owner, mode, whether it is secret, and whether it comes first."""
        return (
            self.path,
            self.data,
            self.owner,
            f"{self.mode:04o}",
            "secret" if isinstance(self.content, Secret) else "plain",
            *(("first",) if self.first else ()),
        )

    @property
    def data(self) -> bytes:
        """The content as it is written."""
        text = self.content.reveal() if isinstance(self.content, Secret) else self.content
        return text.encode() if isinstance(text, str) else text

    def expected(self) -> str:
        """Return what steps.sh compares for many at once: the content's sum, owner and mode."""
        return f"{hashlib.sha256(self.data).hexdigest()} {self.owner} {self.mode:04o}"

    def __str__(self) -> str:
        return f"file {self.path}"


@dataclass(frozen=True)
class Directory(Step):
    """A folder exists with this owner and mode."""

    path: str
    owner: str = "root:root"
    mode: int = 0o755

    def words(self) -> tuple[str, ...]:
        """Return path, owner and mode."""
        return (self.path, self.owner, f"{self.mode:04o}")

    def expected(self) -> str:
        """Return what steps.sh compares for many at once: no content, owner and mode."""
        return f"- {self.owner} {self.mode:04o}"

    def __str__(self) -> str:
        return f"folder {self.path}"


@dataclass(frozen=True)
class Link(Step):
    """A symbolic link points to the target."""

    path: str
    target: str
    notify: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"link {self.path}"


@dataclass(frozen=True)
class Absent(Step):
    """A file or link is not there."""

    path: str
    notify: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"no {self.path}"


@dataclass(frozen=True)
class Edit(Step):
    """A file that others write is as `sed -Ez SCRIPT` leaves it: run again, it changes nothing."""

    path: str
    script: str
    notify: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"edit of {self.path}"


@dataclass(frozen=True)
class GeneratedSecret(Step):
    """A variable in a secrets file has a value that is set once and never replaced.

    The one given, or a random one, made on the server.
    """

    path: str
    name: str
    owner: str
    value: Secret | None = None

    def words(self) -> tuple[str | bytes, ...]:
        """Return path, name, owner, and the value where it is given."""
        return (
            self.path,
            self.name,
            self.owner,
            *((self.value.reveal().encode(),) if self.value else ()),
        )

    def __str__(self) -> str:
        return f"secret {self.name}"


@dataclass(frozen=True)
class SecretValue(Step):
    """A variable in a secrets file has this value."""

    path: str
    name: str
    owner: str
    value: Secret

    def words(self) -> tuple[str | bytes, ...]:
        """Return path, name, owner, and the value as it stands between the quotes."""
        return (self.path, self.name, self.owner, self.value.reveal().encode())

    def __str__(self) -> str:
        return f"secret {self.name}"


@dataclass(frozen=True)
class User(Step):
    """A system user without a login exists."""

    name: str
    home: str

    def __str__(self) -> str:
        return f"user {self.name}"


@dataclass(frozen=True)
class Unit(Step):
    """A systemd unit is enabled or not, and runs or not; None leaves it as it is."""

    name: str
    enabled: bool | None = None
    running: bool | None = None

    def words(self) -> tuple[str, ...]:
        """Return name, enabled and running as yes, no or -."""
        return (self.name, _yes_no(self.enabled), _yes_no(self.running))

    def __str__(self) -> str:
        return f"unit {self.name}"


@dataclass(frozen=True)
class Firewall(Step):
    """The firewall is on and lets these `PORT/PROTOCOL` in."""

    ports: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        """Return the ports."""
        return self.ports

    def __str__(self) -> str:
        return f"firewall {' '.join(self.ports)}"


@dataclass(frozen=True)
class PeerRules(Step):
    """The firewall lets the application's other hosts in, as (address, TCP port) pairs, and removes
    the rules of hosts that are gone.
    """

    pairs: tuple[tuple[str, str], ...]

    def words(self) -> tuple[str, ...]:
        """Return `ADDRESS PORT` of each pair."""
        return tuple(" ".join(pair) for pair in self.pairs)

    def __str__(self) -> str:
        return "firewall " + (
            ", ".join(f"{port} for {address}" for address, port in self.pairs)
            or "without ports for other hosts"
        )


@dataclass(frozen=True)
class Run(Step):
    """A command has been run: `unless` succeeds. Without `unless` it runs each time."""

    command: tuple[str, ...]
    unless: tuple[str, ...] = ()
    label: str = ""
    notify: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """Return both commands as shell texts."""
        return (quoting.join(self.command), quoting.join(self.unless))

    def __str__(self) -> str:
        return self.label or f"run {' '.join(self.command)}"


@dataclass(frozen=True)
class Handler(Step):
    """The action that earlier steps notify has run.

    `UNIT.reload`, `UNIT.restart`, `daemon-reload`, `tmpfiles` or `supervisor-update`.
    """

    action: str

    def __str__(self) -> str:
        return self.action


@dataclass(frozen=True)
class Procedure(Step):
    """A static script of decant/server runs with these parameters.

    What it reports comes back as values.
    """

    name: str
    parameters: Mapping[str, str] = field(hash=False)
    folder: str

    def words(self) -> tuple[str | bytes, ...]:
        """Return the script's path on the server and the file of its parameters."""
        return (f"{self.folder}/{self.name}.sh", quoting.assignments(self.parameters).encode())

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Background(Procedure):
    """A procedure runs in the background of the steps that follow; the next procedure waits for it.

    It may fail: use it only for work that the next procedure would do again.
    """

    label: str = ""

    def __str__(self) -> str:
        return f"{self.label}, beside what follows"


@dataclass(frozen=True)
class Transaction(Step):
    """All of these steps hold and `validate` succeeds, or what they changed is put back and `undo`
    runs.

    `guarded`: they could shut us out of the server, so they stay only when a second connection
    comes in after them; else the server takes them back by itself.
    """

    steps: tuple[Step, ...]
    validate: tuple[str, ...]
    undo: tuple[str, ...] = ("true",)
    label: str = ""
    guarded: bool = False

    def __str__(self) -> str:
        return self.label or f"check {' '.join(self.validate)}"


def _yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"

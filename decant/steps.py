"""What can be done to a server, as frozen values, and how a plan of them becomes one POSIX sh program.

A step describes a wanted state. Its check and its deed are functions of `decant/server/driver/steps.sh`; here a step is only turned into a
call of them, so a compiled plan reads like the plan. Nothing in this module talks to a server.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from decant import quoting
from decant.quoting import Secret

Mode = Literal["apply", "check", "compare"]


class Step:
    """A wanted state. `words` are the arguments of its functions in steps.sh; a `bytes` word travels as a file."""

    notify: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The name of the step's functions in steps.sh."""
        return type(self).__name__.lower()

    def words(self) -> tuple[str | bytes, ...]:
        """Return the arguments of check, deed and show."""
        raise NotImplementedError


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
    """A file has this content, owner and mode; a Secret's content is shown nowhere."""

    path: str
    content: str | bytes | Secret
    owner: str = "root:root"
    mode: int = 0o644
    notify: tuple[str, ...] = ()

    def words(self) -> tuple[str | bytes, ...]:
        """Return path, content, owner, mode and whether it is secret."""
        return (self.path, self.data, self.owner, f"{self.mode:04o}", "secret" if isinstance(self.content, Secret) else "plain")

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

    def words(self) -> tuple[str, ...]:
        """Return path and target."""
        return (self.path, self.target)

    def __str__(self) -> str:
        return f"link {self.path}"


@dataclass(frozen=True)
class Absent(Step):
    """A file or link is not there."""

    path: str
    notify: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """Return the path."""
        return (self.path,)

    def __str__(self) -> str:
        return f"no {self.path}"


@dataclass(frozen=True)
class Line(Step):
    """The lines of a file that match the pattern (a regular expression) are this one line."""

    path: str
    pattern: str
    line: str
    notify: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """Return path, pattern and line."""
        return (self.path, self.pattern, self.line)

    def __str__(self) -> str:
        return f"line {self.line.strip()} in {self.path}"


@dataclass(frozen=True)
class Generated(Step):
    """A variable in a secrets file has a value that is set once and never replaced: the one given, or a random one, made on the server."""

    path: str
    name: str
    owner: str
    value: Secret | None = None

    def words(self) -> tuple[str | bytes, ...]:
        """Return path, name, owner, and the value where it is given."""
        return (self.path, self.name, self.owner, *((self.value.reveal().encode(),) if self.value else ()))

    def __str__(self) -> str:
        return f"secret {self.name}"


@dataclass(frozen=True)
class Variable(Step):
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

    def words(self) -> tuple[str, ...]:
        """Return name and home."""
        return (self.name, self.home)

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
class Reachable(Step):
    """The firewall lets these (address, TCP port) pairs in, the application's other hosts, and none that it let in for it before."""

    pairs: tuple[tuple[str, str], ...]

    def words(self) -> tuple[str, ...]:
        """Return `ADDRESS PORT` of each pair."""
        return tuple(" ".join(pair) for pair in self.pairs)

    def __str__(self) -> str:
        return "firewall " + (", ".join(f"{port} for {address}" for address, port in self.pairs) or "without ports for other hosts")


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
class Notify(Step):
    """What earlier steps asked for has been done: `UNIT.reload`, `UNIT.restart`, `daemon-reload`, `tmpfiles` or `supervisor-update`."""

    action: str

    def words(self) -> tuple[str, ...]:
        """Return the action."""
        return (self.action,)

    def __str__(self) -> str:
        return self.action


@dataclass(frozen=True)
class Procedure(Step):
    """A static script of decant/server runs with these parameters; what it reports comes back as values."""

    name: str
    parameters: Mapping[str, str] = field(hash=False)
    folder: str

    def words(self) -> tuple[str | bytes, ...]:
        """Return the script's path on the server and the file of its parameters."""
        return (f"{self.folder}/{self.name}.sh", quoting.assignments(self.parameters).encode())

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Beside(Procedure):
    """A procedure runs beside the steps that follow; the next procedure waits for it. It may fail, so it is one whose work that one would do."""

    label: str = ""

    def __str__(self) -> str:
        return f"{self.label}, beside what follows"


@dataclass(frozen=True)
class Together(Step):
    """All of these steps hold and `validate` succeeds, or what they changed is put back and `undo` runs.

    `guarded`: they could shut us out of the server, so they stay only when a second connection comes in after them; else the server takes them back by itself.
    """

    steps: tuple[Step, ...]
    validate: tuple[str, ...]
    undo: tuple[str, ...] = ("true",)
    label: str = ""
    guarded: bool = False

    def __str__(self) -> str:
        return self.label or f"check {' '.join(self.validate)}"


@dataclass(frozen=True)
class Program:
    """A compiled plan: the sh text, the files that travel with it, and the step behind each number."""

    text: str
    files: Mapping[str, bytes]
    steps: tuple[Step, ...]

    def archive(self, driver: bytes) -> bytes:
        """Return the program, its driver (steps.sh) and its files as one compressed tar."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=3, format=tarfile.PAX_FORMAT) as tar:
            for name, data in {"program": self.text.encode(), "steps.sh": driver, **self.files}.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o600
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def compile_plan(sections: Iterable[tuple[Mode, Plan]], app: str, lock: tuple[str, str] = ("", ""), files: Mapping[str, bytes] | None = None) -> Program:
    """Compile plans, each with its mode, into one program.

    `lock` is the path and the token of the command's lock, which the program shares; `files` travel beside the steps' own, under `files/`.
    """
    numbered: list[Step] = []
    sent: dict[str, bytes] = {f"files/{name}": data for name, data in (files or {}).items()}
    lines = [
        "here=${0%/*}",
        "trap 'rm -rf \"$here\"' EXIT",
        f"app={quoting.quote(app)}",
        f"lock={quoting.quote(lock[0] or '-')}",
        f"token={quoting.quote(lock[1])}",
    ]
    sections = list(sections)
    lines += [f"mode={sections[0][0]}", '. "$here/steps.sh"', "begin"]
    for mode, plan in sections:
        lines.append(f"mode={mode}")
        lines += _calls(plan, numbered, sent)
    sent["expected"] = "".join(
        f"{number} {step.expected()} {step.path}\n" for number, step in enumerate(numbered, 1) if isinstance(step, File | Directory)
    ).encode()
    units = [*(step.name for step in numbered if isinstance(step, Unit)), *("ufw.service" for step in numbered if isinstance(step, Firewall))]
    sent["units"] = _lines(units)
    sent["packages"] = _lines(name for step in numbered if isinstance(step, Packages) for name in step.names)
    return Program("\n".join([*lines, "wait", "exit 0", ""]), sent, tuple(numbered))


def mark(step: Together) -> str:
    """Return the name under which a server notes that a check is still to be made: the same for the same check."""
    return hashlib.sha256(quoting.join(step.validate).encode()).hexdigest()[:12]


def _calls(plan: Iterable[Step], numbered: list[Step], sent: dict[str, bytes]) -> Iterator[str]:
    for step in plan:
        if isinstance(step, Together):
            yield quoting.join(("together", mark(step), quoting.join(step.validate), quoting.join(step.undo), *(("guarded",) if step.guarded else ())))
            yield from _calls(step.steps, numbered, sent)
            numbered.append(step)
            yield quoting.join(("agree", str(len(numbered))))
            continue
        numbered.append(step)
        words = [_word(word, f"{len(numbered)}", sent) for word in step.words()]
        yield quoting.join(("step", str(len(numbered)), " ".join(step.notify) or "-", step.kind, *words))


def _word(word: str | bytes, name: str, sent: dict[str, bytes]) -> str:
    if isinstance(word, str):
        return word
    sent[f"files/{name}"] = word
    return name


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in dict.fromkeys(names)).encode()


def _yes_no(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"

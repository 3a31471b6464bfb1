"""What a release window leaves on the disk: its request, its record, its words and its verdict.

Everything here is written so that a power cut leaves the whole text or the one before. Standard
library only.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from engine import read_conf
from releases import Releases, State

TAIL = 100_000  # bytes of a log in which a cause is looked for
# A line of a log that names an error
NAMED = re.compile(r"[A-Za-z_.]+(Error|Exception|Exit|Interrupt|Warning)\b")


class Failure(Exception):
    """Something that ends here, with a line for the person."""


class Word(StrEnum):
    """What the client says to a window of several hosts."""

    CLOSE = "close"  # all have had their processes finish, and serve until now
    STAY = "stay"  # from here on it neither goes on nor back by itself
    MIGRATE = "migrate"
    CHECK = "check"
    SERVE = "serve"
    BACK = "back"


@dataclass(frozen=True)
class Request:
    """What a window is to do, as its parameters file says.

    `old` is empty where nothing serves. `smoked`: prepare asked the new release for health, and
    nothing comes between; `start_first`: it found that the new release may start beside the old. `migrate` is a shell command, run with the code of `migrate_in` (the new
    release without it); `restore` a dump to put in, `administrator`: as the server's. `drain`:
    meanwhile the web hosts ask other app hosts. `hold` is how many seconds visitors are held before
    they get the maintenance page. `role`: this host's role where several share the database that
    is migrated. `about` is the beginning of the window's line in deploys.jsonl.
    """

    old: str = ""
    new: str = ""
    smoked: bool = False
    start_first: bool = False
    migrate: str = ""
    migrate_in: str = ""
    migrate_timeout: float = 0
    dump_wanted: bool = False
    restore: str = ""
    administrator: bool = False
    hold: float = 0
    rolled_back: bool = False
    drain: bool = False
    role: str = ""
    others: float = 0
    about: str = ""

    @classmethod
    def read(cls, file: Path) -> "Request":
        """Read a parameters file; one that is gone, or of the version before, lacks fields.

        Raises Failure for one that cannot be read.
        """
        try:
            values = assignments(file.read_text(encoding="utf-8"))
            values.setdefault("role", values.get("party", ""))  # as a version before called it
        except FileNotFoundError:
            values = {}
        except ValueError as error:
            raise Failure(f"the parameters of the window cannot be read: {file}: {error}") from None
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        numbers = {
            name: float(known.pop(name))
            for name in ("migrate_timeout", "hold", "others") & known.keys()
        }
        flags = ("smoked", "start_first", "dump_wanted", "administrator", "rolled_back", "drain")
        yes = {name: known.pop(name) == "yes" for name in flags if name in known}
        return cls(**known, **numbers, **yes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Transition:
    """The record of a window that is not over: what undoes it needs no more than this.

    `dump` is the path of the database's dump, or empty; `fresh`: there was no database before;
    `was`: the new release's state before.
    """

    id: str
    old: str
    new: str
    dump: str
    fresh: bool
    was: str
    role: str = ""

    def text(self) -> str:
        """Return the one line of the record."""
        values = {
            "id": self.id,
            "old": self.old,
            "new": self.new,
            "dump": self.dump,
            "fresh": "yes" if self.fresh else "no",
            "was": self.was,
            "role": self.role,
        }
        return " ".join(f"{name}='{value}'" for name, value in values.items())

    @classmethod
    def parse(cls, text: str) -> "Transition":
        """Read a record, also one of a version before; raise Failure for anything else."""
        try:
            values = assignments(text)
        except ValueError:
            values = {}
        if not {"id", "old", "new", "dump", "fresh", "was"} <= values.keys() or not values["id"]:
            raise Failure("it is empty, torn, or of another version")
        return cls(
            values["id"],
            values["old"],
            values["new"],
            values["dump"],
            values["fresh"] == "yes",
            values["was"],
            values.get("role", values.get("party", "")),
        )


@dataclass(frozen=True)
class Verdict:
    """How a window ended: whether the new release is good, and why not, or what is to be known."""

    good: bool
    cause: str = ""


class Folder(Releases):
    """An application's folder on the server, as far as releases are concerned."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.conf = read_conf(root)
        self.run = Path(self.conf["run"])
        self.procedures = root / "procedures"
        self.backups, self.logs = root / "backups", root / "log"
        self.gate, self.lock = self.run / "gate", Path(self.conf["lock"])
        self.closed, self.maintenance = self.run / "closed", self.run / "maintenance"
        self.transition = root / "transition"
        self.trial = self.run / "trial"  # the release whose processes a window tries out

    # --- releases

    def strange(self) -> str:
        """Say what current is where it is no link to a release, or nothing."""
        current = self.root / "current"
        if self.current or not (current.exists() or current.is_symlink()):
            return ""
        what = f"a link to {current.readlink()}" if current.is_symlink() else "no link"
        return f"current is {what}, and no release; it is kept as {self._kept().name}"

    def _kept(self) -> Path:
        """Return the name under which a current that is no link to a release is kept."""
        names = (self.root / f"current.kept-{number}" for number in range(1, 1000))
        return next(name for name in names if not os.path.lexists(name))

    def switch_to(self, release: str) -> None:
        """Make current lead to a release, by rename; without a name, take the link away."""
        if self.strange():
            (self.root / "current").rename(self._kept())
        if release:
            new = self.root / "current.new"
            new.unlink(missing_ok=True)
            new.symlink_to(f"releases/{release}")
            new.replace(self.root / "current")
        else:
            (self.root / "current").unlink(missing_ok=True)
        sync(self.root)

    def set_state(self, release: str, state: str) -> None:
        """Write down what is known of a release; one that is gone needs no state."""
        folder = self.releases / release / ".deploy"
        if release and folder.is_dir():
            write_durably(folder / "state", state, mode=0o640)

    # --- the record

    def open_record(self) -> Transition | None:
        """Return the record of the window that is not over, or None.

        One that cannot be read is told by what its window was asked for; where no window is
        without its end it says nothing, and is kept aside. Raises Failure where that is not known.
        """
        try:
            return Transition.parse(self.transition.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (Failure, UnicodeDecodeError) as error:
            ids = self._unended()
            told = self._asked(ids[0]) if len(ids) == 1 else None
            if told:
                return told
            if not ids:
                aside = self.root / "transition.unreadable"
                self.transition.replace(aside)
                print(f"a transition record of no window ({error}) is kept as {aside}", flush=True)
                return None
            raise Failure(
                f"the transition record {self.transition} cannot be read: {error}. Make sure that"
                " current and the database belong together, remove the file, and run the same"
                " command again"
            ) from None

    def _unended(self) -> list[str]:
        """Return the windows that have changed something and have no end."""
        marks = ("result", "undone", "back")
        return [
            file.stem
            for file in self.logs.glob("*.params")
            if self.log(file.stem, "opened").exists()
            and not any(self.log(file.stem, mark).exists() for mark in marks)
        ]

    def _asked(self, id: str) -> Transition | None:
        """Return the record of a window by what it was asked for, if that tells enough."""
        request = self.request(id)
        dumps = [
            str(file)
            for file in self.backups.glob(f"{id}-{request.old or 'empty'}.*")
            if file.suffix != ".part"
        ]
        if request.dump_wanted and request.old and len(dumps) != 1:
            return None  # what it changed is not known
        was = State.GOOD if request.rolled_back or request.new == request.old else State.PREPARED
        dump = dumps[0] if dumps else ""
        fresh = bool((request.migrate or request.restore) and not dump and not request.old)
        return Transition(id, request.old, request.new, dump, fresh, was, request.role)

    def write_record(self, record: Transition) -> None:
        """Open the transition: from here on the window is undone unless it comes to its end."""
        write_durably(self.transition, record.text())
        write_durably(self.log(record.id, "opened"), "")

    def remove_record(self) -> None:
        """Close the transition, for good: this is the commit point."""
        self.transition.unlink(missing_ok=True)
        sync(self.root)

    # --- room on the disk

    def keep_room(self, size: int) -> None:
        """Take the room that putting back will need, so that nobody fills it meanwhile."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = os.open(self.root / "reserve", flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def free_room(self) -> None:
        """Give that room back."""
        (self.root / "reserve").unlink(missing_ok=True)

    # --- a window's files

    def log(self, id: str, ending: str) -> Path:
        """Return the path of a file of a window."""
        return self.logs / f"{id}.{ending}"

    def beside(self, id: str) -> str:
        """Return which process served when a window started its release beside it, or nothing."""
        try:
            return self.log(id, "beside").read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def request(self, id: str) -> Request:
        """Return what a window was asked for."""
        return Request.read(self.log(id, "params"))

    def verdict(self, id: str) -> Verdict | None:
        """Return how a window ended, or None where that is not known yet."""
        try:
            result, _, cause = self.log(id, "result").read_text().strip().partition(" ")
        except FileNotFoundError:
            return None
        return Verdict(result == "good", cause)

    def finish(self, id: str, verdict: Verdict, seconds: float = 0) -> None:
        """Write a window's verdict, and its line in deploys.jsonl; the first verdict counts.

        Where one of them cannot be written now, whoever comes next writes it.
        """
        cause = "".join(letter if " " <= letter <= "~" else " " for letter in verdict.cause)
        known = self.verdict(id) or Verdict(verdict.good, cause)
        result = "good" if known.good else "failed"
        with contextlib.suppress(OSError):
            if not self.log(id, "result").exists():
                write_durably(self.log(id, "result"), f"{result} {known.cause}")
            about = self.request(id).about or f'"when": {json.dumps(id)}'
            rest = f'"cause": {json.dumps(known.cause)}, "seconds": {seconds:.0f}'
            self._note(f"{{{about}, ", f'"result": "{result}", {rest}}}')

    def _note(self, about: str, rest: str) -> None:
        """Add a line to deploys.jsonl, unless that window has one."""
        file = self.root / "deploys.jsonl"
        before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        if not any(line.startswith(about) for line in before.splitlines()):
            torn = "\n" if before and not before.endswith("\n") else ""  # by a power cut
            with file.open("a", encoding="utf-8") as history:
                history.write(f"{torn}{about}{rest}\n")
                history.flush()
                os.fsync(history.fileno())

    # --- the words of a window of several hosts

    def say(self, id: str, number: int, word: str, because: str) -> bool:
        """Make the next word known, durably; False where there is one already."""
        saying = self.logs / f"{id}.saying.{os.getpid()}"
        try:
            write_durably(saying, f"{word} {because}")
            os.link(saying, self.log(id, f"word.{number}"))
            sync(self.logs)
        except OSError:
            return False
        finally:
            saying.unlink(missing_ok=True)
        return True

    def word(self, id: str, number: int) -> tuple[str, str] | None:
        """Return a word and its reason, or None where it was not said yet."""
        try:
            word, _, because = self.log(id, f"word.{number}").read_text().strip().partition(" ")
        except FileNotFoundError:
            return None
        return word, because

    def last_word(self, id: str) -> Word | None:
        """Tell how a window of several hosts was told to end; STAY: it has to be told more.

        None: it may go back by itself.
        """
        said = None
        for number in range(1, 1000):
            word = self.word(id, number)
            if word is None:
                break
            said = word[0]
        if said in (None, Word.CLOSE):
            return None
        return Word(said) if said in (Word.SERVE, Word.BACK) else Word.STAY


def assignments(text: str) -> dict[str, str]:
    """Read sh assignments whose values are quoted words; raise ValueError for an open quote."""
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, equals, value in pairs if equals}


def write_durably(file: Path, text: str, mode: int = 0o644) -> None:
    """Write the whole text or leave the old one, whatever happens; raise OSError."""
    new = file.with_name(f"{file.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(folder: Path) -> None:
    """Have all of a folder's file system on the disk: a release's files, too, not its name alone."""
    subprocess.run(["sync", "-f", folder], check=True)


def cause_in(log: Path) -> str:
    """Return the last line that names an error, or the last line, 300 letters at most."""
    try:
        with log.open("rb") as file:
            # The application printed it, and may have printed without end.
            file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = file.read(TAIL).decode(errors="replace").splitlines()
    except OSError:
        return ""
    named = [line for line in lines if NAMED.match(line)]
    return (named or lines or [""])[-1][:300]

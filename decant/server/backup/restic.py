"""restic, at the storage of an application, in its sandbox (confined.sh, storage.sh).

Standard library only.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Failure

STORAGES, CACHES = Path("/etc/decant/backup"), "/var/cache/decant-backup"
INCOMPLETE = 3  # the exit code of restic where it made a copy without some files
GONE = (2, 40)  # errno of a file that went away meanwhile, or has a link in its way now
READING = "--no-lock"  # what another one's lock, also that of a server which is gone, does not stop


class Restic:
    """The storage of one application.

    `where`: how a person knows it.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name, self.folder = root, name, STORAGES / name
        try:
            text = (self.folder / "wanted.json").read_text(encoding="utf-8")
        except OSError:
            raise Failure(
                "[backup] names no storage for this application; run: fab deploy"
            ) from None
        self.wanted = json.loads(text)
        self.where = str(self.wanted["where"])

    def run(self, *words: str, binds: tuple[str, ...] = (), limit: int = 0) -> str:
        """Run it; return what it prints.

        `binds`: further properties of its sandbox; `limit`: seconds, 0 for none. Raises Failure.
        """
        script = f"{self.root}/procedures/storage.sh"
        command = ["sh", script, str(self.folder), f"{CACHES}/{self.name}", *words]
        began = time.monotonic()
        try:
            done = subprocess.run(
                confined(self.root, "backup", "copy", limit, command, *binds),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except BaseException:  # it is no process of ours
            self.stop()
            raise
        vanished = done.returncode == INCOMPLETE and has_vanished(done.stderr)
        if done.returncode and not vanished:
            if limit and time.monotonic() - began >= limit:
                raise Failure(f"{self.where} did not answer within {limit} s")
            raise Failure(f"{self.where}: {cause(done.stderr) or cause(done.stdout)}")
        return done.stdout

    def stop(self) -> None:
        """End it: it runs as units of its own."""
        units = f"{self.name}.copy.*.service"
        subprocess.run(["systemctl", "stop", units], stderr=subprocess.DEVNULL)

    def copies(self) -> list[dict[str, Any]]:
        """Return the copies, the oldest first, with their times in UTC."""
        words = ("snapshots", READING, "--json", "--host", self.name)
        return [
            {
                "copy": str(each["short_id"]),
                "time": _utc(str(each["time"])),
                "server": next(iter(each.get("tags") or ()), ""),
            }
            for each in json.loads(self.run(*words) or "[]") or ()
        ]


def confined(
    root: Path, whose: str, word: str, limit: int, command: list[str], *properties: str
) -> list[str]:
    """Return the command that runs another one in a sandbox (confined.sh)."""
    given = [word for each in properties for word in ("-p", each)]
    script = f"{root}/procedures/confined.sh"
    return ["sh", script, str(root), whose, word, str(limit), *given, *command]


def documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield the lines that are JSON documents."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def has_vanished(errors: str) -> bool:
    """Tell whether what could not be read had gone away since its folder was read."""
    found = [each["error"] for each in documents(errors) if each.get("message_type") == "error"]
    words = ("no such file", "too many levels of symbolic links")
    # Of one that is something else now (a folder in a file's place), restic's JSON says nothing.
    return bool(found) and all(
        not each
        or each.get("Err") in GONE
        or any(word in str(each.get("message", "")) for word in words)
        for each in found
    )


def cause(text: str) -> str:
    """Return the line of a program's complaints that tells most."""
    ended = [str(each["message"]) for each in documents(text) if "exit_error" in each.values()]
    lines = [line.strip() for line in (*text.splitlines(), *ended) if line.strip()]
    lines = [line for line in lines if not line.startswith("{")]
    ssh = [line.partition("subprocess ssh: ")[2] for line in lines if "subprocess ssh: " in line]
    fatal = [line.removeprefix("Fatal: ") for line in lines if line.startswith("Fatal: ")]
    if ssh:  # the first of it: what restic says of that comes to nothing more
        return next((line for line in ssh if not line.startswith(("@", "Warning"))), ssh[0])
    return (fatal or lines or [""])[-1]


def literal(path: object) -> str:
    """Return a path as restic's patterns have it."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in str(path))


def _utc(text: str) -> str:
    """Return restic's time, which is local and has an offset, in UTC to the second."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

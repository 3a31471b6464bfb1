"""Copy what an application has to a storage elsewhere, and prove that it comes back from there.

Arguments: the application's folder, the action, its words.

- `now [SECONDS]`: dump the database, copy that, shared/ and what tells of the release; forget the
  oldest copies. SECONDS: how long to wait for another one that is at work. `now take-over`: also
  where another server has copies at the storage.
- `drill [SECONDS]`: fetch the newest copy, count its files, and try its dump out.
- `list`: print the copies as a JSON document.
- `fetch COPY`: bring one into backups/.fetched, and print what it says of itself, a JSON document.
- `put [secrets]`: give shared/ what is in there; with `secrets` also over those that are there.
- `clear`: remove it.

restic does the work, as an account of its own in a sandbox (restic.py): it may read what is copied
(shown.py), and sees nothing else of the server. What the application has written is read and
unpacked by it and by the application alone; root moves what nobody else can reach yet. What was
done last is in backups/backup.json. Standard library only.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from put_back import hand_over, put_back
from records import Failure, Folder
from restic import READING, Restic, cause, documents, literal
from shown import shown

ANSWERS = 120  # seconds in which a storage says whether it has copies
WAITS = 900  # seconds that a dump waits for a command to end
RESERVE = 200 << 20  # bytes that a copy which is fetched leaves free
NOTHING_THERE = ("does not exist", "no such file")  # in what restic says of a place without copies
RESTORES = "CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID"  # to write files of whichever account
DUMPED = ("sqlite", "mariadb", "postgresql")


class Backup:
    """The copies of one application."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.root, self.conf, self.name = root, self.folder.conf, self.folder.conf["name"]
        self.restic, backups = Restic(root, self.name), root / "backups"
        self.snapshot, self.view = backups / ".snapshot", backups / ".shared"
        self.fetched, self.tried = backups / ".fetched", backups / ".drill"
        self.record = backups / "backup.json"

    # --- a copy

    def now(self, wait: float = 0, take_over: bool = False) -> None:
        """Make a copy, and forget the oldest ones; note how that ended."""
        with self._noted("backup") as noted, self._alone(wait):
            if not self.folder.current:
                raise Failure("nothing is deployed here that could be copied")
            self._reach()
            self._refuse_another_server(take_over)
            with _scratch(self.snapshot), shown(self.root / "shared", self.view):
                dumped = self._stage()
                noted.update(self._copy(), dumped=dumped, where=self.restic.where)
            noted["kept"] = self._forget()
        print(f"copied to {self.restic.where}: {noted['files']} files")
        self._beat()

    def _stage(self) -> bool:
        """Write the database's dump, and what tells of the copy; tell whether there is a dump."""
        kind, dump, tables = self.conf["db_kind"], "", []
        if kind in DUMPED:
            # Not packed, as restic packs, and finds what has not changed.
            name = f"database{self._database('suffix').removesuffix('.gz')}"
            with _held(Path(self.conf["lock"]), WAITS, f"the backup of {self.name}") as lock:
                if self._asks("exists"):
                    dump = name
                    self._database("room", str(self.snapshot))
                    self._database("dump", str(self.snapshot / dump), lock=lock)
                    tables = json.loads(self._database("status"))["tables"]
        if not dump and recorded(self.record).get("backup", {}).get("dumped"):
            raise Failure(
                "the last copy had a database, and there is none any more (fab db.status)"
            )
        current, account = self.folder.current, pwd.getpwnam(self.conf["user"])
        told = {
            "application": self.name,
            "time": int(time.time()),
            "host": os.uname().nodename,
            "release": current,
            "commit": self.folder.told(current, "commit"),
            "label": self.folder.told(current, "label"),
            "kind": kind,
            "dump": dump,
            "sum": _sum(self.snapshot / dump) if dump else "",
            "tables": tables,
            "account": [account.pw_uid, account.pw_gid],
        }
        (self.snapshot / "manifest.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        return bool(dump)

    def _copy(self) -> dict[str, Any]:
        """Copy; return what restic tells of it."""
        shared, database = self.root / "shared", Path(self.conf["db_path"] or "/nowhere")
        excluded = [".new"]  # of a release that is being made ready
        if database.is_relative_to(shared):  # the dump is in its place
            inside = database.relative_to(shared)
            excluded += [f"{inside}{ending}" for ending in ("", "-wal", "-shm", "-journal")]
        said = self.restic.run(
            "backup",
            "--json",
            "--quiet",
            "--host",
            self.name,
            "--tag",
            _server(),
            *(f"--exclude=/mnt/shared/{literal(path)}" for path in excluded),
            "/mnt/shared",
            "/mnt/snapshot",
            binds=(
                f"BindReadOnlyPaths={self.view}:/mnt/shared",
                f"BindReadOnlyPaths={self.snapshot}:/mnt/snapshot",
            ),
        )
        summary = next(
            (each for each in documents(said) if each.get("message_type") == "summary"), {}
        )
        return {
            "copy": str(summary.get("snapshot_id", ""))[:8],
            "files": int(summary.get("total_files_processed", 0)),
            "bytes": int(summary.get("total_bytes_processed", 0)),
        }

    def _forget(self) -> int:
        """Forget the oldest copies; return how many are kept."""
        kept = ("--keep-last", str(self.restic.wanted["keep"]))
        self.restic.run("forget", "--host", self.name, "--group-by", "host", *kept, "--prune")
        return len(self.restic.copies())

    # --- what is there

    def _reach(self) -> None:
        """Make sure that the storage answers, and make a place for copies at one that is new.

        Not at one that had copies: somebody has to hear that they are gone.
        """
        try:
            self.restic.run("cat", "config", READING, limit=ANSWERS)
        except Failure as problem:
            new = any(word in str(problem) for word in NOTHING_THERE)
            if new and recorded(self.record).get("backup", {}).get("where") == self.restic.where:
                raise Failure(
                    f"{problem}; it had copies before, so no new place is made for them: if they"
                    f" were removed on purpose, remove {self.record}, too"
                ) from None
            try:
                self.restic.run("init", limit=ANSWERS)
            except Failure:
                raise problem from None
        self.restic.run("unlock", limit=ANSWERS)  # what a power cut left

    def _refuse_another_server(self, take_over: bool) -> None:
        """Refuse a storage at which another server has copies, unless this one has its place.

        The newest copy would be the other's, and both would forget each other's.
        """
        known = {_server(), "", *recorded(self.record).get("took over", {}).get("servers", ())}
        others = {each["server"]: each["time"] for each in self.restic.copies()}
        strange = [server for server in others if server not in known]
        if strange and not take_over:
            raise Failure(
                f"{self.restic.where} has copies of another server, the last one of"
                f" {others[strange[-1]]} UTC; give each server a folder of its own (backup.to), or,"
                " if this one has taken its place: fab backup.now --take-over"
            )
        if strange:
            self._note("took over", {"servers": sorted(known | set(strange))})

    # --- back from there

    def fetch(self, copy: str, into: Path) -> dict[str, Any]:
        """Bring a copy here; return what it says of itself.

        Raises Failure for one that is not there, is not whole, or has no room here.
        """
        _remove(into)
        which = (copy, "--host", self.name)
        size = json.loads(
            self.restic.run("stats", READING, "--json", "--mode", "restore-size", *which)
        )
        free, needed = shutil.disk_usage(into.parent).free, size["total_size"] + RESERVE
        if free < needed:
            raise Failure(
                f"no room to fetch the copy: {free >> 20} MB free, {needed >> 20} MB needed in"
                f" {into.parent}"
            )
        into.mkdir(mode=0o700)
        self.restic.run(
            "restore",
            READING,
            *which,
            "--target",
            "/mnt/fetched",
            binds=(
                f"BindPaths={into}:/mnt/fetched",
                f"AmbientCapabilities={RESTORES}",
                f"CapabilityBoundingSet={RESTORES}",
            ),
        )
        told = told_in(into)
        if told["application"] != self.name:
            raise Failure(f"the copy {copy} is of {told['application']}, not of {self.name}")
        dump = into / "mnt/snapshot" / str(told["dump"])
        if told["dump"] and _sum(dump) != told["sum"]:
            raise Failure(f"the copy {copy} is not whole: its dump is not what was copied")
        return {**told, "files": _count(into), "path": str(dump)}

    def give(self, copy: str) -> None:
        """Fetch a copy for a restore, and print what it says of itself."""
        with self._alone(WAITS):
            told = self.fetch(copy, self.fetched)
        found = {each["copy"]: each["server"] for each in self.restic.copies()}
        servers = [found.get(copy, next(reversed(found.values()), ""))]
        self._note("took over", {"servers": [each for each in servers if each]})
        print(json.dumps(told))

    def drill(self, wait: float = 0) -> None:
        """Fetch the newest copy, and try it out; note how that ended."""
        with self._noted("drill") as noted, self._alone(wait):
            newest = self.restic.copies()[-1:]
            if not newest:
                raise Failure(f"there is no copy at {self.restic.where}; run: fab backup.now")
            copy = newest[0]["copy"]
            try:
                told = self.fetch(copy, self.tried)
                if told["dump"]:
                    self._database("room", str(self.tried))
                    self._database("verify", told["path"])
            finally:
                _remove(self.tried)
            noted.update(copy=copy, made=told["time"], files=told["files"])
            noted["where"] = self.restic.where
        dump = "its dump was restored" if told["dump"] else "it has no database"
        print(f"the copy {copy} comes back: {told['files']} files, {dump}")

    def put(self, secrets: bool = False) -> None:
        """Give shared/ what the fetched copy has; with `secrets` also over those that are there."""
        told, source = told_in(self.fetched), self.fetched / "mnt/shared"
        account = pwd.getpwnam(self.conf["user"])
        hand_over(source, told["account"], (account.pw_uid, account.pw_gid))
        moved, merged = put_back(self.root, source, secrets)
        print(f"shared/: {moved} put there, {merged} brought up to date")

    def clear(self) -> None:
        """Remove what was fetched."""
        _remove(self.fetched)

    # --- what all of them need

    @contextlib.contextmanager
    def _alone(self, wait: float) -> Iterator[None]:
        """Keep every other work on the copies out, and end what one left that was killed."""
        with _held(Path(f"{self.conf['lock']}.backup"), wait):
            self.restic.stop()
            _remove(self.tried)
            yield

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[dict[str, Any]]:
        """Note how something ended, for `fab status`; the block fills in what it found."""
        noted: dict[str, Any] = {}
        try:
            yield noted
        except Exception as error:
            self._note(f"failed {what}", {"cause": str(error) or type(error).__name__})
            raise
        self._note(what, noted)

    def _note(self, what: str, noted: dict[str, Any]) -> None:
        before = recorded(self.record)
        for name in (what, f"failed {what}"):  # what went well is no failure any more
            before.pop(name, None)
        text = json.dumps({**before, what: {"time": int(time.time()), **noted}})
        new = self.record.with_name("backup.json.new")
        with contextlib.suppress(OSError):  # a full disk is told by the failure itself
            new.write_text(text, encoding="utf-8")
            new.rename(self.record)

    def _beat(self) -> None:
        """Let the heartbeat's URL hear that all is well: a copy was made, and the last drill held.

        The URL is a secret, and no part of what is said.
        """
        url = self.restic.wanted["heartbeat"]
        if not url or "failed drill" in recorded(self.record):
            return
        try:
            with urllib.request.urlopen(url, timeout=15):  # noqa: S310  # hosts.toml takes http(s)
                pass
        except (OSError, ValueError, http.client.HTTPException) as error:
            told = getattr(error, "code", "") or getattr(error, "reason", type(error).__name__)
            raise Failure(f"the copy was made, and backup.heartbeat failed: {told}") from None

    def _asks(self, question: str) -> bool:
        program = self.root / "procedures/database.py"
        done = subprocess.run(["python3", "-I", program, self.root, question], capture_output=True)
        if done.returncode not in (0, 1):
            raise Failure(cause(done.stderr.decode("utf-8", "replace")))
        return done.returncode == 0

    def _database(self, action: str, *words: str, lock: int = -1) -> str:
        """Have database.py do something; what it starts shares the lock."""
        program = self.root / "procedures/database.py"
        done = subprocess.run(
            ["python3", "-I", program, self.root, action, *words],
            capture_output=True,
            text=True,
            pass_fds=(lock,) if lock >= 0 else (),
        )
        if done.returncode:
            raise Failure(cause(done.stderr))
        return done.stdout.strip()


def recorded(file: Path) -> dict[str, Any]:
    """Return what was done last, or nothing where that cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def told_in(fetched: Path) -> dict[str, Any]:
    """Return what a copy that was fetched says of itself."""
    try:
        text = (fetched / "mnt/snapshot/manifest.json").read_text(encoding="utf-8")
        told: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"the copy says nothing of itself: {error}") from None
    return told


def _server() -> str:
    """Return a name of this server that no other one has, and that says nothing else of it."""
    identity = Path("/etc/machine-id").read_bytes().strip()
    return f"server-{hashlib.sha256(b'decant backup ' + identity).hexdigest()[:12]}"


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


@contextlib.contextmanager
def _held(file: Path, wait: float, told: str = "") -> Iterator[int]:
    """Hold a lock while the block runs; raise Failure where it is not free within `wait` seconds.

    `told`: who holds it, which other commands say (lock.sh).
    """
    until, details = time.monotonic() + wait, Path(f"{file}.details")
    with file.open("a", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    waited = f" for {wait / 60:.0f} minutes" if wait else ""
                    raise Failure(f"another command, backup or drill is at work{waited}") from None
                time.sleep(0.2)
        if told:
            details.write_text(f"{told} since {time.strftime('%F %T %z')}\n\n", encoding="utf-8")
        try:
            yield lock.fileno()
        finally:
            if told:
                details.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """Have an empty folder that root alone can reach, for as long as the block runs."""
    _remove(folder)
    folder.mkdir(mode=0o700)
    try:
        yield
    finally:
        _remove(folder)


def _stopped(_: int, __: FrameType | None) -> NoReturn:
    """End as by an error, so that nothing stays mounted."""
    raise Failure("it was stopped")


def main(words: list[str]) -> int:
    """Do what the words say."""
    root, action, *rest = words
    signal.signal(signal.SIGTERM, _stopped)
    wait = float(rest[0]) if rest and rest[0].isdigit() else 0
    try:
        backup = Backup(Path(root))
        match action:
            case "list":
                print(json.dumps(backup.restic.copies()))
            case "fetch":
                backup.give(*rest)
            case "now":
                backup.now(wait, take_over="take-over" in rest)
            case "drill":
                backup.drill(wait)
            case "put":
                backup.put(secrets="secrets" in rest)
            case "clear":
                backup.clear()
            case _:
                raise Failure(f"no action {action}")
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

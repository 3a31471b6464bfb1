"""Copy what an application has to a storage elsewhere, and prove that it comes back from there.

Arguments: the application's folder, the action, its words.

- `now`: dump the database, copy that, shared/ and what tells of the release; forget the oldest copies.
- `drill`: fetch the newest copy, count its files, and try its dump out in a scratch database.
- `list`: print the copies as a JSON document.
- `fetch COPY`: bring one into backups/.fetched, and print what it says of itself, a JSON document.
- `put`: give shared/ what is in there. `clear`: remove it.

restic does the work, as an account of its own in a sandbox (confined.sh, storage.sh): it may read
what is copied, and sees nothing else of the server. What the application has written is read and
unpacked by it and by the application alone; root moves what nobody else can reach yet. What was
done last is in backups/backup.json. Standard library only.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Failure, Folder

STORAGES, CACHES = Path("/etc/decant/backup"), "/var/cache/decant-backup"
ANSWERS = 120  # seconds in which a storage says whether it has copies
WAITS = 900  # seconds that a dump waits for a command to end
INCOMPLETE = 3  # the exit code of restic where it made a copy without some files
GONE = (2, 40)  # errno of a file that went away meanwhile, or has a link in its way now
RESTORES = "CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID"  # to write files of whichever account


class Backup:
    """The copies of one application."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.root, self.conf, self.name = root, self.folder.conf, self.folder.conf["name"]
        self.storage = STORAGES / self.name
        self.snapshot, self.fetched = root / "backups/.snapshot", root / "backups/.fetched"
        self.view = root / "backups/.shared"
        self.record = root / "backups/backup.json"
        try:
            self.wanted = json.loads((self.storage / "wanted.json").read_text(encoding="utf-8"))
        except OSError:
            raise Failure(
                "[backup] names no storage for this application; run: fab deploy"
            ) from None

    # --- a copy

    def now(self) -> None:
        """Make a copy, and forget the oldest ones; note how that ended."""
        with self._alone(), self._noted("backup") as noted:
            self._reach()
            with _scratch(self.snapshot), self._shown():
                self._stage()
                noted.update(self._copy())
                noted.update({"kept": self._forget(), "where": self.wanted["where"]})
        print(f"copied to {self.wanted['where']}: {noted['files']} files")
        self._beat()

    def _stage(self) -> None:
        """Write the database's dump, and what tells of the copy."""
        kind = self.conf["db_kind"]
        dump = ""
        if kind in ("sqlite", "mariadb", "postgresql"):
            # Not packed, as restic packs, and finds what has not changed.
            dump = f"database{self._database('suffix').removesuffix('.gz')}"
            with _held(Path(self.conf["lock"]), WAITS) as lock:
                if self._asks("exists"):
                    self._database("room", str(self.snapshot))
                    self._database("dump", str(self.snapshot / dump), lock=lock)
                    tables = json.loads(self._database("status"))["tables"]
                else:
                    dump, tables = "", []
        else:
            tables = []
        current, account = self.folder.current, pwd.getpwnam(self.conf["user"])
        told = {
            "application": self.name,
            "time": int(time.time()),
            "host": os.uname().nodename,
            "release": current,
            "commit": self.folder.told(current, "commit") if current else "",
            "label": self.folder.told(current, "label") if current else "",
            "kind": kind,
            "dump": dump,
            "sum": _sum(self.snapshot / dump) if dump else "",
            "tables": tables,
            "account": [account.pw_uid, account.pw_gid],
        }
        (self.snapshot / "manifest.json").write_text(json.dumps(told, indent=1), encoding="utf-8")

    def _copy(self) -> dict[str, Any]:
        """Copy; return what restic tells of it."""
        shared, database = self.root / "shared", Path(self.conf["db_path"] or "/nowhere")
        excluded = [".new"]  # of a release that is being made ready
        if database.is_relative_to(shared):  # the dump is in its place
            inside = database.relative_to(shared)
            excluded += [f"{inside}{ending}" for ending in ("", "-wal", "-shm", "-journal")]
        said = self._restic(
            "backup",
            "backup",
            "--json",
            "--host",
            self.name,
            *(f"--exclude=/mnt/shared/{_literal(path)}" for path in excluded),
            "/mnt/shared",
            "/mnt/snapshot",
            binds=(
                f"BindReadOnlyPaths={self.view}:/mnt/shared",
                f"BindReadOnlyPaths={self.snapshot}:/mnt/snapshot",
            ),
        )
        summary = next(
            (each for each in _documents(said) if each.get("message_type") == "summary"), {}
        )
        return {
            "copy": str(summary.get("snapshot_id", ""))[:8],
            "files": int(summary.get("total_files_processed", 0)),
            "bytes": int(summary.get("total_bytes_processed", 0)),
        }

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Show shared/ a second time, where no link in it leads anywhere (mount(8), nosymfollow).

        restic opens files by their paths, and an application could put a link in the place of a
        folder meanwhile, to the keys of the storage or to what restic has in its environment.
        """
        subprocess.run(["umount", "-q", "-l", self.view], stderr=subprocess.DEVNULL)
        self.view.mkdir(mode=0o700, exist_ok=True)
        try:
            for words in (
                ["--bind", f"{self.root}/shared", str(self.view)],
                ["-o", "remount,bind,ro,nosuid,nodev,nosymfollow", str(self.view)],
            ):
                done = subprocess.run(["mount", *words], capture_output=True, text=True)
                if done.returncode:
                    raise Failure(f"shared/ could not be shown to restic: {_cause(done.stderr)}")
            yield
        finally:
            subprocess.run(["umount", "-q", "-l", self.view], stderr=subprocess.DEVNULL)
            self.view.rmdir()

    def _forget(self) -> int:
        """Forget the oldest copies; return how many are kept."""
        kept = ("--keep-last", str(self.wanted["keep"]))
        self._restic(
            "forget", "forget", "--host", self.name, "--group-by", "host", *kept, "--prune"
        )
        return len(self.copies())

    # --- what is there

    def copies(self) -> list[dict[str, Any]]:
        """Return the copies, the oldest first."""
        found = json.loads(self._restic("list", "snapshots", "--json", "--host", self.name) or "[]")
        return [
            {"copy": each["short_id"], "time": each["time"][:19], "paths": each["paths"]}
            for each in found or ()
        ]

    def _reach(self) -> None:
        """Make sure that the storage answers, and make a place for copies at one that is new.

        Not at one that had copies: somebody has to hear that they are gone.
        """
        try:
            self._restic("reach", "cat", "config", limit=ANSWERS)
        except Failure as problem:
            if recorded(self.record).get("backup", {}).get("where") == self.wanted["where"]:
                raise Failure(
                    f"{problem}; it had copies before, so no new place is made for them: if they"
                    f" were removed on purpose, remove {self.record}, too"
                ) from None
            try:
                self._restic("init", "init", limit=ANSWERS)
            except Failure:
                raise problem from None
        self._restic("unlock", "unlock", limit=ANSWERS)  # what a power cut left

    # --- back from there

    def fetch(self, copy: str) -> dict[str, Any]:
        """Bring a copy here; return what it says of itself.

        Raises Failure for one that is not there, is not whole, or has no room here.
        """
        _remove(self.fetched)
        which = (copy, "--host", self.name)
        size = json.loads(
            self._restic("size", "stats", "--json", "--mode", "restore-size", *which, limit=ANSWERS)
        )
        free = shutil.disk_usage(self.fetched.parent).free
        if free < size["total_size"] + (50 << 20):
            raise Failure(
                f"no room to fetch the copy: {free >> 20} MB free, {size['total_size'] >> 20} MB"
                f" needed in {self.fetched.parent}"
            )
        self.fetched.mkdir(mode=0o700)
        self._restic(
            "restore",
            "restore",
            *which,
            "--target",
            "/mnt/fetched",
            binds=(
                f"BindPaths={self.fetched}:/mnt/fetched",
                f"AmbientCapabilities={RESTORES}",
                f"CapabilityBoundingSet={RESTORES}",
            ),
        )
        try:
            file = self.fetched / "mnt/snapshot/manifest.json"
            told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Failure(f"the copy {copy} says nothing of itself: {error}") from None
        if told["application"] != self.name:
            raise Failure(f"the copy {copy} is of {told['application']}, not of {self.name}")
        if told["dump"] and _sum(self._dump(told)) != told["sum"]:
            raise Failure(f"the copy {copy} is not whole: its dump is not what was copied")
        return {**told, "files": _count(self.fetched), "path": str(self._dump(told))}

    def drill(self) -> None:
        """Fetch the newest copy, and try it out; note how that ended."""
        with self._alone(), self._noted("drill") as noted:
            newest = self.copies()[-1:]
            if not newest:
                raise Failure(f"there is no copy at {self.wanted['where']}; run: fab backup.now")
            try:
                told = self.fetch(newest[0]["copy"])
                if told["dump"]:
                    self._database("verify", told["path"])
            finally:
                _remove(self.fetched)
            noted.update({"copy": newest[0]["copy"], "made": told["time"], "files": told["files"]})
        print(f"the copy {noted['copy']} comes back: {noted['files']} files, its dump restored")

    def put(self) -> None:
        """Give shared/ what the fetched copy has.

        What is missing is moved there; into what is there the application itself unpacks. What has
        come since stays, and so do secrets that are there.
        """
        told = json.loads((self.fetched / "mnt/snapshot/manifest.json").read_text(encoding="utf-8"))
        source, target = self.fetched / "mnt/shared", self.root / "shared"
        account = pwd.getpwnam(self.conf["user"])
        _give(source, told["account"], (account.pw_uid, account.pw_gid))
        moved, merged = self._put(source, target)
        print(f"shared/: {moved} put there, {merged} brought up to date")

    def _put(self, source: Path, target: Path) -> tuple[int, int]:
        moved = merged = 0
        for entry in sorted(source.iterdir()):
            place = target / entry.name
            if not os.path.lexists(place):
                entry.rename(place)
                moved += 1
            elif (
                place.stat(follow_symlinks=False).st_uid == 0
                and place.is_dir()
                and not place.is_symlink()
            ):
                more = self._put(entry, place)
                moved, merged = moved + more[0], merged + more[1]
            elif entry.name != "secrets.env":
                self._merge(entry, place)
                merged += 1
        return moved, merged

    def _merge(self, entry: Path, place: Path) -> None:
        """Have the application unpack a file or a folder of the copy over what it has."""
        pack = ["tar", "-C", str(entry.parent), "-cf", "-", "--", entry.name]
        unpack = [
            "tar",
            "-C",
            str(place.parent),
            "-xf",
            "-",
            "--no-same-owner",
            "-p",
            "--overwrite",
        ]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            done = subprocess.run(
                self._confined("application", "put", 0, unpack),
                stdin=packing.stdout,
                capture_output=True,
                text=True,
            )
        if done.returncode or packing.returncode:
            raise Failure(f"{place}: {_cause(done.stderr) or 'the copy could not be unpacked'}")

    def clear(self) -> None:
        """Remove what was fetched."""
        _remove(self.fetched)

    # --- what all of them need

    def _dump(self, told: dict[str, Any]) -> Path:
        return self.fetched / "mnt/snapshot" / str(told["dump"])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep every other backup and drill of this application out."""
        with _held(Path(f"{self.conf['lock']}.backup"), 0):
            yield

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[dict[str, Any]]:
        """Note how something ended, for `fab status`; the block fills in what it found."""
        noted: dict[str, Any] = {}
        try:
            yield noted
        except (Failure, OSError) as error:
            self._note(f"failed {what}", {"cause": str(error)})
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
        """Let the heartbeat's URL hear that all is well: a copy was made, and the last drill held."""
        url = self.wanted["heartbeat"]
        if not url or "failed drill" in recorded(self.record):
            return
        try:
            with urllib.request.urlopen(url, timeout=15):  # noqa: S310  # hosts.toml takes http(s)
                pass
        except (OSError, ValueError) as error:
            raise Failure(
                f"the copy was made, and backup.heartbeat did not answer: {error}"
            ) from None

    def _asks(self, question: str) -> bool:
        program = self.root / "procedures/database.py"
        done = subprocess.run(["python3", "-I", program, self.root, question], capture_output=True)
        if done.returncode not in (0, 1):
            raise Failure(_cause(done.stderr.decode("utf-8", "replace")))
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
            raise Failure(_cause(done.stderr))
        return done.stdout.strip()

    def _confined(
        self, whose: str, word: str, limit: int, command: list[str], *properties: str
    ) -> list[str]:
        given = [word for each in properties for word in ("-p", each)]
        confined = f"{self.root}/procedures/confined.sh"
        return ["sh", confined, str(self.root), whose, word, str(limit), *given, *command]

    def _restic(self, word: str, *words: str, binds: tuple[str, ...] = (), limit: int = 0) -> str:
        """Run restic in its sandbox; return what it prints."""
        script = f"{self.root}/procedures/storage.sh"
        command = ["sh", script, str(self.storage), f"{CACHES}/{self.name}", *words]
        began = time.monotonic()
        done = subprocess.run(
            self._confined("backup", word, limit, command, *binds),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        vanished = done.returncode == INCOMPLETE and _vanished(done.stderr)
        if done.returncode and not vanished:
            if limit and time.monotonic() - began >= limit:
                raise Failure(f"{self.wanted['where']} did not answer within {limit} s")
            raise Failure(f"{self.wanted['where']}: {_cause(done.stderr) or _cause(done.stdout)}")
        return done.stdout


def recorded(file: Path) -> dict[str, Any]:
    """Return what was done last, or nothing where that cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _documents(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def _vanished(errors: str) -> bool:
    """Tell whether what could not be read had gone away since its folder was read."""
    found = [each["error"] for each in _documents(errors) if each.get("message_type") == "error"]
    words = ("no such file", "too many levels of symbolic links")
    return bool(found) and all(
        each.get("Err") in GONE or any(word in str(each.get("message", "")) for word in words)
        for each in found
    )


def _cause(text: str) -> str:
    """Return the line of a program's complaints that tells most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line.removeprefix("Fatal: ") for line in lines if line.startswith("Fatal: ")]
    return (fatal or lines or [""])[-1]


def _literal(path: object) -> str:
    """Return a path as restic's patterns have it."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in str(path))


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _give(folder: Path, before: list[int], now: tuple[int, int]) -> None:
    """Give what belonged to the application's account elsewhere to its account here.

    Only while root alone can reach the folder.
    """
    for at, folders, files in os.walk(folder):
        for path in (Path(at), *(Path(at, name) for name in (*folders, *files))):
            found = path.lstat()
            uid = now[0] if found.st_uid == before[0] else found.st_uid
            gid = now[1] if found.st_gid == before[1] else found.st_gid
            if (uid, gid) != (found.st_uid, found.st_gid):
                os.chown(path, uid, gid, follow_symlinks=False)


@contextlib.contextmanager
def _held(file: Path, wait: float) -> Iterator[int]:
    """Hold a lock while the block runs; raise Failure where it is not free within `wait` seconds."""
    until = time.monotonic() + wait
    with file.open("a", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    told = f" for {wait / 60:.0f} minutes" if wait else ""
                    raise Failure(f"another command, backup or drill is at work{told}") from None
                time.sleep(0.2)
        yield lock.fileno()


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


def main(words: list[str]) -> int:
    """Do what the words say."""
    root, action, *rest = words
    try:
        backup = Backup(Path(root))
        match action:
            case "list":
                print(json.dumps(backup.copies()))
            case "fetch":
                print(json.dumps(backup.fetch(*rest)))
            case "now" | "drill" | "put" | "clear":
                getattr(backup, action)()
            case _:
                raise Failure(f"no action {action}")
    except (Failure, OSError, urllib.error.URLError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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

restic does the work, as an account of its own in a sandbox (confined.sh, storage.sh): it may read
what is copied, and sees nothing else of the server. What the application has written is read and
unpacked by it and by the application alone; root moves what nobody else can reach yet. What was
done last is in backups/backup.json. Standard library only.
"""

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Failure, Folder

STORAGES, CACHES = Path("/etc/decant/backup"), "/var/cache/decant-backup"
MOUNTS = Path("/proc/self/mountinfo")
ANSWERS = 120  # seconds in which a storage says whether it has copies
WAITS = 900  # seconds that a dump waits for a command to end
RESERVE = 200 << 20  # bytes that a copy which is fetched leaves free
INCOMPLETE = 3  # the exit code of restic where it made a copy without some files
GONE = (2, 40)  # errno of a file that went away meanwhile, or has a link in its way now
NOTHING_THERE = ("does not exist", "no such file")  # in what restic says of a place without copies
RESTORES = "CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID"  # to write files of whichever account
READING = "--no-lock"  # what another one's lock, also that of a server which is gone, does not stop
DUMPED = ("sqlite", "mariadb", "postgresql")


class Backup:
    """The copies of one application."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.root, self.conf, self.name = root, self.folder.conf, self.folder.conf["name"]
        self.storage, backups = STORAGES / self.name, root / "backups"
        self.snapshot, self.view = backups / ".snapshot", backups / ".shared"
        self.fetched, self.tried = backups / ".fetched", backups / ".drill"
        self.record = backups / "backup.json"
        try:
            self.wanted = json.loads((self.storage / "wanted.json").read_text(encoding="utf-8"))
        except OSError:
            raise Failure(
                "[backup] names no storage for this application; run: fab deploy"
            ) from None

    # --- a copy

    def now(self, wait: float = 0, take_over: bool = False) -> None:
        """Make a copy, and forget the oldest ones; note how that ended."""
        with self._noted("backup") as noted, self._alone(wait):
            if not self.folder.current:
                raise Failure("nothing is deployed here that could be copied")
            self._reach()
            self._refuse_another_server(take_over)
            with _scratch(self.snapshot), self._shown():
                dumped = self._stage()
                noted.update(self._copy(), dumped=dumped, where=self.wanted["where"])
            noted["kept"] = self._forget()
        print(f"copied to {self.wanted['where']}: {noted['files']} files")
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
        said = self._restic(
            "backup",
            "--json",
            "--quiet",
            "--host",
            self.name,
            "--tag",
            _server(),
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
        folder meanwhile, to the keys of the storage or to what restic has in its environment. What
        is mounted below shared/ is shown, too.
        """
        self._hide()
        self.view.mkdir(mode=0o700, exist_ok=True)
        shared = self.root / "shared"
        try:
            # All at once, by the kernel: a path below shared/ is the application's to lead elsewhere.
            # Private, so that nothing which is taken away here is taken away there.
            self._mount("--rbind", "--make-rprivate", str(shared), str(self.view))
            for place in (self.view, *mounted_below(self.view)):
                self._mount("-o", "remount,bind,ro,nosuid,nodev,nosymfollow", str(place))
            yield
        finally:
            self._hide()

    def _mount(self, *words: str) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"shared/ could not be shown to restic: {_cause(done.stderr)}")

    def _hide(self) -> None:
        """Take away what is shown, also what one left that was killed."""
        for words in (["mount", "--make-rprivate"], ["umount", "-q", "-R", "-l"]):
            subprocess.run([*words, self.view], stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            self.view.rmdir()

    def _forget(self) -> int:
        """Forget the oldest copies; return how many are kept."""
        kept = ("--keep-last", str(self.wanted["keep"]))
        self._restic("forget", "--host", self.name, "--group-by", "host", *kept, "--prune")
        return len(self.copies())

    # --- what is there

    def copies(self) -> list[dict[str, Any]]:
        """Return the copies, the oldest first, with their times in UTC."""
        words = ("snapshots", READING, "--json", "--host", self.name)
        return [
            {
                "copy": str(each["short_id"]),
                "time": _utc(str(each["time"])),
                "server": next(iter(each.get("tags") or ()), ""),
            }
            for each in json.loads(self._restic(*words) or "[]") or ()
        ]

    def _reach(self) -> None:
        """Make sure that the storage answers, and make a place for copies at one that is new.

        Not at one that had copies: somebody has to hear that they are gone.
        """
        try:
            self._restic("cat", "config", READING, limit=ANSWERS)
        except Failure as problem:
            new = any(word in str(problem) for word in NOTHING_THERE)
            if new and recorded(self.record).get("backup", {}).get("where") == self.wanted["where"]:
                raise Failure(
                    f"{problem}; it had copies before, so no new place is made for them: if they"
                    f" were removed on purpose, remove {self.record}, too"
                ) from None
            try:
                self._restic("init", limit=ANSWERS)
            except Failure:
                raise problem from None
        self._restic("unlock", limit=ANSWERS)  # what a power cut left

    def _refuse_another_server(self, take_over: bool) -> None:
        """Refuse a storage at which another server has copies, unless this one has its place.

        The newest copy would be the other's, and both would forget each other's.
        """
        known = {_server(), "", *recorded(self.record).get("took over", {}).get("servers", ())}
        others = {each["server"]: each["time"] for each in self.copies()}
        strange = [server for server in others if server not in known]
        if strange and not take_over:
            raise Failure(
                f"{self.wanted['where']} has copies of another server, the last one of"
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
            self._restic("stats", READING, "--json", "--mode", "restore-size", *which)
        )
        free, needed = shutil.disk_usage(into.parent).free, size["total_size"] + RESERVE
        if free < needed:
            raise Failure(
                f"no room to fetch the copy: {free >> 20} MB free, {needed >> 20} MB needed in"
                f" {into.parent}"
            )
        into.mkdir(mode=0o700)
        self._restic(
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
        found = {each["copy"]: each["server"] for each in self.copies()}
        servers = [found.get(copy, next(reversed(found.values()), ""))]
        self._note("took over", {"servers": [each for each in servers if each]})
        print(json.dumps(told))

    def drill(self, wait: float = 0) -> None:
        """Fetch the newest copy, and try it out; note how that ended."""
        with self._noted("drill") as noted, self._alone(wait):
            newest = self.copies()[-1:]
            if not newest:
                raise Failure(f"there is no copy at {self.wanted['where']}; run: fab backup.now")
            copy = newest[0]["copy"]
            try:
                told = self.fetch(copy, self.tried)
                if told["dump"]:
                    self._database("room", str(self.tried))
                    self._database("verify", told["path"])
            finally:
                _remove(self.tried)
            noted.update(copy=copy, made=told["time"], files=told["files"])
            noted["where"] = self.wanted["where"]
        dump = "its dump was restored" if told["dump"] else "it has no database"
        print(f"the copy {copy} comes back: {told['files']} files, {dump}")

    def put(self, secrets: bool = False) -> None:
        """Give shared/ what the fetched copy has.

        What is missing is moved there; into what is there the application itself unpacks. What has
        come since stays, and so do secrets that are there, unless those of the copy are wanted:
        then the others are kept beside them.
        """
        told, source = told_in(self.fetched), self.fetched / "mnt/shared"
        target = self.root / "shared"
        there = target / "secrets.env"
        if secrets and there.exists() and (source / "secrets.env").exists():
            there.rename(target / "secrets.env.before")
        account = pwd.getpwnam(self.conf["user"])
        _hand_over(source, told["account"], (account.pw_uid, account.pw_gid))
        moved, merged = self._put(source, target)
        print(f"shared/: {moved} put there, {merged} brought up to date")

    def _put(self, source: Path, target: Path) -> tuple[int, int]:
        moved = merged = 0
        for entry in sorted(source.iterdir()):
            place = target / entry.name
            if not os.path.lexists(place):
                _move(entry, place)
                moved += 1
            elif _is_roots_folder(place):  # the application may not make anything in it
                more = self._put(entry, place)
                moved, merged = moved + more[0], merged + more[1]
            elif entry.name != "secrets.env":
                self._merge(entry, place)
                merged += 1
        return moved, merged

    def _merge(self, entry: Path, place: Path) -> None:
        """Have the application unpack a file or a folder of the copy over what it has."""
        pack = ["tar", "-C", str(entry.parent), "-cf", "-", "--", entry.name]
        unpack = ["tar", "-C", str(place.parent), "-xf", "-", "--no-same-owner", "-p"]
        # In a folder of its own it replaces what is not its own; beside one it may make no file.
        unpack += [] if entry.is_dir() else ["--overwrite"]
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

    @contextlib.contextmanager
    def _alone(self, wait: float) -> Iterator[None]:
        """Keep every other work on the copies out, and end what one left that was killed."""
        with _held(Path(f"{self.conf['lock']}.backup"), wait):
            self._stop_restic()
            _remove(self.tried)
            yield

    def _stop_restic(self) -> None:
        """End restic, which runs as units of its own."""
        units = f"{self.name}.copy.*.service"
        subprocess.run(["systemctl", "stop", units], stderr=subprocess.DEVNULL)

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
        url = self.wanted["heartbeat"]
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

    def _restic(self, *words: str, binds: tuple[str, ...] = (), limit: int = 0) -> str:
        """Run restic in its sandbox; return what it prints."""
        script = f"{self.root}/procedures/storage.sh"
        command = ["sh", script, str(self.storage), f"{CACHES}/{self.name}", *words]
        began = time.monotonic()
        try:
            done = subprocess.run(
                self._confined("backup", "copy", limit, command, *binds),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except BaseException:  # it is no process of ours
            self._stop_restic()
            raise
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


def told_in(fetched: Path) -> dict[str, Any]:
    """Return what a copy that was fetched says of itself."""
    try:
        text = (fetched / "mnt/snapshot/manifest.json").read_text(encoding="utf-8")
        told: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"the copy says nothing of itself: {error}") from None
    return told


def mounted_below(folder: Path) -> list[Path]:
    """Return what is mounted below a folder, the outer ones first (proc(5), mountinfo)."""
    lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    points = (re.sub(r"\\([0-7]{3})", _octal, line.split()[4]) for line in lines)
    return sorted({Path(point) for point in points if point.startswith(f"{folder}/")})


def _octal(found: re.Match[str]) -> str:
    return chr(int(found[1], 8))


def _server() -> str:
    """Return a name of this server that no other one has, and that says nothing else of it."""
    identity = Path("/etc/machine-id").read_bytes().strip()
    return f"server-{hashlib.sha256(b'decant backup ' + identity).hexdigest()[:12]}"


def _utc(text: str) -> str:
    """Return restic's time, which is local and has an offset, in UTC to the second."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


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
    # Of one that is something else now (a folder in a file's place), restic's JSON says nothing.
    return bool(found) and all(
        not each
        or each.get("Err") in GONE
        or any(word in str(each.get("message", "")) for word in words)
        for each in found
    )


def _cause(text: str) -> str:
    """Return the line of a program's complaints that tells most."""
    ended = [str(each["message"]) for each in _documents(text) if "exit_error" in each.values()]
    lines = [line.strip() for line in (*text.splitlines(), *ended) if line.strip()]
    lines = [line for line in lines if not line.startswith("{")]
    ssh = [line.partition("subprocess ssh: ")[2] for line in lines if "subprocess ssh: " in line]
    fatal = [line.removeprefix("Fatal: ") for line in lines if line.startswith("Fatal: ")]
    if ssh:  # the first of it: what restic says of that comes to nothing more
        return next((line for line in ssh if not line.startswith(("@", "Warning"))), ssh[0])
    return (fatal or lines or [""])[-1]


def _literal(path: object) -> str:
    """Return a path as restic's patterns have it."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in str(path))


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _is_roots_folder(place: Path) -> bool:
    return place.lstat().st_uid == 0 and place.is_dir() and not place.is_symlink()


def _move(entry: Path, place: Path) -> None:
    """Move what root alone can reach to a place in a folder of root's, also on another disk."""
    try:
        entry.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        new = place.with_name(f".new-{place.name}")
        subprocess.run(["cp", "-aT", "--", entry, new], check=True)
        new.rename(place)


def _hand_over(folder: Path, before: list[int], now: tuple[int, int]) -> None:
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
                print(json.dumps(backup.copies()))
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

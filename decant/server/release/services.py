"""What serves an application on this server: its processes, its proxy, its database.

Each method is a function of lib.sh or an action of database.py. Standard library only.
"""

import contextlib
import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import beside
import procfs
import trial
from records import Failure, Folder

# With lib.sh read, the function that is named.
FUNCTION = 'root=$1; shift; . "$root/procedures/lib.sh"; "$@"'


class Services:
    """The processes, the proxy and the database of one application.

    What it runs inherits `locks`, so that a window's locks are held as long as its work goes on.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.locks: list[int] = []

    def _run(
        self, command: Sequence[str | Path], errors: Path | None = None, quiet: bool = False
    ) -> tuple[int, str]:
        """Run a command; return its exit code and what it prints, unless that goes to the log."""
        sys.stdout.flush()
        with contextlib.ExitStack() as opened:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if quiet else None,
                stderr=opened.enter_context(errors.open("wb")) if errors else None,
                pass_fds=self.locks,
                encoding="utf-8",
                errors="replace",
            )
        return done.returncode, (done.stdout or "").strip()

    def _call(self, function: str, *words: str) -> int:
        """Call a function of lib.sh, which prints to the log; return its exit code."""
        return self._run(["sh", "-c", FUNCTION, "sh", str(self.root), function, *words])[0]

    def _ask(self, function: str, *words: str) -> tuple[int, str]:
        """Call a function of lib.sh; return its exit code and what it prints."""
        return self._run(["sh", "-c", FUNCTION, "sh", str(self.root), function, *words], quiet=True)

    # --- processes

    def stop(self) -> bool:
        """End every process of the application when it has answered; its socket stays open."""
        return self._call("stop_service") == 0

    def start(self, wait: bool) -> None:
        """Start what current leads to; `wait` until its manager has it."""
        self._call("start_service", "yes" if wait else "no")

    # --- processes beside the service

    @property
    def time_to_end(self) -> dict[str, float]:
        """The seconds that the slowest `process` or `schedule` gets to end, where there is one."""
        return trial.time_to_end(self.root / "procedures/processes")

    def stop_processes(self) -> bool:
        """Have them finish what they have begun, and wait for their ends."""
        return self._call("stop_processes") == 0

    def stop_schedules(self) -> None:
        """Have what is due and runs finish, or end it when its time is over."""
        self._call("stop_schedules")

    def start_processes(self) -> None:
        """Start those of the release that serves, or is on trial; each waits for the gate."""
        self._call("start_processes")

    def renew_processes(self) -> None:
        """Start those anew that run, without a wait for them."""
        self._call("renew_processes")

    def processes_stay(self, release: str) -> str:
        """Return which of a release's processes does not stay up, and why, or nothing."""
        return trial.why_not(self.folder, self._ask, release)

    # --- a release beside the one that serves

    @functools.cached_property
    def folder(self) -> Folder:
        """The application's folder."""
        return Folder(self.root)

    def _service(self) -> beside.Service:
        conf = self.folder.conf
        limit = float(conf["request_timeout"]) + 15
        return beside.Service(Path(conf["run"]), conf["user"], self._main_pid, limit)

    def _main_pid(self) -> int:
        code, said = self._ask("main_pid")
        if code != 0 or not said.isdigit():
            raise Failure(f"the manager does not say what serves: {said}".rstrip(": "))
        return int(said)

    def must_stop_first(self, old: str, new: str, journal: str | None = None) -> str:
        """Return why an old release has to stop before a new one starts, or nothing.

        `journal`: SQLite's journal mode, nothing of another database; None: it is asked.
        """
        folder = self.folder
        wanted = _order(folder, new)
        if wanted != "start-first":
            return wanted
        # Nothing is told of one whose folder somebody removed.
        if folder.protocol(old) not in ("", folder.protocol(new)):
            return "another WSGI server"
        try:
            running = self._service().running()
        except Failure as error:
            return str(error)
        if not running:
            return (
                "the service does not run, or was set up by a version of Decant that could not"
                " start first: fab deploy"
            )
        if journal is None and folder.conf["db_kind"] == "sqlite":
            code, journal = self.database("journal")
            journal = journal if code == 0 else "unknown"
        if journal not in (None, "", "wal"):
            return (
                "two releases would lock each other out of the SQLite database, which is not in WAL"
                " mode; to change that: fab db.shell, then PRAGMA journal_mode = WAL;"
            )
        return self._no_room(running)

    def _no_room(self, running: list[procfs.Process]) -> str:
        """Say that the memory for one more release is not there, or nothing."""
        size, room = _size(running[-1]), procfs.available()
        limit = self._ask("memory_limit")[1]
        if limit.isdigit():
            room = min(room, int(limit) - sum(_size(each) for each in running))
        if size > room:
            return (
                f"the application takes {size >> 20} MB of memory, and there is room for"
                f" {max(room, 0) >> 20} MB more"
            )
        return ""

    def serving(self) -> str:
        """Return which process serves, for `keep_old` and `keep_new`: its number, and its birth."""
        running = self._service().running()
        return _named(running[-1]) if running else ""

    def start_beside(self, release: str, limit: float) -> None:
        """Start a release beside what serves, and wait until it answers.

        Raises Failure with why it does not; it has ended then.
        """
        service = self._service()
        noted = service.run / "serving"
        running = service.running()
        if len(running) > 1:  # a restart that was killed has left them
            known = noted.read_text(encoding="utf-8").strip() if noted.exists() else ""
            service.keep(next((each for each in running if _named(each) == known), running[-1]))
            running = service.running()
        noted.write_text(f"{_named(running[-1]) if running else ''}\n", encoding="utf-8")
        service.start(release, self._ask("scheme")[1], limit)

    def keep_old(self, old: str) -> None:
        """End every release that was started beside the old one, which goes on.

        `old`: what `serving` told of it. Where it is gone, the service is stopped, and its next
        start serves what current leads to.
        """
        service = self._service()
        service.stop_listening()  # what was killed may have left that
        running = service.running()
        kept = [each for each in running if _named(each) == old]
        if kept:
            service.keep(kept[0])
        elif running:
            self.stop()

    def keep_new(self, old: str) -> None:
        """Let the old release go, and everything else but the newest.

        Where only the old one is left, the service is started anew with what current leads to.
        """
        service = self._service()
        service.stop_listening()
        running = service.running()
        if running and _named(running[-1]) == old:
            self.stop()
            self.start(wait=True)
        elif running:
            service.keep(running[-1])

    def end_confined(self) -> bool:
        """End everything that runs as the application beside its stopped service."""
        return self._call("end_confined") == 0

    def migrate(self, release: str, command: str, limit: float) -> int:
        """Run a migration with a release's code, in its sandbox; return the exit code."""
        words = ("migrate", f"{limit:g}", release, "sh", "-c", command)
        return self._call("in_release", *words)

    def cannot_serve(self, release: str) -> str:
        """Return why this server would not start a release, or nothing."""
        return self._ask("cannot_serve", release)[1]

    def edited(self) -> str:
        """Return the manager's file that somebody changed since it was written, or nothing."""
        return self._ask("edited")[1]

    def list_releases(self) -> None:
        """Write down what a login that may not look into releases is told of them."""
        self._call("list_releases")

    # --- health

    def smoke(self, release: str) -> str:
        """Ask a release for health on a private socket; return why it is not well, or nothing."""
        code, said = self._ask("smoke", release)
        return "" if code == 0 else said or "it does not answer"

    def ask_health(self, limit: float) -> str:
        """Ask through the proxy for health; return why it is not well, or nothing."""
        code, said = self._ask("ask_health", "proxy", f"{limit:.0f}")
        return "" if code == 0 else said or "no answer"

    # --- visitors

    def maintenance_on(self) -> None:
        """Have visitors get the maintenance page."""
        self._call("maintenance_on")

    def maintenance_off(self) -> None:
        """Let visitors in again."""
        self._call("maintenance_off")

    def drain_on(self) -> None:
        """Have the web hosts ask the other app hosts."""
        self._call("drain_on")

    def drain_off(self) -> None:
        """Have the web hosts ask this one again."""
        self._call("drain_off")

    def proxy(self) -> str:
        """Return who faces the visitors: nginx, apache2, or none."""
        return self._ask("proxy")[1]

    def site_differs(self, old: str, new: str) -> bool:
        """Tell whether the proxy has to read its configuration anew between two releases."""
        return self._call("site_differs", old, new) == 0

    def check_proxy(self) -> bool:
        """Tell whether the proxy's configuration is valid."""
        return self._call("check_proxy") == 0

    def reload_proxy(self) -> None:
        """Have the proxy read its configuration anew."""
        self._call("reload_proxy")

    # --- the database

    def database(self, action: str, *words: str, errors: Path | None = None) -> tuple[int, str]:
        """Do an action of database.py; return its exit code and what it prints."""
        program = self.root / "procedures/database.py"
        return self._run(
            ["python3", "-I", program, self.root, action, *words], errors=errors, quiet=True
        )


def _order(folder: Folder, release: str) -> str:
    """Return `start-first`, or why a release cannot start so, by what it says of itself."""
    # Before, uWSGI's workers did not ask the application for health.
    silent = folder.told(release, "server") == "uwsgi" and not folder.told(
        release, "uwsgi_application.py"
    )
    too_old = f"{release} is of a version of Decant that could not start first"
    return too_old if silent else folder.told(release, "switch") or too_old


def _size(release: procfs.Process) -> int:
    return procfs.size(procfs.descendants(release))


def _named(process: procfs.Process) -> str:
    return f"{process.pid} {process.born}"

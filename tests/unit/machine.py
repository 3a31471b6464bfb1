# ruff: noqa: ARG002
"""An application in a folder, whose window can be killed before whatever changes its disk."""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from decant import quoting
from decant.plans.rendering import SERVER

# On a server these lie in one folder, and import each other by their bare names.
sys.path[:0] = [str(SERVER / name) for name in ("release", "database", ".")]
import beside  # noqa: E402
import locks  # noqa: E402
import procfs  # noqa: E402
import records  # noqa: E402
import recovery  # noqa: E402
import services  # noqa: E402
import trial  # noqa: E402
import window  # noqa: E402

__all__ = ["beside", "locks", "procfs", "records", "recovery", "services", "trial", "window"]
OLD, NEW = "20260101T000000-old", "20260102T000000-new"
CHANGES = {"open", "os.rename", "os.remove", "os.symlink", "os.link"}


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Killer:
    """Ends the process before its n-th change of the disk or call of a service."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.dead = False
        self.ticks = 0
        self.root = ""

    def tick(self) -> None:
        """Count a step, or die before it."""
        self.ticks += 1
        if self.dead:
            raise Killed
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.dead = True
                raise Killed

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Leave alone what another process does meanwhile."""
        root, self.root = self.root, ""
        yield
        self.root = root

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count what changes the folder; an audit hook of Python's, called before the change."""
        if not self.root or event not in CHANGES:
            return
        path = arguments[1] if event in ("os.symlink", "os.link") else arguments[0]
        writes = event != "open" or (isinstance(arguments[2], int) and arguments[2] & 3)
        if writes and str(path).startswith(self.root):
            self.tick()


killer = Killer()
sys.addaudithook(killer.hook)


class FakeServices(services.Services):
    """The processes, the proxy and the database, as files and values."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.folder = records.Folder(root)
        self.running: str | None = self.folder.current or None
        self.calls: list[str] = []
        self.door = "open"
        # What is wrong, by the name of a method
        self.wrong: dict[str, Any] = {}
        self.differs = False
        self.why = "wsgi.switch"  # the old release has to stop first; nothing: it need not
        self.beside: str | None = None  # what was started beside what runs
        self.before: dict[str, Callable[[], None]] = {}
        # The release whose processes run beside the service; those of a killed one start again
        self.workers: str | None = self.folder.current if self.time_to_end else None

    @property
    def rows(self) -> str:
        """What is in the database; nothing where there is none."""
        file = self.root / "shared/rows"
        return file.read_text() if file.exists() else ""

    def _did(self, call: str) -> Any:
        killer.tick()
        self.calls.append(call)
        if call in self.before:
            self.before[call]()
        return self.wrong.get(call)

    def stop(self) -> bool:
        if self._did("stop"):
            return False
        self.running = None
        killer.tick()
        return True

    def start(self, wait: bool) -> None:
        self._did("start")
        # What starts the application comes through the gate first.
        gate = os.open(self.folder.gate, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(gate)
        assert not self.folder.transition.exists()
        self.running = self.running or self.folder.current or None
        self._start_workers()

    def _start_workers(self) -> None:
        trial = self.folder.trial
        wants = trial.read_text().strip() if trial.exists() else self.folder.current
        if self.time_to_end and self.workers is None:
            self.workers = wants or None

    def stop_processes(self) -> bool:
        if self._did("stop_processes"):
            return False
        self.workers = None
        killer.tick()
        self.folder.trial.unlink(missing_ok=True)
        return True

    def start_processes(self) -> None:
        self._did("start_processes")
        self._start_workers()
        killer.tick()

    def renew_processes(self) -> None:
        self._did("renew_processes")
        self.workers = self.workers and self.folder.current

    def stop_schedules(self) -> None:
        self._did("stop_schedules")

    def processes_stay(self, release: str) -> str:
        assert self.workers in (release, None)
        return str(self._did("processes_stay") or "")

    def must_stop_first(self, old: str, new: str, journal: str | None = None) -> str:
        return self.why if self.running else "the service does not run"

    def serving(self) -> str:
        newest = self.beside or self.running
        return f"process of {newest}" if newest else ""

    def start_beside(self, release: str, limit: float) -> None:
        problem = self._did("start_beside")
        assert self.running and not self.beside
        if problem:
            raise problem
        self.beside = release
        killer.tick()

    def keep_old(self, old: str) -> None:
        self._did("keep_old")
        self.beside = None
        if self.running and old != self.serving():
            self.running = None
        killer.tick()

    def keep_new(self, old: str) -> None:
        self._did("keep_new")
        if self.beside:
            self.running, self.beside = self.beside, None
        elif self.running and old == self.serving():
            self.running = self.folder.current
        killer.tick()

    def end_confined(self) -> bool:
        # Those that are killed start again, and come through the gate while they are on trial.
        assert not (self.workers and self.folder.trial.exists())
        self.workers = None
        return not self._did("end_confined")

    def migrate(self, release: str, command: str, limit: float) -> int:
        assert self.running is None
        assert self.workers is None
        self._did("migrate")
        (self.root / "shared/rows").write_text(f"{self.rows}+{command}")
        killer.tick()
        return int(self.wrong.get("migrate code", 0))

    def cannot_serve(self, release: str) -> str:
        return str(self._did("cannot_serve") or "")

    def edited(self) -> str:
        return str(self.wrong.get("edited", ""))

    def list_releases(self) -> None:
        self._did("list_releases")

    def smoke(self, release: str) -> str:
        return str(self._did("smoke") or "")

    def ask_health(self, limit: float) -> str:
        assert self.running == self.folder.current
        said = self._did("ask_health")
        return str(said or "") if self.running == NEW else ""

    def maintenance_on(self) -> None:
        self._did("maintenance_on")
        self.folder.maintenance.touch()

    def maintenance_off(self) -> None:
        self._did("maintenance_off")
        self.folder.maintenance.unlink(missing_ok=True)

    def drain_on(self) -> None:
        self._did("drain_on")
        self.door = "away"

    def drain_off(self) -> None:
        self._did("drain_off")
        self.door = "open"

    def proxy(self) -> str:
        return "nginx"

    def site_differs(self, old: str, new: str) -> bool:
        return self.differs

    def check_proxy(self) -> bool:
        return not self._did("check_proxy")

    def reload_proxy(self) -> None:
        self._did("reload_proxy")

    def database(self, action: str, *words: str, errors: Path | None = None) -> tuple[int, str]:
        if action == "suffix":
            return 0, ".dump"
        problem = self._did(action)
        if problem:
            (errors or self.folder.log("w", "log")).write_text(f"sqlite: {problem}\n")
            return 2, ""
        match action:
            case "exists":
                return (0 if self.rows else 1), ""
            case "ready":
                told = {"exists": bool(self.rows), "size": self.wrong.get("bytes", 1000)}
                return 0, json.dumps({**told, "suffix": ".dump", "folder": str(self.root)})
            case "size":
                return 0, str(self.wrong.get("bytes", 1000))
            case "dump":
                Path(words[0]).write_text(self.rows)
            case "restore":
                assert self.running is None
                assert self.workers is None
                (self.root / "shared/rows").write_text(Path(words[0]).read_text())
            case "put_away":
                (self.root / "shared/rows").unlink(missing_ok=True)
        killer.tick()
        return 0, ""


class Application:
    """An application with two releases, of which the old one serves."""

    def __init__(self, root: Path, rows: str = "rows", processes: bool = False) -> None:
        self.root = root
        for folder in ("procedures", "run", "log", "backups", "shared"):
            (root / folder).mkdir(parents=True)
        conf = {"db_kind": "sqlite", "run": f"{root}/run", "lock": f"{root}/run/lock"}
        conf |= {"name": "shop", "request_timeout": "5", "health_timeout": "2"}
        (root / "procedures/app.conf").write_text(quoting.assignments(conf))
        if processes:
            (root / "procedures/processes").write_text("process worker 2 60\n")
        self.release(OLD, "good")
        self.release(NEW, "prepared")
        (root / "current").symlink_to(f"releases/{OLD}")
        (root / "shared/rows").write_text(rows)
        self.folder = records.Folder(root)
        self.services = FakeServices(root)

    def release(self, name: str, state: str, server: str = "gunicorn") -> None:
        """Make a release."""
        deploy = self.root / "releases" / name / ".deploy"
        deploy.mkdir(parents=True)
        (deploy / "state").write_text(f"{state}\n")
        (deploy / "server").write_text(f"{server}\n")

    def ask(self, id: str = "w", **changes: str) -> None:
        """Write down what a window is to do."""
        values = {"old": OLD, "new": NEW, "smoked": "no", "migrate": "", "migrate_in": ""}
        values |= {"migrate_timeout": "60", "dump_wanted": "no", "restore": "", "hold": "300"}
        values |= {"administrator": "no", "rolled_back": "no", "drain": "no", "role": ""}
        values |= {"about": f'"when": "{id}"', **changes}
        self.folder.log(id, "params").write_text(quoting.assignments(values))
        self.folder.log(id, "log").write_text("")

    def window(self, id: str = "w") -> int:
        """Run a window to its end."""
        return self._process(lambda: window.Window(self.folder, self.services, id).run())

    def recover(self, id: str = "w") -> int:
        """Run what comes after a window."""
        return self._process(lambda: recovery.recover(self.folder, self.services, id))

    def restart(self) -> int:
        """Restart what serves."""
        return self._process(lambda: window.restart(self.folder, self.services))

    def gate(self) -> int:
        """Run what comes before a start that needs more than the fast path."""

        def run() -> int:
            locks.take(self.folder.gate, locks.GATE)
            return recovery.gate(self.folder, self.services)

        return self._process(run)

    def _process(self, work: Callable[[], int]) -> int:
        killer.root, killer.dead = str(self.root), False
        self.services.locks = []
        try:
            return work()
        finally:
            killer.root, killer.left, killer.dead = "", None, False
            for descriptor in (locks.LOCK, locks.GATE):
                try:
                    os.close(descriptor)
                except OSError:
                    continue

    @property
    def verdict(self) -> str:
        """The last window's verdict, or nothing."""
        file = self.folder.log("w", "result")
        return file.read_text().strip() if file.exists() else ""

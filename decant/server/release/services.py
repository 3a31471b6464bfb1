"""What serves an application on this server: its processes, its proxy, its database.

Each method is a function of lib.sh or an action of database.py. Standard library only.
"""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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

    def end_confined(self) -> bool:
        """End everything that runs as the application beside its stopped service."""
        return self._call("end_confined") == 0

    def migrate(self, release: str, command: str, limit: float) -> int:
        """Run a migration with a release's code, in its sandbox; return the exit code."""
        words = ("migrate", f"{limit:g}", release, "sh", "-c", command)
        return self._call("in_release", *words)

    def can_serve(self, release: str) -> bool:
        """Tell whether this server is set up for the WSGI server that a release wants."""
        return self._call("can_serve", release) == 0

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

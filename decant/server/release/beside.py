"""Start a release beside the one that serves, and let the older one go when the new one answers.

Both accept from the socket that their manager holds; launcher.py, the main process of the service,
starts them. Which process is which root reads from /proc alone: a release is a child of the
launcher, and what it starts are descendants of that. Standard library only.
"""

import contextlib
import os
import pwd
import secrets
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import procfs
from procfs import Process, belongs_together, descendants, processes
from records import Failure

QUIET = 3.0  # seconds without another worker after which those that are there are all there are
STUBBORN = 10.0  # seconds that one which was killed may take
NICE = 19  # of workers that start, until they answer


class Unwell(Failure):
    """A release that starts, and does not answer a health check as it should."""


class Service:
    """The application's service on this server: its launcher, and the releases that run in it.

    `main_pid` asks the manager for the launcher's process, 0 where none runs. `limit`: the seconds
    in which a release has to finish what it began.
    """

    def __init__(
        self, run: Path, account: str, main_pid: Callable[[], int], limit: float = 45
    ) -> None:
        self.run, self.main_pid, self.limit = run, main_pid, limit
        self.uid, self.gid = pwd.getpwnam(account)[2:4]

    def launcher(self) -> Process | None:
        """Return the launcher, or None: nothing runs, or a server of a version before does."""
        pid = self.main_pid()
        found = Process.read(pid) if pid > 0 else None
        if not found or found.uid != self.uid:
            return None
        words = procfs.arguments(found)
        return found if any(word.endswith(b"/launcher.py") for word in words) else None

    def running(self) -> list[Process]:
        """Return the releases that run, the oldest first."""
        launcher = self.launcher()
        if not launcher:
            return []
        children = (each for each in processes(self.uid).values() if each.parent == launcher.pid)
        return sorted(children, key=lambda process: (process.born, process.pid))

    # --- beside

    def start(self, release: str, scheme: str, limit: float) -> Process:
        """Start a release beside the one that runs, and wait until it answers.

        `scheme`: by which its workers ask it for health. Raises Failure with why it does not, and
        Unwell where it does not answer as it should; what had started of it has ended then.
        """
        before, launcher = self.running(), self.launcher()
        if not launcher or not before:
            raise Failure("nothing runs that it could start beside")
        with self._listening(f"{secrets.token_hex(16)} {release} {scheme}") as sock:
            launcher.signal(signal.SIGUSR2)
            new = self._appeared(before, launcher)
            try:
                usual = os.getpriority(os.PRIO_PROCESS, launcher.pid)
                procfs.renice(descendants(new), usual + NICE)
                self._wait(new, sock, limit, usual)
                procfs.renice(descendants(new), usual)
            except BaseException:
                self.end(new, since=new.born)
                raise
        return new

    @contextlib.contextmanager
    def _listening(self, starting: str) -> Iterator[socket.socket]:
        """Say what is to start, and open the socket on which its workers tell that they are ready."""
        path = self.run / "ready"
        self.stop_listening()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(str(path))
                os.chown(path, 0, self.gid)
                path.chmod(0o620)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
                sock.settimeout(0.2)
                (self.run / "starting").write_text(f"{starting}\n", encoding="utf-8")
                yield sock
            finally:
                self.stop_listening()

    def stop_listening(self) -> None:
        """Remove the socket, and what has workers ask for health."""
        for name in ("starting", "ready"):
            (self.run / name).unlink(missing_ok=True)

    def _appeared(self, before: list[Process], launcher: Process) -> Process:
        """Return the release that the launcher has started."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            for process in self.running():
                if process not in before:
                    return process
            if self.launcher() != launcher:
                raise Failure("the service ended")
            time.sleep(0.02)
        raise Failure("it does not start")

    def _wait(self, new: Process, sock: socket.socket, limit: float, usual: int) -> None:
        """Return when all workers of a release accept requests; raise Failure where they do not.

        One that accepts gets the usual priority, and all of them when half of the time is over: on
        a busy server they might not start in time without it.
        """
        until = time.monotonic() + limit
        hurry = until - limit / 2
        ready: set[int] = set()
        wanted, last = 1, 0.0
        while len(ready) < wanted and not (ready and time.monotonic() > last + QUIET):
            if Process.read(new.pid) != new:
                raise Failure("it ended before it answered")
            if time.monotonic() > until:
                raise Failure(
                    f"{len(ready)} of its workers were ready within app.health.timeout ({limit:g} s)"
                )
            if time.monotonic() > hurry:
                procfs.renice(descendants(new), usual)
                hurry = until
            pid, word, rest = self._heard(sock)
            # A worker of the old release is none of these, whatever it says.
            teller = [process for process in descendants(new) if process.pid == pid]
            if not word or not teller:
                continue
            if word == "unwell":
                raise Unwell(rest)
            if word == "ready":
                procfs.renice(teller, usual)
                ready.add(pid)
                number = rest.isascii() and rest.isdigit()
                wanted, last = min(int(rest), 1000) if number else 1, time.monotonic()

    def _heard(self, sock: socket.socket) -> tuple[int, str, str]:
        """Return who tells something, by the kernel's word, and its word and the rest of it.

        Nothing where nobody does within a moment, or another account.
        """
        size = struct.calcsize("3i")
        try:
            data, control, _, _ = sock.recvmsg(1000, socket.CMSG_SPACE(size))
        except TimeoutError:
            return 0, "", ""
        for level, kind, text in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, _ = struct.unpack("3i", text[:size])
                if uid == self.uid:
                    word, _, rest = data.decode("utf-8", "replace").partition(" ")
                    return pid, word, rest
        return 0, "", ""

    # --- the end of one

    def end(self, process: Process, since: int = 0) -> None:
        """Have a release end when it has answered what it began, with all that it started.

        It is killed when its time is over, and what it leaves in the service's group, if that was
        born `since` then. Raises Failure for what does not end even so.
        """
        process.signal(signal.SIGTERM)
        until = time.monotonic() + self.limit
        while Process.read(process.pid) == process:
            now = time.monotonic()
            if now > until + STUBBORN:
                raise Failure(f"process {process.pid} does not end")
            if now > until:
                for each in descendants(process):
                    each.signal(signal.SIGKILL)
            time.sleep(0.05)
        until = time.monotonic() + STUBBORN
        while leftovers := self._leftovers(since):
            if time.monotonic() > until:
                raise Failure(f"process {leftovers[0].pid}, which a release left, does not end")
            for each in leftovers:
                each.signal(signal.SIGKILL)
            time.sleep(0.05)

    def keep(self, one: Process) -> None:
        """Let every release go but one.

        What the one had in the background before another started stays.
        """
        others = [process for process in self.running() if process != one]
        for process in others:
            process.signal(signal.SIGTERM)
        for process in others:
            self.end(process, since=process.born if process.born > one.born else 0)

    def _leftovers(self, since: int) -> list[Process]:
        """Return what is in the service's group, and no release's any more.

        A process that went into the background by itself is no release's.
        """
        launcher = self.launcher()
        if not launcher:
            return []
        # Read once: what a release starts between two readings would be nobody's in the second one.
        everybody = processes(self.uid)
        kept = {process.pid for process in descendants(launcher, everybody)}
        return [
            process
            for process in everybody.values()
            if process.pid not in kept
            and process.born >= since
            and belongs_together(process, launcher)
        ]

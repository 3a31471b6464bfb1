"""What /proc says of the processes of an account, of which root believes the kernel alone.

Standard library only.
"""

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process as /proc/PID/stat has it; `born` tells it from a later one with its number."""

    pid: int
    parent: int = field(compare=False)  # another one when that ends
    group: int = field(compare=False)
    born: int
    uid: int

    @classmethod
    def read(cls, pid: int) -> "Process | None":
        """Return a process, or None where it is gone or has ended."""
        try:
            text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            uid = (PROC / str(pid)).stat().st_uid
        except OSError:
            return None
        words = text.rpartition(")")[2].split()  # a name may contain anything
        if words[0] in ("Z", "X") and int(words[17]) < 2:  # of its threads, others may go on
            return None
        return cls(pid, int(words[1]), int(words[2]), int(words[19]), uid)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it is gone; never to another one that has its number now."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if Process.read(self.pid) == self:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def processes(uid: int) -> dict[int, Process]:
    """Return every process of an account, by its number."""
    found = (Process.read(int(path.name)) for path in PROC.iterdir() if path.name.isdigit())
    return {process.pid: process for process in found if process and process.uid == uid}


def size(members: list[Process]) -> int:
    """Return the bytes of memory that processes take by themselves."""
    total = 0
    for process in members:
        with contextlib.suppress(OSError, ValueError):
            text = (PROC / str(process.pid) / "smaps_rollup").read_text(encoding="utf-8")
            lines = (line.split() for line in text.splitlines())
            total += sum(int(words[1]) << 10 for words in lines if words[0] == "Pss:")
    return total


def descendants(of: Process, everybody: dict[int, Process] | None = None) -> list[Process]:
    """Return a process and everything that it has started, as far as its parents live.

    `everybody`: the processes of its account as they have just been read.
    """
    everybody = processes(of.uid) if everybody is None else everybody
    found = {of.pid: of}
    while True:
        more = {
            pid: process
            for pid, process in everybody.items()
            if pid not in found and process.parent in found
        }
        if not more:
            return list(found.values())
        found |= more


def renice(members: list[Process], value: int) -> None:
    """Give processes and all their threads a priority."""
    for process in members:
        with contextlib.suppress(OSError):
            for task in (PROC / str(process.pid) / "task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(task.name), value)


def arguments(process: Process) -> list[bytes]:
    """Return the words of a process's command line, the first 4 kB of it."""
    try:
        with (PROC / str(process.pid) / "cmdline").open("rb") as file:
            return file.read(4096).split(b"\0")
    except OSError:
        return []


def belongs_together(process: Process, launcher: Process) -> bool:
    """Tell whether a process was started in the launcher's service.

    systemd gives a service a control group of its own; under supervisor, which shares one with all
    programs, it is the process group.
    """
    try:
        own, other = (
            (PROC / str(each.pid) / "cgroup").read_text(encoding="utf-8")
            for each in (process, launcher)
        )
    except OSError:
        return False
    if "/supervisor.service" in other:
        return process.group == launcher.group
    return own == other


def available() -> int:
    """Return the bytes of memory that this server has left."""
    for line in (PROC / "meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0

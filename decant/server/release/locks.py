"""The lock of a command and the gate before the application, as descriptors that are inherited.

Whoever holds the gate's lock decides when the application starts. What a window starts as root
inherits it, so that it is held until the last of that has ended. Standard library only.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Folder

LOCK, GATE = 8, 9  # descriptors, as the procedures of sh have them


def take(file: Path, descriptor: int, shared: bool = False, timeout: float | None = None) -> bool:
    """Lock a file under a descriptor that what we start inherits; False where it is not free.

    `timeout`: how many seconds to wait; without it, for as long as it takes.
    """
    opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if timeout is None:
        fcntl.flock(descriptor, kind)
        return True
    until = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True


def close_gate(folder: Folder) -> None:
    """With its lock held, have Apache's daemon processes wait, too, who cannot hold it."""
    # One that was killed keeps nobody waiting.
    folder.closed.write_text(f"{os.getpid()}\n", encoding="utf-8")


def open_gate(folder: Folder) -> None:
    """Let whoever starts the application go on."""
    folder.closed.unlink(missing_ok=True)
    fcntl.flock(GATE, fcntl.LOCK_UN)

"""Disks of lab servers that can fill up, and that lose what was not synced when the power goes.

A disk is an ext4 file system in a file. Its journal is committed once in ten minutes, so that
nothing but what was synced is on it: what a program only wrote is still in this machine's memory,
and is gone when the file is copied as it is.
"""

import os
import subprocess
from pathlib import Path

FILE = "disk.img"


def make(home: Path, megabytes: int) -> None:
    """Make a server's disk, which takes no more room here than what is written to it."""
    with (home / FILE).open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(home / FILE)], check=True)


def mount(home: Path) -> Path:
    """Return the folder in which a server's own files lie: on its disk, where it has one."""
    if not (home / FILE).exists():
        return home
    folder = home / "disk"
    folder.mkdir(exist_ok=True)
    if not os.path.ismount(folder):
        options = "loop,commit=600"
        subprocess.run(["mount", "-o", options, str(home / FILE), str(folder)], check=True)
    return folder


def sync(home: Path) -> None:
    """Write through what is on a server's own disk, as its installer would have."""
    if (home / FILE).exists():
        subprocess.run(["sync", "-f", str(home / "disk")], check=True)


def lose_unsynced(home: Path) -> None:
    """Put the disk of a server that is off back to what was synced.

    The copy comes first: unmounting writes to the file.
    """
    if not (home / FILE).exists():
        return
    kept = home / f"{FILE}.kept"
    subprocess.run(["cp", "--sparse=always", str(home / FILE), str(kept)], check=True)
    unmount(home)
    kept.rename(home / FILE)


def unmount(home: Path) -> None:
    """Unmount what a server that is off has mounted."""
    for folder in ("root", "disk"):
        if os.path.ismount(home / folder):
            subprocess.run(["umount", str(home / folder)], check=True)

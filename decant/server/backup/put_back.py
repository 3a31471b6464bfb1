"""Give shared/ what a copy has that was fetched.

What is missing is moved there; into what is there the application itself unpacks. What has come
since stays. Standard library only.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Failure
from restic import cause, confined


def put_back(root: Path, source: Path, secrets: bool = False) -> tuple[int, int]:
    """Put back what is in a folder that root alone can reach.

    Secrets that are there stay, unless those of the copy are wanted: then the others are kept
    beside them. Returns how many entries were moved there, and how many were brought up to date.
    """
    target = root / "shared"
    there = target / "secrets.env"
    if secrets and there.exists() and (source / "secrets.env").exists():
        there.rename(target / "secrets.env.before")
    return _put(root, source, target)


def hand_over(folder: Path, before: list[int], now: tuple[int, int]) -> None:
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


def _put(root: Path, source: Path, target: Path) -> tuple[int, int]:
    moved = merged = 0
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if not os.path.lexists(place):
            _move(entry, place)
            moved += 1
        elif _is_roots_folder(place):  # the application may not make anything in it
            more = _put(root, entry, place)
            moved, merged = moved + more[0], merged + more[1]
        elif entry.name != "secrets.env":
            merge(root, entry, place)
            merged += 1
    return moved, merged


def merge(root: Path, entry: Path, place: Path) -> None:
    """Have the application unpack a file or a folder of the copy over what it has."""
    pack = ["tar", "-C", str(entry.parent), "-cf", "-", "--", entry.name]
    unpack = ["tar", "-C", str(place.parent), "-xf", "-", "--no-same-owner", "-p"]
    # In a folder of its own it replaces what is not its own; beside one it may make no file.
    unpack += [] if entry.is_dir() else ["--overwrite"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        done = subprocess.run(
            confined(root, "application", "put", 0, unpack),
            stdin=packing.stdout,
            capture_output=True,
            text=True,
        )
    if done.returncode or packing.returncode:
        raise Failure(f"{place}: {cause(done.stderr) or 'the copy could not be unpacked'}")


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

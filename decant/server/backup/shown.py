"""Show a folder of an application's a second time, where no link in it leads anywhere.

restic opens files by their paths, and an application could put a link in the place of a folder
meanwhile, to the keys of the storage or to what restic has in its environment. Standard library
only.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from records import Failure
from restic import cause

MOUNTS = Path("/proc/self/mountinfo")


@contextlib.contextmanager
def shown(folder: Path, view: Path) -> Iterator[None]:
    """Show a folder, and what is mounted below it, at `view` while the block runs (mount(8),
    nosymfollow).
    """
    hide(view)
    view.mkdir(mode=0o700, exist_ok=True)
    try:
        # All at once, by the kernel: a path below the folder is the application's to lead elsewhere.
        # Private, so that nothing which is taken away here is taken away there.
        _mount("--rbind", "--make-rprivate", str(folder), str(view))
        for place in (view, *mounted_below(view)):
            _mount("-o", "remount,bind,ro,nosuid,nodev,nosymfollow", str(place))
        yield
    finally:
        hide(view)


def hide(view: Path) -> None:
    """Take away what is shown, also what one left that was killed."""
    for words in (["mount", "--make-rprivate"], ["umount", "-q", "-R", "-l"]):
        subprocess.run([*words, view], stderr=subprocess.DEVNULL)
    with contextlib.suppress(OSError):
        view.rmdir()


def mounted_below(folder: Path) -> list[Path]:
    """Return what is mounted below a folder, the outer ones first (proc(5), mountinfo)."""
    lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    points = (re.sub(r"\\([0-7]{3})", _octal, line.split()[4]) for line in lines)
    return sorted({Path(point) for point in points if point.startswith(f"{folder}/")})


def _octal(found: re.Match[str]) -> str:
    return chr(int(found[1], 8))


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"shared/ could not be shown to restic: {cause(done.stderr)}")

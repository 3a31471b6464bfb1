"""Tell whether everything is there that was there when a folder was whole.

`write FOLDER LIST` writes the paths of its files into a file in it; `lacks FOLDER LIST` prints the
first of them that is not there any more. A release and an environment are root's and never change,
so what is missing was removed by hand. Standard library only.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

OF_RELEASE = ".deploy/contents"
OF_ENVIRONMENT = ".decant-contents"


def files(folder: Path, below: str = "") -> Iterator[str]:
    """Yield the files and links in a folder by their paths in it."""
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            # What is compiled may be made anew.
            if entry.name == "__pycache__":
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from files(folder, f"{path}/")
            else:
                yield path


def write(folder: Path, listing: str) -> None:
    """Write down what is there."""
    data = b"\0".join(sorted(os.fsencode(path) for path in files(folder) if path != listing))
    file = os.open(folder / listing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)


def lacks(folder: Path, listing: str) -> str:
    """Return the path of something that was there and is not, or nothing.

    Nothing, too, of a folder of a version before, which has no list.
    """
    try:
        data = (folder / listing).read_bytes()
    except FileNotFoundError:
        return ""
    top = os.fsencode(folder)
    gone = (path for path in data.split(b"\0") if not os.path.lexists(top + b"/" + path))
    return next(gone, b"").decode("utf-8", "replace")


if __name__ == "__main__":
    action, folder, listing = sys.argv[1:]
    if action == "write":
        write(Path(folder), listing)
    else:
        print(lacks(Path(folder), listing))

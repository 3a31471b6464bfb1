"""Print how long `fab --list` takes here, beside the same for a fabfile with one empty task, run in
turns.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
EMPTY = "from fabric import task\n\n@task\ndef nothing(c):\n    pass\n"
RUNS = 15


def seconds(folder: Path) -> float:
    """Time one `fab --list` in a folder."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "fabric", "--list"],
        cwd=folder,
        check=True,
        capture_output=True,
        env=environment,
    )
    return time.perf_counter() - began


def main() -> None:
    """Print both medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "fabfile.py").write_text(EMPTY)
        pairs = [(seconds(ROOT), seconds(empty)) for _ in range(RUNS + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"fab --list: {ours:.3f} s; with an empty fabfile: {theirs:.3f} s; ratio"
        f" {ours / theirs:.2f} (medians of {RUNS})"
    )


if __name__ == "__main__":
    main()

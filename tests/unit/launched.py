"""A launcher in a folder, with releases that are scripts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from decant.plans.rendering import SERVER

LAUNCHER = SERVER / "inside/launcher.py"
# A release that says what it is told, until it is told to stop.
SERVES = """#!/bin/sh
trap 'echo "$1 stops" >>"$2"; exit 0' TERM
trap 'echo "$1 reloads" >>"$2"' HUP
echo "$1 starts $LISTEN_PID $LISTEN_FDS $$" >>"$2"
while :; do sleep 0.02; done
"""


def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that within 10 s")


class Launched:
    """A launcher in a folder, with two releases."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "log"
        self.log.touch()
        for name in ("old", "new"):
            self.program(name, SERVES.replace("$1", name).replace("$2", str(self.log)))
        self.lead_to("old")
        (root / "run").mkdir()
        self.errors = root / "errors"
        # What runs these tests may ignore it, as nohup(1) does, and a shell cannot undo that.
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", LAUNCHER, root, root / "run"],
                env={**os.environ, "LISTEN_FDS": "1"},
                stderr=errors,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    def program(self, name: str, text: str) -> None:
        file = self.root / "releases" / name / ".deploy/start"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def lead_to(self, name: str) -> None:
        (self.root / "current").unlink(missing_ok=True)
        (self.root / "current").symlink_to(f"releases/{name}")

    @property
    def said(self) -> list[str]:
        return [" ".join(line.split()[:2]) for line in self.log.read_text().splitlines()]

    def pids(self) -> list[int]:
        return [
            int(line.split()[4]) for line in self.log.read_text().splitlines() if "starts" in line
        ]

    def start(self, name: str) -> None:
        """Have a release started beside what runs."""
        (self.root / "run/starting").write_text(f"token {name} http\n")
        self.tell(signal.SIGUSR2)

    def tell(self, number: int) -> None:
        self.process.send_signal(number)

"""A program that waits for a network: what is said of it, and when it is ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decant.plans.rendering import SERVER

sys.path.insert(0, str(SERVER / "release"))
import watched


def test_its_exit_code_and_its_last_lines_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    script = r"printf 'Receiving 1%%\rReceiving 100%%\n' >&2; echo fatal: no such thing >&2; exit 7"
    code, lines = watched.run("the repository", ["sh", "-c", script])
    assert (code, lines) == (7, ["Receiving 100%", "fatal: no such thing"])
    assert capfd.readouterr().out == ""


def test_what_takes_long_says_what_it_waits_for(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "SAID", 0.1)
    assert watched.run("the repository", ["sleep", "0.7"]) == (0, [])
    assert capfd.readouterr().out == "waiting for the repository\n"


def test_one_from_which_nothing_comes_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 61 & echo $! >{pids}; echo begun >&2; wait"
    began = time.monotonic()
    code, lines = watched.run("the repository", ["sh", "-c", script], silence=0.5)
    assert (code, lines) == (124, ["nothing came for 0.5 s"])
    assert time.monotonic() < began + 30
    child = int(pids.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("what it started goes on")


def test_one_that_tells_its_progress_is_left_alone() -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do echo $n >&2; sleep 0.2; done"
    code, lines = watched.run("the repository", ["sh", "-c", script], silence=1)
    assert (code, lines[-1]) == (0, "8")


def test_it_holds_no_descriptor_of_the_one_who_waits() -> None:
    ours = os.open("/dev/null", os.O_RDONLY)
    try:
        os.set_inheritable(ours, True)
        done = subprocess.run(
            [
                *(sys.executable, "-I", "-S", SERVER / "release/watched.py", "it"),
                *("sh", "-c", f"! test -e /proc/self/fd/{ours}"),
            ],
            pass_fds=(ours,),
        )
    finally:
        os.close(ours)
    assert done.returncode == 0

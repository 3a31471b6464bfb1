"""The shell that waits on a channel for its command, run here."""

import subprocess

import pytest

from decant.remote.connection import WAITING, WHOLE, framed


def waiting(data: bytes, shell: str = "sh") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([shell, "-c", WAITING], input=data, capture_output=True)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_waiting_shell_runs_its_command_with_what_comes_after_it(shell: str) -> None:
    done = waiting(framed("printf '%s|' 'ä\n\"$x' \\\\ ; cat; exit 3") + b"the rest\nof it", shell)
    assert done.stdout == 'ä\n"$x|\\|the rest\nof it'.encode()
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_command_that_was_cut_off_on_its_way_is_not_run() -> None:
    data = framed("echo one; echo two")
    for length in range(len(data)):
        assert waiting(data[:length]).stdout == b""
    assert waiting(data).stdout == b"one\ntwo\n"


def test_the_last_line_is_nothing_that_a_shell_would_do() -> None:
    assert subprocess.run(["sh", "-c", f"echo one{WHOLE}"], capture_output=True).stdout == b"one\n"

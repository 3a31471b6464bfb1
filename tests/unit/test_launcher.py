"""The main process of the service: releases on one socket, one beside the other."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.unit.launched import Launched, until


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    made = Launched(tmp_path)
    until(lambda: made.said == ["old starts"])
    yield made
    made.process.kill()
    made.process.wait()


def test_a_release_gets_the_socket_in_systemds_way(launched: Launched) -> None:
    _, _, told, count, own = launched.log.read_text().split()
    assert (told, count) == (own, "1")


def test_a_release_starts_beside_the_one_that_serves(launched: Launched) -> None:
    launched.start("new")
    until(lambda: launched.said == ["old starts", "new starts"])
    launched.tell(signal.SIGHUP)
    until(lambda: launched.said[2:] == ["new reloads"])
    os.kill(launched.pids()[0], signal.SIGTERM)
    until(lambda: launched.said[3:] == ["old stops"])
    assert launched.process.poll() is None


def test_all_are_told_to_stop_and_waited_for(launched: Launched) -> None:
    launched.start("old")
    until(lambda: len(launched.said) == 2)
    launched.tell(signal.SIGTERM)
    assert launched.process.wait(10) == 0
    assert sorted(launched.said[2:]) == ["old stops", "old stops"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, 137)])
def test_it_ends_as_the_last_one_does(launched: Launched, number: int, code: int) -> None:
    os.kill(launched.pids()[0], number)
    assert launched.process.wait(10) == code


def test_one_that_cannot_start_is_forgotten_and_said(launched: Launched) -> None:
    def heard(text: str) -> bool:
        return text in launched.errors.read_text()

    launched.program("new", "#!/nonexistent\n")
    for name in ("new", "nowhere"):
        launched.start(name)
        program = launched.root / "releases" / name / ".deploy/start"
        until(partial(heard, f"launcher: {program}: No such file"))
    (launched.root / "run/starting").unlink()
    launched.tell(signal.SIGUSR2)  # of a window that was killed
    until(lambda: heard("launcher: nothing was started: "))
    assert launched.process.poll() is None
    os.kill(launched.pids()[0], signal.SIGKILL)
    assert launched.process.wait(10) == 137


def test_what_it_started_ends_with_it(launched: Launched) -> None:
    launched.tell(signal.SIGKILL)
    until(lambda: len(launched.said) == 2)
    assert launched.said[1:] == ["old stops"]

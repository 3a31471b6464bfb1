"""Whether processes beside the service stay up."""

import time
from pathlib import Path

import pytest

from tests.unit.machine import NEW, Application, trial


class Clock:
    """Time that passes only in a sleep, and a manager whose answers change with it."""

    def __init__(self, *answers: str) -> None:
        self.now, self.answers = 0.0, answers

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self, function: str, *words: str) -> tuple[int, str]:
        if function == "log_of_process":
            return 0, f"Traceback\nModuleNotFoundError: No module named 'celery' ({words[0]})"
        return 0, self.answers[min(int(self.now), len(self.answers) - 1)]


@pytest.fixture
def app(tmp_path: Path) -> Application:
    made = Application(tmp_path / "shop", processes=True)
    folder = made.root / "releases" / NEW / ".deploy/processes"
    folder.mkdir()
    (folder / "worker").write_text("true\n")
    return made


def why_not(monkeypatch: pytest.MonkeyPatch, app: Application, *answers: str) -> tuple[str, float]:
    clock = Clock(*answers)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return trial.why_not(app.folder, clock.ask, NEW), clock.now


UP = "shop-worker@1.service 7\nshop-worker@2.service 8"


@pytest.mark.parametrize(
    ("answers", "why", "seconds"),
    [
        ((UP,), "", 5),
        (("shop-worker@1.service 0\nshop-worker@2.service 8", UP), "", 6),
        # Another one of the server is nobody's business here.
        ((f"{UP}\nshop-other@1.service 0",), "", 5),
        ((UP, UP, "shop-worker@1.service 7\nshop-worker@2.service 0"), "@2", 2),
        ((UP, UP, UP, "shop-worker@1.service 9\nshop-worker@2.service 8"), "@1", 3),
        (("shop-worker@1.service 0\nshop-worker@2.service 8",), "@1", 15),
        (("shop-worker:1 7\nshop-worker:2 8", "shop-worker:1 7\nshop-worker:2 0"), ":2", 1),
    ],
)
def test_each_has_to_be_there_in_time_and_to_stay(
    monkeypatch: pytest.MonkeyPatch,
    app: Application,
    answers: tuple[str, ...],
    why: str,
    seconds: int,
) -> None:
    said, took = why_not(monkeypatch, app, *answers)
    assert int(took + 0.01) == seconds
    assert bool(said) == bool(why)
    if why:
        assert said.startswith(
            "the process worker does not stay up: ModuleNotFoundError: No module named 'celery'"
            f" (shop-worker{why}"
        )


def test_the_time_to_end_is_that_of_the_slowest_of_each_kind(tmp_path: Path) -> None:
    listed = tmp_path / "processes"
    assert trial.time_to_end(listed) == {}
    listed.write_text("process a 2 60\nprocess b 1 90\nschedule c 10\n")
    assert trial.time_to_end(listed) == {"process": 90, "schedule": 10}


def test_a_release_without_processes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, app: Application
) -> None:
    (app.root / "releases" / NEW / ".deploy/processes/worker").unlink()
    assert why_not(monkeypatch, app, UP) == ("", 0)

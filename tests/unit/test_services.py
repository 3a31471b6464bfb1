# ruff: noqa: ARG002
"""When an old release has to stop before a new one starts, and which of two goes on."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.machine import NEW, OLD, Application, procfs, records, services


def process(pid: int) -> Any:
    return procfs.Process(pid, 1, 1, pid * 10, 1000)


class FakeService:
    """The service, with what runs in it as a list."""

    def __init__(self, *running: int, run: Path = Path("/nonexistent")) -> None:
        self.run = run
        self.processes = [process(pid) for pid in running]
        self.calls: list[str] = []
        self.listens = True

    def running(self) -> list[Any]:
        return self.processes

    def stop_listening(self) -> None:
        self.listens = False

    def keep(self, one: Any) -> None:
        self.calls.append(f"keep {one.pid}")
        self.processes = [one]

    def start(self, release: str, scheme: str, limit: float) -> Any:
        self.calls.append(f"start {release} by {scheme} in {limit:g}")
        return process(9)


class Asked(services.Services):
    """The services of an application whose server answers from a table."""

    def __init__(self, root: Path, service: FakeService) -> None:
        super().__init__(root)
        self.fake = service
        self.answers = {"scheme": "https", "memory_limit": ""}
        self.mode: tuple[int, str] = (0, "wal")
        self.stopped = self.started = False

    def _service(self) -> Any:
        return self.fake

    def _ask(self, function: str, *words: str) -> tuple[int, str]:
        return 0, self.answers[function]

    def database(self, action: str, *words: str, errors: Path | None = None) -> tuple[int, str]:
        assert action == "journal"
        return self.mode

    def stop(self) -> bool:
        self.stopped = True
        return True

    def start(self, wait: bool) -> None:
        assert wait and self.stopped
        self.started = True


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    app = Application(tmp_path / "shop")
    (app.root / f"releases/{NEW}/.deploy/switch").write_text("start-first\n")
    monkeypatch.setattr(procfs, "available", lambda: 500 << 20)
    monkeypatch.setattr(procfs, "descendants", lambda process: [process])
    monkeypatch.setattr(procfs, "size", lambda _: 50 << 20)
    return Asked(app.root, FakeService(1))


def test_a_release_may_start_beside_the_one_that_serves(asked: Asked) -> None:
    assert asked.must_stop_first(OLD, NEW) == ""


@pytest.mark.parametrize(
    ("switch", "why"),
    [
        ('wsgi.switch is "stop-first"', 'wsgi.switch is "stop-first"'),
        (None, f"{NEW} is of a version of Decant that could not start first"),
    ],
)
def test_what_the_release_says_of_itself_counts_first(
    asked: Asked, switch: str | None, why: str
) -> None:
    file = asked.root / f"releases/{NEW}/.deploy/switch"
    file.unlink()
    if switch:
        file.write_text(f"{switch}\n")
    assert asked.must_stop_first(OLD, NEW) == why


def test_requests_that_wait_for_another_server_cannot_be_answered_by_both(asked: Asked) -> None:
    (asked.root / f"releases/{OLD}/.deploy/server").write_text("uwsgi\n")
    assert asked.must_stop_first(OLD, NEW) == "another WSGI server"


def test_requests_wait_for_another_server_that_speaks_http_too(asked: Asked) -> None:
    (asked.root / f"releases/{OLD}/.deploy/server").write_text("command\n")
    assert asked.must_stop_first(OLD, NEW) == ""


def test_a_release_whose_workers_of_uwsgi_ask_nothing_does_not_start_first(asked: Asked) -> None:
    for name in (OLD, NEW):
        (asked.root / f"releases/{name}/.deploy/server").write_text("uwsgi\n")
    assert "is of a version of Decant that could not" in asked.must_stop_first(OLD, NEW)
    (asked.root / f"releases/{NEW}/.deploy/uwsgi_application.py").write_text("application = 1\n")
    assert asked.must_stop_first(OLD, NEW) == ""


def test_nothing_starts_beside_nothing(asked: Asked) -> None:
    asked.fake.processes = []
    assert asked.must_stop_first(OLD, NEW).startswith("the service does not run, or was set up by")


def test_where_the_manager_does_not_answer_nothing_starts_beside(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> Any:
        raise records.Failure("the manager does not say what serves")

    monkeypatch.setattr(asked, "_service", silent)
    assert asked.must_stop_first(OLD, NEW) == "the manager does not say what serves"


@pytest.mark.parametrize("mode", [(0, "delete"), (2, "")])
def test_sqlite_without_wal_is_written_by_one_at_a_time(
    asked: Asked, mode: tuple[int, str]
) -> None:
    asked.mode = mode
    why = asked.must_stop_first(OLD, NEW)
    assert "not in WAL mode; to change that: fab db.shell" in why.replace("  ", " ")
    assert asked.must_stop_first(OLD, NEW, "other") == why
    for seen in ("wal", ""):
        assert asked.must_stop_first(OLD, NEW, seen) == ""


@pytest.mark.parametrize(
    ("limit", "room"), [("", 40), (str(80 << 20), 30), (str(400 << 20), 40), (str(40 << 20), 0)]
)
def test_the_memory_for_both_has_to_be_there(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, limit: str, room: int
) -> None:
    monkeypatch.setattr(procfs, "available", lambda: 40 << 20)
    asked.answers["memory_limit"] = limit
    assert asked.must_stop_first(OLD, NEW) == (
        f"the application takes 50 MB of memory, and there is room for {room} MB more"
    )


def test_what_a_killed_command_left_beside_ends_before_another_starts(asked: Asked) -> None:
    run = asked.root / "run"
    asked.fake = FakeService(1, run=run)
    asked.start_beside(NEW, 30)
    assert asked.fake.calls == [f"start {NEW} by https in 30"]
    assert (run / "serving").read_text() == "1 10\n"
    asked.fake = FakeService(1, 2, 3, run=run)
    asked.start_beside(NEW, 30)
    assert asked.fake.calls == ["keep 1", f"start {NEW} by https in 30"]
    # Where nobody noted which one served, it is the newest.
    (run / "serving").unlink()
    asked.fake = FakeService(1, 2, 3, run=run)
    asked.start_beside(NEW, 30)
    assert asked.fake.calls[0] == "keep 3"
    assert (run / "serving").read_text() == "3 30\n"


@pytest.mark.parametrize(
    ("running", "calls", "stopped"),
    [
        ((1, 2), ["keep 1"], False),
        ((1,), ["keep 1"], False),
        ((2,), [], True),
        ((), [], False),
    ],
)
def test_the_old_release_goes_on_alone(
    asked: Asked, running: tuple[int, ...], calls: list[str], stopped: bool
) -> None:
    assert asked.serving() == "1 10"
    asked.fake = FakeService(*running)
    asked.keep_old("1 10")
    assert not asked.fake.listens
    assert (asked.fake.calls, asked.stopped) == (calls, stopped)


@pytest.mark.parametrize(
    ("running", "calls", "stopped"),
    [
        ((1, 2), ["keep 2"], False),
        ((2,), ["keep 2"], False),
        ((1,), [], True),
        ((), [], False),
    ],
)
def test_the_new_release_goes_on_alone(
    asked: Asked, running: tuple[int, ...], calls: list[str], stopped: bool
) -> None:
    asked.fake = FakeService(*running)
    asked.keep_new("1 10")
    assert not asked.fake.listens
    assert (asked.fake.calls, asked.stopped, asked.started) == (calls, stopped, stopped)


def test_where_nothing_runs_nothing_serves(asked: Asked) -> None:
    asked.fake.processes = []
    assert asked.serving() == ""


@pytest.mark.parametrize("answer", [(1, ""), (0, ""), (0, "error: no such process")])
def test_a_manager_that_does_not_answer_is_no_stopped_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str]
) -> None:
    app = Application(tmp_path / "shop")
    real = services.Services(app.root)
    monkeypatch.setattr(real, "_ask", lambda *_: answer)
    with pytest.raises(records.Failure, match="the manager does not say what serves"):
        real._main_pid()
    monkeypatch.setattr(real, "_ask", lambda *_: (0, "17"))
    assert real._main_pid() == 17

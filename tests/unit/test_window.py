"""The state machine of a release: every stage, every crash point, and who comes next."""

import fcntl
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from decant.plans import requests
from decant.plans.rendering import SERVER
from tests.unit.machine import (
    NEW,
    OLD,
    Application,
    Killed,
    beside,
    killer,
    locks,
    records,
    recovery,
    window,
)

MIGRATES = {"migrate": "upgrade", "dump_wanted": "yes"}


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait, write through to a disk, or take descriptors that pytest uses."""
    monkeypatch.setattr(locks, "LOCK", 208)
    monkeypatch.setattr(locks, "GATE", 209)
    monkeypatch.setattr(window, "WAITS", 0.1)
    monkeypatch.setattr(window, "RESERVE", 4096)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(records, "sync", lambda _: None)


@pytest.fixture
def app(tmp_path: Path) -> Application:
    return Application(tmp_path / "shop")


def history(app: Application) -> list[dict[str, Any]]:
    file = app.root / "deploys.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# --- a window that comes to its end -------------------------------------------------------------------


def test_a_window_stops_pulls_migrates_checks_and_starts(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.ask(**MIGRATES)
    assert app.window() == 0
    assert app.services.calls == [
        "maintenance_off",
        "cannot_serve",
        "ready",
        "stop",
        "dump",
        "migrate",
        "smoke",
        "list_releases",
        "start",
        "maintenance_off",
        "ask_health",
    ]
    assert capsys.readouterr().out.splitlines() == [
        ":: stop first: a migration is pending",
        f":: dump to backups/w-{OLD}.dump",
        f":: pull: current is {NEW}",
        ":: migrate",
        ":: health on a private socket",
        ":: start",
        f":: served: {NEW}",
    ]
    assert (app.services.running, app.services.rows) == (NEW, "rows+upgrade")
    assert app.folder.state(NEW) == "good"
    assert not app.folder.transition.exists()
    assert not app.folder.closed.exists()
    assert app.verdict == "good"
    assert history(app) == [{"when": "w", "result": "good", "cause": "", "seconds": 0}]
    assert (app.root / "log/last-migration").read_text() == "0\n"


def test_a_release_without_a_migration_starts_beside_the_old_one(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.services.why = ""
    app.ask(drain="yes", rolled_back="yes")
    assert app.window() == 0
    assert app.services.calls == [
        "maintenance_off",
        "cannot_serve",
        "start_beside",
        "list_releases",
        "keep_new",
        "ask_health",
        "list_releases",
        "drain_off",
    ]
    assert capsys.readouterr().out.splitlines() == [
        f":: start first: {NEW} beside {OLD}",
        ":: stop: the old release finishes what it began",
        f":: served: {NEW}",
    ]
    assert (app.services.running, app.services.beside, app.verdict) == (NEW, None, "good")
    assert [app.folder.state(each) for each in (OLD, NEW)] == ["rolled-back", "good"]


def test_one_that_is_not_well_beside_the_old_one_ends_and_nothing_stops(app: Application) -> None:
    app.services.why, app.services.wrong = "", {"start_beside": beside.Unwell("/up answered 500")}
    app.ask()
    assert app.window() == 1
    assert app.verdict == "failed the new release failed its health check: /up answered 500"
    assert (app.folder.current, app.services.running, app.services.beside) == (OLD, OLD, None)
    assert app.folder.state(NEW) == "failed"
    assert "stop" not in app.services.calls


def test_one_that_cannot_run_twice_starts_when_the_old_one_has_stopped(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.services.why, app.services.wrong = "", {"start_beside": records.Failure("it ended")}
    app.ask()
    assert app.window() == 0
    assert (app.folder.current, app.services.running, app.verdict) == (NEW, NEW, "good")
    assert app.services.calls.index("smoke") < app.services.calls.index("stop")
    said = capsys.readouterr().out
    assert "it does not start beside the old one: it ended\n" in said
    assert "stop first: it cannot start beside the old one\n" in said
    # The marks of the attempt are gone: what is killed later is undone as a stop first is.
    assert app.folder.beside("w") == ""
    assert not app.folder.log("w", "undone").exists()


def test_one_that_is_broken_is_seen_before_anything_stops(app: Application) -> None:
    app.services.why = ""
    app.services.wrong = {"start_beside": records.Failure("it ended"), "smoke": "no answer"}
    app.ask()
    assert app.window() == 1
    assert app.verdict == "failed the new release failed its health check: no answer"
    assert "stop" not in app.services.calls


def test_a_site_that_the_proxy_refuses_ends_what_was_started_beside(app: Application) -> None:
    app.services.why, app.services.differs = "", True
    app.services.wrong = {"check_proxy": 1}
    app.ask()
    assert app.window() == 1
    assert "nginx refuses what the new release includes" in app.verdict
    assert (app.folder.current, app.services.running, app.services.beside) == (OLD, OLD, None)
    app.services.wrong = {}
    app.ask("again")
    assert app.window("again") == 0
    assert "reload_proxy" in app.services.calls


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (MIGRATES, "a migration is pending"),
        ({"restore": "/a.dump"}, "the database is replaced"),
        ({"dump_wanted": "yes"}, 'db.snapshot is "always"'),
        ({}, "wsgi.switch"),
    ],
)
def test_why_the_old_release_stops_first_is_said(
    app: Application, capsys: pytest.CaptureFixture[str], changes: dict[str, str], why: str
) -> None:
    (app.root / "a.dump").write_text("rows")
    app.services.why = "wsgi.switch" if not changes else ""
    app.ask(**{key: str(value).replace("/a", f"{app.root}/a") for key, value in changes.items()})
    app.window()
    assert f":: stop first: {why}\n" in capsys.readouterr().out


def test_what_was_started_and_cannot_be_ended_waits_for_whoever_comes_next(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.services.why, app.services.wrong = "", {"start_beside": records.Failure("it ended")}

    def stubborn(_: str) -> None:
        raise records.Failure("process 1 does not end")

    app.ask()
    with monkeypatch.context() as patch:
        patch.setattr(app.services, "keep_old", stubborn)
        assert app.window() == 1
    assert app.folder.transition.exists()
    assert app.recover() == 0
    assert (app.folder.current, app.services.running) == (OLD, OLD)


def test_an_old_release_that_does_not_end_keeps_no_window_open(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_both_on_disk(app, "start first: no record; the new one runs alone")

    def stubborn(_: str) -> None:
        raise records.Failure("process 1 does not end")

    monkeypatch.setattr(app.services, "keep_new", stubborn)
    app.folder.maintenance.touch()
    assert app.recover() == 0
    assert app.verdict.startswith("good ")
    assert not app.folder.maintenance.exists()


def test_a_restart_starts_the_release_beside_itself(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.restart() == 3
    assert capsys.readouterr().out == "stop first: wsgi.switch\n"
    app.services.why = ""
    assert app.restart() == 0
    assert app.services.calls == ["ask_health", "start_beside", "keep_new"]
    app.services.wrong = {"start_beside": beside.Unwell("/up answered 500")}
    with pytest.raises(records.Failure, match="the health check failed: /up answered 500"):
        app.restart()
    app.services.wrong = {"start_beside": records.Failure("it ended before it answered")}
    assert app.restart() == 3
    app.services.wrong = {"ask_health": "502"}
    app.folder.switch_to(NEW)
    app.services.running = NEW
    assert app.restart() == 3
    app.folder.write_record(records.Transition("w", OLD, NEW, "", False, "prepared"))
    assert app.restart() == 3
    app.folder.remove_record()
    said = capsys.readouterr().out
    for why in ("it does not start beside itself: it ended", "it is not well as it is", "a window"):
        assert f"stop first: {why}" in said
    app.services.wrong = {}
    holder = os.open(app.folder.gate, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(records.Failure, match="a release window is open"):
        app.restart()
    os.close(holder)


def test_what_was_smoked_is_not_asked_again(app: Application) -> None:
    app.ask(smoked="yes")
    assert app.window() == 0
    assert "smoke" not in app.services.calls
    assert "exists" not in app.services.calls


def test_a_rollback_marks_the_release_that_it_leaves(app: Application) -> None:
    app.ask(smoked="yes", rolled_back="yes")
    assert app.window() == 0
    assert app.folder.state(OLD) == "rolled-back"


@pytest.mark.parametrize(
    ("wrong", "changes", "cause"),
    [
        ({"cannot_serve": "systemd does not take it"}, {}, "systemd does not take it"),
        ({"edited": "/etc/x.service"}, {}, "/etc/x.service was changed by hand"),
        ({"ready": "no room"}, MIGRATES, "no dump for this window: no room"),
        ({"stop": 1}, {}, "the application could not be stopped"),
        (
            {"exists": "gone"},
            {**MIGRATES, "dump_wanted": "no"},
            "the database could not be asked: sqlite: gone",
        ),
        ({"dump": "full"}, MIGRATES, "the dump failed: sqlite: full"),
        ({"migrate code": 1}, MIGRATES, "the migration failed (exit code 1)"),
        ({"migrate code": 137}, MIGRATES, "the migration was killed (out of memory?"),
        (
            {"migrate code": 143},
            {**MIGRATES, "migrate_timeout": "0"},
            "the migration did not end within db.migrate_timeout (0 s)",
        ),
        (
            {"smoke": "/up: 500\nmore"},
            MIGRATES,
            "the new release failed its health check: /up: 500",
        ),
        (
            {"restore": "torn"},
            {"restore": "/a.dump", "dump_wanted": "no"},
            "the dump could not be restored: sqlite: torn",
        ),
        ({"check_proxy": 1}, {}, "nginx refuses what the new release includes in its site:"),
    ],
)
def test_before_the_commit_point_the_old_release_comes_back(
    app: Application, wrong: dict[str, Any], changes: dict[str, str], cause: str
) -> None:
    app.services.wrong, app.services.differs = wrong, "check_proxy" in wrong
    app.ask(**changes)
    assert app.window() == 1
    assert app.verdict.removeprefix("failed ").startswith(cause)
    assert (app.folder.current, app.services.running, app.services.rows) == (OLD, OLD, "rows")
    assert not app.folder.transition.exists()
    assert not app.folder.maintenance.exists()
    assert app.folder.state(NEW) == (
        "failed" if "end_confined" in app.services.calls else "prepared"
    )
    assert len(history(app)) == 1


def test_a_first_migration_that_fails_leaves_no_database_and_no_link(tmp_path: Path) -> None:
    app = Application(tmp_path / "shop", rows="")
    (app.root / "current").unlink()
    app.services.wrong = {"migrate code": 1}
    app.ask(old="", **MIGRATES)
    assert app.window() == 1
    assert (app.folder.current, app.services.running, app.services.rows) == ("", None, "")
    assert "dump" not in app.services.calls


@pytest.mark.parametrize(
    ("changes", "serves", "cause"),
    [
        ({}, OLD, "the health check through the proxy failed: 502"),
        (
            MIGRATES,
            NEW,
            "after the commit point the health check through the proxy failed: 502; the new release"
            " stays, because the database is its own now. Fix it with an update; go back with:"
            " rollback --downgrade",
        ),
    ],
)
def test_a_release_that_is_not_well_for_visitors_stays_only_with_its_database(
    app: Application, changes: dict[str, str], serves: str, cause: str
) -> None:
    app.services.wrong = {"ask_health": "502"}
    app.services.differs = True
    app.ask(**changes)
    assert app.window() == 1
    assert app.verdict.startswith(f"failed {cause}")
    assert (app.folder.current, app.services.running) == (serves, serves)
    assert app.folder.state(NEW) == "failed"
    assert app.folder.state(OLD) == "good"
    assert app.services.calls.count("reload_proxy") == (2 if serves == OLD else 1)


@pytest.mark.parametrize(
    ("serving", "good"),
    [
        (["1 10", "1 10", "1 10"], True),
        (["1 10", "2 20", "2 20"], True),  # it ended before it answered, and serves now
        (["1 10", "1 10", "2 20"], False),
        (["1 10", "1 10", ""], False),
        (["1 10", "", ""], False),
        (["1 10", "", "2 20"], False),
        (["", "", ""], True),  # no process of ours: mod_wsgi, a release of an older Decant
        ([None, None, None], True),
    ],
)
def test_a_release_that_ends_after_its_answer_is_not_good(
    app: Application, monkeypatch: pytest.MonkeyPatch, serving: list[str | None], good: bool
) -> None:
    told = iter(serving)

    def serves() -> str:
        said = next(told)
        if said is None:
            raise records.Failure("the manager does not say what serves")
        return said

    monkeypatch.setattr(app.services, "serving", serves)
    app.ask()
    assert app.window() == (0 if good else 1)
    assert (app.folder.current, app.services.running) == ((NEW, NEW) if good else (OLD, OLD))
    if not good:
        assert app.verdict.endswith("failed: it ended right after it had answered")


@pytest.mark.parametrize(("changes", "waits"), [({}, True), (MIGRATES, False)])
def test_a_window_looks_afterwards_where_the_old_release_may_still_return(
    app: Application, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], waits: bool
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    app.ask(**changes)
    assert app.window() == 0
    assert [0 < seconds <= window.AFTERWARDS for seconds in slept] == ([True] if waits else [])


@pytest.mark.parametrize(
    ("current", "wanted", "cause"),
    [
        (NEW, NEW, f"go back with: db.restore w-{NEW}.dump (loses what was written since)"),
        ("", NEW, "there is no older release"),
    ],
)
def test_the_ways_back_are_named(tmp_path: Path, current: str, wanted: str, cause: str) -> None:
    app = Application(tmp_path / "shop")
    (app.root / "current").unlink()
    if current:
        (app.root / "current").symlink_to(f"releases/{current}")
    app.services.wrong = {"ask_health": "502"}
    app.ask(old=current, new=wanted, migrate="upgrade")
    assert app.window() == 1
    assert app.verdict.endswith(cause)


def test_room_for_putting_back_is_kept_while_the_database_changes(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, sizes, migrate = app.root / "reserve", list[int](), app.services.migrate

    def migrated(*words: Any) -> int:
        sizes.append(reserve.stat().st_size)
        return migrate(*words)

    def restored(*words: Any, **_: Any) -> Any:
        assert not reserve.exists()
        return database(*words, **_)

    monkeypatch.setattr(app.services, "migrate", migrated)
    database = app.services.database
    app.ask(**MIGRATES)
    assert app.window() == 0
    assert sizes == [4096 + int(database("size")[1])]
    assert not reserve.exists()

    app.services.wrong = {"migrate code": 1}
    monkeypatch.setattr(
        app.services,
        "database",
        lambda *words, **more: (restored if words[0] == "restore" else database)(*words, **more),
    )
    app.ask("again", old=NEW, new=OLD, **MIGRATES)
    assert app.window("again") == 1
    assert app.services.rows == "rows+upgrade"
    assert not reserve.exists()


def test_a_window_without_the_room_for_putting_back_changes_nothing(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    app.ask(**MIGRATES)
    assert app.window() == 1
    assert app.verdict == "failed no room to put back: No space left on device"
    assert (app.folder.current, app.services.running, app.services.rows) == (OLD, OLD, "rows")
    assert not (app.root / "reserve").exists()


def test_a_release_whose_folder_was_removed_needs_no_maintenance_page(app: Application) -> None:
    (app.root / f"releases/{OLD}/.deploy/server").unlink()
    app.ask()
    assert app.window() == 0
    assert "maintenance_on" not in app.services.calls


def test_another_wsgi_server_puts_up_the_maintenance_page(app: Application) -> None:
    (app.root / f"releases/{NEW}/.deploy/server").write_text("uwsgi\n")
    app.ask()
    assert app.window() == 0
    assert app.services.calls.index("maintenance_on") < app.services.calls.index("stop")
    assert app.services.calls[-2:] == ["maintenance_off", "ask_health"]


def test_a_server_of_the_applications_own_speaks_http_as_gunicorn_does(app: Application) -> None:
    (app.root / f"releases/{NEW}/.deploy/server").write_text("command\n")
    app.ask()
    assert app.window() == 0
    assert "maintenance_on" not in app.services.calls


def test_a_new_site_of_mod_wsgi_puts_up_the_maintenance_page(app: Application) -> None:
    for name in (OLD, NEW):
        (app.root / f"releases/{name}/.deploy/server").write_text("mod_wsgi\n")
    app.ask()
    assert app.window() == 0
    assert "maintenance_on" not in app.services.calls
    app.services.differs = True
    app.ask("again", old=NEW, new=OLD)
    assert app.window("again") == 0
    assert "maintenance_on" in app.services.calls


def test_a_release_without_a_server_is_not_asked_for_health_alone(app: Application) -> None:
    (app.root / f"releases/{NEW}/.deploy/server").write_text("none\n")
    app.ask()
    assert app.window() == 0
    assert "smoke" not in app.services.calls


def test_a_host_that_is_drained_gets_visitors_when_it_answers(app: Application) -> None:
    app.ask(drain="yes")
    assert app.window() == 0
    calls = app.services.calls
    assert calls.index("drain_on") < calls.index("stop")
    assert calls[-2:] == ["ask_health", "drain_off"]
    app.services.wrong = {"stop": 1}
    app.ask("again", old=NEW, new=OLD, drain="yes")
    assert app.window("again") == 1
    assert app.services.door == "open"


@pytest.mark.parametrize(
    ("last_dump", "last_migration", "size", "estimate"),
    [
        ("", "", 60_000_000, 3),  # 30 MB/s and one second
        (" 5\n", "", 60_000_000, 3),  # a size that could not be asked for
        ("1000 0\n", "no number\n", 60_000_000, 3),
        ("1000000 10\n", "7\n", 2_000_000, 27),
    ],
)
def test_a_window_is_estimated_by_the_ones_before(
    app: Application,
    capsys: pytest.CaptureFixture[str],
    last_dump: str,
    last_migration: str,
    size: int,
    estimate: int,
) -> None:
    (app.root / "log/last-dump").write_text(last_dump)
    (app.root / "log/last-migration").write_text(last_migration)
    app.services.wrong = {"bytes": size}
    app.ask(hold=str(estimate), **MIGRATES)
    assert app.window() == 0
    assert "maintenance_on" not in app.services.calls
    app.ask("again", old=NEW, new=OLD, hold="1", **MIGRATES)
    (app.root / "log/last-migration").write_text(last_migration)
    assert app.window("again") == 0
    assert f"estimated at {estimate} s, longer than wsgi.hold (1 s)" in capsys.readouterr().out


def test_a_restore_takes_four_dumps_of_time(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = app.root / "backups/a.dump"
    dump.write_text("from a dump")
    app.services.wrong = {"bytes": 30_000_000}
    app.ask(new=OLD, restore=str(dump), dump_wanted="yes", hold="4")
    assert app.window() == 0
    assert "estimated at 5 s" in capsys.readouterr().out
    assert app.services.rows == "from a dump"
    app.ask("again", new=OLD, restore=str(dump), hold="3", administrator="yes")
    assert app.window("again") == 0
    assert "estimated at 4 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("blocks", "files", "said"),
    [
        (9, 1000, "9 MB free, 10 MB needed in {root}"),
        (99, 7, "{root} takes 7 more files (inodes), and 100 are needed"),
    ],
)
def test_a_disk_that_is_full_already_ends_the_window_before_the_stop(
    app: Application, monkeypatch: pytest.MonkeyPatch, blocks: int, files: int, said: str
) -> None:
    room = SimpleNamespace(f_bavail=blocks, f_frsize=1 << 20, f_files=10_000, f_favail=files)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    app.ask()
    assert app.window() == 1
    assert app.verdict == f"failed no room for the window: {said.format(root=app.root)}"
    assert "stop" not in app.services.calls


@pytest.mark.parametrize(
    ("method", "cause"),
    [
        ("write_record", "the transition record could not be written: No space left on device"),
        ("switch_to", "current could not be switched: No space left on device"),
        ("set_state", "the release's state could not be written"),
        ("remove_record", "the release's record could not be written"),
    ],
)
def test_a_disk_that_fills_up_in_the_window_is_undone(
    app: Application, monkeypatch: pytest.MonkeyPatch, method: str, cause: str
) -> None:
    real, calls = getattr(records.Folder, method), []

    def once(self: Any, *words: Any) -> None:
        calls.append(words)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(self, *words)

    monkeypatch.setattr(records.Folder, method, once)
    app.ask(**MIGRATES)
    assert app.window() == 1
    assert app.verdict == f"failed {cause}"
    assert (app.folder.current, app.services.running, app.services.rows) == (OLD, OLD, "rows")


def test_a_disk_that_stays_full_leaves_the_old_release_serving_and_nothing_open(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = records.write_durably, [False]

    def write(*words: Any, **more: Any) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        real(*words, **more)

    for module in (records, window, recovery):
        monkeypatch.setattr(module, "write_durably", write)
    app.services.why = ""
    app.services.before["start_beside"] = lambda: full.__setitem__(0, True)
    app.ask()
    assert app.window() == 1
    assert (app.folder.current, app.services.running, app.services.beside) == (OLD, OLD, None)
    assert not app.folder.transition.exists()
    assert app.verdict == ""  # until there is room
    full[0] = False
    assert app.recover() == 0
    assert app.verdict.startswith("failed ")


def test_what_cannot_be_put_back_waits_for_whoever_comes_next(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.services.wrong = {"migrate code": 1, "restore": "full"}
    app.ask(**MIGRATES)
    assert app.window() == 1
    assert f"the site waits. Fix the cause and run: sh {app.root}/procedures/restart.sh" in (
        capsys.readouterr().out
    )
    assert app.verdict == ""
    assert (app.services.running, app.services.rows) == (None, "rows+upgrade")
    with pytest.raises(records.Failure, match="the dump could not be put back"):
        app.gate()
    app.services.wrong = {}
    assert app.gate() == 0
    assert (app.folder.current, app.services.rows) == (OLD, "rows")


def test_what_does_not_end_is_not_put_back(app: Application) -> None:
    app.services.wrong = {"migrate code": 1, "end_confined": 1}
    app.ask(**MIGRATES)
    assert app.window() == 1
    assert app.recover() == 1
    assert "restore" not in app.services.calls
    assert app.folder.transition.exists()


def test_current_that_cannot_be_switched_back_is_said(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = records.Folder.switch_to

    def forwards(self: Any, release: str) -> None:
        if release == OLD:
            raise OSError(28, "No space left on device")
        real(self, release)

    monkeypatch.setattr(records.Folder, "switch_to", forwards)
    app.services.wrong = {"ask_health": "502"}
    app.ask()
    assert app.window() == 1
    assert app.verdict.endswith(f"502; and current could not be switched back to {OLD}")
    assert app.services.running == NEW


# --- locks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "cause"),
    [("lock", "another command holds the lock"), ("gate", "another window is open")],
)
def test_two_windows_are_not_open_at_once(app: Application, file: str, cause: str) -> None:
    holder = os.open(app.root / "run" / file, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    app.ask()
    assert app.window() == 75
    os.close(holder)
    assert app.verdict == f"failed {cause}"
    assert app.services.calls == []
    assert app.folder.current == OLD


def test_what_a_window_starts_inherits_its_locks(app: Application) -> None:
    seen: list[bool] = []
    app.services.before["stop"] = lambda: seen.extend(
        os.get_inheritable(each) for each in app.services.locks
    )
    app.ask()
    assert app.window() == 0
    assert seen == [True, True]


def test_a_lock_that_is_freed_is_taken(app: Application) -> None:
    holder = os.open(app.folder.gate, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    timer = threading.Timer(0.05, os.close, (holder,))
    timer.start()
    try:
        assert locks.take(app.folder.gate, 210, timeout=10)
        assert locks.take(app.folder.lock, 211, shared=True)
    finally:
        timer.join()
        os.close(210)
        os.close(211)


def test_a_command_that_knew_another_release_changes_nothing(app: Application) -> None:
    app.ask(old=NEW, new=OLD)
    assert app.window() == 1
    assert app.verdict == (
        "failed another release serves than when this command began; run it again"
    )
    assert app.services.calls == []


# --- several hosts ------------------------------------------------------------------------------------


def say(app: Application, *words: str) -> None:
    for number, word in enumerate(("close", *words), 1):
        app.folder.log("w", f"word.{number}").write_text(f"{word}\n")


def answers(app: Application) -> list[str]:
    return app.folder.log("w", "at").read_text().splitlines()


def test_a_host_of_several_does_what_it_is_told(app: Application) -> None:
    app.ask(role="first", **MIGRATES)
    say(app, "stay", "migrate", "check", "serve")
    assert app.window() == 0
    assert answers(app) == ["quiet", "closed", "stays", "migrated", "well"]
    assert app.folder.log("w", "role").read_text() == "first\n"
    assert (app.services.running, app.services.rows) == (NEW, "rows+upgrade")


@pytest.mark.parametrize("why", ["back another host is not well", "back"])
def test_a_host_of_several_goes_back_when_it_is_told(app: Application, why: str) -> None:
    app.services.wrong = {"migrate code": 1, "smoke": "500"}
    app.ask(role="first", **MIGRATES)
    say(app, "stay", "migrate", "check", why)
    assert app.window() == 1
    assert answers(app)[3].startswith("failed: the migration failed")
    assert answers(app)[4] == "failed: the new release failed its health check: 500"
    assert (
        app.verdict == f"failed {why.removeprefix('back ') if ' ' in why else 'the client said so'}"
    )
    assert (app.services.running, app.services.rows) == (OLD, "rows")


def test_a_host_of_several_whose_client_is_gone_goes_back_and_shows_the_page(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    app.ask(role="other", hold="20")
    say(app)
    assert app.window() == 1
    assert app.verdict == "failed the client was not heard from any more"
    assert app.services.calls.count("maintenance_on") == 1
    assert not app.folder.maintenance.exists()


def test_a_host_of_several_waits_for_the_slowest_of_all(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 40:  # each is 10 s by this clock
            app.folder.say("w", 1, "back", "told")

    monkeypatch.setattr(time, "sleep", sleep)
    app.ask(role="other", others="600")
    assert app.window() == 1
    assert app.verdict == "failed told"


@pytest.mark.parametrize("why", ["", "back another host is not well"])
def test_a_host_of_several_serves_until_all_of_them_are_told_to_close(
    app: Application, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    app.ask(role="other", hold="20")
    if why:
        app.folder.log("w", "word.1").write_text(f"{why}\n")
    assert app.window() == 1
    cause = why.removeprefix("back ") or "the client was not heard from any more"
    assert app.verdict == f"failed {cause}"
    assert "stop" not in app.services.calls and "maintenance_on" not in app.services.calls
    assert answers(app) == ["quiet"]


def test_the_first_word_counts(app: Application) -> None:
    assert app.folder.say("w", 1, "serve", "")
    assert not app.folder.say("w", 1, "back", "too late")
    assert app.folder.word("w", 1) == ("serve", "")
    assert not list(app.folder.logs.glob("*.saying.*"))


def test_a_host_that_was_told_to_serve_does_not_go_back_for_a_full_disk(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    app.ask(role="other")
    say(app, "stay", "serve")
    with monkeypatch.context() as patch:
        patch.setattr(records.Folder, "remove_record", full)
        assert app.window() == 1
    assert (app.verdict, app.folder.current) == ("", NEW)
    assert app.recover() == 0
    assert app.verdict == (
        "good the window was cut off (killed, or a power cut) after it was told to serve"
    )
    assert app.services.running == NEW


def test_a_gate_waits_until_it_is_told_how_the_window_of_several_ended(
    app: Application, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app.ask(role="other")
    say(app, "stay")
    monkeypatch.setattr(window.Window, "next_word", _killed_at(3))
    with pytest.raises(Killed):
        app.window()
    assert app.recover() == 0
    assert (app.services.running, app.verdict) == (None, "")
    assert app.folder.maintenance.exists()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            app.folder.say("w", 3, "serve", "")

    monkeypatch.setattr(time, "sleep", sleep)
    assert app.gate() == 0
    assert waits == [1, 1, 1]
    assert capsys.readouterr().out.count("waiting to be told how the window of w ended") == 1
    assert not app.folder.maintenance.exists()
    assert app.folder.current == NEW


def _killed_at(number: int) -> Any:
    real = window.Window.next_word

    def next_word(self: Any, at: int) -> tuple[str, str]:
        if at == number:
            killer.dead = True
            raise Killed
        return real(self, at)

    return next_word


# --- every crash point --------------------------------------------------------------------------------

SCENARIOS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a window without a migration": ({}, {}),
    "with a migration": (MIGRATES, {}),
    "a migration that fails": (MIGRATES, {"migrate code": 1}),
    "not well for visitors": ({}, {"ask_health": "502"}),
    "not well for visitors, with its database": (MIGRATES, {"ask_health": "502"}),
    "a first deploy": ({"old": "", **MIGRATES}, {}),
    "a rollback": ({"rolled_back": "yes"}, {}),
    "a migration of what serves": ({"new": OLD, **MIGRATES}, {}),
    "one of what serves, that fails": ({"new": OLD, **MIGRATES}, {"smoke": "500"}),
    "one host of several": ({"role": "first", **MIGRATES}, {}),
    "start first": ({}, {}),
    "start first, and not well": ({}, {"start_beside": beside.Unwell("/up answered 500")}),
    "start first, which cannot run twice": ({}, {"start_beside": records.Failure("it ended")}),
    "start first, and not well for visitors": ({}, {"ask_health": "502"}),
    "start first, of a rollback": ({"rolled_back": "yes"}, {}),
    "processes": ({}, {}),
    "processes, with a migration": (MIGRATES, {}),
    "processes, a migration that fails": (MIGRATES, {"migrate code": 1}),
    "processes, not well for visitors": ({}, {"ask_health": "502"}),
    "processes, a first deploy": ({"old": "", **MIGRATES}, {}),
    "processes, one host of several": ({"role": "first", **MIGRATES}, {}),
    "processes that do not stay up": ({}, {"processes_stay": "the process worker ended"}),
    "processes that do not stay up, with a migration": (
        MIGRATES,
        {"processes_stay": "the process worker ended"},
    ),
    "start first, processes": ({}, {}),
    "start first, processes, and not well": ({}, {"start_beside": beside.Unwell("500")}),
    "start first, processes, and not well for visitors": ({}, {"ask_health": "502"}),
    "start first, processes, which cannot run twice": (
        {},
        {"start_beside": records.Failure("it ended")},
    ),
    "start first, processes that do not stay up": (
        {},
        {"processes_stay": "the process worker ended"},
    ),
}


def begin(root: Path, name: str) -> Application:
    changes, wrong = SCENARIOS[name]
    first = name.endswith("a first deploy")
    app = Application(root, rows="" if first else "rows", processes="processes" in name)
    if first:
        (root / "current").unlink()
        app.services.running = app.services.workers = None
    app.services.wrong = wrong
    if name.startswith("start first"):
        app.services.why = ""
    app.ask(**changes)
    return app


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a client say the next word to a window of several hosts when it has an answer."""
    real = window.Window.answer

    def answer(self: Any, text: str) -> None:
        real(self, text)
        number = len(self.folder.log(self.id, "at").read_text().splitlines())
        word = ("close", "stay", "migrate", "check", "serve")[number - 1]
        with killer.away():
            self.folder.say(self.id, number, word, "")

    monkeypatch.setattr(window.Window, "answer", answer)


def what_comes_next(app: Application, power_cut: bool) -> None:
    """Run what comes after a kill, and say how it ended for the others where that is asked."""
    app.services.wrong = {}
    if power_cut:
        # After it everything starts, and /run is empty.
        app.services.running = app.services.beside = app.services.workers = None
        app.folder.trial.unlink(missing_ok=True)
    if app.folder.transition.exists() and app.folder.last_word("w") is records.Word.STAY:
        app.recover()
        assert (app.services.running, app.folder.maintenance.exists()) == (None, True)
        for number in range(1, 9):
            if app.folder.say("w", number, "back", "another host is not well"):
                break
    if power_cut:
        app.gate()
    app.recover()


def whole(app: Application, before: str) -> None:
    """Exactly one whole release serves, its database fits it, and the record is true."""
    assert not app.folder.transition.exists()
    assert not app.folder.closed.exists()
    assert not app.folder.maintenance.exists()
    assert not (app.root / "reserve").exists()
    assert app.services.running == (app.folder.current or None)
    assert app.services.beside is None
    assert app.services.workers in (None, app.services.running)
    assert bool(app.services.workers) == bool(app.services.time_to_end and app.folder.current)
    assert not app.folder.trial.exists()
    request, (entry,) = app.folder.request("w"), history(app)
    good = app.verdict.startswith("good")
    committed = good or "commit point" in app.verdict
    assert entry["result"] == app.verdict.split()[0]
    assert app.services.rows == (f"{before}+upgrade" if committed and request.migrate else before)
    assert app.folder.current == (request.new if committed else request.old)
    state = app.folder.state(request.new)
    if request.new == request.old:
        assert state == "good"
    else:
        assert state in ({"good"} if good else {"failed"} if committed else {"prepared", "failed"})


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("next_", ["recover", "gate, recover"])
def test_a_kill_before_any_step_leaves_one_whole_release(name: str, next_: str) -> None:
    killed = 0
    while True:
        with tempfile.TemporaryDirectory() as folder:
            app = begin(Path(folder) / "shop", name)
            before = app.services.rows
            killer.left = killed
            try:
                app.window()
            except Killed:
                killed += 1
            else:
                whole(app, before)
                break
            what_comes_next(app, next_ != "recover")
            whole(app, before)
    assert killed > 20


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_of_what_comes_next_is_mended_by_the_one_after(name: str) -> None:
    for first in range(8, 40, 3):
        second = 0
        while True:
            with tempfile.TemporaryDirectory() as folder:
                app = begin(Path(folder) / "shop", name)
                before = app.services.rows
                killer.left = first
                try:
                    app.window()
                except Killed:
                    app.services.wrong = {}
                killer.left = second
                try:
                    app.recover()
                except Killed:
                    second += 1
                    what_comes_next(app, power_cut=True)
                    whole(app, before)
                    continue
                what_comes_next(app, power_cut=False)
                whole(app, before)
                break


CRASH_POINTS = [
    # on the disk                                      the verdict, and what serves
    ("nothing but the request", "failed", OLD),
    ("the record; current is the old one", "failed", OLD),
    ("the record; current is the new one", "failed", OLD),
    ("the record; the new one is good", "failed", OLD),
    ("no record; the new one is good", "good", NEW),
    ("no record; the old one comes back", "failed", OLD),
    ("no record; it was put back", "failed", OLD),
    ("no record; the new one failed its health check", "failed", NEW),
    ("the record of several; the last word is close", "failed", OLD),
    ("the record of several; the last word is stay", "none", ""),
    ("the record of several; the last word is serve", "good", NEW),
    ("the record of several; the last word is back", "failed", OLD),
    ("start first: the record; current is the old one", "failed", OLD),
    ("start first: the record; both run, and current is the old one", "failed", OLD),
    ("start first: the record; both run", "failed", OLD),
    ("start first: the record; the new one runs alone", "failed", OLD),
    ("start first: no record; both run", "good", NEW),
    ("start first: no record; the old one runs alone", "good", NEW),
    ("start first: no record; the new one runs alone", "good", NEW),
    ("on trial: nothing but the request", "failed", OLD),
    ("on trial: the record; current is the new one", "failed", OLD),
    ("on trial: no record; the new one is good", "good", NEW),
]


def put_on_disk(app: Application, what: str) -> None:
    """Leave what a window that was killed there leaves."""
    if what.startswith("start first"):
        return put_both_on_disk(app, what)
    role = "several" in what
    if what.startswith("on trial"):
        app.services.workers = NEW
        app.folder.trial.write_text(f"{NEW}\n")
        app.ask()
    else:
        app.ask(role="other" if role else "", **MIGRATES)
    record = records.Transition("w", OLD, NEW, "", False, "prepared", "other" if role else "")
    app.services.running = None
    if "nothing but the request" in what:
        return
    app.folder.write_record(record)
    if "current is the old" in what:
        return
    app.folder.switch_to(OLD if "put back" in what else NEW)
    if "put back" in what:
        app.folder.log("w", "undone").touch()
    if "health check" in what:
        app.folder.set_state(NEW, "failed")
    if "good" in what or "comes back" in what:
        app.folder.set_state(NEW, "good")
    if "no record" in what:
        app.folder.remove_record()
    if "comes back" in what:
        app.folder.log("w", "back").touch()
    word = what.rpartition("last word is ")[2] if "last word is" in what else ""
    if word:
        words = ("close", "stay", word)
        say(app, *words[1 : words.index(word) + 1])


def put_both_on_disk(app: Application, what: str) -> None:
    """Leave what a window that was killed leaves where its release starts beside the old one."""
    app.ask()
    app.folder.log("w", "beside").write_text(app.services.serving())
    app.folder.write_record(records.Transition("w", OLD, NEW, "", False, "prepared"))
    if "both run" in what:
        app.services.beside = NEW
    if "current is the old" in what:
        return
    app.folder.switch_to(NEW)
    if "the new one runs alone" in what:
        app.services.running = NEW
    if "no record" in what:
        app.folder.set_state(NEW, "good")
        app.folder.remove_record()


@pytest.mark.parametrize(("what", "result", "serves"), CRASH_POINTS)
@pytest.mark.parametrize("next_", ["recover", "gate", "window"])
def test_who_comes_next_does_the_same(
    app: Application, what: str, result: str, serves: str, next_: str
) -> None:
    (app.root / "procedures/processes").write_text("process worker 2 60\n")
    put_on_disk(app, what)
    if next_ == "gate":
        app.services.running = app.services.beside = None
        if result != "none" and app.folder.transition.exists():
            assert app.gate() == 0
        app.recover()
    elif next_ == "window":
        app.ask("other")
        app.window("other")
        app.recover()
    else:
        app.recover()
    if result == "none":
        assert app.verdict == ""
        assert app.services.running is None
        assert app.folder.maintenance.exists()
        return
    assert not app.folder.trial.exists()
    if next_ == "window" and what.endswith(("nothing but the request", "it was put back")):
        return  # it went through, as nothing was open
    assert app.verdict.split()[0] == result
    assert app.folder.current == serves
    assert app.services.running == app.services.workers == serves
    assert app.services.beside is None


def test_the_table_of_the_documentation_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs/releases.md").read_text()
    shown = {"failed": "failed", "good": "good", "none": "none yet"}
    names = {OLD: "the old release", NEW: "the new release", "": "nothing: the maintenance page"}
    for what, result, serves in CRASH_POINTS:
        assert f"| {what} | {shown[result]} | {names[serves]} |\n" in text


# --- records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "\n", "id='w' old='a", "id='' old='' new='b' dump='' fresh='no' was=''", "v2 {}", "\xff"],
)
def test_a_record_of_no_window_says_nothing_and_is_kept_aside(
    app: Application, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.ask("before", new=OLD)
    app.folder.log("before", "opened").touch()
    app.folder.finish("before", records.Verdict(True))
    app.folder.transition.write_bytes(text.encode("latin-1"))
    app.ask()
    assert app.window() == 0
    assert "a transition record of no window (" in capsys.readouterr().out
    assert (app.root / "transition.unreadable").read_bytes() == text.encode("latin-1")
    assert (app.folder.current, app.services.running) == (NEW, NEW)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "id='w' old='a", "id='' old='' new='b' dump='' fresh='no' was=''", "v2 {}", "\xff"],
)
def test_a_record_that_cannot_be_read_stops_everything_and_is_said(
    app: Application, text: str
) -> None:
    for id in ("one", "two"):  # which of them it is nobody knows
        app.ask(id)
        app.folder.log(id, "opened").touch()
    app.folder.transition.write_bytes(text.encode("latin-1"))
    app.ask()
    for work in (app.gate, app.recover):
        with pytest.raises(records.Failure, match="cannot be read: "):
            work()
    assert app.window() == 1
    assert "is still open: the transition record" in app.verdict
    assert app.folder.transition.exists()
    assert (app.folder.current, app.services.rows) == (OLD, "rows")


@pytest.mark.parametrize("text", ["", "id='w' old='a", "v2 {}"])
@pytest.mark.parametrize(
    ("changes", "dumped"),
    [({}, True), (MIGRATES, True), ({"role": "other"}, True), (MIGRATES, False)],
)
def test_a_torn_record_is_made_anew_from_what_its_window_was_asked_for(
    app: Application, text: str, changes: dict[str, str], dumped: bool
) -> None:
    app.ask("before", new=OLD)
    app.folder.log("before", "opened").touch()
    app.folder.finish("before", records.Verdict(True))
    app.ask(**changes)
    dump = app.root / f"backups/w-{OLD}.dump"
    if dumped:
        dump.write_text("rows")
    (app.root / f"backups/w-{OLD}.dump.part").write_text("half")
    app.folder.write_record(records.Transition("w", OLD, NEW, "", False, "prepared"))
    app.folder.switch_to(NEW)
    (app.root / "shared/rows").write_text("rows+half")
    app.folder.transition.write_text(text)
    if not dumped:
        with pytest.raises(records.Failure, match="cannot be read"):
            app.recover()
        return
    record = app.folder.open_record()
    assert record == records.Transition(
        "w", OLD, NEW, str(dump), False, "prepared", changes.get("role", "")
    )
    app.services.stop()
    assert app.recover() == 0
    assert (app.folder.current, app.services.running, app.services.rows) == (OLD, OLD, "rows")


def test_a_first_window_with_a_torn_record_had_no_database_before(tmp_path: Path) -> None:
    app = Application(tmp_path / "shop", rows="half")
    (app.root / "current").unlink()
    app.ask(old="", **MIGRATES)
    app.folder.log("w", "opened").touch()
    app.folder.transition.write_text("torn")
    assert app.folder.open_record() == records.Transition("w", "", NEW, "", True, "prepared")


@pytest.mark.parametrize("what", ["a folder", "a link elsewhere", "a file"])
def test_a_current_that_is_no_link_to_a_release_is_kept_and_said(
    app: Application, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    current = app.root / "current"
    current.unlink()
    if what == "a folder":
        current.mkdir()
        (current / "file").touch()
    elif what == "a file":
        current.touch()
    else:
        current.symlink_to(tmp_path)
    assert app.folder.current == ""
    app.ask(old="")
    assert app.window() == 0
    said = "no link" if what != "a link elsewhere" else f"a link to {tmp_path}"
    assert f":: current is {said}, and no release; it is kept as current.kept-1\n" in (
        capsys.readouterr().out
    )
    assert app.folder.current == NEW
    assert os.path.lexists(app.root / "current.kept-1")
    assert app.folder.strange() == ""


def test_a_record_of_the_version_before_is_read() -> None:
    line = "id='w' old='a' new='b' dump='/x y.dump' fresh='no' was='prepared'\n"
    assert records.Transition.parse(line) == records.Transition(
        "w", "a", "b", "/x y.dump", False, "prepared"
    )
    whole = records.Transition("w", "", "b", "", True, "good", "first")
    assert records.Transition.parse(whole.text()) == whole


def test_a_request_that_is_gone_asks_for_nothing(tmp_path: Path) -> None:
    assert records.Request.read(tmp_path / "gone") == records.Request()


def test_a_verdict_that_cannot_be_written_is_left_to_the_next(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    app.ask(smoked="yes")
    with monkeypatch.context() as patch:
        patch.setattr(records.Folder, "finish", lambda *_: None)
        assert app.window() == 0
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_durably", full)
        app.folder.finish("w", records.Verdict(False, "what"))
    assert (app.verdict, history(app)) == ("", [])
    assert app.recover() == 0
    assert app.verdict.startswith("good the window was cut off (killed) after its commit point")


def test_a_cause_is_one_line_of_printable_letters(app: Application) -> None:
    app.ask()
    app.folder.finish("w", records.Verdict(False, 'a "b"\n\x1b[1mc \\ é'), 2.6)
    assert app.verdict == 'failed a "b"  [1mc \\'
    assert history(app)[0]["cause"] == 'a "b"  [1mc \\  '
    assert history(app)[0]["seconds"] == 3


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("one\ntwo\n", "two"),
        ("sqlalchemy.exc.OperationalError: gone\n(Background on this)\n", None),
        ("", ""),
    ],
)
def test_a_cause_is_the_last_line_that_names_an_error(
    tmp_path: Path, log: str, cause: str | None
) -> None:
    file = tmp_path / "log"
    assert records.cause_in(file) == ""
    file.write_text(log)
    assert records.cause_in(file) == (log.splitlines()[0] if cause is None else cause)


def test_a_log_without_end_is_read_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"OldError: far away\n" + b"x" * (3 * records.TAIL) + b"\nthe end\n")
    assert records.cause_in(file) == "the end"


def test_a_request_that_is_torn_is_named(app: Application) -> None:
    app.folder.log("w", "params").write_text("old='a")
    with pytest.raises(records.Failure, match=r"w\.params"):
        app.folder.request("w")


def test_client_and_server_have_the_same_words() -> None:
    assert [str(word) for word in records.Word] == [str(word) for word in requests.Word]


def test_a_release_that_is_gone_has_no_state(app: Application) -> None:
    app.folder.set_state("gone", "good")
    app.folder.set_state("", "good")
    assert app.folder.state("gone") == ""
    (app.root / "current").unlink()
    (app.root / "current").mkdir()
    assert app.folder.current == ""


@pytest.mark.parametrize("words", [["say", "w", "1", "back", "because"], ["gate"], ["nothing"]])
def test_the_program_does_what_its_words_say(
    app: Application, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    action, *rest = words
    if action == "gate":
        app.folder.transition.write_text("torn")
        for id in ("one", "two"):
            app.ask(id)
            app.folder.log(id, "opened").touch()
    code = window.main([action, str(app.root), *rest])
    assert code == (0 if action == "say" else 1)
    if action == "say":
        assert window.main([action, str(app.root), *rest]) == 1
    else:
        assert capsys.readouterr().out != ""


def test_a_clock_that_is_set_changes_nothing_in_a_window() -> None:
    """Names are later than what was named before (prepare.py), and times are those of a clock that
    nobody sets.
    """
    for path in sorted((SERVER / "release").glob("*.py")):
        text = path.read_text()
        for wall_clock in ("time.time(", "datetime", "mtime", "localtime", "strftime"):
            assert wall_clock not in text, f"{path.name}: {wall_clock}"


# --- and all of it, in any order ----------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Windows, kills, power cuts, clients that go away, clocks that leap and second commands, as
    they come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.app = Application(Path(self.temporary.name) / "shop")
        self.number = 0
        self.open = False
        self.last = ("", "", "", "", False)
        # What a window of several hosts is told, and what a second command says when its client has
        # gone away.
        self.words: list[str] = []
        self.second = "back"
        self.clock, self.leap = 0.0, 0.0
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(time, "monotonic", self._time)
        self.patches.setattr(time, "sleep", self._sleep)

    def teardown(self) -> None:
        self.patches.undo()
        self.temporary.cleanup()

    def _time(self) -> float:
        """A machine that is suspended finds its clock hours later (CLOCK_BOOTTIME)."""
        self.clock += 0.01 + self.leap
        self.leap = 0.0
        return self.clock

    def _sleep(self, seconds: float) -> None:
        self.clock += seconds
        id = f"w{self.number}"
        if self.app.folder.log(id, "role").exists() and self.app.folder.transition.exists():
            if self.words:
                self.tell(id, self.words.pop(0))
            else:
                self.tell_the_end(id)

    def tell(self, id: str, word: str) -> None:
        """Say the next word to a window, as a client does."""
        with killer.away():
            free = (number for number in range(1, 9) if self.app.folder.word(id, number) is None)
            self.app.folder.say(id, next(free), word, "")

    def tell_the_end(self, id: str) -> None:
        """Say how it ends, as a second command does: no host serves that was not well."""
        well = self.app.folder.log(id, "at").read_text().splitlines()[-1:] == ["well"]
        self.tell(id, self.second if well else "back")

    @rule(seconds=st.sampled_from([1.0, 400.0, 1e6]))
    def the_clock_leaps(self, seconds: float) -> None:
        self.leap = seconds

    @rule(
        migrates=st.booleans(),
        wrong=st.sampled_from(["", "migrate code", "smoke", "ask_health"]),
        beside_it=st.sampled_from(["", "yes", "unwell", "ends"]),
        role=st.sampled_from(["", "", "first", "other"]),
        goes_away=st.integers(0, 6),
        second=st.sampled_from(["back", "serve"]),
        kill=st.none() | st.integers(0, 45),
    )
    def change(
        self,
        migrates: bool,
        wrong: str,
        beside_it: str,
        role: str,
        goes_away: int,
        second: str,
        kill: int | None,
    ) -> None:
        app = self.app
        if self.open and (self.waits() or not app.folder.transition.exists()):
            # What came next was killed when it had only to start what serves; or it waits for the
            # second command, which ends the window of several hosts before it begins another.
            self.end()
        self.number += 1
        old = app.folder.current
        new = OLD if old == NEW else NEW
        if not self.open:
            app.folder.set_state(new, "prepared")
        rows = app.services.rows
        id = f"w{self.number}"
        app.services.wrong = {wrong: 1} if wrong else {}
        app.services.why = "" if beside_it else "wsgi.switch"
        if beside_it == "unwell":
            app.services.wrong["start_beside"] = beside.Unwell("500")
        elif beside_it == "ends":
            app.services.wrong["start_beside"] = records.Failure("it ended")
        migrates = migrates and role != "other"
        app.ask(id, old=old, new=new, role=role, **(MIGRATES if migrates else {}))
        order = ["stay", *(["migrate"] if migrates else []), "check", "serve"]
        self.words = order[:goes_away] if role and not wrong else ["stay", "back"]
        self.second = second
        killer.left = kill
        killed = False
        try:
            app.window(id)
        except Killed:
            killed = True
        if self.open:  # it met one that was cut off before, which comes first
            app.services.wrong = {}
            app.recover(id)
            self.end()
        elif killed and not app.folder.transition.exists():
            app.services.wrong = {}
            app.recover(id)
            self.settled(id, old, new, rows, migrates)
        elif killed:
            self.open = True
            self.last = (id, old, new, rows, migrates)
        else:
            self.settled(id, old, new, rows, migrates)

    @rule(kill=st.none() | st.integers(0, 20), power=st.booleans())
    def next_comes(self, kill: int | None, power: bool) -> None:
        if not self.open:
            return
        app = self.app
        app.services.wrong = {}
        killer.left = kill
        try:
            if power:
                app.services.running = app.services.beside = None
                app.gate()
                app.services.running = app.folder.current or None
            else:
                app.recover(self.last[0])
        except Killed:
            return
        self.end()

    def waits(self) -> bool:
        """Tell whether a window of several hosts waits for how it ended."""
        folder = self.app.folder
        return folder.transition.exists() and folder.last_word(self.last[0]) is records.Word.STAY

    def end(self) -> None:
        """Let the second command end what was cut off."""
        self.app.recover(self.last[0])
        if self.waits():
            assert (self.app.services.running, self.app.folder.maintenance.exists()) == (None, True)
            self.tell_the_end(self.last[0])
            self.app.recover(self.last[0])
        self.open = False
        self.settled(*self.last)

    def settled(self, id: str, old: str, new: str, rows: str, migrates: bool) -> None:
        """Check what the window before left."""
        app = self.app
        verdict = app.folder.log(id, "result").read_text().split()[0]
        assert not app.folder.transition.exists()
        assert app.services.running == app.folder.current
        assert app.folder.current in (old, new)
        assert app.services.rows == (
            f"{rows}+upgrade" if migrates and app.folder.current == new else rows
        )
        assert (verdict == "good") <= (app.folder.current == new)

    @invariant()
    def a_verdict_is_told_once(self) -> None:
        times = [entry["when"] for entry in history(self.app)]
        assert len(times) == len(set(times))

    @invariant()
    def nothing_runs_that_current_does_not_lead_to(self) -> None:
        if not self.open:
            assert self.app.services.running == self.app.folder.current
            assert self.app.services.beside is None


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=60,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

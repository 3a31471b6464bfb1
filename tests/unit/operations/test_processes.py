"""What is done with what runs beside the service, and with what is due."""

import json
from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.facts import Beside, Release
from decant.operations import processes
from decant.steps import Run
from tests.unit.operations.sites import LIVE, one

BESIDE: dict[str, Any] = {
    "processes": {"worker": {"command": "celery worker", "count": 2}},
    "schedules": {"cleanup": {"command": "flask cleanup", "when": "daily"}},
}


def test_a_restart_is_of_the_service_and_all_processes_or_of_one() -> None:
    host = one(**BESIDE)
    processes.restart(host, "", "app.restart")
    processes.restart(host, "worker", "app.restart")
    commands = [
        step.command for plan, _, _ in host.applied for step in plan if isinstance(step, Run)
    ]
    assert commands == [
        ("sh", "/srv/shop/procedures/restart.sh", "/srv/shop", "all"),
        ("systemctl", "restart", "shop-worker@1.service", "shop-worker@2.service"),
        ("python3", "-I", "-S", "/srv/shop/procedures/window.py", "stay", "/srv/shop"),
    ]
    with pytest.raises(DeployError, match=r"no wroker here, did you mean worker\?"):
        processes.restart(host, "wroker", "app.restart")


def test_logs_are_the_services_or_those_of_one_beside_it() -> None:
    host = one(**BESIDE)
    processes.logs(host, "", 5, False)
    processes.logs(host, "cleanup", 5, True)
    assert [line.partition(" -u ")[2] for line in host.journal] == [
        "shop.service",
        "shop-cleanup.service -f",
    ]
    apache = one(wsgi={"app": "a:b", "server": "mod_wsgi"}, proxy={"kind": "apache"})
    processes.logs(apache, "", 5, False)
    assert apache.journal[0].startswith("a: interact tail -n 5 /var/log/apache2/shop")


def test_what_is_due_is_told_in_iso_times_with_its_exit_code() -> None:
    host = one(**BESIDE)
    timers = [{"unit": "shop-cleanup.timer", "next": 1796094000000000, "last": None}]
    state = "Result=success\nExecMainStatus=3\nSubState=dead\nExecMainStartTimestampMonotonic=9"
    answers = {"list-timers": json.dumps(timers), "show": state}
    host.read = lambda *words, **_: answers[words[1]]  # type: ignore[method-assign]
    assert processes.schedules(host) == [
        {
            "schedule": "cleanup",
            "when": "daily",
            "next": "2026-12-01T03:00:00+00:00",
            "last": None,
            "exit_code": 3,
            "running": False,
        }
    ]
    answers["show"] = "SubState=start\nExecMainStartTimestampMonotonic=0"
    (then,) = processes.schedules(host)
    assert (then["exit_code"], then["running"]) == (None, True)
    assert processes.schedules(one()) == []


def test_a_summary_tells_what_runs_and_what_waits() -> None:
    current = Release(LIVE.current, "good", "c", ("worker",))
    facts = replace(
        LIVE,
        releases=(current,),
        beside=(
            Beside("process", "worker", 2, 60, ("active", "activating")),
            Beside("process", "other", 1, 60, ("active",)),
            Beside("schedule", "cleanup", 1, 60, ("active",)),
        ),
    )
    assert processes.summary(one(facts)) == {
        "processes": [
            "worker: 1 of 2 run (active, activating)",
            "other: waits for a release that has it",
        ],
        "schedules": ["cleanup: active"],
    }
    assert processes.summary(one()) == {}

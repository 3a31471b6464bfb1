"""What runs beside the service, and what is due, as plans."""

from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.facts import Beside, Facts, Release, parse
from decant.plans import app, preflight, processes
from decant.steps import Absent, File, Plan, Run, Transaction, Unit
from tests.unit.values import FACTS, settings

WORKER = {"worker": {"command": "celery -A shop worker", "count": 2, "stop_timeout": 90}}
CLEANUP = {"cleanup": {"command": "flask cleanup", "when": "0 3 13 * 5"}}
LIST = "/srv/shop/procedures/processes"


def plan(facts: Facts = FACTS, **sections: Any) -> Plan:
    return processes.install(settings(**sections), facts)


def flat(steps: Plan) -> Plan:
    return tuple(
        each
        for step in steps
        for each in ((step, *step.steps) if isinstance(step, Transaction) else (step,))
    )


def files(steps: Plan) -> dict[str, str]:
    return {step.path: str(step.content) for step in flat(steps) if isinstance(step, File)}


def with_beside(*lines: str, releases: tuple[Release, ...] = ()) -> Facts:
    return replace(FACTS, beside=tuple(map(Beside.parse, lines)), releases=releases)


def test_an_application_without_any_gets_no_step() -> None:
    assert plan() == ()


def test_a_process_is_as_many_units_as_it_counts_and_what_is_due_a_timer() -> None:
    steps = plan(processes=WORKER, schedules=CLEANUP)
    written = files(steps)
    assert written[LIST] == "process worker 2 90\nschedule cleanup 60\n"
    unit = written["/etc/systemd/system/shop-worker@.service"]
    assert "\nTimeoutStopSec=90\n" in unit
    assert "\nKillSignal=SIGTERM\n" in unit
    assert "\nUser=shop\n" in unit
    assert "celery" not in unit  # which is the release's
    timer = written["/etc/systemd/system/shop-cleanup.timer"]
    assert [line for line in timer.splitlines() if line.startswith("OnCalendar")] == [
        "OnCalendar=*-*-13 03:00:00",
        "OnCalendar=Fri *-*-* 03:00:00",
    ]
    assert [step for step in steps if isinstance(step, Unit)] == [
        Unit("shop-worker@1.service", enabled=True, running=True),
        Unit("shop-worker@2.service", enabled=True, running=True),
        Unit("shop-cleanup.timer", enabled=True, running=True),
    ]


def test_under_supervisor_a_process_is_a_program_and_what_is_due_is_systemds() -> None:
    steps = plan(wsgi={"app": "a:b", "manager": "supervisor"}, processes=WORKER, schedules=CLEANUP)
    written = files(steps)
    program = written["/etc/supervisor/conf.d/shop-worker.conf"]
    assert "[program:shop-worker]\n" in program
    assert "numprocs=2\n" in program
    assert "/etc/systemd/system/shop-worker@.service" not in written
    assert [step.name for step in steps if isinstance(step, Unit)] == ["shop-cleanup.timer"]


def test_beside_mod_wsgi_processes_are_systemds() -> None:
    steps = plan(
        wsgi={"app": "a:b", "server": "mod_wsgi"},
        proxy={"kind": "apache"},
        processes=WORKER,
    )
    assert "/etc/systemd/system/shop-worker@.service" in files(steps)


def test_fewer_processes_end_those_that_are_too_many() -> None:
    few = {"worker": {"command": "true", "count": 1}}
    steps = plan(with_beside("process worker 3 60 active active active"), processes=few)
    assert Unit("shop-worker@2.service", enabled=False, running=False) in steps
    assert Unit("shop-worker@3.service", enabled=False, running=False) in steps


def test_what_hosts_toml_names_no_more_stays_while_a_release_has_it() -> None:
    lines = ("process old 2 30 active active", "schedule nightly 10 active")
    kept = plan(
        with_beside(*lines, releases=(Release("r", "good", "c", ("old", "nightly")),)),
        processes=WORKER,
    )
    assert files(kept)[LIST] == "process worker 2 90\nprocess old 2 30\nschedule nightly 10\n"
    assert not [step for step in kept if isinstance(step, Absent)]
    gone = plan(with_beside(*lines))
    assert Absent(LIST) in gone
    removed = [step.path for step in gone if isinstance(step, Absent)]
    assert "/etc/systemd/system/shop-old@.service" in removed
    assert "/etc/systemd/system/shop-nightly.timer" in removed
    (stops,) = [step for step in gone if isinstance(step, Run) and "systemctl" in step.command]
    assert stops.command[3:] == ("shop-old@1.service", "shop-old@2.service")


def test_commands_belong_to_a_release_of_a_host_that_has_them() -> None:
    mine = settings(processes=WORKER, schedules=CLEANUP)
    assert processes.commands(mine) == {
        "processes/worker": "celery -A shop worker",
        "schedules/cleanup": "flask cleanup",
    }


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ("worker", 7, False),
            ("journalctl", "--no-pager", "-n", "7", "-u", "shop-worker@*.service"),
        ),
        (
            ("cleanup", 7, True),
            ("journalctl", "--no-pager", "-n", "7", "-u", "shop-cleanup.service", "-f"),
        ),
    ],
)
def test_logs_are_those_of_the_unit(words: tuple[str, int, bool], wanted: tuple[str, ...]) -> None:
    assert processes.logs(settings(processes=WORKER, schedules=CLEANUP), *words) == wanted


def test_under_supervisor_a_process_has_a_log_of_its_own() -> None:
    mine = settings(wsgi={"app": "a:b", "manager": "supervisor"}, processes=WORKER)
    assert processes.logs(mine, "worker", 5, True) == (
        "tail", "-n", "5", "-F", "/var/log/decant/shop-worker.log",
    )  # fmt: skip
    assert processes.restart(mine, "worker")[-2:] == ("restart", "shop-worker:*")


def test_what_the_server_tells_is_read() -> None:
    told = (
        "release\tr1 good abc -,worker,cleanup\nrelease\tr0 good abc\n"
        "beside\tprocess worker 2 60 active failed \nbeside\tschedule cleanup 60  active\n"
        "named\t/etc/systemd/system/shop-worker@.service\n"
    )
    facts = parse(told)
    assert [release.beside for release in facts.releases] == [("worker", "cleanup"), ()]
    assert facts.beside == (
        Beside("process", "worker", 2, 60, ("active", "failed")),
        Beside("schedule", "cleanup", 1, 60, ("active",)),
    )
    assert [each.line for each in facts.beside] == ["process worker 2 60", "schedule cleanup 60"]
    assert facts.named == ("/etc/systemd/system/shop-worker@.service",)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            replace(FACTS, named=("/etc/systemd/system/shop-worker@.service",)),
            r"processes\.worker: the server has /etc/systemd/system/shop-worker@\.service, which is"
            " not this tool's",
        ),
        (
            replace(FACTS, named=("/etc/systemd/system/shop-cleanup.timer",)),
            r"schedules\.cleanup: the server has /etc/systemd/system/shop-cleanup\.timer",
        ),
        (
            replace(
                FACTS,
                named=("/etc/systemd/system/shop-cleanup.service",),
                manifests=(
                    {
                        "name": "shop-cleanup",
                        "root": "/srv/shop-cleanup",
                        "files": ["/etc/systemd/system/shop-cleanup.service"],
                        "domains": ["other.test"],
                        "database": {},
                    },
                ),
            ),
            r"schedules\.cleanup: /etc/systemd/system/shop-cleanup\.service is shop-cleanup's",
        ),
    ],
)
def test_units_of_somebody_else_are_refused_by_the_key_that_names_them(
    facts: Facts, said: str
) -> None:
    with pytest.raises(DeployError, match=said):
        preflight.refuse_conflicts(settings(processes=WORKER, schedules=CLEANUP), facts)


def test_an_application_has_no_name_that_something_beside_another_one_has() -> None:
    shop = {"name": "shop", "root": "/srv/shop", "domains": ["a.test"], "database": {}}
    beside = app.own_files(settings(processes=WORKER))
    other = settings(
        app={"name": "shop-worker", "source": "https://example.org/x.git"},
        proxy={"domains": ["b.test"]},
    )
    facts = replace(FACTS, manifests=({**shop, "files": list(beside)},))
    said = r"app\.name: /etc/supervisor/conf\.d/shop-worker\.conf is shop's on this server"
    with pytest.raises(DeployError, match=said):
        preflight.refuse_conflicts(other, facts)


def test_units_of_ones_own_are_in_nobodys_way() -> None:
    mine = settings(processes=WORKER, schedules=CLEANUP)
    facts = replace(
        FACTS,
        account="999",
        named=tuple(processes.files(mine)),
        manifests=({"name": "shop", "root": "/srv/shop", "files": list(app.own_files(mine))},),
    )
    preflight.refuse_conflicts(mine, facts)

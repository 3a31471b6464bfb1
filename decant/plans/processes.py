"""What runs beside the service: processes such as workers, and what is due at certain times.

Their commands belong to a release, and change with it; how many there are, and under which limits,
belongs to the server.
"""

from typing import TYPE_CHECKING

from decant.config.calendar import calendars
from decant.paths import PROGRAM_LOGS
from decant.plans import supervisor
from decant.plans.rendering import render
from decant.steps import Absent, File, Handler, Plan, Run, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Process, Settings
    from decant.facts import Beside, Facts

UNITS = "/etc/systemd/system"
PROGRAMS = "/etc/supervisor/conf.d"
FORGET = f'{supervisor.WAIT}; rm -f "$1" && supervisorctl update "$2"'


def install(settings: "Settings", facts: "Facts") -> Plan:
    """What hosts.toml names is set up, and waits for a release that has it.

    What it names no more stays as long as a release on the server has it, for a rollback.
    """
    if not (facts.beside or _processes(settings) or settings.due_here):
        return ()
    others = [each for each in facts.beside if each.name not in _names(settings, each.kind)]
    kept = [each for each in others if any(each.name in old.beside for old in facts.releases)]
    gone = [each for each in others if each not in kept]
    wanted = _listed(settings, kept)
    place = f"{settings.paths.procedures}/processes"
    return (
        *(step for each in gone for step in _removed(settings, each)),
        *_fewer(settings, facts),
        *((File(place, wanted),) if wanted else (Absent(place),)),
        *_kept_up(settings),
        *_due(settings),
    )


def commands(settings: "Settings") -> dict[str, str]:
    """Return the commands that belong to a release, by their files in its .deploy folder."""
    return {
        **{f"processes/{name}": each.command for name, each in _processes(settings).items()},
        **{f"schedules/{name}": each.command for name, each in settings.due_here.items()},
    }


def units(settings: "Settings") -> tuple[str, ...]:
    """Return the units that run, or are due."""
    name = settings.app.name
    return (
        *(
            unit
            for process, each in _processes(settings).items()
            for unit in _instances(name, process, each.count)
        ),
        *(f"{name}-{schedule}.timer" for schedule in settings.due_here),
    )


def files(settings: "Settings") -> dict[str, str]:
    """Return the files outside the application's folder, under whichever manager, and the key of
    hosts.toml that each of them comes from.
    """
    name, found = settings.app.name, {}
    for process in _processes(settings):
        for file in (_unit(name, process), _program(name, process)):
            found[file] = f"processes.{process}"
    for schedule in settings.due_here:
        for kind in ("service", "timer"):
            found[f"{UNITS}/{name}-{schedule}.{kind}"] = f"schedules.{schedule}"
    return found


def remove(settings: "Settings", facts: "Facts") -> Plan:
    """Take all of it away, also what hosts.toml names no more."""
    listed = {(each.kind, each.name): each for each in facts.beside}
    return (
        *(step for each in listed.values() for step in _removed(settings, each)),
        Handler("daemon-reload"),
    )


def restart(settings: "Settings", process: str) -> tuple[str, ...]:
    """Return the command that starts all of a process anew."""
    name, count = settings.app.name, settings.processes[process].count
    if settings.wsgi.manager == "supervisor":
        return supervisor.command("restart", f"{name}-{process}:*")
    return ("systemctl", "restart", *_instances(name, process, count))


def logs(settings: "Settings", process: str, lines: int, follow: bool) -> tuple[str, ...]:
    """Return the command that shows what a process, or what was due, logged."""
    name = settings.app.name
    if process in settings.processes and settings.wsgi.manager == "supervisor":
        return ("tail", "-n", str(lines), *(["-F"] if follow else []), log(name, process))
    unit = f"{name}-{process}" + ("@*" if process in settings.processes else "")
    shown = ("--no-pager", "-n", str(lines), "-u", f"{unit}.service")
    return ("journalctl", *shown, *(["-f"] if follow else []))


def log(name: str, process: str) -> str:
    """Return what a process logs under supervisor."""
    return f"{PROGRAM_LOGS}/{name}-{process}.log"


def _processes(settings: "Settings") -> "dict[str, Process]":
    return settings.processes if settings.is_app else {}


def _names(settings: "Settings", kind: str) -> frozenset[str]:
    return frozenset(_processes(settings) if kind == "process" else settings.due_here)


def _listed(settings: "Settings", kept: "list[Beside]") -> str:
    """Return what lib.sh knows of them: kind, name, of processes how many, and the seconds that
    they get to end.
    """
    lines = [
        *(
            f"process {name} {each.count} {each.stop_timeout}"
            for name, each in _processes(settings).items()
        ),
        *(f"schedule {name} {each.stop_timeout}" for name, each in settings.due_here.items()),
        *(each.line for each in kept),
    ]
    return "".join(f"{line}\n" for line in lines)


def _instances(name: str, process: str, count: int, first: int = 1) -> list[str]:
    return [f"{name}-{process}@{number}.service" for number in range(first, count + 1)]


def _unit(name: str, process: str) -> str:
    return f"{UNITS}/{name}-{process}@.service"


def _program(name: str, process: str) -> str:
    return f"{PROGRAMS}/{name}-{process}.conf"


def _removed(settings: "Settings", each: "Beside") -> Plan:
    name = settings.app.name
    if each.kind == "schedule":
        unit = f"{name}-{each.name}"
        return (
            Unit(f"{unit}.timer", enabled=False, running=False),
            *(
                Absent(f"{UNITS}/{unit}.{kind}", notify=("daemon-reload",))
                for kind in ("timer", "service")
            ),
        )
    return (*_without_units(name, each.name, each.count), *_without_program(name, each.name))


def _without_units(name: str, process: str, count: int) -> Plan:
    """No units of a process; all of them are told to stop at the same time."""
    unit = _unit(name, process)
    return (
        Run(
            ("systemctl", "disable", "--now", *_instances(name, process, count)),
            unless=("test", "!", "-e", unit),
            label=f"{process} stops",
        ),
        Absent(unit, notify=("daemon-reload",)),
    )


def _without_program(name: str, process: str) -> Plan:
    program = _program(name, process)
    return (
        Run(
            ("sh", "-c", FORGET, "forget", program, f"{name}-{process}"),
            unless=("test", "!", "-e", program),
            label=f"program {name}-{process} is gone",
        ),
    )


def _fewer(settings: "Settings", facts: "Facts") -> Plan:
    """Those that are more than hosts.toml wants stop; supervisor sees to its own."""
    had = {each.name: each.count for each in facts.beside if each.kind == "process"}
    return tuple(
        Unit(unit, enabled=False, running=False)
        for process, each in _processes(settings).items()
        for unit in _instances(
            settings.app.name, process, had.get(process, 0), first=each.count + 1
        )
    )


def _kept_up(settings: "Settings") -> Plan:
    """The processes under their manager.

    What keeps them and has changed stays only if they start anew with it.
    """
    wanted, name = _processes(settings), settings.app.name
    if not wanted:
        return ()
    restart = ("sh", f"{settings.paths.procedures}/processes.sh", settings.paths.root)
    supervised = settings.wsgi.manager == "supervisor"
    written = tuple(
        File(
            _program(name, process),
            render(
                "supervisor/process.j2",
                settings,
                process=process,
                log=log(name, process),
                **each.model_dump(),
            ),
        )
        if supervised
        else File(
            _unit(name, process),
            render("systemd/process.j2", settings, process=process, **each.model_dump()),
        )
        for process, each in wanted.items()
    )
    # More than were ever there: how many another manager kept is not known here.
    others = tuple(
        step
        for process, each in wanted.items()
        for step in (
            _without_units(name, process, each.count)
            if supervised
            else _without_program(name, process)
        )
    )
    held = (
        ()
        if supervised
        else tuple(
            Unit(unit, enabled=True, running=True)
            for process, each in wanted.items()
            for unit in _instances(name, process, each.count)
        )
    )
    return (
        *others,
        Handler("daemon-reload"),
        Transaction(written, validate=restart, undo=restart, label="check of the processes"),
        *held,
    )


def _due(settings: "Settings") -> Plan:
    name = settings.app.name
    return (
        *(
            step
            for schedule, each in settings.due_here.items()
            for step in (
                File(
                    f"{UNITS}/{name}-{schedule}.service",
                    render("systemd/schedule.j2", settings, schedule=schedule),
                    notify=("daemon-reload",),
                ),
                File(
                    f"{UNITS}/{name}-{schedule}.timer",
                    render(
                        "systemd/timer.j2",
                        settings,
                        what=schedule,
                        calendars=calendars(each.when),
                        delay="",
                    ),
                    notify=("daemon-reload",),
                ),
            )
        ),
        Handler("daemon-reload"),
        *(
            Unit(f"{name}-{schedule}.timer", enabled=True, running=True)
            for schedule in settings.due_here
        ),
    )

"""What runs beside the service, and what is due at certain times."""

import json
from datetime import UTC, datetime
from typing import Any

from decant.config.calendar import calendars
from decant.config.mistakes import meant
from decant.errors import DeployError
from decant.operations import service
from decant.plans import apache, processes
from decant.remote.host import Host
from decant.steps import Plan, Run

# Of pairs of a key and a calendar, those that systemd refuses, and why: all in one question.
CALENDARS = """
while [ $# -gt 0 ]; do
    why=$(systemd-analyze calendar -- "$2" 2>&1 >/dev/null) || printf '%s: %s\\n' "$1" "$why"
    shift 2
done
"""


def restart(host: Host, process: str, task: str) -> None:
    """Start the service and all processes anew, or one of the processes."""
    settings = host.settings
    if not process:
        command = ("sh", f"{host.paths.procedures}/restart.sh", host.paths.root, "all")
        plan: Plan = (Run(command, label="restart behind the open socket, and of the processes"),)
    else:
        need(process, tuple(settings.processes), "processes")
        stay = ("python3", "-I", "-S", f"{host.paths.procedures}/window.py", "stay")
        plan = (
            Run(processes.restart(settings, process), label=f"restart of {process}"),
            Run((*stay, host.paths.root), label="the processes stay up"),
        )
    with host.lock(task):
        host.changes(plan)


def logs(host: Host, process: str, lines: int, follow: bool) -> None:
    """Show what the service logged, or a process, or what was due."""
    settings = host.settings
    if process:
        need(process, (*settings.processes, *settings.schedules), "processes and schedules")
        host.interact(*processes.logs(settings, process, lines, follow))
    elif settings.wsgi.server == "mod_wsgi":
        host.interact(
            "tail", "-n", str(lines), *(["-F"] if follow else []), apache.logs(settings)[1]
        )
    else:
        service.logs(host, lines, follow)


def schedules(host: Host) -> list[dict[str, Any]]:
    """Return what is due, when it ran and runs, and how its last run ended (UTC, ISO 8601)."""
    name = host.settings.app.name
    units = {f"{name}-{each}.timer": each for each in host.settings.due_here}
    if not units:
        return []
    listed = host.read("systemctl", "list-timers", "--all", "--output=json", *units)
    times = {timer["unit"]: timer for timer in json.loads(listed)}
    found = []
    for unit, schedule in units.items():
        properties = ("Result", "ExecMainStatus", "SubState", "ExecMainStartTimestampMonotonic")
        shown = host.read(
            "systemctl", "show", f"--property={','.join(properties)}", f"{name}-{schedule}.service"
        )
        state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        ran = state.get("ExecMainStartTimestampMonotonic", "0") != "0"
        timer = times.get(unit, {})
        found.append(
            {
                "schedule": schedule,
                "when": host.settings.schedules[schedule].when,
                "next": _time(timer.get("next")),
                "last": _time(timer.get("last")),
                "exit_code": int(state.get("ExecMainStatus", 0)) if ran else None,
                "running": state.get("SubState") in ("start", "start-pre"),
            }
        )
    return found


def check_calendars(host: Host) -> None:
    """Raise DeployError, with its key, for a calendar that the server's systemd does not take."""
    settings = host.settings
    given = {f"schedules.{name}.when": each.when for name, each in settings.due_here.items()}
    if settings.backup.to:
        given |= {"backup.when": settings.backup.when, "backup.drill": settings.backup.drill}
    words = [
        word
        for key, text in given.items()
        for calendar in (calendars(text) if text else ())
        for word in (key, calendar)
    ]
    said = host.read("sh", "-c", CALENDARS, "sh", *words) if words else ""
    if said:
        raise DeployError(f"{host.name}: {said.splitlines()[0]}")


def run_now(host: Host, schedule: str) -> int:
    """Run what is due at certain times now; return its exit code."""
    need(schedule, tuple(host.settings.due_here), "schedules")
    return host.interact("sh", f"{host.paths.procedures}/due.sh", host.paths.root, schedule)


def summary(host: Host) -> dict[str, list[str]]:
    """Return how what runs beside the service is, in words."""
    current = host.facts.release(host.facts.current)
    has = current.beside if current else ()
    found: dict[str, list[str]] = {"processes": [], "schedules": []}
    for each in host.facts.beside:
        states = ", ".join(dict.fromkeys(each.states)) or "unknown"
        running = sum(state in ("active", "running") for state in each.states)
        if each.kind == "schedule":
            found["schedules"].append(f"{each.name}: {states}")
        elif each.name not in has:
            found["processes"].append(f"{each.name}: waits for a release that has it")
        else:
            rest = "" if running == each.count else f" ({states})"
            found["processes"].append(f"{each.name}: {running} of {each.count} run{rest}")
    return {key: lines for key, lines in found.items() if lines}


def need(name: str, known: tuple[str, ...], what: str) -> None:
    """Raise DeployError for a name that hosts.toml has not, with those that it has."""
    if name not in known:
        raise DeployError(
            f"hosts.toml has no {name} here{meant(name, known)} ({what}:"
            f" {', '.join(known) or 'none'})"
        )


def _time(microseconds: Any) -> str | None:
    if not microseconds:
        return None
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC).isoformat(timespec="seconds")

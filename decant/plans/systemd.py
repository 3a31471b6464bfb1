"""systemd as the manager: a socket that stays open, and the service behind it.

The smoke test and the release window are its units on every stack.
"""

from typing import TYPE_CHECKING

from decant.plans import supervisor
from decant.plans.rendering import render
from decant.steps import Absent, File, Handler, Plan, Run, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

PACKAGES: tuple[str, ...] = ()
POLL_LIMIT_SINCE = 255  # the systemd version that brought PollLimitIntervalSec=, systemd.socket(5)


def release_units(settings: "Settings") -> Plan:
    """The units of the smoke test and of the release window."""
    name = settings.app.name
    files = (
        File(
            f"/etc/systemd/system/{name}-{unit}@.service",
            render(f"systemd/{unit}.j2", settings),
            notify=("daemon-reload",),
        )
        for unit in ("smoke", "window")
    )
    return (*files, Handler("daemon-reload"))


def install(settings: "Settings", facts: "Facts") -> Plan:
    """The socket and the service.

    Where the application already runs, they hold only if it is healthy with them.
    """
    name, paths = settings.app.name, settings.paths
    poll_limit = facts.systemd.isdigit() and int(facts.systemd) >= POLL_LIMIT_SINCE
    socket, service = paths.units
    restart = ("sh", f"{paths.procedures}/restart.sh", paths.root)
    there = ("test", "!", "-e", paths.program)
    files = (
        Run(
            supervisor.command("stop", f"{name}:*"),
            unless=there,
            label=f"supervisor lets go of {name}",
        ),
        Absent(paths.program),
        File(paths.listen, f"{settings.bind or paths.socket}\n"),
        File(socket, render("systemd/socket.j2", settings, poll_limit=poll_limit)),
        File(service, render("systemd/service.j2", settings)),
    )
    return (
        Transaction(
            files,
            validate=(*restart, "changed"),
            undo=restart,
            label="check of the application under systemd",
        ),
        *start(settings, facts),
    )


def start(settings: "Settings", facts: "Facts") -> Plan:
    """The socket is open, and where there is a release for it, the service runs."""
    paths = settings.paths
    enabled = (
        Unit(paths.socket_unit, enabled=True, running=True),
        Unit(paths.service, enabled=True),
    )
    return (
        enabled
        if facts.server in ("", "mod_wsgi", "none")
        else (*enabled, Unit(paths.service, running=True))
    )


def stop(settings: "Settings") -> Plan:
    """The socket is closed and the service stopped."""
    paths = settings.paths
    return (
        Unit(paths.socket_unit, running=False),
        Unit(paths.service, running=False),
    )


def remove(settings: "Settings") -> Plan:
    """Take socket and service away."""
    paths = settings.paths
    off = (
        Unit(paths.socket_unit, enabled=False, running=False),
        Unit(paths.service, enabled=False, running=False),
    )
    return (
        *off,
        *(Absent(path, notify=("daemon-reload",)) for path in paths.units),
        Handler("daemon-reload"),
    )


def reload(settings: "Settings") -> tuple[str, ...]:
    """Return the command that has the WSGI server's master start fresh workers."""
    return ("systemctl", "kill", "--kill-who=main", "--signal=HUP", settings.paths.service)


def status(settings: "Settings") -> tuple[str, ...]:
    """Return the command that tells how socket and service are."""
    return (
        "systemctl",
        "--no-pager",
        "status",
        settings.paths.service,
        settings.paths.socket_unit,
    )


def logs(settings: "Settings", lines: int, follow: bool) -> tuple[str, ...]:
    """Return the command that shows what the application logged."""
    return (
        "journalctl",
        "--no-pager",
        "-n",
        str(lines),
        "-u",
        settings.paths.service,
        *(["-f"] if follow else []),
    )

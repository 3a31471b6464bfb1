"""supervisor as the manager.

A program whose socket supervisor keeps open, and the group that may use supervisorctl.
"""

from typing import TYPE_CHECKING

from decant.paths import PROGRAM_LOGS
from decant.plans import installed
from decant.plans.rendering import render
from decant.steps import Absent, Directory, File, Handler, Packages, Plan, Run, Transaction, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

PACKAGES = ("supervisor",)
SOCKET = "/run/supervisor.sock"
# supervisord opens its socket a moment after systemd calls it started; until then the one of a
# supervisord that was killed may lie there.
ANSWERS = "supervisorctl pid >/dev/null 2>&1"
WAIT = f"for _ in $(seq 100); do {ANSWERS} && break; sleep 0.1; done"


def command(*words: str) -> tuple[str, ...]:
    """Return a command of supervisorctl, which waits for a supervisord that has just started."""
    return ("sh", "-c", f'{WAIT}; exec supervisorctl "$@"', "supervisorctl", *words)


def control(settings: "Settings", facts: "Facts") -> Plan:
    """supervisor, and a group whose members run supervisorctl without sudo.

    The login that deploys is in it.
    """
    own = ("sh", "-c", f"{WAIT}; chown root:supervisor {SOCKET} && chmod 0770 {SOCKET}")
    is_owned = f'test "$(stat -c %U:%G:%a {SOCKET})" = root:supervisor:770'
    owned = ("sh", "-c", f"{is_owned} && {ANSWERS}")
    member = ("sh", "-c", 'id -nG "$1" | tr " " "\\n" | grep -qx supervisor', "sh", facts.user)
    join = (
        ()
        if facts.sudo == "root"
        else (
            Run(
                ("usermod", "-aG", "supervisor", facts.user),
                unless=member,
                label=f"{facts.user} in the group supervisor",
            ),
        )
    )
    return (
        *installed.mark("supervisor"),
        *installed.sandbox("supervisor", settings, facts),
        Packages(PACKAGES),
        Run(
            ("groupadd", "--system", "supervisor"),
            unless=("getent", "group", "supervisor"),
            label="group supervisor",
        ),
        *join,
        Directory(PROGRAM_LOGS, "root:adm", 0o750),
        *_after_network(settings),
        # supervisor reads this at its next start; until then its socket is given to the group here,
        # as a restart would end everybody's programs.
        File(
            "/etc/supervisor/conf.d/00-decant-control.conf",
            render("supervisor/control.j2", settings),
        ),
        Unit("supervisor.service", enabled=True, running=True),
        Run(own, unless=owned, label="supervisor's socket for its group"),
    )


def _after_network(settings: "Settings") -> Plan:
    """At boot supervisor waits for the address that an application of several hosts listens on.

    Without it the program would have failed for good.
    """
    if not settings.web_peers:
        return ()
    folder = "/etc/systemd/system/supervisor.service.d"
    unit = "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"
    return (
        Directory(folder),
        File(f"{folder}/decant.conf", unit, notify=("daemon-reload",)),
        Handler("daemon-reload"),
    )


def install(settings: "Settings", facts: "Facts") -> Plan:
    """The program; where the application already runs, it holds only if it is healthy with it."""
    paths = settings.paths
    restart = ("sh", f"{paths.procedures}/restart.sh", paths.root)
    files = (
        Unit(paths.service, enabled=False, running=False),
        Unit(paths.socket_unit, enabled=False, running=False),
        *(Absent(path) for path in paths.units),
        File(paths.listen, f"{settings.bind or paths.socket}\n"),
        File(paths.program, render("supervisor/program.j2", settings)),
    )
    return (
        *control(settings, facts),
        Transaction(
            files,
            validate=(*restart, "changed"),
            undo=restart,
            label="check of the application under supervisor",
        ),
        *start(settings, facts),
    )


def start(settings: "Settings", facts: "Facts") -> Plan:
    """The program runs; before the first release it waits for one."""
    name = settings.app.name
    return (
        Run(
            command("start", f"{name}:*"),
            unless=_all(name, "RUNNING"),
            label=f"program {name}",
        ),
    )


def stop(settings: "Settings") -> Plan:
    """The program is stopped, and its socket closed."""
    name = settings.app.name
    return (
        Run(
            command("stop", f"{name}:*"),
            unless=_all(name, "STOPPED"),
            label=f"stop of program {name}",
        ),
    )


def remove(settings: "Settings") -> Plan:
    """Take the program away."""
    return (
        Absent(settings.paths.program, notify=("supervisor-update",)),
        Handler("supervisor-update"),
    )


def reload(settings: "Settings") -> tuple[str, ...]:
    """Return the command that has the WSGI server's master start fresh workers."""
    return ("supervisorctl", "signal", "HUP", f"{settings.app.name}:1")


def status(settings: "Settings") -> tuple[str, ...]:
    """Return the command that tells how the program is."""
    return ("supervisorctl", "status", f"{settings.app.name}:*")


def logs(settings: "Settings", lines: int, follow: bool) -> tuple[str, ...]:
    """Return the command that shows what the application logged."""
    return ("tail", "-n", str(lines), *(["-F"] if follow else []), settings.paths.program_log)


def _all(name: str, state: str) -> tuple[str, ...]:
    """Return the question whether both processes of a program are in a state."""
    return (
        "sh",
        "-c",
        'test "$(supervisorctl status "$1:*" | grep -c " $2 ")" = 2',
        "sh",
        name,
        state,
    )

"""gunicorn under systemd: the socket that stays open, the service behind it, the smoke test and the release window."""

from typing import TYPE_CHECKING

from tasks.core.steps import File, Notify, Plan, Together, Unit
from tasks.core.templates import render

if TYPE_CHECKING:
    from tasks.core.facts import Facts
    from tasks.core.settings import Settings

POLL_LIMIT_SINCE = 255  # the systemd version that brought PollLimitIntervalSec=, systemd.socket(5)


def install(settings: "Settings", facts: "Facts") -> Plan:
    """The units; where the application already runs, they hold only if it is well under them."""
    name = settings.app.name
    poll_limit = facts.systemd.isdigit() and int(facts.systemd) >= POLL_LIMIT_SINCE
    units = tuple(
        File(f"/etc/systemd/system/{file}", render(f"gunicorn/{template}.j2", settings, poll_limit=poll_limit), notify=("daemon-reload",))
        for file, template in {
            f"{name}.socket": "socket",
            f"{name}.service": "service",
            f"{name}-smoke@.service": "smoke",
            f"{name}-window@.service": "window",
        }.items()
    )
    enabled = (Unit(f"{name}.socket", enabled=True), Unit(f"{name}.service", enabled=True))
    if not facts.current:
        return (*units, Notify("daemon-reload"), *enabled)
    restart = ("sh", f"{settings.paths.procedures}/restart.sh", settings.paths.root)
    running = (Unit(f"{name}.socket", running=True), Unit(f"{name}.service", running=True))
    return (Together(units, validate=restart, undo=restart), Notify("daemon-reload"), *enabled, *running)

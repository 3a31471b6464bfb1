"""The cloud's metadata service is closed to the application and to its builds.

Who can ask it has the server's own role in the cloud.

By a firewall rule on the owner of a connection, as systemd's IPAddressDeny= has no effect in a
container, and neither supervisor nor Apache has a sandbox.
"""

from typing import TYPE_CHECKING

from decant.plans.rendering import render
from decant.steps import Absent, Directory, File, Handler, Packages, Plan, Run, Unit

if TYPE_CHECKING:
    from decant.config.models import Settings

FOLDER = "/etc/decant/metadata"
PACKAGES = ("nftables",)


def unit(name: str) -> str:
    """Return the unit that puts the rule there at boot.

    No application's own unit can have this name.
    """
    return f"decant-metadata@{name}.service"


def files(name: str) -> tuple[str, str]:
    """Return the rule's file and its unit's."""
    return (f"{FOLDER}/{name}.nft", f"/etc/systemd/system/{unit(name)}")


def rule(settings: "Settings") -> Plan:
    """The rule and its unit are written down, or, where hosts.toml allows the metadata, removed."""
    name = settings.app.name
    rule, file = files(name)
    if _is_open(settings):
        return (
            Unit(unit(name), enabled=False, running=False),
            *(Absent(path, notify=("daemon-reload",)) for path in (file, rule)),
        )
    again = f"{unit(name)}.restart"
    return (
        Packages(PACKAGES),
        Directory("/etc/decant"),
        Directory(FOLDER),
        File(rule, render("system/metadata.nft.j2", settings), notify=(again,)),
        File(
            file,
            render("system/metadata.service.j2", settings, rule=rule),
            notify=("daemon-reload", again),
        ),
    )


def closed(settings: "Settings") -> Plan:
    """The rule holds, or is gone."""
    name = settings.app.name
    if _is_open(settings):
        return (Handler("daemon-reload"),)
    return (
        Handler("daemon-reload"),
        Unit(unit(name), enabled=True),
        Handler(f"{unit(name)}.restart"),
        Run(
            ("systemctl", "restart", unit(name)),
            unless=("nft", "list", "table", "inet", table(name)),
            label="the cloud's metadata is closed",
        ),
    )


def _is_open(settings: "Settings") -> bool:
    return settings.system.metadata or not settings.is_app


def table(name: str) -> str:
    """Return the rule's table: nft takes no hyphen in a name."""
    return f"decant_{name.replace('-', '_')}"

"""Which of a server's services this tool brought: those it may change as a whole.

One that was there before is somebody's.
"""

from typing import TYPE_CHECKING

from decant.steps import Directory, File, Handler, Plan, Run

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

MARKS = "/var/lib/decant/installed"
PROGRAMS = {"apache2": "/usr/sbin/apache2", "supervisor": "/usr/bin/supervisord"}
# No setuid program, no /tmp of others, no home folders, nothing of the system to write to: for what
# has no sandbox of its own.
SANDBOX = "[Service]\nNoNewPrivileges=yes\nPrivateTmp=yes\nProtectSystem=full\nProtectHome={home}\n"


def mark(package: str) -> Plan:
    """Note, before a package is installed, that it was not there."""
    # On the disk before the package is, which dpkg sees to: it must not look like somebody's.
    note = (
        "sh",
        "-c",
        'mkdir -p "$1" && : >"$1/$2" && sync "$1/$2" "$1" "$1/.."',
        "note",
        MARKS,
        package,
    )
    there = (
        "sh",
        "-c",
        'test -e "$1" || test -e "$2"',
        "there",
        PROGRAMS[package],
        f"{MARKS}/{package}",
    )
    return (Run(note, unless=there, label=f"note that {package} is installed by this tool"),)


def is_ours(package: str, facts: "Facts") -> bool:
    """Tell whether this tool has installed a package, or is about to."""
    return package in facts.installed or package not in facts.present


def sandbox(package: str, settings: "Settings", facts: "Facts") -> Plan:
    """A drop-in for a service that this tool brought; it holds from the service's first start."""
    if not is_ours(package, facts):
        return ()
    folder = f"/etc/systemd/system/{package}.service.d"
    # The service is everybody's: one application that lives in a home folder decides for all.
    roots = (settings.paths.root, *(str(other.get("root", "")) for other in facts.manifests))
    home = "no" if any(root.startswith(("/home/", "/root/")) for root in roots) else "yes"
    return (
        Directory(folder),
        File(f"{folder}/decant-sandbox.conf", SANDBOX.format(home=home), notify=("daemon-reload",)),
        Handler("daemon-reload"),
    )

"""mod_wsgi: Apache itself runs the application, in daemon processes that wait in the gate of their
.wsgi file while versions change.
"""

from typing import TYPE_CHECKING

from decant.plans import apache, installed
from decant.plans.rendering import render
from decant.steps import Absent, Directory, File, Handler, Packages, Plan

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts

PACKAGES = ("libapache2-mod-wsgi-py3",)


def install(settings: "Settings", facts: "Facts") -> Plan:
    """The module, and the gate that Apache passes when the server boots."""
    gate = File(
        drop_in(settings), render("apache/gate.conf.j2", settings), notify=("daemon-reload",)
    )
    folder = Directory(drop_in(settings).rpartition("/")[0])
    first = (*installed.mark("apache2"), *installed.sandbox("apache2", settings, facts))
    return (
        *first,
        Packages((*apache.PACKAGES, *PACKAGES)),
        *apache.modules("wsgi"),
        folder,
        gate,
        Handler("daemon-reload"),
        Handler(apache.RELOAD),
    )


def remove(settings: "Settings") -> Plan:
    """Take the gate before Apache away; the module stays, for others may use it."""
    return (Absent(drop_in(settings), notify=("daemon-reload",)), Handler("daemon-reload"))


def drop_in(settings: "Settings") -> str:
    """Return the path of what this application adds to Apache's unit."""
    return f"/etc/systemd/system/apache2.service.d/decant-{settings.app.name}.conf"


def files(settings: "Settings", cores: int) -> dict[str, tuple[str, int]]:
    """Return mod_wsgi's files in a release's .deploy folder, each with its mode."""
    workers = 2 * cores + 1 if settings.wsgi.workers == "auto" else settings.wsgi.workers
    return {
        "start": (render("mod-wsgi/start.j2", settings), 0o755),
        "application": (f"{settings.wsgi.app}\n", 0o644),
        "daemon.conf": (render("mod-wsgi/daemon.conf.j2", settings, workers=workers), 0o644),
    }

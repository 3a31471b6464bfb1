"""nginx in front of the application."""

from typing import TYPE_CHECKING

from tasks.core.steps import Absent, File, Line, Link, Notify, Packages, Plan, Step, Together, Unit
from tasks.core.templates import render
from tasks.plans import apache

if TYPE_CHECKING:
    from tasks.core.settings import Settings

PACKAGES = ("nginx",)
PORTS = ("80/tcp",)
NAME = "nginx"
UNIT = "nginx.service"
RELOAD = f"{UNIT}.reload"
CHECK = ("nginx", "-t")


def install(settings: "Settings") -> Plan:
    """Nginx with room for the requests that wait while versions change."""
    main = (
        File("/etc/nginx/modules-enabled/90-decant.conf", render("nginx/main.conf.j2", settings), notify=(RELOAD,)),
        Line("/etc/nginx/nginx.conf", r"^[[:space:]]*worker_connections[[:space:]]", "\tworker_connections 8192;", notify=(RELOAD,)),
    )
    return (Packages(PACKAGES), Together(main, validate=CHECK))


def site(settings: "Settings", ipv6: bool = True) -> Plan:
    """Serve the application at its domains, or at any name where it has none; what stood at nginx's place gives way."""
    name, paths = settings.app.name, settings.paths
    vhost = f"/etc/nginx/sites-available/{name}"
    steps: list[Step] = [
        File(vhost, render("nginx/site.j2", settings, ipv6=ipv6), notify=(RELOAD,)),
        Link(f"/etc/nginx/sites-enabled/{name}", vhost, notify=(RELOAD,)),
    ]
    if not settings.proxy.domains:
        steps.append(Absent("/etc/nginx/sites-enabled/default", notify=(RELOAD,)))
    # Apache's site of this application
    steps += [Absent(path, notify=(apache.RELOAD,)) for path in apache.sites(name)]
    front = ("sh", f"{paths.procedures}/front.sh", paths.root)
    return (
        Together(tuple(steps), validate=front, undo=front, label="check of the site"),
        Unit(UNIT, enabled=True, running=True),
        Notify(RELOAD),
        Notify(apache.RELOAD),
    )


def remove(settings: "Settings") -> Plan:
    """Take the site away; nginx and the sites of others stay."""
    name = settings.app.name
    gone = tuple(Absent(f"/etc/nginx/sites-{place}/{name}", notify=(RELOAD,)) for place in ("enabled", "available"))
    return (Together(gone, validate=CHECK), Notify(RELOAD))


def logs(settings: "Settings") -> tuple[str, str]:
    """Return nginx's log files, which all its sites share."""
    return ("/var/log/nginx/access.log", "/var/log/nginx/error.log")

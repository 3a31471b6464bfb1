"""nginx in front of the application."""

from typing import TYPE_CHECKING

from tasks.core.steps import Absent, File, Line, Link, Notify, Packages, Plan, Step, Together, Unit
from tasks.core.templates import render

if TYPE_CHECKING:
    from tasks.core.settings import Settings

PACKAGES = ("nginx",)
PORTS = ("80/tcp",)
RELOAD = "nginx.service.reload"


def install(settings: "Settings") -> Plan:
    """nginx, running, with room for the requests that wait while versions change."""
    main = (
        File("/etc/nginx/modules-enabled/90-decant.conf", render("nginx/main.conf.j2", settings), notify=(RELOAD,)),
        Line("/etc/nginx/nginx.conf", r"^[[:space:]]*worker_connections[[:space:]]", "\tworker_connections 8192;", notify=(RELOAD,)),
    )
    return (Packages(PACKAGES), Together(main, validate=("nginx", "-q", "-t")), Unit("nginx.service", enabled=True, running=True), Notify(RELOAD))


def site(settings: "Settings", ipv6: bool = True) -> Plan:
    """Serve the application at its domains, or at any name where it has none."""
    name = settings.app.name
    vhost = f"/etc/nginx/sites-available/{name}"
    steps: list[Step] = [
        File(vhost, render("nginx/site.j2", settings, ipv6=ipv6), notify=(RELOAD,)),
        Link(f"/etc/nginx/sites-enabled/{name}", vhost, notify=(RELOAD,)),
    ]
    if not settings.proxy.domains:
        steps.append(Absent("/etc/nginx/sites-enabled/default", notify=(RELOAD,)))
    return (Together(tuple(steps), validate=("nginx", "-q", "-t")), Notify(RELOAD))


def remove(settings: "Settings") -> Plan:
    """Take the site away; nginx and the sites of others stay."""
    name = settings.app.name
    gone = (Absent(f"/etc/nginx/sites-enabled/{name}", notify=(RELOAD,)), Absent(f"/etc/nginx/sites-available/{name}", notify=(RELOAD,)))
    return (Together(gone, validate=("nginx", "-q", "-t")), Notify(RELOAD))

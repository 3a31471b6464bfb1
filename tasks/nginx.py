"""The proxy that faces the internet."""

from typing import Any

from fabric import task

from tasks.core.host import Host
from tasks.core.service import need_proxy
from tasks.core.steps import Notify, Run, Unit
from tasks.plans import nginx as plans
from tasks.plans.app import refuse_conflicts, scripts

CHECK = Run(("nginx", "-t"), label="check of the configuration")


@task
def install(c: Any) -> None:
    """Install nginx, with room for the requests that wait while versions change."""
    host = _host(c)
    with host.lock("nginx.install"):
        host.changes((*plans.install(host.settings), Notify(plans.RELOAD)))


@task
def site(c: Any) -> None:
    """Write the application's site and reload nginx."""
    host = _host(c)
    refuse_conflicts(host.settings, host.facts)
    with host.lock("nginx.site"):
        host.changes((*scripts(host.settings), *plans.site(host.settings, ipv6=host.facts.ipv6 == "yes")))


@task
def check(c: Any) -> None:
    """Let nginx check its configuration."""
    host = _host(c)
    print(host.read("sh", "-c", "nginx -t 2>&1"))


@task
def start(c: Any) -> None:
    """Start nginx."""
    host = _host(c)
    host.changes((Unit("nginx.service", running=True),))


@task
def stop(c: Any) -> None:
    """Stop nginx: every site on this server is down until nginx.start."""
    host = _host(c)
    host.changes((Unit("nginx.service", running=False),))


@task
def restart(c: Any) -> None:
    """Check the configuration and restart nginx; requests under way are cut off: prefer nginx.reload."""
    host = _host(c)
    host.changes((CHECK, Run(("systemctl", "restart", "nginx.service"), label="restart of nginx")))


@task
def reload(c: Any) -> None:
    """Check the configuration and reload nginx; requests under way are finished, idle connections closed."""
    host = _host(c)
    host.changes((CHECK, Run(("systemctl", "reload", "nginx.service"), label="reload of nginx")))


@task
def status(c: Any) -> None:
    """Show what systemd says of nginx."""
    host = _host(c)
    print(host.read("sh", "-c", "systemctl --no-pager status nginx.service || true"))


@task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show nginx's access and error log."""
    host = _host(c)
    host.interact("tail", "-n", str(lines), *(["-f"] if follow else []), "/var/log/nginx/access.log", "/var/log/nginx/error.log")


@task
def remove(c: Any) -> None:
    """Take the application's site away; nginx and the sites of others stay."""
    host = _host(c)
    with host.lock("nginx.remove"):
        host.changes(plans.remove(host.settings))


def _host(c: Any) -> Host:
    return need_proxy(Host(c), "nginx")

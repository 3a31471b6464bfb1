"""The proxy that faces the internet."""

from typing import Any

from fabric import task

from tasks.core.host import Host
from tasks.core.service import need_proxy
from tasks.core.steps import Notify, Run, Unit
from tasks.plans import apache as plans
from tasks.plans.app import refuse_conflicts, scripts

CHECK = Run(plans.CHECK, label="check of the configuration")


@task
def install(c: Any) -> None:
    """Install Apache, with room for the requests that wait while versions change."""
    host = _host(c)
    with host.lock("apache.install"):
        host.changes((*plans.install(host.settings), Notify(plans.RELOAD)))


@task
def site(c: Any) -> None:
    """Write the application's site and reload Apache."""
    host = _host(c)
    refuse_conflicts(host.settings, host.facts)
    with host.lock("apache.site"):
        host.changes((*scripts(host.settings), *plans.site(host.settings, ipv6=host.facts.ipv6 == "yes")))


@task
def check(c: Any) -> None:
    """Let Apache check its configuration."""
    host = _host(c)
    print(host.read("sh", "-c", "apache2ctl -t 2>&1"))


@task
def start(c: Any) -> None:
    """Start Apache."""
    host = _host(c)
    host.changes((Unit("apache2.service", running=True),))


@task
def stop(c: Any) -> None:
    """Stop Apache: every site on this server is down until apache.start."""
    host = _host(c)
    host.changes((Unit("apache2.service", running=False),))


@task
def restart(c: Any) -> None:
    """Check the configuration and restart Apache; requests under way are cut off: prefer apache.reload."""
    host = _host(c)
    host.changes((CHECK, Run(("systemctl", "restart", "apache2.service"), label="restart of Apache")))


@task
def reload(c: Any) -> None:
    """Check the configuration and reload Apache; requests under way are finished, idle connections closed."""
    host = _host(c)
    host.changes((CHECK, Run(("systemctl", "reload", "apache2.service"), label="reload of Apache")))


@task
def status(c: Any) -> None:
    """Show what systemd says of Apache."""
    host = _host(c)
    print(host.read("sh", "-c", "systemctl --no-pager status apache2.service || true"))


@task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show the site's access and error log."""
    host = _host(c)
    host.interact("tail", "-n", str(lines), *(["-f"] if follow else []), *plans.logs(host.settings))


@task
def remove(c: Any) -> None:
    """Take the application's site away; Apache and the sites of others stay."""
    host = _host(c)
    with host.lock("apache.remove"):
        host.changes(plans.remove(host.settings))


def _host(c: Any) -> Host:
    return need_proxy(Host(c), "apache")

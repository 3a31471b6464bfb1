"""The proxy that faces the internet."""

from typing import Any

from tasks.core import front
from tasks.core.host import Host
from tasks.core.kinds import web_task


@web_task
def install(c: Any) -> None:
    """Install nginx, with room for the requests that wait while versions change."""
    front.install(_host(c), "nginx.install")


@web_task
def site(c: Any) -> None:
    """Write the application's site and reload nginx."""
    front.site(_host(c), "nginx.site")


@web_task
def check(c: Any) -> None:
    """Let nginx check its configuration."""
    front.check(_host(c))


@web_task
def start(c: Any) -> None:
    """Start nginx."""
    front.running(_host(c), True)


@web_task
def stop(c: Any) -> None:
    """Stop nginx: every site on this server is down until nginx.start."""
    front.running(_host(c), False)


@web_task
def restart(c: Any) -> None:
    """Check the configuration and restart nginx; requests under way are cut off: prefer nginx.reload."""
    front.again(_host(c), "restart")


@web_task
def reload(c: Any) -> None:
    """Check the configuration and reload nginx; requests under way are finished, idle connections closed."""
    front.again(_host(c), "reload")


@web_task
def status(c: Any) -> None:
    """Show what systemd says of nginx."""
    front.status(_host(c))


@web_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show nginx's access and error log."""
    front.logs(_host(c), lines, follow)


@web_task
def remove(c: Any) -> None:
    """Take the application's site away; nginx and the sites of others stay."""
    front.remove(_host(c), "nginx.remove")


def _host(c: Any) -> Host:
    return front.need(Host(c), "nginx")

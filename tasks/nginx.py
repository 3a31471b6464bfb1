"""The proxy that faces the internet."""

from typing import Any

from decant.commands.decorators import web_task
from decant.operations import proxy
from decant.remote.host import Host


@web_task
def install(c: Any) -> None:
    """Install nginx, with room for the requests that wait while versions change."""
    proxy.install(_host(c), "nginx.install")


@web_task
def site(c: Any) -> None:
    """Write the application's site and reload nginx."""
    proxy.site(_host(c), "nginx.site")


@web_task
def check(c: Any) -> None:
    """Let nginx check its configuration."""
    proxy.check(_host(c))


@web_task
def start(c: Any) -> None:
    """Start nginx."""
    proxy.running(_host(c), True)


@web_task
def stop(c: Any) -> None:
    """Stop nginx: every site on this server is down until nginx.start."""
    proxy.running(_host(c), False)


@web_task
def restart(c: Any) -> None:
    """Check the configuration and restart nginx.

    Requests under way are cut off: prefer nginx.reload.
    """
    proxy.again(_host(c), "restart")


@web_task
def reload(c: Any) -> None:
    """Check the configuration and reload nginx.

    Requests under way are finished, idle connections closed.
    """
    proxy.again(_host(c), "reload")


@web_task
def status(c: Any) -> None:
    """Show what systemd says of nginx."""
    proxy.status(_host(c))


@web_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show nginx's access and error log."""
    proxy.logs(_host(c), lines, follow)


@web_task
def remove(c: Any) -> None:
    """Take the application's site away; nginx and the sites of others stay."""
    proxy.remove(_host(c), "nginx.remove")


def _host(c: Any) -> Host:
    return proxy.need(Host(c), "nginx")

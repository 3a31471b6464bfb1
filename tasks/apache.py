"""The proxy that faces the internet."""

from decant.commands.decorators import web_task
from decant.operations import proxy
from decant.remote.connection import ServerConnection
from decant.remote.host import Host


@web_task
def install(c: ServerConnection) -> None:
    """Install Apache, with room for the requests that wait while versions change."""
    proxy.install(_host(c), "apache.install")


@web_task
def site(c: ServerConnection) -> None:
    """Write the application's site and reload Apache."""
    proxy.site(_host(c), "apache.site")


@web_task
def check(c: ServerConnection) -> None:
    """Let Apache check its configuration."""
    proxy.check(_host(c))


@web_task
def start(c: ServerConnection) -> None:
    """Start Apache."""
    proxy.running(_host(c), True)


@web_task
def stop(c: ServerConnection) -> None:
    """Stop Apache: every site on this server is down until apache.start."""
    proxy.running(_host(c), False)


@web_task
def restart(c: ServerConnection) -> None:
    """Check the configuration and restart Apache.

    Requests under way are cut off: prefer apache.reload.
    """
    proxy.again(_host(c), "restart")


@web_task
def reload(c: ServerConnection) -> None:
    """Check the configuration and reload Apache.

    Requests under way are finished, idle connections closed.
    """
    proxy.again(_host(c), "reload")


@web_task
def status(c: ServerConnection) -> None:
    """Show what systemd says of Apache."""
    proxy.status(_host(c))


@web_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: ServerConnection, lines: int = 100, follow: bool = False) -> None:
    """Show the site's access and error log."""
    proxy.logs(_host(c), lines, follow)


@web_task
def remove(c: ServerConnection) -> None:
    """Take the application's site away; Apache and the sites of others stay."""
    proxy.remove(_host(c), "apache.remove")


def _host(c: ServerConnection) -> Host:
    return proxy.need(Host(c), "apache")

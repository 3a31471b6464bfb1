"""The application's processes: gunicorn, in the socket that the manager keeps open."""

from decant.commands.decorators import app_task
from decant.operations import service
from decant.plans import stack
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from decant.steps import Run


@app_task
def install(c: ServerConnection) -> None:
    """Write the units or the program.

    A running application keeps them only if it is healthy with them.
    """
    service.install(_host(c), "gunicorn.install")


@app_task
def start(c: ServerConnection) -> None:
    """Open the socket and start the application."""
    service.start(_host(c), "gunicorn.start")


@app_task
def stop(c: ServerConnection) -> None:
    """Stop the application and close its socket: visitors get an error until gunicorn.start."""
    service.stop(_host(c), "gunicorn.stop")


@app_task
def restart(c: ServerConnection) -> None:
    """Restart the application behind its open socket, and ask it for health."""
    service.restart(_host(c), "gunicorn.restart")


@app_task
def reload(c: ServerConnection) -> None:
    """Let gunicorn start fresh workers of the same release, one after the other."""
    host = _host(c)
    with host.lock("gunicorn.reload"):
        host.changes(
            (
                Run(
                    stack.manager(host.settings).reload(host.settings),
                    label=f"reload of {host.settings.app.name}",
                ),
            )
        )


@app_task
def status(c: ServerConnection) -> None:
    """Show what the manager says of the application."""
    service.status(_host(c))


@app_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: ServerConnection, lines: int = 100, follow: bool = False) -> None:
    """Show what the application logged."""
    service.logs(_host(c), lines, follow)


def _host(c: ServerConnection) -> Host:
    return service.need_server(Host(c), "gunicorn")

"""The application's processes: uWSGI, in the socket that the manager keeps open."""

from typing import Any

from decant.commands.decorators import app_task
from decant.operations import processes
from decant.remote.host import Host
from decant.steps import Run


@app_task
def install(c: Any) -> None:
    """Write the units or the program.

    A running application keeps them only if it is healthy with them.
    """
    processes.install(_host(c), "uwsgi.install")


@app_task
def start(c: Any) -> None:
    """Open the socket and start the application."""
    processes.start(_host(c), "uwsgi.start")


@app_task
def stop(c: Any) -> None:
    """Stop the application and close its socket: visitors get an error until uwsgi.start."""
    processes.stop(_host(c), "uwsgi.stop")


@app_task
def restart(c: Any) -> None:
    """Restart the application behind its open socket, and ask it for health."""
    processes.restart(_host(c), "uwsgi.restart")


@app_task
def reload(c: Any) -> None:
    """Let uWSGI start fresh workers of the same release, one after the other."""
    host = _host(c)
    with host.lock("uwsgi.reload"):
        host.changes(
            (
                Run(
                    ("touch", f"{host.paths.run}/reload"),
                    label=f"reload of {host.settings.app.name}",
                ),
            )
        )


@app_task
def status(c: Any) -> None:
    """Show what the manager says of the application."""
    processes.status(_host(c))


@app_task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show what the application logged."""
    processes.logs(_host(c), lines, follow)


def _host(c: Any) -> Host:
    return processes.need_server(Host(c), "uwsgi")

"""supervisor, and the application's program in it."""

from decant.commands.decorators import app_task
from decant.operations import service
from decant.plans import supervisor as plans
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from decant.steps import Run


@app_task
def install(c: ServerConnection) -> None:
    """Install supervisor with a group that runs supervisorctl without sudo, and the application's
    program.
    """
    host = Host(c)
    if host.settings.wsgi.manager == "supervisor":
        return service.install(host, "supervisor.install")
    with host.lock("supervisor.install"):
        host.changes(plans.control(host.settings, host.facts))


@app_task
def start(c: ServerConnection) -> None:
    """Open the socket and start the application."""
    service.start(_host(c), "supervisor.start")


@app_task
def stop(c: ServerConnection) -> None:
    """Stop the application and close its socket: visitors get an error until supervisor.start.

    Other programs run on.
    """
    service.stop(_host(c), "supervisor.stop")


@app_task
def restart(c: ServerConnection) -> None:
    """Restart the application behind its open socket, and ask it for health."""
    service.restart(_host(c), "supervisor.restart")


@app_task
def reload(c: ServerConnection) -> None:
    """Let supervisor read the application's program anew.

    A program that has not changed runs on.
    """
    host = _host(c)
    with host.lock("supervisor.reload"):
        host.changes(
            (
                Run(
                    (
                        "sh",
                        "-c",
                        'supervisorctl reread && supervisorctl update "$1"',
                        "sh",
                        host.settings.app.name,
                    ),
                    label="program read anew",
                ),
            )
        )


@app_task
def status(c: ServerConnection) -> None:
    """Show what supervisor says of the application."""
    service.status(_host(c))


def _host(c: ServerConnection) -> Host:
    return service.need_supervisor(Host(c))

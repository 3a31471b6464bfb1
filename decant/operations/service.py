"""What gunicorn.*, uwsgi.* and supervisor.* do alike with the service.

Bring the application's processes up, down and around, under either manager.
"""

from decant.errors import DeployError
from decant.plans import app, preflight, stack, system
from decant.remote.host import Host
from decant.steps import Run


def install(host: Host, task: str) -> None:
    """Write the manager's configuration.

    A running application keeps it only if it is healthy with it.
    """
    settings = host.settings
    preflight.refuse_conflicts(settings, host.facts)
    with host.lock(task):
        host.changes(
            (
                *app.write_manifest(settings),
                *system.user(settings),
                *app.folders_and_secrets(settings),
                *stack.manager(settings).install(settings, host.facts),
            ),
        )


def start(host: Host, task: str) -> None:
    """Open the socket and start the application."""
    with host.lock(task):
        host.changes(stack.manager(host.settings).start(host.settings, host.facts))


def stop(host: Host, task: str) -> None:
    """Stop the application and close its socket."""
    with host.lock(task):
        host.changes(stack.manager(host.settings).stop(host.settings))


def restart(host: Host, task: str) -> None:
    """Restart the application behind its open socket, and ask it for health."""
    with host.lock(task):
        host.changes(
            (
                Run(
                    ("sh", f"{host.paths.procedures}/restart.sh", host.paths.root, "same"),
                    label="restart behind the open socket",
                ),
            )
        )


def status(host: Host) -> None:
    """Show what the manager says."""
    host.output.text(
        host.read(
            "sh",
            "-c",
            '"$@" || true',
            "status",
            *stack.manager(host.settings).status(host.settings),
        )
    )


def logs(host: Host, lines: int, follow: bool) -> None:
    """Show what the application logged."""
    host.interact(*stack.manager(host.settings).logs(host.settings, lines, follow))


def need_server(host: Host, server: str) -> Host:
    """Return the host; raise DeployError where hosts.toml has another WSGI server."""
    chosen = host.settings.wsgi.server
    if chosen != server:
        other = {"mod_wsgi": "mod-wsgi", "command": "app"}.get(chosen, chosen)
        raise DeployError(f'wsgi.server is "{chosen}"; its tasks are {other}.*')
    return host


def need_manager(host: Host) -> Host:
    """Return the host; raise DeployError where Apache keeps the application's processes."""
    if host.settings.wsgi.server == "mod_wsgi":
        raise DeployError(
            'wsgi.server is "mod_wsgi": Apache keeps the processes; its tasks are apache.*'
        )
    return host


def need_supervisor(host: Host) -> Host:
    """Return the host; raise DeployError where the application does not run under supervisor."""
    if host.settings.wsgi.server == "mod_wsgi" or host.settings.wsgi.manager != "supervisor":
        raise DeployError(
            "the application does not run under supervisor: wsgi.manager is"
            f' "{host.settings.wsgi.manager}"; its tasks are'
            f" {host.settings.wsgi.server.replace('_', '-')}.*"
        )
    return host

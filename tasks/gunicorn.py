"""The application's processes: gunicorn behind systemd's socket."""

from typing import Any

from fabric import task

from tasks.core.host import Host
from tasks.core.steps import Run, Unit
from tasks.plans import app as app_plans
from tasks.plans import gunicorn as plans
from tasks.plans import system


@task
def install(c: Any) -> None:
    """Write the units; a running application holds on to them only if it is well under them."""
    host = Host(c)
    app_plans.refuse_conflicts(host.settings, host.facts)
    with host.lock("gunicorn.install"):
        host.changes((*app_plans.claim(host.settings), *system.user(host.settings), *app_plans.home(host.settings), *plans.install(host.settings, host.facts)))


@task
def start(c: Any) -> None:
    """Open the socket and start the application."""
    host = Host(c)
    name = host.settings.app.name
    with host.lock("gunicorn.start"):
        host.changes((Unit(f"{name}.socket", running=True), Unit(f"{name}.service", running=True)))


@task
def stop(c: Any) -> None:
    """Stop the application and close its socket: visitors get 502 until gunicorn.start."""
    host = Host(c)
    name = host.settings.app.name
    with host.lock("gunicorn.stop"):
        host.changes((Unit(f"{name}.socket", running=False), Unit(f"{name}.service", running=False)))


@task
def restart(c: Any) -> None:
    """Restart the application behind its open socket, and ask it for health."""
    host = Host(c)
    with host.lock("gunicorn.restart"):
        host.changes((Run(("sh", f"{host.paths.procedures}/restart.sh", host.paths.root), label="restart behind the open socket"),))


@task
def reload(c: Any) -> None:
    """Let gunicorn start fresh workers of the same release, one after the other."""
    host = Host(c)
    with host.lock("gunicorn.reload"):
        host.changes((Run(("systemctl", "reload", host.paths.service), label=f"reload of {host.paths.service}"),))


@task
def status(c: Any) -> None:
    """Show what systemd says of the service and its socket."""
    host = Host(c)
    name = host.settings.app.name
    print(host.read("sh", "-c", 'systemctl --no-pager status "$@" || true', "status", f"{name}.service", f"{name}.socket"))


@task(help={"lines": "how many", "follow": "go on until Ctrl-C"})
def logs(c: Any, lines: int = 100, follow: bool = False) -> None:
    """Show what the application logged."""
    host = Host(c)
    host.interact("journalctl", "--no-pager", "-n", str(lines), "-u", host.paths.service, *(["-f"] if follow else []))

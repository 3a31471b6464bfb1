"""The application's processes inside Apache."""

from decant.commands.decorators import app_task
from decant.operations import service
from decant.plans import app as app_plan
from decant.plans import mod_wsgi as plans
from decant.plans import preflight, system
from decant.remote.connection import ServerConnection
from decant.remote.host import Host


@app_task
def install(c: ServerConnection) -> None:
    """Install mod_wsgi in Apache, and the gate that Apache passes when the server boots."""
    host = service.need_server(Host(c), "mod_wsgi")
    settings = host.settings
    preflight.refuse_conflicts(settings, host.facts)
    preflight.refuse_unreachable(settings, host.facts)
    with host.lock("mod-wsgi.install"):
        host.changes(
            (
                *app_plan.write_manifest(settings),
                *system.user(settings),
                *app_plan.folders_and_secrets(settings),
                *plans.install(settings, host.facts),
            )
        )


@app_task
def reload(c: ServerConnection) -> None:
    """Let Apache start fresh daemon processes of the same release.

    The old ones answer what they have begun, and the site's health is checked.
    """
    service.restart(service.need_server(Host(c), "mod_wsgi"), "mod-wsgi.reload")

"""The interpreter and the environments."""

from decant.commands.decorators import app_task
from decant.errors import DeployError
from decant.plans import app as app_plan
from decant.plans import preflight
from decant.plans import python as plans
from decant.remote.connection import ServerConnection
from decant.remote.host import Host


@app_task
def install(c: ServerConnection) -> None:
    """Install Python with venv: the distribution's, or what python.version asks for."""
    host = Host(c)
    preflight.refuse_unreachable(host.settings, host.facts)
    with host.lock("python.install"):
        host.changes(
            (
                *app_plan.write_manifest(host.settings),
                *app_plan.folders_and_secrets(host.settings),
                *plans.install(host.settings, host.facts),
            )
        )


@app_task
def venv(c: ServerConnection) -> None:
    """Make the current release's environment anew where it is missing or was not finished."""
    host = Host(c)
    if host.facts.release(host.facts.current) is None:
        raise DeployError(
            f"{host.name}: nothing is deployed here yet; an environment is made with the release:"
            f" fab -H {host.name} deploy"
        )
    with host.lock("python.venv"):
        plan = plans.of_current(host.settings, host.facts)
        host.changes((*app_plan.server_scripts(host.settings), *plan))

"""The application's database."""

from typing import Any

from fabric import task

from tasks.core import flow
from tasks.core.errors import DeployError
from tasks.core.host import Host


@task
def migrate(c: Any) -> None:
    """Migrate the database of the release that serves: dump, migrate, and put back if it fails, while requests wait."""
    host = Host(c)
    if not host.settings.app.migrate:
        raise DeployError('app.migrate is empty; set it to "auto" or to the command that migrates')
    if not host.facts.current:
        raise DeployError(f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy")
    with flow.locked(host, "db.migrate"):
        if host.dry:
            return host.output.line("would migrate what is pending, with a dump before it; nothing was changed (--dry)")
        outcome = flow.migrate(host)
    if outcome.result == "failed":
        raise DeployError(f"{host.name}: {outcome.cause}")

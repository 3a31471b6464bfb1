"""Everything that stands on a server before a release."""

from typing import TYPE_CHECKING

from decant.plans import (
    app,
    backup,
    db,
    harden,
    metadata,
    processes,
    python,
    release,
    stack,
    system,
)
from decant.quoting import Secret
from decant.steps import Plan

if TYPE_CHECKING:
    from decant.config.models import Settings
    from decant.facts import Facts


def provision(
    settings: "Settings", facts: "Facts", key: Secret | None = None, url: Secret | None = None
) -> Plan:
    """Return everything that stands on the server before a release: its part of the chosen stack.

    `key` is a SECRET_KEY that several hosts share, `url` that of a database on another host.
    """
    environment, firewall = release.environment(settings, facts), system.firewall(settings, facts)
    return (
        *app.write_manifest(settings),
        *(
            system.for_environment(settings, facts)
            if environment
            else system.packages(settings, facts)
        ),
        *system.user(settings),
        *metadata.rule(settings),
        *(() if environment else firewall),
        *app.folders_and_secrets(settings, key),
        *metadata.closed(settings),  # before anything is built
        *app.secluded(settings, facts),
        *environment,
        *(system.packages(settings, facts) if environment else ()),
        *system.timezone(settings),
        *system.admins(settings),
        *harden.plan(settings, facts),
        *db.install(settings),
        *db.create(settings, url),
        *backup.install(settings),
        *python.managed(settings, facts),
        *python.of_current(settings, facts),
        *stack.before_release(settings, facts),
        *processes.install(settings, facts),
        # It waits for what is downloaded beside, which it would cut off
        *(firewall if environment else ()),
    )


def packages_first(settings: "Settings", facts: "Facts") -> Plan:
    """Return what takes longest before a release and needs no database."""
    return (*app.write_manifest(settings), *system.packages(settings, facts))

"""The whole way: deploy, update, rollback, status. Each is a visible list of steps."""

import sys
from typing import TYPE_CHECKING, Any

from fabric import task

from tasks.core import flow
from tasks.core.errors import DeployError
from tasks.core.host import Host
from tasks.core.output import Output
from tasks.core.steps import Plan
from tasks.plans import app, gunicorn, nginx, system

if TYPE_CHECKING:
    from tasks.core.facts import Facts
    from tasks.core.settings import Settings

JSON = {"json": "print one JSON document on standard output, everything else on standard error"}


@task(help=JSON)
def deploy(c: Any, json: bool = False) -> None:
    """Make the server what hosts.toml says, then release the application."""
    host = _host(c, json)
    app.refuse_conflicts(host.settings, host.facts)
    with flow.locked(host, "deploy"):
        _say_strangers(host)
        changed = host.changes(provision(host.settings, host.facts))
        if host.dry:
            return _say_release(host)
        outcome = flow.run(host, "deploy")
        host.output.line(f"{changed + outcome.changed} changed in all ({outcome.seconds:.1f} s for the release)")
    _finish(host, outcome, json)


@task(help=JSON)
def update(c: Any, json: bool = False) -> None:
    """Release the application's newest version: stop, pull, migrate, start, without losing a request."""
    host = _host(c, json)
    if not host.facts.current:
        raise DeployError(f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy")
    with flow.locked(host, "update"):
        if host.dry:
            return _say_release(host)
        outcome = flow.run(host, "update", compare=provision(host.settings, host.facts))
    _finish(host, outcome, json)


@task(
    help={
        "to": "the release to go back to; default: the good one before the current",
        "downgrade": "migrate the database down to that release's head; keeps the rows",
        "restore": "put back the dump from that release's time; loses what was written since",
        **JSON,
    }
)
def rollback(c: Any, to: str = "", downgrade: bool = False, restore: bool = False, json: bool = False) -> None:
    """Go back to an older good release: code, environment, variables and rendered files."""
    host = _host(c, json)
    with flow.locked(host, "rollback"):
        if host.dry:
            return host.output.line("would switch back; nothing was changed (--dry)")
        outcome = flow.rollback(host, to, downgrade, restore)
    _finish(host, outcome, json)


@task(help=JSON)
def status(c: Any, json: bool = False) -> None:
    """Show what serves, whether it is well, and what was deployed last."""
    host = _host(c, json)
    report = flow.status(host)
    if json:
        print(flow.to_json(report))
    else:
        host.output.table(("", ""), [(name, _shown(value)) for name, value in report.items()])


def provision(settings: "Settings", facts: "Facts") -> Plan:
    """Return everything that stands on the server before a release: the chosen stack."""
    return (
        *system.packages(settings),
        *system.user(settings),
        *system.timezone(settings),
        *system.admins(settings),
        *system.firewall(settings, facts),
        *system.harden(settings),
        *app.home(settings),
        *gunicorn.install(settings, facts),
        *nginx.install(settings),
        *nginx.site(settings, ipv6=facts.ipv6 == "yes"),
    )


def _host(c: Any, json: bool) -> Host:
    host = Host(c)
    if json:
        host.output = Output(host.name, sys.stderr, host.output.verbose)
    return host


def _finish(host: Host, outcome: flow.Outcome, json: bool) -> None:
    host.forget_facts()
    if json:
        print(flow.document(outcome))


def _say_strangers(host: Host) -> None:
    found = system.strangers(host.settings, host.facts)
    if found and host.settings.system.firewall == "auto":
        host.output.line(f"no firewall: {', '.join(found)} listen publicly and would be cut off; add them to system.allow, or set system.firewall = true")


def _say_release(host: Host) -> None:
    settings = host.settings
    ref = settings.app.ref or ("its HEAD" if settings.app.is_git else "the working tree")
    host.output.line(f"would release {ref} of {settings.app.source}: prepare; stop, pull, migrate (what is pending shows when the code is there), start")


def _shown(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)

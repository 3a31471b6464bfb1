"""The whole way: deploy, update, rollback, status. Each is a visible list of steps."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fabric import task

import tasks.system
from tasks.core import certificate, flow
from tasks.core.connection import UNEXPECTED
from tasks.core.errors import DeployError
from tasks.core.host import Host
from tasks.core.output import Output
from tasks.core.steps import Plan
from tasks.plans import app, certbot, db, python, release, stack, system
from tasks.plans import destroy as plans

if TYPE_CHECKING:
    from tasks.core.facts import Facts
    from tasks.core.settings import Settings

JSON = {"json": "print one JSON document on standard output, everything else on standard error"}


@task(help=JSON)
def deploy(c: Any, json: bool = False) -> None:
    """Make the server what hosts.toml says, then release the application."""
    host = _host(c, json)
    with _told(host, json) as outcomes:
        tasks.system.prepare(host)
        release.files(host.settings, host.facts)  # a template that is not valid fails here, before anything changes
        with flow.locked(host, "deploy"):
            certificate.believe(host)
            changed = host.changes(provision(host.settings, host.facts))
            if host.dry:
                flow.preview(host)
                if certificate.missing(host):
                    host.output.line(f"would ask for a certificate for {', '.join(certbot.wanted(host.settings))}")
                return host.summary(host.apply(stack.after(host.settings, host.facts))) if stack.moves(host.settings, host.facts) else None
            facts, outcome = host.facts, flow.run(host, "deploy")
            if outcome.result != "failed" and stack.moves(host.settings, facts):
                changed += host.changes(stack.after(host.settings, facts))
            if outcome.result != "failed" and certificate.missing(host):
                outcome = replace(outcome, tls=certificate.obtain(host))
                changed += not outcome.tls
            for doubt in certificate.doubts(host):
                host.output.line(doubt)
            outcomes.append(replace(outcome, changed=changed + outcome.changed))
            host.output.line(f"{outcomes[-1].changed} changed in all ({outcome.seconds:.1f} s for the release)")


@task(help=JSON)
def update(c: Any, json: bool = False) -> None:
    """Release the application's newest version: stop, pull, migrate, start, without losing a request."""
    host = _host(c, json)
    with _told(host, json) as outcomes:
        if not host.facts.current:
            raise DeployError(f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy")
        app.refuse_another_database(host.settings, host.facts)
        host.need_room()
        with flow.locked(host, "update"):
            if host.dry:
                return flow.preview(host, compare=provision(host.settings, host.facts))
            outcomes.append(flow.run(host, "update", compare=provision(host.settings, host.facts)))
            if certificate.missing(host):
                host.output.line(f"there is no certificate for {', '.join(certbot.wanted(host.settings))} yet: fab -H {host.name} certbot.obtain")


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
    app.refuse_another_database(host.settings, host.facts)
    with _told(host, json) as outcomes, flow.locked(host, "rollback"):
        target = flow.rollback_target(host, to)
        if host.dry:
            return host.output.line(f"would go back from {host.facts.current} to {target}; nothing was changed (--dry)")
        outcomes.append(flow.rollback(host, target, downgrade, restore))


@task(help=JSON)
def status(c: Any, json: bool = False) -> None:
    """Show what serves, whether it is well, and what was deployed last."""
    host = _host(c, json)
    report = flow.status(host)
    if host.settings.tls.kind != "none":
        report["certificate"] = certificate.line(host)
    if json:
        print(flow.to_json(report))
    else:
        host.output.table(("", ""), [(name, _shown(value)) for name, value in report.items()])


@task(
    help={
        "yes": "do not ask; needed where there is no terminal",
        "backup": "keep a final dump of the database on the server (default); --no-backup: do not",
    }
)
def destroy(c: Any, yes: bool = False, backup: bool = True) -> None:
    """Remove the application from the server: site, processes, releases, shared folders, account. A final dump of its database stays."""
    host = Host(c)
    name = host.settings.app.name
    manifest = next((found for found in host.facts.manifests if found.get("name") == name), None)
    if manifest is None:
        raise DeployError(f"{host.name}: there is nothing of {name} on this server")
    suffix = db.SUFFIXES.get(manifest["database"]["kind"], "")
    dump = f"{plans.BACKUPS}/{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}{suffix}" if backup and suffix else ""
    host.output.line(
        f"destroy removes {name} from {host.name}: its site, its processes, its account, and {manifest['root']} with every release, dump and shared folder"
    )
    host.output.line(f"its database is dumped to {dump} first" if dump else "no dump of its database is kept")
    host.confirm("destroy", yes)
    with flow.locked(host, "destroy"):
        host.changes(plans.everything(host.settings, host.facts, manifest, dump))


def provision(settings: "Settings", facts: "Facts") -> Plan:
    """Return everything that stands on the server before a release: the chosen stack."""
    return (
        *app.claim(settings),
        *system.packages(settings, facts),
        *system.user(settings),
        *system.timezone(settings),
        *system.admins(settings),
        *system.firewall(settings, facts),
        *system.harden(settings),
        *app.home(settings),
        *db.install(settings),
        *db.create(settings),
        *python.managed(settings, facts),
        *stack.before(settings, facts),
    )


def _host(c: Any, json: bool) -> Host:
    host = Host(c)
    if json:
        host.output = Output(host.name, sys.stderr, host.output.verbose)
    return host


@contextlib.contextmanager
def _told(host: Host, json: bool) -> Iterator[list[flow.Outcome]]:
    """Tell the outcome that the block leaves in the list, as JSON where that is asked for; a failed one ends in one line and exit code 1."""
    outcomes: list[flow.Outcome] = []
    try:
        yield outcomes
    except (DeployError, KeyboardInterrupt, *UNEXPECTED) as error:
        if json:
            print(flow.document(flow.Outcome(host.name, "failed", "", cause=str(error) or "interrupted")))
        raise
    host.forget_facts()
    if json:
        print(flow.document(outcomes[-1] if outcomes else flow.Outcome(host.name, "dry", "")))
    if outcomes and outcomes[-1].result == "failed":
        raise DeployError(f"{host.name}: {outcomes[-1].cause}")
    if outcomes and outcomes[-1].tls:
        raise DeployError(f"{host.name}: the release is served, but {outcomes[-1].tls}")


def _shown(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)

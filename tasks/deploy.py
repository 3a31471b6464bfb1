"""The whole way: deploy, update, rollback, status. Each is a visible list of steps."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from decant.commands.decorators import fleet_task, task
from decant.config import contents
from decant.errors import DeployError
from decant.operations import backup, certificate, drift, processes
from decant.operations.release import joint_window, rollout, shared
from decant.operations.release.batches import Rollout
from decant.operations.release.outcome import Outcome, Result
from decant.operations.release.prepare import preview, release_lock
from decant.operations.release.rollback import roll_back_all, rollback_targets
from decant.operations.release.status import describe
from decant.plans import app, certbot, db, preflight, release_files, stack
from decant.plans import destroy as plans
from decant.plans.provision import packages_first, provision
from decant.remote.connection import ServerConnection
from decant.remote.fleet import Fleet
from decant.remote.host import Host

if TYPE_CHECKING:
    from decant.facts import Facts

JSON = {"json": "print one JSON document on standard output, everything else on standard error"}
ROLLOUT = {
    "batch": (
        'of several hosts, how many switch at a time: "2" or "25%"; default: 1 of up to 4, 25% of'
        " more"
    ),
    "keep_going": (
        "go on with the others when one fails; default: stop, and put back those that had switched"
    ),
    "rolling": (
        "the pending migration of a database that the hosts share is safe for the old release, too"
    ),
}


@fleet_task(help={**ROLLOUT, **JSON})
def deploy(
    fleet: Fleet,
    batch: str = "",
    keep_going: bool = False,
    rolling: bool = False,
    json: bool = False,
) -> None:
    """Make the server what hosts.toml says, then release the application."""
    _deploy(fleet, Rollout(batch, keep_going, rolling), json)


@fleet_task(
    positional=["copy"],
    help={"copy": "which one, as backup.list names it; default: the newest", **JSON},
)
def rebuild(fleet: Fleet, copy: str = "latest", json: bool = False) -> None:
    """Deploy to an empty server, with the database, the shared folders and the secrets of the copy
    that [backup] has elsewhere.
    """
    if not fleet.single_host:
        raise DeployError("rebuild is for one server: name it with -H")
    _deploy(fleet, Rollout(), json, copy)


def _deploy(fleet: Fleet, plan: Rollout, json: bool, copy: str = "") -> None:
    """Deploy; `copy`: to an empty server, which gets back what that copy has."""
    hosts, keep_going = _hosts(fleet, json), plan.keep_going
    for host in hosts.values() if copy else ():
        backup.need_storage(host.settings)
    _check_sources(hosts)
    with _report_outcomes(fleet, hosts, json) as outcomes:
        fleet.map(lambda host: _can_begin(host, copy), hosts)
        fleet.raise_if_failed(shared.NOTHING, keep_going)
        joint_window.finish_interrupted(fleet, hosts)
        with rollout.locked(fleet, hosts, "rebuild" if copy else "deploy", keep_going):
            if copy:
                fleet.map(lambda host: backup.bring_back(host, copy), hosts)
                fleet.raise_if_failed(shared.NOTHING)
            keys = shared.secret_keys(fleet, hosts, keep_going)
            fleet.map(certificate.reconcile, hosts)
            if fleet.dry:
                fleet.map(_preview, hosts)
                return
            found = {name: host.facts for name, host in hosts.items() if name not in fleet.failed}
            outcomes.update(
                shared.databases(
                    fleet,
                    hosts,
                    lambda host: provision(host.settings, host.facts, keys.get(host.name)),
                    lambda host: packages_first(host.settings, host.facts),
                    keep_going,
                )
            )
            urls = shared.database_urls(fleet, hosts, keep_going)
            rollout.run(
                fleet,
                hosts,
                outcomes,
                "deploy",
                plan,
                before=lambda host: provision(
                    host.settings, host.facts, keys.get(host.name), urls.get(host.name)
                ),
            )
            outcomes.update(
                fleet.map(
                    lambda host: _finish(host, found[host.name], outcomes[host.name]),
                    shared.with_release(fleet, hosts),
                )
            )


@fleet_task(help={**ROLLOUT, **JSON})
def update(
    fleet: Fleet,
    batch: str = "",
    keep_going: bool = False,
    rolling: bool = False,
    json: bool = False,
) -> None:
    """Release the application's newest version.

    Stop, pull, migrate, start, without losing a request.
    """
    hosts, plan = _hosts(fleet, json), Rollout(batch, keep_going, rolling)
    _check_sources(hosts)
    with _report_outcomes(fleet, hosts, json) as outcomes:
        fleet.map(_can_update, hosts)
        fleet.raise_if_failed(shared.NOTHING, keep_going)
        joint_window.finish_interrupted(fleet, hosts)
        with rollout.locked(fleet, hosts, "update", keep_going):
            if fleet.dry:
                fleet.map(
                    lambda host: preview(host, compare=provision(host.settings, host.facts)), hosts
                )
                return
            outcomes.update(
                fleet.map(
                    _compared,
                    {
                        name: host
                        for name, host in hosts.items()
                        if not host.settings.receives_releases
                    },
                )
            )
            rollout.run(
                fleet,
                hosts,
                outcomes,
                "update",
                plan,
                compare=lambda host: provision(host.settings, host.facts),
            )
            for host in shared.with_release(fleet, hosts).values():
                if certificate.missing(host):
                    host.output.line(
                        f"there is no certificate for {', '.join(certbot.wanted(host.settings))}"
                        f" yet: fab -H {host.name} certbot.obtain"
                    )


@fleet_task(
    help={
        "to": "the release to go back to; default: the good one before the current",
        "downgrade": "migrate the database down to that release's head; keeps the rows",
        "restore": "put back the dump from that release's time; loses what was written since",
        **JSON,
    }
)
def rollback(
    fleet: Fleet, to: str = "", downgrade: bool = False, restore: bool = False, json: bool = False
) -> None:
    """Go back to an older good release: code, environment, variables and rendered files."""
    hosts = _hosts(fleet, json)
    with _report_outcomes(fleet, hosts, json) as outcomes:
        fleet.map(lambda host: preflight.refuse_another_database(host.settings, host.facts), hosts)
        fleet.raise_if_failed("no host has switched")
        joint_window.finish_interrupted(fleet, hosts)
        with rollout.locked(fleet, hosts, "rollback"):
            targets = rollback_targets(fleet, hosts, to)
            if not targets:
                return
            if fleet.dry:
                for name, target in targets.items():
                    hosts[name].output.line(
                        f"would go back from {hosts[name].facts.current} to {target}; nothing was"
                        " changed (--dry)"
                    )
                return
            roll_back_all(fleet, hosts, outcomes, targets, downgrade, restore)


@task(help=JSON)
def status(c: ServerConnection, json: bool = False) -> None:
    """Show what serves, whether it is healthy, and what was deployed last."""
    host = Host(c, json)
    report = describe(host)
    if host.settings.is_web and host.settings.tls.kind != "none":
        report["certificate"] = certificate.summary(host)
    if host.settings.backup.to:
        report["backup"] = backup.summary(host)
    report |= processes.summary(host)
    if json:
        host.output.document(report)
    else:
        host.output.table(("", ""), [(name, _shown(value)) for name, value in report.items()])


@task(
    help={
        "yes": "do not ask; needed where there is no terminal",
        "backup": "keep a final dump of the database on the server (default); --no-backup: do not",
    }
)
def destroy(c: ServerConnection, yes: bool = False, backup: bool = True) -> None:
    """Remove the application from the server: site, processes, releases, shared folders, account.

    A final dump of its database stays.
    """
    host = Host(c)
    name = host.settings.app.name
    manifest = next((found for found in host.facts.manifests if found.get("name") == name), None)
    if manifest is None:
        raise DeployError(f"{host.name}: there is nothing of {name} on this server")
    if host.settings.database_clients and not host.output.single_host:
        raise DeployError(
            f"{host.name}: other hosts use its database: destroy those first, and then this one"
            " alone, so that its last dump has every row"
        )
    suffix = (
        ""
        if manifest["database"].get("where")
        else db.SUFFIXES.get(manifest["database"]["kind"], "")
    )
    dump = (
        f"{plans.BACKUPS}/{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}{suffix}"
        if backup and suffix
        else ""
    )
    host.output.line(
        f"destroy removes {name} from {host.name}: its site, its processes, its account, and"
        f" {manifest['root']} with every release, dump and shared folder"
    )
    host.output.line(
        f"its database is dumped to {dump} first" if dump else "no dump of its database is kept"
    )
    host.confirm("destroy", yes)
    with release_lock(host, "destroy"):
        host.changes(
            (
                *app.server_scripts(host.settings),
                *plans.everything(host.settings, host.facts, manifest, dump),
            )
        )


def _check_sources(hosts: Mapping[str, Host]) -> None:
    """Refuse what can be seen to be wrong here, before anything is connected."""
    seen = []
    for settings in (host.settings for host in hosts.values()):
        about = (settings.app, settings.wsgi.app, settings.python, settings.is_app)
        if about not in seen:
            seen.append(about)
            contents.check(settings)
            release_files.check(settings)


def _hosts(fleet: Fleet, json: bool) -> dict[str, Host]:
    return {name: Host(connection, json) for name, connection in fleet.connections.items()}


def _can_begin(host: Host, copy: str = "") -> None:
    if copy and host.facts.current:
        raise DeployError(
            f"{host.name}: {host.settings.app.name} is deployed here already (release"
            f" {host.facts.current}); put a copy into it with: fab -H {host.name} backup.restore"
        )
    for notice in preflight.check(host.settings, host.facts, host.logs_in_by_password):
        host.output.line(notice)
    host.require_disk_space()
    processes.check_calendars(host)
    # A template that is not valid fails here, before anything changes
    release_files.files(host.settings, host.facts)


def _can_update(host: Host) -> None:
    if not host.facts.current and host.settings.receives_releases:
        raise DeployError(
            f"{host.name}: nothing is deployed here yet; run: fab -H {host.name} deploy"
        )
    preflight.refuse_another_database(host.settings, host.facts)
    host.require_disk_space()


def _compared(host: Host) -> Outcome:
    """Compare a host to which no release comes with hosts.toml."""
    report = host.apply((), compare=provision(host.settings, host.facts))
    return Outcome(host.name, Result.CURRENT, "", differs=drift.found(host, report))


def _preview(host: Host) -> None:
    """Show what the whole deploy would change (--dry)."""
    host.changes(provision(host.settings, host.facts))
    preview(host)
    if certificate.missing(host):
        host.output.line(
            f"would ask for a certificate for {', '.join(certbot.wanted(host.settings))}"
        )
    if stack.changes_runtime(host.settings, host.facts):
        host.summary(host.apply(stack.after_release(host.settings, host.facts)))


def _finish(host: Host, before: "Facts", outcome: Outcome) -> Outcome:
    """Take away what the application moved away from, and obtain its certificate, once the release
    serves.
    """
    changed, serves = outcome.changed, outcome.serves
    if serves and stack.changes_runtime(host.settings, before):
        changed += host.changes(stack.after_release(host.settings, before))
    if serves and certificate.missing(host):
        outcome = replace(outcome, tls=certificate.obtain(host))
        changed += not outcome.tls
    for warning in certificate.warnings(host):
        host.output.line(warning)
    host.output.line(f"{changed} changed in all ({outcome.seconds:.1f} s)")
    return replace(outcome, changed=changed)


@contextlib.contextmanager
def _report_outcomes(
    fleet: Fleet, hosts: Mapping[str, Host], json: bool
) -> Iterator[dict[str, Outcome]]:
    """Tell the outcomes that the block leaves, as JSON where that is asked for.

    A failed one ends in one line and exit code 1.
    """
    outcomes: dict[str, Outcome] = {}
    try:
        yield outcomes
    except (Exception, KeyboardInterrupt) as error:
        for name, host in hosts.items():
            ended, outcome = (
                fleet.results[name],
                outcomes.get(name, Outcome(name, Result.FAILED, "", changed=host.output.changed)),
            )
            if fleet.single_host or ended.error or not outcome.serves:
                outcome = replace(
                    outcome, result=Result.FAILED, cause=str(ended.error or error) or "interrupted"
                )
            failed = outcome.failed
            ended.result = Result.NOT_SWITCHED if failed else outcome.result
            if json:
                host.output.document(asdict(outcome))
        raise
    for name, host in hosts.items():
        host.forget_facts()
        outcome = outcomes.get(name) or Outcome(
            name, Result.DRY if fleet.dry else Result.CURRENT, "", changed=host.output.changed
        )
        if name in fleet.failed:
            outcome = replace(outcome, result=Result.FAILED, cause=str(fleet.results[name].error))
        if json:
            host.output.document(asdict(outcome))
        tls = f"the release is served, but {outcome.tls}" if outcome.tls else ""
        fleet.results[name].result = (
            f"{outcome.result}: {outcome.cause}" if outcome.cause else outcome.result
        )
        host.output.changed = outcome.changed
        if name not in fleet.failed and (outcome.failed or tls):
            fleet.fail(name, outcome.cause if outcome.failed else tls)


def _shown(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)

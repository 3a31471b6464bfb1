"""Back to an older good release, on one host or several, and what that means for the database."""

from collections.abc import Mapping
from dataclasses import replace

from decant.errors import DeployError
from decant.operations.release import joint_window
from decant.operations.release.batches import Rollout, switches_as_one
from decant.operations.release.outcome import Outcome, Prepared, Result, judge, timed
from decant.operations.release.prepare import new_id
from decant.operations.release.shared import database_server, with_release
from decant.operations.release.window import dump_wanted, switch
from decant.plans import app, release
from decant.plans.requests import Change, WindowRequest
from decant.remote.fleet import Fleet
from decant.remote.host import Host


def gone_back(host: Host, to: str) -> bool:
    """Tell whether a rollback that nobody waited for has brought the host where it is to go."""
    reached = host.finished.get("rollback", "")
    if not reached or reached != host.facts.current or to not in ("", reached):
        return False
    host.output.line(
        f"{reached} serves since the rollback that nobody waited for; to go back further:"
        f" fab -H {host.name} rollback --to RELEASE"
    )
    return True


def rollback_target(host: Host, to: str) -> str:
    """Return the release to go back to: `to`, or the newest good one before the current.

    Raises DeployError where there is none, or it never was good.
    """
    current = host.facts.current
    good = [found.name for found in host.facts.releases if found.good and found.name != current]
    target = to or max((name for name in good if name < current), default="")
    if target not in good:
        others = (
            ", ".join(
                f"{found.name} ({found.state})"
                for found in host.facts.releases
                if found.name != current
            )
            or "none"
        )
        raise DeployError(
            f"{host.name}: there is no good release {target or 'before the current one'}; besides"
            f" the current one there are: {others}"
        )
    return target


def way_back(host: Host, target: str, downgrade: bool, restore: bool) -> Change:
    """Return what the window of a rollback does to the database.

    Raises DeployError where it does not fit the release and nobody said what to do.
    """
    if not host.settings.is_app:
        return Change()
    report = host.apply(
        (*app.server_scripts(host.settings), *release.heads(host.settings, host.facts, target))
    )
    return _database_change(host, target, report.values, downgrade, restore)


def roll_back(host: Host, target: str, change: Change) -> Outcome:
    """Go back to an older good release; `change` is the way back of its database."""
    current, found = host.facts.current, host.facts.release(target)
    request = WindowRequest(new_id(host), current, target, change, rolled_back=True)
    verdict, counts = switch(host, "rollback", request)
    outcome = Outcome(host.name, Result.READY, target, found.commit if found else "")
    return judge(host, verdict, outcome, counts, current)


def undo_switch(host: Host, prepared: Prepared, outcome: Outcome, why: str) -> Outcome:
    """Put a host that had switched back to what it served, because of what happened to others
    (`why`); it stays where a migration ran, or where nothing served.
    """
    if prepared.pending or not prepared.old:
        stays = f"{why}, and {prepared.release} stays: " + (
            "its migration ran; go back with: rollback --downgrade, or rollback --restore"
            if prepared.pending
            else "nothing served before"
        )
        host.output.line(stays)
        return replace(outcome, cause=stays)
    host.output.line(f"{why}: going back to {prepared.old}")
    request = WindowRequest(new_id(host), prepared.release, prepared.old, rolled_back=True)
    verdict, counts = switch(host, "rollback", request)
    back = Outcome(host.name, Result.READY, prepared.old)
    ended = judge(host, verdict, back, counts, prepared.release)
    if ended.result is Result.GOOD:
        ended = replace(ended, result=Result.PUT_BACK, cause=f"to {prepared.old}, as {why}")
    return ended


def rollback_targets(fleet: Fleet, hosts: Mapping[str, Host], to: str) -> dict[str, str]:
    """Return the release to which each host goes back.

    A host that an interrupted run of this command has rolled back already is left out.

    Raises DeployError where one has none, or where several would go back to different commits.
    """
    left = {
        name: host for name, host in with_release(fleet, hosts).items() if not gone_back(host, to)
    }
    found = fleet.map(lambda host: rollback_target(host, to), left)
    fleet.raise_if_failed("no host has switched")
    commits = {
        name: known.commit
        for name, target in found.items()
        if (known := hosts[name].facts.release(target))
    }
    if len(set(commits.values())) > 1:
        each = ", ".join(f"{name}: {found[name]}" for name in found)
        raise DeployError(
            f"the hosts would go back to different commits ({each}); take those that belong"
            " together with -H; no host has switched"
        )
    return found


def roll_back_all(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    outcomes: dict[str, Outcome],
    targets: Mapping[str, str],
    downgrade: bool,
    restore: bool,
) -> None:
    """Take every host back to an older release, all at the same time.

    `outcomes` says how each ended.

    Raises DeployError where the database of one does not fit: no host has switched then.
    """
    everyone, hosts = hosts, {name: hosts[name] for name in targets}
    before = {name: fleet.results[name].seconds for name in hosts}
    changes = fleet.map(lambda host: way_back(host, targets[host.name], downgrade, restore), hosts)
    fleet.raise_if_failed("no host has switched")
    shared = [
        name
        for name, change in changes.items()
        if change != Change() and hosts[name].settings.shares_database
    ]
    if shared and not (fleet.single_host and hosts[shared[0]].settings.db.kind == "external"):
        _roll_back_as_one(fleet, everyone, outcomes, targets, changes, shared)
    else:
        outcomes.update(
            fleet.map(lambda host: roll_back(host, targets[host.name], changes[host.name]), hosts)
        )
    outcomes.update(timed(fleet, before, outcomes))


def _roll_back_as_one(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    outcomes: dict[str, Outcome],
    targets: Mapping[str, str],
    changes: Mapping[str, Change],
    shared: list[str],
) -> None:
    """Take the hosts that share a database back together, with one migration down.

    Then those that have only files of it.
    """
    ready = {
        name: Prepared(target, hosts[name].facts.current, "", "", False, name in shared)
        for name, target in targets.items()
    }
    switches_as_one(fleet, hosts, ready, shared, Rollout())
    if any(change.restore for change in changes.values()):
        raise DeployError(
            "rollback --restore of a database that several hosts use is not built: use --downgrade,"
            " which keeps the rows; no host has switched"
        )
    group = {name: hosts[name] for name in targets if hosts[name].settings.is_app}
    for name in group:
        outcomes[name] = Outcome(name, Result.READY, targets[name])
    change = changes[shared[0]]
    own = Change(migrate=change.migrate, migrate_in=change.migrate_in)
    server = database_server(hosts, shared)
    joint_window.switch(
        fleet,
        server,
        group,
        ready,
        outcomes,
        "rollback",
        own,
        rolled_back=True,
    )
    bad = [name for name in group if name in fleet.failed or outcomes[name].failed]
    rest = {name: hosts[name] for name in targets if name not in group}
    if bad:
        outcomes.update(
            {
                name: replace(
                    Outcome(name, Result.NOT_SWITCHED, host.facts.current),
                    cause=f"{', '.join(bad)} failed",
                )
                for name, host in rest.items()
            }
        )
    else:
        outcomes.update(fleet.map(lambda host: roll_back(host, targets[host.name], Change()), rest))


def _database_change(
    host: Host, target: str, values: dict[str, str], downgrade: bool, restore: bool
) -> Change:
    """Return what the window does to the database on the way back."""
    head, database, dump = (
        values.get("target_head", ""),
        values.get("database_head", ""),
        values.get("dump", ""),
    )
    if restore and downgrade:
        raise DeployError(
            "--downgrade keeps the rows and --restore loses the newer ones: choose one"
        )
    if restore:
        if head and head == database:
            raise DeployError(
                f"{host.name}: the database fits {target} as it is, and --restore would lose rows"
                " for nothing; run rollback without it"
            )
        if not dump:
            raise DeployError(
                f"{host.name}: there is no dump from the time of {target} in {host.paths.backups};"
                " use --downgrade"
            )
        host.output.line(
            f"restoring {dump.rpartition('/')[2]}: what was written since then is lost, and is in"
            " the dump that is made now"
        )
        return Change(restore=dump, dump_wanted=True)
    if host.settings.migrate not in ("", "auto"):
        raise DeployError(
            f"{host.name}: app.migrate is a command of your own, so only you know whether the"
            f' database fits {target}: if it does, set app.migrate = "" for this rollback;'
            " --restore puts back the dump from before and loses what was written since"
        )
    if head == database:
        return Change()
    if downgrade and not head:
        raise DeployError(
            f"{host.name}: {target} does not say at which migration its database was; use --restore"
        )
    if downgrade:
        command = release.downgrade_command(host.settings, head)
        return Change(
            migrate=command,
            migrate_in=host.facts.current,
            dump_wanted=dump_wanted(host, True),
        )
    raise DeployError(
        f"{host.name}: {target} knows the database at {head or 'its beginning'}, but it is at"
        f" {database}; rollback --downgrade migrates it down and keeps the rows, rollback --restore"
        " puts back the dump from before and loses what was written since"
    )

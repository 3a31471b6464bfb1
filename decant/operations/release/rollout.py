"""The release flow over the chosen hosts.

All are locked and made ready before the first one switches, and they switch in batches.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from decant.errors import DeployError
from decant.operations.release import joint_window
from decant.operations.release.outcome import (
    Outcome,
    Prepared,
    Result,
    lost,
    prepared_outcome,
    untouched,
)
from decant.operations.release.prepare import new_id, prepare, release_lock
from decant.operations.release.rollback import (
    gone_back,
    roll_back,
    rollback_target,
    undo_switch,
    way_back,
)
from decant.operations.release.shared import NOTHING, database_server, with_release
from decant.operations.release.status import health
from decant.operations.release.window import probed, switched
from decant.plans import release
from decant.plans.requests import Change
from decant.remote.fleet import Fleet
from decant.remote.host import Host
from decant.steps import Plan

NOT_SWITCHED = (
    "no host has switched, each serves what it served; fix it, or go on without those hosts:"
    " --keep-going"
)
FEW = 4  # up to so many hosts switch one after the other
SHARE = 0.25  # of more, this share at a time


@dataclass(frozen=True)
class Rollout:
    """How hosts switch.

    `batch`: so many at a time, "2" or "25%"; empty: 1 of few, 25 % of many. `keep_going`: the
    others go on without those that fail. `rolling`: the
    old release may meet the new one's tables.
    """

    batch: str = ""
    keep_going: bool = False
    rolling: bool = False

    def __post_init__(self) -> None:
        if self.batch and not re.fullmatch(r"[1-9]\d*|([1-9]\d?|100)%", self.batch):
            raise DeployError(
                f"--batch {self.batch}: give a number of hosts, or a share of them such as 25%"
            )

    def size(self, hosts: int) -> int:
        """Return how many of so many hosts switch at a time."""
        if self.batch.endswith("%"):
            return max(1, math.floor(hosts * int(self.batch[:-1]) / 100))
        if self.batch:
            return int(self.batch)
        return 1 if hosts <= FEW else math.floor(hosts * SHARE)


@contextlib.contextmanager
def locked(
    fleet: Fleet, hosts: Mapping[str, Host], what: str, keep_going: bool = False
) -> Iterator[None]:
    """Hold the lock of every host, or of none; with `keep_going`, of those that have none yet.

    Raises DeployError where one is not to be had; nothing was changed then.
    """
    held: dict[str, AbstractContextManager[None]] = {}

    def enter(host: Host) -> None:
        lock = release_lock(host, what)
        lock.__enter__()
        held[host.name] = lock

    try:
        fleet.map(enter, hosts)
        fleet.raise_if_failed(NOTHING, keep_going)
        yield
    except BaseException as error:
        for lock in held.values():
            lock.__exit__(type(error), error, error.__traceback__)
        raise
    fleet.map(lambda lock: lock.__exit__(None, None, None), held)


def run(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    outcomes: dict[str, Outcome],
    what: str,
    rollout: Rollout,
    before: Callable[[Host], Plan] = lambda _: (),
    compare: Callable[[Host], Plan] = lambda _: (),
) -> None:
    """Make the release ready on every host, then switch them in batches.

    `outcomes` says how far each came. `before` and `compare` are plans: see prepare.

    A host whose health check fails ends it, unless --keep-going: those that had switched go back
    to what they served, where no migration ran.
    Raises DeployError when one could not be made ready: no host has switched then.
    """
    everyone, hosts = hosts, with_release(fleet, hosts)
    began = {name: fleet.results[name].seconds for name in hosts}
    for name, host in hosts.items():
        _refuse_other_protocol(name, host)
    id = new_id(*hosts.values())
    prepared = fleet.map(lambda host: prepare(host, id, before(host), compare(host)), hosts)
    fleet.raise_if_failed(NOT_SWITCHED, rollout.keep_going)
    ready = {name: found for name, (found, _) in prepared.items()}
    fleet.map(_refuse_down, {name: hosts[name] for name, found in ready.items() if found.current})
    fleet.raise_if_failed(NOT_SWITCHED, rollout.keep_going)
    _refuse_different(hosts, {name: found.commit for name, found in ready.items()})
    outcomes.update(
        {name: prepared_outcome(hosts[name], *found) for name, found in prepared.items()}
    )
    _switch(fleet, everyone, ready, outcomes, what, rollout)
    outcomes.update(_timed(fleet, began, outcomes))
    for name, outcome in outcomes.items():
        if outcome.differs:
            everyone[name].output.line(
                f"hosts.toml has changes that only deploy applies: {', '.join(outcome.differs)}"
            )


def _refuse_down(host: Host) -> None:
    """Refuse to call a release current that does not serve."""
    if not host.settings.is_app or host.facts.service in ("active", "running"):
        return
    answer = health(host)
    if answer != "healthy":
        server = host.settings.wsgi.server
        logs = "apache.logs" if server == "mod_wsgi" else f"{server}.logs"
        raise DeployError(
            f"{host.name}: {host.facts.current} is current, and does not serve: {answer};"
            f" see: fab -H {host.name} {logs}"
        )


def _switch(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    what: str,
    rollout: Rollout,
) -> None:
    """Switch the hosts that are ready, batch after batch, with a prober on each web host that
    serves other hosts' application.
    """
    shared = [
        name
        for name, found in ready.items()
        if found.pending and hosts[name].settings.shares_database
    ]
    as_one = switches_as_one(fleet, hosts, ready, shared, rollout)
    batches = in_batches(hosts, ready, rollout, as_one, bool(shared))
    server = database_server(hosts, shared)
    if shared and server and not as_one and any(ready[name].old for name in shared):
        problem = joint_window.dump(server, new_id(server), ready[shared[0]].old)
        if problem:
            raise DeployError(f"{problem}; no host has switched")
    left = [name for batch in batches for name in batch]
    with _watched(
        hosts,
        ready,
        outcomes,
        as_one,
        wanted=as_one or any(hosts[name].settings.web_peers for name in left),
    ):
        for batch in batches:
            left = [name for name in left if name not in batch]
            if as_one and hosts[batch[0]].settings.is_app:
                group = {name: hosts[name] for name in batch}
                joint_window.switch(
                    fleet,
                    server,
                    group,
                    ready,
                    outcomes,
                    what,
                    Change(migrate=release.migrate_command(hosts[shared[0]].settings)),
                )
            else:
                _switch_batch(fleet, hosts, ready, outcomes, what, batch)
            bad = [name for name in batch if name in fleet.failed or outcomes[name].failed]
            if bad and not rollout.keep_going:
                why = f"{', '.join(bad)} failed"
                outcomes.update({name: untouched(hosts[name], ready[name], why) for name in left})
                _undo_switches(fleet, hosts, ready, outcomes, why)
                return


def _switch_batch(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    what: str,
    batch: list[str],
) -> None:
    """Switch some hosts at the same time, each in a window of its own."""
    serving = [
        hosts[name]
        for name in ready
        if name not in batch
        and name not in fleet.failed
        and (outcomes[name].serves or ready[name].old)
    ]
    items = {name: (hosts[name], ready[name], outcomes[name]) for name in batch}
    outcomes.update(fleet.map(partial(_switched, what, serving), items))


def _undo_switches(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    why: str,
) -> None:
    """Put the hosts that have switched back, because of what happened to others (`why`)."""
    done = {
        name: (hosts[name], ready[name], outcomes[name])
        for name in ready
        if outcomes[name].result is Result.GOOD
    }
    # These stay, and the static files of their release with them
    if any(found.pending for _, found, _ in done.values()):
        done = {name: item for name, item in done.items() if item[0].settings.is_app}
    outcomes.update(fleet.map(partial(_back, why), done))


def in_batches(
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    rollout: Rollout,
    as_one: bool,
    shared: bool,
) -> list[list[str]]:
    """Return the hosts that have to switch, in the order in which they do.

    Web hosts without the application come first, as new pages want new static files; before the
    application's first release they come last, as their health is checked.
    """
    waiting = [name for name, found in ready.items() if not found.current]
    apps = [name for name in waiting if hosts[name].settings.is_app]
    webs = [name for name in waiting if name not in apps]
    # Where nothing serves yet there is nobody to keep serving; and a shared database is migrated by
    # one host at a time, if not for all together.
    fresh = not any(ready[name].old for name in apps)
    size = rollout.size(len(apps)) if not fresh else len(apps)
    if as_one:
        size = len(apps)
    elif shared:
        size = 1
    cut = (
        [apps[:1], apps[1:]]
        if shared and fresh
        else [apps[begin : begin + size] for begin in range(0, len(apps), max(size, 1))]
    )
    first = [name for name in webs if ready[name].old]
    return [batch for batch in (first, *cut, [name for name in webs if name not in first]) if batch]


def _switched(what: str, serving: list[Host], item: tuple[Host, Prepared, Outcome]) -> Outcome:
    """Switch a host.

    Visitors are sent to other hosts meanwhile, where there are such that serve.
    """
    host = item[0]
    others = [other for other in serving if other.settings.web_peers]
    return switched(
        host, what, *item[1:], drain=bool(host.settings.web_peers and others and item[1].old)
    )


@contextlib.contextmanager
def _watched(
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    outcomes: dict[str, Outcome],
    as_one: bool,
    wanted: bool,
) -> Iterator[None]:
    """Count on the web hosts what visitors lose while the hosts behind them switch, or they
    themselves with others.
    """
    watching = {
        name: host
        for name, host in hosts.items()
        if wanted
        and host.settings.is_web
        and (as_one or not host.settings.is_app)
        and name in ready
        and ready[name].old
    }
    with contextlib.ExitStack() as stack:
        counts = {name: stack.enter_context(probed(host)) for name, host in watching.items()}
        yield
    for name, found in counts.items():
        if found:
            hosts[name].output.line(f"while the others switched: {lost(found)}")
            outcomes[name] = replace(outcomes[name], prober=found)


def targets(fleet: Fleet, hosts: Mapping[str, Host], to: str) -> dict[str, str]:
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


def back(
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
        _back_as_one(fleet, everyone, outcomes, targets, changes, shared)
    else:
        outcomes.update(
            fleet.map(lambda host: roll_back(host, targets[host.name], changes[host.name]), hosts)
        )
    outcomes.update(_timed(fleet, before, outcomes))


def _back_as_one(
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


def _back(why: str, item: tuple[Host, Prepared, Outcome]) -> Outcome:
    return undo_switch(*item, why)


def _timed(
    fleet: Fleet, before: Mapping[str, float], outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    return {
        name: replace(
            outcome, seconds=round(fleet.results[name].seconds - before.get(name, 0.0), 2)
        )
        for name, outcome in outcomes.items()
    }


def _refuse_other_protocol(name: str, host: Host) -> None:
    """Raise DeployError where an app host would speak another protocol than the web hosts' release.

    They switch one after the other.
    """
    serves, wanted = host.facts.server, host.settings.wsgi.server
    if host.settings.web_peers and serves in ("gunicorn", "uwsgi") and serves != wanted:
        raise DeployError(
            f"wsgi.server: {name} and its web hosts would speak different protocols while they go"
            f" from {serves} to {wanted} one after the other; set it back to {serves}, or begin"
            " anew: fab destroy, then fab deploy"
        )


def _refuse_different(hosts: Mapping[str, Host], commits: Mapping[str, str]) -> None:
    """Raise DeployError where hosts that are to get the same ref have fetched different commits."""
    wanted: dict[tuple[str, str], str] = {}
    for name, commit in commits.items():
        app = hosts[name].settings.app
        if wanted.setdefault((app.source, app.ref), commit) != commit:
            both = f"{wanted[app.source, app.ref]} and {commit}"
            raise DeployError(
                f"the hosts fetched different commits ({both}), as somebody pushed in between; no"
                " host has switched: run it again"
            )


def switches_as_one(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    ready: Mapping[str, Prepared],
    shared: list[str],
    rollout: Rollout,
) -> bool:
    """Tell whether the hosts `shared`, for whose database a migration is pending, have to change
    versions together.

    Raises DeployError where one that uses the database is not among them: it would serve the old
    release on the new tables.
    """
    if not shared or rollout.rolling or not any(ready[name].old for name in shared):
        return False
    settings = hosts[shared[0]].settings
    missing = [
        peer.name for peer in settings.peers if "app" in peer.roles and peer.name not in ready
    ]
    missing += [
        name
        for name in fleet.failed
        if name not in missing and name in hosts and hosts[name].settings.shares_database
    ]
    if missing:
        raise DeployError(
            f"a migration is pending in a database that {', '.join(missing)} would serve the old"
            " release on: take all hosts that use it together with -H. One that is gone for good:"
            " take it out of hosts.toml. If the migration only adds what the old release does not"
            " mind, give --rolling; no host has switched"
        )
    server = settings.database_peer
    if server and server.name not in hosts:
        raise DeployError(
            f"a migration is pending, and the dump before it is made on {server.name}: take it"
            " along with -H; no host has switched"
        )
    return len(shared) > 1 or server is not None

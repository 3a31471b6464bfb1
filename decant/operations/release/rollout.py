"""The release flow over the chosen hosts.

All are locked and made ready before the first one switches, and they switch in batches.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from decant.errors import DeployError
from decant.operations import drift
from decant.operations.release import joint_window
from decant.operations.release.batches import Rollout, in_batches, switches_as_one
from decant.operations.release.outcome import (
    Outcome,
    Prepared,
    Result,
    lost,
    prepared_outcome,
    timed,
    untouched,
)
from decant.operations.release.prepare import new_id, prepare, release_lock
from decant.operations.release.rollback import undo_switch
from decant.operations.release.shared import NOTHING, database_server, with_release
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
    down = {name: hosts[name] for name, found in ready.items() if found.unwell}
    fleet.map(lambda host: _refuse_down(host, ready[host.name]), down)
    fleet.raise_if_failed(NOT_SWITCHED, rollout.keep_going)
    _refuse_different(hosts, {name: found.commit for name, found in ready.items()})
    outcomes.update(
        {name: prepared_outcome(hosts[name], *found) for name, found in prepared.items()}
    )
    _switch(fleet, everyone, ready, outcomes, what, rollout)
    outcomes.update(timed(fleet, began, outcomes))
    for name, outcome in outcomes.items():
        for line in drift.lines(outcome.differs):
            everyone[name].output.line(line)


def _refuse_down(host: Host, found: Prepared) -> None:
    """Refuse to call a release current that does not serve."""
    raise DeployError(
        f"{host.name}: {found.release} is current, and does not serve: {found.unwell};"
        f" see: fab -H {host.name} app.logs"
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


def _back(why: str, item: tuple[Host, Prepared, Outcome]) -> Outcome:
    return undo_switch(*item, why)


def _refuse_other_protocol(name: str, host: Host) -> None:
    """Raise DeployError where an app host would speak another protocol than the web hosts' release.

    They switch one after the other.
    """
    serves, wanted = host.facts.server, host.settings.wsgi.server
    changes = serves in ("gunicorn", "command", "uwsgi") and serves != wanted
    if host.settings.web_peers and changes and "uwsgi" in (serves, wanted):
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

"""The release flow over the chosen hosts: all are locked and made ready before the first one switches, and they switch in batches."""

import contextlib
import json
import math
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from tasks.core import flow
from tasks.core.errors import DeployError
from tasks.core.fleet import Fleet
from tasks.core.flow import Outcome, Prepared
from tasks.core.host import Host
from tasks.core.shell import Secret
from tasks.core.steps import Plan
from tasks.core.variables import generated, variables

NOTHING = "nothing was changed anywhere; mend it, or leave those hosts out of -H, or go on without them: --keep-going"
NOT_SWITCHED = "no host has switched, each serves what it served; mend it, or go on without those hosts: --keep-going"
FEW = 4  # up to so many hosts switch one after the other
SHARE = 0.25  # of more, this share at a time


@dataclass(frozen=True)
class Rollout:
    """How hosts switch.

    `batch`: so many at a time, "2" or "25%"; empty: 1 of few, 25 % of many. `keep_going`: the others go on without those that fail. `rolling`: the
    old release may meet the new one's tables.
    """

    batch: str = ""
    keep_going: bool = False
    rolling: bool = False

    def __post_init__(self) -> None:
        if self.batch and not re.fullmatch(r"[1-9]\d*|([1-9]\d?|100)%", self.batch):
            raise DeployError(f"--batch {self.batch}: give a number of hosts, or a share of them such as 25%")

    def size(self, hosts: int) -> int:
        """Return how many of so many hosts switch at a time."""
        if self.batch.endswith("%"):
            return max(1, math.floor(hosts * int(self.batch[:-1]) / 100))
        if self.batch:
            return int(self.batch)
        return 1 if hosts <= FEW else math.floor(hosts * SHARE)


@contextlib.contextmanager
def locked(fleet: Fleet, hosts: Mapping[str, Host], what: str, keep_going: bool = False) -> Iterator[None]:
    """Hold the lock of every host, or of none; with `keep_going`, of those that have none yet.

    Raises DeployError where one is not to be had; nothing was changed then.
    """
    held: dict[str, AbstractContextManager[None]] = {}

    def enter(host: Host) -> None:
        lock = flow.locked(host, what)
        lock.__enter__()
        held[host.name] = lock

    try:
        fleet.each(enter, hosts)
        fleet.need_all(NOTHING, keep_going)
        yield
    except BaseException as error:
        for lock in held.values():
            lock.__exit__(type(error), error, error.__traceback__)
        raise
    fleet.each(lambda lock: lock.__exit__(None, None, None), held)


def secret_key(fleet: Fleet, hosts: Mapping[str, Host], keep_going: bool) -> Secret | None:
    """Return the SECRET_KEY that all hosts of the application share: that of the first host which has one, else a new one. None for a host alone.

    It passes through this process's memory only.
    """
    lacking = {name: host for name, host in hosts.items() if "SECRET_KEY" not in variables(host.settings)}
    if fleet.alone or fleet.dry or not lacking:
        return None
    texts = fleet.each(lambda host: host.read("sh", "-c", 'cat "$1" 2>/dev/null || true', "secrets", host.paths.secrets), lacking)
    fleet.need_all(NOTHING, keep_going)
    texts = {name: text for name, text in texts.items() if name not in fleet.failed}
    found = {name: value for name, text in texts.items() if (value := generated(text, "SECRET_KEY"))}
    shared = next(iter(found.values()), secrets.token_hex(32))
    for name, value in found.items():
        if value != shared:
            hosts[name].output.line(
                f"has another SECRET_KEY than {next(iter(found))}: a visitor's session is valid on one of them only; see {hosts[name].paths.secrets}"
            )
    return Secret(json.dumps(shared, ensure_ascii=False)[1:-1])  # as it stands between the quotes


def run(
    fleet: Fleet,
    hosts: Mapping[str, Host],
    outcomes: dict[str, Outcome],
    what: str,
    rollout: Rollout,
    before: Callable[[Host], Plan] = lambda _: (),
    compare: Callable[[Host], Plan] = lambda _: (),
) -> None:
    """Make the release ready on every host, then switch them in batches; `outcomes` says how far each came. `before` and `compare` are plans: see flow.prepare.

    A host that is not well ends it, unless --keep-going: those that had switched go back to what they served, where no migration ran.
    Raises DeployError when one could not be made ready: no host has switched then.
    """
    began = {name: fleet.ended[name].seconds for name in hosts}
    id = flow.new_id()
    prepared = fleet.each(lambda host: flow.prepare(host, id, before(host), compare(host)), hosts)
    fleet.need_all(NOT_SWITCHED, rollout.keep_going)
    ready = {name: found for name, (found, _) in prepared.items()}
    _refuse_different(hosts, {name: found.commit for name, found in ready.items()})
    outcomes.update({name: flow.ready(hosts[name], *found) for name, found in prepared.items()})
    waiting = [name for name, found in ready.items() if not found.current]
    shared = _shared(fleet, hosts, ready, rollout)
    # Where nothing serves yet there is nobody to keep serving; and a shared database is migrated by one host at a time.
    size = 1 if shared else rollout.size(len(waiting)) if any(ready[name].old for name in waiting) else len(waiting)
    for begin in range(0, len(waiting), max(size, 1)):
        batch = {name: (hosts[name], ready[name], outcomes[name]) for name in waiting[begin : begin + size]}
        outcomes.update(fleet.each(lambda item: flow.switched(item[0], what, *item[1:]), batch))
        bad = [name for name in batch if name in fleet.failed or outcomes[name].result == "failed"]
        if bad and not rollout.keep_going:
            why = f"{', '.join(bad)} failed"
            outcomes.update({name: flow.untouched(hosts[name], ready[name], why) for name in waiting[begin + size :]})
            done = {name: (hosts[name], ready[name], outcomes[name]) for name in waiting if outcomes[name].result == "good"}
            outcomes.update(fleet.each(partial(_back, why), done))
            break
    outcomes.update(_timed(fleet, began, outcomes))
    for name, outcome in outcomes.items():
        if outcome.differs:
            hosts[name].output.line(f"hosts.toml has changes that only deploy applies: {', '.join(outcome.differs)}")


def targets(fleet: Fleet, hosts: Mapping[str, Host], to: str) -> dict[str, str]:
    """Return the release to which each host goes back.

    Raises DeployError where one has none, or where several would go back to different commits.
    """
    found = fleet.each(lambda host: flow.rollback_target(host, to), hosts)
    fleet.need_all("no host has switched")
    commits = {name: release.commit for name, target in found.items() if (release := hosts[name].facts.release(target))}
    if len(set(commits.values())) > 1:
        each = ", ".join(f"{name}: {found[name]}" for name in found)
        raise DeployError(f"the hosts would go back to different commits ({each}); take those that belong together with -H; no host has switched")
    return found


def back(fleet: Fleet, hosts: Mapping[str, Host], outcomes: dict[str, Outcome], targets: Mapping[str, str], downgrade: bool, restore: bool) -> None:
    """Take every host back to an older release, all at the same time; `outcomes` says how each ended.

    Raises DeployError where the database of one does not fit: no host has switched then.
    """
    before = {name: fleet.ended[name].seconds for name in hosts}
    changes = fleet.each(lambda host: flow.way_back(host, targets[host.name], downgrade, restore), hosts)
    fleet.need_all("no host has switched")
    for name, change in changes.items():
        refuse_shared(hosts[name], "migrate" in change)
    outcomes.update(_timed(fleet, before, fleet.each(lambda host: flow.rollback(host, targets[host.name], changes[host.name]), hosts)))


def refuse_shared(host: Host, migrates: bool = True) -> None:
    """Raise DeployError where several hosts would migrate, at the same time, an external database that they may share."""
    if migrates and not host.output.alone and host.settings.db.kind == "external":
        raise DeployError("the hosts may share their external database, and would migrate it at the same time: name one host with -H; nothing was changed")


def _back(why: str, item: tuple[Host, Prepared, Outcome]) -> Outcome:
    return flow.back(*item, why)


def _timed(fleet: Fleet, before: Mapping[str, float], outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    return {name: replace(outcome, seconds=round(fleet.ended[name].seconds - before[name], 2)) for name, outcome in outcomes.items()}


def _refuse_different(hosts: Mapping[str, Host], commits: Mapping[str, str]) -> None:
    """Raise DeployError where hosts that are to get the same ref have fetched different commits."""
    wanted: dict[tuple[str, str], str] = {}
    for name, commit in commits.items():
        app = hosts[name].settings.app
        if wanted.setdefault((app.source, app.ref), commit) != commit:
            both = f"{wanted[app.source, app.ref]} and {commit}"
            raise DeployError(f"the hosts fetched different commits ({both}), as somebody pushed in between; no host has switched: run it again")


def _shared(fleet: Fleet, hosts: Mapping[str, Host], ready: Mapping[str, Prepared], rollout: Rollout) -> bool:
    """Tell whether several hosts may share a database that has to be migrated.

    Raises DeployError without --rolling, as the old release would meet the new tables on the others.
    """
    shared = [name for name, found in ready.items() if found.pending and hosts[name].settings.db.kind == "external"]
    if fleet.alone or not shared:
        return False
    if not rollout.rolling:
        raise DeployError(
            f"a migration is pending in the external database, which {', '.join(shared)} may share: while one host migrates it, the others serve the old release on the new tables. "
            "If that is safe, as the migration only adds what the old release does not mind, give --rolling; no host has switched"
        )
    return True

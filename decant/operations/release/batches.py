"""Which hosts switch together, and in which order."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from decant.errors import DeployError
from decant.operations.release.outcome import Prepared
from decant.remote.fleet import Fleet
from decant.remote.host import Host

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

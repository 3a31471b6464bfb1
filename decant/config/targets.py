"""What -H means.

Hosts and groups of hosts.toml, applications on them (`shop@server`), ssh aliases and addresses.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from decant.errors import DeployError

if TYPE_CHECKING:
    from decant.config.inventory import Inventory

VARIABLE = "DECANT_APP"


class Target(NamedTuple):
    """An application on a host; `app` is empty where hosts.toml has no [apps]."""

    app: str
    host: str

    def __str__(self) -> str:
        return f"{self.app}@{self.host}" if self.app else self.host


def chosen(
    inventory: "Inventory", given: str | None, apps: str, aliases: Iterable[str] = ()
) -> list[Target]:
    """Return the targets of a command.

    `given` is what stands after -H, else default_hosts, else the only host; `apps` is DECANT_APP.

    Raises DeployError with the known names when there is none, or a name is nowhere.
    """
    asked = [name.strip() for name in (given or "").split(",") if name.strip()]
    if given is not None and not asked:
        raise DeployError(f"-H {given!r} names no host ({_known(inventory)})")
    names = (
        asked
        or inventory.default_hosts
        or (list(inventory.hosts) if len(inventory.hosts) == 1 else [])
    )
    if not names:
        raise DeployError(
            f"no host: name one with -H ({_known(inventory)}), or set default_hosts in"
            f" {inventory.path}"
        )
    return list(
        dict.fromkeys(
            target for name in names for target in resolve(inventory, name, apps, aliases)
        )
    )


def resolve(
    inventory: "Inventory", name: str, apps: str = "", aliases: Iterable[str] = ()
) -> list[Target]:
    """Return what one name means.

    Raises DeployError for one that is nowhere, and where it is not said which application is meant.
    """
    app, at, place = name.partition("@")
    if at and app in inventory.apps:
        return [Target(app, host) for host in _hosts(inventory, place, aliases)]
    if at and inventory.apps and (place in inventory.hosts or inventory.members(place)):
        raise DeployError(
            f"-H {name}: {inventory.path} has no [apps.{app}]{_meant(app, inventory.apps)}"
            f" (applications: {', '.join(inventory.apps)})"
        )
    return [
        Target(each, host)
        for host in _hosts(inventory, name, aliases)
        for each in applications(inventory, apps)
    ]


def applications(inventory: "Inventory", given: str) -> list[str]:
    """Return the applications that are meant: `given` is DECANT_APP; an empty name where hosts.toml
    has no [apps].

    Raises DeployError for one that is nowhere, and where it is not said which is meant.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in inventory.apps:
            has = (
                f"has no [apps.{name}]{_meant(name, inventory.apps)} (applications:"
                f" {', '.join(inventory.apps) or 'none'})"
            )
            raise DeployError(f"{VARIABLE}={given}: {inventory.path} {has}")
    if not names and len(inventory.apps) > 1:
        first = next(iter(inventory.apps))
        raise DeployError(
            f"{inventory.path} has the applications {', '.join(inventory.apps)}: say which is"
            f" meant, -H {first}@HOST, or {VARIABLE}={','.join(inventory.apps)}"
        )
    return names or list(inventory.apps) or [""]


def _hosts(inventory: "Inventory", name: str, aliases: Iterable[str]) -> list[str]:
    if name in inventory.hosts:
        return [name]
    if inventory.members(name):
        return inventory.members(name)
    if name in inventory.groups:
        raise DeployError(
            f'{inventory.path}: no host is in the group {name}; add groups = ["{name}"] to one'
        )
    known = next(
        (
            host
            for host, entry in inventory.hosts.items()
            if _place(name) in (host, entry.get("address"))
        ),
        "",
    )
    if known:
        raise DeployError(
            f"{name} is hosts.{known} of {inventory.path}, with settings of its own: use -H {known}"
        )
    if "@" in name or ":" in name or _is_address(name) or name in aliases:
        return [name]
    meant = _meant(name, [*inventory.hosts, *_groups(inventory)])
    raise DeployError(
        f"no host {name!r} in {inventory.path} or ~/.ssh/config{meant} ({_known(inventory)}); for"
        f" one that is in neither, write USER@{name}"
    )


def _place(name: str) -> str:
    """Return the host part of USER@HOST:PORT."""
    return name.rpartition("@")[2].partition(":")[0]


def _groups(inventory: "Inventory") -> list[str]:
    return sorted(
        {group for entry in inventory.hosts.values() for group in entry.get("groups", [])}
    )


def _known(inventory: "Inventory") -> str:
    groups = _groups(inventory)
    return f"hosts: {', '.join(inventory.hosts) or 'none'}" + (
        f"; groups: {', '.join(groups)}" if groups else ""
    )


def _is_address(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""

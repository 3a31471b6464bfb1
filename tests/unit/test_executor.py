"""Names after -H become hosts of hosts.toml, groups, aliases or addresses."""

from types import SimpleNamespace
from typing import Any

import pytest
from fabric import Config
from invoke.collection import Collection

from decant.commands.executor import Executor
from decant.config.inventory import Inventory
from decant.errors import DeployError
from decant.remote.connection import ServerConnection
from tests.unit.values import MINIMAL

HOSTS = {"web1": {"groups": ["web"]}, "web2": {"groups": ["web", "eu"]}, "db1": {}}


def executor(hosts: str | None, document: dict[str, Any]) -> Executor:
    from pathlib import Path

    core = [SimpleNamespace(args=SimpleNamespace(hosts=SimpleNamespace(value=hosts)))]
    made = Executor(Collection(), Config(), core)
    made._inventory = Inventory(Path("/nowhere/hosts.toml"), {**MINIMAL, **document})
    return made


@pytest.mark.parametrize(
    ("asked", "document", "found"),
    [
        ("web1", {"hosts": HOSTS}, ["web1"]),
        ("web", {"hosts": HOSTS}, ["web1", "web2"]),
        ("db1,web,web1", {"hosts": HOSTS}, ["db1", "web1", "web2"]),
        ("root@203.0.113.9:2222", {"hosts": HOSTS}, ["root@203.0.113.9:2222"]),
        ("203.0.113.9", {}, ["203.0.113.9"]),
        (None, {"hosts": HOSTS, "default_hosts": ["eu"]}, ["web2"]),
        (None, {"hosts": {"only": {}}}, ["only"]),
    ],
)
def test_a_name_becomes_hosts(asked: str | None, document: dict[str, Any], found: list[str]) -> None:
    assert executor(asked, document).chosen() == found


def test_connections_share_nothing_by_which_a_command_could_reach_another_host() -> None:
    made, config = executor(None, {"hosts": HOSTS}), Config()
    first, second = (made.connection(name, config) for name in ("web1", "web2"))
    own = [name for name in vars(ServerConnection) if not name.startswith("_") and not callable(getattr(ServerConnection, name))]
    assert {"promised", "opening", "told", "refused", "server_name"} <= set(own)
    for name in own:
        assert name not in config
    for name in ("promised", "opening", "output"):
        assert getattr(first, name) is not getattr(second, name)


@pytest.mark.parametrize(
    ("asked", "document", "said"),
    [
        ("wbe1", {"hosts": HOSTS}, r"no host 'wbe1' in .*hosts: web1, web2, db1; groups: eu, web"),
        (None, {"hosts": HOSTS}, "no host: name one with -H"),
        (None, {}, r"no host: name one with -H \(hosts: none\)"),
        ("staging", {"hosts": HOSTS, "groups": {"staging": {}}}, "no host is in the group staging"),
    ],
)
def test_a_name_that_is_nowhere_is_refused_with_the_known_ones(asked: str | None, document: dict[str, Any], said: str) -> None:
    with pytest.raises(DeployError, match=said):
        executor(asked, document).chosen()

"""Names after -H become hosts of hosts.toml, groups, aliases or addresses."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabric import Config
from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Call

from decant.commands.decorators import LocalTask, ServerTask
from decant.commands.executor import CLONE, Executor
from decant.config.inventory import Inventory
from decant.config.targets import Target
from decant.errors import DeployError, SettingsError
from decant.remote.connection import ServerConnection
from decant.remote.host import Host
from tests.unit.values import MINIMAL

APPS: dict[str, Any] = {"shop": {}, "blog": {}}
HOSTS = {"web1": {"groups": ["web"]}, "web2": {"groups": ["web", "eu"]}, "db1": {}}


def executor(hosts: str | None, document: dict[str, Any]) -> Executor:
    core = [SimpleNamespace(args=SimpleNamespace(hosts=SimpleNamespace(value=hosts)))]
    made = Executor(Collection(), Config(), core)
    made.loaded = Inventory(Path("/nowhere/hosts.toml"), {**MINIMAL, **document})
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
        ("shop@web1", {"hosts": HOSTS, "apps": APPS}, ["shop@web1"]),
        ("blog@web", {"hosts": HOSTS, "apps": APPS}, ["blog@web1", "blog@web2"]),
        ("db1", {"hosts": HOSTS, "apps": {"shop": {}}}, ["shop@db1"]),
    ],
)
def test_a_name_becomes_hosts(
    asked: str | None, document: dict[str, Any], found: list[str]
) -> None:
    assert [str(target) for target in executor(asked, document).chosen()] == found


def test_connections_share_nothing_by_which_a_command_could_reach_another_host() -> None:
    made, config = executor(None, {"hosts": HOSTS}), Config()
    first, second = (made.connection(Target("", name), config) for name in ("web1", "web2"))
    own = [
        name
        for name in vars(ServerConnection)
        if not name.startswith("_") and not callable(getattr(ServerConnection, name))
    ]
    assert {"pool", "open_lock", "prefetched", "refused", "server_name"} <= set(own)
    for name in own:
        assert name not in config
    for name in ("pool", "open_lock", "output"):
        assert getattr(first, name) is not getattr(second, name)


@pytest.mark.parametrize(
    ("asked", "document", "said"),
    [
        (
            "wbe1",
            {"hosts": HOSTS},
            r"no host 'wbe1' in .*did you mean web1\?.*hosts: web1, web2, db1; groups: eu, web",
        ),
        ("shpo@web1", {"hosts": HOSTS, "apps": APPS}, r"has no \[apps.shpo\]; did you mean shop\?"),
        (
            "web1",
            {"hosts": HOSTS, "apps": APPS},
            (
                r"the applications shop, blog: say which is meant, -H shop@HOST, or"
                r" DECANT_APP=shop,blog"
            ),
        ),
        (None, {"hosts": HOSTS}, "no host: name one with -H"),
        (None, {}, r"no host: name one with -H \(hosts: none\)"),
        ("staging", {"hosts": HOSTS, "groups": {"staging": {}}}, "no host is in the group staging"),
    ],
)
def test_a_name_that_is_nowhere_is_refused_with_the_known_ones(
    asked: str | None, document: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeployError, match=said):
        executor(asked, document).chosen()


def test_the_variable_names_the_applications_of_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_APP", "shop,blog")
    made = executor("web1,blog@db1", {"hosts": HOSTS, "apps": APPS})
    assert [str(target) for target in made.chosen()] == ["shop@web1", "blog@web1", "blog@db1"]
    monkeypatch.setenv("DECANT_APP", "shpo")
    with pytest.raises(DeployError, match=r"DECANT_APP=shpo: .* did you mean shop\?"):
        executor("web1", {"hosts": HOSTS, "apps": APPS}).chosen()


def test_each_application_is_a_fleet_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_APP", "shop,blog")
    monkeypatch.setattr(Executor, "connect_early", lambda *_: None)
    made = executor(
        "web1,web2", {"hosts": HOSTS, "apps": {"shop": {"db": {"kind": "none"}}, "blog": {}}}
    )
    shop, blog = made.fleets
    assert list(shop.connections) == list(blog.connections) == ["web1", "web2"]
    assert shop.connections["web1"] is not blog.connections["web1"]
    found = [fleet.connections["web2"].settings for fleet in (shop, blog)]
    assert [(made.app.name, made.db.kind) for made in found if made] == [
        ("shop", "none"),
        ("blog", "sqlite"),
    ]
    assert shop.connections["web1"].output.host == "shop@web1"


def test_a_task_after_one_with_json_prints_to_standard_output_again() -> None:
    made = executor("db1", {"hosts": HOSTS})
    connection = made.server(Target("", "db1"))
    assert Host(connection, json=True).output.stream is sys.stderr
    assert Host(connection).output.stream is sys.stdout


def test_a_mistake_is_shown_before_a_server_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Target] = []
    monkeypatch.setattr(Executor, "connect_early", lambda _, target: called.append(target))
    with pytest.raises(SettingsError, match="workerz"):
        _ = executor("db1", {"hosts": HOSTS, "wsgi": {"app": "a:b", "workerz": 3}}).fleets
    assert called == []


def test_an_exception_that_nobody_foresaw_is_two_lines_and_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def body(_: Any) -> None:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(DeployError) as refused:
        LocalTask(body=body, name="lab.x")(Context())
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"ZeroDivisionError: by nothing (in {__file__}, line ")
    (file,) = tmp_path.glob("decant-*.traceback")
    assert second == f"this is a bug in Decant; the traceback is in {file}: please report it"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "raise ZeroDivisionError" in file.read_text()


def test_what_nobody_foresaw_before_a_server_is_called_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Executor(Collection(), Config(), SimpleNamespace(remainder=""))
    monkeypatch.setattr(Executor, "chosen", lambda _: 1 / 0)
    with pytest.raises(DeployError, match="ZeroDivisionError"):
        made.expand_calls([Call(ServerTask(body=lambda _: None, name="status"))])


def test_our_own_clones_hosts_toml_does_not_count_with_another_fabfile(tmp_path: Path) -> None:
    made = executor(None, {})
    for folder, found in ((CLONE, None), (tmp_path, tmp_path)):
        made.collection.loaded_from = str(folder)
        assert made.fabfile_folder() == found

"""Work on several hosts: results in order, failures kept, so many at a time, batches."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from decant.config.models import Peer
from decant.errors import ConnectError, DeployError
from decant.operations.release import shared
from decant.operations.release.batches import Rollout, switches_as_one
from decant.operations.release.outcome import Prepared
from decant.output import Output
from decant.remote.fleet import Fleet


def fleet(*names: str) -> Fleet:
    connections: dict[str, Any] = {
        name: SimpleNamespace(output=Output(name, single_host=len(names) == 1), close=lambda: None)
        for name in names
    }
    return Fleet(connections)


def test_results_come_in_the_order_of_the_hosts() -> None:
    waits = {"a": 0.05, "b": 0.0, "c": 0.02}
    assert list(fleet(*waits).map(time.sleep, waits).items()) == [
        ("a", None),
        ("b", None),
        ("c", None),
    ]


def test_a_failure_is_told_and_kept_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, seen = fleet("a", "b", "c"), []

    def work(name: str) -> str:
        seen.append(name)
        if name == "b":
            raise ConnectError("b: no answer")
        return name.upper()

    items = {name: name for name in "abc"}
    assert made.map(work, items) == {"a": "A", "c": "C"}
    assert made.map(work, items) == {"a": "A", "c": "C"}
    assert sorted(seen) == ["a", "a", "b", "c", "c"]
    assert capsys.readouterr().out == "[b] failed: no answer\n"
    with pytest.raises(DeployError, match="failed on b; so nothing"):
        made.raise_if_failed("so nothing")
    made.raise_if_failed("so nothing", keep_going=True)
    made.tell()
    rows = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert [row[3] for row in rows[2:]] == ["ok", "failed: no answer", "ok"]


def test_an_unexpected_error_on_one_host_is_a_failure_of_that_host(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = fleet("a", "b")
    assert made.map(lambda divisor: 1 // divisor, {"a": 0, "b": 1}) == {"b": 1}
    assert "[a] failed: ZeroDivisionError" in capsys.readouterr().out
    assert made.failed == ["a"]


def test_a_host_alone_raises_its_error() -> None:
    with pytest.raises(ZeroDivisionError):
        fleet("a").map(lambda divisor: 1 // divisor, {"a": 0})


def test_no_more_than_so_many_hosts_at_a_time() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def work(_: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    fleet(*"abcdefgh").map(work, {name: name for name in "abcdefgh"}, at_once=3)
    assert most == 3


@pytest.mark.parametrize(
    ("batch", "hosts", "size"),
    [
        ("", 1, 1),
        ("", 4, 1),
        ("", 8, 2),
        ("", 50, 12),
        ("3", 50, 3),
        ("10%", 50, 5),
        ("10%", 3, 1),
        ("100%", 7, 7),
    ],
)
def test_hosts_switch_in_batches(batch: str, hosts: int, size: int) -> None:
    assert Rollout(batch).size(hosts) == size


def test_a_key_is_written_as_it_stood_between_its_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fleet("a", "b")
    stored = {"a": 'SECRET_KEY="x\\"y\\\\z"\n', "b": ""}
    settings = SimpleNamespace(is_app=True, app=SimpleNamespace(name="shop"))
    hosts: dict[str, Any] = {
        name: SimpleNamespace(
            name=name,
            settings=settings,
            paths=SimpleNamespace(secrets="/s"),
            text=lambda _, name=name: stored[name],
            output=Output(name),
        )
        for name in "ab"
    }
    monkeypatch.setattr(shared, "variables", lambda _: {})
    monkeypatch.setattr(Fleet, "dry", False)
    keys = shared.secret_keys(made, hosts, False)
    assert [f'SECRET_KEY="{keys[name].reveal()}"\n' for name in "ab"] == [stored["a"]] * 2


def test_hosts_that_share_a_database_are_migrated_together_or_not_at_all() -> None:
    apps = [Peer(name=name, roles=("app",), address="", bind="") for name in "ab"]
    server = Peer(name="db", roles=("db",), address="", bind="")
    settings = {
        name: SimpleNamespace(
            shares_database=True,
            peers=[peer for peer in apps if peer.name != name],
            database_peer=server,
        )
        for name in "ab"
    }
    hosts: dict[str, Any] = {
        name: SimpleNamespace(settings=found) for name, found in settings.items()
    } | {"db": None}
    ready = {name: Prepared("new", "old", "c", "c", False, True) for name in "ab"}
    made = fleet("a", "b", "db")
    assert switches_as_one(made, hosts, ready, ["a", "b"], Rollout())
    assert not switches_as_one(made, hosts, ready, ["a", "b"], Rollout(rolling=True))
    with pytest.raises(DeployError, match="that b would serve the old release on"):
        switches_as_one(made, hosts, {"a": ready["a"]}, ["a"], Rollout())
    with pytest.raises(DeployError, match="take it along with -H"):
        switches_as_one(made, {name: hosts[name] for name in "ab"}, ready, ["a", "b"], Rollout())
    first = {name: Prepared("new", "", "c", "c", False, True) for name in "ab"}
    assert not switches_as_one(made, hosts, first, ["a", "b"], Rollout())


@pytest.mark.parametrize("batch", ["0", "x", "-1", "0%", "101%", "1.5"])
def test_a_batch_that_is_none_is_refused(batch: str) -> None:
    with pytest.raises(DeployError, match="a number of hosts, or a share"):
        Rollout(batch)

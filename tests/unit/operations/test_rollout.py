"""A release over several hosts.

The order, what one failure does to the others, and when they go together.
"""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.errors import ConnectError, DeployError, StepError
from decant.facts import Release
from decant.operations.release import joint_window, rollout, shared
from decant.operations.release.batches import Rollout, in_batches
from decant.operations.release.outcome import Outcome, Prepared, Result
from decant.operations.release.rollback import roll_back_all, rollback_targets
from decant.plans.requests import Change
from decant.steps import File
from decant.testing import FakeHost, fleet_of
from tests.unit.operations.sites import (
    ALONE,
    BAD,
    BASE,
    CURRENT,
    GOOD,
    LIVE,
    NEW,
    OLD,
    PENDING,
    READY,
    SITE,
    several,
)

SQLITE = ALONE.format(kind="sqlite")
ROLES = SITE.format(kind="external", base="").replace(
    '[db]\nkind = "external"', '[db]\nkind = "none"'
)
SHARED = SITE.format(kind="postgresql", base=BASE)
UPDATES: dict[str, list[Any]] = {
    "prepare": [READY],
    "open update": [GOOD],
    "open rollback": [{**GOOD, "serving": OLD}],
}


def ran(
    hosts: dict[str, FakeHost], how: Rollout | None = None, what: str = "update"
) -> tuple[dict[str, Outcome], str]:
    """Run a rollout; return its outcomes, and why it stopped."""
    outcomes: dict[str, Outcome] = {}
    try:
        rollout.run(fleet_of(hosts.values()), hosts, outcomes, what, how or Rollout())
    except DeployError as error:
        return outcomes, str(error)
    return outcomes, ""


def opened(hosts: dict[str, FakeHost]) -> list[str]:
    """Return in which order windows were opened."""
    journal = next(iter(hosts.values())).journal
    return [line for line in journal if ": open " in line]


# --- each for itself
# ------------------------------------------------------------------------------------------------------------------


def test_all_are_made_ready_before_the_first_one_switches(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"": UPDATES})
    outcomes, why = ran(hosts)
    assert why == ""
    assert {name: found.result for name, found in outcomes.items()} == dict.fromkeys("abc", "good")
    journal = hosts["a"].journal
    assert sorted(journal[:3]) == ["a: prepare", "b: prepare", "c: prepare"]
    assert opened(hosts) == ["a: open update", "b: open update", "c: open update"]
    assert len({host.parameters("prepare")["id"] for host in hosts.values()}) == 1


@pytest.mark.parametrize(
    ("batch", "sizes"), [("2", [2, 1]), ("100%", [3]), ("34%", [1, 1, 1]), ("1", [1, 1, 1])]
)
def test_batches_switch_one_after_the_other(tmp_path: Path, batch: str, sizes: list[int]) -> None:
    hosts = several(tmp_path, SQLITE, {"": UPDATES})
    ready = {name: Prepared(NEW, OLD, "c0de", "", current=False, pending=False) for name in hosts}
    assert [
        len(each) for each in in_batches(hosts, ready, Rollout(batch), as_one=False, shared=False)
    ] == sizes
    assert ran(hosts, Rollout(batch))[1] == ""
    assert sorted(opened(hosts)) == ["a: open update", "b: open update", "c: open update"]


def test_one_that_cannot_be_made_ready_keeps_every_host_as_it_was_unless_the_others_go_on(
    tmp_path: Path,
) -> None:
    answers: dict[str, Any] = {"": UPDATES, "b": {"prepare": [StepError("no route")]}}
    outcomes, why = ran(several(tmp_path, SQLITE, answers))
    assert (outcomes, why.startswith("failed on b; no host has switched")) == ({}, True)
    hosts = several(tmp_path, SQLITE, answers)
    outcomes, why = ran(hosts, Rollout(keep_going=True))
    assert why == ""
    assert {name: found.result for name, found in outcomes.items()} == {"a": "good", "c": "good"}
    assert opened(hosts) == ["a: open update", "c: open update"]


def test_one_that_is_not_well_ends_it_and_those_before_it_go_back(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"": UPDATES, "b": {"open update": [BAD]}})
    outcomes, why = ran(hosts)
    assert why == ""
    assert {name: found.result for name, found in outcomes.items()} == {
        "a": "put back",
        "b": "failed",
        "c": "not switched",
    }
    assert opened(hosts) == ["a: open update", "b: open update", "a: open rollback"]
    assert outcomes["c"].cause == f"b failed; {OLD} serves as before"
    hosts = several(tmp_path, SQLITE, {"": UPDATES, "b": {"open update": [BAD]}})
    outcomes, _ = ran(hosts, Rollout(keep_going=True))
    assert {name: found.result for name, found in outcomes.items()} == {
        "a": "good",
        "b": "failed",
        "c": "good",
    }


def test_one_that_is_lost_in_its_window_counts_as_failed(tmp_path: Path) -> None:
    hosts = several(
        tmp_path, SQLITE, {"": UPDATES, "a": {"open update": [ConnectError("a: lost")]}}
    )
    outcomes, _ = ran(hosts)
    assert {name: found.result for name, found in outcomes.items()} == {
        "a": "ready",
        "b": "not switched",
        "c": "not switched",
    }
    assert opened(hosts) == ["a: open update"]


def test_who_is_current_already_does_not_switch(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"": UPDATES, "a": {"prepare": [CURRENT]}})
    outcomes, _ = ran(hosts)
    assert {name: found.result for name, found in outcomes.items()} == {
        "a": "current",
        "b": "good",
        "c": "good",
    }
    assert opened(hosts) == ["b: open update", "c: open update"]


def test_a_current_release_that_does_not_serve_is_told(tmp_path: Path) -> None:
    unwell = {**CURRENT, "unwell": "/up: no answer"}
    hosts = several(tmp_path, SQLITE, {"": UPDATES, "a": {"prepare": [unwell]}})
    assert ran(hosts)[1].startswith("failed on a; no host has switched")
    assert "is current, and does not serve: /up: no answer; see: fab -H a app.logs" in str(
        hosts["a"].said()
    )


def test_hosts_that_fetched_different_commits_do_not_switch(tmp_path: Path) -> None:
    hosts = several(
        tmp_path, SQLITE, {"": UPDATES, "c": {"prepare": [{**READY, "commit": "other"}]}}
    )
    outcomes, why = ran(hosts)
    assert outcomes == {}
    assert (
        why
        == "the hosts fetched different commits (c0de and other), as somebody pushed in between; no"
        " host has switched: run it again"
    )
    assert opened(hosts) == []


def test_each_host_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("decant.remote.fleet.time.monotonic", lambda: float(next(clock)))
    hosts = several(tmp_path, SQLITE, {"": UPDATES})
    outcomes, _ = ran({"a": hosts["a"]})
    assert outcomes["a"].seconds == 2.0  # made ready, and switched


def test_what_only_deploy_applies_is_said(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"": UPDATES})
    outcomes: dict[str, Outcome] = {}
    rollout.run(
        fleet_of(hosts.values()),
        hosts,
        outcomes,
        "update",
        Rollout(),
        compare=lambda _: (File("/etc/x", "y"),),
    )
    assert (
        "written differently by this version of Decant (only deploy applies it): file /etc/x"
        in hosts["a"].said()
    )


# --- roles
# ----------------------------------------------------------------------------------------------------------------------------


def test_web_hosts_switch_first_and_app_hosts_are_drained_one_by_one(tmp_path: Path) -> None:
    hosts = several(tmp_path, ROLES, {"": UPDATES})
    hosts["web"].probed(requests=70)
    outcomes, why = ran(hosts)
    assert why == ""
    assert opened(hosts) == ["web: open update", "app1: open update", "app2: open update"]
    assert [hosts[name].parameters("follow")["drain"] for name in ("web", "app1", "app2")] == [
        "no",
        "yes",
        "yes",
    ]
    assert (outcomes["web"].prober or {})["requests"] == 70
    assert (
        "while the others switched: 0 of 70 requests lost, longest wait 0.2 s"
        in hosts["web"].said()
    )
    # The web host counts from before the first one to after the last.
    journal = hosts["web"].journal
    assert journal.index("web: beside: ask.sh") < journal.index("web: open update")
    assert journal.index("web: beside ended") > journal.index("app2: open update")


def test_before_the_first_release_app_hosts_come_first_all_at_once_and_nobody_is_drained(
    tmp_path: Path,
) -> None:
    first = {**READY, "old": ""}
    hosts = several(tmp_path, ROLES, {"": {"prepare": [first], "open deploy": [GOOD]}})
    outcomes, _ = ran(hosts, what="deploy")
    assert {found.result for found in outcomes.values()} == {"good"}
    assert opened(hosts)[-1] == "web: open deploy"
    assert hosts["app1"].parameters("follow")["drain"] == "no"
    assert "web: beside: ask.sh" not in hosts["web"].journal


def test_an_app_host_alone_is_not_drained_as_nobody_else_serves(tmp_path: Path) -> None:
    hosts = several(tmp_path, ROLES, {"": UPDATES, "app2": {"prepare": [StepError("dead")]}})
    ran(hosts, Rollout(keep_going=True))
    assert hosts["app1"].parameters("follow")["drain"] == "no"


def test_a_web_host_goes_back_with_the_app_host_that_failed(tmp_path: Path) -> None:
    hosts = several(tmp_path, ROLES, {"": UPDATES, "app1": {"open update": [BAD]}})
    outcomes, _ = ran(hosts)
    assert {name: found.result for name, found in outcomes.items()} == {
        "web": "put back",
        "app1": "failed",
        "app2": "not switched",
    }


def test_another_protocol_behind_web_hosts_is_refused(tmp_path: Path) -> None:
    text = ROLES.replace('app = "wsgi:app"', 'app = "wsgi:app"\nserver = "uwsgi"')
    _, why = ran(several(tmp_path, text, {"": UPDATES}))
    assert why.startswith(
        "wsgi.server: app1 and its web hosts would speak different protocols while they go from"
        " gunicorn to uwsgi"
    )
    assert ran(several(tmp_path, text, {"": UPDATES}, replace(LIVE, server="uwsgi")))[1] == ""


# --- a shared database
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _joint(monkeypatch: pytest.MonkeyPatch) -> None:
    def switch(
        fleet: Any,
        server: Any,
        hosts: Any,
        ready: Any,
        outcomes: Any,
        what: str,
        change: Change,
        rolled_back: bool = False,
    ) -> None:
        first = next(iter(hosts.values()))
        first.note(
            f"open together {what} {' '.join(hosts)} on {server.name if server else 'nobody'}:"
            f" {change.migrate} in {change.migrate_in or 'the new one'}"
            f"{', rolled back' if rolled_back else ''}"
        )
        outcomes.update(
            {
                name: replace(
                    outcomes[name],
                    result=Result.FAILED if first.answers.get("together") else Result.GOOD,
                )
                for name in hosts
            }
        )

    monkeypatch.setattr(joint_window, "switch", switch)


def test_a_pending_migration_takes_all_app_hosts_together_between_the_web_hosts(
    tmp_path: Path,
) -> None:
    hosts = several(
        tmp_path,
        SHARED,
        {"": UPDATES, "app1": {"prepare": [PENDING]}, "app2": {"prepare": [PENDING]}},
    )
    outcomes, why = ran(hosts)
    assert why == ""
    assert opened(hosts) == [
        "web: open update",
        "app1: open together update app1 app2 on base:"
        " python /srv/shop/procedures/decant_migrations.py upgrade wsgi:app DATABASE_URL in the new"
        " one",
    ]
    assert {name: found.result for name, found in outcomes.items()} == {
        "web": "good",
        "app1": "good",
        "app2": "good",
    }


def test_with_rolling_there_is_one_dump_and_then_one_by_one(tmp_path: Path) -> None:
    pending: dict[str, Any] = {
        "": UPDATES,
        "app1": {"prepare": [PENDING]},
        "app2": {"prepare": [PENDING]},
    }
    hosts = several(tmp_path, SHARED, pending)
    assert ran(hosts, Rollout(rolling=True, batch="100%"))[1] == ""
    assert opened(hosts) == ["web: open update", "app1: open update", "app2: open update"]
    journal = hosts["base"].journal
    assert journal.index("base: steps") < journal.index("web: open update")
    assert hosts["app1"].parameters("follow")["dump_wanted"] == "no"
    hosts = several(
        tmp_path, SHARED, {**pending, "base": {"steps": [StepError("base: the disk is full")]}}
    )
    assert ran(hosts, Rollout(rolling=True))[1] == "base: the disk is full; no host has switched"
    assert opened(hosts) == []


def test_the_first_release_of_a_shared_database_is_migrated_by_one_host_first(
    tmp_path: Path,
) -> None:
    first = {**PENDING, "old": ""}
    hosts = several(tmp_path, SHARED, {"": {"prepare": [first], "open deploy": [GOOD]}})
    ran(hosts, what="deploy")
    assert opened(hosts) == ["app1: open deploy", "app2: open deploy", "web: open deploy"]


@pytest.mark.parametrize(
    ("left_out", "answers", "keep_going", "said"),
    [
        (
            "app2",
            {},
            False,
            "a migration is pending in a database that app2 would serve the old release on",
        ),
        (
            "",
            {"app2": {"prepare": [StepError("dead")]}},
            True,
            "a migration is pending in a database that app2 would serve the old release on",
        ),
        ("base", {}, False, "the dump before it is made on base: take it along with -H"),
    ],
)
def test_who_uses_the_database_and_is_not_there_stops_its_migration(
    tmp_path: Path, left_out: str, answers: Any, keep_going: bool, said: str
) -> None:
    hosts = several(tmp_path, SHARED, {"": {**UPDATES, "prepare": [PENDING]}, **answers})
    hosts.pop(left_out, None)
    _, why = ran(hosts, Rollout(keep_going=keep_going))
    assert said in why
    assert opened(hosts) == []


def test_where_the_joint_window_failed_the_web_hosts_that_had_switched_go_back(
    tmp_path: Path,
) -> None:
    answers: dict[str, Any] = {
        "": UPDATES,
        "app1": {"prepare": [PENDING], "together": [{}]},
        "app2": {"prepare": [PENDING]},
    }
    hosts = several(tmp_path, SHARED, answers)
    outcomes, _ = ran(hosts)
    assert {name: found.result for name, found in outcomes.items()} == {
        "web": "put back",
        "app1": "failed",
        "app2": "failed",
    }


# --- locks
# ----------------------------------------------------------------------------------------------------------------------------


def test_every_lock_is_held_or_none(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE)
    with rollout.locked(fleet_of(hosts.values()), hosts, "update"):
        hosts["a"].note("work")
    journal = hosts["a"].journal
    assert sorted(journal[:3]) == ["a: lock update", "b: lock update", "c: lock update"]
    assert (journal[3], sorted(journal[4:])) == ("a: work", ["a: unlock", "b: unlock", "c: unlock"])


def test_one_lock_that_is_not_to_be_had_lets_the_others_go(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"b": {"lock": [DeployError("b: busy")]}})
    with (
        pytest.raises(DeployError, match="failed on b; nothing was changed anywhere"),
        rollout.locked(fleet_of(hosts.values()), hosts, "update"),
    ):
        hosts["a"].note("work")
    assert sorted(line for line in hosts["a"].journal if "unlock" in line or "work" in line) == [
        "a: unlock",
        "c: unlock",
    ]
    hosts = several(tmp_path, SQLITE, {"b": {"lock": [DeployError("b: busy")]}})
    with rollout.locked(fleet_of(hosts.values()), hosts, "update", keep_going=True):
        hosts["a"].note("work")
    assert "a: work" in hosts["a"].journal


# --- rollback
# -------------------------------------------------------------------------------------------------------------------------

OLDER = "20251212T000000"
WITH_OLDER = replace(LIVE, releases=(Release(OLDER, "good", "0ld"), *LIVE.releases))
HEADS = {"target_head": "1", "database_head": "2", "dump": "/d"}


def went_back(hosts: dict[str, FakeHost], *words: bool) -> tuple[dict[str, Outcome], str]:
    outcomes: dict[str, Outcome] = {}
    fleet = fleet_of(hosts.values())
    try:
        roll_back_all(
            fleet, hosts, outcomes, rollback_targets(fleet, hosts, ""), *(words or (False, False))
        )
    except DeployError as error:
        return outcomes, str(error)
    return outcomes, ""


def test_all_hosts_go_back_at_the_same_time(tmp_path: Path) -> None:
    answers: dict[str, Any] = {"": {"heads": [{}], "open rollback": [{**GOOD, "serving": OLDER}]}}
    outcomes, why = went_back(several(tmp_path, SQLITE, answers, WITH_OLDER))
    assert (
        why,
        {found.result for found in outcomes.values()},
        {found.release for found in outcomes.values()},
    ) == ("", {"good"}, {OLDER})


def test_a_host_that_has_gone_back_already_stays(tmp_path: Path) -> None:
    answers: dict[str, Any] = {"": {"heads": [{}], "open rollback": [{**GOOD, "serving": OLDER}]}}
    hosts = several(tmp_path, SQLITE, answers, WITH_OLDER)
    hosts["b"].finished["rollback"] = hosts["b"].facts.current
    outcomes, why = went_back(hosts)
    assert (why, "b" in outcomes, len(outcomes)) == ("", False, len(hosts) - 1)


def test_where_the_database_of_one_does_not_fit_no_host_goes_back(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, {"": {"heads": [{}]}, "b": {"heads": [HEADS]}}, WITH_OLDER)
    outcomes, why = went_back(hosts)
    assert (outcomes, why, opened(hosts)) == ({}, "failed on b; no host has switched", [])


def test_hosts_that_would_go_back_to_different_commits_stay(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE, facts=WITH_OLDER)
    hosts["c"].found(replace(LIVE, releases=(Release(OLDER, "good", "another"), *LIVE.releases)))
    assert (
        "the hosts would go back to different commits (a: 20251212T000000, b:"
        in went_back(hosts)[1]
    )


def test_a_shared_database_is_migrated_down_by_all_together_and_then_the_web_hosts_go_back(
    tmp_path: Path,
) -> None:
    answers: dict[str, Any] = {
        "": {"heads": [HEADS], "open rollback": [{**GOOD, "serving": OLDER}]}
    }
    hosts = several(tmp_path, SHARED, answers, WITH_OLDER)
    outcomes, why = went_back(hosts, True, False)
    assert why == ""
    assert opened(hosts) == [
        f"app1: open together rollback app1 app2 on base: python /srv/shop/procedures/decant_migrations.py downgrade 1 wsgi:app DATABASE_URL in {OLD},"
        " rolled back",
        "web: open rollback",
    ]
    assert {name: found.result for name, found in outcomes.items()} == {
        "web": "good",
        "app1": "good",
        "app2": "good",
    }


def test_web_hosts_stay_where_the_app_hosts_could_not_go_back(tmp_path: Path) -> None:
    hosts = several(
        tmp_path,
        SHARED,
        {"": {"heads": [HEADS]}, "app1": {"heads": [HEADS], "together": [{}]}},
        WITH_OLDER,
    )
    outcomes, _ = went_back(hosts, True, False)
    assert (outcomes["web"].result, outcomes["web"].cause) == ("not switched", "app1, app2 failed")


def test_restoring_a_shared_database_in_a_rollback_is_refused(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED, {"": {"heads": [HEADS]}}, WITH_OLDER)
    assert (
        "rollback --restore of a database that several hosts use is not built"
        in went_back(hosts, False, True)[1]
    )
    assert opened(hosts) == []


# --- what hosts share
# -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "key", "said"),
    [
        ({}, None, []),
        ({"b": 'SECRET_KEY="k\\"ey"\n'}, 'k\\"ey', []),
        (
            {"a": 'SECRET_KEY="one"\n', "b": 'SECRET_KEY="two"\n'},
            "one",
            ["has another SECRET_KEY than a: a visitor's session is valid on one of them only"],
        ),
    ],
)
def test_one_secret_key_for_all_hosts(
    tmp_path: Path, texts: dict[str, str], key: str | None, said: list[str]
) -> None:
    hosts = several(tmp_path, SQLITE)
    for name, text in texts.items():
        hosts[name].texts[hosts[name].paths.secrets] = text
    found = shared.secret_keys(fleet_of(hosts.values()), hosts, keep_going=False)
    values = {secret.reveal() for secret in found.values()}
    assert set(found) == set(hosts)
    assert values == {key} if key else [len(value) for value in values] == [64]
    assert [line.partition(";")[0] for line in hosts["b"].said()] == said


def test_no_key_is_made_for_a_host_alone_or_where_hosts_toml_has_one(tmp_path: Path) -> None:
    hosts = several(tmp_path, SQLITE)
    assert shared.secret_keys(fleet_of([hosts["a"]]), {"a": hosts["a"]}, keep_going=False) == {}
    named = several(tmp_path, SQLITE.replace("[wsgi]", '[app.env]\nSECRET_KEY = "x"\n[wsgi]'))
    assert shared.secret_keys(fleet_of(named.values()), named, keep_going=False) == {}
    assert named["a"].journal == []


def test_hosts_of_two_applications_share_no_key(tmp_path: Path) -> None:
    """house.md, bug 4."""
    hosts = several(tmp_path, SQLITE + '[hosts.b.app]\nname = "blog"\n')
    assert set(shared.secret_keys(fleet_of(hosts.values()), hosts, keep_going=False)) == {"a", "c"}


def test_the_host_of_the_database_comes_before_those_that_log_in_to_it(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED)
    found = shared.databases(
        fleet_of(hosts.values()),
        hosts,
        lambda _: (File("/all", ""),),
        lambda _: (),
        keep_going=False,
    )
    assert {name: (outcome.result, outcome.changed) for name, outcome in found.items()} == {
        "base": ("good", 1)
    }
    assert [len(hosts[name].applied[0][0]) for name in ("base", "app1")] == [1, 0]
    alone = several(tmp_path, SQLITE)
    assert (
        shared.databases(
            fleet_of(alone.values()), alone, lambda _: (), lambda _: (), keep_going=False
        )
        == {}
    )
    assert alone["a"].journal == []


def test_app_hosts_get_the_url_of_their_database_with_its_address(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED)
    hosts["base"].texts[hosts["base"].paths.secrets] = (
        'DATABASE_URL="postgresql://shop:p%40w@localhost:5433/shop"\n'
    )
    found = shared.database_urls(fleet_of(hosts.values()), hosts, keep_going=False)
    assert {name: url.reveal() for name, url in found.items()} == dict.fromkeys(
        ("app1", "app2"), "postgresql://shop:p%40w@10.0.0.4:5433/shop"
    )
    hosts["base"].texts.clear()
    assert shared.database_urls(fleet_of(hosts.values()), hosts, keep_going=False) == {}


def test_an_app_host_without_its_database_host_needs_the_url_that_it_has(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED)
    del hosts["base"]
    with pytest.raises(DeployError, match="failed on app1, app2"):
        shared.database_urls(fleet_of(hosts.values()), hosts, keep_going=False)
    assert (
        "which has not let it in yet; deploy both together: fab -H base,app1 deploy"
        in hosts["app1"].said()[0]
    )
    for name in ("app1", "app2"):
        hosts[name].texts[hosts[name].paths.secrets] = 'DATABASE_URL="postgresql://x"\n'
    assert shared.database_urls(fleet_of(hosts.values()), hosts, keep_going=False) == {}


@pytest.mark.parametrize(
    ("text", "name", "refused"), [(SHARED, "app1", True), (SQLITE, "a", False)]
)
def test_the_database_of_several_hosts_is_not_migrated_by_one(
    tmp_path: Path, text: str, name: str, refused: bool
) -> None:
    host = several(tmp_path, text)[name]
    if refused:
        with pytest.raises(DeployError, match="other hosts use this database, too"):
            shared.refuse_shared(host)
    else:
        shared.refuse_shared(host)
    assert host.journal == []


def test_a_database_host_that_cannot_be_asked_stops_its_app_hosts(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED)

    def lost(path: str) -> str:
        raise ConnectError(f"base: lost at {path}")

    hosts["base"].text = lost  # type: ignore[method-assign]
    with pytest.raises(DeployError, match="failed on base; nothing was changed anywhere"):
        shared.database_urls(fleet_of(hosts.values()), hosts, keep_going=False)


def test_each_host_is_timed_on_its_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("decant.remote.fleet.time.monotonic", lambda: float(next(clock)))
    answers: dict[str, Any] = {"": {"heads": [{}], "open rollback": [GOOD]}}
    outcomes, _ = went_back({"a": several(tmp_path, SQLITE, answers, WITH_OLDER)["a"]})
    assert outcomes["a"].seconds == 2.0  # the heads, and the window

"""A release on one host.

What is asked of the server, in which order, and what is said of its answers.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.config import source
from decant.config.source import Source
from decant.errors import DeployError, StepError
from decant.facts import Participation, Release, Window
from decant.operations import drift
from decant.operations.release import rollback, window
from decant.operations.release.outcome import Outcome, Prepared, Result, prepared_outcome, untouched
from decant.operations.release.prepare import new_id, prepare, preview, release_lock
from decant.operations.release.status import describe
from decant.plans import release, rendering
from decant.plans.requests import Change, Role, WindowRequest, Word, WordRequest
from decant.remote import transfer
from decant.remote.report import Report
from decant.steps import File, Plan, Procedure
from decant.testing import FakeHost, name_of
from tests.unit.operations.sites import BAD, CURRENT, GOOD, LIVE, NEW, OLD, PENDING, READY, one
from tests.unit.values import settings

FOUND = Prepared(NEW, OLD, "c0de", "a commit", current=False, pending=False)
MIGRATES = replace(FOUND, pending=True)
MIGRATIONS = "python /srv/shop/procedures/decant_migrations.py"
UPGRADE = f"{MIGRATIONS} upgrade wsgi:app DATABASE_URL"
OLDER = "20251212T000000"
WITH_OLDER = replace(
    LIVE,
    releases=(
        Release(OLDER, "good", "0ld"),
        Release("20251201T000000", "failed", "bad"),
        *LIVE.releases,
    ),
)


# --- the lock
# -------------------------------------------------------------------------------------------------------------------------


def test_nothing_is_in_the_way_of_a_lock() -> None:
    host = one()
    with release_lock(host, "update"):
        host.note("work")
    assert host.journal == ["a: lock update", "a: work", "a: unlock"]


def test_an_open_window_is_followed_and_what_nobody_waited_for_is_told() -> None:
    host = one(
        replace(
            LIVE,
            windows=(Window("w1", ""), Window("w2", "failed no room"), Window("w3", "good")),
            deploys=({"when": "w2", "what": "update"}, {"when": "w3", "what": "update"}),
        )
    )
    with release_lock(host, "update"):
        host.note("work")
    assert host.journal == [
        "a: follow",
        "a: forget facts",
        "a: lock update for 10 s",
        "a: forget facts",
        "a: finish",
        "a: forget facts",
        "a: work",
        "a: unlock",
    ]
    assert host.parameters("follow")["id"] == "w1"
    assert host.parameters("finish")["seen"] == "w1 w2 w3"
    assert host.said() == [
        "the release window w1 is open; following it",
        "the release window w1, which nobody waited for, ended: unknown",
        "the release window w2, which nobody waited for, ended: failed: no room",
        "the release window w3, which nobody waited for, ended: good",
    ]


def test_names_sort_after_what_the_servers_have_named_by_their_clocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, other = one(replace(LIVE, releases=(), deploys=())), one(replace(LIVE, deploys=()))
    monkeypatch.setattr(host, "time", lambda: 0.0)
    monkeypatch.setattr(other, "time", lambda: 60.0)
    assert new_id(host) == "19700101T000000"
    ahead = replace(LIVE, releases=(Release("20991231T235959-abc", "good"),))
    assert new_id(host, one(ahead)) == "21000101T000000"
    behind = replace(LIVE, releases=(), deploys=({"when": "19700101T000030"}, {"when": "x"}))
    other.found(behind)
    assert new_id(host, other) == "19700101T000100"
    monkeypatch.setattr(other, "time", lambda: 0.0)
    assert new_id(host, other) == "19700101T000031"


def test_what_came_to_a_good_end_without_a_client_is_noted() -> None:
    records = (
        {"when": "w1", "what": "rollback", "release": OLDER, "result": "good"},
        {"when": "w2", "what": "restore", "release": OLD, "result": "failed"},
        {"when": "w3", "what": "update", "release": NEW, "result": "good"},
    )
    windows = (Window("w1", ""), Window("w2", "failed no room"))
    host = one(replace(LIVE, windows=windows, deploys=records))
    with release_lock(host, "rollback"):
        assert host.finished == {"rollback": OLDER}


def test_a_rollback_whose_end_nobody_saw_is_not_done_again() -> None:
    host = one(replace(WITH_OLDER, current=OLD))
    assert not rollback.gone_back(host, "")
    host.finished["rollback"] = OLD
    assert rollback.gone_back(host, "") and rollback.gone_back(host, OLD)
    assert "rollback --to RELEASE" in host.said()[0]
    assert not rollback.gone_back(host, OLDER)
    host.finished["rollback"] = OLDER
    assert not rollback.gone_back(host, "")


def test_a_joint_window_that_is_open_refuses_the_lock_but_not_a_dry_run() -> None:
    facts = replace(
        LIVE,
        participations=(Participation("w1", "first", 2, "stays"),),
        windows=(Window("w1", ""),),
    )
    with (
        pytest.raises(DeployError, match="the window w1 over several hosts is open"),
        release_lock(one(facts), "update"),
    ):
        pass
    dry = one(facts, dry=True)
    with release_lock(dry, "update"):
        pass
    assert dry.journal == ["a: lock update", "a: unlock"]


# --- prepare
# --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "found"),
    [(READY, FOUND), (PENDING, MIGRATES), (CURRENT, replace(FOUND, release=OLD, current=True))],
)
def test_a_release_from_git_is_made_ready_in_one_program(
    answer: dict[str, str], found: Prepared
) -> None:
    host = one(answers={"prepare": [answer]})
    compared = (File("/compared", "x"),)
    prepared, report = prepare(host, NEW, compare=compared)
    assert (prepared, host.journal) == (found, ["a: prepare"])
    assert report.differs == list(compared)
    assert host.applied[0][2].keys() == {"deploy.tar"}
    assert host.parameters("prepare")["kind"] == "git"


def test_what_has_to_stand_first_is_in_the_same_program_and_an_older_server_is_refused_without_it() -> (
    None
):
    before = (File("/first", "x"),)
    older = replace(LIVE, builder="")
    host = one(older, {"prepare": [READY]})
    prepare(host, NEW, before)
    assert host.applied[0][0][0] == before[0]
    with pytest.raises(DeployError, match="an older version set this server up"):
        prepare(one(older), NEW)


def sent(
    host: FakeHost,
    monkeypatch: pytest.MonkeyPatch,
    commit: str,
    folder: str = "",
    is_commit: bool = False,
) -> Any:
    found = Source(Path("/here"), commit, "the working tree", ("a",), is_commit, (".env",), "1.0")
    monkeypatch.setattr(source, "find", lambda _: found)
    monkeypatch.setattr(Source, "archive", lambda _: b"tar")
    monkeypatch.setattr(transfer, "send_tree", lambda host, _: host.note("send tree") or folder)
    return prepare(host, NEW, compare=(File("/compared", "x"),))


@pytest.mark.parametrize(
    ("folder", "kind", "files"),
    [("", "tar", {"deploy.tar", "source.tar"}), ("/srv/shop/incoming", "folder", {"deploy.tar"})],
)
def test_a_working_tree_is_sent_after_what_has_to_stand_first(
    monkeypatch: pytest.MonkeyPatch, folder: str, kind: str, files: set[str]
) -> None:
    host = one(answers={"prepare": [READY]}, app={"source": "."})
    prepared, report = sent(host, monkeypatch, "f00d", folder)
    assert host.journal == ["a: steps", "a: send tree", "a: prepare"]
    assert prepared == FOUND
    assert host.applied[1][2].keys() == files
    asked = host.parameters("prepare")
    assert (asked["kind"], asked["source"], asked["commit"], asked["label"]) == (
        kind,
        folder or ".",
        "f00d",
        "the working tree",
    )
    assert len(report.changed) == len(host.applied[0][0])
    assert "left out of the release, as private: .env" in host.said()


def test_a_commit_of_a_local_repository_has_no_tree_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = one(answers={"prepare": [READY]}, app={"source": ".", "ref": "main"})
    sent(host, monkeypatch, "f00d", is_commit=True)
    assert host.journal == ["a: steps", "a: prepare"]


@pytest.mark.parametrize(
    ("first", "journal"),
    [
        (CURRENT, ["a: prepare"]),
        (READY, ["a: prepare"]),
        ({"result": "absent"}, ["a: prepare", "a: send tree", "a: prepare"]),
    ],
)
def test_a_tree_that_is_on_the_server_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, first: dict[str, str], journal: list[str]
) -> None:
    host = one(answers={"prepare": [first, READY]}, app={"source": "."})
    sent(host, monkeypatch, "c0ffee")
    assert host.journal == journal
    kinds = [
        step.parameters["kind"]
        for plan, _, _ in host.applied
        for step in plan
        if isinstance(step, Procedure) and step.name == "prepare"
    ]
    assert kinds == ["known", "tar"][: journal.count("a: prepare")]


@pytest.mark.parametrize(
    ("app", "current", "compare", "journal", "said"),
    [
        (
            {},
            OLD,
            True,
            ["a: steps", "a: steps"],
            "would release its HEAD of https://example.org/shop.git",
        ),
        ({"ref": "v1"}, "", False, [], "would release v1 of"),
        ({"source": "."}, OLD, False, ["a: steps"], "would release the working tree of ."),
    ],
)
def test_a_preview_compares_and_says_what_would_be_released(
    app: dict[str, str], current: str, compare: bool, journal: list[str], said: str
) -> None:
    host = one(replace(LIVE, current=current), dry=True, app=app)
    preview(host, (File("/x", "y"),) if compare else ())
    assert host.journal == journal
    assert host.said()[-1].startswith(said)
    assert host.said()[-1].endswith(
        "prepare; then start first, beside what serves; where a migration is pending: stop, pull,"
        " migrate, start"
    )


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"wsgi": {"app": "a:b", "switch": "stop-first"}}, 'wsgi.switch is "stop-first"'),
        ({"db": {"snapshot": "always"}}, 'db.snapshot is "always"'),
    ],
)
def test_a_preview_says_why_the_old_release_would_stop_first(
    sections: dict[str, Any], why: str
) -> None:
    host = one(dry=True, **sections)
    preview(host)
    assert host.said()[-1].endswith(f"then stop, pull, migrate, start, as {why}")


@pytest.mark.parametrize(
    ("current", "before", "said"),
    [
        (OLD, (), f"no; {OLD} still serves, and nothing was changed"),
        (OLD, (File("/x", "y"),), f"no; {OLD} still serves"),
        ("", (), "no; nothing serves yet, and nothing was changed"),
    ],
)
def test_what_serves_is_said_where_a_release_cannot_be_made_ready(
    current: str, before: Plan, said: str
) -> None:
    host = one(replace(LIVE, current=current), answers={"prepare": [StepError("no")]})
    with pytest.raises(StepError) as raised:
        prepare(host, NEW, before)
    assert str(raised.value) == said


# --- the window
# -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepared", "db", "migrate", "dump", "smoked", "said"),
    [
        (FOUND, {}, "", "no", "no", False),
        (replace(FOUND, smoked=True), {}, "", "no", "yes", False),
        (MIGRATES, {}, UPGRADE, "yes", "no", False),
        (FOUND, {"snapshot": "always"}, "", "yes", "no", False),
        (MIGRATES, {"snapshot": "never"}, UPGRADE, "no", "no", True),
        (MIGRATES, {"kind": "none"}, UPGRADE.replace("DATABASE_URL", "''"), "no", "no", True),
    ],
)
def test_a_window_migrates_and_dumps_what_waits(
    prepared: Prepared, db: dict[str, str], migrate: str, dump: str, smoked: str, said: bool
) -> None:
    host = one(answers={"open update": [GOOD]}, db=db).probed()
    outcome = window.switched(host, "update", prepared, Outcome("a", Result.READY, NEW, changed=4))
    assert host.journal == ["a: beside: ask.sh", "a: open update", "a: beside ended", "a: finish"]
    asked = host.parameters("follow")
    assert (
        asked["old"],
        asked["new"],
        asked["migrate"],
        asked["dump_wanted"],
        asked["smoked"],
        asked["drain"],
    ) == (OLD, NEW, migrate, dump, smoked, "no")
    assert host.parameters("finish")["seen"] == asked["id"]
    assert (outcome.result, outcome.changed, outcome.prober and outcome.prober["requests"]) == (
        "good",
        5,
        7,
    )
    assert any("no dump" in line for line in host.said()) is said
    assert host.said()[-1] == f"release {NEW} serves; 0 of 7 requests lost, longest wait 0.2 s"


def test_visitors_that_met_the_maintenance_page_are_counted_and_a_drain_is_asked_for() -> None:
    host = one(answers={"open update": [BAD]}).probed(refused=3)
    outcome = window.switched(host, "update", FOUND, Outcome("a", Result.READY, NEW), drain=True)
    assert host.parameters("follow")["drain"] == "yes"
    assert host.said() == [
        f"release {NEW}: failed; 0 of 7 requests lost, longest wait 0.2 s, 3 met the maintenance"
        " page"
    ]
    assert (outcome.result, outcome.cause) == (
        "failed",
        f"not well; {OLD} serves as before; fix the cause and run the same command again",
    )


@pytest.mark.parametrize("lines", [[], ["no document"]])
def test_a_prober_that_tells_nothing_is_no_count(lines: list[str]) -> None:
    host = one(answers={"open update": [GOOD]})
    host.lines = lines
    assert window.switched(host, "update", FOUND, Outcome("a", Result.READY, NEW)).prober is None
    assert host.said() == [f"release {NEW} serves"]


def test_nobody_is_counted_where_nothing_serves_yet() -> None:
    host = one(answers={"open deploy": [GOOD]})
    window.switched(host, "deploy", replace(FOUND, old=""), Outcome("a", Result.READY, NEW))
    assert host.journal == ["a: open deploy", "a: finish"]


def test_a_window_that_breaks_off_is_not_marked_as_seen() -> None:
    host = one(answers={"open update": [StepError("lost")]})
    with pytest.raises(StepError, match="lost"):
        window.switched(host, "update", FOUND, Outcome("a", Result.READY, NEW))
    assert "a: finish" not in host.journal


def test_what_would_be_done_twice_is_marked_as_seen_when_the_command_has_told_all() -> None:
    host = one(answers={"open restore": [GOOD], "open rollback": [BAD]}).probed()
    with release_lock(host, "db.restore"):
        window.restore_dump(host, "d")
        assert host.parameters("finish")["seen"] == ""
        host.note("told")
    assert host.journal[-3:] == ["a: told", "a: seen", "a: unlock"]
    assert host.parameters("seen")["seen"] == host.parameters("follow")["id"]
    # A command that is cut off before that, and one that failed, which may be run again
    host.journal.clear()

    def interrupted() -> None:
        with release_lock(host, "db.restore"):
            window.restore_dump(host, "d")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "a: seen" not in host.journal
    failed = one(answers={"open rollback": [BAD]}).probed()
    with release_lock(failed, "rollback"):
        window.switch(failed, "rollback", WindowRequest("w9", NEW, OLD, rolled_back=True))
    assert failed.parameters("finish")["seen"] == "w9"
    assert "a: seen" not in failed.journal


def test_a_window_whose_line_of_the_history_is_gone_gets_it_before_it_is_told() -> None:
    host = one(replace(LIVE, windows=(Window("w1", "good"),)))
    with release_lock(host, "update"):
        host.note("work")
    assert host.journal[1:4] == ["a: finish", "a: forget facts", "a: finish"]
    seen = [
        dict(step.parameters)["seen"]
        for plan, _, _ in host.applied
        for step in plan
        if isinstance(step, Procedure)
    ]
    assert seen == ["", "w1"]


def test_a_rollback_that_nobody_waited_for_is_marked_when_that_was_told() -> None:
    ended = ({"when": "w1", "what": "rollback", "result": "good", "release": OLD},)
    host = one(replace(LIVE, windows=(Window("w1", "good"),), deploys=ended))
    with release_lock(host, "rollback"):
        assert host.parameters("finish")["seen"] == ""
    assert host.parameters("seen")["seen"] == "w1"


@pytest.mark.parametrize(
    ("heads", "migrate", "journal", "result"),
    [
        ({"target_head": "2", "database_head": "2"}, "auto", ["a: heads"], "current"),
        (
            {"target_head": "2", "database_head": "1"},
            "auto",
            ["a: heads", "a: beside: ask.sh", "a: open migrate", "a: beside ended", "a: finish"],
            "good",
        ),
        (
            {},
            "make migrate",
            ["a: heads", "a: beside: ask.sh", "a: open migrate", "a: beside ended", "a: finish"],
            "good",
        ),
    ],
)
def test_the_database_is_migrated_alone_where_something_waits(
    heads: dict[str, str], migrate: str, journal: list[str], result: str
) -> None:
    host = one(
        answers={"heads": [heads], "open migrate": [{**GOOD, "serving": OLD}]},
        app={"migrate": migrate},
    )
    assert window.migrate_current(host).result == result
    assert host.journal == journal
    if result == "good":
        asked = host.parameters("follow")
        assert (asked["old"], asked["new"], asked["dump_wanted"]) == (OLD, OLD, "yes")
        assert asked["migrate"] == (UPGRADE if migrate == "auto" else migrate)


@pytest.mark.parametrize(
    ("answer", "heads", "last"),
    [
        (
            GOOD,
            {"database_head": "1", "target_head": "2"},
            "the database is now at 1, and the release wants 2: fab -H a db.migrate",
        ),
        (
            GOOD,
            {"database_head": "", "target_head": "2"},
            "the database is now at its beginning, and the release wants 2: fab -H a db.migrate",
        ),
        (GOOD, {"database_head": "2", "target_head": "2"}, f"release {OLD} serves"),
        (BAD, {}, f"release {OLD}: failed"),
    ],
)
def test_a_dump_is_restored_in_a_window_and_what_is_pending_after_it_is_said(
    answer: dict[str, str], heads: dict[str, str], last: str
) -> None:
    host = one(answers={"open restore": [answer], "heads": [heads]})
    outcome = window.restore_dump(host, "/dump", administrator=True)
    asked = host.parameters("follow")
    assert (asked["restore"], asked["administrator"], asked["dump_wanted"]) == (
        "/dump",
        "yes",
        "yes",
    )
    assert host.said()[-1] == last
    assert outcome.result == answer["result"]
    assert ("a: heads" in host.journal) is (answer is GOOD)
    if (
        answer is GOOD
    ):  # before the window counts as told: who is cut off here must not restore twice
        assert host.journal.index("a: heads") < host.journal.index("a: finish")
    window.restore_dump(host, "/dump")
    assert host.parameters("follow")["administrator"] == "no"


# --- back
# -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "target"), [("", OLDER), (OLDER, OLDER)])
def test_rollback_goes_to_the_newest_good_release_before_the_current(to: str, target: str) -> None:
    facts = replace(
        WITH_OLDER,
        releases=(
            *WITH_OLDER.releases,
            Release("20251111T000000", "good", "x"),
            Release("20260303T000000", "good", "y"),
        ),
    )
    assert rollback.rollback_target(one(facts), to) == target


@pytest.mark.parametrize(
    ("facts", "to", "said"),
    [
        (
            LIVE,
            "",
            "no good release before the current one; besides the current one there are: none",
        ),
        (
            WITH_OLDER,
            "20251201T000000",
            rf"no good release 20251201T000000; .*{OLDER} \(good\), 20251201T000000 \(failed\)",
        ),
        (WITH_OLDER, OLD, f"no good release {OLD}"),
    ],
)
def test_a_release_that_is_none_or_never_was_good_is_refused(
    facts: Any, to: str, said: str
) -> None:
    with pytest.raises(DeployError, match=said):
        rollback.rollback_target(one(facts), to)


RESTORES = Change(restore="/srv/shop/backups/d.gz", dump_wanted=True)
HEADS = {"target_head": "1", "database_head": "2", "dump": "/srv/shop/backups/d.gz"}


@pytest.mark.parametrize(
    ("heads", "words", "app", "found"),
    [
        ({**HEADS, "database_head": "1"}, (False, False), {}, Change()),
        (
            HEADS,
            (True, False),
            {},
            Change(
                migrate=f"{MIGRATIONS} downgrade 1 wsgi:app DATABASE_URL",
                migrate_in=OLD,
                dump_wanted=True,
            ),
        ),
        (HEADS, (False, True), {}, RESTORES),
        (
            {**HEADS, "target_head": ""},
            (False, True),
            {},
            RESTORES,
        ),
        (
            {**HEADS, "target_head": ""},
            (False, True),
            {"migrate": "make x"},
            RESTORES,
        ),
        ({}, (False, False), {"migrate": ""}, Change()),
        (
            HEADS,
            (False, False),
            {},
            "knows the database at 1, but it is at 2; rollback --downgrade",
        ),
        (
            {**HEADS, "target_head": ""},
            (False, False),
            {},
            "knows the database at its beginning, but it is at 2",
        ),
        (HEADS, (True, True), {}, "choose one"),
        (
            {**HEADS, "database_head": "1"},
            (False, True),
            {},
            "--restore would lose rows for nothing",
        ),
        ({**HEADS, "dump": ""}, (False, True), {}, "there is no dump from the time of"),
        (
            {**HEADS, "target_head": ""},
            (True, False),
            {},
            "does not say at which migration its database was; use --restore",
        ),
        (HEADS, (False, False), {"migrate": "make x"}, "app.migrate is a command of your own"),
    ],
)
def test_the_way_back_of_the_database(
    heads: dict[str, str], words: tuple[bool, bool], app: dict[str, str], found: Any
) -> None:
    host = one(WITH_OLDER, {"heads": [heads]}, app=app)
    if isinstance(found, str):
        with pytest.raises(DeployError, match=found):
            rollback.way_back(host, OLDER, *words)
    else:
        assert rollback.way_back(host, OLDER, *words) == found
        assert (
            "restoring d.gz: what was written since then is lost, and is in the dump that is"
            " made now" in host.said()
        ) is bool(found.restore)
    assert host.journal == ["a: heads"]


def test_a_rollback_switches_to_the_older_release_with_the_way_back_of_its_database() -> None:
    host = one(WITH_OLDER, {"open rollback": [{**GOOD, "serving": OLDER}]})
    outcome = rollback.roll_back(host, OLDER, Change(migrate="down", migrate_in=OLD))
    asked = host.parameters("follow")
    assert (
        asked["old"],
        asked["new"],
        asked["migrate"],
        asked["migrate_in"],
        asked["rolled_back"],
    ) == (OLD, OLDER, "down", OLD, "yes")
    assert (outcome.result, outcome.release, outcome.commit) == ("good", OLDER, "0ld")
    assert rollback.roll_back(host, "gone", Change()).commit == ""


@pytest.mark.parametrize(
    ("prepared", "answer", "result", "cause"),
    [
        (FOUND, {**GOOD, "serving": OLD}, "put back", f"to {OLD}, as b failed"),
        (
            FOUND,
            {**BAD, "serving": NEW},
            "failed",
            f"not well; {NEW} serves as before; fix the cause and run the same command again",
        ),
        (
            MIGRATES,
            None,
            "good",
            (
                f"b failed, and {NEW} stays: its migration ran; go back with: rollback --downgrade,"
                " or rollback --restore"
            ),
        ),
        (replace(FOUND, old=""), None, "good", f"b failed, and {NEW} stays: nothing served before"),
    ],
)
def test_a_host_that_had_switched_goes_back_because_of_another_one(
    prepared: Prepared, answer: Any, result: str, cause: str
) -> None:
    host = one(answers={"open rollback": [answer]} if answer else {})
    outcome = rollback.undo_switch(host, prepared, Outcome("a", Result.GOOD, NEW), "b failed")
    assert (outcome.result, outcome.cause) == (result, cause)
    assert host.said()[0] == (f"b failed: going back to {OLD}" if answer else cause)
    if answer:
        asked = host.parameters("follow")
        assert (asked["old"], asked["new"], asked["rolled_back"]) == (NEW, OLD, "yes")
    else:
        assert host.journal == []


# --- what is said
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifests", "why"),
    [
        ((), drift.Why.VERSION),
        (({"name": "shop", "build": "another"},), drift.Why.VERSION),
        (({"name": "other", "build": rendering.build()},), drift.Why.VERSION),
        (({"name": "shop", "build": rendering.build()},), drift.Why.SETTINGS),
    ],
)
def test_a_difference_comes_from_hosts_toml_where_this_very_code_wrote_the_server(
    manifests: tuple[Any, ...], why: drift.Why
) -> None:
    host, step = one(facts=replace(LIVE, manifests=manifests)), File("/x", "y")
    report = Report(differs=[step, step, step], reasons=["", "missing", "edited"])
    found = [each.why for each in drift.found(host, report)]
    assert found == [why, drift.Why.MISSING, drift.Why.EDITED]


def test_what_is_ready_and_what_is_left_as_it_was() -> None:
    host = one(answers={"prepare": [CURRENT]})
    prepared, report = prepare(host, NEW, compare=(File("/x", "y"),))
    outcome = prepared_outcome(host, prepared, report)
    assert (outcome.result, outcome.release, outcome.differs, outcome.changed) == (
        "current",
        OLD,
        (drift.Difference("file /x", drift.Why.VERSION),),
        len(report.changed),
    )
    assert host.said() == [f"release {OLD} is already current: a commit"]
    assert prepared_outcome(host, FOUND, report).result == "ready"
    assert untouched(host, FOUND, "b failed") == Outcome(
        "a", Result.NOT_SWITCHED, OLD, cause=f"b failed; {OLD} serves as before"
    )
    assert (
        untouched(host, replace(FOUND, old=""), "b failed").cause == "b failed; nothing serves yet"
    )
    assert host.said()[-1] == "not switched, as b failed; nothing serves yet"


def test_status_tells_what_serves_and_how_it_is() -> None:
    deploys = (
        {"when": "w", "what": "update", "release": OLD, "who": "me", "result": "good", "cause": ""},
    )
    facts = replace(
        LIVE,
        windows=(Window("w1", ""), Window("w2", "good")),
        participations=(Participation("w3", "first", 1, "stays"),),
        deploys=deploys,
    )
    host = one(facts)
    host.says["sh"] = "200 in 0.01 s"
    found = describe(host)
    assert (found["release"], found["commit"], found["state"], found["health"]) == (
        OLD,
        "c0ffee",
        "good",
        "200 in 0.01 s",
    )
    assert found["open windows"] == ["w1", "w3 over several hosts"]
    assert found["last"] == [f"w update {OLD} by me: good"]
    empty = one(replace(LIVE, current=""))
    found = describe(empty)
    assert (found["release"], found["commit"], found["state"], found["health"], empty.journal) == (
        "none",
        "",
        "",
        "nothing is deployed",
        [],
    )


def test_programs_have_names() -> None:
    made = settings()
    assert name_of(()) == "steps"
    assert name_of(release.follow(made, "w")) == "follow"
    assert (
        name_of(release.say(made, WordRequest("w", Role.LEADER, 2, Word.MIGRATE))) == "say migrate"
    )
    assert name_of(release.say(made, WordRequest("w", Role.LEADER, 2))) == "wait"
    assert (
        name_of(release.window(made, "update", "me", WindowRequest("w", "", NEW))) == "open update"
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"free_mb": 199}, "the disk is full: 199 MB free for /srv/shop"),
        ({"tmp_free_mb": 19}, "the disk is full: "),
        ({"free_files": 4999}, "room for 4999 more files (inodes) in /srv/shop"),
        ({"tmp_free_files": 0}, "and 0 in /tmp"),
        ({"read_only": "/"}, "the disk at / is mounted read-only, as after an I/O error"),
    ],
)
def test_a_disk_that_takes_nothing_more_is_said(found: dict[str, Any], said: str) -> None:
    host = one(replace(LIVE, **found))
    with pytest.raises(DeployError, match=re.escape(said)):
        host.require_disk_space()

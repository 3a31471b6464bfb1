"""One window over several hosts.

What is said to whom, in which order, and how it ends at each point at which something breaks.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.errors import ConnectError, DeployError, StepError
from decant.facts import Participation
from decant.operations.release import joint_window
from decant.operations.release.outcome import Outcome, Prepared, Result
from decant.plans.requests import Change
from decant.remote.fleet import AT_ONCE, Fleet
from decant.steps import File, Procedure
from decant.testing import FakeHost, fleet_of
from tests.unit.operations.sites import BASE, LIVE, NEW, OLD, SITE, several

SHARED = SITE.format(kind="postgresql", base=BASE)
EXTERNAL = SITE.format(kind="external", base="").replace(
    "[hosts.web]", '[app.env]\nDATABASE_URL = "postgresql://x@h/n"\n[hosts.web]'
)
ENDS = {"result": "good", "cause": "", "serving": NEW}
MIGRATES = Change(migrate="flask db upgrade")
WENT_BACK = {"result": "failed", "cause": "the client said so", "serving": OLD}


def answer(word: str) -> list[Any]:
    return [{"answer": word, "lines": "3"}]


PLAYS: dict[str, list[Any]] = {
    "open update": answer("quiet"),
    "say close": answer("closed"),
    "say stay": answer("stays"),
    "say migrate": answer("migrated"),
    "say check": answer("well"),
    "say serve": [ENDS],
    "say back": [WENT_BACK],
}


def played(
    hosts: dict[str, FakeHost],
    server: str = "base",
    fleet: Fleet | None = None,
    change: Change = MIGRATES,
    rolled_back: bool = False,
) -> tuple[dict[str, Outcome], str]:
    """Play a joint window over app1 and app2; return the outcomes, and why it stopped."""
    group = {name: hosts[name] for name in ("app1", "app2")}
    ready = {
        name: Prepared(NEW, OLD, "c", "l", current=False, pending=name == "app1") for name in group
    }
    outcomes = {name: Outcome(name, Result.READY, NEW) for name in group}
    for host in hosts.values():
        host.says.setdefault("sh", "/srv/shop/backups/dump")
    try:
        joint_window.switch(
            fleet or fleet_of(hosts.values()),
            hosts.get(server),
            group,
            ready,
            outcomes,
            "update",
            change,
            rolled_back,
        )
    except DeployError as error:
        return outcomes, str(error)
    return outcomes, ""


def words(hosts: dict[str, FakeHost], name: str) -> list[str]:
    return [line.partition(": ")[2] for line in hosts[name].journal if line.startswith(f"{name}: ")]


def test_all_gates_close_one_dump_one_migration_all_are_asked_and_all_gates_open(
    tmp_path: Path,
) -> None:
    hosts = several(tmp_path, SHARED, {"": PLAYS})
    outcomes, why = played(hosts)
    assert (why, {found.result for found in outcomes.values()}) == ("", {"good"})
    assert words(hosts, "app1") == [
        "open update",
        "say close",
        "say stay",
        "say migrate",
        "say check",
        "say serve",
        "finish",
    ]
    assert words(hosts, "app2") == [
        "open update",
        "say close",
        "say stay",
        "say check",
        "say serve",
        "finish",
    ]
    # The dump, whether there is one to name, the note of how it ends, and what nobody needs any
    # more.
    assert words(hosts, "base") == ["steps", "read sh", "steps", "finish"]
    journal = hosts["app1"].journal
    order = [
        "app2: open update",
        "app2: say stay",
        "base: steps",
        "app1: say migrate",
        "app1: say check",
    ]
    assert [journal.index(line) for line in order] == sorted(journal.index(line) for line in order)
    assert outcomes["app1"].changed == 1
    opened = [
        step.parameters
        for host in ("app1", "app2")
        for step in hosts[host].applied[0][0]
        if isinstance(step, Procedure)
    ]
    assert [(each["role"], each["migrate"]) for each in opened] == [
        ("first", "flask db upgrade"),
        ("other", ""),
    ]
    assert [
        each["number"]
        for each in (hosts["app1"].parameters("follow"), hosts["app2"].parameters("follow"))
    ] == ["5", "4"]
    # Its log is told from the line after the last one
    assert hosts["app1"].parameters("follow")["from"] == "4"
    verdict = next(
        step.path
        for plan, _, _ in hosts["base"].applied
        for step in plan
        if isinstance(step, File) and step.path.endswith(".verdict")
    )
    assert hosts["base"].written(verdict) == "serve\n"


@pytest.mark.parametrize(
    ("answers", "said", "cause"),
    [
        (
            {"app2": {"open update": [{"result": "failed", "cause": "no room", "serving": OLD}]}},
            ["app1: say back"],
            "no room",
        ),
        ({"app2": {"open update": [StepError("app2: died")]}}, ["app1: say back"], "app2: died"),
        ({"app1": {"say stay": [ConnectError("app1: lost")]}}, ["app2: say back"], "app1: lost"),
        (
            {"app1": {"say migrate": answer("failed: column x")}},
            ["app1: say back", "app2: say back"],
            "column x",
        ),
        (
            {"app2": {"say check": answer("failed: /up answered 500")}},
            ["app1: say back", "app2: say back"],
            "/up answered 500",
        ),
        ({"app2": {"say check": [{}]}}, ["app1: say back", "app2: say back"], "app2: no answer"),
    ],
)
def test_what_breaks_before_the_end_takes_all_of_them_back(
    tmp_path: Path, answers: Any, said: list[str], cause: str
) -> None:
    hosts = several(tmp_path, SHARED, {"": PLAYS, **answers})
    outcomes, why = played(hosts)
    assert why == ""
    assert {found.result for found in outcomes.values()} <= {"failed", "ready"}
    assert (
        sorted(line for line in hosts["app1"].journal if "say back" in line or "say serve" in line)
        == said
    )
    steps = [
        step
        for plan, _, _ in (*hosts["app1"].applied, *hosts["app2"].applied)
        for step in plan
        if isinstance(step, Procedure)
    ]
    because = [
        step.parameters["because"] for step in steps if step.parameters.get("word") == "back"
    ]
    assert because
    assert all(cause in each for each in because)


@pytest.mark.parametrize(
    ("broken", "restored"),
    [("say migrate", True), ("say check", True), ("say stay", False), ("open update", False)],
)
def test_the_database_goes_back_first_where_there_is_a_dump_of_this_window(
    tmp_path: Path, broken: str, restored: bool
) -> None:
    hosts = several(tmp_path, SHARED, {"": PLAYS, "app1": {broken: answer("failed: x")}})
    played(hosts)
    labels = [str(step) for plan, _, _ in hosts["base"].applied for step in plan]
    assert ("the database as before" in labels) is restored
    assert "note: back" in labels
    if restored:
        journal = hosts["app1"].journal
        last = max(number for number, line in enumerate(journal) if line == "base: steps")
        assert last < journal.index("app1: say back")
        assert "putting the database back: dump" in hosts["base"].said()


def test_a_dump_that_fails_takes_all_back_before_anything_was_migrated(tmp_path: Path) -> None:
    hosts = several(
        tmp_path, SHARED, {"": PLAYS, "base": {"steps": [StepError("base: disk full"), {}]}}
    )
    _, why = played(hosts)
    assert why == ""
    assert words(hosts, "app1") == ["open update", "say close", "say stay", "say back", "finish"]


def test_where_the_database_cannot_be_put_back_every_host_stays_closed(tmp_path: Path) -> None:
    hosts = several(
        tmp_path,
        SHARED,
        {
            "": PLAYS,
            "app1": {"say migrate": answer("failed: x")},
            "base": {"steps": [{}, StepError("base: gone")]},
        },
    )
    _, why = played(hosts)
    assert (
        why == f"app1: x; and the database could not be put back: base: gone; {joint_window.CLOSED}"
    )
    assert not any("say back" in line or "say serve" in line for line in hosts["app1"].journal)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({}, ""),
        (
            {"app1": {"say check": answer("failed: x")}},
            "app1: x: how it ended could not be written down",
        ),
    ],
)
def test_where_the_verdict_cannot_be_written_down_every_host_stays_closed(
    tmp_path: Path, broken: Any, why: str
) -> None:
    steps: list[Any] = (
        [{}, StepError("base: gone")] if not broken else [{}, {}, StepError("base: gone")]
    )
    hosts = several(tmp_path, SHARED, {"": PLAYS, **broken, "base": {"steps": steps}})
    _, said = played(hosts)
    assert said == (
        f"{why}: base: gone; {joint_window.CLOSED}" if why else f"base: gone; {joint_window.CLOSED}"
    )
    assert not any("say back" in line or "say serve" in line for line in hosts["app1"].journal)


@pytest.mark.parametrize(
    ("broken", "word", "told"),
    [
        ({"app1": {"say migrate": answer("failed: x")}}, "back", False),
        ({"app2": {"say check": answer("failed: x")}}, "serve", True),
        ({}, "serve", False),
    ],
)
def test_somebody_elses_database_has_no_dump_so_what_migrated_stays(
    tmp_path: Path, broken: Any, word: str, told: bool
) -> None:
    hosts = several(tmp_path, EXTERNAL, {"": PLAYS, **broken})
    played(hosts, server="")
    assert f"app2: say {word}" in hosts["app2"].journal
    assert (
        any(
            "the new release serves nevertheless, as the migration ran" in line
            for line in hosts["app1"].said()
        )
        is told
    )
    assert any(line.startswith("no dump") for line in hosts["app1"].said())


class Interrupted(Fleet):
    """A fleet in which Ctrl-C comes instead of the fourth thing that is done on every host."""

    def map(self, work: Any, items: Any, at_once: int = AT_ONCE) -> Any:
        self.done = getattr(self, "done", 0) + 1
        if self.done == 4:
            raise KeyboardInterrupt
        return super().map(work, items, at_once)


def test_ctrl_c_says_where_nothing_serves(tmp_path: Path) -> None:
    hosts = several(tmp_path, SHARED, {"": PLAYS})
    with pytest.raises(KeyboardInterrupt):
        played(hosts, fleet=Interrupted(fleet_of(hosts.values()).connections))
    for name in ("app1", "app2"):
        assert words(hosts, name) == ["open update", "say close", "say stay"]
        assert (
            "over several hosts is open, and nothing serves here until the same command is run"
            " again" in hosts[name].said()[-1]
        )


# --- what a client left open
# ----------------------------------------------------------------------------------------------------------


def left(
    folder: Path,
    first: Participation | None,
    other: Participation | None,
    text: str = SHARED,
    answers: Any = None,
    verdict: str = "",
    words: str = "",
) -> dict[str, FakeHost]:
    """Return the hosts of a window that a client left open.

    `verdict` is what was written down, `words` what a host was told.
    """
    waits = {"wait": answer("migrated"), "say serve": [ENDS], "say back": [WENT_BACK]}
    hosts = several(folder, text, {"": {**waits, **(answers or {})}})
    for name, role in (("app1", first), ("app2", other)):
        hosts[name]._asked = replace(LIVE, participations=(role,) if role else ())
    keeper = "base" if "base" in hosts else "app1"
    hosts[keeper].texts[f"{hosts[keeper].paths.logs}/w.verdict"] = verdict
    for host in hosts.values():
        host.says["sh"] = words or ("/srv/shop/backups/dump" if host.name == "base" else "")
    return hosts


@pytest.mark.parametrize(
    ("verdict", "words", "word", "restored"),
    [
        ("serve\n", "", "serve", False),
        ("back\n", "", "back", False),
        ("", "", "back", True),
        ("", "serve", "serve", False),
    ],
)
def test_a_window_that_was_left_open_ends_as_it_was_written_down_or_told_else_back(
    tmp_path: Path, verdict: str, words: str, word: str, restored: bool
) -> None:
    hosts = left(
        tmp_path,
        Participation("w", "first", 3, "migrated"),
        Participation("w", "other", 2, "well"),
        verdict=verdict,
        words=words,
    )
    joint_window.finish_interrupted(fleet_of(hosts.values()), hosts)
    journal = hosts["app1"].journal
    assert {f"app1: say {word}", f"app2: say {word}"} <= set(journal)
    assert journal.index("app1: wait") < journal.index(f"app1: say {word}")
    assert "app2: wait" not in journal
    assert (
        "the database as before"
        in [str(step) for plan, _, _ in hosts["base"].applied for step in plan]
    ) is restored
    assert "app1: lock the end of a window over several hosts at shop.lock.client" in journal
    assert {"app1: finish", "app2: finish", "base: finish"} <= set(journal)
    assert journal[-1].endswith("unlock")
    assert hosts["app1"].said()[0] == "the window w over several hosts is still open here: migrated"
    assert hosts["app1"].said()[-1].startswith("the window w ended: ")


def test_nothing_is_asked_where_no_window_was_left_open_or_nothing_may_change(
    tmp_path: Path,
) -> None:
    hosts = left(tmp_path, None, None)
    joint_window.finish_interrupted(fleet_of(hosts.values()), hosts)
    assert hosts["app1"].journal == []
    dry = left(tmp_path, Participation("w", "first", 3, "migrated"), None)
    for host in dry.values():
        host.connection.config.run.dry = True
    joint_window.finish_interrupted(fleet_of(dry.values()), dry)
    assert dry["app1"].journal == []


@pytest.mark.parametrize(
    ("left_out", "text", "said"),
    [
        ("base", SHARED, "base, which has the database,"),
        ("app1", EXTERNAL, "the host that migrated"),
    ],
)
def test_where_the_host_that_knows_is_not_there_the_others_stay_closed(
    tmp_path: Path, left_out: str, text: str, said: str
) -> None:
    hosts = left(
        tmp_path,
        Participation("w", "first", 3, "migrated"),
        Participation("w", "other", 2, "well"),
        text,
    )
    del hosts[left_out]
    with pytest.raises(
        DeployError, match=f"only {said} knows how window w ended, and it is not among these hosts"
    ):
        joint_window.finish_interrupted(fleet_of(hosts.values()), hosts)
    assert not any("say" in line for line in hosts["app2"].journal)


@pytest.mark.parametrize(
    ("reached", "word"), [("migrated", "serve"), ("well", "serve"), ("stays", "back")]
)
def test_somebody_elses_database_serves_where_the_migration_ran(
    tmp_path: Path, reached: str, word: str
) -> None:
    hosts = left(
        tmp_path,
        Participation("w", "first", 3, reached),
        Participation("w", "other", 2, "stays"),
        EXTERNAL,
        {"wait": answer(reached)},
    )
    joint_window.finish_interrupted(fleet_of(hosts.values()), hosts)
    assert f"app2: say {word}" in hosts["app2"].journal


def test_a_host_that_fails_while_a_window_is_ended_is_named(tmp_path: Path) -> None:
    hosts = left(
        tmp_path,
        Participation("w", "first", 3, "migrated"),
        Participation("w", "other", 2, "well"),
        verdict="serve\n",
        answers={"say serve": [StepError("lost")]},
    )
    with pytest.raises(
        DeployError, match="failed on app1, app2; what serves is shown by: fab status"
    ):
        joint_window.finish_interrupted(fleet_of(hosts.values()), hosts)


@pytest.mark.parametrize(
    ("db", "problem"),
    [('kind = "postgresql"\nsnapshot = "never"', "never"), ('kind = "postgresql"', "dump")],
)
def test_a_dump_is_left_out_only_where_hosts_toml_says_so(
    tmp_path: Path, db: str, problem: str
) -> None:
    host = several(tmp_path, SHARED.replace('kind = "postgresql"', db))["base"]
    assert joint_window.dump(host, "w", "") == ""
    if problem == "never":
        assert (host.journal, host.said()[0].startswith("no dump")) == ([], True)
    else:
        assert any(
            "backups/w-empty.dump" in str(step.words())
            for plan, _, _ in host.applied
            for step in plan
            if hasattr(step, "command")
        )

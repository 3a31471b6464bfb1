"""A plan is a value; compiled, it is one sh program, which is run here in a folder."""

import grp
import hashlib
import os
import pwd
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from decant.output import Output
from decant.plans.rendering import driver
from decant.program import Mode, compile_plan
from decant.quoting import Secret
from decant.remote.report import Reader, Report
from decant.steps import (
    Absent,
    Background,
    Directory,
    Edit,
    File,
    GeneratedSecret,
    Handler,
    Link,
    Plan,
    Procedure,
    Run,
    SecretValue,
    Transaction,
)
from tests.unit.values import HOSTILE

ME = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"
Apply = Callable[..., list[str]]


def run(folder: Path, plan: Plan, mode: Mode = "apply", code: int = 0) -> list[str]:
    """Run a plan's program with its state in a folder, and return the lines of its report."""
    here = folder / "program"
    here.mkdir(parents=True, exist_ok=True)
    archive = compile_plan(((mode, plan),), "shop").archive(driver())
    subprocess.run(["tar", "-xzf", "-", "-C", str(here)], input=archive, check=True)
    done = subprocess.run(
        ["sh", str(here / "program")],
        capture_output=True,
        text=True,
        env={**os.environ, "DECANT_STATE": str(folder / "state")},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def words(lines: list[str]) -> list[str]:
    first = [line.split("\t")[0] for line in lines]
    return [word for word in first if word not in ("start", "diff", "log")]


def test_a_compiled_plan_reads_like_the_plan() -> None:
    program = compile_plan(
        (("apply", (Directory("/srv/shop"), Link("/a b", "/c"))),),
        "shop",
        ("/run/decant/shop.lock", "t"),
    )
    assert "step 1 - directory /srv/shop root:root 0755\nstep 2 - link '/a b' /c\n" in program.text


def test_the_second_run_changes_nothing(tmp_path: Path) -> None:
    plan = (
        Directory(f"{tmp_path}/d", ME, 0o750),
        File(f"{tmp_path}/d/f", "text\n", ME, 0o640),
        Link(f"{tmp_path}/d/l", "f"),
        GeneratedSecret(f"{tmp_path}/d/secrets", "KEY", ME),
        Run(("touch", f"{tmp_path}/d/ran"), unless=("test", "-e", f"{tmp_path}/d/ran")),
    )
    assert words(run(tmp_path, plan)) == ["changed"] * 5
    secret = (tmp_path / "d/secrets").read_text()
    assert words(run(tmp_path, plan)) == ["ok"] * 5
    assert (tmp_path / "d/secrets").read_text() == secret
    assert len(secret) > 60
    assert (tmp_path / "d/secrets").stat().st_mode & 0o777 == 0o640


def test_a_command_that_has_run_is_asked_about_once(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    plan = (Run(("false",), unless=("sh", "-c", f"echo asked; echo asked >>{asked}")),)
    assert words(run(tmp_path, plan)) == ["ok"]
    assert asked.read_text() == "asked\n"


def test_a_command_is_asked_about_again_after_a_change(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old\n")
    plan = (
        File(f"{tmp_path}/f", "new\n", ME),
        Run(("touch", f"{tmp_path}/ran"), unless=("grep", "-q", "old", f"{tmp_path}/f")),
    )
    assert words(run(tmp_path, plan)) == ["say", "changed", "changed"]
    assert (tmp_path / "ran").exists()


def test_what_comes_first_is_on_the_disk_before_anything_else(tmp_path: Path) -> None:
    """After a power cut an account without its manifest was taken for somebody else's."""
    plan = (
        File(f"{tmp_path}/first", "x", ME, first=True),
        GeneratedSecret(f"{tmp_path}/secret", "KEY", ME),
        File(f"{tmp_path}/later", "x", ME),
    )
    here, noted = tmp_path / "program", tmp_path / "noted"
    here.mkdir()
    archive = compile_plan((("apply", plan),), "shop").archive(driver())
    subprocess.run(["tar", "-xzf", "-", "-C", str(here)], input=archive, check=True)
    steps = here / "steps.sh"
    note = f'sync() {{ echo "sync $*" >>{noted}; }}\nmv() {{ echo "mv $*" >>{noted}; command mv "$@"; }}\n'
    steps.write_text(note + steps.read_text())
    environment = {**os.environ, "DECANT_STATE": str(tmp_path / "state")}
    subprocess.run(["sh", str(here / "program")], check=True, env=environment)
    done = noted.read_text().splitlines()
    assert [line for line in done if "state/" not in line] == [
        f"sync {tmp_path}/first.decant-new",
        f"mv -fT {tmp_path}/first.decant-new {tmp_path}/first",
        f"sync {tmp_path}",
        f"sync {tmp_path}/secret.decant-new",
        f"mv -fT {tmp_path}/secret.decant-new {tmp_path}/secret",
        f"sync {tmp_path}",
        f"mv -fT {tmp_path}/later.decant-new {tmp_path}/later",
    ]


def test_a_dry_run_shows_the_difference_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old\n")
    plan = (
        File(f"{tmp_path}/f", "new\n", ME),
        File(f"{tmp_path}/s", Secret("hunter2"), ME),
        Handler("daemon-reload"),
    )
    lines = run(tmp_path, plan, "check")
    assert "diff\t1\t-old" in lines
    assert "diff\t1\t+new" in lines
    assert not any("hunter2" in line for line in lines)
    assert (tmp_path / "f").read_text() == "old\n"
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "state").exists()


def test_a_notification_shows_in_a_dry_run_when_its_cause_would_change(tmp_path: Path) -> None:
    plan = (
        File(f"{tmp_path}/f", "new\n", ME, notify=("nginx.service.reload",)),
        Handler("nginx.service.reload"),
    )
    assert words(run(tmp_path, plan, "check")) == ["would", "would"]


def test_a_notification_outlives_a_program_that_fails_after_the_change(tmp_path: Path) -> None:
    plan = (
        File(f"{tmp_path}/f", "new\n", ME, notify=("nginx.service.reload",)),
        Run(("false",)),
        Handler("nginx.service.reload"),
    )
    run(tmp_path, plan, code=1)
    assert (tmp_path / "state/pending/shop/nginx.service.reload").exists()


def test_comparing_says_what_differs_and_changes_nothing(tmp_path: Path) -> None:
    assert words(
        run(
            tmp_path,
            (
                File(f"{tmp_path}/f", "x", ME),
                Directory(str(tmp_path), ME, tmp_path.stat().st_mode & 0o7777),
            ),
            "compare",
        )
    ) == [
        "differs",
        "ok",
    ]
    assert not (tmp_path / "f").exists()


def test_comparing_tells_what_somebody_else_did(tmp_path: Path) -> None:
    def why(text: str) -> str:
        (line,) = run(tmp_path, (File(f"{tmp_path}/f", text, ME),), "compare")
        return line

    assert why("x") == "differs\t1\t"  # it was never written
    run(tmp_path, (File(f"{tmp_path}/f", "x", ME),))
    assert why("x") == "ok\t1"
    assert why("y") == "differs\t1\t"
    (tmp_path / "f").write_text("by hand")
    assert why("x") == why("y") == "differs\t1\tedited"
    (tmp_path / "f").unlink()
    assert why("x") == "differs\t1\tmissing"


def test_a_file_that_somebody_else_made_what_is_wanted_is_ours_again(tmp_path: Path) -> None:
    run(tmp_path, (File(f"{tmp_path}/f", "x", ME),))
    (tmp_path / "f").write_text("y")
    assert words(run(tmp_path, (File(f"{tmp_path}/f", "y", ME),))) == ["ok"]
    record = (tmp_path / "state/apps/shop.files").read_text().splitlines()
    assert record[-1].startswith(hashlib.sha256(b"y").hexdigest())


def test_a_failed_step_ends_the_program_with_the_end_of_its_output(tmp_path: Path) -> None:
    lines = run(
        tmp_path,
        (Run(("sh", "-c", "echo the cause; exit 3")), File(f"{tmp_path}/f", "x", ME)),
        code=1,
    )
    assert "log\t1\tthe cause" in lines
    assert lines[-1] == "failed\t1"
    assert not (tmp_path / "f").exists()


def test_together_puts_everything_back_when_the_check_fails(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "gone").write_text("gone")
    steps = (
        File(f"{tmp_path}/old", "new", ME),
        File(f"{tmp_path}/fresh", "x", ME),
        Link(f"{tmp_path}/link", "x"),
        Absent(f"{tmp_path}/gone"),
    )
    lines = run(
        tmp_path,
        (
            Transaction(
                steps,
                validate=("sh", "-c", "echo broken; exit 1"),
                undo=("touch", f"{tmp_path}/undone"),
            ),
        ),
        code=1,
    )
    assert "log\t5\tbroken" in lines
    assert (tmp_path / "old").read_text() == "old"
    assert (tmp_path / "gone").read_text() == "gone"
    assert not (tmp_path / "fresh").exists()
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "undone").exists()


def test_together_puts_everything_back_when_one_of_its_steps_fails(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    run(
        tmp_path,
        (Transaction((File(f"{tmp_path}/old", "new", ME), Run(("false",))), validate=("true",)),),
        code=1,
    )
    assert (tmp_path / "old").read_text() == "old"


def test_together_checks_only_when_something_changed(tmp_path: Path) -> None:
    plan = (
        Transaction(
            (File(f"{tmp_path}/f", "x", ME),), validate=("sh", "-c", f"echo >>{tmp_path}/checks")
        ),
    )
    run(tmp_path, plan)
    run(tmp_path, plan)
    assert (tmp_path / "checks").read_text() == "\n"


def test_a_hand_made_edit_is_kept_before_it_is_overwritten(tmp_path: Path) -> None:
    run(tmp_path, (File(f"{tmp_path}/f", "ours\n", ME),))
    run(tmp_path, (File(f"{tmp_path}/f", "ours, too\n", ME),))
    assert not (tmp_path / "state/kept").exists()
    (tmp_path / "f").write_text("by hand\n")
    lines = run(tmp_path, (File(f"{tmp_path}/f", "ours again\n", ME),))
    assert any(line.startswith("say\t1\t") and "is kept in" in line for line in lines)
    kept = [path for path in (tmp_path / "state/kept").rglob("*") if path.is_file()]
    assert [path.read_text() for path in kept] == ["by hand\n"]


def test_a_folder_in_the_way_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    assert any(
        "is a folder" in line for line in run(tmp_path, (File(f"{tmp_path}/f", "x", ME),), code=1)
    )
    assert any(
        "is a folder" in line for line in run(tmp_path, (Link(f"{tmp_path}/f", "x"),), code=1)
    )


def test_an_edit_is_what_sed_leaves_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a 1\nb\n")
    (tmp_path / "f").chmod(0o640)
    plan = (Edit(f"{tmp_path}/f", "s/a 1/a 2/"),)
    assert "diff\t1\t+a 2" in run(tmp_path, plan, "check")
    assert words(run(tmp_path, plan)) == ["say", "changed"]
    assert (tmp_path / "f").read_text() == "a 2\nb\n"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
    assert words(run(tmp_path, plan)) == ["ok"]


@given(HOSTILE)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_files_content_arrives_byte_for_byte(tmp_path: Path, text: str) -> None:
    run(tmp_path, (File(f"{tmp_path}/f", text, ME),))
    assert (tmp_path / "f").read_bytes() == text.encode()


@given(
    HOSTILE.filter(
        lambda text: (
            "\n" not in text and text.strip("./ ") and "/" not in text and len(text.encode()) < 200
        )
    )
)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_hostile_path_is_one_path(tmp_path: Path, name: str) -> None:
    assert words(run(tmp_path, (File(f"{tmp_path}/x{name}", "x", ME),)))[-1] == "changed"
    assert (tmp_path / f"x{name}").read_text() == "x"
    assert not (tmp_path / "owned").exists()
    (tmp_path / f"x{name}").unlink()


def script(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.sh").write_text(text)


def test_what_is_begun_beside_the_steps_is_over_before_the_next_procedure(tmp_path: Path) -> None:
    script(
        tmp_path,
        "long",
        f'sleep 0.5; test -e {tmp_path}/f && printf "say\t$DECANT_STEP\thello\n" >&3; touch'
        f" {tmp_path}/done",
    )
    script(tmp_path, "next", f"test -e {tmp_path}/done")
    plan = (
        Background("long", {}, str(tmp_path)),
        File(f"{tmp_path}/f", "x", ME),
        Procedure("next", {}, str(tmp_path)),
    )
    lines = run(tmp_path, plan)
    assert lines == ["ok\t1", "start\t2", "changed\t2", "say\t1\thello", "start\t3", "ok\t3"]
    assert [
        line for line in run(tmp_path / "dry", plan, mode="check") if line.startswith("ok")
    ] == ["ok\t2"]


def test_what_is_begun_beside_the_steps_ends_with_a_step_that_fails(tmp_path: Path) -> None:
    script(tmp_path, "long", f"echo $$ >{tmp_path}/pid; sleep 60 & sleep 60")
    plan = (
        Background("long", {}, str(tmp_path)),
        Run(("sh", "-c", f"while [ ! -s {tmp_path}/pid ]; do sleep 0.05; done; exit 1")),
    )
    assert words(run(tmp_path, plan, code=1)) == ["ok", "failed"]
    group = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(
        in_group(path, group) for path in Path("/proc").glob("[0-9]*/stat")
    ):
        time.sleep(0.05)
    assert not [path for path in Path("/proc").glob("[0-9]*/stat") if in_group(path, group)]


def in_group(stat: Path, group: int) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[2] == str(group)
    except OSError:
        return False


def test_what_is_as_it_should_be_is_seen_at_the_beginning_and_not_after_a_change(
    tmp_path: Path,
) -> None:
    file, other = tmp_path / "a b", tmp_path / "other"
    plan = (
        Directory(str(tmp_path / "folder"), ME),
        File(str(file), "text\n", ME),
        File(str(other), "more\n", ME),
    )
    run(tmp_path / "first", plan)
    other.write_text("changed\n")
    program = compile_plan((("apply", plan),), "shop")
    told = replace(
        program,
        text=program.text.replace("\nbegin\n", '\nbegin\ntell say "seen:$seen"\n').replace(
            "\nexit 0", '\ntell say "seen:$seen"\nexit 0'
        ),
    )
    here = tmp_path / "second"
    here.mkdir()
    subprocess.run(["tar", "-xzf", "-", "-C", str(here)], input=told.archive(driver()), check=True)
    done = subprocess.run(
        ["sh", str(here / "program")],
        capture_output=True,
        text=True,
        env={**os.environ, "DECANT_STATE": str(tmp_path / "state")},
    )
    seen = [
        sorted(line.partition("seen:")[2].split())
        for line in done.stdout.splitlines()
        if "seen:" in line
    ]
    assert seen == [["1", "2"], []]
    assert other.read_text() == "more\n"


@pytest.mark.parametrize(
    ("guarded", "path", "asked"),
    [
        (True, "/var/lib/decant/guard/shop", True),
        (True, "/var/lib/decant/guard/other", False),
        (True, "/srv/shop/shared", False),
        (False, "/var/lib/decant/guard/shop", False),
    ],
)
def test_a_second_connection_is_shown_only_where_the_plan_is_guarded_and_only_to_its_own_guard(
    guarded: bool, path: str, asked: bool
) -> None:
    plan = (Transaction((File("/x", "y"),), validate=("true",), guarded=guarded),)
    program, report, shown = compile_plan((("apply", plan),), "shop"), Report(), list[str]()
    reader = Reader(program, report, Output("shop"), shown.append, "/var/lib/decant/guard/shop")
    reader.line(f"value\t1\tguard\t{path}")
    assert shown == ([path] if asked else [])
    assert "guard" not in report.values


@pytest.mark.parametrize("line", ['  KEY="old"', 'export KEY="old"', 'KEY = "old"'])
def test_a_secret_that_was_edited_by_hand_stays(tmp_path: Path, line: str) -> None:
    (tmp_path / "secrets").write_text(f"{line}\n")
    (tmp_path / "secrets").chmod(0o640)
    assert words(run(tmp_path, (GeneratedSecret(f"{tmp_path}/secrets", "KEY", ME),))) == ["ok"]
    assert words(
        run(tmp_path, (SecretValue(f"{tmp_path}/secrets", "KEY", ME, Secret("new")),))
    ) == ["changed"]
    assert (tmp_path / "secrets").read_text() == 'KEY="new"\n'


def test_what_was_written_is_known_also_where_another_path_begins_alike(tmp_path: Path) -> None:
    first, longer = tmp_path / "site", tmp_path / "site.conf"
    run(tmp_path, (File(f"{longer}", "1\n", ME), File(f"{first}", "1\n", ME)))
    assert words(run(tmp_path, (File(f"{longer}", "2\n", ME),))) == ["changed"]
    assert not (tmp_path / "state/kept").exists()


def test_a_file_that_a_power_cut_kept_without_its_note_is_not_called_edited(
    tmp_path: Path,
) -> None:
    file, record = tmp_path / "f", tmp_path / "state/apps/shop.files"
    run(tmp_path, (File(str(file), "one\n", ME),))
    before = record.read_text()
    run(tmp_path, (File(str(file), "two\n", ME),))
    record.write_text(before)  # the disk has the file, and not yet the note
    assert words(run(tmp_path, (File(str(file), "three\n", ME),))) == ["changed"]
    file.write_text("two\n")  # by hand
    assert words(run(tmp_path, (File(str(file), "four\n", ME),))) == ["say", "changed"]


def test_a_file_of_which_a_power_cut_kept_the_name_alone_is_missing_and_not_edited(
    tmp_path: Path,
) -> None:
    file = tmp_path / "f"
    run(tmp_path, (File(str(file), "one\n", ME),))
    file.write_text("")
    assert run(tmp_path, (File(str(file), "one\n", ME),), "compare") == ["differs\t1\tmissing"]
    assert words(run(tmp_path, (File(str(file), "one\n", ME),))) == ["changed"]
    assert not (tmp_path / "state/kept").exists()


def test_a_file_that_was_put_back_by_hand_to_an_older_text_of_ours_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "site"
    for text in ("1\n", "2\n"):
        run(tmp_path, (File(f"{file}", text, ME),))
    file.write_text("1\n")
    lines = run(tmp_path, (File(f"{file}", "3\n", ME),))
    assert words(lines) == ["say", "changed"]
    assert "was edited by hand" in lines[1]


def test_the_record_of_what_was_written_keeps_one_line_a_path_and_no_half_one(
    tmp_path: Path,
) -> None:
    file, other = tmp_path / "site", tmp_path / "other"
    run(tmp_path, (File(f"{other}", "1\n", ME),))
    for text in ("1\n", "2\n"):
        run(tmp_path, (File(f"{file}", text, ME),))
    record = tmp_path / "state/apps/shop.files"
    with record.open("a") as half:
        half.write("0123456789abcdef")  # the server lost its power here
    run(tmp_path, (Directory(f"{tmp_path}/d", ME),))
    assert [line[66:] for line in record.read_text().splitlines()] == [f"{other}", f"{file}"]
    assert words(run(tmp_path, (File(f"{file}", "3\n", ME),))) == ["changed"]
    assert not (tmp_path / "state/kept").exists()

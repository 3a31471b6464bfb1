"""The harness that plays faults: what it hooks, what it chooses, and that it misses nothing."""

import ast
import subprocess
from pathlib import Path

import pytest

from tests.faults import boundaries, sweep

HOOKED = {
    name: data for name, data in boundaries.hooked().items() if data != boundaries.original()[name]
}


@pytest.mark.parametrize("name", [name for name in HOOKED if name.endswith(".sh")])
def test_a_hooked_script_is_one_that_sh_reads(name: str) -> None:
    done = subprocess.run(["sh", "-n"], input=HOOKED[name], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert HOOKED[name].count(b'boundary "') >= 1


@pytest.mark.parametrize("name", boundaries.HOOKED_PYTHON)
def test_a_hooked_module_is_one_that_python_reads_and_calls_its_hook(name: str) -> None:
    tree = ast.parse(HOOKED[name])
    calls = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Expr)]
    assert "_boundaries()" in calls


def test_a_boundary_waits_at_the_one_that_is_wanted_and_has_one_name_in_every_run(
    tmp_path: Path,
) -> None:
    text = boundaries.IN_SH.replace(boundaries.ON_SERVER, str(tmp_path))
    (tmp_path / "stop").write_text("step file /srv/shop/releases/*/x\t2\n")
    calls = "".join(
        f"boundary 'step file /srv/shop/releases/{release}/x'\n"
        for release in ("20260101T000000-1a2b3c4", "20260102T000000-5d6e7f8", "20260103T000000-0")
    )
    process = subprocess.Popen(["sh", "-uc", f"{text}\n{calls}"])
    while not (tmp_path / "reached").exists() or not (tmp_path / "reached").read_text():
        assert process.poll() is None
    assert (tmp_path / "trace").read_text() == "step file /srv/shop/releases/*/x\n" * 2
    assert int((tmp_path / "reached").read_text()) == process.pid
    (tmp_path / "reached").unlink()
    assert process.wait(timeout=30) == 0
    assert (tmp_path / "trace").read_text().splitlines()[2].startswith("step file /srv/shop/rel")


@pytest.mark.parametrize("of", [1, 5, 12])
def test_the_shards_together_have_each_stack_and_phase_once(of: int) -> None:
    found = [group for number in range(1, of + 1) for group in sweep.groups(f"{number}/{of}")]
    assert sorted(found) == sorted(
        (stack, phase) for stack in sweep.STACKS for phase in sweep.PHASES
    )


def test_what_is_asked_for_alone_is_found() -> None:
    assert sweep.groups("1/1", "default/update/window.py") == [("default", "update")]
    assert sweep.groups("1/1", "uwsgi/") == [("uwsgi", phase) for phase in sweep.PHASES]


def test_as_many_seeds_as_there_are_faults_play_each_of_them_at_a_boundary() -> None:
    boundary = sweep.Boundary("default", "update", "window.sh", 1)
    found = {sweep.chosen(boundary, seed) for seed in range(len(sweep.FAULTS))}
    assert found == sweep.FAULTS.keys()

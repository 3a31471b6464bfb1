"""Nothing moved: what the nine stacks send to a server, byte for byte.

Where a change is meant, `python -m tests.unit.test_golden` writes the digests anew; they belong in
the commit that changes them. One program
is kept whole, so that its diff shows what changed.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from decant.config.models import Settings
from decant.facts import Facts, Release
from decant.plans import release, release_files
from decant.plans.provision import provision
from decant.program import Program, compile_plan
from tests.servers.test_stacks import STACKS
from tests.unit.values import FACTS, settings

ROOT = Path(__file__).parents[2]
DIGESTS = Path(__file__).with_name("golden.json")
PROGRAM = Path(__file__).with_name("golden.sh")
SERVES: dict[str, Any] = {
    "current": "20260101T000000",
    "releases": (Release("20260101T000000", "good", "c0ffee"),),
    "systemd": "252",
    "nginx": "1.22.1",
    "openssh": "9.2",
}
ROWS = {"-".join(stack): stack for stack in STACKS}


def digest(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def chosen(server: str, manager: str, proxy: str) -> Settings:
    return settings(
        wsgi={"server": server, "manager": manager},
        proxy={"kind": proxy, "domains": ["shop.test"]},
        app={"static": {"/static": "static"}, "env": {"COLOUR": "blue"}},
        db={"kind": "postgresql"},
        system={"harden": True},
    )


def facts(live: bool, server: str) -> Facts:
    return replace(FACTS, **SERVES, server=server) if live else FACTS


def program(row: str, live: bool) -> Program:
    made, found = chosen(*ROWS[row]), facts(live, ROWS[row][0])
    with patch("decant.plans.app.build", lambda: "a build"):  # changes with any of our files
        plan = (
            *provision(made, found),
            *release.prepare(made, "20260202T000000", release_files.files(made, found)),
        )
    return compile_plan((("apply", plan),), "shop")


def found(row: str) -> dict[str, str]:
    """Return the digests of a stack.

    Its programs and their files, at the first deploy and on a server that serves, and its release.
    """
    first, live = program(row, live=False), program(row, live=True)
    contents = release_files.contents(chosen(*ROWS[row]), FACTS)
    return {
        "first deploy": digest(first.text),
        "its files": _files(first.files),
        "deploy": digest(live.text),
        "their files": _files(live.files),
        "release": _files({f"{name} {mode:o}": data for name, (data, mode) in contents.items()}),
    }


def listed() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fabric", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return digest(done.stdout)


def _files(files: Mapping[str, bytes]) -> str:
    return digest(json.dumps({name: digest(data) for name, data in sorted(files.items())}))


def golden() -> Any:
    return json.loads(DIGESTS.read_text())


@pytest.mark.parametrize("row", ROWS)
def test_a_stack_sends_what_it_sent(row: str) -> None:
    assert found(row) == golden()[row]


def test_one_program_is_what_it_was_line_by_line() -> None:
    assert program("gunicorn-systemd-nginx", live=False).text == PROGRAM.read_text()


def test_the_list_of_tasks_is_what_it_was() -> None:
    assert listed() == golden()["fab --list"]


if __name__ == "__main__":
    DIGESTS.write_text(
        json.dumps({**{row: found(row) for row in ROWS}, "fab --list": listed()}, indent=1) + "\n"
    )
    PROGRAM.write_text(program("gunicorn-systemd-nginx", live=False).text)

"""Whatever a value holds, it arrives as it is and is never executed."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from decant import quoting
from decant.quoting import Secret
from tests.unit.values import HOSTILE


@given(HOSTILE)
@settings(max_examples=60, deadline=None)
def test_a_quoted_value_is_one_word(value: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf %s {quoting.quote(value)}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == value


@given(HOSTILE)
@settings(max_examples=60, deadline=None)
def test_an_assignment_is_read_back_as_it_was(value: str) -> None:
    text = quoting.assignments({"given": value}) + 'printf %s "$given"'
    done = subprocess.run(["sh"], input=text.encode(), capture_output=True, check=True)
    assert done.stdout.decode() == value


def test_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoting.quote("a\0b")


def test_a_name_that_is_no_variable_is_refused() -> None:
    with pytest.raises(ValueError, match="no shell variable"):
        quoting.assignments({"a; rm -rf /": "x"})


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_shlex_is_used_in_one_place_only() -> None:
    users = [
        path
        for path in (Path(__file__).parents[2] / "decant").rglob("*.py")
        if "server" not in path.parts and "shlex" in path.read_text()
    ]
    assert [path.name for path in users] == ["quoting.py"]

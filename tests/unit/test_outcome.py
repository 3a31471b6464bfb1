"""What is said of a window that failed.

Which release serves is the server's word, whatever letters its cause has.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from decant.operations.release.outcome import Outcome, Result, Verdict, judge
from decant.output import Output

HOST: Any = SimpleNamespace(name="a", output=Output("a"))


@pytest.mark.parametrize(
    ("values", "old", "said"),
    [
        (
            {"result": "failed", "cause": "ValueError: column preserves", "serving": "old"},
            "old",
            "ValueError: column preserves; old serves as before; fix",
        ),
        (
            {"result": "failed", "cause": "it stays closed", "serving": "new"},
            "old",
            "it stays closed; new serves; fix",
        ),
        (
            {"result": "failed", "cause": "no room", "serving": ""},
            "",
            "no room; nothing serves yet; fix",
        ),
        (
            {"result": "failed", "cause": "not well", "serving": "new"},
            "new",
            "not well; new serves; fix",
        ),
        (
            {"result": "unknown", "cause": "cut off", "serving": "old"},
            "old",
            "cut off; what serves is shown by: fab -H a status; fix",
        ),
        ({}, "old", "; what serves is shown by: fab -H a status; fix"),
    ],
)
def test_who_serves_is_the_servers_word(values: dict[str, str], old: str, said: str) -> None:
    found = judge(HOST, Verdict.read(values), Outcome("a", Result.READY, "new"), None, old)
    assert found.result == "failed"
    assert found.cause.startswith(said)


def test_a_good_window_has_no_cause() -> None:
    found = judge(
        HOST,
        Verdict(Result.GOOD, serving="new"),
        Outcome("a", Result.READY, "new"),
        {"lost": 0, "requests": 9, "longest": 0.1, "refused": 0},
        "old",
    )
    assert (found.result, found.cause, found.prober and found.prober["requests"]) == ("good", "", 9)

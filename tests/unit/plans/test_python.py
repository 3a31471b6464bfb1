"""Which Python serves, and when it cannot be had."""

from dataclasses import replace
from typing import Any

import pytest

from decant.errors import DeployError
from decant.facts import Release
from decant.plans import preflight, python
from decant.plans.provision import provision
from decant.steps import Run
from tests.unit.values import FACTS, flat, settings

OWN = ("python3", "python3-venv")


@pytest.mark.parametrize(
    ("version", "facts", "packages", "managed"),
    [
        ("", {}, OWN, False),
        ("3.11", {"python": "3.11.2"}, OWN, False),
        ("3.11", {"codename": "bookworm"}, OWN, False),
        ("3.13", {"distro_python": "3.13", "codename": "sid"}, OWN, False),
        (
            "3.12",
            {"python": "3.10.1", "pythons": ("3.12",)},
            (*OWN, "python3.12", "python3.12-venv"),
            False,
        ),
        ("3.12", {"python": "3.11.2"}, OWN, True),
    ],
)
def test_a_version_comes_from_the_distribution_or_from_uv(
    version: str, facts: dict[str, Any], packages: tuple[str, ...], managed: bool
) -> None:
    made, found = settings(python={"version": version}), replace(FACTS, **facts)
    assert python.packages(made, found) == packages
    assert bool(python.managed(made, found)) is managed
    assert all(
        isinstance(step, Run) and step.unless[-1] == "/opt/decant/python/3.12/bin/python3"
        for step in python.managed(made, found)
    )


def test_what_cannot_be_had_is_refused_before_anything_changes() -> None:
    made = settings(python={"version": "3.12"})
    preflight.refuse_unreachable(made, replace(FACTS, python="3.11.2", managed_python="yes"))
    with pytest.raises(
        DeployError, match=r"has Python 3\.11\.2 and no 3\.12, and uv's builds cannot be fetched"
    ):
        preflight.refuse_unreachable(made, replace(FACTS, python="3.11.2"))
    apache = settings(
        python={"version": "3.12"},
        wsgi={"app": "a:b", "server": "mod_wsgi"},
        proxy={"kind": "apache"},
    )
    with pytest.raises(DeployError, match=r"builds mod_wsgi for its own Python \(3\.11\.2\) only"):
        preflight.refuse_unreachable(apache, replace(FACTS, python="3.11.2", managed_python="yes"))


def test_the_current_release_gets_its_environment_back_before_anything_starts() -> None:
    live = replace(FACTS, current="r1", releases=(Release("r1", "good", "c0ffee"),))
    (step,) = python.of_current(settings(), live)
    assert isinstance(step, Run)
    assert step.unless == ("test", "-e", "/srv/shop/current/.deploy/venv/.decant-complete")
    assert "c0ffee" in step.command
    assert python.of_current(settings(), FACTS) == ()
    kinds = [type(each).__name__ + str(each) for each in flat(provision(settings(), live))]
    made = next(n for n, text in enumerate(kinds) if "environment of the current" in text)
    assert made < next(n for n, text in enumerate(kinds) if text == "Unitunit shop.service")

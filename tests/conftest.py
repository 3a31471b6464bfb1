"""What every test shares: booted servers, and an end that leaves none behind."""

import os

import pytest

from tests import booted
from tests.booted import booth, deployed, repository

__all__ = ["booth", "deployed", "repository"]


def pytest_configure(config: pytest.Config) -> None:
    """Name the run before the workers start, and take down what dead runs left."""
    booted.run_id()
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down every server of this run."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep(everything=True)

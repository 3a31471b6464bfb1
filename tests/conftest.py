"""What every test shares: booted servers, and an end that leaves none behind."""

import os

import pytest

from tests import booted
from tests.authority import authority
from tests.booted import booth, deployed, installers, repository

__all__ = ["authority", "booth", "deployed", "installers", "repository"]


def pytest_configure(config: pytest.Config) -> None:
    """Name the run before the workers start, and take down what dead runs left."""
    booted.run_id()
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down every server of this run."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep(everything=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out because no server can be booted here, and why."""
    skipped = [report for report in terminalreporter.getreports("skipped") if booted.NO_SERVER in str(report.longrepr)]
    if skipped:
        files = sorted({report.nodeid.partition("::")[0] for report in skipped})
        terminalreporter.write_line(
            f"Left out: {len(skipped)} tests on booted servers, {booted.NO_SERVER}: {booted.why_not()}. They are in {', '.join(files)}."
        )

"""What every test shares: booted servers, shards, and an end that leaves no server behind."""

import os
import subprocess
import time
from collections import defaultdict

import pytest

from tests import booted
from tests.authority import authority
from tests.booted import booth, deployed, installers, repository

__all__ = ["authority", "booth", "deployed", "installers", "repository"]

# Fixtures that boot one server for several tests of a module: these tests stay in one worker and in
# one shard.
SHARED_SERVERS = {"deployed", "anywhere", "attacked", "hardened", "evil", "postgresql", "mariadb"}
RESULTS = booted.ROOT / ".full-results"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the shard of `make full`."""
    parser.addoption(
        "--shard",
        default="",
        metavar="K/N",
        help="run the K-th of N parts, and note its result in .full-results",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the run before the workers start, and take down what dead runs left."""
    booted.run_id()
    config.stash[BEGAN] = time.monotonic()
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down every server of this run."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        booted.sweep(everything=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one server together, and leave out those of other shards."""
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
    shard = config.getoption("--shard")
    if not shard:
        return
    number, _, of = shard.partition("/")
    groups = dict.fromkeys(
        _group(item) or item.nodeid for item in items if item.get_closest_marker("full")
    )
    mine = {group for place, group in enumerate(groups) if place % int(of) == int(number) - 1}
    chosen = [item for item in items if (_group(item) or item.nodeid) in mine]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how long each folder took, note a shard's result, and which tests need a server that
    cannot be booted here.
    """
    took: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                took[report.nodeid.partition("::")[0].rpartition("/")[0]] += report.duration
    for folder, seconds in sorted(took.items()):
        terminalreporter.write_line(f"{folder}: {seconds / 60:.1f} minutes of a worker")
    if (shard := config.getoption("--shard")) and not os.environ.get("PYTEST_XDIST_WORKER"):
        _note(
            shard,
            {
                word: len(terminalreporter.stats.get(word, ()))
                for word in ("passed", "failed", "error", "skipped")
            },
            config.stash[BEGAN],
        )
    skipped = [
        report
        for report in terminalreporter.getreports("skipped")
        if booted.NO_SERVER in str(report.longrepr)
    ]
    if skipped:
        files = sorted({report.nodeid.partition("::")[0] for report in skipped})
        terminalreporter.write_line(
            f"Left out: {len(skipped)} tests on booted servers, {booted.NO_SERVER}:"
            f" {booted.why_not()}. They are in {', '.join(files)}."
        )


BEGAN = pytest.StashKey[float]()


def _group(item: pytest.Item) -> str:
    """Return the name of the server that a test shares with others, or an empty string."""
    shared = SHARED_SERVERS.intersection(getattr(item, "fixturenames", ()))
    if not shared:
        return ""
    values = getattr(item, "callspec", None)
    rows = [str(values.params[name]) for name in sorted(shared) if values and name in values.params]
    return "-".join([item.nodeid.partition("::")[0], *sorted(shared), *rows])


def _note(shard: str, counts: dict[str, int], began: float) -> None:
    """Append a shard's result and the commit that it is of to .full-results."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=booted.ROOT, capture_output=True, text=True
    ).stdout.strip()
    dirty = subprocess.run(
        ["git", "status", "--porcelain"], cwd=booted.ROOT, capture_output=True, text=True
    ).stdout.strip()
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    with RESULTS.open("a") as file:
        file.write(
            f"{time.strftime('%F %T')}  {commit}{' with changes' if dirty else ''}  shard {shard}:"
            f" {told}, {(time.monotonic() - began) / 60:.0f} min\n"
        )

"""How long the processes beside the service get to end, and whether others stay up.

Standard library only.
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from causes import explain
from records import Folder

STARTS = 15.0  # seconds in which each of them has to be there
STAYS = 5.0  # and seconds that it has to stay up

# A function of lib.sh and its words; its exit code, and what it prints
Ask = Callable[..., tuple[int, str]]


def time_to_end(listed: Path) -> dict[str, float]:
    """Return the most seconds that a `process` or `schedule` of a list gets to end, by its kind."""
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    found: dict[str, float] = {}
    for kind, *_, seconds in map(str.split, lines):
        found[kind] = max(float(seconds), found.get(kind, 0))
    return found


def why_not(folder: Folder, ask: Ask, release: str) -> str:
    """Watch a release's processes; return which of them does not stay up, and why, or nothing."""
    wanted = folder.releases / release / ".deploy/processes"
    names = {file.name for file in wanted.iterdir()} if wanted.is_dir() else set()
    seen: dict[str, int] = {}
    until, all_run = time.monotonic() + STARTS, False
    while names:
        running = _running(folder, ask, names)
        ended = [each for each, pid in running.items() if seen.get(each, pid) != pid]
        if ended:
            return _why_ended(folder, ask, ended[0])
        seen |= {each: pid for each, pid in running.items() if pid}
        waits = [each for each in running if each not in seen]
        if not waits and not all_run:
            until, all_run = time.monotonic() + STAYS, True
        if time.monotonic() > until:
            return _why_ended(folder, ask, waits[0]) if waits else ""
        time.sleep(0.2)
    return ""


def _running(folder: Folder, ask: Ask, names: set[str]) -> dict[str, int]:
    """Return the processes by their manager's word for each; 0 is one that does not run."""
    lines = (line.partition(" ") for line in ask("processes")[1].splitlines())
    return {each: int(pid) for each, _, pid in lines if _name(folder, each) in names}


def _why_ended(folder: Folder, ask: Ask, instance: str) -> str:
    said = ask("log_of_process", instance)[1]
    print(said, flush=True)
    return explain(said, f"the process {_name(folder, instance)} does not stay up")


def _name(folder: Folder, instance: str) -> str:
    """Return the name in hosts.toml of shop-worker@1.service, or of supervisor's shop-worker:1."""
    return re.sub(r"[@:].*", "", instance).removeprefix(f"{folder.conf['name']}-")

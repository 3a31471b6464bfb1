"""What the documents name is there.

Paths, commands, tasks, and the page for those who write tasks.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from decant.tasks import ns

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "bench/README.md")
] + sorted((ROOT / "docs").glob("*.md"))
TOP = ("decant", "tasks", "templates", "tests", "docs", "scripts", "bench", "examples")
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in DOCUMENTS}


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_that_a_document_names_exists(name: str) -> None:
    named = re.findall(rf"`((?:{'|'.join(TOP)})/[\w./*-]*)", TEXTS[name])
    linked = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name])
        if "://" not in link
    ]
    missing = [
        path
        for path in named
        if "NOUN" not in path and "NAME" not in path and not list(ROOT.glob(path.rstrip("/.")))
    ]
    missing += [link for link in linked if link and not ((ROOT / name).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_task_and_target_that_a_document_names_exists(name: str) -> None:
    own = set(re.findall(r"^def (\w+)\(c\b", TEXTS[name], re.MULTILINE))  # of its examples
    tasks, targets = (
        {*ns.task_names, *own},
        set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)),
    )
    called = re.findall(
        r"\b(?:fab|decant)(?: -H [\w.,@-]+| -r \S+| --dry)+ ([a-z][a-z.-]*[a-z])", TEXTS[name]
    )
    dotted = re.findall(
        r"`((?:system|python|app|gunicorn|uwsgi|mod-wsgi|supervisor|nginx|apache|certbot|db|lab)\.[a-z-]+)`",
        TEXTS[name],
    )
    unknown = [task for task in (*called, *dotted) if task not in tasks and not _is_key(task)]
    unknown += [
        target for target in re.findall(r"`make ([a-z-]+)", TEXTS[name]) if target not in targets
    ]
    assert unknown == []


def _is_key(name: str) -> bool:
    section, _, key = name.partition(".")
    text = (ROOT / "hosts.toml").read_text()
    part = text.partition(f"\n[{section}]\n")[2].partition("\n[")[0]
    return f"\n[{name}]" in text or bool(re.search(rf"^{re.escape(key)} ", part, re.MULTILINE))


def test_the_page_for_those_who_write_tasks_is_made_from_the_docstrings() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts/write-api"], capture_output=True, text=True, check=True
    ).stdout
    assert made == (ROOT / "docs/api.md").read_text(), "run: scripts/write-api --write"

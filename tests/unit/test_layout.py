"""The architecture holds.

Each module imports only lower floors, and listing tasks imports nothing heavy.
"""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.servers.test_stacks import MATRIX

ROOT = Path(__file__).parents[2]

# From the ground up: a floor is a folder of decant/, the first one its own modules. A module
# imports its own floor and those below.
FLOORS = ["", "lab", "config", "plans", "platforms", "remote", "operations", "commands", "tasks"]
PATHS = [
    *(ROOT / "decant").rglob("*.py"),
    *(ROOT / "decant/tasks").glob("*.py"),
]  # `decant/tasks` is a link
# Without what runs on a server, and what stands above all floors: the public names, the command,
# and the test kit.
ENGINE = {
    path: path.relative_to(ROOT / "decant").parts
    for path in PATHS
    if not {"server", "__init__.py", "__main__.py", "testing.py"}
    & set(path.relative_to(ROOT).parts[1:2])
}
MODULES = {
    ".".join(("decant", *parts)).removesuffix(".py").removesuffix(".__init__"): path
    for path, parts in ENGINE.items()
}


def floor(module: str) -> int:
    folder = module.split(".")[1:2]
    return FLOORS.index(folder[0] if folder and folder[0] in FLOORS else "")


def imports(path: Path) -> set[str]:
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    return {
        name
        for node in found
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        if name in MODULES
    }


def test_no_import_goes_up() -> None:
    assert [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imports(path)
        if floor(other) > floor(module)
    ] == []


def test_no_import_goes_in_a_circle() -> None:
    graph = {
        module: {
            other
            for other in imports(path)
            if other != module and not module.startswith(f"{other}.")  # its own package
        }
        for module, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_the_figure_of_the_floors_is_drawn_from_the_imports() -> None:
    drawn = subprocess.run(
        [sys.executable, ROOT / "scripts/draw-floors"], capture_output=True, text=True, check=True
    ).stdout
    assert drawn in (ROOT / "docs/architecture.md").read_text(), "run: scripts/draw-floors --write"


def test_only_one_floor_touches_a_connection() -> None:
    words = ("exec_command", "open_session", ".sudo(", "connection.run")
    assert {
        path.parent.name for path in ENGINE if any(word in path.read_text() for word in words)
    } == {"remote"}


def test_what_touches_the_application_stands_on_its_own_side() -> None:
    """Root's procedures import nothing of `inside`, run nothing of it but by confined.sh, and name
    no other way to become the application.
    """
    folder = ROOT / "decant/server"
    inside = {path.name for path in (folder / "inside").iterdir() if path.is_file()}
    outside = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not {"inside", "__pycache__"} & set(path.parts)
    ]
    assert len({path.name for path in outside} | inside) == len(outside) + len(inside), (
        "on a server they lie in one folder"
    )
    assert inside >= {
        "application_database.py",
        "builder.py",
        "client.py",
        "ended.sh",
        "look.py",
        "recipe.py",
        "serve.py",
        "with-env",
        "application.wsgi",
    }
    for path in (path for path in outside if path.suffix == ".py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert not {f"{module}.py" for module in imported} & inside, path
        assert not re.search(r"import sqlite3|setuid\(|os\.fork", path.read_text()), path
    # serve.sh is what supervisor starts: the service itself, which becomes the application there.
    becomes = {
        path.name
        for path in outside
        if path.suffix == ".sh" and re.search(r"setpriv|runuser|\bsu ", path.read_text())
    }
    assert becomes == {"serve.sh"}
    runs = {path.name for path in outside if "systemd-run" in path.read_text()}
    assert runs == {
        "confined.sh",
        "steps.sh",
    }, "steps.sh arms the guard of changes that could shut us out"


# Longer than 300 lines, and why
LONG = {
    "config/inventory.py": "one merge, layer by layer; a reader follows it from top to bottom",
    "config/models.py": "every key of hosts.toml, with its default, in one place",
    "config/validation.py": "every rule of hosts.toml that looks at several keys",
    "commands/executor.py": "one class: what becomes of -H, from names to calls",
    "lab/servers.py": "a program of its own, sent to a shell as one file",
    "operations/release/joint_window.py": "one window over several hosts, from opening to end",
    "plans/preflight.py": "everything that is refused before a change, one below the other",
    "remote/connection.py": "one class: an SSH connection, from keys to channels",
    "remote/host.py": "one class: everything that is done on a host",
    "server/backup/backup.py": "one class: a copy, and the way back from it",
    "server/database/engine.py": "sent as it is; what the three engines share",
    "server/database/postgresql.py": "one class: everything that PostgreSQL needs",
    "server/driver/steps.sh": "one function a step: steps.py in sh, read beside it",
    "server/environment/builds.py": "a build, from the tree to what root takes over",
    "server/inside/decant_migrations.py": "what auto knows; runs beside the application, as one file",
    "server/inside/forwarder.py": "runs alone in the sandbox, as one file",
    "server/inside/recipe.py": "one decision, by what files there are; runs alone in its sandbox",
    "server/inside/builder.py": "runs alone in its sandbox, as one file",
    "server/lib.sh": "read by every procedure, in the middle of a deploy: one file, sent whole",
    "server/release/records.py": "what a window leaves on the disk, and nothing else",
    "server/release/window.py": "one class: the stages of a window, in their order",
    "server/tree.py": "alone walks what others wrote; runs as one file",
    "steps.py": "one dataclass a step, read beside steps.sh",
    "tasks/deploy.py": "the tasks of every day, one below the other",
}


def test_a_file_over_300_lines_has_a_reason() -> None:
    written = (path for path in (ROOT / "decant").rglob("*") if path.suffix in (".py", ".sh"))
    files = (*written, *(ROOT / "decant/tasks").glob("*.py"))
    long = {
        str(path.relative_to(ROOT / "decant"))
        for path in files
        if len(path.read_text().splitlines()) > 300
    }
    assert long == LONG.keys()


def test_listing_the_tasks_imports_nothing_heavy() -> None:
    code = (
        "import sys, fabfile; print(*sorted({name.split('.')[0] for name in sys.modules} &"
        " {'pydantic', 'jinja2', 'rich', 'patchwork', 'dotenv', 'tomllib'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_every_namespace_lists_its_tasks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fabric", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {
        line.split()[0]
        for line in done.stdout.splitlines()
        if line.startswith("  ") and not line.startswith("   ")
    }
    wanted = {
        "": "deploy update rollback status destroy",
        "system.": "setup packages user firewall harden upgrade reboot info",
        "python.": "install venv",
        "app.": "pull env env-set releases run shell",
        "gunicorn.": "install start stop restart reload status logs",
        "uwsgi.": "install start stop restart reload status logs",
        "mod-wsgi.": "install reload",
        "supervisor.": "install start stop restart reload status",
        "apache.": "install site check start stop restart reload status logs remove",
        "nginx.": "install site check start stop restart reload status logs remove",
        "certbot.": "install obtain renew status",
        "db.": "install create migrate dump restore shell status",
        "lab.": "up down list",
    }
    assert {prefix + name for prefix, names in wanted.items() for name in names.split()} <= listed


@pytest.mark.parametrize("document", ["databases", "https", "fleet", "security"])
def test_what_a_document_says_is_tested_is_a_test(document: str) -> None:
    written = set(re.findall(r"\b(test_\w+) \|", (ROOT / f"docs/{document}.md").read_text()))
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert written
    assert written <= tests


def test_the_table_of_tested_stacks_is_the_matrix_itself() -> None:
    text = (ROOT / "docs/stacks.md").read_text()
    for (server, manager, proxy), *rest in MATRIX:
        assert (
            f"| {' | '.join((server, '(Apache)' if server == 'mod_wsgi' else manager, proxy, *rest))} |\n"
            in text
        )
    assert text.count("| bookworm |") + text.count("| trixie |") == len(MATRIX)

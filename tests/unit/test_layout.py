"""The architecture holds: each module imports only lower floors, and listing tasks imports nothing heavy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.test_stacks import MATRIX

ROOT = Path(__file__).parents[2]

FLOORS = [
    ("errors", "shell", "paths", "headers", "sections", "compat", "kinds", "output"),
    ("rules", "settings", "inventory", "schema", "facts", "templates", "steps", "variables", "source", "trust", "bridge", "lab"),
    ("plans",),
    ("connection", "host", "fleet", "executor"),
    ("flow", "service", "front", "certificate", "together", "rollout"),
    ("tasks",),
]
# Inside a floor, these may build on those named behind them.
WITHIN = {
    "schema": {"settings"},
    "settings": {"rules"},
    "lab": {"bridge"},
    "rules": {"settings"},
    "inventory": {"settings", "source"},
    "variables": {"settings"},
    "source": {"settings"},
    "templates": {"settings"},
    "host": {"connection"},
    "fleet": {"connection"},
    "executor": {"connection", "fleet", "host"},
    "together": {"flow"},
    "rollout": {"flow", "together"},
}


def floor(module: str) -> tuple[int, str]:
    parts = module.split(".")
    name = parts[2] if parts[:2] == ["tasks", "core"] and len(parts) > 2 else "plans" if parts[:2] == ["tasks", "plans"] else "tasks"
    return next(number for number, names in enumerate(FLOORS) if name in names), name


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tasks"):
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if node.module in ("tasks", "tasks.core", "tasks.plans") else node.module for name in deeper]
    return found


def test_a_module_imports_only_lower_floors() -> None:
    wrong = []
    for path in (ROOT / "tasks").rglob("*.py"):
        if path.name == "__init__.py":
            continue
        here, name = floor(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for imported in imports(path):
            there, other = floor(imported)
            if there > here or (there == here and other not in {name} | WITHIN.get(name, set()) and name not in ("plans", "tasks")):
                wrong.append(f"{path.relative_to(ROOT)} imports {imported}")
    assert wrong == []


def test_only_host_and_connection_touch_a_connection() -> None:
    users = {
        path.name
        for path in (ROOT / "tasks").rglob("*.py")
        if any(word in path.read_text() for word in ("exec_command", "open_session", ".sudo(", "connection.run"))
    }
    assert users == {"host.py", "connection.py"}


def test_what_touches_the_application_stands_on_its_own_side() -> None:
    """Root's procedures import nothing of `inside`, run nothing of it but by confined.sh, and name no other way to become the application."""
    folder = ROOT / "templates/procedures"
    inside = {path.name for path in (folder / "inside").iterdir() if path.is_file()}
    assert inside >= {"builder.py", "client.py", "look.py", "recipe.py", "serve.py", "with-env", "application.wsgi"}
    for path in folder.glob("*.py"):
        imported = {alias for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) for alias in [node.module]}
        assert not {f"{module}.py" for module in imported} & inside, path
        assert not re.search(r"import sqlite3|setuid\(|os\.fork", path.read_text()), path
    # serve.sh is what supervisor starts: the service itself, which becomes the application there.
    becomes = {path.name for path in folder.glob("*.sh") if re.search(r"setpriv|runuser|\bsu ", path.read_text())}
    assert becomes == {"serve.sh"}
    runs = {path.name for path in folder.iterdir() if path.is_file() and "systemd-run" in path.read_text()}
    assert runs == {"confined.sh", "steps.sh"}, "steps.sh arms the guard of changes that could shut us out"


def test_listing_the_tasks_imports_nothing_heavy() -> None:
    code = (
        "import sys, fabfile; print(*sorted({name.split('.')[0] for name in sys.modules} & {'pydantic', 'jinja2', 'rich', 'patchwork', 'dotenv', 'tomllib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_namespace_lists_its_tasks() -> None:
    done = subprocess.run([sys.executable, "-m", "fabric", "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and not line.startswith("   ")}
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
    tests = {name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    assert written
    assert written <= tests


def test_the_table_of_tested_stacks_is_the_matrix_itself() -> None:
    text = (ROOT / "docs/stacks.md").read_text()
    for (server, manager, proxy), *rest in MATRIX:
        assert f"| {' | '.join((server, '(Apache)' if server == 'mod_wsgi' else manager, proxy, *rest))} |\n" in text
    assert text.count("| bookworm |") + text.count("| trixie |") == len(MATRIX)

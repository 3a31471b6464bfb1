"""What a local source lacks that hosts.toml names: said before a connection is opened."""

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from decant.config import source
from decant.config.mistakes import report
from decant.errors import SettingsError

if TYPE_CHECKING:
    from decant.config.models import Settings

# What brings the application's modules into its environment, from wherever they lie.
PROJECTS = ("pyproject.toml", "setup.py", "setup.cfg")
LISTS = re.compile(r"requirement[^/]*(/[^/]*)?\.txt$|(^|/)Pipfile$")
CALLABLES = ("app", "application", "create_app", "make_app")


def check(settings: "Settings") -> None:
    """Raise SettingsError for what is not in the local source, with all of it.

    A git URL is looked at on the server, before anything serves.
    """
    if settings.app.is_git or not settings.receives_releases:
        return
    sent = source.find(settings)
    above = f"{settings.app.subdir.rstrip('/')}/" if settings.app.subdir else ""
    files = {name.removeprefix(above) for name in sent.files if name.startswith(above)}
    if files:
        found = list(_static(settings, sent, files, above))
        found += _requirements(settings, sent, files) if settings.is_app else ()
        found += _module(settings, sent, files, above) if settings.is_app else ()
    elif {above[:-1], *map(str, PurePosixPath(above).parents)} & set(sent.files):
        found = []  # a link, which the server refuses by name
    else:
        found = [f"app.subdir: there is no folder {above[:-1]} in {sent.folder}"]
    if found:
        raise SettingsError(report(settings.folder / "hosts.toml", found))


def _static(
    settings: "Settings", sent: source.Source, files: set[str], above: str
) -> Iterator[str]:
    if settings.app.build:  # which may make them; the server looks when it has
        return
    folders = {
        str(parent) for name in files for parent in PurePosixPath(name).parents if parent.name
    }
    shared = [entry.rstrip("/") for entry in settings.app.shared]
    for prefix, folder in settings.app.static.items():
        path = folder.rstrip("/")
        # Also what app.files brings, and what is below a link, which the server follows or refuses.
        on_the_way = {path, *map(str, PurePosixPath(path).parents)}
        if path in folders or path in shared or on_the_way & {*files, *settings.app.files}:
            continue
        where = f"app.static.{prefix}: there is no folder {path} in the release"
        if not sent.is_commit and (sent.folder / above / path).exists():
            yield f"{where}: git ignores it, so it is not sent"
        else:
            near = difflib.get_close_matches(path, sorted(folders), 1)
            yield where + (f", did you mean {near[0]}?" if near else "")


def _requirements(settings: "Settings", sent: source.Source, files: set[str]) -> Iterator[str]:
    """Yield that the file of python.requirements is not there."""
    name = settings.python.requirements
    if name and name not in files and name not in settings.app.files:
        likely = sorted(file for file in files if LISTS.search(file) or file.endswith(".txt"))
        near = difflib.get_close_matches(name, likely, 1) or likely[:1]
        yield f"python.requirements: there is no file {name} in {sent.folder}" + (
            f", did you mean {near[0]}?" if near else ""
        )


def _module(
    settings: "Settings", sent: source.Source, files: set[str], above: str
) -> Iterator[str]:
    """Yield that the module of wsgi.app is nowhere, unless an installed package may have it."""
    module = settings.wsgi.app.partition(":")[0]
    path = module.replace(".", "/")
    if not module:
        return
    there = any(name.startswith((f"{path}.", f"{path}/")) for name in files)
    app = settings.app
    made = app.build or "PYTHONPATH" in app.env or any(name.startswith(path) for name in app.files)
    if there or made or any(name in files for name in PROJECTS) or settings.python.packages:
        return
    lists = [name for name in files if LISTS.search(name)]
    text = b"".join(sent.read(above + name) for name in lists).decode("utf-8", "replace").lower()
    first = re.sub(r"[-_.]+", "[-_.]", module.partition(".")[0].lower())
    if re.search(first, text) or re.search(r"^\s*(-e|\.|/|file:)|path\s*=", text, re.MULTILINE):
        return  # something that is installed may bring it
    near = list(_callables(sent, files, above))
    yield f"wsgi.app: there is no module {module} in {sent.folder / above}" + (
        f", did you mean {near[0]}?" if near else ""
    )


def _callables(sent: source.Source, files: set[str], above: str) -> Iterator[str]:
    """Yield what looks like a callable in the modules and packages at the top."""
    for name in sorted(files, key=lambda name: (name.count("/"), name)):
        parts = PurePosixPath(name).parts
        if not name.endswith(".py") or parts[1:] not in ((), ("__init__.py",)):
            continue
        try:
            tree = ast.parse(sent.read(above + name))
        except (SyntaxError, ValueError, OSError):
            continue
        defined = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        } | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        module = parts[0].removesuffix(".py")
        for callable_name in CALLABLES:
            if callable_name in defined:
                call = "()" if callable_name.startswith(("create", "make")) else ""
                yield f"{module}:{callable_name}{call}"

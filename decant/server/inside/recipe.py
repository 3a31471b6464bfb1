"""Decide by the files of a repository how its environment is made.

What a repository contains is read here, in the sandbox of builds, and nowhere else.

Arguments: the application's folder in the repository, the installer (auto, pip, uv, pipenv,
poetry), and the top of the repository. Prints one JSON document (see `Recipe`, and
`digest`, of the files that decide what is in the environment). Standard library only.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ARCHIVE = re.compile(r"\.(whl|zip|tar\.\w+)$")


class Recipe(NamedTuple):
    """What an environment is made from.

    By which tool, from which file, and which files decide what is in it.
    """

    tool: str
    source: Path
    files: tuple[Path, ...]
    installs_project: bool  # itself or a local path: then the commit decides, too
    pinned: bool
    packaged: bool = False  # the project itself has to be installed


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, file=sys.stderr)
    sys.exit(1)


def recipe(folder: Path, installer: str, top: Path) -> Recipe:
    """Decide by the files of the repository how its environment is made.

    A lock wins over what is not locked.
    """
    locked = {
        "uv": ("uv.lock", uv_project),
        "poetry": ("poetry.lock", poetry_project),
        "pipenv": ("Pipfile.lock", pipenv_project),
    }
    for tool, (lock, read_project) in locked.items():
        if (folder / lock).exists() and installer in ("auto", tool):
            return read_project(folder)
    above = next(
        (
            path
            for path in folder.parents
            if path.is_relative_to(top) and (path / "uv.lock").exists()
        ),
        None,
    )
    if above and installer in ("auto", "uv"):
        fail(
            "uv.lock lies above app.subdir: members of a uv workspace are not built; export a"
            ' requirements.txt beside the application, and set installer = "pip"'
        )
    if installer in ("pipenv", "poetry"):
        fail(
            f"python.installer: {installer} installs from {locked[installer][0]}, and there is none"
            f" in the repository; run: {installer} lock, and commit it"
        )
    if (folder / "requirements.txt").exists():
        files = tuple(included(folder / "requirements.txt"))
        lines = [line for file in files for line in requirement_lines(file)]
        editable = next((line for line in lines if re.match(r"(-e|--editable)\b", line)), "")
        if editable:
            fail(
                f"requirements.txt: {editable}: an editable install is a link into a folder that"
                " moves; write the path without -e"
            )
        local = any(is_local(line) for line in lines)
        named = [line for line in lines if not line.startswith("-")]
        elsewhere = any(
            re.match(r"(-r|--requirement|-c|--constraint)[\s=]*\w+://", line) for line in lines
        )
        pinned = not elsewhere and all(is_local(line) or is_pinned(line) for line in named)
        tool = "uv" if installer == "uv" else "pip"
        settings = tuple(
            path
            for path in (folder / "pyproject.toml", folder / "uv.toml")
            if tool == "uv" and path.exists()
        )
        return Recipe(tool, files[0], (*files, *settings), local, pinned)
    if (folder / "pyproject.toml").exists():
        return Recipe(
            "uv" if installer == "uv" else "pip",
            folder / "pyproject.toml",
            (folder / "pyproject.toml",),
            True,
            False,
            True,
        )
    fail(
        "found no uv.lock, poetry.lock, Pipfile.lock, requirements.txt or pyproject.toml in"
        f" {folder.name}: add one, or set app.subdir to the application's folder"
    )


def toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of the repository."""
    if not path.is_file():
        fail(f"there is no {path.name} in the repository, which its lock belongs to")
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        fail(f"{path.name} is no TOML: {error}")


def uv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a uv.lock."""
    project, lock = toml(folder / "pyproject.toml"), toml(folder / "uv.lock")
    name = project.get("project", {}).get("name", "")
    sources = [
        package.get("source", {})
        for package in lock.get("package", [])
        if package.get("name") != name
    ]
    local = any(key in source for source in sources for key in ("editable", "directory", "path"))
    packaged = "build-system" in project or project.get("tool", {}).get("uv", {}).get(
        "package", False
    )
    return Recipe(
        "uv-lock",
        folder / "uv.lock",
        (folder / "uv.lock", folder / "pyproject.toml"),
        bool(packaged or local),
        True,
        bool(packaged),
    )


def poetry_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a poetry.lock."""
    project, lock = toml(folder / "pyproject.toml"), toml(folder / "poetry.lock")
    local = [
        package
        for package in lock.get("package", [])
        if package.get("source", {}).get("type") in ("directory", "file")
    ]
    linked = next((package["name"] for package in local if package.get("develop")), "")
    if linked:
        fail(
            f"poetry.lock: {linked} is a path with develop = true, a link into a folder that moves;"
            " remove develop, and run: poetry lock"
        )
    packaged = project.get("tool", {}).get("poetry", {}).get("package-mode", True)
    return Recipe(
        "poetry",
        folder / "poetry.lock",
        (folder / "poetry.lock", folder / "pyproject.toml"),
        bool(packaged or local),
        True,
        bool(packaged),
    )


def pipenv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a Pipfile.lock."""
    pipfile = toml(folder / "Pipfile")
    local = [
        package
        for package in pipfile.get("packages", {}).values()
        if isinstance(package, dict) and ("path" in package or "file" in package)
    ]
    return Recipe(
        "pipenv",
        folder / "Pipfile.lock",
        (folder / "Pipfile.lock", folder / "Pipfile"),
        bool(local),
        True,
    )


def requirement_lines(file: Path) -> list[str]:
    """Return a requirements file's lines, joined where they end in a backslash, without comments."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def is_local(line: str) -> bool:
    """Tell a requirement that is a path, or names a folder of archives.

    What is in it changes without the line.
    """
    option = re.match(r"(-f|--find-links|-e|--editable)[\s=]+(\S+)", line)
    if line.startswith("-"):
        return bool(option and "://" not in option[2])
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0]
    target = (
        requirement.partition("@")[2]
        if re.match(r"[\w.-]+\s*(\[[^]]*\])?\s*@", requirement)
        else requirement
    ).strip()
    if "://" in target:
        return target.startswith("file:")
    return target.startswith((".", "/", "file:")) or "/" in target or bool(ARCHIVE.search(target))


def is_pinned(line: str) -> bool:
    """Tell a requirement that means the same code for ever."""
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0].strip()
    return bool(
        re.search(
            r"===?\s*[^*,\s]+$|@\s*\S+@[0-9a-f]{40}$|@\s*(?!git\+|hg\+|svn\+)\S+://\S+$",
            requirement,
        )
    )


def included(file: Path, seen: frozenset[Path] = frozenset()) -> list[Path]:
    """Return a requirements file and every one that it names with -r or -c."""
    if file in seen:
        return []
    if not file.is_file():
        fail(f"{file.name} is named by a requirements file but is not in the repository")
    found = [file]
    for line in requirement_lines(file):
        match = re.match(r"(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)", line)
        if match and "://" not in match[1]:
            found += included(file.parent / match[1], seen | {file})
    return found


def document(found: Recipe, folder: Path) -> dict[str, object]:
    """Return what is told of a recipe.

    Its fields, and one digest of its files' names and contents.
    """
    parts = [
        (
            str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name,
            file.read_text(encoding="utf-8"),
        )
        for file in found.files
    ]
    digest = hashlib.sha256("\0".join(part for pair in parts for part in pair).encode()).hexdigest()
    return {**found._asdict(), "source": found.source.name, "files": digest}


def main() -> None:
    """Print the recipe."""
    folder = Path(sys.argv[1]).resolve()
    print(json.dumps(document(recipe(folder, sys.argv[2], Path(sys.argv[3]).resolve()), folder)))


if __name__ == "__main__":
    main()

"""Decide by the files of a repository how its environment is made.

What a repository contains is read here, in the sandbox of builds, and nowhere else.

Arguments: the application's folder in the repository, the top of the repository, and a JSON
document: what [python] says (`installer`, `requirements`, `groups`, `extras`, `packages`). Prints
one JSON document (see `Recipe`, and `digest`, of the files that decide what is in the environment).
Standard library only.
"""

import codecs
import fnmatch
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ARCHIVE = re.compile(r"\.(whl|zip|tar\.\w+)$")
EDITABLE = re.compile(r"^(?:-e|--editable)[\s=]+")
FILES = (
    "uv.lock, poetry.lock, Pipfile.lock, requirements.txt, pyproject.toml, setup.py or setup.cfg"
)
# pip's own list (pip/_internal/utils/encoding.py), the longer marks first
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Recipe(NamedTuple):
    """What an environment is made from.

    By which tool, from which file, which files decide what is in it, and in which folder the tool
    works.
    """

    tool: str
    source: Path
    files: tuple[Path, ...]
    installs_project: bool  # itself or a local path: then the commit decides, too
    pinned: bool
    packaged: bool = False  # the project itself has to be installed
    project: Path | None = None  # None: the application's folder
    member: str = ""  # of a uv workspace
    unlocked: bool = False  # it is locked on the server, once


def fail(message: str) -> NoReturn:
    """Stop with a cause."""
    print(message, file=sys.stderr)
    sys.exit(1)


def recipe(folder: Path, top: Path, asked: dict[str, Any]) -> Recipe:
    """Decide by the files of the repository how its environment is made.

    A lock wins over what is not locked.
    """
    installer = asked["installer"]
    if asked["requirements"]:
        return requirements(folder / asked["requirements"], folder, asked)
    locked = {
        "uv": ("uv.lock", uv_project),
        "poetry": ("poetry.lock", poetry_project),
        "pipenv": ("Pipfile.lock", pipenv_project),
    }
    for tool, (lock, read_project) in locked.items():
        if (folder / lock).exists() and installer in ("auto", tool):
            return read_project(folder)
    found = uv_above(folder, top) if installer in ("auto", "uv") else None
    if found:
        return found
    if installer == "poetry":
        fail(
            "python.installer: poetry installs from poetry.lock, and there is none in the"
            " repository; run: poetry lock, and commit it"
        )
    if installer == "pipenv":
        return pipenv_unlocked(folder)
    if asked["groups"]:
        fail(
            "python.groups: pip knows no groups; they go with uv and poetry (a uv.lock or"
            " poetry.lock in the repository), or name a file in python.requirements"
        )
    if (folder / "requirements.txt").exists():
        return requirements(folder / "requirements.txt", folder, asked)
    return unlocked(folder, asked)


def unlocked(folder: Path, asked: dict[str, Any]) -> Recipe:
    """Return the recipe of a project that names its dependencies in itself, or of none at all."""
    tool = "uv" if asked["installer"] == "uv" else "pip"
    project = folder / "pyproject.toml"
    if project.exists():
        told = toml(project)
        if "project" in told or "poetry" in told.get("tool", {}):
            return Recipe(tool, project, (project,), True, False, True)
    for name in ("setup.py", "setup.cfg"):
        if (folder / name).exists():
            files = tuple(
                folder / each
                for each in ("setup.py", "setup.cfg", "pyproject.toml")
                if (folder / each).exists()
            )
            return Recipe(tool, folder / name, files, True, False, True)
    if asked["packages"]:
        return Recipe(tool, Path("python.packages"), (), False, False)
    here = f"{folder.name}/" if asked.get("subdir") else "the repository"
    if project.exists():
        fail(
            "pyproject.toml has no [project], so it names no dependencies, and there is no"
            " requirements.txt; write one of them, or name what the application needs in"
            " python.packages"
        )
    other = sorted(path.name for path in folder.glob("*requirement*.txt"))
    other += sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("requirements/*.txt"))
    hint = f"set python.requirements (there is {other[0]})" if other else "add one"
    fail(
        f"found no {FILES} in {here}: {hint}, name what the application needs in python.packages,"
        " or set app.subdir to the application's folder"
    )


def requirements(file: Path, folder: Path, asked: dict[str, Any]) -> Recipe:
    """Return the recipe of a requirements file."""
    if not file.is_file():
        fail(f"python.requirements: there is no file {file.relative_to(folder)} in the release")
    if asked["groups"] or asked["extras"]:
        fail(
            "python.groups and python.extras: a requirements file has neither; remove them, or"
            " name another file in python.requirements"
        )
    files = tuple(included(file))
    lines = [line for path in files for line in requirement_lines(path)]
    local = any(is_local(line) for line in lines)
    named = [
        line for line in (EDITABLE.sub("", line) for line in lines) if not line.startswith("-")
    ]
    elsewhere = any(
        re.match(r"(-r|--requirement|-c|--constraint)[\s=]*\w+://", line) for line in lines
    )
    pinned = not elsewhere and all(is_local(line) or is_pinned(line) for line in named)
    tool = "uv" if asked["installer"] == "uv" else "pip"
    settings = tuple(
        path
        for path in (folder / "pyproject.toml", folder / "uv.toml")
        if tool == "uv" and path.exists()
    )
    return Recipe(tool, files[0], (*files, *settings), local, pinned)


def uv_above(folder: Path, top: Path) -> Recipe | None:
    """Return the recipe by a uv.lock above the application's folder, if it is the folder's.

    It is where the folder is a member of a workspace (docs.astral.sh/uv/concepts/projects/workspaces),
    or a part of the project without one of its own.
    """
    above = next(
        (
            path
            for path in folder.parents
            if path.is_relative_to(top) and (path / "uv.lock").exists()
        ),
        None,
    )
    if above is None:
        return None
    own = folder / "pyproject.toml"
    workspace = toml(above / "pyproject.toml").get("tool", {}).get("uv", {}).get("workspace", {})
    inside = folder.relative_to(above).as_posix()
    if own.exists():
        member = any(
            fnmatch.fnmatch(inside, str(pattern)) for pattern in workspace.get("members", ())
        ) and not any(fnmatch.fnmatch(inside, str(each)) for each in workspace.get("exclude", ()))
        if not member:
            return None
        name = toml(own).get("project", {}).get("name", "")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", str(name)):
            fail(f"{inside}/pyproject.toml: project.name is missing")
        found = uv_project(above)
        files = (*found.files, own)
        return found._replace(
            files=files, project=above, member=name, installs_project=True, packaged=True
        )
    if any((folder / name).exists() for name in ("requirements.txt", "setup.py", "setup.cfg")):
        return None
    return uv_project(above)._replace(project=above)


def toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of the repository."""
    if not path.is_file():
        fail(f"there is no {path.name} in the repository, which its lock belongs to")
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        fail(f"{path.name} is not UTF-8, as TOML has to be; save it so")
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
    packaged = is_package(folder, project)
    return Recipe(
        "poetry",
        folder / "poetry.lock",
        (folder / "poetry.lock", folder / "pyproject.toml"),
        bool(packaged or local),
        True,
        bool(packaged),
    )


def is_package(folder: Path, project: dict[str, Any]) -> bool:
    """Tell a project of poetry's that can be installed from one that only lists what it needs.

    Poetry takes it for a package unless package-mode says otherwise, and fails where there is no
    module of its name.
    """
    told = project.get("tool", {}).get("poetry", {})
    if not told.get("package-mode", True):
        return False
    name = str(told.get("name") or project.get("project", {}).get("name", ""))
    module = re.sub(r"[-.]+", "_", name)
    places = (folder / module, folder / "src" / module)
    files = (folder / f"{module}.py", folder / "src" / f"{module}.py")
    return bool(told.get("packages")) or (
        bool(name)
        and (any(path.is_dir() for path in places) or any(path.is_file() for path in files))
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


def pipenv_unlocked(folder: Path) -> Recipe:
    """Return the recipe of what pipenv has to lock first: a Pipfile, or a requirements file."""
    for name in ("Pipfile", "requirements.txt"):
        if (folder / name).exists():
            named = name == "requirements.txt"
            files = tuple(included(folder / name)) if named else (folder / name,)
            return Recipe("pipenv", folder / name, files, False, True, unlocked=True)
    fail(
        "python.installer: pipenv installs from a Pipfile.lock, a Pipfile or a requirements.txt,"
        " and there is none in the repository"
    )


def requirement_lines(file: Path) -> list[str]:
    """Return a requirements file's lines, joined where they end in a backslash, without comments."""
    text = decoded(file).replace("\r\n", "\n").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def decoded(file: Path) -> str:
    """Return a requirements file's text, by the rules of pip: a byte order mark, or a comment in
    the first lines, else UTF-8.
    """
    data = file.read_bytes()
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data[len(mark) if encoding == "utf-8" else 0 :].decode(encoding, "replace")
    for line in data.split(b"\n")[:2]:
        named = re.match(rb"\s*#.*coding[:=]\s*([-\w.]+)", line)
        if named:
            try:
                return data.decode(named[1].decode())
            except (LookupError, UnicodeDecodeError):
                fail(f"{file.name} is not in the encoding that it names; save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line_number = data[: error.start].count(b"\n") + 1
        fail(f"{file.name}, line {line_number}, is not UTF-8; save the file as UTF-8")


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
            r"===?\s*[^*,\s]+$|(@\s*\S+|^git\+\S+)@[0-9a-f]{40}(#\S*)?$|@\s*(?!git\+|hg\+|svn\+)\S+://\S+$",
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


def document(found: Recipe, folder: Path, top: Path) -> dict[str, object]:
    """Return what is told of a recipe.

    Its fields, and one digest of its files' names and contents.
    """
    parts = [
        (
            str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name,
            decoded(file) if file.suffix == ".txt" else file.read_text("utf-8", "replace"),
        )
        for file in found.files
    ]
    digest = hashlib.sha256("\0".join(part for pair in parts for part in pair).encode()).hexdigest()
    project = (found.project or folder).relative_to(top).as_posix()
    source = found.source
    return {
        **found._asdict(),
        "source": str(source.relative_to(folder)) if source.is_relative_to(folder) else source.name,
        "project": "" if project == "." else project,
        "files": digest,
    }


def main() -> None:
    """Print the recipe."""
    folder, top = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    found = recipe(folder, top, json.loads(sys.argv[3]))
    print(json.dumps(document(found, folder, top)))


if __name__ == "__main__":
    main()

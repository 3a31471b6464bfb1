"""Decide by the files of a repository how its environment is made, and name it by a digest of everything that decides what is in it.

Arguments: the application's folder, the folder of the environments, installer (auto, pip, uv, pipenv, poetry), packages (a line each), refresh
(days), commit, WSGI server, Python version (nothing: the distribution's), driver (module and requirement, or nothing). Prints the
environment's folder name. An environment holds dependencies only; where the project itself or a local path has to be installed, the commit is
part of the digest, else a release would import another one's code. Each deploy asks this, so what only some repositories need is imported
where they need it. Standard library only.
"""

import hashlib
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

TOOLS = {"uv": "0.13.8", "pipenv": "2026.10.3", "poetry": "2.5.1"}
SERVERS = {"gunicorn": "gunicorn>=23,<28", "uwsgi": "pyuwsgi>=2.0.28,<2.1", "mod_wsgi": ""}
HOME = Path("/opt/decant")
MARK = ".decant-complete"
OWN = Path(os.environ.get("HOME", "/root"))
PIP_SETTINGS = (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), OWN / ".config/pip/pip.conf", OWN / ".pip/pip.conf")
UV_SETTINGS = (Path("/etc/uv/uv.toml"), OWN / ".config/uv/uv.toml")
ARCHIVE = re.compile(r"\.(whl|zip|tar\.\w+)$")


class Recipe(NamedTuple):
    """What an environment is made from: by which tool, from which file, and which files decide what is in it."""

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


def recipe(folder: Path, installer: str) -> Recipe:
    """Decide by the files of the repository how its environment is made: a lock wins over what is not locked."""
    locked = {"uv": ("uv.lock", uv_project), "poetry": ("poetry.lock", poetry_project), "pipenv": ("Pipfile.lock", pipenv_project)}
    for tool, (lock, read_project) in locked.items():
        if (folder / lock).exists() and installer in ("auto", tool):
            return read_project(folder)
    release = next((path for path in (folder, *folder.parents) if (path / ".deploy").is_dir()), folder)
    above = next((path for path in folder.parents if path.is_relative_to(release) and (path / "uv.lock").exists()), None)
    if above and installer in ("auto", "uv"):
        fail(
            'uv.lock lies above app.subdir: members of a uv workspace are not built; export a requirements.txt beside the application, and set installer = "pip"'
        )
    if installer in ("pipenv", "poetry"):
        fail(f"python.installer: {installer} installs from {locked[installer][0]}, and there is none in the repository; run: {installer} lock, and commit it")
    if (folder / "requirements.txt").exists():
        files = tuple(included(folder / "requirements.txt"))
        lines = [line for file in files for line in requirement_lines(file)]
        editable = next((line for line in lines if re.match(r"(-e|--editable)\b", line)), "")
        if editable:
            fail(f"requirements.txt: {editable}: an editable install is a link into a folder that moves; write the path without -e")
        local = any(is_local(line) for line in lines)
        named = [line for line in lines if not line.startswith("-")]
        elsewhere = any(re.match(r"(-r|--requirement|-c|--constraint)[\s=]*\w+://", line) for line in lines)
        pinned = not elsewhere and all(is_local(line) or is_pinned(line) for line in named)
        tool = "uv" if installer == "uv" else "pip"
        settings = tuple(path for path in (folder / "pyproject.toml", folder / "uv.toml") if tool == "uv" and path.exists())
        return Recipe(tool, files[0], (*files, *settings), local, pinned)
    if (folder / "pyproject.toml").exists():
        return Recipe("uv" if installer == "uv" else "pip", folder / "pyproject.toml", (folder / "pyproject.toml",), True, False, True)
    fail(
        f"found no uv.lock, poetry.lock, Pipfile.lock, requirements.txt or pyproject.toml in {folder.name}: add one, or set app.subdir to the application's folder"
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
    sources = [package.get("source", {}) for package in lock.get("package", []) if package.get("name") != name]
    local = any(key in source for source in sources for key in ("editable", "directory", "path"))
    packaged = "build-system" in project or project.get("tool", {}).get("uv", {}).get("package", False)
    return Recipe("uv-lock", folder / "uv.lock", (folder / "uv.lock", folder / "pyproject.toml"), bool(packaged or local), True, bool(packaged))


def poetry_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a poetry.lock."""
    project, lock = toml(folder / "pyproject.toml"), toml(folder / "poetry.lock")
    local = [package for package in lock.get("package", []) if package.get("source", {}).get("type") in ("directory", "file")]
    linked = next((package["name"] for package in local if package.get("develop")), "")
    if linked:
        fail(f"poetry.lock: {linked} is a path with develop = true, a link into a folder that moves; remove develop, and run: poetry lock")
    packaged = project.get("tool", {}).get("poetry", {}).get("package-mode", True)
    return Recipe("poetry", folder / "poetry.lock", (folder / "poetry.lock", folder / "pyproject.toml"), bool(packaged or local), True, bool(packaged))


def pipenv_project(folder: Path) -> Recipe:
    """Return the recipe of a project with a Pipfile.lock."""
    pipfile = toml(folder / "Pipfile")
    local = [package for package in pipfile.get("packages", {}).values() if isinstance(package, dict) and ("path" in package or "file" in package)]
    return Recipe("pipenv", folder / "Pipfile.lock", (folder / "Pipfile.lock", folder / "Pipfile"), bool(local), True)


def requirement_lines(file: Path) -> list[str]:
    """Return a requirements file's lines, joined where they end in a backslash, without comments."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def is_local(line: str) -> bool:
    """Tell a requirement that is a path, or names a folder of archives: what is in it changes without the line."""
    option = re.match(r"(-f|--find-links|-e|--editable)[\s=]+(\S+)", line)
    if line.startswith("-"):
        return bool(option and "://" not in option[2])
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0]
    target = (requirement.partition("@")[2] if re.match(r"[\w.-]+\s*(\[[^]]*\])?\s*@", requirement) else requirement).strip()
    if "://" in target:
        return target.startswith("file:")
    return target.startswith((".", "/", "file:")) or "/" in target or bool(ARCHIVE.search(target))


def is_pinned(line: str) -> bool:
    """Tell a requirement that means the same code for ever."""
    requirement = line.split(";", maxsplit=1)[0].split(" --hash", maxsplit=1)[0].strip()
    return bool(re.search(r"===?\s*[^*,\s]+$|@\s*\S+@[0-9a-f]{40}$|@\s*(?!git\+|hg\+|svn\+)\S+://\S+$", requirement))


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


def interpreter(version: str) -> str:
    """Return the Python that environments are made with: the distribution's, its other one of that version, or uv's."""
    if version in ("", f"{sys.version_info[0]}.{sys.version_info[1]}"):
        return sys.executable
    for path in (Path(f"/usr/bin/python{version}"), HOME / "python" / version / "bin/python3"):
        if os.access(path, os.X_OK):
            return str(path)
    fail(f"python.version: there is no Python {version} on this server yet; run: fab deploy")


def digest(made_from: Recipe, folder: Path, packages: list[str], commit: str, server: str, python: str, driver: str) -> str:
    """Return the digest of what decides an environment's content."""
    version = TOOLS.get(made_from.tool.removesuffix("-lock")) or pip_version()
    parts = [os.path.realpath(python), full_version(python), made_from.tool, version, SERVERS[server], *packages, *([driver] if driver else [])]
    parts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(("PIP_", "UV_", "PIPENV_", "POETRY_"))]
    parts += [read(path) for path in (*PIP_SETTINGS, *UV_SETTINGS)]
    for file in made_from.files:
        parts += [str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name, file.read_text(encoding="utf-8")]
    parts.append(commit if made_from.installs_project else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def full_version(python: str) -> str:
    """Return the version of a Python, to its last number."""
    if python == sys.executable:
        return sys.version.split()[0]
    import subprocess

    done = subprocess.run([python, "-I", "-c", "import sys; print(sys.version.split()[0])"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        fail(f"python.version: {python} does not run: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")
    return done.stdout.strip()


def pip_version() -> str:
    """Return the version of the pip that venv puts into an environment: on Debian that of the wheel beside Python, which is found sooner than by ensurepip."""
    wheel = pip_wheel()
    if wheel:
        return wheel.name.split("-")[1]
    import ensurepip

    return ensurepip.version()


def pip_wheel() -> Path | None:
    """Return the wheel from which Debian's venv installs pip; None for a Python that is not Debian's."""
    wheels = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl")) if Path(sys.executable).resolve().parent == Path("/usr/bin") else []
    return wheels[-1] if wheels else None


def read(path: Path) -> str:
    """Return a file's text, or nothing."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def choose(made_from: Recipe, name: str, environments: Path, refresh: int) -> str:
    """Return the environment's folder name: unpinned requirements get a new one every `refresh` days."""
    if made_from.pinned:
        return name
    fresh = [path for path in environments.glob(f"{name}-*") if (path / MARK).exists() and time.time() - (path / MARK).stat().st_mtime < refresh * 86400]
    return max(fresh).name if fresh else f"{name}-{time.strftime('%Y%m%d')}"


class Wanted(NamedTuple):
    """An environment that is wanted: what it is made from, in which folder of the repository, where, and what comes into it besides."""

    made_from: Recipe
    folder: Path
    target: Path
    packages: tuple[str, ...]
    server: str
    python: str
    driver: str


def wanted(words: list[str]) -> Wanted:
    """Return the environment that the arguments ask for; one word more is the name of one that is to be made anew."""
    folder, environments, installer, packages, refresh, commit, server, version, driver, *given = words
    home, python, added = Path(folder).resolve(), interpreter(version), [line for line in packages.splitlines() if line]
    made_from = recipe(home, installer)
    name = given[0] if given else choose(made_from, digest(made_from, home, added, commit, server, python, driver), Path(environments), int(refresh))
    return Wanted(made_from, home, Path(environments) / name, tuple(added), server, python, driver)


def main() -> None:
    """Print the environment's name."""
    print(wanted(sys.argv[1:]).target.name)


if __name__ == "__main__":
    main()
